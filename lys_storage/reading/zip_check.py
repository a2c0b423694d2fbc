"""Whether a .npz is a sound archive: its structure, and every byte of its members against their CRC-32. Reads only."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..disk import File
from ..errors import BadFileError
from ..format import crc32

_MAX_MEMBER = 1 << 30
_MAX_COMPRESSED = 1 << 26
_DEFLATE_MOST = 1032
"""Bytes that one byte of a deflated member can stand for (zlib, technical details)."""
_MAX_MEMBERS = 1000
_CHECK_STEP = 1 << 20


def check_members(path: Path, tell: Callable[[int], None] = lambda done: None) -> Iterator[str]:
    """Read every byte of every member against its CRC-32; what is wrong, in words. `tell(done)`: bytes so far."""
    done, file = 0, File.open(path, writable=False)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                yield "it has two members of one name"
            for member in archive.infolist():
                with archive.open(member) as stream:  # which looks whether both headers name it alike
                    pieces = iter(lambda: stream.read(_CHECK_STEP), b"")
                    crc = 0
                    for piece in _stored(file, member) if member.compress_type == zipfile.ZIP_STORED else pieces:
                        crc = crc32(piece, crc)
                        done += len(piece)
                        tell(done)
                    if crc != member.CRC:
                        yield f"Bad CRC-32 for file {member.filename!r}"
    except Exception as error:  # whatever a rotten archive makes zipfile and its decoders raise
        yield f"{type(error).__name__}: {error}"
    finally:
        file.close()


def _stored(file: File, member: zipfile.ZipInfo) -> Iterator[memoryview]:
    """The bytes of a stored member, in pieces: past zipfile, whose own checksum is several times slower than a disk."""
    start, buffer = member_start(file, member), memoryview(bytearray(min(_CHECK_STEP, max(1, member.file_size))))
    for at in range(0, member.file_size, len(buffer)):
        view = buffer[: min(len(buffer), member.file_size - at)]
        if file.read_into(view, start + at) != len(view):
            raise BadFileError(f"member {member.filename} is cut short")
        yield view


def member_start(file: File, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin: its local header has lengths of its own."""
    local = file.read_at(30, member.header_offset)
    if len(local) < 30 or local[:4] != b"PK\3\4":
        raise BadFileError(f"member {member.filename} has no local header")
    return member.header_offset + 30 + int(sum(struct.unpack("<HH", local[26:30])))


def check_structure(archive: zipfile.ZipFile, size: int) -> None:
    """Both headers of a member name it alike, and what it claims can be true. The directory has no checksum of its own."""
    if len(archive.infolist()) > _MAX_MEMBERS:
        raise BadFileError(f"it has {len(archive.infolist())} members")
    for info in archive.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadFileError(f"member {info.filename} is compressed as no .npz is")
        most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else _DEFLATE_MOST)
        if info.compress_size > size or info.file_size > most:
            raise BadFileError(f"member {info.filename} says that it has {info.file_size} bytes")
        if info.comment:
            raise BadFileError(f"member {info.filename} has a comment, which may be the members behind it")
        archive.open(info).close()


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > (_MAX_MEMBER if info.compress_type == zipfile.ZIP_STORED else _MAX_COMPRESSED):
        raise BadFileError(f"member {name} says that it has {info.file_size} bytes")
    return archive.read(info)
