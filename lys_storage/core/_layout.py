"""Names and bytes of a scan file: pure encode and decode, no I/O.

A scan file is a ZIP archive from its first byte on. Its member `data.npy` is stored without compression, and its local
header is padded so that the array begins on a page:

    local ZIP header (ZIP64) | alignment field | .npy header | ARRAY | further members | central directory

Where the array begins farther behind than a header can be padded, a member of zeros comes first.

ZIP: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14-16 (ends), 4.5.3 (ZIP64).
.npy: NEP 1 / numpy.lib.format, versions 1.0, 2.0, 3.0. The alignment field is the one of Android's zipalign (0xD935).
"""

from __future__ import annotations

import ast
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from ..errors import BadFileError, ScanShapeError
from ._checksum import combine, crc32, crc32_repeated

PAGE = 4096
"""Bytes; the array of a scan file begins at a multiple of it."""
_ROOMY, _ROOMY_FROM = 1 << 16, 1 << 24
"""An array of 16 MiB and more begins at a multiple of 64 KiB: the kernel keeps frames in larger pieces where they lie so."""
_ROOMIEST, _ROOM_SHARE = 1 << 21, 256
"""A large one begins as its frames lie in it, by powers of two: at up to 2 MiB, and at a 256th of its size."""
_MAX_EXTRA = 0xFFFF
_SMALL = 1 << 16
PART_SUFFIX = ".part"
JOURNAL_SUFFIX = ".journal"
DATA_MEMBER = "data.npy"
PADDING_MEMBER = "alignment.bin"
_CRC_OFFSET = 14
"""Where the CRC-32 of a member stands in its local header."""
MAX_NPY_HEADER = 1 << 18
_MANY_OF_NOTHING = 1 << 20
WHAT_LITERALS_RAISE = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What Python's literals and numpy's dtypes make of bytes that are none."""
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_ZIP64_ID, _ALIGN_ID = 0x0001, 0xD935
_VERSION_ZIP64 = 45
_UTF8_FLAG = 0x800
_U32 = 0xFFFFFFFF


def part_path(final: Path, unique: str = "") -> Path:
    """The scan in progress of `final`: `data_3.npz.part`, or with a unique id `data.npz.1f2e3d4c.part`."""
    middle = f".{unique}" if unique else ""
    return final.with_name(f"{final.name}{middle}{PART_SUFFIX}")


def journal_path(part: Path) -> Path:
    return part.with_name(part.name + JOURNAL_SUFFIX)


@dataclass(frozen=True)
class DataLayout:
    """Where the array of a scan lies: `head` (local header and .npy header of `data.npy`) ends at `array_offset`, a
    multiple of 4096. It begins at `head_offset`: 0, or behind the member of zeros that comes before."""

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
        """What stands before the array, as (offset, bytes), with the CRC-32 of `data.npy`; zeros between."""
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


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as a numpy dtype that a scan can have; object, sub-array, and empty dtypes are refused."""
    try:
        result: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ScanShapeError(f"{dtype!r} is no numpy dtype") from error
    if result.hasobject or result.subdtype is not None or result.itemsize == 0 or result.kind == "T":
        raise ScanShapeError(f"a scan cannot be of dtype {result}: its elements need a fixed, non-zero size in bytes")
    try:
        described = npy_format.descr_to_dtype(npy_format.dtype_to_descr(result))
    except (TypeError, ValueError) as error:
        raise ScanShapeError(f"dtype {result} cannot be described in a .npy: {error}") from error
    if described != result:
        raise ScanShapeError(f"dtype {result} cannot be described in a .npy: it would be read as {described}")
    return result


def check_shape(shape: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """`shape` as a tuple of ints >= 1, of at most 2**62 bytes in all."""
    try:
        dims = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    except TypeError as error:
        raise ScanShapeError(f"{shape!r} is no shape") from error
    if any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in dims):
        raise ScanShapeError(f"shape {tuple(dims)} cannot be a scan: every dimension is a whole number of at least 1")
    dims = tuple(int(n) for n in dims)
    if len(dims) > 32 or int(np.prod(dims, dtype=object)) * dtype.itemsize > 1 << 62:
        raise ScanShapeError(f"shape {dims} of {dtype} is more than numpy can address")
    return dims


def encode_npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Magic and header of a C-ordered .npy array, a multiple of 64 bytes; version 1.0 where it can hold it."""
    text = f"{{'descr': {npy_format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    try:
        body, version = text.encode("latin1"), 1
    except UnicodeEncodeError:
        body, version = text.encode("utf8"), 3
    prefix = 12 if version == 3 else 10
    padded = -(-(prefix + len(body) + 1) // 64) * 64
    if version == 1 and padded - prefix > 0xFFFF:
        version, prefix = 2, 12
        padded = -(-(prefix + len(body) + 1) // 64) * 64
    size = padded - prefix
    length = struct.pack("<H" if version == 1 else "<I", size)
    return b"\x93NUMPY" + bytes([version, 0]) + length + body.ljust(size - 1) + b"\n"


def decode_npy_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """(shape, dtype, Fortran order, length of the header) of a .npy whose first bytes are `head`.

    Raises BadFileError where `head` is no .npy header, or is cut short.
    """
    if head[:6] != b"\x93NUMPY" or len(head) < 12 or head[6] not in (1, 2, 3):
        raise BadFileError("no .npy header")
    prefix = 10 if head[6] == 1 else 12
    size = int.from_bytes(head[8:prefix], "little")
    if size > MAX_NPY_HEADER or len(head) < prefix + size:
        raise BadFileError(f".npy header of {size} bytes is cut short or too long")
    try:
        fields = ast.literal_eval(head[prefix : prefix + size].decode("utf8" if head[6] == 3 else "latin1").strip())
        dtype: np.dtype[Any] = npy_format.descr_to_dtype(fields["descr"])
        shape, fortran = fields["shape"], fields["fortran_order"]
        if (
            not isinstance(shape, tuple)
            or len(shape) > 64
            or any(type(n) is not int or not 0 <= n < 1 << 62 for n in shape)
        ):
            raise ValueError("no array can have its shape")
        if prod(shape) * dtype.itemsize == 0 and max(shape, default=0) > _MANY_OF_NOTHING:
            raise ValueError(f"shape {shape} of elements of no size")
    except (*WHAT_LITERALS_RAISE, SyntaxError, RecursionError, MemoryError) as error:
        raise BadFileError(f".npy header cannot be read: {error}") from error
    return shape, dtype, bool(fortran), prefix + size


def _dos_time(when: float) -> tuple[int, int]:
    t = time.localtime(when)
    year = min(max(t.tm_year, 1980), 2107)
    return t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec // 2, (year - 1980) << 9 | t.tm_mon << 5 | t.tm_mday


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8_FLAG


def _zip64(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", _ZIP64_ID, 8 * len(values), *values)


def _alignment(array_size: int, frame_bytes: int) -> int:
    """What an array's place is to be a multiple of, so that frames lie in the page cache in few large pieces."""
    if array_size < _ROOMY_FROM:
        return PAGE
    most = 1 << (array_size // _ROOM_SHARE).bit_length() - 1
    return max(_ROOMY, min(frame_bytes & -frame_bytes, most, _ROOMIEST))


def plan_data_member(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    when: float,
    array_offset: int | None = None,
    *,
    frame_bytes: int = 0,
) -> DataLayout:
    """The layout of a scan of `shape` and `dtype` begun at `when` (seconds since the epoch); its CRC is zero as yet.

    `array_offset`: where its array is to begin; it begins elsewhere where the header does not fit before. Without, where
    frames of `frame_bytes` are best kept.
    """
    npy_header = encode_npy_header(shape, dtype)
    if len(npy_header) > MAX_NPY_HEADER:
        raise ScanShapeError(f"a dtype that takes {len(npy_header):,} bytes to describe: at most {MAX_NPY_HEADER:,}")
    array_size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    size = len(npy_header) + array_size
    name, extra = DATA_MEMBER.encode(), _zip64(size, size)
    unpadded = _LOCAL.size + len(name) + len(extra) + 6 + len(npy_header)
    if array_offset is None or not unpadded <= array_offset <= _ROOMIEST:
        alignment = _alignment(array_size, frame_bytes)
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
    """Everything after the array, in pieces: further stored members, the central directory, and both of its ends."""
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
