"""The events that a follower has seen: one for each frame that arrived or was rewritten. Pure arithmetic.

Adjacent frames that arrive one after the other are one run: a scan of ten million frames in order takes some bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from ..errors import FrameIndexError
from ..format import Grid

MOST_RUNS = 1 << 17
"""Runs that are kept. The older half is forgotten when there are more."""
_SHOWN = 6
Index = tuple[int, ...]
Numbers = np.ndarray[Any, np.dtype[np.intp]]


class Indices(Sequence[Index]):
    """Grid indices of frames, in the order of their events: a sequence of tuples, which are made when they are used.

    It equals a list or tuple of the same indices. It does not change.
    """

    def __init__(self, runs: Sequence[tuple[Grid, int, int]] = ()) -> None:
        self._runs = runs  # grid, first and stop of the frame numbers
        self._ends: list[int] = []
        total = 0
        for _, first, stop in runs:
            total += stop - first
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, at: int) -> Index: ...
    @overload
    def __getitem__(self, at: slice) -> list[Index]: ...
    def __getitem__(self, at: int | slice) -> Index | list[Index]:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        k = at + len(self) if at < 0 else at
        if not 0 <= k < len(self):
            raise IndexError(f"index {at} of {len(self)} frames")
        run = bisect_right(self._ends, k)
        grid, _, stop = self._runs[run]
        return grid.index_of(stop - (self._ends[run] - k))

    def __iter__(self) -> Iterator[Index]:
        for grid, first, stop in self._runs:
            for number in range(first, stop):
                yield grid.index_of(number)

    def last_run(self) -> list[tuple[Grid, int, int]]:
        """The last of these frames; nothing if there is none."""
        return [(grid, stop - 1, stop) for grid, _, stop in self._runs[-1:]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple | Indices):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        more = f", and {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        return f"<Indices: {', '.join(map(repr, self[:_SHOWN]))}{more}>"


class EventLog:
    """Runs of events. Not safe for several threads. An interrupt leaves it as it was before an event, or after it."""

    def __init__(self) -> None:
        self._runs: list[
            tuple[Grid, int, int, int]
        ] = []  # grid, first and stop of the frames, the number of events so far
        self._forgotten = 0

    @property
    def count(self) -> int:
        """How many events there were. The first one has the number 0."""
        return self._runs[-1][3] if self._runs else 0

    @property
    def newest(self) -> Index | None:
        return self._runs[-1][0].index_of(self._runs[-1][2] - 1) if self._runs else None

    def add(self, grid: Grid, first: int, stop: int) -> None:
        """An event for each of the frames `first` to `stop`."""
        runs, end = self._runs, self.count + stop - first
        if runs and runs[-1][2] == first and runs[-1][0] == grid:
            runs[-1] = (grid, runs[-1][1], stop, end)
        else:
            runs.append((grid, first, stop, end))
            if len(runs) > MOST_RUNS:
                self._forgotten = runs[MOST_RUNS // 2 - 1][3]  # before they are gone
                del runs[: MOST_RUNS // 2]

    def add_numbers(self, grid: Grid, numbers: Numbers) -> None:
        """An event for each of these frames (ascending)."""
        if numbers.size:
            edges = np.flatnonzero(np.diff(numbers) != 1) + 1
            firsts = numbers[np.concatenate([[0], edges])].tolist()
            lasts = numbers[np.concatenate([edges - 1, [-1]])].tolist()
            for first, last in zip(firsts, lasts, strict=True):
                self.add(grid, first, last + 1)

    def after(self, n: int) -> Indices:
        """The events from number `n`. Raises FrameIndexError if some of them are forgotten."""
        if n >= self.count:
            return Indices()
        if n < self._forgotten:
            raise FrameIndexError(
                f"event {n:,} is forgotten: the last {self.count - self._forgotten:,} of {self.count:,} events are known, "
                "and `written` has all frames"
            )
        run = bisect_right(self._runs, n, key=lambda run: run[3])
        return Indices([(grid, max(first, stop - (end - n)), stop) for grid, first, stop, end in self._runs[run:]])
