"""The export: a ZIP that every program reads, its array at a page boundary, and the acquisition."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.format import archive as archive_module
from lys_storage.format import combine, crc32, crc32_repeated, encode_npy_header
from tests.helpers import assert_same_array, files, load_export, some
from tests.systems import not_on_windows

OF_LYS = ["data.npy", "axes.npy", "note.npy", "allow_pickle.npy"]
PLAIN = ["axis_0.npy", "axis_1.npy", "note.json"]


def export(tmp_path: Path, shape: Any, dtype: Any, frames: dict[Any, Any], **options: Any) -> Path:
    with lys_storage.create(tmp_path / "data.npz", shape, dtype, **{"flush_interval_s": None, **options}) as scan:
        scan.update(frames)
    return scan.path


def array_offset(path: Path) -> int:
    """The offset of the array in an export, from its local header and .npy header, read without lys_storage."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
        start = archive.getinfo("data.npy").header_offset
        stream.seek(start + 26)
        stream.seek(start + 30 + sum(struct.unpack("<HH", stream.read(4))))
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        return stream.tell()


# -- the archive -------------------------------------------------------------------------------------------------------


def test_the_members_of_an_export_are_those_of_lys_and_the_acquisition_in_this_order(tmp_path: Path) -> None:
    """`data.npy` is first, so that its offset is known when the scan is created. Nothing is compressed."""
    path = export(tmp_path, (2, 3), "f8", {(): np.ones((2, 3))})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*OF_LYS, *PLAIN, "acquisition.json", "hdf5.bin"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.getinfo("data.npy").header_offset == 0
        assert archive.comment == b""


def test_the_members_of_an_export_bear_the_time_at_which_the_scan_began(tmp_path: Path) -> None:
    before = datetime.datetime.now() - datetime.timedelta(seconds=2)
    path = export(tmp_path, (2,), "f8", {})
    with zipfile.ZipFile(path) as archive:
        times = {datetime.datetime(*info.date_time) for info in archive.infolist()}
    assert len(times) == 1
    assert before <= times.pop() <= datetime.datetime.now()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 3, 4, 5), (1,) * 32], ids=str)
def test_the_array_begins_at_a_page(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A map of it then consists of whole pages, and is aligned for every processor."""
    path = export(tmp_path, shape, "u2", {(): np.ones(shape, "u2")})
    assert array_offset(path) % 4096 == 0
    mapped = np.memmap(path, "u2", "r", array_offset(path), shape)
    assert_same_array(mapped, np.ones(shape, "u2"))
    del mapped


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An export of 256 frames of 128 KiB, of which three were written: its array begins at 128 KiB."""
    frames = {k: some((1 << 17,), "u1", seed=k) for k in (0, 100, 255)}
    return export(tmp_path, (256, 1 << 17), "u1", frames, grid_ndim=1)


def test_a_large_array_begins_as_its_frames_lie_and_a_member_of_zeros_comes_before(large: Path) -> None:
    assert array_offset(large) == 1 << 17
    with zipfile.ZipFile(large) as archive:
        assert archive.namelist() == [
            *OF_LYS,
            "note.json",
            "written.npy",
            "acquisition.json",
            "hdf5.bin",
            "alignment.bin",
        ]
        assert archive.testzip() is None
        zeros = archive.read("alignment.bin")
        assert (zeros[:469], zeros[469:477], set(zeros[469 + 48 :])) == (bytes(469), b"\x89HDF\r\n\x1a\n", {0})
        assert archive.getinfo("alignment.bin").header_offset == 0
    with np.load(large) as stored:
        assert_same_array(stored["data"][100], some((1 << 17,), "u1", seed=100))
    with lys_storage.open_wave(large, verify=True) as wave:
        assert_same_array(wave.data[255], some((1 << 17,), "u1", seed=255))
        assert not wave.data[1].any()
    assert lys_storage.verify(large) == []


@pytest.mark.parametrize("offset", [1 << 17, 1 << 16, 4096], ids=["as its frames lie", "as of old", "as of older"])
def test_a_large_scan_is_recovered_wherever_its_array_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "array_alignment", lambda array_size, frame_bytes: offset)
        scan = lys_storage.create(tmp_path / "data.npz", (256, 1 << 17), "u1", grid_ndim=1)
    scan[7] = some((1 << 17,), "u1")
    scan.suspend()
    assert lys_storage.verify(tmp_path) == []
    (result,) = lys_storage.recover(tmp_path, verify=True)
    assert (result.path, array_offset(tmp_path / "data.npz")) == (tmp_path / "data.npz", offset)
    assert lys_storage.verify(tmp_path) == []
    with lys_storage.open_wave(tmp_path / "data.npz") as wave:
        assert_same_array(wave.data[7], some((1 << 17,), "u1"))


def test_a_large_scan_takes_another_dtype_and_is_cut(tmp_path: Path) -> None:
    """A change of the dtype can move the array, and a cut does not move it."""
    with lys_storage.create(tmp_path / "data.npz", (256, 1 << 17), "u1", grid_ndim=1, incomplete="trim") as scan:
        scan.change_dtype("u4")
        scan[0] = some((1 << 17,), "u4")
    assert array_offset(scan.path) == 1 << 19
    assert lys_storage.verify(tmp_path) == []
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.shape == (1, 1 << 17)
        assert_same_array(wave.data[0], some((1 << 17,), "u4"))


def test_what_lies_before_the_head_becomes_zeros(tmp_path: Path) -> None:
    """They can be the head of an older layout, after an interrupted change of the dtype, or a damaged sector."""
    with lys_storage.create(tmp_path / "data.npz", (256, 1 << 17), "u1", grid_ndim=1) as scan:
        scan._store.file.write_at(b"PK\3\4", 5000)
        scan._store.file.write_at(b"x", scan._store.table.array_offset - 1000)
    assert lys_storage.verify(scan.path) == []


def test_a_cut_that_makes_the_header_shorter_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    shapes = ((1000, 1 << 17), (9, 1 << 17))
    names = ("a" * k for k in range(1, 65))
    dtype = next(
        dtype
        for dtype in (np.dtype([(name, "u1")]) for name in names)
        if len({len(encode_npy_header(shape, dtype)) for shape in shapes}) == 2
    )
    with lys_storage.create(tmp_path / "data.npz", shapes[0], dtype, grid_ndim=1, incomplete="trim") as scan:
        for number in range(9):
            scan[number] = some((1 << 17,), dtype, seed=number)
    assert array_offset(scan.path) == 1 << 17
    assert lys_storage.verify(scan.path) == []
    with lys_storage.open_wave(scan.path) as wave:
        assert_same_array(wave.data[8], some((1 << 17,), dtype, seed=8))


@pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP's unzip is not installed")
def test_info_zip_accepts_a_large_export(large: Path) -> None:
    result = subprocess.run(["unzip", "-t", large], capture_output=True, text=True, timeout=60)
    assert (result.returncode, "No errors detected" in result.stdout) == (0, True), result.stdout


def test_a_long_dtype_moves_the_array_by_pages(tmp_path: Path) -> None:
    path = export(tmp_path, (2,), [(f"a rather long name of field {k}", "u1") for k in range(200)], {})
    assert array_offset(path) == 12288


@pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP's unzip is not installed")
@pytest.mark.parametrize("came", [True, False], ids=["complete", "with missing frames"])
def test_info_zip_accepts_an_export(tmp_path: Path, came: bool) -> None:
    path = export(tmp_path, (3, 1000), "f4", {(): some((3, 1000), "f4")} if came else {1: some((1000,), "f4")})
    result = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, timeout=60)
    assert (result.returncode, "No errors detected" in result.stdout) == (0, True), result.stdout


def test_other_programs_can_add_to_an_export_and_copy_out_of_it(tmp_path: Path) -> None:
    """zipfile can append to the central directory."""
    path = export(tmp_path, (3,), "u1", {(): np.arange(3, dtype="u1")})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "more")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
        assert archive.testzip() is None
    assert files(tmp_path / "out") == {*OF_LYS, "axis_0.npy", "note.json", "acquisition.json", "hdf5.bin", "more.txt"}
    assert_same_array(np.load(tmp_path / "out" / "data.npy"), np.arange(3, dtype="u1"))


def test_a_byte_that_rots_is_found_by_the_archives_own_checksum(tmp_path: Path) -> None:
    path = export(tmp_path, (3, 1000), "f4", {(): some((3, 1000), "f4")})
    with path.open("r+b") as stream:
        stream.seek(array_offset(path) + 5000)
        stream.write(b"\xff")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() == "data.npy"


# -- dtypes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [
        *("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"),
        *(">i2", ">u4", ">i8", ">f4", ">f8", ">c16", "g", "G"),
        *("M8[ns]", "M8[D]", ">M8[s]", "m8[us]", "S5", "U3", ">U3", "V6"),
        pytest.param([("a", "f4"), ("b", "u1")], id="structured"),
        pytest.param([("a", ">f4"), ("b", "i2", (2, 3)), ("c", [("x", "?"), ("y", "S3")])], id="structured, nested"),
        pytest.param([("Spannung µV", "f4"), ("电流", "f4")], id="structured, with names beyond ASCII"),
    ],
)
@pytest.mark.parametrize("shape", [(), (4, 3)], ids=["0-d", "2-d"])
def test_every_dtype_of_fixed_size_comes_back_bit_for_bit(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    data = some(shape, dtype)
    path = export(tmp_path, shape, dtype, {(): data})
    assert_same_array(load_export(path).data, data)
    with lys_storage.open_wave(path) as wave:
        assert_same_array(wave.data, data)
        assert_same_array(wave.read(), data)


def test_a_structured_dtype_with_gaps_comes_back(tmp_path: Path) -> None:
    """The bytes in the gaps have no meaning."""
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    data = some((4, 3), dtype)
    actual = load_export(export(tmp_path, (4, 3), dtype, {(): data})).data
    assert (actual.dtype, actual.tolist()) == (dtype, data.tolist())


@pytest.mark.parametrize("value", [np.nan, -0.0, np.inf, 5e-324], ids=["NaN", "minus zero", "infinity", "subnormal"])
def test_special_numbers_come_back_bit_for_bit(tmp_path: Path, value: float) -> None:
    odd_nan = np.array([0x7FF8DEADBEEF0001], "u8").view("f8")[0]
    data = np.array([[value, 1.0, odd_nan]])
    assert_same_array(load_export(export(tmp_path, (1, 3), "f8", {0: data[0]})).data, data)


# -- axes and note -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        pytest.param((), [], id="no dimension"),
        pytest.param((4,), [np.arange(4) * 0.5], id="one axis"),
        pytest.param((3, 3), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], id="of one length"),
        pytest.param((3, 3), [np.arange(3), np.arange(3) * 0.5], id="of one length and two dtypes"),
        pytest.param((3, 4), [np.arange(3, dtype="f4"), np.arange(4, dtype="i2")], id="of other dtypes"),
        pytest.param((3, 4), [["a", "b", "c"], None], id="text"),
        pytest.param((2, 3), [np.array([1, 2], "M8[s]"), None], id="times"),
        pytest.param((1, 1, 1), None, id="none, of length one"),
    ],
)
def test_axes_are_stored_as_numpy_stores_a_list_of_them(tmp_path: Path, shape: Any, axes: Any) -> None:
    """As in lys it is `numpy.array(list_of_axes, dtype=object)`: a table if all axes have one length."""
    given = axes if axes is not None else [None] * len(shape)
    full = [np.array(a) if a is not None else np.arange(n).astype(float) for a, n in zip(given, shape, strict=True)]
    path = export(tmp_path, shape, "u1", {}, axes=axes)
    with np.load(path, allow_pickle=True) as members:
        stored = members["axes"]
        expected = np.array(full, dtype=object)
        assert (stored.dtype, stored.shape) == (expected.dtype, expected.shape)
        assert [np.array(a).tolist() for a in stored] == [np.array(a).tolist() for a in expected]
        assert members["allow_pickle"][()] == np.False_


def test_long_axes_are_stored_without_a_python_object_for_each_point(tmp_path: Path) -> None:
    """None stands for index coordinates, which lys computes: memory does not grow with the length of a dimension."""
    path = export(tmp_path, (3, 200_000), "u1", {}, axes=[[5, 6, 7]])
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("axes.npy").file_size < 10_000
    stored = load_export(path).axes
    assert (stored[0].tolist(), stored[1].tolist() == list(range(200_000))) == ([5, 6, 7], True)


@pytest.mark.parametrize(
    "name",
    [
        *("温度/走査 µ é.npz", "a b/[x]_{y}.npz", "a.b.c.npz", "x'q.npz"),
        pytest.param('a*b"q.npz', marks=not_on_windows("no name has these characters")),
    ],
)
def test_names_and_notes_beyond_ascii_come_back(tmp_path: Path, name: str) -> None:
    note = {"名前": "Größe µ 😀", "nested": {"é": [1, 2.5, None]}, 3: b"\x00\xff"}
    with lys_storage.create(tmp_path / name, (2,), note=note) as scan:
        scan[...] = np.zeros(2)
    assert files(tmp_path) == {name}
    assert load_export(tmp_path / name).note == note
    with lys_storage.open_wave(tmp_path / name) as wave:
        assert wave.note == note


# -- acquisition.json --------------------------------------------------------------------------------------------------


def test_the_acquisition_says_what_came_and_when(tmp_path: Path) -> None:
    """It has format and version, software, start and end (UTC), frames expected and written, and the missing frames."""
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=1)
    frames = {(0,): np.ones((4, 2), "u1"), (2, 1): np.ones(2, "u1")}
    path = export(tmp_path, (3, 4, 2), "u1", frames, grid_ndim=2)
    info = load_export(path).info
    stored = np.full((3, 4, 2), 0, "u1")
    for index, frame in frames.items():
        stored[index] = frame
    assert info.pop("array_crc32") == zlib.crc32(stored)
    with zipfile.ZipFile(path) as archive:
        for name in ("axes", "note"):
            assert info.pop(f"{name}_crc32") == archive.getinfo(f"{name}.npy").CRC
    assert info.pop("head_crc32") == zlib.crc32(path.read_bytes()[: array_offset(path)])
    started, ended = (datetime.datetime.fromisoformat(info.pop(key)) for key in ("started", "ended"))
    assert before <= started <= ended <= datetime.datetime.now(datetime.UTC)
    assert (started.utcoffset(), ended.utcoffset()) == (datetime.timedelta(0), datetime.timedelta(0))
    assert re.fullmatch("[0-9a-f]{32}", info.pop("scan_id"))
    assert re.fullmatch(r"lys_storage( \d+\.\d+.*)?", info.pop("software"))
    assert info == {
        "format": "lys_storage acquisition",
        "version": 3,
        "grid_shape": [3, 4],
        "frames_expected": 12,
        "frames_written": 5,
        "missing": [[4, 9], [10, 12]],
        "missing_complete": True,
        "array_offset": 4096,
    }


@pytest.mark.parametrize(
    ("came", "missing"),
    [
        pytest.param(range(6), [], id="all"),
        pytest.param([], [[0, 6]], id="none"),
        pytest.param([0], [[1, 6]], id="the first"),
        pytest.param([5], [[0, 5]], id="the last"),
        pytest.param([1, 3, 5], [[0, 1], [2, 3], [4, 5]], id="every second"),
        pytest.param([0, 1, 4, 5], [[2, 4]], id="all but some in the middle"),
    ],
)
def test_missing_frames_are_runs_from_the_first_to_before_the_last(tmp_path: Path, came: Any, missing: Any) -> None:
    path = export(tmp_path, (6, 2), "u1", {k: np.ones(2, "u1") for k in came}, grid_ndim=1)
    assert load_export(path).info["missing"] == missing


def test_runs_are_found_across_the_pieces_that_the_marks_are_read_in(tmp_path: Path) -> None:
    """65,536 states are read at a time."""
    with lys_storage.create(tmp_path / "data.npz", (140_000,), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        for first, stop in ((10, 65_530), (65_540, 131_072)):
            scan[first:stop] = np.ones(stop - first, "u1")
    export = load_export(scan.path)
    assert export.info["missing"] == [[0, 10], [65_530, 65_540], [131_072, 140_000]]
    assert export.data.sum() == 65_520 + 65_532


@pytest.mark.parametrize("runs", [10_000, 10_001], ids=["as many runs as are spelled out", "one more"])
def test_more_runs_than_10000_are_a_map_of_bits(tmp_path: Path, runs: int) -> None:
    """`missing` then lists the first 10,000 runs, and `missing.npy` has all missing frames."""
    came = np.zeros(2 * runs + 5, bool)
    came[1 : 2 * runs : 2] = True
    came[-5:] = True
    with lys_storage.create(tmp_path / "data.npz", came.shape, "u1", grid_ndim=1, flush_interval_s=None) as scan:
        scan[1 : 2 * runs : 2] = np.ones(runs, "u1")
        scan[-5:] = np.ones(5, "u1")
    info = load_export(scan.path).info
    assert info["missing"] == [[2 * k, 2 * k + 1] for k in range(10_000)]
    assert info["missing_complete"] is (runs == 10_000)
    assert info["frames_written"] == runs + 5
    with np.load(scan.path) as members:
        assert ("missing" in members) is (runs > 10_000)
        if runs > 10_000:
            assert np.array_equal(np.unpackbits(members["missing"], count=len(came)).astype(bool), ~came)


# -- larger than 4 GiB -------------------------------------------------------------------------------------------------


@pytest.fixture
def sparse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the test if files have no holes here. Do not preallocate, so that nothing is written."""
    with (tmp_path / "holes").open("wb") as stream:
        if SYSTEM.allocated_bytes(os.fstat(stream.fileno())) is None:
            pytest.skip("no holes in files on this system")
        stream.truncate(1 << 33)
    allocated = SYSTEM.allocated_bytes((tmp_path / "holes").stat())
    if allocated is None or allocated > 1 << 20:
        pytest.skip("no holes in files here")
    (tmp_path / "holes").unlink()
    monkeypatch.setattr(File, "preallocate", lambda file, offset, size, **how: False)


def test_an_archive_beyond_4_gib_is_a_sound_zip64(tmp_path: Path, sparse: None) -> None:
    """Its sizes and offsets need more than 32 bits. Frames beyond 4 GiB are read back."""
    rows, size = 5 << 8, 1 << 22
    scan = lys_storage.create(tmp_path / "data.npz", (rows, size), "u1", grid_ndim=1, flush_interval_s=None)
    first, last = some((size,), "u1", 1), some((size,), "u1", 2)
    scan[0], scan[rows - 1] = first, last
    path = scan.close()
    assert path.stat().st_size > 5 << 30
    assert path.stat().st_blocks * 512 < 64 << 20, "zeros that never came cost nothing"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            *OF_LYS,
            "note.json",
            "written.npy",
            "acquisition.json",
            "hdf5.bin",
            "alignment.bin",
        ]
        assert archive.getinfo("data.npy").file_size > 5 << 30
        assert archive.getinfo("axes.npy").header_offset > 5 << 30
        assert json.loads(archive.read("acquisition.json"))["frames_written"] == 2
    with lys_storage.open_wave(path) as wave:
        assert_same_array(wave.read(0), first)
        assert_same_array(wave.read(rows - 1), last)
        assert (int(wave.data[0, 5]), int(wave.data[-1, -1]), int(wave.data[1000, 1000])) == (first[5], last[-1], 0)


def test_the_checksum_of_an_archive_beyond_4_gib_is_right(tmp_path: Path, sparse: None) -> None:
    """The checksum of repeated bytes is computed from their number, instead of reading 4 GiB."""
    rows, size = 65, 1 << 26
    with lys_storage.create(tmp_path / "data.npz", (rows, size), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        scan[64] = np.full(size, 3, "u1")
    with zipfile.ZipFile(scan.path) as archive, archive.open("data.npy") as member:
        info = archive.getinfo("data.npy")
        assert info.file_size > 1 << 32
        crc = crc32(member.read(info.file_size - rows * size))
    crc = combine(crc, crc32_repeated(b"\0", 64 * size), 64 * size)
    assert combine(crc, crc32_repeated(b"\3", size), size) == info.CRC
