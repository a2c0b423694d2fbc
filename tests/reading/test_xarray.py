"""`to_xarray` and `xarray.open_dataset`: labelled arrays that read a file by its path."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ScanClosedError
from lys_storage.disk import File
from tests.helpers import assert_same_array, open_below, some

xarray = pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")

DATA = some((4, 5, 2, 3), "i4")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """No thread of dask outlives a test."""
    dask = pytest.importorskip("dask", reason="dask is not installed: pip install 'lys_storage[dask]'")
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    axes: dict[str, Any] = {
        "axes": [[4.0, 3, 2, 1.5], np.linspace(0, 1, 5), None, None],
        "axis_names": ["y", "x", None, "column"],
        "units": ["mm", None, "pixel", None],
        "note": {"sample": "TaS2", 3: [1, 2]},
    }
    with lys_storage.create(tmp_path / "data.npz", DATA.shape, DATA.dtype, grid_ndim=2, **axes) as scan:
        scan[...] = DATA
    return scan.path


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the reads of arrays."""
    sizes: list[int] = []
    real = File.read_into

    def count(file: File, buffer: Any, offset: int) -> int:
        if len(buffer) % DATA[0, 0, 0].nbytes == 0:
            sizes.append(len(buffer))
        return real(file, buffer, offset)

    monkeypatch.setattr(File, "read_into", count)
    return sizes


def test_a_data_array_has_the_dimensions_coordinates_units_and_note(path: Path) -> None:
    with lys_storage.open_wave(path) as wave:
        array = wave.to_xarray()
    assert (array.name, array.dims, array.shape, array.dtype) == (
        "data",
        ("y", "x", "axis_2", "column"),
        DATA.shape,
        DATA.dtype,
    )
    assert array.attrs == {"sample": "TaS2", "3": [1, 2]}
    assert array.y.values.tolist() == [4.0, 3, 2, 1.5]
    assert {name: array[name].attrs for name in array.coords} == {
        "y": {"units": "mm"},
        "x": {},
        "axis_2": {"units": "pixel"},
        "column": {},
    }
    assert_same_array(array.values, DATA)


def test_sel_of_xarray_and_sel_of_the_wave_agree(path: Path) -> None:
    with lys_storage.open_wave(path) as wave:
        array = wave.to_xarray()
        for labels in (
            {"y": 1.5, "x": slice(0.25, 0.8)},
            {"y": slice(3, 1.5)},
            {"y": slice(3.5, None, 2), "axis_2": 1.0},
            {"x": slice(0.3, 0.4)},
        ):
            assert_same_array(wave.sel(labels), array.sel(labels).values)
        for y in np.linspace(0, 5, 21):
            assert_same_array(wave.sel(y=y, method="nearest"), array.sel(y=y, method="nearest").values)


def test_without_chunks_what_is_selected_is_read_and_no_more(path: Path, read_bytes: list[int]) -> None:
    with lys_storage.open_wave(path) as wave:
        array = wave.to_xarray()
        selected = array.sel(y=2.0).isel(x=[4, 0], axis_2=1)
        assert sum(read_bytes) == 0
        assert_same_array(selected.values, DATA[2, [4, 0], 1])
        assert sum(read_bytes) == DATA[2, [4, 0], 1].nbytes


@pytest.mark.parametrize(
    "index",
    [
        {"y": [3, 0], "column": [2, 1]},
        {"y": 1, "x": [0, 4], "axis_2": slice(None, None, -1)},
        {"x": []},
        {"y": -1, "x": 0, "axis_2": 1, "column": 2},
        {"x": slice(4, None, -2), "column": [0]},
    ],
)
def test_positions_are_read_as_by_numpy(path: Path, index: dict[str, Any]) -> None:
    expected = xarray.DataArray(DATA, dims=("y", "x", "axis_2", "column")).isel(index)
    with lys_storage.open_wave(path) as wave:
        assert_same_array(wave.to_xarray().isel(index).values, expected.values)
        points = xarray.DataArray([0, 1, 3], dims="point")
        assert_same_array(wave.to_xarray().isel(y=points, x=points).values, DATA[[0, 1, 3], [0, 1, 3]])


def test_with_chunks_it_is_a_dask_array(path: Path) -> None:
    with lys_storage.open_wave(path) as wave:
        array = wave.to_xarray(chunks="frame")
        assert array.chunks == ((4,), (5,), (2,), (3,))
        assert wave.to_xarray(chunks=(1, 5, 2, 3)).chunks == ((1, 1, 1, 1), (5,), (2,), (3,))
    assert_same_array(array.mean("y").values, DATA.mean(axis=0))


@pytest.mark.parametrize("chunks", [None, "frame"])
def test_a_pickle_sends_the_path(path: Path, tmp_path: Path, chunks: Any) -> None:
    with lys_storage.open_wave(path) as wave:
        pickled = pickle.dumps(wave.to_xarray(chunks))
    assert_same_array(pickle.loads(pickled).values, DATA)
    with lys_storage.create(tmp_path / "new.npz", DATA.shape, DATA.dtype) as scan:
        scan[...] = DATA + 1
    os.replace(scan.path, path)
    with pytest.raises(BadFileError, match=r"data\.npz: is another file now"):
        _ = pickle.loads(pickled).values


@pytest.mark.parametrize("dtype", [">f8", ">i2", "f2", "U3", "M8[D]", "M8[ns]", "m8[ms]"])
def test_coordinates_of_each_dtype_make_an_index(tmp_path: Path, dtype: str) -> None:
    axis = np.array([1, 2, 3]).astype("i8").astype(dtype)
    stored = np.empty(1, object)
    stored[0] = axis
    np.savez(tmp_path / "a.npz", data=np.zeros(3), axes=stored)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        array = wave.to_xarray()
        assert (array.axis_0.values == wave.axes[0]).all()
        assert array.sel(axis_0=wave.axes[0][1]).shape == ()


def test_an_axis_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    stored = np.empty(2, object)
    stored[:] = [np.arange(5.0), np.zeros((2, 2))]
    np.savez(tmp_path / "a.npz", data=np.zeros((3, 2)), axes=stored)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert dict(wave.to_xarray().coords) == {}


def test_a_closed_wave_is_refused(path: Path) -> None:
    wave = lys_storage.open_wave(path)
    wave.close()
    with pytest.raises(ScanClosedError, match="open_wave"):
        wave.to_xarray()


# -- xarray.open_dataset -----------------------------------------------------------------------------------------------


def backend() -> Any:
    from lys_storage.interop.xarray_backend import WaveBackend

    return WaveBackend


def test_open_dataset_finds_the_engine_of_an_export(path: Path) -> None:
    """It needs the entry point of the installed package: install it again after an update (`pip install -e .`)."""
    with xarray.open_dataset(path) as dataset:
        assert_same_array(dataset.data.isel(y=1).values, DATA[1])
        assert set(dataset.coords) == {"y", "x", "axis_2", "column"}
        assert dataset.data.attrs["sample"] == "TaS2"
        assert dataset.data.encoding["source"] == str(path)
    assert "lys_storage" in xarray.backends.list_engines()


@pytest.mark.parametrize("options", [{}, {"chunks": {}}, {"cache": False}, {"drop_variables": "x"}], ids=str)
def test_close_of_a_dataset_closes_the_file(path: Path, options: Any) -> None:
    dataset = xarray.open_dataset(path, engine=backend(), **options)
    assert_same_array(dataset.data.isel(y=1).values, DATA[1])
    assert open_below(path.parent) == [str(path)]
    dataset.close()
    assert open_below(path.parent) == []


def test_chunks_of_open_dataset_are_frames(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lys_storage.format.chunks.CHUNK_BYTES", 1)
    with xarray.open_dataset(path, engine=backend(), chunks={}) as dataset:
        assert dataset.data.chunks == ((1,) * 4, (1,) * 5, (2,), (3,))
        assert_same_array(dataset.data.values, DATA)


def test_variables_can_be_dropped(path: Path) -> None:
    for names in ("x", ["x", "none"]):
        with xarray.open_dataset(path, engine=backend(), drop_variables=names) as dataset:
            assert set(dataset.coords) == {"y", "axis_2", "column"}


def test_a_file_that_is_no_export_is_an_error_that_says_what_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(BadFileError, match="has no array 'data'"):
        xarray.open_dataset(tmp_path / "a.npz", engine=backend())


def test_the_engine_claims_npz_with_an_array_data_only_and_never_raises(path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    np.savez_compressed(tmp_path / "lys.npz", data=np.zeros(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "other.nc").write_bytes(path.read_bytes())
    (tmp_path / "folder.npz").mkdir()
    guess = backend()().guess_can_open
    assert [guess(path), guess(str(path)), guess(os.fsencode(path)), guess(tmp_path / "lys.npz")] == [True] * 4
    others = [*(tmp_path / name for name in ("x.npz", "text.npz", "other.nc", "folder.npz", "none.npz")), "a\0.npz"]
    assert [guess(each) for each in [*others, None, 3, b"CDF\x01", object(), ["a.npz"]]] == [False] * 11
