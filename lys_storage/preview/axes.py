"""Dimensions for a picture: labels, and coordinates of cells. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..format import Axes, axis_label
from .values import Array, Reals, as_reals


@dataclass(frozen=True)
class Dimension:
    """One dimension of `length` points. `coordinates`: strictly monotonic; None for 0, 1, 2, ..."""

    label: str
    length: int
    coordinates: Reals | None

    def edges(self, step: int = 1) -> Reals:
        """The outer edges of the cells of `step` points each: halfway between two points. The last cell may be smaller."""
        at = np.minimum(np.arange(0, self.length + step, step), self.length)
        if self.coordinates is None:
            return np.asarray(at - 0.5)
        points = self.coordinates
        if len(points) == 1:
            return np.asarray(points[0] + np.array([-0.5, 0.5]))
        middles = points[:-1] + np.diff(points) / 2
        ends = 1.5 * points[[0, -1]] - 0.5 * points[[1, -2]]
        return np.asarray(np.concatenate([ends[:1], middles, ends[1:]])[at])

    def centres(self, step: int = 1) -> Reals:
        """The middle of the first and the last point of each cell."""
        first = np.arange(0, self.length, step)
        last = np.minimum(first + step, self.length) - 1
        if self.coordinates is None:
            return (first + last) / 2
        return np.asarray(self.coordinates[first] / 2 + self.coordinates[last] / 2)

    def value(self, position: int) -> float:
        return float(position if self.coordinates is None else self.coordinates[position])

    def at(self, position: int) -> str:
        """ "delay = 1.2 ps" """
        name, _, unit = self.label.partition(" (")
        return f"{name} = {self.value(position):.4g} {unit.removesuffix(')')}".rstrip()

    @property
    def unit(self) -> str:
        return self.label.rpartition(" (")[2] if self.label.endswith(")") else ""


def dimensions_of(
    shape: tuple[int, ...],
    axes: Axes,
    names: Sequence[str | None],
    units: Sequence[str | None],
    note: Mapping[Any, Any],
) -> list[Dimension]:
    """The dimensions of an array. Where no dimension has a name, the list `Axes` of the note can give labels.

    A `DataStorage` stores no names; the demo keeps them in the note.
    """
    listed = note.get("Axes")
    labels = [str(one) for one in listed] if isinstance(listed, list | tuple) and len(listed) == len(shape) else []
    found = []
    for k, n in enumerate(shape):
        label = labels[k] if labels and names[k] is None else axis_label(names[k], units[k], k)
        axis = axes[k] if k < len(axes) else None
        found.append(_dimension(_printable(label), n, axis))
    return found


def _dimension(label: str, length: int, axis: Array | None) -> Dimension:
    if axis is None:
        return Dimension(label, length, None)
    if axis.shape != (length,) or axis.dtype.kind not in "biufmM":
        return Dimension(f"{label}, index", length, None)
    if axis.dtype.kind in "mM":
        unit = np.datetime_data(axis.dtype)[0]
        if axis.dtype.kind == "M":
            label = f"{label}, since {axis[0]} ({unit})"
            axis = axis - axis[0]
        else:
            label = f"{label} ({unit})"
        axis = axis.astype(f"m8[{unit}]")
    values = as_reals(axis, ()).astype(np.float64)
    steps = np.diff(values)
    if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
        return Dimension(f"{label}, index", length, None)
    return Dimension(label, length, values)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def title_text(text: str, most: int = 90) -> str:
    """`text` without control characters, and of at most `most` characters: its middle is left out."""
    text = _printable(text)
    return text if len(text) <= most else f"{text[: most // 2]} … {text[3 - most + most // 2 :]}"
