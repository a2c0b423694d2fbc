"""CRC-32 (that of ZIP, ISO-HDLC), and the CRC-32 of a sequence from those of its parts. Never reads the data again.

The combination is linear over GF(2): crc(A B) = shift(crc(A), len(B)) xor crc(B) (Adler's zlib, crc32_combine). numpy
therefore folds the checksums of ten million frames pairwise, without a call for each.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from isal import isal_zlib

crc32 = isal_zlib.crc32
"""crc32(data, value=0) -> int"""


def _address() -> int | None:
    """Address of crc32_gzip_refl(init, data, size) in the library of isal (ISA-L, crc.h); None if it cannot be used."""
    if sys.byteorder != "little":
        return None  # the tables of the journal are little-endian
    try:
        call = ctypes.CDLL(isal_zlib.__file__).crc32_gzip_refl
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint64), ctypes.c_uint32
    text = b"123456789" * 9
    return ctypes.cast(call, ctypes.c_void_p).value if call(5, text, len(text)) == crc32(text, 5) else None


CRC32_ADDRESS = _address()


def combine(crc_a: int, crc_b: int, size_b: int) -> int:
    """CRC-32 of A followed by B, from the CRC-32 of each and the length of B in bytes."""
    return isal_zlib.crc32_combine(crc_a, crc_b, size_b)


def crc32_repeated(pattern: bytes, count: int) -> int:
    """CRC-32 of `pattern` repeated `count` times, in O(log(count)) steps."""
    total, crc, size = 0, crc32(pattern), len(pattern)
    while count:
        if count & 1:
            total = combine(total, crc, size)
        crc, size, count = combine(crc, crc, size), 2 * size, count >> 1
    return total


@lru_cache(maxsize=64)
def _shift_tables(size: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Four tables of 256. The xor of their entries for the four bytes of a CRC is that CRC shifted by `size` bytes."""
    tables = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            tables[byte, 1 << bit : 2 << bit] = tables[byte, : 1 << bit] ^ np.uint32(
                combine(1 << (8 * byte + bit), 0, size)
            )
    return tables


def _paired(crcs: np.ndarray[Any, np.dtype[np.uint32]], size: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """CRC-32 of each pair of neighbours along the last axis (of even length). `size`: bytes of each neighbour."""
    t0, t1, t2, t3 = _shift_tables(size)
    left, right = crcs[..., ::2], crcs[..., 1::2]
    paired: np.ndarray[Any, np.dtype[np.uint32]] = (
        t0[left & 255] ^ t1[left >> 8 & 255] ^ t2[left >> 16 & 255] ^ t3[left >> 24] ^ right
    )
    return paired


def fold_rows(crcs: np.ndarray[Any, np.dtype[np.uint32]], size: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """CRC-32 of the concatenation of each row. `crcs`: uint32 of shape (rows, a power of two), of `size` bytes each."""
    while crcs.shape[1] > 1:
        crcs, size = _paired(crcs, size), 2 * size
    return crcs[:, 0]


def fold(crcs: np.ndarray[Any, np.dtype[np.uint32]], size: int) -> int:
    """CRC-32 of the concatenation of blocks. `crcs`: 1-d uint32, of `size` bytes each."""
    crcs = crcs.astype(np.uint32)
    while crcs.size > 32:
        if crcs.size % 2:  # an empty first block changes nothing: its CRC is 0
            crcs = np.concatenate((np.zeros(1, np.uint32), crcs))
        crcs, size = _paired(crcs, size), 2 * size
    total = 0
    for crc in crcs.tolist():
        total = combine(total, crc, size)
    return total
