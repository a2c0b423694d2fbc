"""Where the parts of a journal lie, and its head: encode and decode. docs/format.md gives it byte by byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..disk import File
from ..errors import BadFileError
from ..format import PAGE, Description, crc32, decode_description

MAGIC = b"\x93LYSJRN\n"
VERSION = 2
"""Of what is written. Version 1 has no writer record, and no table of doubtful frames."""
BLOCK_BYTES = 1 << 18
"""What a block of small frames holds at most. Fewer checksums, and each of them over more bytes, cost less."""
_MOST_IN_BLOCK, _LEAST_IN_BLOCK = 4096, 2
_HEAD = struct.Struct("<8sIIIIQQQQ")
_HEAD_CRC = struct.Struct("<I")
_TEXT_AT = 1536
_MAX_TEXT = 1 << 24
_SECTOR = 512


def pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def frames_in_block(frame_bytes: int) -> int:
    """How many frames share a checksum where all of them have come: a power of two; 1 where frames are large."""
    count = min(_MOST_IN_BLOCK, BLOCK_BYTES // frame_bytes)
    return 1 << count.bit_length() - 1 if count >= _LEAST_IN_BLOCK else 1


@dataclass(frozen=True)
class JournalLayout:
    """Where the parts of a journal of `frames` frames lie, in bytes from its start. `per_block`: frames in a block."""

    text_size: int
    frames: int
    per_block: int
    version: int = VERSION

    @property
    def blocks(self) -> int:
        """Whole ones; what is left over at the end has the frames' own checksums only."""
        return self.frames // self.per_block if self.per_block > 1 else 0

    @property
    def states(self) -> int:
        return pages(_TEXT_AT + self.text_size)

    @property
    def checksums(self) -> int:
        return self.states + pages(self.frames)

    @property
    def block_checksums(self) -> int:
        return self.checksums + pages(4 * self.frames)

    @property
    def doubtful(self) -> int:
        return self.block_checksums + pages(4 * self.blocks)

    @property
    def doubtful_bytes(self) -> int:
        return -(-self.frames // 8) if self.version > 1 else 0

    @property
    def metadata(self) -> int:
        return self.doubtful + pages(self.doubtful_bytes)

    def encode(self, text: bytes) -> bytes:
        places = (self.frames, self.states, self.checksums, self.metadata)
        head = _HEAD.pack(MAGIC, self.version, self.text_size, crc32(text), self.per_block, *places)
        return (head + _HEAD_CRC.pack(crc32(head))).ljust(_TEXT_AT, b"\0") + text


def read_head(file: File) -> tuple[Description, JournalLayout]:
    raw = file.read_at(_HEAD.size + _HEAD_CRC.size, 0)
    if not any(raw):
        raise BadFileError("is empty: it was cut off before its first flush, and nothing of this scan was promised yet")
    if raw[:8] != MAGIC:
        raise BadFileError("does not begin as a journal does")
    if len(raw) < _HEAD.size + _HEAD_CRC.size:
        raise BadFileError("is cut short")
    _, version, text_size, text_crc, per_block, frames, *places = _HEAD.unpack(raw[: _HEAD.size])
    if not 1 <= version <= VERSION:
        raise BadFileError(
            f"is of version {version}, this program knows {VERSION}: update lys_storage; nothing was touched"
        )
    if _HEAD_CRC.unpack(raw[_HEAD.size :])[0] != crc32(raw[: _HEAD.size]):
        raise BadFileError("its first 64 bytes are damaged")
    text = file.read_at(min(text_size, _MAX_TEXT), _TEXT_AT)
    if len(text) != text_size or crc32(text) != text_crc:
        raise BadFileError("its description is damaged")
    description = decode_description(text)
    if not 1 <= per_block <= _MOST_IN_BLOCK:
        raise BadFileError(f"has blocks of {per_block} frames")
    layout = JournalLayout(text_size, frames, per_block, version)
    if frames != description.frames or places != [layout.states, layout.checksums, layout.metadata]:
        raise BadFileError(f"has a table of {frames} frames, expected {description.frames}")
    if file.size < layout.metadata:
        raise BadFileError(f"is {file.size} bytes, expected at least {layout.metadata}")
    return description, layout


def was_never_durable(file: File) -> bool:
    """Whether a power cut came before a journal had reached the disk for the first time: nothing in it was promised.

    A sector of its head or its description is zeros then. What was cut short, or is damaged in another way, may still be of
    use to somebody.
    """
    raw = file.read_at(_HEAD.size + _HEAD_CRC.size, 0)
    if not any(raw):
        return True
    if len(raw) < _HEAD.size + _HEAD_CRC.size or _HEAD_CRC.unpack(raw[_HEAD.size :])[0] != crc32(raw[: _HEAD.size]):
        return False
    text_size = _HEAD.unpack(raw[: _HEAD.size])[2]
    text = file.read_at(min(text_size, _MAX_TEXT), _TEXT_AT)
    sectors = (text[at : at + _SECTOR] for at in range(0, len(text), _SECTOR))
    return len(text) == text_size and not all(map(any, sectors))
