"""CRC-32 and its combination, against zlib."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lys_storage.format import combine, crc32, crc32_repeated, fold


@given(st.binary(), st.integers(0, 0xFFFFFFFF))
def test_the_checksum_is_that_of_zlib(data: bytes, start: int) -> None:
    assert crc32(data, start) == zlib.crc32(data, start)


@given(st.binary(), st.binary())
def test_the_checksum_of_a_whole_follows_from_those_of_its_parts(a: bytes, b: bytes) -> None:
    assert combine(zlib.crc32(a), zlib.crc32(b), len(b)) == zlib.crc32(a + b)


@given(st.lists(st.binary(), max_size=20))
def test_any_number_of_parts_combine_from_left_to_right(parts: list[bytes]) -> None:
    total = 0
    for part in parts:
        total = combine(total, zlib.crc32(part), len(part))
    assert total == zlib.crc32(b"".join(parts))


@given(st.integers(0, 300), st.integers(1, 70), st.randoms(use_true_random=False))
def test_fold_is_the_checksum_of_equal_blocks_put_together(count: int, size: int, random: object) -> None:
    """This includes any count, and odd counts at any level of the halving."""
    data = random.randbytes(count * size)  # type: ignore[attr-defined]
    crcs = np.array([zlib.crc32(data[k * size : (k + 1) * size]) for k in range(count)], np.uint32)
    before = crcs.copy()
    assert fold(crcs, size) == zlib.crc32(data)
    assert np.array_equal(crcs, before), "what is asked for is not changed"


def test_fold_reads_checksums_of_any_byte_order_and_stride() -> None:
    data = np.random.default_rng(1).bytes(100 * 8)
    crcs = [zlib.crc32(data[8 * k : 8 * k + 8]) for k in range(100)]
    strided = np.zeros(200, ">u4")
    strided[::2] = crcs
    assert fold(strided[::2], 8) == zlib.crc32(data)  # type: ignore[arg-type]


@given(st.binary(min_size=1, max_size=9), st.integers(0, 2000))
def test_a_repeated_pattern_has_the_checksum_of_what_it_spells_out(pattern: bytes, count: int) -> None:
    assert crc32_repeated(pattern, count) == zlib.crc32(pattern * count)


@pytest.mark.parametrize("size", [1 << 31, (1 << 32) + 1, 3 << 33], ids=["2 GiB", "4 GiB and a byte", "24 GiB"])
def test_sizes_beyond_32_bits_combine(size: int) -> None:
    """Adding zeros piece by piece gives the same result as adding them at once."""
    piecewise = 0x12345678
    for _ in range(4):
        piecewise = combine(piecewise, 0, size // 4)
    piecewise = combine(piecewise, 0, size % 4)
    assert combine(0x12345678, 0, size) == piecewise
    assert crc32_repeated(b"\0", size) == combine(crc32_repeated(b"\0", size // 2), *_half(size))


def _half(size: int) -> tuple[int, int]:
    rest = size - size // 2
    return crc32_repeated(b"\0", rest), rest
