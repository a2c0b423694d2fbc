"""HDF5 metadata as bytes: the checksum, and the types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lys_storage.format.hdf5 import datatype, has_hdf5_type, lookup3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xDEADBEEF),
        (b"Four score and seven years ago", 0x17770551),
    ],
    ids=["nothing", "a sentence"],
)
def test_the_checksum_is_that_of_its_author(data: bytes, expected: int) -> None:
    """The values of driver5() in lookup3.c, for hashlittle with the value 0."""
    assert lookup3(data) == expected


def test_the_checksum_takes_each_length() -> None:
    """Also multiples of 12, where no part is left. The checksums of all lengths differ."""
    assert len({lookup3(bytes(n)) for n in range(100)}) == 100


LARGER = pytest.mark.skipif(np.dtype("g") == np.dtype("f8"), reason="a long double is a float64 here")


@pytest.mark.parametrize(
    "dtype",
    ["U3", "V4", [("a", "i4")], pytest.param("g", marks=LARGER), pytest.param("G", marks=LARGER)],
    ids=str,
)
def test_other_types_have_no_simple_one_in_hdf5(dtype: Any) -> None:
    """Long doubles differ between machines, and HDF5 has no text of four bytes a character."""
    assert datatype(np.dtype(dtype)) is None
    assert not has_hdf5_type((2,), np.dtype(dtype))


def test_an_array_can_have_at_most_32_dimensions() -> None:
    assert (has_hdf5_type((1,) * 32, np.dtype("u1")), has_hdf5_type((1,) * 33, np.dtype("u1"))) == (True, False)
