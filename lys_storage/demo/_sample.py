"""The simulated sample: its state at each point of the scan, and its reflections.

A thin bent crystal with three domains. Each domain has its own superlattice reflections, so that a virtual detector on one
of them maps that domain. Strain moves all reflections, domain walls split the superlattice reflections, and the outer
dimensions of the scan (delay, temperature, ...) weaken them.

Never touches a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TURN = 2 * math.pi
WIDTHS = (1.0, 1.35, 1.8)
"""How much wider than a sharp reflection each of the simulated widths is."""


class Point(NamedTuple):
    """The sample at one point of the scan. Numbers are between 0 and 1 if not stated otherwise."""

    domains: tuple[float, float, float]
    """The weight of each domain in the beam; their sum is 1, less with excitation."""
    thickness: float
    strain: float
    """-1 to 1: scales the pattern."""
    rotation: float
    """-1 to 1: rotates the pattern."""
    split: float
    """1 in the middle of a wall between two domains."""
    width: int
    """Which one of WIDTHS."""


class Sample:
    """The fields of the sample over a grid of `grid_shape`, the same for the same seed.

    The last two grid dimensions are y and x on the sample; all before them (delay, temperature, ...) are `excitation`.
    """

    def __init__(self, grid_shape: Sequence[int], seed: int) -> None:
        self._steps = [max(n - 1, 1) for n in grid_shape]
        self._phases: list[float] = np.random.default_rng([seed, 1]).uniform(0, TURN, 5).tolist()

    def at(self, index: Sequence[int]) -> Point:
        """The sample at a grid index (non-negative ints, one for each grid dimension)."""
        where = [i / n for i, n in zip(index, self._steps, strict=True)]
        x = where[-1] if where else 0.5
        y = where[-2] if len(where) > 1 else 0.4
        excitation = sum(where[:-2]) / max(len(where) - 2, 1)
        p = self._phases
        bend = math.sin(TURN * (0.9 * y + 0.3 * x) + p[0])
        first = 0.5 + 0.5 * math.tanh(4 * math.sin(TURN * (1.3 * x + 0.5 * y) + 1.4 * bend + p[1]))
        second = 0.5 + 0.5 * math.tanh(4 * math.sin(TURN * (1.1 * y - 0.8 * x) + 0.9 * bend + p[2]))
        wall = 4 * max(first * (1 - first), (1 - first) * second * (1 - second))
        order = math.exp(-2 * excitation)
        thickness = 0.72 + 0.28 * math.cos(TURN * (0.6 * x - 0.35 * y) + p[3])
        return Point(
            domains=(first * order, (1 - first) * second * order, (1 - first) * (1 - second) * order),
            thickness=thickness,
            strain=bend,
            rotation=math.sin(TURN * (0.5 * x + 0.4 * y) + p[4]),
            split=wall,
            width=min(int(3 * (0.6 * excitation + 0.4 * wall)), 2),
        )


class Reflection(NamedTuple):
    """One peak of the pattern, in fractions of the frame's length along each frame dimension."""

    centre: tuple[float, ...]
    along: tuple[float, ...]
    """Its shift by strain."""
    across: tuple[float, ...]
    """Its shift by rotation, and its split by walls."""
    strength: float
    domain: int
    """The domain that it is of; -1: all of them (a main reflection)."""


def reflections(frame_ndim: int) -> list[Reflection]:
    """Main and superlattice reflections of a frame with `frame_ndim` dimensions (none for 0-d frames)."""
    if frame_ndim == 0:
        return []
    if frame_ndim == 1:
        return _lines()
    return _spots(frame_ndim - 2)


def _lines() -> list[Reflection]:
    main = [(0.14, 0.6), (0.33, 1.0), (0.58, 0.75), (0.86, 0.45)]
    domain = [(0.24, 0), (0.46, 1), (0.72, 2)]
    return [Reflection((c,), (0.02,), (0.008,), s, -1) for c, s in main] + [
        Reflection((c,), (0.012,), (0.015,), 0.7, d) for c, d in domain
    ]


def _spots(outer: int) -> list[Reflection]:
    """A hexagonal crystal along its axis. The spots are spread over `outer` more dimensions in front."""
    found = []
    for radius, turn, strength in ((0.235, 0.04, 1.0), (0.407, 0.04 + 1 / 12, 0.55)):
        found += [_spot(outer, radius, turn + k / 6, strength, -1, k) for k in range(6)]
    found += [_spot(outer, 0.136, 0.04 + 1 / 12 + k / 6, 0.75, k % 3, k) for k in range(6)]
    return found


def _spot(outer: int, radius: float, turn: float, strength: float, domain: int, k: int) -> Reflection:
    y, x = radius * math.sin(TURN * turn), radius * math.cos(TURN * turn)
    spread = tuple(0.5 + 0.18 * math.sin(1 + k + d) for d in range(outer))
    still = (0.0,) * outer
    return Reflection(
        (*spread, 0.5 + y, 0.5 + x), (*still, 0.05 * y, 0.05 * x), (*still, -0.06 * x, 0.06 * y), strength, domain
    )
