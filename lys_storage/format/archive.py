"""The ZIP archive of a scan file: pure encode. Decodes only the first header, which identifies a scan file.
Never touches a disk.

A scan file is a ZIP archive from its first byte on. Its member `data.npy` is stored without compression. Its local
header is padded so that the array begins at a page boundary:

    local ZIP header (ZIP64) | alignment field | .npy header | ARRAY | further members | central directory

If the array begins farther from the start than a header can be padded, a member of zeros comes first.

ZIP: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14-16 (ends), 4.5.3 (ZIP64).
The alignment field (0xD935) is that of Android's zipalign.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from ..errors import ScanShapeError
from .alignment import MAX_ALIGNMENT, PAGE, array_alignment
from .checksum import combine, crc32, crc32_repeated
from .description import Description
from .npy import MAX_NPY_HEADER, encode_npy_header

_MAX_EXTRA = 0xFFFF
_SMALL = 1 << 16
DATA_MEMBER = "data.npy"
PADDING_MEMBER = "alignment.bin"
_CRC_OFFSET = 14
"""Offset of the CRC-32 of a member in its local header."""
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_ZIP64_ID, _ALIGN_ID = 0x0001, 0xD935
_ALIGN_AT = _LOCAL.size + len(DATA_MEMBER) + 20
"""Offset of the alignment field of `data.npy` if that is the first member: after its name and the ZIP64 field."""
_VERSION_ZIP64 = 45
_UTF8_FLAG = 0x800
_U32 = 0xFFFFFFFF


@dataclass(frozen=True)
class DataLayout:
    """The bytes before the array of a scan, and the offset of the array.

    `head`: local header and .npy header of `data.npy`. It begins at `head_offset`: 0, or the end of the member of zeros.
    It ends at `array_offset`, a multiple of 4096. `padding`: local header of the member of zeros, or empty.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    head: bytes
    npy_header: bytes
    head_offset: int = 0
    padding: bytes = b""

    @property
    def array_offset(self) -> int:
        return self.head_offset + len(self.head)

    def heads(self, member_crc: int = 0) -> list[tuple[int, bytes]]:
        """The bytes before the array as (offset, bytes), with `member_crc` in the header. All others are zeros."""
        crc = member_crc.to_bytes(4, "little")
        head = self.head[:_CRC_OFFSET] + crc + self.head[_CRC_OFFSET + 4 :]
        return [*([(0, self.padding)] if self.padding else []), (self.head_offset, head)]

    @property
    def array_size(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize

    @property
    def array_end(self) -> int:
        return self.array_offset + self.array_size

    def member_crc(self, array_crc: int) -> int:
        """CRC-32 of the member `data.npy` (its .npy header, then the array)."""
        return combine(crc32(self.npy_header), array_crc, self.array_size)


def _dos_time(when: float) -> tuple[int, int]:
    t = time.localtime(when)
    year = min(max(t.tm_year, 1980), 2107)
    return t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2, (year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8_FLAG


def _zip64(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", _ZIP64_ID, 8 * len(values), *values)


def plan_data_member(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    when: float,
    array_offset: int | None = None,
    *,
    frame_bytes: int = 0,
) -> DataLayout:
    """The layout of a scan of `shape` and `dtype` that began at `when` (seconds since the epoch). Its CRC-32 is zero.

    `array_offset`: offset of the array, if the headers fit before it. Without it, or if they do not fit, the array is
    aligned for frames of `frame_bytes`.
    """
    npy_header = encode_npy_header(shape, dtype)
    if len(npy_header) > MAX_NPY_HEADER:
        raise ScanShapeError(
            f"the .npy header of this dtype takes {len(npy_header):,} bytes, expected at most {MAX_NPY_HEADER:,}: use fewer "
            "or shorter field names"
        )
    array_size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    size = len(npy_header) + array_size
    name, extra = DATA_MEMBER.encode(), _zip64(size, size)
    unpadded = _LOCAL.size + len(name) + len(extra) + 6 + len(npy_header)
    if array_offset is None or not unpadded <= array_offset <= MAX_ALIGNMENT:
        alignment = array_alignment(array_size, frame_bytes)
        array_offset = -(-unpadded // alignment) * alignment
    pad, head_offset, padding = array_offset - unpadded, 0, b""
    clock, day = _dos_time(when)
    if pad > _MAX_EXTRA - len(extra) - 6:
        pad, head_offset = 0, pad
        padding_name = PADDING_MEMBER.encode()
        length = head_offset - _LOCAL.size - len(padding_name)
        fields = (_VERSION_ZIP64, 0, 0, clock, day, _crc_of_zeros(length), length, length, len(padding_name), 0)
        padding = _LOCAL.pack(b"PK\3\4", *fields) + padding_name
    extra += struct.pack("<HHH", _ALIGN_ID, 2 + pad, PAGE) + bytes(pad)
    local = _LOCAL.pack(b"PK\3\4", _VERSION_ZIP64, 0, 0, clock, day, 0, _U32, _U32, len(name), len(extra))
    return DataLayout(shape, dtype, local + name + extra + npy_header, npy_header, head_offset, padding)


def _crc_of_zeros(size: int) -> int:
    return crc32_repeated(b"\0", size)


def encode_tail(layout: DataLayout, member_crc: int, members: Sequence[tuple[str, bytes]], when: float) -> list[bytes]:
    """Everything after the array, in pieces: further members, the central directory, and its end records.

    A large member is a piece of its own, so that it is not copied.
    """
    clock, day = _dos_time(when)
    pieces: list[bytes] = [b""]
    central, at = bytearray(), layout.array_end

    def entry(name: bytes, crc: int, sizes: tuple[int, int], offset: int, extra: bytes) -> bytes:
        fixed = _CENTRAL.pack(
            *(b"PK\1\2", 3 << 8 | _VERSION_ZIP64, _VERSION_ZIP64, _flags(name), 0, clock, day, crc),
            *(*sizes, len(name), len(extra), 0, 0, 0, 0o600 << 16, offset),
        )
        return fixed + name + extra

    size = len(layout.npy_header) + layout.array_size
    count = 1 + len(members) + bool(layout.padding)
    central += entry(DATA_MEMBER.encode(), member_crc, (_U32, _U32), layout.head_offset, _zip64(size, size))
    for text, content in members:
        name, crc = text.encode(), crc32(content)
        local = _LOCAL.pack(
            *(b"PK\3\4", _VERSION_ZIP64, _flags(name), 0, clock, day, crc, len(content), len(content), len(name), 0)
        )
        pieces[-1] += local + name
        if len(content) < _SMALL:
            pieces[-1] += content
        else:
            pieces += [content, b""]
        central += entry(name, crc, (len(content), len(content)), _U32, _zip64(at))
        at += len(local) + len(name) + len(content)
    if layout.padding:
        length = layout.head_offset - len(layout.padding)
        central += entry(PADDING_MEMBER.encode(), _crc_of_zeros(length), (length, length), 0, b"")
    start = at
    end64 = _END64.pack(
        b"PK\6\6", _END64.size - 12, 3 << 8 | _VERSION_ZIP64, _VERSION_ZIP64, 0, 0, count, count, len(central), start
    )
    locator = _LOCATOR64.pack(b"PK\6\7", 0, start + len(central), 1)
    end = _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _U32, _U32, 0)
    pieces[-1] += bytes(central) + end64 + locator + end
    return pieces


def layout_of(description: Description) -> DataLayout:
    """The layout of the scan that `description` describes."""
    started = datetime.fromisoformat(description.started).timestamp()
    return plan_data_member(description.shape, description.dtype, started, description.array_offset)


def begins_as_scan_file(raw: bytes) -> bool:
    """Whether `raw`, the first 64 bytes of a file, are those of a scan file or of its export."""
    name = local_member_name(raw)
    aligned = raw[_ALIGN_AT : _ALIGN_AT + 2] == _ALIGN_ID.to_bytes(2, "little")
    return name == PADDING_MEMBER or (name == DATA_MEMBER and aligned)


def local_member_name(raw: bytes) -> str:
    """The name in the local ZIP header at the start of `raw`, as far as `raw` holds it; "" if there is no such header."""
    if len(raw) < _LOCAL.size or raw[:4] != b"PK\3\4":
        return ""
    size = int.from_bytes(raw[26:28], "little")
    return raw[_LOCAL.size : _LOCAL.size + size].decode("utf-8", "replace")


def tail_reserve(frames: int) -> int:
    """Bytes to reserve after the array of `frames` for the tail: one bit for each frame for `missing.npy`, and 64 KiB."""
    return (1 << 16) + frames // 8
