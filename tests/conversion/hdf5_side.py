"""An HDF5 side for an export: a superblock at byte 512, and a dataset /entry/data/data at the array of the export.

For tests only. HDF5 File Format Specification 3.0: superblock of version 2, object headers of version 2.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage

UNDEFINED = 0xFFFFFFFFFFFFFFFF
MASK = 0xFFFFFFFF
BASE = 512


def lookup3(data: bytes) -> int:
    """The checksum of HDF5: hashlittle of Jenkins' lookup3, with the initial value 0."""

    def rotate(x: int, n: int) -> int:
        return ((x << n) | (x >> (32 - n))) & MASK

    a = b = c = (0xDEADBEEF + len(data)) & MASK
    while len(data) > 12:
        x, y, z = struct.unpack_from("<III", data)
        a, b, c, data = (a + x) & MASK, (b + y) & MASK, (c + z) & MASK, data[12:]
        a = ((a - c) & MASK) ^ rotate(c, 4)
        c = (c + b) & MASK
        b = ((b - a) & MASK) ^ rotate(a, 6)
        a = (a + c) & MASK
        c = ((c - b) & MASK) ^ rotate(b, 8)
        b = (b + a) & MASK
        a = ((a - c) & MASK) ^ rotate(c, 16)
        c = (c + b) & MASK
        b = ((b - a) & MASK) ^ rotate(a, 19)
        a = (a + c) & MASK
        c = ((c - b) & MASK) ^ rotate(b, 4)
        b = (b + a) & MASK
    if not data:
        return c
    x, y, z = struct.unpack("<III", data.ljust(12, b"\0"))
    a, b, c = (a + x) & MASK, (b + y) & MASK, (c + z) & MASK
    c = ((c ^ b) - rotate(b, 14)) & MASK
    a = ((a ^ c) - rotate(c, 11)) & MASK
    b = ((b ^ a) - rotate(a, 25)) & MASK
    c = ((c ^ b) - rotate(b, 16)) & MASK
    a = ((a ^ c) - rotate(c, 4)) & MASK
    b = ((b ^ a) - rotate(a, 14)) & MASK
    return ((c ^ b) - rotate(b, 24)) & MASK


def message(kind: int, data: bytes) -> bytes:
    return struct.pack("<BHB", kind, len(data), 0) + data


def header(*messages: bytes) -> bytes:
    body = b"".join(messages)
    head = b"OHDR\2" + struct.pack("<BH", 1, len(body)) + body
    return head + struct.pack("<I", lookup3(head))


def datatype(dtype: np.dtype[Any]) -> bytes:
    """Of integers and floats."""
    big, bits = dtype.byteorder == ">", 8 * dtype.itemsize
    if dtype.kind in "iu":
        signed = 8 if dtype.kind == "i" else 0
        return struct.pack("<BBBBIHH", 0x10, big | signed, 0, 0, dtype.itemsize, 0, bits)
    exponent, mantissa, bias = {2: (5, 10, 15), 4: (8, 23, 127), 8: (11, 52, 1023)}[dtype.itemsize]
    fields = (0x11, big | 0x20, bits - 1, 0, dtype.itemsize, 0, bits, mantissa, exponent, 0, mantissa, bias)
    return struct.pack("<BBBBIHHBBBBI", *fields)


def group(**links: int) -> bytes:
    named = [message(6, bytes([1, 0, len(k)]) + k.encode() + struct.pack("<Q", at)) for k, at in links.items()]
    return header(message(2, struct.pack("<BBQQ", 0, 0, UNDEFINED, UNDEFINED)), message(10, b"\0\0"), *named)


def add_hdf5_side(path: Path, shape: tuple[int, ...] | None = None) -> Path:
    """Write the block into the zeros before the array of an export. `shape`: another one than its own."""
    with lys_storage.open_wave(path) as wave:
        offset, dtype, shape = wave.array_offset or 0, wave.dtype, shape or wave.shape
    sizes = b"".join(struct.pack("<Q", n) for n in shape)
    space = bytes([2, len(shape), 0, 1]) + sizes
    place = struct.pack("<BBQQ", 3, 1, offset - BASE, int(np.prod(shape)) * dtype.itemsize)
    parts = [header(message(1, space), message(3, datatype(dtype)), message(5, bytes([3, 9])), message(8, place))]
    at = 48
    for name in ("data", "data", "entry"):
        parts.append(group(**{name: at}))
        at += len(parts[-2])
    superblock = b"\x89HDF\r\n\x1a\n" + bytes([2, 8, 8, 0])
    superblock += struct.pack("<QQQQ", BASE, UNDEFINED, path.stat().st_size, at)
    block = superblock + struct.pack("<I", lookup3(superblock)) + b"".join(parts)
    content = bytearray(path.read_bytes())
    assert not any(content[BASE : BASE + len(block)])
    content[BASE : BASE + len(block)] = block
    path.write_bytes(content)
    return path
