"""Missing frames of exports: an array of what was written, also of several files, of a pickle and for xarray."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import lys_storage

GRID, FRAME = (3, 4), (2, 2)
THERE = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]], bool)


def export(path: Path, there: np.ndarray = THERE, *, grid_ndim: int = 2) -> Path:
    """`there`: which frames are written."""
    with lys_storage.create(path, (*GRID, *FRAME), "u2", grid_ndim=grid_ndim, fill_value=9) as scan:
        for index in np.argwhere(there).tolist():
            scan[tuple(index)] = np.full((*GRID, *FRAME)[grid_ndim:], 5, "u2")
    return path


def test_the_written_frames_are_those_of_the_scan(tmp_path: Path) -> None:
    with lys_storage.open_wave(export(tmp_path / "a.npz")) as wave:
        assert not wave.is_complete
        assert wave.written.dtype == bool
        assert np.array_equal(wave.written, THERE)
        assert np.array_equal(wave.read()[..., 0, 0] == 5, THERE)


def test_a_complete_export_has_all_frames(tmp_path: Path) -> None:
    with lys_storage.open_wave(export(tmp_path / "a.npz", np.ones(GRID, bool))) as wave:
        assert wave.is_complete
        assert wave.written.shape == GRID
        assert wave.written.all()


@pytest.mark.parametrize(("shape", "grid"), [((3, 2, 2), (3,)), ((2, 2), ()), ((), ()), ((0, 4, 4), (0,))])
def test_a_file_of_numpy_is_complete(tmp_path: Path, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", data=np.zeros(shape))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert wave.is_complete
        assert wave.written.shape == grid
        assert wave.written.all()


def test_more_runs_than_the_list_has(tmp_path: Path) -> None:
    n = 20_011  # every second one: 10,005 runs, of which acquisition.json lists 10,000
    with lys_storage.create(tmp_path / "a.npz", (n, 1), "u1", grid_ndim=1) as scan:
        scan[::2] = np.ones(((n + 1) // 2, 1), "u1")
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert not wave.info["missing_complete"]
        assert np.array_equal(wave.written, np.arange(n) % 2 == 0)


@pytest.mark.parametrize(
    "runs",
    [
        "text",
        [[1, 2, 3]],
        [[0, "b"]],
        None,
        [[0, 1]],
        [[-7, -1]],
        [[6, 12], [0, 0]],
        [[0, 6], [3, 3]],
        [[10, 16]],
        [[0.0, 6.0]],
    ],
)
def test_a_damaged_list_is_an_error_that_names_the_file(tmp_path: Path, runs: object) -> None:
    with lys_storage.open_wave(export(tmp_path / "a.npz")) as wave:
        wave.info["missing"] = runs
        with pytest.raises(lys_storage.BadFileError, match=r"a\.npz"):
            _ = wave.written


def test_bits_that_do_not_fit_the_count_are_an_error(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (20_011, 1), "u1", grid_ndim=1) as scan:
        scan[::2] = np.ones((10_006, 1), "u1")
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        wave.info["frames_written"] += 1
        with pytest.raises(lys_storage.BadFileError, match=r"a\.npz"):
            _ = wave.written


def test_a_trimmed_export_has_the_frames_of_its_own_grid(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (4, 3, 2), "u1", grid_ndim=2, incomplete="trim") as scan:
        scan[0], scan[1, 0] = 1, 1
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert np.array_equal(wave.written, [[True, True, True], [True, False, False]])


def test_a_closed_wave_says_so(tmp_path: Path) -> None:
    wave = lys_storage.open_wave(export(tmp_path / "a.npz"))
    wave.close()
    with pytest.raises(lys_storage.ScanClosedError):
        _ = wave.written


def test_several_files_have_the_frames_of_each(tmp_path: Path) -> None:
    paths = [export(tmp_path / "a.npz", np.ones(GRID, bool)), export(tmp_path / "b.npz")]
    with lys_storage.open_waves(paths) as waves:
        assert not waves.is_complete
        assert np.array_equal(waves.written, [np.ones(GRID, bool), THERE])
        assert np.array_equal(pickle.loads(pickle.dumps(waves)).written, waves.written)
    with lys_storage.open_waves(paths[:1]) as waves:
        assert waves.is_complete
        assert waves.written.shape == (1, *GRID)


def test_of_files_with_different_grids_the_smaller_one_counts(tmp_path: Path) -> None:
    """A row of the finer grid is there if all of its frames are."""
    fine = export(tmp_path / "fine.npz", np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]], bool))
    coarse = export(tmp_path / "coarse.npz", np.array([1, 1, 0], bool), grid_ndim=1)
    with lys_storage.open_waves([fine, coarse]) as waves:
        assert np.array_equal(waves.written, [[True, False, True], [True, True, False]])


@pytest.mark.parametrize("name", ["data", "written", "method", "axis_1", "a/b", "."])
def test_each_name_of_an_axis_can_be_that_of_a_dimension(tmp_path: Path, name: str) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")
    labels = {"axis_names": [name, None], "axes": [[1.0, 2, 3], None], "units": ["mm", "K"]}
    with lys_storage.create(tmp_path / "a.npz", (3, 4), "u1", grid_ndim=1, **labels) as scan:
        scan[0] = np.full(4, 5, "u1")
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert wave.sel({name: 1.0}).tolist() == [5] * 4
        array = wave.to_xarray()
    assert array.sel({name: 1.0}).values.tolist() == [5] * 4
    with xarray.open_dataset(tmp_path / "a.npz") as dataset:
        (variable,) = dataset.data_vars
        assert variable == ("data_" if name == "data" else "data")
        assert dataset[variable].sel({name: 1.0}).values.tolist() == [5] * 4
    with lys_storage.open_waves([tmp_path / "a.npz"] * 2) as waves:
        assert waves.to_xarray().sel({name: 1.0}).shape == (2, 4)


def test_an_xarray_tells_which_frames_were_written(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")
    with lys_storage.open_wave(export(tmp_path / "a.npz")) as wave:
        array = wave.to_xarray()
        assert np.array_equal(array.written, THERE)
        assert array.written.dims == wave.dims[:2]
        assert float(array.where(array.written).mean()) == 5
    with xarray.open_dataset(tmp_path / "a.npz") as dataset:
        assert np.array_equal(dataset.written, THERE)
    with lys_storage.open_waves([tmp_path / "a.npz"] * 2, axis_name="written") as waves:
        assert waves.to_xarray().coords["written_"].shape == (2, *GRID)
    with lys_storage.open_wave(export(tmp_path / "b.npz", np.ones(GRID, bool))) as wave:
        assert "written" not in wave.to_xarray().coords
