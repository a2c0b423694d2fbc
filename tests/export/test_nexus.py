"""A scan file and its export are HDF5/NeXus files as well, which h5py reads and cannot change."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, StorageOSError
from lys_storage.disk import File
from lys_storage.export import finalization as finalization_module
from lys_storage.format import axis_dataset_names
from lys_storage.recovery import list_scans
from tests.helpers import assert_same_array, load_export, raising, some

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
_DTYPES = [
    "?",
    "i1",
    "u1",
    "i2",
    "u2",
    "i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    "c8",
    "c16",
    ">i2",
    ">u8",
    ">f8",
    ">c16",
    "S5",
]
_TIMES = ["M8[ns]", "M8[D]", "m8[us]", "M8[10ms]", ">M8[s]"]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("dtype", _DTYPES)
def test_h5py_reads_the_array_of_an_export(tmp_path: Path, dtype: str) -> None:
    """With the dtype that h5py itself would store."""
    values = some((3, 4, 5), dtype)
    with lys_storage.create(tmp_path / "a.npz", (3, 4, 5), dtype, grid_ndim=1) as scan:
        scan[...] = values
    with h5py.File(scan.path) as file:
        assert_same_array(file["/entry/data/data"][...], values)
        own = h5py.File(tmp_path / "own.h5", "w")
        own["a"] = values
        assert file["/entry/data/data"].dtype == own["a"].dtype
        own.close()
    assert lys_storage.verify(scan.path) == []


@pytest.mark.parametrize("dtype", _TIMES)
def test_times_are_the_integers_that_numpy_stores(tmp_path: Path, dtype: str) -> None:
    """Their unit is an attribute, in the words of CF, if it has no multiple; and so is the dtype of numpy."""
    values = some((3, 2), dtype)
    with lys_storage.create(tmp_path / "a.npz", (3, 2), dtype, grid_ndim=1) as scan:
        scan[...] = values
    with h5py.File(scan.path) as file:
        data = file["/entry/data/data"]
        assert_same_array(data[...].view(data.attrs["numpy_dtype"].decode()), values)
        units = {
            "M8[ns]": b"nanoseconds since 1970-01-01T00:00:00",
            "M8[D]": b"days since 1970-01-01T00:00:00",
            "m8[us]": b"microseconds",
            ">M8[s]": b"seconds since 1970-01-01T00:00:00",
        }
        assert data.attrs.get("units") == units.get(dtype)


@pytest.mark.parametrize("dtype", ["U3", "g", "V4", [("a", "i4"), ("b", "f8")]], ids=str)
def test_an_array_without_a_simple_type_in_hdf5_is_stored_without_metadata(tmp_path: Path, dtype: Any) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3,), dtype) as scan:
        assert not h5py.is_hdf5(scan.part_path)
    assert not h5py.is_hdf5(scan.path)
    assert "hdf5.bin" not in zipfile.ZipFile(scan.path).namelist()
    assert lys_storage.verify(scan.path) == []


def test_the_metadata_can_be_left_out(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3,), "u1", hdf5=False) as scan:
        assert not h5py.is_hdf5(scan.part_path)
    assert not h5py.is_hdf5(scan.path)
    assert not any(scan.path.read_bytes()[512:3000])
    with lys_storage.create(tmp_path / "b.npz", (3,), "u1", hdf5=False) as scan:
        scan.suspend()
    with lys_storage.resume(tmp_path / "b.npz"):
        assert not h5py.is_hdf5(tmp_path / "b.npz.part"), "the scan remembers it"


def test_the_tree_is_nexus(tmp_path: Path) -> None:
    """Names, units, coordinates, times, note and description are where NeXus readers look for them."""
    axes = [[0.0, 1.0, 2.5], None, np.array(["é", "bb"]), np.array(["2026-01-01"], "M8[D]")]
    options: dict[str, Any] = {"axis_names": ["x", None, "t", "when"], "units": ["mm", "px", None, None]}
    shape = (3, 100_000, 2, 1)
    with lys_storage.create(
        tmp_path / "a.npz", shape, "u1", grid_ndim=1, axes=axes, note={"Notes": "µ", "n": 3}, **options
    ) as scan:
        scan[0] = np.ones(shape[1:], "u1")
    with h5py.File(scan.path) as file:
        names = []
        file.visit(names.append)
        assert sorted(names) == sorted(
            [
                "entry",
                *(
                    f"entry/{name}"
                    for name in ("acquisition", "data", "end_time", "note", "program_name", "start_time")
                ),
            ]
            + [f"entry/data/{name}" for name in ("data", "t", "when", "written", "x")]
        )
        entry, data = file["entry"], file["entry/data"]
        assert [file.attrs["default"], entry.attrs["default"], data.attrs["signal"]] == [b"entry", b"data", b"data"]
        classes = [group.attrs["NX_class"] for group in (file, entry, data)]
        assert classes == [b"NXroot", b"NXentry", b"NXdata"]
        assert data.attrs["axes"].tolist() == [b"x", b".", b"t", b"when"], (
            "index coordinates of many points are left out"
        )
        assert data["x"][...].tolist() == [0.0, 1.0, 2.5]
        assert data["x"].attrs["units"] == b"mm"
        assert [text.decode() for text in data["t"][...]] == ["é", "bb"]
        assert data["when"][0] == np.datetime64("2026-01-01", "D").astype(int)
        assert data["written"][...].tolist() == [True, False, False]
        assert "incomplete" not in file.attrs
        assert json.loads(entry["note"][()]) == {"Notes": "µ", "n": 3}
        assert json.loads(entry["acquisition"][()]) == load_export(scan.path).info
        assert entry["start_time"][()].decode() == load_export(scan.path).info["started"]
        assert entry["end_time"][()].decode() == load_export(scan.path).info["ended"]


@pytest.mark.parametrize("ndim", [0, 1, 2, 3], ids=lambda ndim: f"frames of {ndim} dimensions")
def test_the_interpretation_is_that_of_a_frame(tmp_path: Path, ndim: int) -> None:
    with lys_storage.create(tmp_path / "a.npz", (2,) * (1 + ndim), "u1", grid_ndim=1) as scan:
        pass
    with h5py.File(scan.path) as file:
        expected = [b"scalar", b"spectrum", b"image", None][ndim]
        assert file["/entry/data/data"].attrs.get("interpretation") == expected


_SHAPES: dict[str, tuple[tuple[int, ...], int, str]] = {
    "no dimension": ((), 0, "f8"),
    "a grid of no dimension": ((3, 4), 0, "u1"),
    "one number": ((1,), 1, "u1"),
    "32 dimensions": ((1,) * 30 + (2, 3), 16, "M8[ns]"),
    "32 dimensions, all of them the grid": ((1,) * 30 + (2, 3), 32, ">c16"),
    "an array at 64 KiB": ((17, 1 << 20), 1, "u1"),
    "an array at 2 MiB, with a member of zeros before it": ((300, 1 << 21), 1, "u1"),
    "5 GiB": ((2560, 1024, 1024), 1, "u2"),
}


@pytest.mark.parametrize("name", _SHAPES)
def test_each_shape_can_be_read(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is written, and as an export, complete or not. The archive stays sound."""
    shape, grid_ndim, dtype = _SHAPES[name]
    folder = tmp_path
    if np.prod(shape) > 1 << 30:  # sparse: nothing of the disk is claimed
        monkeypatch.setattr(File, "preallocate", lambda file, offset, size, **how: False)
    scan = lys_storage.create(folder / "a.npz", shape, dtype, grid_ndim=grid_ndim, flush_interval_s=None)
    index = (0,) * grid_ndim
    value = np.full(shape[grid_ndim:], 7).astype("i8").astype(dtype)
    scan[index] = value
    with h5py.File(scan.part_path) as file:
        assert file.attrs["incomplete"] == 1
        assert file["entry"].attrs["incomplete"] == file["entry/data/data"].attrs["incomplete"] == 1
        assert (file["entry/data/data"].shape, file["entry/data/written"].shape) == (shape, shape[:grid_ndim])
        assert not np.any(file["entry/data/written"][()]), "only the journal knows which frames are written"
        assert file["entry/data/data"].id.get_offset() == scan.array.offset
    scan.close()
    with h5py.File(scan.path) as file:
        data, written = file["entry/data/data"], file["entry/data/written"]
        assert data.shape == shape
        assert_same_array(data[tuple(slice(1) for _ in index)].view(dtype)[(*index, ...)], value)
        if grid_ndim and shape[0] > 1:
            assert not np.any(data[(shape[0] - 1, *index[1:])].view("u1")), "the last frame, a long way from the first"
        assert int(np.sum(written[()])) == 1
        assert written.shape == shape[:grid_ndim]
    if np.prod(shape) < 1 << 30:
        with zipfile.ZipFile(scan.path) as archive:
            assert archive.testzip() is None
        assert lys_storage.verify(scan.path) == []


def test_a_complete_export_needs_no_bytes_for_the_frames_that_are_written(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3, 2), "u1", grid_ndim=1) as scan:
        scan[...] = np.ones((3, 2), "u1")
    with h5py.File(scan.path) as file:
        assert file["entry/data/written"][...].tolist() == [True] * 3
    assert "written.npy" not in zipfile.ZipFile(scan.path).namelist()


def test_many_missing_frames_are_told(tmp_path: Path) -> None:
    """Also more runs than acquisition.json lists."""
    with lys_storage.create(tmp_path / "a.npz", (30_001,), "u1", grid_ndim=1) as scan:
        for k in range(0, 30_001, 2):
            scan[k] = 1
    with h5py.File(scan.path) as file:
        assert file["entry/data/written"][...].tolist() == [k % 2 == 0 for k in range(30_001)]
    assert lys_storage.verify(scan.path) == []


# -- writing --------------------------------------------------------------------------------------------------------------

_CHANGES = {
    "a group": lambda file: file.create_group("x"),
    "an attribute": lambda file: file.attrs.create("x", 1),
    "an attribute of the entry": lambda file: file["entry"].attrs.create("x", 1),
    "a frame": lambda file: file["entry/data/data"].__setitem__(0, 9),
    "a removal": lambda file: file.__delitem__("entry"),
    "nothing": lambda file: file.flush(),
}


@pytest.mark.parametrize("what", _CHANGES)
@pytest.mark.parametrize("mode", ["r+", "a"])
@pytest.mark.parametrize("is_export", [True, False], ids=["export", "scan in progress"])
def test_hdf5_cannot_change_a_file(tmp_path: Path, what: str, mode: str, is_export: bool) -> None:
    """Opened for writing, it would cut the file at the end that its superblock names. The file stays as it was."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 2), "u1", grid_ndim=1, note={"a": "b" * 100_000})
    scan[0] = np.ones(2, "u1")
    scan.flush()
    if is_export:
        scan.close()
    path = scan.path if is_export else scan.part_path
    before = _digest(path)
    if not is_export:
        with pytest.raises(OSError, match="unable to lock file"):
            h5py.File(path, mode)
    with h5py.File(path, mode, locking=is_export) as file:
        if what != "nothing":
            with pytest.raises(
                (OSError, KeyError, ValueError, RuntimeError), match=r"fail if unknown|object doesn't exist"
            ):
                _CHANGES[what](file)
    assert _digest(path) == before
    assert lys_storage.verify(path) == []
    scan.close()
    assert load_export(scan.path).data.tolist() == [[1, 1], [0, 0], [0, 0]]


_READER = """
import sys, h5py
with h5py.File(sys.argv[1]) as file:
    print(file["entry/data/data"][1].tolist(), file.attrs["incomplete"], flush=True)
    sys.stdin.readline()
    print(file["entry/data/data"][2].tolist(), flush=True)
"""


def test_another_process_reads_a_scan_while_it_is_written(tmp_path: Path) -> None:
    """It holds HDF5's own lock of the file, and the writer goes on, and finalizes."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 2), "u1", grid_ndim=1)
    scan[1] = np.array([4, 5], "u1")
    command = [sys.executable, "-c", _READER, str(scan.part_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "[4, 5] 1\n"
        scan[2] = np.array([6, 7], "u1")
        scan.flush()
        scan.close()
        print(file=reader.stdin, flush=True)
        assert reader.stdout.readline() == "[6, 7]\n"
    assert reader.returncode == 0


def test_a_reader_of_an_interrupted_scan_is_not_taken_for_its_writer(tmp_path: Path) -> None:
    """HDF5 holds a shared lock of each file that it reads."""
    with lys_storage.create(tmp_path / "a.npz", (3, 2), "u1", grid_ndim=1) as scan:
        scan[1] = np.array([4, 5], "u1")
        scan.suspend()
    with h5py.File(tmp_path / "a.npz.part") as file:
        assert [entry.state for entry in list_scans(tmp_path)] == ["interrupted"]
        with lys_storage.resume(tmp_path / "a.npz") as again:
            again[2] = np.array([6, 7], "u1")
            assert file["entry/data/data"][1:].tolist() == [[4, 5], [6, 7]]
    assert load_export(tmp_path / "a.npz").data.tolist() == [[0, 0], [4, 5], [6, 7]]


# -- recovery -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["resume", "recover"])
def test_a_scan_whose_trimmed_export_failed_has_the_head_of_a_scan_in_progress_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Else its frames would be written over the objects that the head leads to."""
    with monkeypatch.context() as patch:
        scan = lys_storage.create(tmp_path / "a.npz", (4, 1 << 16), "u1", grid_ndim=1)
        scan[0] = np.full(1 << 16, 3, "u1")
        patch.setattr(finalization_module, "publish", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.close(incomplete="trim")
        scan.suspend()
    part = tmp_path / "a.npz.part"
    with h5py.File(part) as file:
        assert file["entry/data/data"].shape == (1, 1 << 16), "the head of the export that failed"
    if how == "resume":
        with lys_storage.resume(tmp_path / "a.npz") as again:
            for k in range(1, 3):
                again[k] = np.full(1 << 16, 3, "u1")
            with h5py.File(part) as file:
                assert (file.attrs["incomplete"], file["entry/data/data"].shape) == (1, (4, 1 << 16))
    else:
        assert [result.path for result in lys_storage.recover(tmp_path)] == [tmp_path / "a.npz"]
    with h5py.File(tmp_path / "a.npz") as file:
        written = 3 if how == "resume" else 1
        assert file["entry/data/written"][...].tolist() == [k < written for k in range(4)]
        assert file["entry/data/data"][:, 0].tolist() == [3] * written + [0] * (4 - written)
    assert lys_storage.verify(tmp_path) == []


def test_a_trimmed_export_can_be_read(tmp_path: Path) -> None:
    with lys_storage.create(
        tmp_path / "a.npz", (4, 3), "u1", grid_ndim=1, axes=[[1, 2, 4, 8]], incomplete="trim"
    ) as scan:
        scan[1] = np.ones(3, "u1")
    with h5py.File(scan.path) as file:
        assert file["entry/data/data"][...].tolist() == [[0, 0, 0], [1, 1, 1]]
        assert file["entry/data/axis_0"][...].tolist() == [1, 2]
        assert file["entry/data/written"][...].tolist() == [False, True]


def test_a_scan_that_gets_another_dtype_gets_another_head(tmp_path: Path) -> None:
    """lys_instr tells the dtype with the first frame."""
    with lys_storage.create(tmp_path / "a.npz", (3, 2), "f8", grid_ndim=1) as scan:
        scan.suspend()
    from lys_storage.scan import relayout

    with lys_storage.resume(tmp_path / "a.npz") as scan:
        relayout.change_dtype(scan._store, np.dtype("u2"), None)
        with h5py.File(scan.part_path) as file:
            assert file["entry/data/data"].dtype == "u2"
        assert [entry.state for entry in list_scans(tmp_path)] == ["running"], "it is still locked"
    with h5py.File(scan.path) as file:
        assert file["entry/data/data"].dtype == "u2"


# -- damage ---------------------------------------------------------------------------------------------------------------


def _export(folder: Path, **options: Any) -> Path:
    with lys_storage.create(
        folder / "a.npz", (3, 2), "u1", grid_ndim=1, axes=[[1, 2, 3]], note={"a": 1}, **options
    ) as scan:
        scan[0] = np.ones(2, "u1")
    return scan.path


def _offset_of(path: Path, member: str) -> int:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    raw = path.read_bytes()[info.header_offset :][:30]
    return info.header_offset + 30 + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")


@pytest.mark.parametrize("at", [512, 530, 555, 700, 3000], ids=lambda at: f"byte {at}")
def test_damage_before_the_array_is_found(tmp_path: Path, at: int) -> None:
    """The CRC-32 of data.npy does not cover it: it is in the extra field of its header."""
    path = _export(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    assert [str(problem.what) for problem in lys_storage.verify(path)] == [
        "the bytes before the array do not match their checksum in acquisition.json"
    ]
    with pytest.raises(BadFileError, match="bytes before the array"):
        lys_storage.open_wave(path, verify=True)


@pytest.mark.parametrize("member", ["hdf5.bin", "note.json", "axis_0.npy", "written.npy", "axes.npy", "note.npy"])
def test_damage_in_the_members_is_found(tmp_path: Path, member: str) -> None:
    path = _export(tmp_path)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        raw[_offset_of(path, member) + archive.getinfo(member).file_size - 1] ^= 1
    path.write_bytes(raw)
    assert len(lys_storage.verify(path)) >= 1
    assert any(member in problem.what or "CRC" in problem.what for problem in lys_storage.verify(path))


@pytest.mark.parametrize("change", ["axis_0.npy", "note.json", "written.npy"])
def test_copies_that_differ_are_found(tmp_path: Path, change: str) -> None:
    """Another program has changed one of them, with a right CRC-32."""
    path, made = _export(tmp_path), tmp_path / "b.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == change:
                content = content[:-1] + {"note.json": b" ", "written.npy": b"\1"}.get(change, b"\1")
                content = content.replace(b'"a": 1', b'"a": 2') if change == "note.json" else content
                content = content[:-1] + b"}" if change == "note.json" else content
            new.writestr(info.filename, content)
    found = [problem.what for problem in lys_storage.verify(made)]
    assert any(change in what for what in found)


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "array", "words"),
    [
        ("axis_0.npy", np.array(3), "axis_0.npy"),
        ("axis_0.npy", np.zeros(0), "axis 0 has 0 points"),
        ("written.npy", np.array([[True, False, False]]), "written.npy"),
        ("written.npy", np.array([False, True, False]), "written.npy"),
        ("written.npy", np.array(True), "written.npy"),
        ("written.npy", np.array([1, 0, 0], "u1"), "written.npy"),
    ],
    ids=["axis of no dimension", "axis without points", "other shape", "other frame", "no dimension", "no bool"],
)
def test_members_of_another_shape_are_found(
    tmp_path: Path, member: str, array: np.ndarray[Any, Any], words: str
) -> None:
    path, made = _export(tmp_path), tmp_path / "b.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, _npy(array) if info.filename == member else old.read(info))
    with lys_storage.open_wave(made) as wave:
        assert [axis.ndim for axis in wave.axes] == [1, 1]
    assert any(words in problem.what for problem in lys_storage.verify(made))


def test_long_units_are_cut(tmp_path: Path) -> None:
    """An attribute of HDF5 has less than 64 KiB. The scan is exported, and acquisition.json has all of the text."""
    units = ["µ" * 70_000, "u" * 70_000, "é" * 40_000]
    axes = [[1.0], ["a"], np.array([1], "M8[s]")]
    with lys_storage.create(tmp_path / "a.npz", (1, 1, 1), "u1", axes=axes, units=units) as scan:
        scan[...] = 1
    with h5py.File(scan.path) as file:
        for k, unit in enumerate(units):
            shown = file[f"entry/data/axis_{k}"].attrs["units"].decode()
            assert unit.startswith(shown)
            assert 32_000 < len(shown.encode()) <= 1 << 15
    assert load_export(scan.path).info["units"] == units
    assert lys_storage.verify(scan.path) == []


def test_our_own_files_are_read_without_a_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _export(tmp_path)
    monkeypatch.setattr("pickle.loads", lambda *a, **k: pytest.fail("it unpickles"))
    for module in ("axes_and_note", "safe_pickle"):
        monkeypatch.setattr(f"lys_storage.format.{module}.load_plain", lambda *a: pytest.fail("it unpickles"))
    with lys_storage.open_wave(path) as wave:
        assert ([axis.tolist() for axis in wave.axes], wave.note) == ([[1, 2, 3], [0.0, 1.0]], {"a": 1})


# -- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "note", "expected"),
    [
        ((), {}, ["axis_0", "axis_1", "axis_2"]),
        (("x", None, "y"), {}, ["x", "axis_1", "y"]),
        (("data", "written", "x"), {}, ["data_2", "written_2", "x"]),
        (("a/b", "a_b", "."), {}, ["a_b", "a_b_2", "axis_2"]),
        (("..", " ", "\0"), {}, ["axis_0", "axis_1", "_"]),
        (("é", "日本", "µ/s"), {}, ["é", "日本", "µ_s"]),
        ((), {"scanNames": ["delay", "x"]}, ["delay", "x", "axis_2"]),
        ((None, "y", None), {"scanNames": ["delay", "x"]}, ["delay", "y", "axis_2"]),
        ((), {"scanNames": 3}, ["axis_0", "axis_1", "axis_2"]),
        (("axis_1", None, None), {}, ["axis_1", "axis_1_2", "axis_2"]),
    ],
    ids=["none", "some", "taken", "separators", "no names", "not ASCII", "of lys_instr", "both", "odd", "like ours"],
)
def test_names_of_axes_are_valid_and_unique(names: Any, note: Any, expected: list[str]) -> None:
    assert axis_dataset_names(names, note, (1, 1, 1)) == expected


def test_a_long_name_is_cut_between_characters() -> None:
    first, second = axis_dataset_names(("é" * 300, "é" * 301), {}, (1, 1))
    assert (first, second) == ("é" * 127, "é" * 126 + "_2")


def test_odd_names_are_read_by_h5py(tmp_path: Path) -> None:
    names = ["data", "written", "a/b", ".", "é" * 300, "日本", "x" * 255, "x" * 256]
    axes = [[k] for k in range(len(names))]
    with lys_storage.create(tmp_path / "a.npz", (1,) * 8, "u1", axes=axes, axis_names=names) as scan:
        pass
    with h5py.File(scan.path) as file:
        data = file["entry/data"]
        shown = [name.decode() for name in data.attrs["axes"]]
        assert [int(data[name][0]) for name in shown] == list(range(8))
    assert lys_storage.verify(scan.path) == []
