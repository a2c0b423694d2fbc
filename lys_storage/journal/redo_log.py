"""The redo log: a new version of a frame is written there first. After a crash the frame holds the old or the new version.

    data_3.npz.part.redo      records, each a header of 64 bytes and the new bytes

It is created at the first rewrite; first writes do not use it. A record is valid while its epoch is the journal's. A flush
makes the rewritten frames durable in the scan file; a checkpoint then begins a new epoch, and older records are invalid.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..disk import Buffer, File, range_crc32, read_pieces, remove_file, rewrite_range
from ..format import crc32, redo_path

MAGIC = b"\x93LYSREDO"
_HEADER = struct.Struct("<8sQQQI")
HEADER_SIZE = 64
_STEP = 1 << 20
Chunk = tuple[int, Buffer]


@dataclass(frozen=True)
class RedoRecord:
    """`size` new bytes for `offset` of the scan file, at `at` of the redo log."""

    offset: int
    size: int
    at: int


class RedoLog:
    """The open redo log of one scan. One thread at a time uses it."""

    def __init__(self, file: File, key: int) -> None:
        self.file, self._key = file, key
        self.end = 0
        self.sync_failed = False

    @classmethod
    def create(cls, part: Path, key: int) -> RedoLog:
        path = redo_path(part)
        remove_file(path)  # invalid: its records were applied when the scan was taken over
        return cls(File.create(path), key)

    def append(self, offset: int, size: int, chunks: Iterable[Chunk], epoch: int) -> RedoRecord:
        """Write a record: 1. its bytes; 2. compute their checksum from the file; 3. the header, which makes it valid."""
        at = self.end + HEADER_SIZE
        self.file.write_at(bytes(HEADER_SIZE), self.end)
        for place, data in chunks:
            self.file.write_at(data, at + place)
        record = RedoRecord(offset, size, at)
        crc = range_crc32(self.file, at, size)
        self.file.write_at(_encode(self._key, epoch, offset, size, crc), self.end)
        self.file.write_at(bytes(-size % HEADER_SIZE), at + size)
        self.end = at + size + -size % HEADER_SIZE
        return record

    def apply(self, record: RedoRecord, file: File) -> None:
        """Write the bytes of a record to the scan file."""
        at = record.offset
        for piece in read_pieces(self.file, record.at, record.size):
            file.write_at(piece, at)
            at += len(piece)

    def sync(self, *, again: bool = False) -> None:
        """Make the records survive a power cut. With `again`, or after a failed sync, first write the whole file again."""
        again, self.sync_failed = again or self.sync_failed, True
        if again:
            rewrite_range(self.file, 0, self.file.size)
        self.file.sync()
        self.sync_failed = False

    def reset(self) -> None:
        """Remove the records, whose epoch has ended."""
        self.end = 0
        self.file.set_size(0)
        self.sync_failed = False

    def close(self) -> None:
        self.file.close()


def _encode(key: int, epoch: int, offset: int, size: int, crc: int) -> bytes:
    head = _HEADER.pack(MAGIC, epoch, offset, size, crc)
    return (head + struct.pack("<I", crc32(head, key))).ljust(HEADER_SIZE, b"\0")


def decode_record(raw: bytes, key: int, at: int) -> tuple[int, RedoRecord] | None:
    """(epoch, record) of the header at `at` of the log; None if it is not a header of the scan with `key`."""
    if len(raw) < HEADER_SIZE or raw[:8] != MAGIC:
        return None
    _, epoch, offset, size, _ = _HEADER.unpack(raw[: _HEADER.size])
    check = int.from_bytes(raw[_HEADER.size : _HEADER.size + 4], "little")
    return (epoch, RedoRecord(offset, size, at + HEADER_SIZE)) if check == crc32(raw[: _HEADER.size], key) else None


def begins_with_record_of(file: File, key: int) -> bool:
    """Whether the first record of a redo log, of any epoch, belongs to the scan with `key`."""
    return decode_record(file.read_at(HEADER_SIZE, 0), key, 0) is not None


def read_records(redo: RedoLog, epoch: int) -> list[RedoRecord]:
    """The intact records of `epoch`, in the order in which they were written."""
    records: list[RedoRecord] = []
    at, size = 0, redo.file.size
    while at + HEADER_SIZE <= size:
        raw = redo.file.read_at(HEADER_SIZE, at)
        magic, its_epoch, offset, length, crc = _HEADER.unpack(raw[: _HEADER.size])
        check = struct.unpack("<I", raw[_HEADER.size : _HEADER.size + 4])[0]
        if magic != MAGIC or check != crc32(raw[: _HEADER.size], redo._key) or at + HEADER_SIZE + length > size:
            break
        record = RedoRecord(offset, length, at + HEADER_SIZE)
        if its_epoch == epoch and range_crc32(redo.file, record.at, length) == crc:
            records.append(record)
        at += HEADER_SIZE + length + -length % HEADER_SIZE
    return records
