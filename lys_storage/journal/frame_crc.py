"""CRC-32 of frames, read back from the scan file."""

from __future__ import annotations

from ..disk import File
from ..format import crc32
from .journal import Journal

_READ_SIZE = 1 << 20


def frames_crc(file: File, journal: Journal, first: int, count: int) -> int | None:
    """CRC-32 of the bytes of `count` frames; None where the file ends before."""
    size, crc = count * journal.description.frame_bytes, 0
    offset = journal.description.array_offset + first * journal.description.frame_bytes
    for at in range(0, size, _READ_SIZE):
        want = min(_READ_SIZE, size - at)
        piece = file.read_at(want, offset + at)
        if len(piece) != want:
            return None
        crc = crc32(piece, crc)
    return crc
