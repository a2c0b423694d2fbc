"""Reads, checksums and rewrites ranges of a file in pieces that fit into a small buffer. The only such loops."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import StorageOSError
from ..format import crc32
from .direct import FOLIO_BYTES, DirectWriter
from .file import File

PIECE_BYTES = 1 << 20

Checksums = np.ndarray[Any, np.dtype[np.uint32]]


class FileCutError(StorageOSError):
    """A file ends before the end of the range that is read."""


def read_pieces(file: File, offset: int, size: int, buffer: memoryview | None = None) -> Iterator[memoryview]:
    """The `size` bytes from `offset`, in pieces. All pieces share one buffer: a piece is valid until the next one.

    Raises FileCutError if the file ends before.
    """
    if buffer is None:
        buffer = memoryview(bytearray(min(PIECE_BYTES, size)))
    for done in range(0, size, max(1, len(buffer))):
        piece = buffer[: min(len(buffer), size - done)]
        if file.read_into(piece, offset + done) != len(piece):
            text = f"the file is shorter than the expected {offset + size} bytes: it was truncated"
            raise FileCutError(errno.EIO, text, os.fspath(file.path))
        yield piece


def range_crc32(file: File, offset: int, size: int, buffer: memoryview | None = None) -> int:
    """CRC-32 of the `size` bytes from `offset`. Raises FileCutError."""
    crc = 0
    for piece in read_pieces(file, offset, size, buffer):
        crc = crc32(piece, crc)
    return crc


def units_crc32(file: File, offset: int, size: int, sums: Checksums, buffer: memoryview) -> None:
    """CRC-32 of each of `len(sums)` units of `size` bytes, one after the other from `offset`. Raises FileCutError.

    Small units are read together, as many as `buffer` holds.
    """
    per_read = len(buffer) // size
    if per_read < 2:
        for k in range(len(sums)):
            sums[k] = range_crc32(file, offset + k * size, size, buffer)
        return
    whole = buffer[: per_read * size]
    k = 0
    for piece in read_pieces(file, offset, size * len(sums), whole):
        for at in range(0, len(piece), size):
            sums[k] = crc32(piece[at : at + size])
            k += 1


def folios_of(file: File, offset: int, size: int) -> tuple[int, int]:
    """The range of the folios that the range from `offset` lies in, up to the end of the file; (0, 0) for an empty range."""
    if not size:
        return 0, 0
    end = offset + size
    return offset // FOLIO_BYTES * FOLIO_BYTES, max(end, min(-(-end // FOLIO_BYTES) * FOLIO_BYTES, file.size))


def rewrite_pieces(file: File, offset: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Write the folios of the range from `offset` again, as they read. Yields each piece after it was written, and its offset.

    After a failed fsync Linux marks the failed pages clean: a later fsync succeeds without having written them. The folios are
    written to the page cache, and to the disk if it has direct I/O: see direct.py. No other thread may write to them
    meanwhile. Raises FileCutError, and StorageOSError if the disk does not hold them then.
    """
    at, stop = folios_of(file, offset, size)
    with DirectWriter(file) as direct:
        for piece in read_pieces(file, at, stop - at, memoryview(bytearray(min(FOLIO_BYTES, stop - at)))):
            direct.write(piece, at)
            yield at, piece
            at += len(piece)


def rewrite_range(file: File, offset: int, size: int) -> int:
    """rewrite_pieces(). Returns the CRC-32 of the `size` bytes from `offset`."""
    crc, end = 0, offset + size
    for at, piece in rewrite_pieces(file, offset, size):
        crc = crc32(piece[max(0, offset - at) : max(0, end - at)], crc)
    return crc
