"""Where a coordinate is on an axis: exact, nearest, or a range of coordinates. Pure: never reads a file.

The rules are those of xarray's `sel`. Two of its silent results are errors here: a range against the direction of the axis
(xarray returns nothing), and a coordinate that the axis has twice (xarray returns both).
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CoordinateError

Points = Any
"""A 1-d np.ndarray, or a range, which stands for index coordinates and takes no memory."""
_GROUPS = {**dict.fromkeys("biufc", "a number"), "U": "a text", "S": "bytes", "M": "a time", "m": "a duration"}
"""What a coordinate is, by the kind of its dtype. Coordinates of one group can be compared."""


def dimension_names(names: Sequence[str | None], ndim: int) -> tuple[str, ...]:
    """A unique name for each of `ndim` dimensions: its own, or `axis_0`, `axis_1`, ... by its position if it has none.

    If two dimensions have the same name, only the first one keeps it.
    """
    given = [name if name not in names[:k] else None for k, name in enumerate(names)]
    result: list[str] = []
    for k in range(ndim):
        name = given[k] or f"axis_{k}"
        while given[k] is None and (name in given or name in result):
            name += "_"
        result.append(name)
    return tuple(result)


def find_coordinate(
    name: str, axis: np.ndarray[Any, Any] | None, n: int, label: Any, method: str | None, tolerance: Any
) -> int:
    """The position of the coordinate `label` on the axis `name`; None for `axis` stands for the coordinates 0 to n - 1.

    `method`: None for an exact match, "nearest" for the nearest coordinate, at most `tolerance` away (None: any distance).
    Of two that are equally near, the larger one is taken. Raises CoordinateError.
    """
    line = _line(name, axis, n)
    value = line.checked(label)
    found = line.matches(value)
    if len(found) > 1:
        raise CoordinateError(
            f"{name} has the coordinate {_shown(label)} {len(found)} times, at {found[0]}, {found[1]}"
            f"{' ...' if len(found) > 2 else ''}: choose one by isel"
        )
    if len(found) == 1:
        return int(found[0])
    if method is None:
        raise CoordinateError(f"{name} has no coordinate {_shown(label)}; {line.neighbours_in_words(value)}")
    near = line.neighbours(value)
    if line.ascending is None or not near:
        raise CoordinateError(
            f"{name} has no coordinate {_shown(label)}, and its coordinates have no order in which one is nearest: "
            "sel takes exact coordinates of it, and isel positions"
        )
    best = min(reversed(near), key=lambda k: abs(line.points[k] - value))
    if tolerance is not None and not abs(line.points[best] - value) <= tolerance:
        raise CoordinateError(
            f"{name} has no coordinate within {_shown(tolerance)} of {_shown(label)}; {line.neighbours_in_words(value)}"
        )
    return best


def find_range(name: str, axis: np.ndarray[Any, Any] | None, n: int, labels: slice) -> slice:
    """The positions of the coordinates from `labels.start` to `labels.stop`, both included, in the order of the axis.

    None for either is an end of the axis. `labels.step` is a number of positions. Raises CoordinateError.
    """
    line = _line(name, axis, n)
    step = _checked_step(name, labels.step)
    if line.ascending is None:
        if labels.start is None and labels.stop is None:
            return slice(None, None, step)
        raise CoordinateError(
            f"the coordinates of {name} neither ascend nor descend, so that no range of them is defined: "
            "sel takes exact coordinates of it, and isel positions"
        )
    ends = (labels.stop, labels.start) if line.descends else (labels.start, labels.stop)
    low, high = (None if label is None else line.checked(label) for label in ends)
    if low is not None and high is not None and low > high:
        direction = "descend" if line.descends else "ascend"
        raise CoordinateError(
            f"the coordinates of {name} {direction}: slice({_shown(labels.stop)}, {_shown(labels.start)}), "
            f"not slice({_shown(labels.start)}, {_shown(labels.stop)}), is a range of them"
        )
    first = 0 if low is None else bisect_left(line.ascending, low)
    stop = n if high is None else bisect_right(line.ascending, high)
    return slice(n - stop, n - first, step) if line.descends else slice(first, stop, step)


@dataclass(frozen=True)
class _Line:
    """An axis. `ascending`: its points in ascending order; None if they neither ascend nor descend."""

    name: str
    points: Points
    ascending: Points | None
    descends: bool

    def checked(self, label: Any) -> Any:
        """`label` as a scalar that compares with the points. Raises CoordinateError."""
        kind = "f" if isinstance(self.points, range) else self.points.dtype.kind
        wanted = _GROUPS.get(kind)
        if wanted is None:
            raise CoordinateError(
                f"{self.name} has coordinates of dtype {self.points.dtype}, which cannot be compared: use isel"
            )
        try:
            convert = {"M": np.datetime64, "m": np.timedelta64}.get(kind)
            is_number = isinstance(label, int | float | np.number)
            value = np.asarray(label if convert is None or is_number or np.ndim(label) else convert(label))
            if value.ndim == 0 and kind == "f" and value.dtype.kind in "iuf" and not isinstance(self.points, range):
                value = value.astype(self.points.dtype)  # 0.1 is on an axis of float32
        except (TypeError, ValueError, OverflowError) as error:
            raise CoordinateError(f"{self.name}={_shown(label)} is not {wanted}: {error}") from None
        if value.ndim != 0:
            raise CoordinateError(
                f"{self.name}={_shown(label)} is not one coordinate, nor a slice of them: wave.to_xarray().sel takes lists"
            )
        if _GROUPS.get(value.dtype.kind) != wanted:
            raise CoordinateError(f"{self.name}={_shown(label)} is not {wanted}, as its coordinates are")
        return value[()]

    def matches(self, value: Any) -> Sequence[int]:
        """The positions of `value`."""
        if value != value:
            return ()
        if self.ascending is None:
            return [int(k) for k in np.flatnonzero(self.points == value)]
        n = len(self.points)
        first, stop = bisect_left(self.ascending, value), bisect_right(self.ascending, value)
        return range(n - stop, n - first) if self.descends else range(first, stop)

    def neighbours(self, value: Any) -> list[int]:
        """The positions of the coordinates below and above a number or a time `value`, in ascending order of the coordinates."""
        kind = "f" if isinstance(self.points, range) else self.points.dtype.kind
        if kind not in "iufmM" or not len(self.points) or value != value:
            return []
        if self.ascending is None:
            distances = np.abs(self.points - value)
            return [int(np.nanargmin(distances))] if np.any(distances == distances) else []
        at, n = bisect_left(self.ascending, value), len(self.points)
        return [n - 1 - k if self.descends else k for k in (at - 1, at) if 0 <= k < n]

    def neighbours_in_words(self, value: Any) -> str:
        near = self.neighbours(value)
        if not near:
            first = ", ".join(_shown(point) for point in self.points[:3])
            more = " ..." if len(self.points) > 3 else ""
            return f"its coordinates are {first}{more}" if first else "it has no coordinates"
        words = " and ".join(f"{_shown(self.points[k])} (position {k})" for k in near)
        ask = '; method="nearest" takes the nearest one' if self.ascending is not None else ""
        return f"the nearest {'is' if len(near) == 1 else 'are'} {words}{ask}"


def _line(name: str, axis: np.ndarray[Any, Any] | None, n: int) -> _Line:
    if axis is None:
        return _Line(name, range(n), range(n), False)
    if axis.shape != (n,):
        raise CoordinateError(
            f"the axis of {name} has the shape {axis.shape}, expected ({n},): it has no coordinate for each position; use isel"
        )
    if axis.dtype.kind in "biufmMUS" and not np.any(axis != axis):
        if np.all(axis[:-1] <= axis[1:]):
            return _Line(name, axis, axis, False)
        if np.all(axis[:-1] >= axis[1:]):
            return _Line(name, axis, axis[::-1], True)
    return _Line(name, axis, None, False)


def _checked_step(name: str, step: Any) -> int | None:
    if step is None:
        return None
    try:
        found = operator.index(step)
    except TypeError:
        found = 0
    if found < 1:
        raise CoordinateError(f"the step of {name} is {_shown(step)}, expected a whole number of positions, at least 1")
    return found


def _shown(label: Any) -> str:
    text = repr(label.item() if isinstance(label, np.number | np.str_ | np.bool_) else label)
    if isinstance(label, np.datetime64 | np.timedelta64):
        text = str(label)
    return text if len(text) <= 60 else text[:60] + " ..."
