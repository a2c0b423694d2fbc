"""Inputs of the fuzz targets: splits bytes into fields, and builds files with valid checksums from them.

It takes only the magic numbers of the formats from lys_storage, and calls none of its functions.
"""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from pathlib import Path

from lys_storage.journal.layout import MAGIC as JOURNAL_MAGIC
from lys_storage.journal.redo_log import MAGIC as REDO_MAGIC


def split_fields(data: bytes, count: int) -> list[bytes]:
    """Split `data`: u16 lengths of all fields but the last, then the fields. Short data gives short fields."""
    sizes = [int.from_bytes(data[2 * k : 2 * k + 2], "little") for k in range(count - 1)]
    at, result = 2 * (count - 1), []
    for size in sizes:
        result.append(data[at : at + size])
        at += size
    return [*result, data[at:]]


def join_fields(*fields: bytes) -> bytes:
    return b"".join(struct.pack("<H", len(field)) for field in fields[:-1]) + b"".join(fields)


def build_journal(text: bytes, axes: bytes, note: bytes, marks: bytes, sums: bytes) -> bytes:
    """A journal with valid checksums, whatever its content."""
    try:
        fields = json.loads(text)
        shape, ndim, scan_id = fields["shape"], fields["grid_ndim"], fields["scan_id"]
        frames = 1
        for n in shape[:ndim]:
            frames *= n
        key = zlib.crc32(scan_id.encode())
    except Exception:
        frames, key = 6, 0
    frames = frames if type(frames) is int and 0 < frames < 5000 else 6

    def pages(size: int) -> int:
        return -(-size // 4096) * 4096

    at_marks = pages(1536 + len(text))
    at_sums = at_marks + pages(frames)
    at_metadata = at_sums + pages(4 * frames)
    places = (frames, at_marks, at_sums, at_metadata)
    head = struct.pack("<8sIIIIQQQQ", JOURNAL_MAGIC, 1, len(text), zlib.crc32(text), 1, *places)
    pointer = struct.pack("<QQIII", 1, at_metadata, len(axes), len(note), zlib.crc32(axes + note))
    pointer += struct.pack("<I", zlib.crc32(pointer, key))
    content = bytearray(at_metadata) + axes + note
    content[: len(head) + 4] = head + struct.pack("<I", zlib.crc32(head))
    content[512 : 512 + len(pointer)] = pointer
    content[1536 : 1536 + len(text)] = text
    content[at_marks : at_marks + len(marks[:frames])] = marks[:frames]
    content[at_sums : at_sums + len(sums[: 4 * frames])] = sums[: 4 * frames]
    return bytes(content)


def lay_files(folder: Path, **files: bytes) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        (folder / f"a.npz.part{'' if name == 'part' else '.' + name}").write_bytes(content)


def mend_redo(data: bytes, key: int) -> bytes:
    """Fix the header checksum at each record magic, and the data checksum if the header's last byte but one is odd."""
    content, at = bytearray(data), 0
    while at + 64 <= len(content):
        if content[at : at + 8] == REDO_MAGIC:
            size = int.from_bytes(content[at + 24 : at + 32], "little")
            if content[at + 62] & 1:
                body = content[at + 64 : at + 64 + min(size, len(content))]
                content[at + 32 : at + 36] = struct.pack("<I", zlib.crc32(body))
            content[at + 36 : at + 40] = struct.pack("<I", zlib.crc32(content[at : at + 36], key))
        at += 64
    return bytes(content)
