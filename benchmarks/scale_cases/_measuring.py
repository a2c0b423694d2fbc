"""What the cases measure with: a case, its task, its figures, and a scan to write into. It runs and prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lys_storage
from lys_storage.scan import begin_scan

clock = time.perf_counter
Pair = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One row: `value` in `unit` as measured; what it comes to at the case's whole size, by `model`; or why there is none."""

    name: str
    value: float | None = None
    unit: str = ""
    at: str = ""
    extrapolated: float | None = None
    to: str = ""
    model: str = ""
    note: str = ""

    def extrapolate(self, value: float, *, to: str, model: str) -> Figure:
        """The same figure, with what it comes to at the size that `to` names, by `model`."""
        return replace(self, extrapolated=value, to=to, model=model)

    def extrapolate_linearly(self, *, sizes: tuple[int, int], values: Pair, size: int, to: str) -> Figure:
        """a + b n through two measurements, at n = `size`, which `to` names."""
        slope = (values[1] - values[0]) / (sizes[1] - sizes[0])
        there = values[1] + slope * (size - sizes[1])
        return self.extrapolate(there, to=to, model=f"linear, from {sizes[0]:,} and {sizes[1]:,}")


@dataclass(frozen=True)
class Task:
    """What a case's process is given. `options` has JSON values only."""

    case: str
    folder: str
    full: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.folder)


Figures = Iterator[Figure]


def _nothing(task: Task) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """`place` gives the task its folder before the process begins; `load` imports what is no part of the case's memory."""

    measure: Callable[[Task], Figures]
    place: Callable[[Task], AbstractContextManager[Task]] = nullcontext
    load: Callable[[Task], None] = _nothing


def new_scan(folder: Path, shape: tuple[int, ...], dtype: str, grid_ndim: int, **options: Any) -> lys_storage.Scan:
    """A scan named "data", with the next number, whose missing frames are filled with 0."""
    return begin_scan(
        folder,
        "data",
        shape=shape,
        dtype=dtype,
        grid_ndim=grid_ndim,
        numbered=True,
        replace_existing=False,
        fill_value=0,
        **options,
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what `work` returned)"""
    begin = clock()
    result = work()
    return clock() - begin, result
