"""Checks an export as a ZIP archive: its structure, and the CRC-32 of each member.

Never changes a file. Never allocates memory for a member whose declared size is impossible in a file of this size.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator

from ..callbacks import Progress
from ..disk import File
from ..errors import BadFileError
from ..format import crc32
from .stream import open_stream

_MAX_MEMBER = 1 << 30
_MAX_COMPRESSED = 1 << 26
_MAX_DEFLATE_RATIO = 1032
"""Bytes that one byte of a deflated member can expand to (zlib, technical details)."""
_MAX_MEMBERS = 1000
_STEP = 1 << 20


def check_members(file: File, on_progress: Progress | None = None) -> Iterator[str]:
    """Read each member of the archive `file`, compare it with its CRC-32, and yield a text for each fault.

    `on_progress(done, total)`: bytes of all members.
    """
    done = 0
    try:
        with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                yield "two members have the same name"
            total = sum(member.file_size for member in archive.infolist())
            for member in archive.infolist():
                with archive.open(member) as stream:  # raises if its two headers have different names
                    pieces = iter(lambda: stream.read(_STEP), b"")
                    crc = 0
                    for piece in _read_stored(file, member) if member.compress_type == zipfile.ZIP_STORED else pieces:
                        crc = crc32(piece, crc)
                        done += len(piece)
                        if on_progress is not None:
                            on_progress(done, total)
                    if crc != member.CRC:
                        yield f"Bad CRC-32 for file {member.filename!r}"
    except Exception as error:  # zipfile and its decoders raise anything for a damaged archive
        yield f"{type(error).__name__}: {error}"


def _read_stored(file: File, member: zipfile.ZipInfo) -> Iterator[memoryview]:
    """The bytes of a stored member, in pieces. zipfile would compute its own CRC-32, which is slower than the disk."""
    start, buffer = member_start(file, member), memoryview(bytearray(min(_STEP, max(1, member.file_size))))
    for at in range(0, member.file_size, len(buffer)):
        view = buffer[: min(len(buffer), member.file_size - at)]
        if file.read_into(view, start + at) != len(view):
            raise BadFileError(f"member {member.filename} is truncated")
        yield view


def member_start(file: File, member: zipfile.ZipInfo) -> int:
    """The offset of the first byte of a member, after its local header, whose length varies."""
    local = file.read_at(30, member.header_offset)
    if len(local) < 30 or local[:4] != b"PK\3\4":
        raise BadFileError(f"member {member.filename} has no local header")
    return member.header_offset + 30 + int(sum(struct.unpack("<HH", local[26:30])))


def check_structure(archive: zipfile.ZipFile, size: int) -> None:
    """Raise BadFileError if the two headers of a member disagree, or its sizes are impossible in a file of `size` bytes.

    The central directory has no checksum.
    """
    if len(archive.infolist()) > _MAX_MEMBERS:
        raise BadFileError(f"the archive has {len(archive.infolist())} members, expected at most {_MAX_MEMBERS}")
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadFileError(
                f"member {info.filename} has compression method {info.compress_type}, expected stored or deflated"
            )
        limit = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _MAX_DEFLATE_RATIO)
        if info.compress_size > size or info.file_size > limit:
            raise BadFileError(
                f"member {info.filename} declares {info.compress_size} compressed and {info.file_size} uncompressed bytes, "
                f"which is impossible in a file of {size} bytes"
            )
        if info.comment:
            raise BadFileError(
                f"member {info.filename} has a comment; rejected, because the comment could hide further members"
            )
        archive.open(info).close()


def find_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """The member that numpy.load finds for `name`: with the suffix .npy, or without one."""
    names = archive.namelist()
    found = next((known for known in (name, f"{name}.npy") if known in names), None)
    return None if found is None else archive.getinfo(found)


def check_member_size(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """`info`, of a member that is read as a whole. Raises BadFileError if it is too large for that."""
    limit = _MAX_MEMBER if info.compress_type == zipfile.ZIP_STORED else _MAX_COMPRESSED
    if info.file_size > limit:
        raise BadFileError(f"member {info.filename} declares {info.file_size} bytes, expected at most {limit}")
    return info
