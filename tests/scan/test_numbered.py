"""`create(numbered=True)` gives a script the numbers that DataStorage uses."""

from __future__ import annotations

from pathlib import Path

import pytest

import lys_storage
from lys_storage import ScanShapeError
from tests.helpers import files


def test_each_scan_gets_the_next_free_number(tmp_path: Path) -> None:
    for expected in range(3):
        with lys_storage.create(tmp_path / "run" / "data", (2,), numbered=True) as scan:
            assert (scan.number, scan.path.name) == (expected, f"data_{expected}.npz")
            scan[...] = [expected, expected]
    assert files(tmp_path) == {"run/data_0.npz", "run/data_1.npz", "run/data_2.npz"}


def test_a_suffix_is_no_part_of_the_name(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "data.npz", (2,), numbered=True) as scan:
        assert scan.path == tmp_path / "data_0.npz"


def test_a_number_in_progress_and_a_file_of_that_number_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "data_0.npz").write_bytes(b"mine")
    first = lys_storage.create(tmp_path / "data", (2,), numbered=True)
    second = lys_storage.create(tmp_path / "data", (2,), numbered=True)
    assert (first.number, second.number) == (1, 2)
    first.discard()
    second.discard()
    assert (tmp_path / "data_0.npz").read_bytes() == b"mine"


def test_a_numbered_scan_replaces_nothing(tmp_path: Path) -> None:
    with pytest.raises(ScanShapeError, match="numbered and overwrite are both True"):
        lys_storage.create(tmp_path / "data", (2,), numbered=True, overwrite=True)
    assert list(tmp_path.iterdir()) == []
