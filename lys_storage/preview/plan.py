"""Decides which frames, and which part of each, a preview reads. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

LIMIT_BYTES = 1 << 31
"""What a preview reads at most, unless it reads everything."""
MOST_POINTS = (4096, 512)
"""Points of a map along each dimension, at most: of a map of one dimension, of two."""
CHUNK_BYTES = 1 << 16
"""The parts of a frame that are read if not all of it is. A disk reads smaller ones no faster."""
_LEAST_CHUNKS = 8


@dataclass(frozen=True)
class Plan:
    """A map over the last one or two dimensions of the grid.

    `lengths`: of these dimensions. `steps`: a point of the map for each so many points of the grid. `chunk_elements`,
    `chunk_step`: of each frame one chunk of so many is read, each of so many elements. `whole_cells`: a point of the map is
    the mean of all frames of its cell, not only of the first one.
    """

    lengths: tuple[int, ...]
    steps: tuple[int, ...]
    chunk_elements: int
    chunk_step: int = 1
    whole_cells: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """Points of the map along each dimension."""
        return tuple(-(-n // step) for n, step in zip(self.lengths, self.steps, strict=True))

    @property
    def is_sampled(self) -> bool:
        """Whether something is not read."""
        return self.chunk_step > 1 or (not self.whole_cells and any(step > 1 for step in self.steps))

    def elements_read(self, frame_elements: int) -> int:
        """How many elements of a frame are read."""
        chunks = -(-frame_elements // self.chunk_elements)
        kept = -(-chunks // self.chunk_step)
        last = frame_elements - (chunks - 1) * self.chunk_elements if (chunks - 1) % self.chunk_step == 0 else None
        return kept * self.chunk_elements if last is None else (kept - 1) * self.chunk_elements + last

    def coarser(self, times: int) -> Plan:
        return replace(
            self, steps=tuple(min(n, step * times) for n, step in zip(self.lengths, self.steps, strict=True))
        )

    def words(self) -> list[str]:
        """What is not read, or averaged, for the title."""
        said = []
        if any(step > 1 for step in self.steps):
            steps = " × ".join(map(str, self.steps))
            said.append(f"each point: {steps} frames" if self.whole_cells else f"every {_nth(self.steps)} frame")
        if self.chunk_step > 1:
            said.append(f"of every {_nth((self.chunk_step,))} block of {self.chunk_elements:,} pixels")
        return said


def _nth(steps: tuple[int, ...]) -> str:
    """ "2nd", "4th × 4th" """
    ends = {1: "st", 2: "nd", 3: "rd"}
    return " × ".join(f"{n}{'th' if 10 <= n % 100 <= 20 else ends.get(n % 10, 'th')}" for n in steps)


def make_plan(
    lengths: tuple[int, ...],
    frame_elements: int,
    itemsize: int,
    *,
    whole: bool = False,
    proof_bytes: int = 0,
    limit: int = LIMIT_BYTES,
) -> Plan:
    """The map over a grid of `lengths`, one or two dimensions.

    `whole`: read every element. `proof_bytes`: what is read in addition to prove that a frame is data; then frames are read
    as a whole.
    """
    frame_bytes = frame_elements * itemsize
    most = MOST_POINTS[len(lengths) - 1] if lengths else 1
    chunk_elements = max(1, CHUNK_BYTES // itemsize)
    if whole:
        return Plan(lengths, _steps(lengths, most), chunk_elements, whole_cells=True)
    dense = prod(lengths) * frame_bytes
    if proof_bytes:
        least = frame_bytes + proof_bytes
        fits = 2 * dense <= limit
    else:
        least = min(frame_bytes, _LEAST_CHUNKS * CHUNK_BYTES)
        fits = dense <= limit
    points = max(1, limit // least) if not fits else prod(lengths)
    while most > 1 and prod(min(n, most) for n in lengths) > points:
        most -= max(1, most // 64)
    steps = _steps(lengths, most)
    plan = Plan(lengths, steps, chunk_elements)
    needed = prod(plan.counts) * frame_bytes
    if proof_bytes or needed <= limit:
        return plan
    chunks = -(-frame_elements // chunk_elements)
    return replace(plan, chunk_step=min(chunks, -(-needed // limit)))


def _steps(lengths: tuple[int, ...], most: int) -> tuple[int, ...]:
    return tuple(-(-n // most) for n in lengths)
