"""Types and functions for the cases: case, task, figure, and a new scan. The module runs no case and prints nothing."""

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
    """One row: the measured `value` in `unit`, and `extrapolated`, its value at the size `to` by `model`. `note`: remarks."""

    name: str
    value: float | None = None
    unit: str = ""
    at: str = ""
    extrapolated: float | None = None
    to: str = ""
    model: str = ""
    note: str = ""

    def extrapolate(self, value: float, *, to: str, model: str) -> Figure:
        """The same figure with its extrapolated value at the size `to`, by `model`."""
        return replace(self, extrapolated=value, to=to, model=model)

    def extrapolate_linearly(self, *, sizes: tuple[int, int], values: Pair, size: int, to: str) -> Figure:
        """The same figure, extrapolated by a line through two measurements to `size`, which `to` names."""
        slope = (values[1] - values[0]) / (sizes[1] - sizes[0])
        there = values[1] + slope * (size - sizes[1])
        return self.extrapolate(there, to=to, model=f"linear, from {sizes[0]:,} and {sizes[1]:,}")


@dataclass(frozen=True)
class Task:
    """The input of a case's process. `options` has JSON values only."""

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
    """`place` sets the task's folder before the process starts. `load` imports modules before the memory is measured."""

    measure: Callable[[Task], Figures]
    place: Callable[[Task], AbstractContextManager[Task]] = nullcontext
    load: Callable[[Task], None] = _nothing


def new_scan(folder: Path, shape: tuple[int, ...], dtype: str, grid_ndim: int, **options: Any) -> lys_storage.Scan:
    """A scan named "data" with the next number and the fill value 0."""
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
    """(seconds, result of `work`)"""
    begin = clock()
    result = work()
    return clock() - begin, result
