"""`wave[i, j]` with ints takes a shorter way than other indices. Both give the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, ScanClosedError, StorageOSError
from lys_storage.reading import array_file
from tests.helpers import assert_same_array, some

SHAPE = (3, 4, 2, 5)
INDICES = [(), 0, 2, (1,), (2, 3), (0, 0, 1), (2, 3, 1, 4), (1, 0, 0, 0)]
DTYPES = ["u1", "f8", ">i4", "?", "c16", "M8[s]", "U3", [("x", "<f8"), ("n", "S2")], "g"]


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the general way was taken."""
    taken: list[Any] = []
    real = array_file.select

    def select(index: Any, *more: Any) -> Any:
        taken.append(index)
        return real(index, *more)

    monkeypatch.setattr(array_file, "select", select)
    return taken


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ints_select_what_numpy_selects(tmp_path: Path, general: list[Any], dtype: Any) -> None:
    data = some(SHAPE, dtype)
    np.savez(tmp_path / "a.npz", data=data)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        data = data.view(wave.dtype)  # "g" is another name of "f8" on Windows, with a type of its own
        for index in INDICES:
            frame = np.asarray(data)[(*((index,) if isinstance(index, int) else index), ...)]
            assert_same_array(wave.read(index), frame)
            assert (type(wave.read(index)), wave.read(index).flags.writeable) == (np.ndarray, True)
            assert type(wave[index]) is type(data[index])
            assert np.all(wave[index] == data[index])
        assert general == []
        for index in (np.int64(1), (np.uint8(2), 3), (np.intp(0), np.int8(2))):
            assert_same_array(wave[index], data[index])
        assert general == []
        for index in (-1, (0, -1), (np.int64(-1), 0), (1, ...), (0, slice(1, 2)), np.array(1), (0, np.array(1))):
            assert_same_array(wave[index], data[index])
        assert len(general) == 7


@pytest.mark.parametrize(
    ("array", "save"),
    [
        pytest.param(np.asfortranarray(some((3, 4), "i4")), np.savez, id="Fortran order"),
        pytest.param(some((3, 4), "i4"), np.savez_compressed, id="compressed"),
        pytest.param(np.array(2.5), np.savez_compressed, id="compressed, 0-d"),
        pytest.param(np.array(2.5), np.savez, id="0-d"),
        pytest.param(np.zeros((3, 4, 0)), np.savez, id="empty"),
        pytest.param(np.zeros((3, 4), "S0"), np.savez, id="elements without bytes"),
        pytest.param(some((1,) * 32, "i2"), np.savez, id="32 dimensions"),
    ],
)
def test_arrays_without_contiguous_frames_are_read_as_well(tmp_path: Path, array: Any, save: Any) -> None:
    save(tmp_path / "a.npz", data=array)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        for index in ((), *([(0,) * min(array.ndim, 2), 0] if array.ndim else [])):
            assert_same_array(wave.read(index), array[index])


@pytest.mark.parametrize(
    "index",
    [
        3,
        (0, 4),
        (2, 3, 1, 5),
        (0, 0, 0, 0, 0),
        -4,
        (0, True),
        True,
        np.True_,
        (np.False_,),
        1.0,
        None,
        [0],
        np.ones(2, int),
        np.int64(3),
    ],
)
def test_an_index_that_selects_nothing_is_an_error_as_before(tmp_path: Path, index: Any) -> None:
    np.savez(tmp_path / "a.npz", data=some(SHAPE, "u2"))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        for read in (wave.__getitem__, wave.read):
            with pytest.raises(FrameIndexError):
                read(index)


def test_a_file_that_was_cut_and_a_closed_wave_are_errors(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (4, 1000), "f8", grid_ndim=1) as scan:
        scan[...] = np.ones((4, 1000))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        with open(tmp_path / "a.npz", "r+b") as file:
            file.truncate(wave.array_offset + 3 * 8000 + 5)
        assert wave[2].sum() == 1000
        with pytest.raises(StorageOSError, match="ends before the end of its array"):
            wave[3]
    for read in (wave.__getitem__, wave.read):
        with pytest.raises(ScanClosedError, match="open_wave"):
            read(0)
