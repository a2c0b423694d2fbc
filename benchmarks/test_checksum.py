"""The cost of a checksum, and of the combination of checksums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lys_storage.format import combine, crc32, crc32_repeated, fold

GROUP = "checksum"
NOISE = np.random.default_rng(0).bytes(16 << 20)
full = pytest.mark.full


@pytest.mark.parametrize("size", [64, 8192, 512 << 10, 16 << 20], ids=lambda n: f"{n} bytes")
def test_crc32_of_a_frame(measure: Any, size: int) -> None:
    frames = [memoryview(NOISE)[at : at + size] for at in range(0, min(len(NOISE), 2000 * size), size)]
    measure(lambda: [crc32(frame) for frame in frames], items=len(frames))


@pytest.mark.parametrize("size", [8192, 1 << 40], ids=lambda n: f"{n} bytes")
def test_combine_two(measure: Any, size: int) -> None:
    measure(lambda: [combine(1234567, 7654321, size) for _ in range(1000)], items=1000, per="pair")


@pytest.mark.parametrize("count", [100, 1000, 10_000, 100_000, 1_000_000, pytest.param(10_000_000, marks=full)])
def test_fold(measure: Any, count: int) -> None:
    """The checksum of `count` frames of 8 KiB, from the checksums of the frames."""
    sums = np.random.default_rng(1).integers(0, 1 << 32, count, "u4")
    each = measure(lambda: fold(sums, 8192), items=count, per="sum")
    assert count < 100_000 or each < 1e-6


def test_crc32_of_a_fill_value_over_a_terabyte(measure: Any) -> None:
    measure(lambda: crc32_repeated(b"\0\0\0\0\0\0\xf8\x7f", (1 << 40) // 8), per="terabyte")
