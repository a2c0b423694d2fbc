"""Reads what a preview shows: one frame, and the mean of each frame on a map over the grid.

Memory use does not depend on the size of the scan or of a frame. Missing frames are never read as data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from ..callbacks import Progress
from ..recovery import FINALIZED
from .frame import FrameCollector, FramePicture, read_frame
from .plan import LIMIT_BYTES, Plan, make_plan
from .source import PreviewError, Source, index_text
from .values import Array, Flags, Numbers, Reals, Sums, field_of, sum_rows

_READ_BYTES = 1 << 22
_NEAR_BYTES = 1 << 13
"""Frames with smaller gaps between them are read in one call: the disk reads the gaps in any case."""
_BATCH = 1 << 16
_COARSE = (16, 4, 1)
_QUICK_BYTES = 1 << 28
"""A map of fewer bytes is read in one pass."""
MOST_SECONDS = 20.0
"""After this time the finest map is shown that is complete by then."""


@dataclass(frozen=True)
class ScanMap:
    """The mean of each frame over the last one or two dimensions of the grid, at `outer` of the others.

    `missing`: points whose frame is not there. `means`: NaN there, and where a frame has no finite element.
    """

    plan: Plan
    outer: tuple[int, ...]
    means: Reals
    missing: Flags


@dataclass(frozen=True)
class Survey:
    """What is drawn. `number` and `index` of the frame, and `why` it is this one.

    `frame`: None if it is a single number, which the map shows. `left_out`: whether there were elements that are not finite.
    """

    number: int
    index: tuple[int, ...]
    why: str
    frame: FramePicture | None
    map: ScanMap | None
    left_out: bool


def survey(
    source: Source,
    number: int | None = None,
    *,
    whole: bool = False,
    seconds: float = MOST_SECONDS,
    limit_bytes: int = LIMIT_BYTES,
    on_progress: Progress | None = None,
) -> Survey:
    """Read the frame `number`, and the map around it. By default the middle frame of an export, else the last one written.

    Without `whole`, at most about `limit_bytes` are read for the map, in at most about `seconds`. With it, every element of
    its frames is read. `on_progress(done, total)`: bytes. Raises PreviewError if the frame is missing, or the elements are
    no numbers.
    """
    if field_of(source.dtype) is None:
        raise PreviewError(f"{source.path} holds {source.dtype}: there is no picture of elements that are not numbers")
    number, why = _choose(source, number)
    grid = source.grid
    index = grid.index_of(number)
    inner = grid.grid_shape[-2:]
    outer = index[: grid.ndim - len(inner)]
    proof = 0 if source.is_trusted else source.checksum_bytes
    size, is_whole = source.dtype.itemsize, whole or source.is_streamed
    plan = make_plan(inner, grid.frame_elements, size, whole=is_whole, proof_bytes=proof, limit=limit_bytes)
    base = number // prod(inner) * prod(inner)
    reader = _MapReader(source, base, on_progress or (lambda done, total: None))
    found: _Cells | None
    if source.is_streamed:
        frame = FrameCollector(source, number)
        found = reader.stream(plan, frame)
    else:
        frame = read_frame(source, number)
        found = reader.passes(plan, None if whole else seconds) if inner else None
    shown = ScanMap(found.plan, outer, found.means(), found.missing()) if inner and found is not None else None
    picture = frame.picture if grid.frame_shape or not inner else None
    return Survey(number, index, why, picture, shown, reader.left_out or frame.left_out)


def _choose(source: Source, number: int | None) -> tuple[int, str]:
    """The frame to show, and why it is this one."""
    if number is not None:
        if not source.readable(np.array([number]))[0]:
            what = "has not been written" if source.is_trusted else "is missing, or does not match its checksum"
            raise PreviewError(f"{source.path}: frame {index_text(source.grid.index_of(number))} {what}")
        return number, ""
    last = source.last_readable()
    if last is None:
        what = "has been written yet" if source.is_trusted else "matches its checksum"
        raise PreviewError(f"{source.path}: no frame {what}, so that there is nothing to draw")
    if source.state != FINALIZED:
        return last, "the last one written, in C order" if source.grid.frames > 1 else ""
    middle = source.grid.number(tuple(n // 2 for n in source.grid.grid_shape)) or 0
    before = source.last_readable(middle + 1)
    return (last if before is None else before), ""


class _Cells:
    """The points of a map while it is read: sums, and whether one of their frames is there."""

    def __init__(self, plan: Plan, base: int) -> None:
        self.plan, self._base = plan, base
        points = prod(plan.counts)
        self._totals, self._counts = np.zeros(points), np.zeros(points, np.int64)
        self._arrived = np.zeros(points, bool)

    def add(self, frames: Numbers, sums: Sums) -> None:
        """Add the sums of `frames` (numbers) that are there."""
        lengths, counts = self.plan.lengths or (1,), self.plan.counts or (1,)
        index = np.unravel_index(frames - self._base, lengths)
        coarse = tuple(i // step for i, step in zip(index, self.plan.steps or (1,), strict=True))
        cells = np.ravel_multi_index(coarse, counts)
        np.add.at(self._totals, cells, sums.totals)
        np.add.at(self._counts, cells, sums.counts)
        self._arrived[cells] = True

    def means(self) -> Reals:
        return Sums(self._totals, self._counts).means().reshape(self.plan.counts)

    def missing(self) -> Flags:
        return ~self._arrived.reshape(self.plan.counts)


class _MapReader:
    """Reads the map whose first frame has the number `base`. `left_out`: whether an element was not finite."""

    def __init__(self, source: Source, base: int, on_progress: Progress) -> None:
        self._source, self._base, self._tell = source, base, on_progress
        self._field = field_of(source.dtype) or ()
        self.left_out = False

    def passes(self, plan: Plan, seconds: float | None) -> _Cells:
        """The map of `plan`; a coarser one if `seconds` are over. The coarsest one is always completed."""
        plans = [plan]
        if seconds is not None and prod(plan.counts) * self._source.frame_bytes > _QUICK_BYTES:
            plans = [plan.coarser(times) for times in _COARSE if times == 1 or max(plan.counts) >= 4 * times]
        first = self._read(plans[0], None)
        assert first is not None, "the first pass has no deadline"
        best: _Cells = first
        deadline = None if seconds is None else time.monotonic() + seconds
        for one in plans[1:]:
            if (found := self._read(one, deadline)) is None:
                break
            best = found
        return best

    def _read(self, plan: Plan, deadline: float | None) -> _Cells | None:
        """None if the deadline has passed."""
        cells = _Cells(plan, self._base)
        per_frame = plan.elements_read(self._source.grid.frame_elements)
        frames = prod(plan.lengths if plan.whole_cells else plan.counts)
        itemsize, done = self._source.dtype.itemsize, 0
        for numbers in _batches(plan, self._base):
            there = np.flatnonzero(self._source.readable(numbers))
            totals, counts = np.zeros(len(there)), np.zeros(len(there), np.int64)
            for begin, stop, sums in self._sums(plan, numbers[there]):
                totals[begin:stop], counts[begin:stop] = sums
                self._tell((done + stop) * per_frame * itemsize, frames * per_frame * itemsize)
                if deadline is not None and time.monotonic() > deadline:
                    return None
            kept = self._still_there(numbers[there])
            cells.add(numbers[there][kept], Sums(totals[kept], counts[kept]))
            self.left_out |= bool((counts < per_frame).any())
            done += len(numbers)
        return cells

    def _still_there(self, numbers: Numbers) -> Flags:
        """A frame that is being rewritten by now may have been read as a mixture of two versions."""
        if self._source.state == FINALIZED or not self._source.is_trusted:
            return np.ones(len(numbers), bool)
        return self._source.readable(numbers)

    def _sums(self, plan: Plan, numbers: Numbers) -> Iterator[tuple[int, int, Sums]]:
        """(begin, stop, sums of the frames numbers[begin:stop]), in order. Small frames are read together."""
        size = self._source.frame_bytes
        together = 1 if plan.chunk_step > 1 else max(1, _READ_BYTES // size)
        at = 0
        while at < len(numbers):
            if together == 1:
                yield at, at + 1, self._sum_one(plan, int(numbers[at]))
                at += 1
                continue
            stop = at + int(np.searchsorted(numbers[at : at + together], numbers[at] + together))
            far = np.flatnonzero((np.diff(numbers[at:stop]) - 1) * size > _NEAR_BYTES)
            stop = at + 1 + int(far[0]) if far.size else stop
            yield at, stop, self._sum_group(numbers[at:stop])
            at = stop

    def _sum_group(self, numbers: Numbers) -> Sums:
        elements, first = self._source.grid.frame_elements, int(numbers[0])
        rows = self._source.read(first * elements, (int(numbers[-1]) - first + 1) * elements).reshape(-1, elements)
        return sum_rows(rows if len(rows) == len(numbers) else rows[numbers - first], self._field)

    def _sum_one(self, plan: Plan, number: int) -> Sums:
        elements = self._source.grid.frame_elements
        length, step = plan.chunk_elements, plan.chunk_elements * plan.chunk_step
        if plan.chunk_step == 1:
            length = step = max(1, _READ_BYTES // self._source.dtype.itemsize)
        totals, counts = np.zeros(1), np.zeros(1, np.int64)
        for at in range(0, elements, step):
            piece = self._source.read(number * elements + at, min(length, elements - at))
            sums = sum_rows(piece.reshape(1, -1), self._field)
            totals += sums.totals
            counts += sums.counts
        return Sums(totals, counts)

    def stream(self, plan: Plan, frame: FrameCollector) -> _Cells:
        """The map and the shown frame of a source that can be read in the order of its file only: reads all of it."""
        source, cells = self._source, _Cells(plan, self._base)
        grid, itemsize, frames = source.grid, source.dtype.itemsize, prod(plan.lengths)
        take = frame.take_fortran if source.is_fortran else frame.take
        for at, piece in source.stream():
            take(at, piece)
            for numbers, rows in (
                _rows_in_fortran(at, piece, grid.grid_shape)
                if source.is_fortran
                else _rows(at, piece, grid.frame_elements)
            ):
                inside = (numbers >= self._base) & (numbers < self._base + frames)
                inside[inside] = source.readable(numbers[inside])
                if inside.any():
                    sums = sum_rows(rows[inside], self._field)
                    self.left_out |= bool((sums.counts < rows.shape[1]).any())
                    cells.add(numbers[inside], sums)
            self._tell((at + len(piece)) * itemsize, prod(grid.shape) * itemsize)
        return cells


def _batches(plan: Plan, base: int) -> Iterator[Numbers]:
    """The numbers of the frames to read, ascending, in arrays of bounded length."""
    steps = (1,) * len(plan.lengths) if plan.whole_cells else plan.steps
    counts = tuple(-(-n // step) for n, step in zip(plan.lengths, steps, strict=True))
    for at in range(0, prod(counts), _BATCH):
        index = np.unravel_index(np.arange(at, min(at + _BATCH, prod(counts))), counts)
        points = tuple(i * step for i, step in zip(index, steps, strict=True))
        yield base + np.ravel_multi_index(points, plan.lengths)


def _rows(at: int, piece: Array, elements: int) -> Iterator[tuple[Numbers, Array]]:
    """The elements of a piece as rows of one frame of `elements` each, with the numbers of the frames."""
    head = min(len(piece), -at % elements)
    if head:
        yield np.array([at // elements]), piece[:head].reshape(1, -1)
    first, count = (at + head) // elements, (len(piece) - head) // elements
    stop = head + count * elements
    if count:
        yield np.arange(first, first + count), piece[head:stop].reshape(count, elements)
    if stop < len(piece):
        yield np.array([first + count]), piece[stop:].reshape(1, -1)


def _rows_in_fortran(at: int, piece: Array, grid: tuple[int, ...]) -> Iterator[tuple[Numbers, Array]]:
    """As _rows, in Fortran order: there the same element of each frame forms a plane, and planes are adjacent."""
    frames, done = prod(grid), 0
    while done < len(piece):
        begin = (at + done) % frames
        planes = (len(piece) - done) // frames if begin == 0 else 0
        count = planes * frames or min(len(piece) - done, frames - begin)
        places = np.arange(begin, begin + (frames if planes else count))
        numbers = np.ravel_multi_index(np.unravel_index(places, grid, order="F"), grid) if grid else places
        yield numbers, piece[done : done + count].reshape(max(1, planes), -1).T
        done += count
