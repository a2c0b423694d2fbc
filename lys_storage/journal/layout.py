"""The layout of a journal, and its head: encode and decode. docs/format.md describes each byte."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..disk import File
from ..errors import BadFileError
from ..format import PAGE, Description, crc32, decode_description

MAGIC = b"\x93LYSJRN\n"
VERSION = 3
"""The version that is written. Version 1 has no writer record and no table of doubtful frames. The writer of version 1 or 2
locks the scan file itself."""
BLOCK_BYTES = 1 << 18
"""The largest block of small frames. Fewer checksums over more bytes each cost less."""
_MOST_IN_BLOCK, _LEAST_IN_BLOCK = 4096, 2
_HEAD = struct.Struct("<8sIIIIQQQQ")
_HEAD_CRC = struct.Struct("<I")
_TEXT_AT = 1536
_MAX_TEXT = 1 << 24
_SECTOR = 512


def pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def frames_in_block(frame_bytes: int) -> int:
    """How many frames share a checksum once all of them are written: a power of two; 1 for large frames."""
    count = min(_MOST_IN_BLOCK, BLOCK_BYTES // frame_bytes)
    return 1 << count.bit_length() - 1 if count >= _LEAST_IN_BLOCK else 1


@dataclass(frozen=True)
class JournalLayout:
    """Offsets in bytes of the parts of a journal of `frames` frames. `per_block`: frames in a block."""

    text_size: int
    frames: int
    per_block: int
    version: int = VERSION

    @property
    def blocks(self) -> int:
        """The number of whole blocks. Frames after the last one have only checksums of their own."""
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
        raise BadFileError(
            "is empty: it was interrupted before its first flush, when no frame was promised to be durable"
        )
    if raw[:8] != MAGIC:
        raise BadFileError("does not begin with the magic bytes of a journal: it is damaged, or another kind of file")
    if len(raw) < _HEAD.size + _HEAD_CRC.size:
        raise BadFileError(f"is {len(raw)} bytes, expected at least {_HEAD.size + _HEAD_CRC.size}: it was truncated")
    _, version, text_size, text_crc, per_block, frames, *places = _HEAD.unpack(raw[: _HEAD.size])
    if not 1 <= version <= VERSION:
        raise BadFileError(
            f"has version {version}, expected at most {VERSION}: update lys_storage; no file was changed"
        )
    if _HEAD_CRC.unpack(raw[_HEAD.size :])[0] != crc32(raw[: _HEAD.size]):
        raise BadFileError("its head is damaged: its checksum does not match")
    text = file.read_at(min(text_size, _MAX_TEXT), _TEXT_AT)
    if len(text) != text_size or crc32(text) != text_crc:
        raise BadFileError("its description is damaged or truncated: its checksum does not match")
    description = decode_description(text)
    if not 1 <= per_block <= _MOST_IN_BLOCK:
        raise BadFileError(f"has blocks of {per_block} frames, expected 1 to {_MOST_IN_BLOCK}")
    layout = JournalLayout(text_size, frames, per_block, version)
    if frames != description.frames or places != [layout.states, layout.checksums, layout.metadata]:
        raise BadFileError(f"has a table of {frames} frames, expected {description.frames}")
    if file.size < layout.metadata:
        raise BadFileError(f"is {file.size} bytes, expected at least {layout.metadata}")
    return description, layout


def was_never_durable(file: File) -> bool:
    """Whether a power cut came before the first sync of a journal: no frame of its scan was promised to be durable.

    A sector of its head or its description is then zeros. A journal that is truncated, or damaged in another way, may still
    be needed.
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
