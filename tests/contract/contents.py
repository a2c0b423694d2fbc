"""What the files of the contract hold: arrays of several dtypes and shapes, with axes and a note; and how a scan writes one.

Programs in child processes import this module, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from tests.helpers import some

Array = np.ndarray[Any, Any]
EVERY = 4  # of so many frames one is missing, in the kinds with missing frames


@dataclass(frozen=True)
class Content:
    """`fill` is also what complete files hold where the others have missing frames: all kinds have the same values."""

    data: Array
    grid_ndim: int
    fill: Any = None
    axes: list[Any] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    units: list[str | None] = field(default_factory=list)
    note: dict[str, Any] = field(default_factory=dict)
    written: Array | None = None

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return self.data.shape[: self.grid_ndim]

    @property
    def frames(self) -> int:
        return prod(self.grid_shape)

    @property
    def there(self) -> Array:
        """Of each frame: whether it is written in the kinds with missing frames."""
        if self.written is not None:
            return self.written
        return (np.arange(self.frames) % EVERY != EVERY - 1).reshape(self.grid_shape)

    def rows(self) -> Iterator[Content]:
        """The entries of the first dimension, for several files that are opened as one array."""
        there = self.there if self.grid_ndim else np.ones(len(self.data), bool)
        for row, written in zip(self.data, there, strict=True):
            labels = [list(part[1:]) for part in (self.axes, self.names, self.units)]
            yield Content(
                np.asarray(row, self.data.dtype), self.grid_ndim - 1, self.fill, *labels, self.note, np.asarray(written)
            )


def content(shape: tuple[int, ...], dtype: Any, grid_ndim: int, fill: Any = None, **labels: Any) -> Content:
    data = some(shape, dtype)
    result = Content(data, grid_ndim, fill, **labels)
    if result.frames > 1:
        data[~result.there] = np.zeros((), dtype) if fill is None else fill
    return result


LABELLED = "u2, with labels"
CONTENTS = {
    LABELLED: content(
        (4, 3, 5, 6),
        "u2",
        2,
        fill=9,
        axes=[np.array([4.0, 3.0, 2.0, 0.5]), np.array([-1.0, 0.0, 1.5]), None, None],
        names=["y", "x", None, "energy"],
        units=["mm", None, None, "eV"],
        note={"sample": "TaS2", "temperature": 4.5},
    ),
    "big-endian": content((4, 3, 5, 6), ">f4", 2, fill=-0.5),
    "c8": content((4, 3, 2), "c8", 2, fill=1 - 2j),
    "bool": content((4, 3, 5), "?", 1, fill=True),
    "M8[ns]": content((4, 3), "M8[ns]", 1, fill=np.datetime64("NaT", "ns")),
    "S3": content((4, 3, 2), "S3", 2, fill=b"no"),
    "structured": content((4, 2, 3), [("a", "<f4"), ("b", ">u2")], 1),
    "1-d": content((7,), "i8", 1, fill=-1),
    "0-d": content((), "f8", 0),
    "5-d": content((2, 3, 2, 2, 3), "i2", 3, fill=-3),
}
EMPTY = {"no rows": content((0, 3), "f8", 1), "no columns": content((2, 0, 3), "<u4", 1)}


def begin(path: Path, what: Content, *, with_missing: bool) -> lys_storage.Scan:
    """A scan in progress that holds `what`."""
    labels = {"axes": what.axes, "axis_names": what.names, "units": what.units} if what.names else {}
    scan = lys_storage.create(
        path,
        what.data.shape,
        what.data.dtype,
        grid_ndim=what.grid_ndim,
        fill_value=what.fill,
        note=what.note,
        **labels,
    )
    for index in np.argwhere(what.there if with_missing else np.ones(what.grid_shape, bool)).tolist():
        scan[tuple(index)] = what.data[tuple(index)]
    return scan


def begin_all(folder: Path, *, with_missing: bool) -> list[lys_storage.Scan]:
    """A scan of each content. Of one frame none is missing."""
    return [begin(folder / f"{name}.npz", what, with_missing=with_missing) for name, what in CONTENTS.items()]
