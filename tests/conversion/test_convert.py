"""What `convert` keeps besides the array, how it reads, and what it leaves when it fails."""

from __future__ import annotations

import datetime
import errno
import json
import os
import signal
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ConversionError, NameTakenError, StorageOSError, convert
from lys_storage.conversion import converting
from lys_storage.conversion import given as given_module
from lys_storage.conversion.blocks import block_shape, boxes
from tests.conversion.readers import SUFFIXES, array_in, dataset_in, facts_in, need
from tests.fixtures import Faults
from tests.helpers import interrupt, make_link, some
from tests.preview.sources import write_scan, write_sparse
from tests.systems import not_on_windows

NAMES = ["täg/nacht", "data", None, "data"]
TIMES = np.array(["2026-01-01T00:00:00", "2026-01-01T00:00:07", "2026-01-03"], "M8[s]")
AXES = [TIMES, ["a", "bé", "c", "d"], np.array([1.0, 2.0, 4.0, 8.0, 16.0]), np.linspace(0.5, 3, 6)]
NOTE = {
    "sample": "TaS₂", "t": 4.2, "n": np.float32(1.5), "nan": float("nan"), "raw": b"\x00\xff", 7: [1, (2, None)],
    "big": 10**30, "when": datetime.datetime(2026, 1, 2, 3, 4), "array": np.arange(3), "set": {1}, "deep": {"a": {"b": 1}},
}  # fmt: skip
NOTE_AS_JSON = {
    "sample": "TaS₂", "t": 4.2, "n": 1.5, "nan": "nan", "raw": "b'\\x00\\xff'", "7": [1, [2, None]],
    "big": str(10**30), "when": "2026-01-02T03:04:00", "array": [0, 1, 2], "set": "{1}", "deep": {"a": {"b": 1}},
}  # fmt: skip


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """An export of 12 frames, of which 3 are missing, with odd names, axes and note."""
    data = some((3, 4, 5, 6), "u2")
    return write_scan(
        tmp_path / "a.npz",
        data,
        2,
        missing={3, 4, 11},
        axes=AXES,
        axis_names=["täg/nacht", "data", None, None],
        units=[None, None, "µm", "mm"],
        note=NOTE,
        fill_value=9,
    )


def only(folder: Path, *names: str) -> bool:
    """Whether a folder holds these files only, hidden ones included."""
    return sorted(name for name in os.listdir(folder) if name != ".lys_storage.lock") == sorted(names)


WRITTEN = [[True, True, True, False], [False, True, True, True], [True, True, True, False]]
KEPT = "3 of 12 frames are missing, and hold the fill value; the file lists them"


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".h5", ".nxs"])
def test_nexus_keeps_axes_units_note_and_missing_frames(tmp_path: Path, scan: Path, suffix: str) -> None:
    need(suffix)
    import h5py

    assert convert(scan, tmp_path / f"b{suffix}").warnings == (KEPT,)
    with h5py.File(tmp_path / f"b{suffix}", "r") as file:
        assert (file.attrs["NX_class"], file.attrs["default"]) == ("NXroot", "entry")
        entry, data = file["entry"], file["entry/data"]
        assert (entry.attrs["NX_class"], entry.attrs["default"]) == ("NXentry", "data")
        assert (data.attrs["NX_class"], data.attrs["signal"]) == ("NXdata", "data")
        names = data.attrs["axes"].tolist()
        assert names == ["täg_nacht", "data_2", "axis_2", "axis_3"]
        assert [data.attrs[f"{name}_indices"] for name in names] == [0, 1, 2, 3]
        assert [data["data"].dims[k].label for k in range(4)] == names
        assert data["täg_nacht"].attrs["units"] == "seconds since 1970-01-01"
        assert np.array_equal(data["täg_nacht"][...].view("M8[s]"), TIMES)
        assert data["data_2"].asstr()[...].tolist() == AXES[1]
        assert np.array_equal(data["axis_2"], AXES[2])
        assert [data[name].attrs.get("units") for name in names[1:]] == [None, "µm", "mm"]
        assert data["written"][...].tolist() == WRITTEN
        assert data["data"].attrs["frames_missing"] == 3
        assert (data["data"][0, 3] == 9).all()
        assert json.loads(entry["note/data"][()]) == NOTE_AS_JSON
        assert (entry["note"].attrs["NX_class"], entry["note/type"].asstr()[()]) == ("NXnote", "application/json")
        with lys_storage.open_wave(scan) as wave:
            assert entry["start_time"].asstr()[()] == wave.info["started"]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_xarray_finds_coordinates_units_note_and_missing_frames(tmp_path: Path, scan: Path, suffix: str) -> None:
    need(suffix)
    assert convert(scan, tmp_path / f"b{suffix}").warnings == (KEPT,)
    dataset = dataset_in(tmp_path / f"b{suffix}")
    assert dataset.data.dims == ("täg_nacht", "data_2", "axis_2", "axis_3")
    assert np.array_equal(dataset["täg_nacht"], TIMES)
    assert dataset["data_2"].values.tolist() == AXES[1]
    assert np.array_equal(dataset["axis_3"], AXES[3])
    assert [dataset[name].attrs.get("units") for name in dataset.data.dims] == [None, None, "µm", "mm"]
    assert dataset.written.dtype == bool
    assert dataset.written.values.tolist() == WRITTEN
    assert dataset.data.attrs["frames_missing"] == 3
    assert json.loads(dataset.attrs["note"]) == NOTE_AS_JSON
    assert float(dataset.data.where(dataset.written).isnull().sum()) == 3 * 30


def test_a_tiff_has_pages_resolution_and_a_description(tmp_path: Path, scan: Path) -> None:
    need(".tif")
    import tifffile

    assert convert(scan, tmp_path / "b.tif").warnings == (KEPT,)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.is_bigtiff, len(file.pages), file.pages[0].shape) == (True, 12, (5, 6))
        assert (file.series[0].axes, file.series[0].shape) == ("TZYX", (3, 4, 5, 6))
        assert "XResolution" not in file.pages[0].tags or file.pages[0].tags["XResolution"].value == (1, 1)
        assert "unit=mm\nyunit=\\xb5m\n" in file.pages[0].description
    facts = facts_in(tmp_path / "b.tif")
    assert facts["missing"] == [[3, 5], [11, 12]]
    assert (facts["frames_missing"], facts["grid_shape"]) == (3, [3, 4])
    assert facts["note"] == NOTE_AS_JSON
    assert facts["axis_names"] == ["täg/nacht", "data", None, None]
    assert facts["axes"][0] == ["2026-01-01T00:00:00", "2026-01-01T00:00:07", "2026-01-03T00:00:00"]
    assert facts["axes"][3] == AXES[3].tolist()


@pytest.mark.parametrize(
    ("grid", "axes"), [((4,), "ZYX"), ((3, 4), "TZYX"), ((2, 3, 4), "TZCYX")], ids=["1-d", "2-d", "3-d"]
)
def test_the_grid_of_a_tiff_is_that_of_a_hyperstack_with_a_uniform_resolution(
    tmp_path: Path, grid: tuple[int, ...], axes: str
) -> None:
    need(".tif")
    import tifffile

    data = some((*grid, 5, 6), "u2")
    steps = [np.linspace(1, 0, 5), 0.5 * np.arange(6)]
    write_scan(tmp_path / "a.npz", data, len(grid), axes=[*[None] * len(grid), *steps])
    convert(tmp_path / "a.npz", tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert (file.series[0].axes, file.series[0].shape) == (axes, data.shape)
        assert [file.pages[0].tags[f"{k}Resolution"].value for k in "XY"] == [(2, 1), (4, 1)]
        assert np.array_equal(file.asarray(), data)


def test_a_npy_says_what_it_leaves_out(tmp_path: Path, scan: Path) -> None:
    assert convert(scan, tmp_path / "b.npy").warnings == (
        "a .npy holds the array only: axes, units and note are left out",
        "3 of 12 frames are missing, and hold the fill value; which of them a .npy cannot tell",
    )
    with lys_storage.open_wave(scan) as wave:
        assert np.array_equal(np.load(tmp_path / "b.npy"), wave.read())


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr", ".tif"])
def test_an_axis_that_does_not_fit_is_left_out_with_a_warning(tmp_path: Path, suffix: str) -> None:
    need(suffix)
    axes = np.empty(2, object)
    axes[:] = [np.arange(7.0), np.array(["a", 1, None], object)]
    np.savez(tmp_path / "a.npz", data=some((2, 3), "u2"), axes=axes, note=np.array({}, object))
    warnings = convert(tmp_path / "a.npz", tmp_path / f"b{suffix}").warnings
    assert any("axis_0 is left out: its shape (7,) is not (2,)" in warning for warning in warnings)
    assert np.array_equal(array_in(tmp_path / f"b{suffix}"), some((2, 3), "u2"))


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr", ".tif"])
def test_a_long_note_is_kept_or_a_warning_says_that_it_is_not(tmp_path: Path, suffix: str) -> None:
    """An attribute of HDF5 holds 64 KiB."""
    need(suffix)
    write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1, note={"log": "x" * 100_000})
    warnings = convert(tmp_path / "a.npz", tmp_path / f"b{suffix}").warnings
    assert warnings == (
        ("the note is left out: its 100,011 bytes do not fit into an attribute",) if suffix == ".nc" else ()
    )
    if suffix == ".zarr":
        assert len(json.loads(dataset_in(tmp_path / "b.zarr").attrs["note"])["log"]) == 100_000


ODD = ["zarr.json", "__a", "T", "t", "..", "a/b", "a\\b", "x" * 300, "é", "e\u0301", "written", "CON.", "note", " s "]


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
def test_names_that_a_format_cannot_hold_are_changed_and_stay_unique(tmp_path: Path, suffix: str) -> None:
    """Two of one letter in two cases are two folders, also on Windows and macOS. netCDF compares names in the form NFC."""
    need(suffix)
    data = some((2,) * len(ODD), "u1")
    write_scan(tmp_path / "a.npz", data, 1, axes=[[k, k + 1] for k in range(len(ODD))], axis_names=ODD)
    assert convert(tmp_path / "a.npz", tmp_path / f"b{suffix}").warnings == ()
    assert np.array_equal(array_in(tmp_path / f"b{suffix}"), data)
    if suffix == ".h5":
        import h5py

        with h5py.File(tmp_path / "b.h5") as file:
            names = file["entry/data"].attrs["axes"].tolist()
            points = [file["entry/data"][name][...].tolist() for name in names]
    else:
        dataset = dataset_in(tmp_path / f"b{suffix}")
        names, points = list(dataset.data.dims), [dataset[name].values.tolist() for name in dataset.data.dims]
    assert points == [[k, k + 1] for k in range(len(ODD))]
    assert len(set(map(str.casefold, names) if suffix == ".zarr" else names)) == len(ODD)
    assert names[2] == "T"
    assert names[8:10] == ["é", "é_2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_is_too_long_is_found_before_the_work(tmp_path: Path, scan: Path, suffix: str) -> None:
    need(suffix)
    with pytest.raises(StorageOSError, match=os.strerror(errno.ENAMETOOLONG)):
        convert(scan, tmp_path / ("x" * 260 + suffix), on_progress=lambda done, total: pytest.fail("it began"))
    with pytest.raises(StorageOSError, match=r"null|x00"):
        convert(scan, tmp_path / f"a\0b{suffix}")
    assert only(tmp_path, "a.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_complete_scan_has_no_warning_about_frames(tmp_path: Path, suffix: str) -> None:
    need(suffix)
    write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    result = convert(tmp_path / "a.npz", tmp_path / f"b{suffix}")
    assert (result.frames_missing, [one for one in result.warnings if "missing" in one]) == (0, [])


# -- how it reads ------------------------------------------------------------------------------------------------------


def sources(folder: Path, data: np.ndarray[Any, Any]) -> dict[str, Path]:
    np.savez_compressed(folder / "compressed.npz", data=data)
    np.savez(folder / "fortran.npz", data=np.asfortranarray(data))
    np.savez_compressed(folder / "both.npz", data=np.asfortranarray(data))
    with lys_storage.create(folder / "ours.npz", data.shape, data.dtype, grid_ndim=1) as scan:
        scan[...] = data
    return {name: folder / f"{name}.npz" for name in ("compressed", "fortran", "both", "ours")}


@pytest.mark.parametrize("kind", ["compressed", "fortran", "both", "ours"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("limit", [1, 100, 1000, 1 << 20])
def test_blocks_of_any_size_give_the_same_array(
    tmp_path: Path, suffix: str, kind: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files of lys and numpy, in both orders, and of our own."""
    need(suffix)
    real = block_shape
    monkeypatch.setattr(given_module, "block_shape", lambda shape, size, _, order: real(shape, size, limit, order))
    data = some((3, 4, 5, 6), "u2")
    told: list[tuple[int, int]] = []
    path = sources(tmp_path, data)[kind]
    for compress in (False, True)[: 1 + (suffix != ".npy")]:
        convert(
            path,
            tmp_path / f"b{suffix}",
            overwrite=True,
            compress=compress,
            on_progress=lambda *progress: told.append(progress),
        )
        assert np.array_equal(array_in(tmp_path / f"b{suffix}").reshape(data.shape), data)
    assert told[-1] == (data.nbytes, data.nbytes)
    assert np.load(tmp_path / "b.npy").flags.f_contiguous == (kind in ("fortran", "both")) if suffix == ".npy" else True


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (3, 4, 5), (2, 0, 3), (1, 1, 9)])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 13, 60, 1000])
@pytest.mark.parametrize("fortran", [False, True])
def test_blocks_are_consecutive_pieces_of_the_file(shape: tuple[int, ...], limit: int, fortran: bool) -> None:
    numbers = np.arange(int(np.prod(shape))).reshape(shape, order="F" if fortran else "C")
    block, at = block_shape(shape, 1, limit, fortran), 0
    assert int(np.prod(block)) <= max(1, limit)
    for box in boxes(shape, block, fortran):
        piece = numbers[box].reshape(-1, order="F" if fortran else "C")
        assert piece.tolist() == list(range(at, at + piece.size))
        at += piece.size
    assert at == numbers.size


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_the_array(tmp_path: Path, suffix: str) -> None:
    """Neither with that of a compressed file, whose 96 MiB of zeros are some kB."""
    need(suffix)
    np.savez_compressed(tmp_path / "a.npz", data=np.zeros((96, 1024, 512), "u2"))
    tracemalloc.start()
    try:
        convert(tmp_path / "a.npz", tmp_path / f"b{suffix}", compress=suffix != ".npy")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["ours", "compressed"])
def test_a_flipped_bit_is_found_and_nothing_is_written(tmp_path: Path, suffix: str, kind: str) -> None:
    """The CRC-32 of the array is compared with what was read."""
    need(suffix)
    path = sources(tmp_path, np.random.default_rng(0).integers(0, 9, (8, 40, 40)).astype("u2"))[kind]
    before = os.listdir(tmp_path)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2") - 2000 if kind == "compressed" else 4096 + 5000
    content[at] ^= 4
    path.write_bytes(content)
    with pytest.raises(BadFileError, match=r"checksum|CRC|restore"):
        convert(path, tmp_path / f"b{suffix}")
    assert sorted(os.listdir(tmp_path)) == sorted(before)


# -- what is refused, and what is left ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".h5"])
def test_no_file_is_replaced_unless_it_is_asked_for(tmp_path: Path, scan: Path, suffix: str) -> None:
    need(suffix)
    out = tmp_path / f"b{suffix}"
    convert(scan, out)
    with pytest.raises(NameTakenError, match="exists already"):
        convert(scan, out)
    write_scan(tmp_path / "c.npz", some((2, 3), "f8"), 1)
    convert(tmp_path / "c.npz", out, overwrite=True)
    assert np.array_equal(array_in(out), some((2, 3), "f8"))
    assert only(tmp_path, "a.npz", "c.npz", out.name)


def test_a_folder_is_replaced_only_if_it_is_one_of_zarr(tmp_path: Path, scan: Path) -> None:
    for name in ("b.zarr", "b.npy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
        with pytest.raises(NameTakenError, match="not one of Zarr: it is not replaced"):
            convert(scan, tmp_path / name, overwrite=True)
        assert (tmp_path / name / "thesis.tex").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_the_former_file_and_nothing_else(
    tmp_path: Path, scan: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(suffix)
    out = tmp_path / f"b{suffix}"
    convert(scan, out)
    before = array_in(out)

    def fail(wave: Any, counts: Any) -> Any:
        yield from ()
        raise StorageOSError(errno.EIO, "injected", "a.npz")

    monkeypatch.setattr(given_module, "iterate_checked", fail)
    with pytest.raises(StorageOSError, match="injected"):
        convert(scan, out, overwrite=True)
    assert np.array_equal(array_in(out), before)
    assert only(tmp_path, "a.npz", out.name)


@pytest.mark.parametrize("operation", ["replace", "publish", "sync of a folder"])
@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
def test_each_step_of_replacing_that_fails_leaves_the_former_or_the_new_one(
    tmp_path: Path, scan: Path, suffix: str, operation: str, faults: Faults
) -> None:
    need(suffix)
    out, new = tmp_path / f"b{suffix}", some((2, 3), "f8")
    convert(scan, out)
    former = array_in(out)
    write_scan(tmp_path / "c.npz", new, 1)
    for nth in range(1, 20):
        faults.fail(operation, nth, errno.EIO)
        with suppress(StorageOSError):
            convert(tmp_path / "c.npz", out, overwrite=True)
        faults.off()
        assert array_in(out).tobytes() in (former.tobytes(), new.tobytes())
        assert only(tmp_path, "a.npz", "c.npz", out.name)
        if not faults.failed:
            break
    assert np.array_equal(array_in(out), new)


def test_scans_in_progress_are_refused_with_what_to_do(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz")
    for name in (part, tmp_path / "a.npz"):
        with pytest.raises(BadFileError, match=r"a scan in progress: lys-storage recover .* exports it"):
            convert(name, tmp_path / "b.npy")
    with lys_storage.create(tmp_path / "c.npz", (4, 3), "u2", grid_ndim=1) as running:
        with pytest.raises(BadFileError, match="is a scan in progress: convert its export when it is closed"):
            convert(running.part_path, tmp_path / "b.npy")
        running[0] = np.ones(3, "u2")
    assert not (tmp_path / "b.npy").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [("b.csv", "expected one of .h5, .hdf5, .nxs"), ("b", "has the suffix ''"), ("a.npz", "has the suffix '.npz'")],
)
def test_an_unknown_format_is_an_error(tmp_path: Path, scan: Path, out: str, said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        convert(scan, tmp_path / out, overwrite=True)


@pytest.mark.parametrize("out", ["a.npy", "b.npy"], ids=["the same name", "a link"])
def test_the_export_is_never_replaced_by_its_conversion(tmp_path: Path, out: str) -> None:
    """An export may have any name."""
    np.savez(tmp_path / "a.npz", data=some((2, 3), "u2"))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    if out != "a.npy":
        make_link(tmp_path / out, "a.npy")
    with pytest.raises(ConversionError, match="is the export itself"):
        convert(tmp_path / "a.npy", tmp_path / out, overwrite=True)


def test_a_missing_folder_and_a_missing_file_are_errors(tmp_path: Path, scan: Path) -> None:
    with pytest.raises(StorageOSError, match=r"there is no folder .*nowhere; make it first"):
        convert(scan, tmp_path / "nowhere" / "b.npy")
    with pytest.raises(StorageOSError, match="No such file"):
        convert(tmp_path / "none.npz", tmp_path / "b.npy")


def test_a_disk_without_enough_space_is_found_before_it_is_filled(tmp_path: Path) -> None:
    write_sparse(tmp_path / "a.npz", (1 << 20, 1 << 20), "f8")
    with pytest.raises(lys_storage.DiskFullError, match="not enough space: needs 8,796,093,022,208 bytes"):
        convert(tmp_path / "a.npz", tmp_path / "b.npy")
    assert only(tmp_path, "a.npz")


LIMITED = """
import resource, sys, lys_storage
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    lys_storage.convert(sys.argv[1], sys.argv[2])
except lys_storage.StorageOSError as error:
    print(error.errno, error.filename == sys.argv[2])
"""


@not_on_windows("no limit of the size of files")
@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".zarr"])
def test_a_write_that_fails_is_an_error_of_the_result_and_leaves_nothing(
    tmp_path: Path, suffix: str, run_child: Callable[..., Any]
) -> None:
    """Also inside the library of the format, and again when that closes its file."""
    need(suffix)
    np.savez(tmp_path / "a.npz", data=some((30, 256, 256), "u2"))
    child = run_child(LIMITED, tmp_path / "a.npz", tmp_path / f"b{suffix}")
    assert (child.code, child.out) == (0, f"{errno.EFBIG} True\n"), child.err
    assert only(tmp_path, "a.npz")


SLOW = """
import sys, time, lys_storage
def tell(done, total):
    print("working", flush=True)
    while True:
        time.sleep(0.01)  # a blocking read would wait for ever if the signal came just before it
try:
    lys_storage.convert(sys.argv[1], sys.argv[2], on_progress=tell)
except KeyboardInterrupt:
    print("stopped")
"""


@not_on_windows("no SIGINT for one child")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ctrl_c_leaves_nothing(tmp_path: Path, suffix: str, start_child: Callable[..., Any]) -> None:
    need(suffix)
    np.savez(tmp_path / "a.npz", data=some((12, 1024, 1024), "u2"))
    child = start_child(SLOW, tmp_path / "a.npz", tmp_path / f"b{suffix}")
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "stopped\n"
    assert child.wait(20) == 0
    assert only(tmp_path, "a.npz")


INTERRUPTED = """
import gc, os, sys
import lys_storage
from lys_storage.conversion.stream import OutputStream

calls, stop_at = 0, 0

def interrupted(name):
    real = getattr(OutputStream, name)
    def method(self, *args):
        global calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt
        return real(self, *args)
    setattr(OutputStream, name, method)

for name in ("write", "readinto", "seek", "truncate", "tell"):
    interrupted(name)
out = sys.argv[1]
for stop_at in range(1, 300):
    calls = 0
    try:
        lys_storage.convert("a.npz", out)
        break
    except KeyboardInterrupt:
        gc.collect()
    if os.path.exists(out) or any("tmp" in name for name in os.listdir()):
        print("left:", stop_at, os.listdir())
if sys.platform == "linux":
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    print("open:", [name for name in names if "convert.tmp" in name])
print("done", stop_at > 10, os.path.exists(out))
"""


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".tif"])
def test_ctrl_c_as_a_library_calls_the_stream_crashes_nothing(
    tmp_path: Path, suffix: str, run_child: Callable[..., Any]
) -> None:
    """HDF5 writes again when the process ends, if it could not close a file: that has crashed it."""
    need(suffix)
    np.savez(tmp_path / "a.npz", data=some((3, 4, 5), "u2"))
    child = run_child(INTERRUPTED, f"b{suffix}")
    assert (child.code, child.out.replace("open: []\n", "")) == (0, "done True True\n"), child.err
    assert np.array_equal(array_in(tmp_path / f"b{suffix}"), some((3, 4, 5), "u2"))


def test_every_format_has_a_writer_and_a_line_in_the_help() -> None:
    from click.testing import CliRunner

    from lys_storage.cli import main

    text = CliRunner().invoke(main, ["convert", "--help"]).stdout
    assert all(suffix in text for suffix in converting.FORMATS)
