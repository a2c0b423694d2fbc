"""HDF5 objects as bytes: superblock, groups, datasets, attributes. Pure encode; never reads HDF5, and never touches a disk.

HDF5 File Format Specification 3.0, sections II.A (superblock, version 2), III.C (data layouts), IV.A.1.b (object headers,
version 2) and IV.A.2 (messages). The checksum is lookup3 of Bob Jenkins (public domain), hashlittle() with the value 0.

Addresses are relative to the superblock. A dataset can be anywhere behind it: no byte of its data has to be copied.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNDEFINED = 0xFFFFFFFFFFFFFFFF
_MASK = 0xFFFFFFFF
_UTF8 = 1
_SUPERBLOCK = struct.Struct("<8s4B4Q")
SUPERBLOCK_BYTES = _SUPERBLOCK.size + 4
_DATASPACE, _LINK_INFO, _DATATYPE, _FILL, _LINK, _LAYOUT, _GROUP_INFO, _ATTRIBUTE = 1, 2, 3, 5, 6, 8, 10, 12
_UNKNOWN_MESSAGE, _FAIL_IF_WRITTEN = 0x60, 0x08
MAX_RANK = 32
_MAX_TEXT = 1 << 15
Value = str | int | Sequence[str]
"""Of an attribute."""


def lookup3(data: bytes) -> int:
    """The checksum of HDF5 metadata. Its steps are written out: a call for each rotation would take three times as long."""
    size = 12 * -(-len(data) // 12)
    words: tuple[int, ...] = struct.unpack(f"<{size // 4}I", data.ljust(size, b"\0"))
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not words:
        return c
    for k in range(0, len(words) - 3, 3):
        a, b, c = a + words[k] & _MASK, b + words[k + 1] & _MASK, c + words[k + 2] & _MASK
        a = (a - c & _MASK) ^ (c << 4 & _MASK | c >> 28)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ (a << 6 & _MASK | a >> 26)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ (b << 8 & _MASK | b >> 24)
        b = b + a & _MASK
        a = (a - c & _MASK) ^ (c << 16 & _MASK | c >> 16)
        c = c + b & _MASK
        b = (b - a & _MASK) ^ (a << 19 & _MASK | a >> 13)
        a = a + c & _MASK
        c = (c - b & _MASK) ^ (b << 4 & _MASK | b >> 28)
        b = b + a & _MASK
    a, b, c = a + words[-3] & _MASK, b + words[-2] & _MASK, c + words[-1] & _MASK
    c = (c ^ b) - (b << 14 & _MASK | b >> 18) & _MASK
    a = (a ^ c) - (c << 11 & _MASK | c >> 21) & _MASK
    b = (b ^ a) - (a << 25 & _MASK | a >> 7) & _MASK
    c = (c ^ b) - (b << 16 & _MASK | b >> 16) & _MASK
    a = (a ^ c) - (c << 4 & _MASK | c >> 28) & _MASK
    b = (b ^ a) - (a << 14 & _MASK | a >> 18) & _MASK
    return (c ^ b) - (b << 24 & _MASK | b >> 8) & _MASK


def superblock(base: int, end_of_file: int, root: int) -> bytes:
    """The superblock at offset `base` of a file of `end_of_file` bytes, whose root group is at the address `root`.

    HDF5 refuses a file that is shorter, and cuts one that is longer, if it opens it for writing.
    """
    body = _SUPERBLOCK.pack(b"\x89HDF\r\n\x1a\n", 2, 8, 8, 0, base, UNDEFINED, end_of_file, root)
    return body + lookup3(body).to_bytes(4, "little")


def datatype(dtype: np.dtype[Any]) -> bytes | None:
    """The datatype message of elements of `dtype`, as h5py stores them; None if HDF5 has no simple type for it.

    Times are the integers that numpy stores.
    """
    kind, size = dtype.kind, dtype.itemsize
    big = dtype.byteorder == ">" or (dtype.byteorder == "=" and sys.byteorder == "big")
    if kind == "b":
        return struct.pack("<BHBI", 0x38, 2, 0, 1) + _integer(1, False, True) + b"FALSE\0TRUE\0" + b"\0\1"
    if kind in "iumM":
        return _integer(size, big, kind != "u")
    if kind == "f":
        return _float(size, big)
    if kind == "c":
        part = _float(size // 2, big)
        if part is None:
            return None
        return struct.pack("<BHBI", 0x36, 2, 0, size) + b"r\0\0" + part + b"i\0" + bytes([size // 2]) + part
    if kind == "S":
        return _text_type(size, 0)
    return None


def has_hdf5_type(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array can be an HDF5 dataset: not one of structured, long double or Unicode elements."""
    return len(shape) <= MAX_RANK and datatype(dtype) is not None


def _integer(size: int, big: bool, signed: bool) -> bytes:
    return struct.pack("<BBHIHH", 0x10, big | signed << 3, 0, size, 0, 8 * size)


def _float(size: int, big: bool) -> bytes | None:
    if size not in (2, 4, 8):
        return None  # x87 and quadruple numbers differ between machines
    exponent, mantissa, bias = {2: (5, 10, 15), 4: (8, 23, 127), 8: (11, 52, 1023)}[size]
    bits = struct.pack("<HHBBBBI", 0, 8 * size, mantissa, exponent, 0, mantissa, bias)
    return struct.pack("<BBBBI", 0x11, big | 0x20, 8 * size - 1, 0, size) + bits


def _text_type(size: int, charset: int) -> bytes:
    """Text of a fixed length, padded with NUL."""
    return struct.pack("<BBHI", 0x13, 1 | charset << 4, 0, size)


def text_type(size: int) -> bytes:
    """The datatype of UTF-8 text of `size` bytes."""
    return _text_type(max(1, size), _UTF8)


def _message(kind: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack("<BHB", kind, len(data), flags) + data


def _space(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<4B{len(shape)}Q", 2, len(shape), 0, 1 if shape else 0, *shape)


def _attribute(name: str, value: Value) -> bytes:
    if isinstance(value, int):
        kind, space, data = _integer(8, False, True), _space(()), value.to_bytes(8, "little", signed=True)
    else:
        texts = [_encoded(text) for text in ([value] if isinstance(value, str) else value)]
        width = max(1, *map(len, texts)) if texts else 1
        kind, space = text_type(width), _space(() if isinstance(value, str) else (len(texts),))
        data = b"".join(text.ljust(width, b"\0") for text in texts)
    raw = name.encode() + b"\0"
    sizes = struct.pack("<BBHHHB", 3, 0, len(raw), len(kind), len(space), _UTF8)
    return _message(_ATTRIBUTE, sizes + raw + kind + space + data)


def _encoded(text: str) -> bytes:
    """`text`, or its beginning: a message has less than 64 KiB."""
    raw = text.encode()
    return raw if len(raw) <= _MAX_TEXT else raw[:_MAX_TEXT].decode(errors="ignore").encode()


def _header(messages: Sequence[bytes]) -> bytes:
    body = b"".join(messages)
    head = b"OHDR\2" + (bytes([0, len(body)]) if len(body) < 256 else struct.pack("<BI", 2, len(body))) + body
    return head + lookup3(head).to_bytes(4, "little")


def group(
    links: Sequence[tuple[str, int]], attributes: Sequence[tuple[str, Value]], *, refuses_writing: bool = False
) -> bytes:
    """A group with hard links to (name, address). `refuses_writing`: no program can then open the file for writing.

    Its header has a message of an unknown type for that, which is marked "fail if unknown and opened for writing".
    """
    linked = [_message(_LINK, _link(name, address)) for name, address in links]
    guard = [_message(_UNKNOWN_MESSAGE, b"readonly", _FAIL_IF_WRITTEN)] if refuses_writing else []
    info = [_message(_LINK_INFO, struct.pack("<BBQQ", 0, 0, UNDEFINED, UNDEFINED)), _message(_GROUP_INFO, b"\0\0")]
    return _header([*info, *(_attribute(*each) for each in attributes), *linked, *guard])


def _link(name: str, address: int) -> bytes:
    raw = name.encode()
    return struct.pack("<BBBH", 1, 0x10 | 1, _UTF8, len(raw)) + raw + address.to_bytes(8, "little")


@dataclass(frozen=True)
class Dataset:
    """A dataset of `shape` and of the datatype message `kind`.

    `place`: address and size in bytes of its data. Without it, each element reads as `fill`, one byte; or `content` holds the
    data, of less than 64 KiB.
    """

    shape: tuple[int, ...]
    kind: bytes
    place: tuple[int, int] | None = None
    fill: int = 0
    content: bytes | None = None
    attributes: tuple[tuple[str, Value], ...] = ()

    def encode(self) -> bytes:
        if self.content is not None:
            fill, layout = b"\3\x09", struct.pack("<BBH", 3, 0, len(self.content)) + self.content
        elif self.place is not None:
            fill, layout = b"\3\x09", struct.pack("<BBQQ", 3, 1, *self.place)
        else:
            size = int(np.prod(self.shape, dtype=object))
            fill = struct.pack("<BBIB", 3, 0x2A, 1, self.fill)
            layout = struct.pack("<BBQQ", 3, 1, UNDEFINED, size)
        fixed = [(_DATASPACE, _space(self.shape)), (_DATATYPE, self.kind), (_FILL, fill), (_LAYOUT, layout)]
        return _header([*(_message(*each) for each in fixed), *(_attribute(*each) for each in self.attributes)])


def text_dataset(text: str) -> Dataset:
    """A scalar with `text`, which is short."""
    raw = _encoded(text)
    return Dataset((), text_type(len(raw)), content=raw or b"\0")


class Objects:
    """A sequence of objects that begins at address `start`, a multiple of 8. Each object is at a multiple of 8."""

    def __init__(self, start: int) -> None:
        self._start, self._bytes = start, bytearray()

    def add(self, encoded: bytes) -> int:
        """Append an object. Returns its address."""
        address = self._start + len(self._bytes)
        self._bytes += encoded + bytes(-len(encoded) % 8)
        return address

    def encode(self) -> bytes:
        return bytes(self._bytes)
