"""Names and units of the dimensions of a scan: checked when a scan is created and when a file is read. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import AxisLengthError

Labels = tuple[str | None, ...]
"""One for each dimension; None for a dimension without one."""


def check_axis_names(names: Iterable[str | None] | None, ndim: int) -> Labels:
    """A name, or None, for each of `ndim` dimensions; () for None. Raises AxisLengthError, also for a repeated name."""
    checked = _check("axis_names", names, ndim)
    given = [name for name in checked if name is not None]
    for name in given:
        if given.count(name) > 1:
            raise AxisLengthError(f"axis_names has {name!r} twice: give each dimension a name of its own")
    return checked


def check_units(units: Iterable[str | None] | None, ndim: int) -> Labels:
    """A unit, or None, for each of `ndim` dimensions; () for None. Raises AxisLengthError."""
    return _check("units", units, ndim)


def _check(what: str, labels: Any, ndim: int) -> Labels:
    if labels is None:
        return ()
    try:
        given = None if isinstance(labels, str | bytes) else tuple(labels)
    except TypeError:
        given = None
    if given is None:
        raise AxisLengthError(f"{what} is {labels!r}, expected a list with one text, or None, for each dimension")
    if len(given) != ndim:
        raise AxisLengthError(
            f"{what} has {len(given)} entries, expected {ndim}: give one for each dimension of the scan"
        )
    return tuple(_check_one(f"{what}[{k}]", label) for k, label in enumerate(given))


def _check_one(what: str, label: Any) -> str | None:
    if label is None:
        return None
    if not isinstance(label, str):
        raise AxisLengthError(f"{what} is {label!r}, of type {type(label).__name__}: give text, or None")
    text = str(label)
    if not text.strip():
        raise AxisLengthError(f"{what} is empty: give text, or None")
    if not text.isprintable():  # a surrogate is not printable either, and cannot be encoded
        raise AxisLengthError(f"{what} is {label!r}: give text without control characters")
    return text


def decode_labels(labels: Any, ndim: int) -> Labels:
    """The labels in a file; None for each dimension if they do not pass the checks above."""
    try:
        return _check("labels", labels, ndim) or (None,) * ndim
    except AxisLengthError:
        return (None,) * ndim


def axis_label(name: str | None, unit: str | None, k: int) -> str:
    """The label of dimension `k` for a person: "delay (ps)", "delay", "axis 0 (ps)", "axis 0"."""
    return (name or f"axis {k}") + (f" ({unit})" if unit else "")
