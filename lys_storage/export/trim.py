"""Cutting a scan that was stopped to the part of its grid that has frames."""

from __future__ import annotations

from dataclasses import replace

from ..errors import BadFileError
from ..format import Description, Grid, check_axes_leniently, decode_axes, encode_axes


def trimmed(description: Description, last_frame: int | None) -> Description:
    """`description` cut behind `last_frame` (None: nothing has come), where that cuts the file at its end.

    Raster order fills the grid from its beginning: the first dimension is cut to the lines that were begun, and a
    dimension of which one line was begun is cut within it. What is kept is a prefix of the array.
    """
    grid = Grid(description.shape, description.grid_ndim)
    shape = list(description.shape)
    for k, i in enumerate(grid.index_of(last_frame or 0)):
        shape[k] = i + 1
        if i:
            break
    return replace(description, shape=tuple(shape))


def trim_axes(axes: bytes, shape: tuple[int, ...], kept: tuple[int, ...]) -> bytes:
    """axes.npy of `shape`, cut to `kept`. Axes that are no plain data become index coordinates."""
    try:
        known = decode_axes(axes)
    except BadFileError:
        known = []
    fitting, _ = check_axes_leniently(known, shape)
    return encode_axes([axis if axis is None else axis[:n] for axis, n in zip(fitting, kept, strict=True)], kept)
