"""The writer of a scan, its boot and its files: this binds the states in a journal to the scan file beside it.

States describe the bytes in the page cache of the writer's kernel. They are not valid for a copy, a restored file, or a file
on a disk that was removed and mounted again. The journal therefore records the boot, and the identity of both files. If one
of these differs or is unknown, no state is trusted.
"""

from __future__ import annotations

import json
import platform
import struct
from dataclasses import asdict, dataclass

from ..disk import File, Identity, boot_id, process_id
from ..format import crc32

RECORD_BYTES = 384
_HEAD = struct.Struct("<II")  # CRC-32 of the text, its length
_MAX_HOST_BYTES = 63


@dataclass(frozen=True)
class WriterRecord:
    """`host` and `pid` of the writer; the boot it runs in; the identities of its two files, None if unknown."""

    host: str
    pid: int
    boot_id: str
    scan_file: Identity | None
    journal: Identity | None

    @classmethod
    def of_this_process(cls, scan_file: File, journal: File) -> WriterRecord:
        host = platform.node().encode()[:_MAX_HOST_BYTES].decode(errors="ignore")
        return cls(host, process_id(), boot_id(), scan_file.identity(), journal.identity())

    def vouches_for(self, scan_file: File, journal: File) -> bool:
        """Whether the states are valid: the writer had these files open, on the same mount, in this boot."""
        now = (boot_id(), scan_file.identity(), journal.identity())
        return all(now) and now == (self.boot_id, self.scan_file, self.journal)

    def wrote_to(self, scan_file: File) -> bool:
        """Whether this is the writer's scan file, by its inode and birth time; also after a restart of the machine."""
        found = scan_file.identity()
        return found is not None and self.scan_file is not None and found[1:] == self.scan_file[1:]

    def encode(self) -> bytes:
        text = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()
        return (_HEAD.pack(crc32(text), len(text)) + text).ljust(RECORD_BYTES, b"\0")


def decode_writer_record(data: bytes) -> WriterRecord | None:
    """The record in `data`; None if there is none or it is damaged: then no state is trusted."""
    crc, size = _HEAD.unpack_from(data)
    text = data[_HEAD.size : _HEAD.size + size]
    if not text or crc32(text) != crc:
        return None
    try:
        fields = json.loads(text)
        scan_file, journal = (fields[name] and _identity(fields[name]) for name in ("scan_file", "journal"))
        host, pid, boot = fields["host"], fields["pid"], fields["boot_id"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(host) is not str or not host.isprintable() or type(pid) is not int or type(boot) is not str:
        return None
    return WriterRecord(host, pid, boot, scan_file, journal)


def _identity(numbers: list[int]) -> Identity:
    mount, subvolume, inode, seconds, nanoseconds = map(int, numbers)
    return mount, subvolume, inode, seconds, nanoseconds
