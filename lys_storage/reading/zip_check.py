"""Checks of the ZIP archive that an export is: its structure, and every byte of its members against their CRC-32.

Never changes a file, and never allocates more memory than a file of its size can be worth.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator

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


def check_members(file: File, on_progress: Callable[[int], None] = lambda done: None) -> Iterator[str]:
    """What is wrong with the members of the archive `file`, in words: each is read, and compared with its CRC-32.

    `on_progress(done)`: bytes so far.
    """
    done = 0
    try:
        with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                yield "it has two members of one name"
            for member in archive.infolist():
                with archive.open(member) as stream:  # raises where its two headers have different names
                    pieces = iter(lambda: stream.read(_STEP), b"")
                    crc = 0
                    for piece in _read_stored(file, member) if member.compress_type == zipfile.ZIP_STORED else pieces:
                        crc = crc32(piece, crc)
                        done += len(piece)
                        on_progress(done)
                    if crc != member.CRC:
                        yield f"Bad CRC-32 for file {member.filename!r}"
    except Exception as error:  # zipfile and its decoders raise anything for a damaged archive
        yield f"{type(error).__name__}: {error}"


def _read_stored(file: File, member: zipfile.ZipInfo) -> Iterator[memoryview]:
    """The bytes of a stored member, in pieces. Not through zipfile: its CRC-32 is several times slower than a disk."""
    start, buffer = member_start(file, member), memoryview(bytearray(min(_STEP, max(1, member.file_size))))
    for at in range(0, member.file_size, len(buffer)):
        view = buffer[: min(len(buffer), member.file_size - at)]
        if file.read_into(view, start + at) != len(view):
            raise BadFileError(f"member {member.filename} is cut short")
        yield view


def member_start(file: File, member: zipfile.ZipInfo) -> int:
    """Offset of the first byte of a member: behind its local header, which has variable parts."""
    local = file.read_at(30, member.header_offset)
    if len(local) < 30 or local[:4] != b"PK\3\4":
        raise BadFileError(f"member {member.filename} has no local header")
    return member.header_offset + 30 + int(sum(struct.unpack("<HH", local[26:30])))


def check_structure(archive: zipfile.ZipFile, size: int) -> None:
    """Raise BadFileError where the two headers of a member disagree, or its sizes cannot be true in a file of `size` bytes.

    The central directory has no checksum of its own.
    """
    if len(archive.infolist()) > _MAX_MEMBERS:
        raise BadFileError(f"it has {len(archive.infolist())} members")
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadFileError(f"member {info.filename} is compressed as no .npz is")
        limit = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _MAX_DEFLATE_RATIO)
        if info.compress_size > size or info.file_size > limit:
            raise BadFileError(f"member {info.filename} says that it has {info.file_size} bytes")
        if info.comment:
            raise BadFileError(
                f"member {info.filename} has a comment; rejected, because the comment could hide further members"
            )
        archive.open(info).close()


def find_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """The member that numpy.load gives for `name`: it may have the suffix .npy, or none."""
    names = archive.namelist()
    found = next((known for known in (name, f"{name}.npy") if known in names), None)
    return None if found is None else archive.getinfo(found)


def check_member_size(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """`info` of a small member. Raises BadFileError where it is larger than any such member is."""
    if info.file_size > (_MAX_MEMBER if info.compress_type == zipfile.ZIP_STORED else _MAX_COMPRESSED):
        raise BadFileError(f"member {info.filename} says that it has {info.file_size} bytes")
    return info
