"""The two copies of axes and note in a journal: a pointer to each, and the bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..disk import File
from ..errors import BadFileError
from ..format import crc32
from .layout import JournalLayout, pages

POINTER = struct.Struct("<QQIIII")
"""Its number, the offset, the sizes of axes and note, the CRC-32 of both, the CRC-32 of these fields."""
POINTER_AT = (512, 1024)
"""In two sectors: a torn write damages at most one of them."""


@dataclass(frozen=True)
class MetadataCopy:
    """An intact copy of axes and note. The one with the larger `seq` is the newer one."""

    seq: int
    offset: int
    axes: bytes
    note: bytes

    @property
    def pages(self) -> int:
        """The bytes that it takes in the journal."""
        return pages(len(self.axes) + len(self.note))


def read_copy(file: File, layout: JournalLayout, key: int, slot: int) -> MetadataCopy | None:
    """The axes and the note to which a pointer refers; None if the pointer or they are damaged."""
    raw = file.read_at(POINTER.size, POINTER_AT[slot])
    if len(raw) < POINTER.size or POINTER.unpack(raw)[5] != crc32(raw[:-4], key):
        return None
    seq, offset, axes_size, note_size, checksum, _ = POINTER.unpack(raw)
    if offset < layout.metadata or offset + axes_size + note_size > file.size:
        return None  # the checksum matches, but the range is outside the file
    blob = file.read_at(axes_size + note_size, offset)
    if len(blob) != axes_size + note_size or crc32(blob) != checksum:
        return None  # a power cut kept the pointer, and not the bytes
    return MetadataCopy(seq, offset, blob[:axes_size], blob[axes_size:])


def read_newest_metadata(file: File, layout: JournalLayout, key: int) -> tuple[bytes, bytes]:
    """See Journal.read_metadata."""
    found = [copy for copy in (read_copy(file, layout, key, slot) for slot in (0, 1)) if copy is not None]
    if not found:
        raise BadFileError(
            f"journal {file.path}: both copies of the axes and the note are damaged, expected an intact one"
        )
    newest = max(found, key=lambda copy: copy.seq)
    return newest.axes, newest.note
