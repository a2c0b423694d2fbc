"""`open_waves`: several exports as one lazy array."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import (
    AxisLengthError,
    BadFileError,
    CoordinateError,
    FrameIndexError,
    NotEnoughMemoryError,
    ScanClosedError,
    ScanShapeError,
    StorageOSError,
    StoredWaves,
)
from lys_storage.disk.systems import SYSTEM
from lys_storage.reading import array_file, source
from tests.helpers import assert_same_array, open_below, some

DATA = some((6, 4, 2, 3), "i4")


def write(path: Path, data: Any, **options: Any) -> Path:
    with lys_storage.create(path, data.shape, data.dtype, **{"grid_ndim": min(1, data.ndim), **options}) as scan:
        scan[...] = data
    return scan.path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Six files of 4 frames of 2 x 3. The second axis and the temperature differ from file to file."""
    return [
        write(
            tmp_path / f"data_{k}.npz",
            DATA[k],
            axes=[[0.5, 1, 2, 3], [k, k + 1]],
            axis_names=["delay", "row", None],
            units=["ps", None, "pixel"],
            note={"sample": "TaS2", "temperature": 4.0 + k, "dose": np.arange(3)},
        )
        for k in range(6)
    ]


def test_files_are_one_array_with_a_new_first_axis(paths: list[Path]) -> None:
    with lys_storage.open_waves(paths) as waves:
        assert (waves.shape, waves.dtype, waves.ndim, len(waves), waves.paths) == (DATA.shape, DATA.dtype, 4, 6, paths)
        for index in (
            np.s_[...],
            np.s_[2],
            np.s_[-1, 3],
            np.s_[::-2, 1:, 0],
            np.s_[1:1],
            np.s_[..., 1],
            np.s_[4, 3, 1, 2],
            np.s_[4, -9::-1],
            np.s_[:, 0, -9::-1],
        ):
            assert_same_array(waves[index], DATA[index])
            assert_same_array(waves.read(index), DATA[index])
        assert_same_array(np.asarray(waves), DATA)
        assert_same_array(waves.read(), DATA)
        for frame, expected in zip(waves, DATA, strict=True):
            assert_same_array(frame, expected)
        with pytest.raises(FrameIndexError, match="masks and lists are taken by to_dask"):
            waves[[0, 1]]
        with pytest.raises(TypeError, match=r"waves\.read takes one index, got 2 arguments"):
            waves.read(0, 1)


def test_labels_that_differ_between_the_files_are_left_out(paths: list[Path]) -> None:
    with lys_storage.open_waves(paths, axis_name="run", axis=[10, 20, 30, 40, 50, 60]) as waves:
        assert waves.dims == ("run", "delay", "row", "axis_3")
        assert waves.units == [None, "ps", None, "pixel"]
        assert [None if axis is None else axis.tolist() for axis in waves.stored_axes] == [
            [10, 20, 30, 40, 50, 60],
            [0.5, 1, 2, 3],
            None,
            [0.0, 1, 2],
        ]
        assert waves.axes[2].tolist() == [0.0, 1.0]
        assert (set(waves.note), waves.note["sample"]) == ({"sample", "dose"}, "TaS2")
        assert_same_array(waves.sel(run=30, delay=slice(0.7, 2)), DATA[2, 1:3])
        with pytest.raises(CoordinateError, match=r"run has no coordinate 31; the nearest are 30 \(position 2\)"):
            waves.sel(run=31)
        assert repr(waves).splitlines() == [
            f"<StoredWaves {paths[0]} ... (6, 4, 2, 3) int32",
            "  run: 10 ... 60 (6 points)",
            "  delay: 0.5 ... 3.0 ps (4 points)",
            "  row: 0.0 ... 1.0 (2 points)",
            "  axis_3: 0.0 ... 2.0 pixel (3 points)>",
        ]
        assert f"6, from {paths[0]} to {paths[5]}" in waves._repr_html_()


def test_one_file_and_any_iterable_of_paths_will_do(paths: list[Path]) -> None:
    with lys_storage.open_waves(os.fspath(path) for path in paths[:1]) as waves:
        assert_same_array(waves[...], DATA[:1])
        assert (waves.note["temperature"], waves.axes[2].tolist()) == (4.0, [0, 1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.zeros((4, 2, 4), "i4"), "has the shape (4, 2, 4) of int32, expected (4, 2, 3) of int32 as "),
        (np.zeros((4, 2, 3), "u4"), "has the shape (4, 2, 3) of uint32, expected (4, 2, 3) of int32 as "),
        (np.zeros((4, 2), "i4"), "has the shape (4, 2) of int32, expected (4, 2, 3) of int32 as "),
    ],
)
def test_the_error_names_the_file_that_differs(paths: list[Path], tmp_path: Path, data: Any, said: str) -> None:
    other = write(tmp_path / "other.npz", data)
    with pytest.raises(ScanShapeError) as caught:
        lys_storage.open_waves([*paths[:2], other, paths[2]])
    assert str(caught.value) == f"{other} {said}{paths[0]}: leave it out, or open it alone"


def test_what_is_no_list_of_exports_is_refused(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ScanShapeError, match="paths has no file"):
        lys_storage.open_waves(tmp_path.glob("none_*.npz"))
    for path in (paths[0], str(paths[0])):
        with pytest.raises(ScanShapeError, match="expected several: pass a list, or use open_wave"):
            lys_storage.open_waves(path)  # type: ignore[arg-type]
    with pytest.raises(AxisLengthError, match="axis 0 has 2 points, expected 6"):
        lys_storage.open_waves(paths, axis=[1, 2])
    with pytest.raises(AxisLengthError, match="axis_names has 'delay' twice"):
        lys_storage.open_waves(paths, axis_name="delay")
    with pytest.raises(StorageOSError, match=r"none\.npz"):
        lys_storage.open_waves([paths[0], tmp_path / "none.npz"])


def test_few_files_are_open_at_a_time(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_MOST_OPEN", 2)
    with lys_storage.open_waves(paths) as waves:
        assert open_below(tmp_path) == []
        for k in (0, 5, 3, 3, 1):
            assert_same_array(waves[k], DATA[k])
            assert len(open_below(tmp_path)) <= 2
        assert open_below(tmp_path) == [str(paths[1]), str(paths[3])]
    assert open_below(tmp_path) == []


def test_a_frame_of_a_stack_is_read_and_no_more(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the number of files: only frame 1 of each of two files is read."""
    shapes = []
    read = array_file.ArrayFile.read

    def note(array: Any, index: Any) -> Any:
        result = read(array, index)
        shapes.append((array.path, result.shape))
        return result

    monkeypatch.setattr(array_file.ArrayFile, "read", note)
    with lys_storage.open_waves(paths) as waves:
        waves[2:4, 1]
    assert shapes == [(paths[2], (2, 3)), (paths[3], (2, 3))]


def test_a_file_that_is_replaced_is_an_error(paths: list[Path], tmp_path: Path) -> None:
    with lys_storage.open_waves(paths) as waves:
        os.replace(write(tmp_path / "new.npz", DATA[4] + 1), paths[4])
        assert_same_array(waves[3], DATA[3])
        with pytest.raises(BadFileError, match=r"data_4\.npz: is another file now"):
            waves[...]


def test_a_pickle_holds_the_paths(paths: list[Path]) -> None:
    with lys_storage.open_waves(paths, axis_name="run") as waves:
        for again in (pickle.loads(pickle.dumps(waves)), copy.copy(waves), copy.deepcopy(waves)):
            assert isinstance(again, StoredWaves)
            assert_same_array(again[...], DATA)
            assert (again.dims, again.note["sample"]) == (waves.dims, "TaS2")
        assert len(pickle.dumps(waves)) < 3000 + 6 * len(str(paths[0]))
    for deed in (pickle.dumps, np.asarray, lambda waves: waves[0]):
        with pytest.raises(ScanClosedError, match="open them again with open_waves"):
            deed(waves)


def test_more_than_the_memory_is_a_memory_error_in_words(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEM, "available_memory", lambda: DATA.nbytes - 1)
    with lys_storage.open_waves(paths) as waves:
        assert_same_array(waves[1:3], DATA[1:3])
        with pytest.raises(
            NotEnoughMemoryError, match=r"the array of 6 files, of shape .* needs 576 bytes of memory; 575"
        ):
            np.asarray(waves)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("data", [np.array(7.5), np.asfortranarray(DATA[0]), np.zeros((0, 3))])
def test_files_of_other_programs_are_stacked(tmp_path: Path, save: Any, data: Any) -> None:
    for k in range(3):
        save(tmp_path / f"{k}.npz", data=data + k)
    with lys_storage.open_waves(tmp_path / f"{k}.npz" for k in range(3)) as waves:
        assert_same_array(waves[...], np.stack([data + k for k in range(3)]))
        assert waves._frame_chunks() == (1 if data.ndim > 1 and np.isfortran(data) else 3, *data.shape)


def test_a_dask_array_of_a_stack(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("dask", reason="dask is not installed: pip install 'lys_storage[dask]'")
    with lys_storage.open_waves(paths) as waves:
        assert waves.to_dask().chunks == ((6,), (4,), (2,), (3,))
        monkeypatch.setattr("lys_storage.format.chunks.CHUNK_BYTES", DATA[0].nbytes * 2)
        lazy = waves.to_dask()
    assert lazy.chunks == ((2, 2, 2), (4,), (2,), (3,))
    with dask.config.set(scheduler="synchronous"):
        assert_same_array(lazy.compute(), DATA)
        assert_same_array(pickle.loads(pickle.dumps(lazy))[3, 1].compute(), DATA[3, 1])


def test_an_xarray_of_a_stack(paths: list[Path]) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")
    with lys_storage.open_waves(paths, axis_name="temperature", axis=np.arange(4.0, 10)) as waves:
        array = waves.to_xarray()
    assert array.dims == ("temperature", "delay", "row", "axis_3")
    assert_same_array(array.sel(temperature=5.0, delay=slice(1, 2)).values, DATA[1, 1:3])
