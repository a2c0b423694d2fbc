"""How other programs open an export: what to type in Python, MATLAB and ImageJ. Reads no file.

An export that is not compressed has its array in one piece, so that a program that reads raw numbers needs its offset only.
MATLAB: memmapfile (https://www.mathworks.com/help/matlab/ref/memmapfile.html). ImageJ: File > Import > Raw
(https://imagej.net/ij/docs/guide/146-28.html).
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

_MATLAB = {
    "f4": "single",
    "f8": "double",
    **{f"{k}{n}": f"{w}{8 * n}" for k, w in (("i", "int"), ("u", "uint")) for n in (1, 2, 4, 8)},
}
_IMAGEJ = {
    "u1": "8-bit", "u2": "16-bit Unsigned", "i2": "16-bit Signed", "u4": "32-bit Unsigned", "i4": "32-bit Signed",
    "f4": "32-bit Real", "f8": "64-bit Real",
}  # fmt: skip


def ways_to_open(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int | None, *, is_fortran: bool, is_hdf5: bool
) -> dict[str, str]:
    """What to type, by program. `offset`: of the array in the file, in bytes; None if it is compressed."""
    name = repr(str(path))
    ways = {"lys_storage": f"lys_storage.open_wave({name})", "lys": f"lys.Wave({name})"}
    ways["xarray"] = f"xarray.open_dataset({name})"
    if is_hdf5:
        ways["h5py"] = f"h5py.File({name}, 'r')['/entry/data/data']"
    if offset is None or not prod(shape) or dtype.names is not None:
        return ways | {"numpy": f"numpy.load({name})['data']"}
    order = ", order='F'" if is_fortran else ""
    ways["numpy"] = f"numpy.memmap({name}, {dtype.str!r}, 'r', {offset}, {shape}{order})"
    kind, is_big = dtype.str[1:], dtype.str[0] == ">"
    if kind in _MATLAB and shape and not is_big:
        ways["MATLAB"] = _for_matlab(path, shape if is_fortran else shape[::-1], _MATLAB[kind], offset)
    if kind in _IMAGEJ and len(shape) >= 2 and not is_fortran:
        *_, height, width = shape
        ways["ImageJ"] = (
            f"File > Import > Raw: {_IMAGEJ[kind]}, width {width}, height {height}, offset {offset}, "
            f"number of images {prod(shape[:-2])}, gap 0"
            + ("" if is_big or dtype.itemsize == 1 else ", little-endian byte order")
        )
    return ways


def _for_matlab(path: Path, lengths: tuple[int, ...], kind: str, offset: int) -> str:
    """`lengths`: of the dimensions, the fastest one first, as MATLAB has them."""
    name = str(path).replace("'", "''")
    size = " ".join(map(str, lengths if len(lengths) > 1 else (*lengths, 1)))
    return f"m = memmapfile('{name}', 'Offset', {offset}, 'Format', {{'{kind}', [{size}], 'data'}}, 'Repeat', 1); m.Data.data"
