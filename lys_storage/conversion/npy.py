"""Writes an array as a .npy (NEP 1), of any dtype, in the order of the export. It holds neither axes nor note."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..disk import File
from ..format import encode_npy_header
from .given import Given

_BLOCK = 8 << 20
_IN_C, _IN_FORTRAN = b"'fortran_order': False", b"'fortran_order': True "


def write_npy(path: Path, given: Given, compress: bool) -> None:
    header = encode_npy_header(given.shape, given.dtype)
    if given.is_fortran:
        at = header.rindex(_IN_C)  # the last one: a field can have such a name
        header = header[:at] + _IN_FORTRAN + header[at + len(_IN_C) :]
    file = File.create(path)
    try:
        file.write_at(header, 0)
        at = len(header)
        for _, block in given.blocks(_BLOCK):
            flat = (block.T if given.is_fortran else block).reshape(-1).view(np.uint8)
            file.write_at(flat.data, at)
            at += flat.nbytes
    finally:
        file.close()
    given.warn("a .npy holds the array only: axes, units and note are left out")
