"""What can be created as a scan, under which names, and what a running scan shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanShapeError
from tests.helpers import files
from tests.scan.scans import begin

# -- what can be created -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param((2, 0), "f8", id="an empty dimension"),
        pytest.param((-1,), "f8", id="a negative one"),
        pytest.param((2.0,), "f8", id="a float"),
        pytest.param((True,), "f8", id="a bool"),
        pytest.param(None, "f8", id="none"),
        pytest.param("12", "f8", id="text"),
        pytest.param((1 << 40, 1 << 40), "f8", id="more than can be addressed"),
        pytest.param((1,) * 33, "f8", id="more dimensions than numpy has"),
        pytest.param((2,), "O", id="objects"),
        pytest.param((2,), [("a", "O")], id="objects in a field"),
        pytest.param((2,), "V0", id="no bytes"),
        pytest.param((2,), "U", id="text of no length"),
        pytest.param((2,), ("f8", (3,)), id="a sub-array"),
        pytest.param((2,), "no dtype", id="no dtype"),
    ],
)
def test_a_shape_or_dtype_that_no_scan_can_have_is_refused_with_nothing_left_behind(
    tmp_path: Path, shape: Any, dtype: Any
) -> None:
    with pytest.raises(ScanShapeError):
        begin(tmp_path / "new", shape, dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_shape_may_be_one_number_and_of_numpys_ints(tmp_path: Path) -> None:
    assert begin(tmp_path / "a", 3).close() == tmp_path / "a" / "data.npz"
    with begin(tmp_path / "b", np.array([2, 3])) as scan:
        assert scan.shape == (2, 3)
        assert all(type(n) is int for n in scan.shape)


def test_the_folder_is_made_and_npz_is_added_to_the_name(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a" / "b" / "scan.v1", (2,)) as scan:
        assert scan.path == tmp_path / "a" / "b" / "scan.v1.npz"
    assert files(tmp_path) == {"a/b/scan.v1.npz"}


def test_a_path_may_be_text_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lys_storage.create("run/data_0.npz", (2,)):
        pass
    assert files(tmp_path) == {"run/data_0.npz"}


@pytest.mark.parametrize(
    "dtype",
    [
        {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]},
        {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [4, 0]},
    ],
    ids=["fields that overlap", "fields out of order"],
)
def test_a_dtype_that_no_npy_can_say_is_refused_by_the_family(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(lys_storage.ScanShapeError):
        lys_storage.create(tmp_path / "data.npz", (2,), np.dtype(dtype))
    assert files(tmp_path) == set()


# -- while it runs -----------------------------------------------------------------------------------------------------


def test_the_running_scan_can_be_looked_at_and_not_changed(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 3), "i4") as scan:
        view = scan.array
        assert (view.flags.writeable, view.dtype, view.shape) == (False, np.dtype("i4"), (2, 3))
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1
        scan[1] = np.array([1, 2, 3], "i4")
        assert view.tolist() == [[0, 0, 0], [1, 2, 3]], "the map shows what comes later"
        assert scan.read(1).tolist() == [1, 2, 3]
        assert scan.read((slice(None), 1)).tolist() == [0, 2]
        del view


def test_the_repr_of_a_scan_says_where_it_is_and_how_far(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 3), "i4", grid_ndim=1)
    scan[0] = np.zeros(3, "i4")
    assert repr(scan) == f"<Scan {tmp_path}/data.npz (2, 3) int32: 1 of 2 frames, open>".replace("/", os.sep)
    scan.close()
    assert repr(scan).endswith("1 of 2 frames, saved>")


def test_an_interrupt_before_the_space_is_claimed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal without its scan file would block the name for every later scan."""

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lys_storage.scan.creation.ScanSpace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lys_storage.create(tmp_path / "a.npz", (2, 3), "u1", grid_ndim=1)
    assert list(tmp_path.iterdir()) == []
    lys_storage.create(tmp_path / "a.npz", (2, 3), "u1", grid_ndim=1).close()
