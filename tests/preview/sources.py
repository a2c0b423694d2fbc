"""Files for the tests of previews."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.format import encode_tail, plan_data_member
from lys_storage.preview import Source, Survey, open_source, survey


def write_sparse(path: Path, shape: tuple[int, ...], dtype: str = "u2") -> Path:
    """An export, as numpy writes it, whose array is a hole in the file: all elements are 0."""
    layout = plan_data_member(shape, np.dtype(dtype), 0.0)
    with path.open("wb") as stream:
        for at, head in layout.heads():
            stream.seek(at)
            stream.write(head)
        stream.truncate(layout.array_end)
        stream.seek(layout.array_end)
        for piece in encode_tail(layout, 0, [], 0.0):
            stream.write(piece)
    return path


def write_scan(
    path: Path, data: np.ndarray[Any, Any], grid_ndim: int, *, missing: Any = (), close: bool = True, **options: Any
) -> Path:
    """An export, or an interrupted scan, of `data` without the frames of these numbers."""
    scan = lys_storage.create(path, data.shape, data.dtype, grid_ndim=grid_ndim, **options)
    for number, index in enumerate(np.ndindex(data.shape[:grid_ndim])):
        if number not in missing:
            scan[index] = data[index]
    if close:
        return scan.close()
    scan.suspend()
    return scan.part_path


@contextmanager
def opened(path: Path, grid_ndim: int | None = None) -> Iterator[Source]:
    source = open_source(path, grid_ndim)
    try:
        yield source
    finally:
        source.close()


def survey_of(path: Path, number: int | None = None, *, grid_ndim: int | None = None, **options: Any) -> Survey:
    with opened(path, grid_ndim) as source:
        return survey(source, number, **options)
