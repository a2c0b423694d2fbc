"""The reader of napari: exports as image layers. napari imports this module, as `napari.yaml` names it. Never imports napari."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import ScanShapeError
from ..reading import LabelledArray, open_wave, open_waves
from .members import seems_an_export

Layer = tuple[Any, dict[str, Any], str]
_OF_A_STEP = 0.01
"""How far a point of a uniform axis may be from its place, in steps."""
_MOST_CHUNKS = 10_000
"""dask takes half a microsecond for each chunk of the array to show one frame: half a second for a million."""
_MOST_BYTES = 64 << 20


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """`read`, if `path` is a .npz with an array `data`, or a list of them. Reads the directory of the archive only."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(map(seems_an_export, paths)) else None


def read(path: str | Sequence[str]) -> list[Layer]:
    """One layer: a dask array that reads a frame when it is shown, and how it is shown. A list: a new first axis of files.

    Adjacent frames are merged, up to 64 MiB, if the array has more than 10,000 frames.

    `scale` and `translate` are those of the axes that are uniform; other axes count positions. `axis_labels` are the names of
    the dimensions. `metadata` has the note, and the axes and units as they are in the file (None: not given).

    Raises ScanShapeError (a ValueError) if the array has less than two dimensions, or no numbers; MissingExtraError without
    dask; and what `open_wave` and `open_waves` raise.
    """
    paths = [path] if isinstance(path, str) else list(path)
    with open_wave(paths[0]) if len(paths) == 1 else open_waves(paths) as wave:
        if wave.ndim < 2 or wave.dtype.kind not in "biufc":
            raise ScanShapeError(
                f"{paths[0]}: the array is {wave.shape} of {wave.dtype}; napari shows numbers of two or more dimensions: "
                "lys_storage.open_wave reads it"
            )
        places = [_uniform(*pair) for pair in zip(_known_axes(wave), wave.shape, strict=True)]
        attributes = {
            "name": wave.path.stem if hasattr(wave, "path") else f"{wave.paths[0].stem} ... {wave.paths[-1].stem}",
            "rgb": False,  # napari would take a last dimension of 3 or 4 for colours
            "scale": [step for step, _ in places],
            "translate": [first for _, first in places],
            "axis_labels": list(wave.dims),
            "metadata": {"note": wave.note, "axes": _known_axes(wave), "units": wave.units, "paths": paths},
        }
        return [(wave.to_dask(_chunks(wave)), attributes, "image")]


def _chunks(wave: LabelledArray) -> tuple[int, ...]:
    """One frame, or as many adjacent ones that there are about _MOST_CHUNKS chunks."""
    grid, frame = wave.shape[: wave.grid_ndim], wave.shape[wave.grid_ndim :]
    frame_bytes = prod(frame) * wave.dtype.itemsize
    merged = min(-(-prod(grid) // _MOST_CHUNKS), _MOST_BYTES // max(1, frame_bytes))
    chunks: list[int] = []
    for n in reversed(grid):
        chunks.insert(0, max(1, min(n, merged)))
        merged //= chunks[0]
    return (*chunks, *frame)


def _known_axes(wave: LabelledArray) -> list[np.ndarray[Any, Any] | None]:
    axes = wave.stored_axes
    return axes + [None] * (wave.ndim - len(axes))


def _uniform(axis: np.ndarray[Any, Any] | None, n: int) -> tuple[float, float]:
    """(step, first point) of a uniform axis of numbers; (1.0, 0.0) of others."""
    if axis is None or axis.shape != (n,) or axis.dtype.kind not in "iuf" or n == 0:
        return 1.0, 0.0
    points = axis.astype(float)
    step = (points[-1] - points[0]) / (n - 1) if n > 1 else 1.0
    with np.errstate(invalid="ignore"):  # NaN and infinity are not uniform
        strayed = np.abs(points - (points[0] + step * np.arange(n)))
    if step == 0 or not np.all(strayed <= _OF_A_STEP * abs(step)):
        return 1.0, 0.0
    return float(step), float(points[0])
