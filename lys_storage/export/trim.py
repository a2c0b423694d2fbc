"""Cuts an incomplete scan to the part of its grid that has frames."""

from __future__ import annotations

from dataclasses import replace

from ..errors import BadFileError
from ..format import Description, Grid, check_axes_leniently, decode_axes, encode_axes


def trimmed(description: Description, last_frame: int | None) -> Description:
    """`description` cut after `last_frame` (None: no frame was written). The result is a prefix of the array.

    Frames are expected in C order. The first dimension is cut to the lines that were begun. If only one line was begun,
    the next dimension is cut too.
    """
    grid = Grid(description.shape, description.grid_ndim)
    shape = list(description.shape)
    for k, i in enumerate(grid.index_of(last_frame or 0)):
        shape[k] = i + 1
        if i:
            break
    return replace(description, shape=tuple(shape))


def trim_axes(axes: bytes, shape: tuple[int, ...], kept: tuple[int, ...]) -> bytes:
    """axes.npy of `shape`, cut to `kept`. Axes that are not plain data become index coordinates."""
    try:
        known = decode_axes(axes)
    except BadFileError:
        known = []
    fitting, _ = check_axes_leniently(known, shape)
    return encode_axes([axis if axis is None else axis[:n] for axis, n in zip(fitting, kept, strict=True)], kept)
