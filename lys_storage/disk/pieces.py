"""Reads, checksums and rewrites ranges of a file in pieces that fit into a small buffer. The only such loops."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import StorageOSError
from ..format import PAGE, crc32
from .direct import DirectWriter
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


def rewrite_range(file: File, offset: int, size: int) -> int:
    """Write the `size` bytes from `offset` again, as they read; returns their CRC-32. Raises FileCutError.

    After a failed fsync Linux marks the failed pages clean: a later fsync succeeds without having written them. All pages of the
    range are written: to the page cache, and to the disk if it has direct I/O (see direct.py). No other thread may write to
    these pages meanwhile. Raises StorageOSError if the disk does not hold them then.
    """
    end, crc, at = offset + size, 0, offset // PAGE * PAGE
    stop = max(end, min(-(-end // PAGE) * PAGE, file.size))
    with DirectWriter(file) as direct:
        for piece in read_pieces(file, at, stop - at) if size else ():
            crc = crc32(piece[max(0, offset - at) : max(0, end - at)], crc)
            file.write_at(piece, at)
            direct.write(piece, at)
            at += len(piece)
    return crc
