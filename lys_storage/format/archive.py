"""The ZIP archive of a scan file: pure encode. Decodes only the first header, which identifies a scan file.
Never touches a disk.

A scan file is a ZIP archive from its first byte on. Its member `data.npy` is stored without compression. Its local
header is padded so that the array begins at a page boundary:

    local ZIP header (ZIP64) | alignment field | .npy header | ARRAY | further members | central directory

If the array begins farther from the start than a header can be padded, a member of zeros comes first. At HDF5_OFFSET, in
these zeros, HDF5 looks for its superblock: see nexus.py.

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
from .hdf5 import has_hdf5_type
from .npy import MAX_NPY_HEADER, encode_npy_header

_MAX_EXTRA = 0xFFFF
_SMALL = 1 << 16
DATA_MEMBER = "data.npy"
HDF5_OFFSET, HDF5_HEAD_BYTES = 512, 2560
"""Where the HDF5 metadata of a scan file begin, and how many bytes they take at most: far fewer, up to rank 32."""
PADDING_MEMBER = "alignment.bin"
_CRC_OFFSET = 14
"""Offset of the CRC-32 of a member in its local header."""
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_ZIP64_ID, _ALIGN_ID = 0x0001, 0xD935
_ZIP64_SIZES_BYTES, _ZIP64_OFFSET_BYTES = 20, 12
_ALIGN_AT = _LOCAL.size + len(DATA_MEMBER) + 20
"""Offset of the alignment field of `data.npy` if that is the first member: after its name and the ZIP64 field."""
_VERSION_ZIP64 = 45
_UTF8_FLAG = 0x800
_U32 = 0xFFFFFFFF


@dataclass(frozen=True)
class DataLayout:
    """The bytes before the array of a scan, and the offset of the array.

    `head`: local header and .npy header of `data.npy`. It begins at `head_offset`: 0, or the end of the member of zeros.
    It ends at `array_offset`, a multiple of 4096. `padding`: local header of the member of zeros, or empty. `hdf5`: whether
    HDF5 metadata are among the zeros.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    head: bytes
    npy_header: bytes
    head_offset: int = 0
    padding: bytes = b""
    hdf5: bool = False

    @property
    def array_offset(self) -> int:
        return self.head_offset + len(self.head)

    def heads(self, member_crc: int = 0, block: bytes = b"") -> list[tuple[int, bytes]]:
        """The bytes before the array as (offset, bytes), with `member_crc` in the header. All others are zeros.

        `block`: the HDF5 metadata at HDF5_OFFSET. One piece covers the region that they may take.
        """
        head = _with_crc(self.head, member_crc)
        region = block.ljust(HDF5_HEAD_BYTES if self.hdf5 else 0, b"\0")
        if not self.padding:
            return [(0, head[:HDF5_OFFSET] + region + head[HDF5_OFFSET + len(region) :])]
        padding = [(0, _with_crc(self.padding, self.padding_crc(block))), (HDF5_OFFSET, region)]
        return [*(padding if region else padding[:1]), (self.head_offset, head)]

    def padding_crc(self, block: bytes = b"") -> int:
        """CRC-32 of the member of zeros, in which `block` is."""
        before, size = HDF5_OFFSET - len(self.padding), self.head_offset - len(self.padding)
        after = size - before - len(block)
        return combine(crc32(bytes(before) + block), crc32_repeated(b"\0", after), after)

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


def head_crc(layout: DataLayout, heads: Sequence[tuple[int, bytes]]) -> int:
    """CRC-32 of all bytes before the array. `heads`: from DataLayout.heads."""
    crc = at = 0
    for offset, piece in [*heads, (layout.array_offset, b"")]:
        crc = combine(crc, crc32_repeated(b"\0", offset - at), offset - at)
        crc, at = crc32(piece, crc), offset + len(piece)
    return crc


def _with_crc(local_header: bytes, crc: int) -> bytes:
    return local_header[:_CRC_OFFSET] + crc.to_bytes(4, "little") + local_header[_CRC_OFFSET + 4 :]


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
    hdf5: bool = False,
) -> DataLayout:
    """The layout of a scan of `shape` and `dtype` that began at `when` (seconds since the epoch). Its CRC-32 is zero.

    `array_offset`: offset of the array, if the headers fit before it. Without it, or if they do not fit, the array is
    aligned for frames of `frame_bytes`. `hdf5`: leave room for HDF5 metadata, if HDF5 has a type for `dtype`.
    """
    hdf5 = hdf5 and has_hdf5_type(shape, dtype)
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
    least = max(unpadded, HDF5_OFFSET + HDF5_HEAD_BYTES + len(npy_header)) if hdf5 else unpadded
    if array_offset is None or not least <= array_offset <= MAX_ALIGNMENT:
        alignment = array_alignment(array_size, frame_bytes)
        array_offset = -(-least // alignment) * alignment
    pad, head_offset, padding = array_offset - unpadded, 0, b""
    clock, day = _dos_time(when)
    if pad > _MAX_EXTRA - len(extra) - 6:
        pad, head_offset = 0, pad
        padding_name = PADDING_MEMBER.encode()
        length = head_offset - _LOCAL.size - len(padding_name)
        fields = (_VERSION_ZIP64, 0, 0, clock, day, crc32_repeated(b"\0", length), length, length, len(padding_name), 0)
        padding = _LOCAL.pack(b"PK\3\4", *fields) + padding_name
    extra += struct.pack("<HHH", _ALIGN_ID, 2 + pad, PAGE) + bytes(pad)
    local = _LOCAL.pack(b"PK\3\4", _VERSION_ZIP64, 0, 0, clock, day, 0, _U32, _U32, len(name), len(extra))
    return DataLayout(shape, dtype, local + name + extra + npy_header, npy_header, head_offset, padding, hdf5)


def member_offsets(layout: DataLayout, sizes: Sequence[tuple[str, int]]) -> list[int]:
    """Where the content of each further member begins in the file. `sizes`: its name, and its size in bytes."""
    offsets, at = [], layout.array_end
    for name, size in sizes:
        offsets.append(at + _LOCAL.size + len(name.encode()))
        at = offsets[-1] + size
    return offsets


def export_size(layout: DataLayout, sizes: Sequence[tuple[str, int]]) -> int:
    """The size of the file. `sizes`: as in member_offsets."""
    entries = sum(_CENTRAL.size + len(name.encode()) + _ZIP64_OFFSET_BYTES for name, _ in sizes)
    entries += _CENTRAL.size + len(DATA_MEMBER) + _ZIP64_SIZES_BYTES
    entries += _CENTRAL.size + len(PADDING_MEMBER) if layout.padding else 0
    ends = [layout.array_end, *(at + size for at, (_, size) in zip(member_offsets(layout, sizes), sizes, strict=True))]
    return ends[-1] + entries + _END64.size + _LOCATOR64.size + _END.size


def encode_tail(
    layout: DataLayout, member_crc: int, members: Sequence[tuple[str, bytes]], when: float, block: bytes = b""
) -> list[bytes]:
    """Everything after the array, in pieces: further members, the central directory, and its end records.

    A large member is a piece of its own, so that it is not copied. `block`: as in DataLayout.heads.
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
        central += entry(PADDING_MEMBER.encode(), layout.padding_crc(block), (length, length), 0, b"")
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
    offset, hdf5 = description.array_offset, description.hdf5
    return plan_data_member(description.shape, description.dtype, started, offset, hdf5=hdf5)


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


def tail_reserve(frames: int, metadata_bytes: int = 0) -> int:
    """Bytes to reserve after the array for the tail. `metadata_bytes`: of axes and note.

    64 KiB, one bit for each frame for `missing.npy`, one byte for `written.npy`, and axes and note, which are stored twice; a
    note as text can take more. The 64 KiB are enough for the last two of a small scan.
    """
    copies = max(0, 3 * metadata_bytes - (1 << 14))
    return (1 << 16) + frames // 8 + frames // PAGE * PAGE + metadata_bytes + copies
