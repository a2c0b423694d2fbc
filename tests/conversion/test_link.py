"""`link`: several files as one HDF5 array, by virtual datasets or by external storage, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import AxisLengthError, BadFileError, ConversionError, NameTakenError, convert, link
from lys_storage.conversion import linking, parts
from tests.helpers import interrupt, make_link, some
from tests.preview.sources import write_scan

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
DATA = "entry/data/data"


def exports(folder: Path, count: int = 3, dtype: Any = "u2", **options: Any) -> tuple[list[Path], np.ndarray[Any, Any]]:
    """`count` exports in folders of their own, and their arrays."""
    arrays = [some((2, 3, 4), dtype, seed) for seed in range(count)]
    options = {"axes": [[0.5, 1.5], None, None], "axis_names": ["y", None, None], **options}
    paths = [write_scan(folder / f"run {k}" / "100%0b ä.npz", array, 1, **options) for k, array in enumerate(arrays)]
    return paths, np.stack(arrays).astype(arrays[0].dtype)


def in_another_process(path: Path, cwd: Path) -> Any:
    """The array as a reader in the working directory `cwd` sees it."""
    code = "import h5py, json, sys\nwith h5py.File(sys.argv[1]) as f: print(json.dumps(f['entry/data/data'][...].tolist()))"
    child = subprocess.run([sys.executable, "-c", code, str(path)], cwd=cwd, capture_output=True, text=True, timeout=60)
    return json.loads(child.stdout) if child.returncode == 0 else child.stderr.splitlines()[-1]


@pytest.mark.parametrize("way", ["virtual", "external", "converted"])
def test_the_files_are_one_array_in_each_working_directory(tmp_path: Path, way: str) -> None:
    paths, expected = exports(tmp_path, hdf5=way == "virtual")
    if way == "converted":
        paths = [convert(path, path.with_suffix(".h5")).path for path in paths]
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "all.nxs"
    result = link(paths, out, axis_name="temperature", axis=[10, 20, 30])
    assert (result.shape, result.dtype, result.warnings) == ((3, 2, 3, 4), "uint16", ())
    assert result.way == ("external" if way == "external" else "virtual")
    for cwd in (tmp_path, tmp_path / "out", Path("/")):
        assert in_another_process(out, cwd) == expected.tolist()
    with h5py.File(out, "r") as file:
        data = file["entry/data"]
        assert np.array_equal(data["data"], expected)
        assert data["data"].dtype == np.uint16
        assert data.attrs["axes"].tolist() == ["temperature", "y", *data.attrs["axes"].tolist()[2:]]
        assert data["temperature"][...].tolist() == [10, 20, 30]
        assert data["y"][...].tolist() == [0.5, 1.5]
        assert [Path(name.decode()) for name in file["entry/sources"][...]] == paths
        assert out.stat().st_size < 20_000


def test_a_virtual_link_can_be_moved_with_its_files_and_an_external_one_stays(tmp_path: Path) -> None:
    for way in ("virtual", "external"):
        folder = tmp_path / way
        paths, expected = exports(folder, hdf5=way == "virtual")
        link(paths, folder / "all.nxs")
        shutil.move(folder, tmp_path / "moved")
        seen = in_another_process(tmp_path / "moved" / "all.nxs", tmp_path)
        if way == "virtual":
            assert seen == expected.tolist()
            shutil.rmtree(tmp_path / "moved")
        else:
            assert "unable to open external raw data file" in seen  # not the fill value


def test_a_link_in_a_folder_that_is_a_symbolic_link_finds_its_files(tmp_path: Path) -> None:
    paths, expected = exports(tmp_path)
    (tmp_path / "deep" / "down").mkdir(parents=True)
    make_link(tmp_path / "short", tmp_path / "deep" / "down")
    link(paths, tmp_path / "short" / "all.nxs")
    assert in_another_process(tmp_path / "short" / "all.nxs", tmp_path) == expected.tolist()
    assert in_another_process(tmp_path / "deep" / "down" / "all.nxs", tmp_path) == expected.tolist()


def test_a_source_of_floats_that_is_gone_reads_as_nan(tmp_path: Path) -> None:
    paths, _ = exports(tmp_path, dtype="f4")
    link(paths, tmp_path / "all.nxs")
    paths[1].unlink()
    with h5py.File(tmp_path / "all.nxs", "r") as file:
        assert np.isnan(file[DATA][1]).all()
        assert not np.isnan(file[DATA][[0, 2]]).any()


def test_the_exports_do_not_change_and_cannot_be_written_through_the_link(tmp_path: Path) -> None:
    paths, _ = exports(tmp_path, hdf5=False)
    before = [path.read_bytes() for path in paths]
    link(paths, tmp_path / "all.nxs")
    assert [path.read_bytes() for path in paths] == before
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "all.nxs").stat().st_mode) == 0o444
    link(paths[:2], tmp_path / "all.nxs", overwrite=True)
    with h5py.File(tmp_path / "all.nxs", "r") as file:
        assert file[DATA].shape == (2, 2, 3, 4)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", ">u4", "f2", "f8", "c8", "S5", "M8[s]", "m8[ms]", [("a", "u2"), ("b", "f4")]]
)
def test_raw_elements_of_each_dtype_are_read(tmp_path: Path, dtype: Any) -> None:
    paths, expected = exports(tmp_path, dtype=dtype, hdf5=False)
    assert link(paths, tmp_path / "all.h5").way == "external"
    with h5py.File(tmp_path / "all.h5", "r") as file:
        seen, attributes = file[DATA][...], dict(file[DATA].attrs)
    if expected.dtype.kind in "mM":
        assert attributes["units"].startswith(("seconds since 1970-01-01", "milliseconds"))
        expected = expected.view("i8")
    assert seen.dtype == expected.dtype
    assert seen.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "dtype", ["?", ">i4", "f2", "f8", "c8", ">c16", "g", "S5", "U3", "M8[D]", [("a", "u2"), ("b", "f4")]]
)
@pytest.mark.parametrize("shape", [(), (2, 3), (1,) * 30 + (2,)], ids=lambda shape: f"{len(shape)}-d")
def test_converted_files_of_each_dtype_and_shape_are_read(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    arrays, paths = [some(shape, dtype, seed) for seed in range(3)], []
    for k, array in enumerate(arrays):
        path = write_scan(tmp_path / f"{k}.npz", array, 0)
        paths.append(convert(path, tmp_path / f"{k}.h5").path)
    assert link(paths, tmp_path / "all.h5").way == "virtual"
    with h5py.File(tmp_path / "all.h5", "r") as file:
        seen = file[DATA][...]
    for one, path in zip(seen, paths, strict=True):
        with h5py.File(path, "r") as file:
            assert one.tobytes() == file[DATA][()].tobytes()


def test_a_row_of_complex_numbers_that_is_gone_reads_as_nan(tmp_path: Path) -> None:
    paths = [convert(path, path.with_suffix(".h5")).path for path in exports(tmp_path, dtype="c8")[0]]
    link(paths, tmp_path / "all.h5")
    paths[2].unlink()
    with h5py.File(tmp_path / "all.h5", "r") as file:
        assert np.isnan(file[DATA][2]).all()


@pytest.mark.parametrize("dtype", ["U3", "M8[M]", "M8[25s]"])
def test_raw_elements_that_hdf5_does_not_know_are_converted_first(tmp_path: Path, dtype: str) -> None:
    paths, _ = exports(tmp_path, dtype=dtype, hdf5=False)
    with pytest.raises(ConversionError, match=r"convert the files to \.h5 first"):
        link(paths, tmp_path / "all.h5")
    converted = [convert(path, path.with_suffix(".h5")).path for path in paths]
    assert link(converted, tmp_path / "all.h5").shape == (3, 2, 3, 4)


@pytest.mark.parametrize("save", [np.savez_compressed, lambda path, data: np.savez(path, data=np.asfortranarray(data))])
def test_an_array_that_is_not_in_one_piece_is_converted_first(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.npz", data=some((2, 3), "u2"))
    with pytest.raises(
        ConversionError, match=r"compressed, or in Fortran order: lys-storage convert writes it as \.h5"
    ):
        link([tmp_path / "a.npz"], tmp_path / "all.nxs")
    link([convert(tmp_path / "a.npz", tmp_path / "a.h5").path], tmp_path / "all.nxs")
    assert in_another_process(tmp_path / "all.nxs", tmp_path) == [some((2, 3), "u2").tolist()]


def test_an_hdf5_file_and_an_export_without_an_hdf5_side_are_not_mixed(tmp_path: Path) -> None:
    paths, _ = exports(tmp_path, hdf5=False)
    mixed = [convert(paths[0], tmp_path / "a.h5").path, paths[1]]
    with pytest.raises(ConversionError, match=r"has no HDF5 side: lys-storage convert"):
        link(mixed, tmp_path / "all.nxs")


def test_missing_frames_are_listed(tmp_path: Path) -> None:
    one = write_scan(tmp_path / "a.npz", some((3, 4), "u2"), 1, missing={1})
    two = write_scan(tmp_path / "b.npz", some((3, 4), "u2"), 1)
    for paths in ([one, two], [convert(path, path.with_suffix(".h5")).path for path in (one, two)]):
        result = link(paths, tmp_path / "all.nxs", overwrite=True)
        assert result.warnings == ("1 frames are missing, and hold the fill value; the file lists them",)
        with h5py.File(tmp_path / "all.nxs", "r") as file:
            assert file["entry/data/written"][...].tolist() == [[True, False, True], [True, True, True]]
            assert file[DATA].attrs["frames_missing"] == 1


def test_what_differs_is_left_out_with_a_warning(tmp_path: Path) -> None:
    note = {"sample": "TaS₂"}
    one = write_scan(tmp_path / "a.npz", some((3, 4), "u2"), 1, axes=[[1, 2, 3], [1.0, 2, 3, 4]], note={**note, "t": 1})
    two = write_scan(tmp_path / "b.npz", some((3, 4), "u2"), 1, axes=[[1, 2, 4], [1.0, 2, 3, 4]], note={**note, "t": 2})
    result = link([one, two], tmp_path / "all.nxs")
    assert result.warnings == (f"the axis of axis_0 is left out: {two} has another one than {one}",)
    with h5py.File(tmp_path / "all.nxs", "r") as file:
        assert file["entry/data"].attrs["axes"].tolist() == [".", ".", "axis_1"]
        assert json.loads(file["entry/note/data"][()]) == note


@pytest.mark.parametrize(
    ("numbers", "warned"),
    [((0, 1, 10, 2), True), ((0, 1, 2, 10), False), ((10, 2, 1), False), ((2,), False), ((9, 10), False)],
)
def test_files_in_the_order_of_a_shell_are_a_warning(tmp_path: Path, numbers: tuple[int, ...], warned: bool) -> None:
    paths = [write_scan(tmp_path / f"data_{n}.npz", some((3, 4), "u2"), 1) for n in numbers]
    said = "data_10.npz comes before data_2.npz: names are sorted as text; check the order of the files"
    assert link(paths, tmp_path / "all.nxs").warnings == ((said,) if warned else ())


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    paths, _ = exports(tmp_path)
    other = write_scan(tmp_path / "b.npz", some((2, 3, 5), "u2"), 1)
    with pytest.raises(
        ConversionError, match=r"b.npz has shape \(2, 3, 5\) of uint16, and .* has \(2, 3, 4\) of uint16"
    ):
        link([*paths, other], tmp_path / "all.nxs")
    signed = write_scan(tmp_path / "c.npz", some((2, 3, 4), "i2"), 1)
    with pytest.raises(ConversionError, match="of int16"):
        link([*paths, signed], tmp_path / "all.nxs")
    with pytest.raises(ConversionError, match="there is no file to link"):
        link([], tmp_path / "all.nxs")
    with pytest.raises(ConversionError, match="pass a list"):
        link(str(paths[0]), tmp_path / "all.nxs")
    with pytest.raises(ConversionError, match=r"suffix '\.npz'"):
        link(paths, tmp_path / "all.npz")
    for axis, name in (([1, 2], None), (None, "")):
        with pytest.raises(AxisLengthError):
            link(paths, tmp_path / "all.nxs", axis=axis, axis_name=name)
    assert not (tmp_path / "all.nxs").exists()


def test_what_is_no_finished_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(BadFileError, match="is not an HDF5 file"):
        link([tmp_path / "a.h5"], tmp_path / "all.nxs")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(BadFileError, match="with the dataset /entry/data/data"):
        link([tmp_path / "b.h5"], tmp_path / "all.nxs")
    with pytest.raises(BadFileError, match="is a scan in progress"):
        link([interrupt(tmp_path / "c.npz")], tmp_path / "all.nxs")
    with pytest.raises(lys_storage.StorageOSError, match="No such file"):
        link([tmp_path / "none.npz"], tmp_path / "all.nxs")


def test_an_hdf5_side_of_another_array_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, _ = exports(tmp_path)
    with h5py.File(paths[0], "r") as file:
        (other,) = [f"/entry/data/{name}" for name in ("written", "missing") if f"/entry/data/{name}" in file]
    monkeypatch.setattr(parts, "DATASET", other)
    with pytest.raises(BadFileError, match=r"its HDF5 side has an array \(2,\) of bool"):
        link(paths, tmp_path / "all.nxs")


def test_no_file_is_replaced_unless_it_is_asked_for_and_never_one_of_the_sources(tmp_path: Path) -> None:
    paths, _ = exports(tmp_path)
    converted = [convert(path, path.with_suffix(".h5")).path for path in paths]
    with pytest.raises(NameTakenError, match="exists already"):
        link(converted, converted[1])
    with pytest.raises(ConversionError, match="is one of the files to link"):
        link(converted, converted[1], overwrite=True)


def test_more_files_than_external_storage_takes_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, _ = exports(tmp_path, hdf5=False)
    monkeypatch.setattr(linking, "_MOST_EXTERNAL", 2)
    with pytest.raises(ConversionError, match="3 files are more than HDF5 links without an HDF5 side"):
        link(paths, tmp_path / "all.nxs")


def test_the_limit_of_external_files_fits_into_hdf5(tmp_path: Path) -> None:
    """The list of files is a message of an object header."""
    one = write_scan(tmp_path / "a.npz", np.arange(3, dtype="u2"), 0)
    with lys_storage.open_wave(one) as wave:
        places = [(str(one), wave.array_offset, 6)] * linking._MOST_EXTERNAL
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file.create_dataset("data", (len(places), 3), "u2", external=places)
        assert file["data"][-1].tolist() == [0, 1, 2]
