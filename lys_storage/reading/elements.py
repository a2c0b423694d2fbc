"""The elements of an export in the order of its file, in pieces: memory use does not depend on the size of the array.

Never maps a file, and never changes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..disk import read_elements
from ..errors import BadFileError, ScanClosedError
from ..format import crc32
from .wave import StoredWave

_PIECE_BYTES = 1 << 20
Array = np.ndarray[Any, Any]


def is_fortran(wave: StoredWave) -> bool:
    """Whether the first dimension is the fastest in the file."""
    return bool(wave._stored.order == "F")


def is_compressed(wave: StoredWave) -> bool:
    """Whether the array can be read only from its beginning."""
    return wave._stored.offset is None


def read_stored(wave: StoredWave, first: int, count: int) -> Array:
    """`count` elements from number `first`, of an array that is not compressed."""
    wave._raise_if_closed()
    offset = wave._stored.offset
    if offset is None:
        raise ScanClosedError(f"{wave.path} is compressed: its elements can be read in order only")
    return read_elements(wave._array.file, offset, wave.dtype, first, count)


def iterate_stored(wave: StoredWave) -> Iterator[tuple[int, Array]]:
    """(number of the first element, elements) of consecutive pieces: all elements, in the order of the file."""
    wave._raise_if_closed()
    step = max(1, _PIECE_BYTES // wave.dtype.itemsize)
    if not is_compressed(wave):
        for at in range(0, wave.size, step):
            yield at, read_stored(wave, at, min(step, wave.size - at))
        return
    with wave._array.forward() as reader:
        for at in range(0, wave.size, step):
            piece = np.empty(min(step, wave.size - at), wave.dtype)
            reader.read_into(piece.view(np.uint8).data, at * wave.dtype.itemsize)
            yield at, piece
        reader.finish()


def iterate_checked(wave: StoredWave, counts: Iterable[int]) -> Iterator[Array]:
    """Consecutive pieces of `counts` elements each, which are all elements, in the order of the file.

    After the last piece the CRC-32 of the array is compared: BadFileError is raised if it is wrong.
    """
    wave._raise_if_closed()
    if is_compressed(wave):
        at = 0
        with wave._array.forward() as reader:
            for count in counts:
                piece = np.empty(count, wave.dtype)
                reader.read_into(piece.view(np.uint8).data, at)
                at += piece.nbytes
                yield piece
            reader.finish()
        return
    stored, at = wave._stored, 0
    header_size, offset = stored.header_size, stored.offset or 0
    crc = crc32(wave._array.file.read_at(header_size, offset - header_size))
    for count in counts:
        piece = read_stored(wave, at, count)
        at += count
        crc = crc32(piece.view(np.uint8).data, crc)
        yield piece
    if crc != stored.member.CRC:
        raise BadFileError(
            f"{wave.path}: the array does not match its checksum: it is damaged; restore a copy (lys-storage verify "
            "lists all files with errors)"
        )
