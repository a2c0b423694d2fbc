"""What a first reading of the core broke: each test is one rule, and failed when it was written."""

from __future__ import annotations

import errno
import io
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.core import _fs, _numbering
from lys_storage.core._create import begin_scan
from lys_storage.core._part import Part
from tests.core.conftest import Faults
from tests.core.helpers import DEADLINE_S, assert_same_array, files, load_export

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def leave() -> Iterator[Callable[[lys_storage.Scan], lys_storage.Scan]]:
    """Suspend a scan after the test, whatever became of it."""
    made: list[lys_storage.Scan] = []

    def keep(scan: lys_storage.Scan) -> lys_storage.Scan:
        made.append(scan)
        return scan

    yield keep
    for scan in made:
        scan.suspend()


# -- fork --------------------------------------------------------------------------------------------------------------

FORKED = """
import os, sys
import numpy as np, lys_storage
scan = lys_storage.create("data.npz", (4, 8), "u1", grid_ndim=1, flush_interval_s=None)
scan[0] = np.arange(8, dtype="u1")
pid = os.fork()
if pid == 0:
    try:
        {deed}
    except lys_storage.LysStorageError as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(scan.written.tolist(), flush=True)
scan.close()
"""


@posix
@pytest.mark.parametrize(
    "deed",
    ["scan[0] = np.zeros(8, 'u1')", "scan[1] = np.zeros(8, 'u1')", "scan.close()", "scan.suspend()", "scan.flush()"],
    ids=["rewrites", "writes", "closes", "suspends", "flushes"],
)
def test_a_forked_child_is_refused_and_changes_nothing(tmp_path: Path, run_child: Any, deed: str) -> None:
    """The marks are a shared map: what the child does to them would be done to its parent's scan."""
    child = run_child(FORKED.format(deed=deed))
    assert (child.code, child.out.splitlines()) == (0, ["ScanClosedError", "[True, False, False, False]"])
    assert_same_array(load_export(tmp_path / "data.npz").data[0], np.arange(8, dtype="u1"))


# -- laid out anew -----------------------------------------------------------------------------------------------------


def test_a_frame_that_waits_while_the_dtype_changes_is_stored_in_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grid and dtype are taken in one: bytes of the old dtype under the new layout would pass as data, with a right CRC."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 8), "f8", fill=0, grid_ndim=1, flush_interval_s=None)
    entered, real_put, real_replace = threading.Event(), Part.put_frame, Part.go_on_with
    writer = threading.Thread(target=lambda: scan.write(0, np.full(8, 1.5)))

    def put(part: Part, *args: Any) -> None:
        entered.set()
        real_put(part, *args)

    def go_on_with(part: Part, *args: Any) -> None:
        real_replace(part, *args)
        writer.start()
        entered.wait(0.2)  # not reached where the writer waits earlier, which is right too

    monkeypatch.setattr(Part, "put_frame", put)
    monkeypatch.setattr(Part, "go_on_with", go_on_with)
    scan.change_dtype("f4", 0)
    writer.join(DEADLINE_S)
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[1.5] * 8, [0] * 8], "f4"))


def test_a_frame_that_comes_while_the_dtype_changes_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the scan is empty is looked at once no more frames come in: what was acknowledged is kept."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 8), "f8", fill=0, grid_ndim=1, flush_interval_s=None)
    scan._put_one = scan.put_only = None  # put_frame is what is patched
    real_hold, stored = Part.held_still, threading.Event()
    writer = threading.Thread(target=lambda: scan.write(0, np.full(8, 1.5)))
    real_put = Part.put_frame

    def put(part: Part, *args: Any) -> None:
        real_put(part, *args)
        stored.set()

    def held_still(part: Part) -> Any:
        writer.start()
        assert stored.wait(DEADLINE_S)
        return real_hold(part)

    monkeypatch.setattr(Part, "put_frame", put)
    monkeypatch.setattr(Part, "held_still", held_still)
    with pytest.raises(lys_storage.ScanShapeError, match="before its first frame"):
        scan.change_dtype("f4", 0)
    writer.join(DEADLINE_S)
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[1.5] * 8, [0] * 8]))


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is mapped cannot be cut there")
def test_a_map_that_is_held_while_the_dtype_changes_does_not_kill_the_process(tmp_path: Path, run_child: Any) -> None:
    """A viewer may have taken `array` before the first frame; reading a map beyond the file's end is SIGBUS."""
    child = run_child("""
import lys_storage, numpy as np
scan = lys_storage.create("data.npz", (100, 10_000), "f8")
scan.let_first_frame_choose()
held = scan.array
scan[0] = np.ones(10_000, "u1")
held[-1, -1]
scan.close()
held[-1, -1]
print("alive")
""")
    assert (child.code, child.out.strip()) == (0, "alive")


# -- the end -----------------------------------------------------------------------------------------------------------


def test_a_read_that_fails_once_while_checksums_are_taken_does_not_keep_the_scan_from_being_saved(
    tmp_path: Path, faults: Faults
) -> None:
    """What has not been checked stays to be checked, beyond the piece that failed too (a piece is 65,536 frames)."""
    scan = lys_storage.create(tmp_path / "data.npz", (200_000,), "u1", grid_ndim=1, flush_interval_s=None)
    scan[...] = np.ones(200_000, "u1")
    faults.fail("read", 1, errno.EIO)
    with pytest.raises(lys_storage.StorageOSError):
        scan.close()
    assert faults.failed == ["read"]
    assert load_export(scan.close()).data.sum() == 200_000


@pytest.mark.parametrize(
    ("name", "nth"),
    [("sync of a folder", 1), ("remove", 1), ("remove", 2)],
    ids=["sync of the folder", "removing the redo file", "removing the journal"],
)
def test_a_close_that_failed_after_publishing_succeeds_when_called_again(
    tmp_path: Path, faults: Faults, name: str, nth: int
) -> None:
    """With a note too: the journal that would be asked for it is closed by then."""
    scan = lys_storage.create(tmp_path / "data.npz", (2,), "u1", note={"a": 1}, flush_interval_s=None)
    scan[...] = np.ones(2, "u1")
    faults.fail(name, nth, errno.EIO)
    with pytest.raises(lys_storage.StorageOSError):
        scan.close()
    assert scan.close() == tmp_path / "data.npz"
    assert files(tmp_path) == {"data.npz"}
    assert load_export(scan.path).note == {"a": 1}


def test_a_publish_by_link_whose_unlink_fails_is_not_done_twice(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no rename refuses: the link is what publishes. Called again, close() finds its own file there."""
    monkeypatch.setattr(_fs, "_rename_noreplace", lambda old, new: False)
    scan = begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False, flush_interval_s=None)
    scan[...] = np.ones(2, "u1")
    faults.fail("remove", 1, errno.EIO)
    try:
        scan.close()
    except lys_storage.StorageOSError:
        scan.close()
    assert files(tmp_path) == {"data_0.npz"}


def test_a_scan_that_is_closed_while_its_first_write_returns_starts_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lys_storage.create(tmp_path / "data.npz", (1, 8), "u1", grid_ndim=1, flush_interval_s=0.001)
    scan._put_one = scan.put_only = None  # put_frame is what is patched
    real_put = Part.put_frame

    def put(part: Part, *args: Any) -> None:
        real_put(part, *args)
        closer = threading.Thread(target=scan.close)
        closer.start()
        closer.join(DEADLINE_S)

    monkeypatch.setattr(Part, "put_frame", put)
    scan[0] = np.arange(8, dtype="u1")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lys_storage")] == []
    assert_same_array(load_export(scan.path).data, np.arange(8, dtype="u1")[None])


# -- hostile files -----------------------------------------------------------------------------------------------------


class PointerArray:
    """Reads memory at an address of the file's choice: an object array over bytes."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((1,), "O", b"\x41" * 8)


class UnflaggedDtype:
    """A structured dtype that says it holds no objects, and does."""

    def __reduce__(self) -> Any:
        return np.dtype, ("V8",), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


class PointerRecord:
    def __reduce__(self) -> Any:
        reconstruct = np.zeros(1).__reduce__()[0]
        return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), UnflaggedDtype(), False, b"\x41" * 8)


@pytest.mark.parametrize("value", [PointerArray(), PointerRecord()], ids=["object array over bytes", "unflagged dtype"])
def test_a_pickle_that_makes_pointers_of_bytes_is_refused(tmp_path: Path, run_child: Any, value: object) -> None:
    """Plain data only: numpy's own constructors, called as a file says, read (and call) any address."""
    lys_storage.create(tmp_path / "good.npz", (2,), "u1").close()
    boxed = np.empty((), object)
    boxed[()] = {"x": value}
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            hostile = head.getvalue() + pickle.dumps(boxed)
            bad.writestr(name, hostile if name == "note.npy" else good.read(name))
    child = run_child("""
import lys_storage
try:
    print(lys_storage.open_wave("bad.npz").note)
except lys_storage.BadFileError as error:
    print("refused")
""")
    assert (child.code, child.out.strip()) == (0, "refused")


# -- frames and fills --------------------------------------------------------------------------------------------------


def test_a_list_of_complex_numbers_is_no_frame_of_a_real_scan(tmp_path: Path) -> None:
    """FrameTypeError, not numpy's warning (nor its exception, where warnings are errors)."""
    with (
        lys_storage.create(tmp_path / "data.npz", (2, 2), "f8", fill=0) as scan,
        pytest.raises(lys_storage.FrameTypeError),
    ):
        scan[0] = [1 + 2j, 1]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        pytest.param("f8", 1j, id="complex in float"),
        pytest.param("U2", "abc", id="text too long"),
        pytest.param("S1", b"ab", id="bytes too long"),
        pytest.param("M8[D]", np.datetime64("2020-01-01T05"), id="hours in days"),
    ],
)
def test_a_fill_that_would_be_cut_is_refused(tmp_path: Path, dtype: str, fill: Any, leave: Any) -> None:
    with pytest.raises(lys_storage.ScanShapeError):
        leave(lys_storage.create(tmp_path / "data.npz", (2,), dtype, fill=fill))
    assert files(tmp_path) == set()


def test_a_big_whole_number_can_fill_a_float(tmp_path: Path, leave: Any) -> None:
    assert leave(lys_storage.create(tmp_path / "data.npz", (2,), "f8", fill=10**20)).fill == 1e20


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


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data_0.npz.bak", "data_0.npz.txt", "data_0.npz.zip"])
def test_a_file_that_is_neither_export_nor_scan_takes_no_number(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert _numbering.free_number(tmp_path, "data") == 0


def test_a_reserve_that_fails_takes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that takes long to scan, too: this gap is nobody else's."""
    for k in range(3000):
        (tmp_path / f"data_{k}.npz").touch()
    assert _numbering.free_number(tmp_path, "data") == 3000

    def full(*args: Any) -> bool:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(_fs, "_fallocate", full)
        with pytest.raises(lys_storage.DiskFullError):
            begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False)
    assert _numbering.free_number(tmp_path, "data") == 3000


# -- the follower ------------------------------------------------------------------------------------------------------


def test_a_background_flush_that_fails_is_tried_again_also_where_no_more_frames_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frame of an hour was promised within a second, and the detector is waiting for a sample."""
    monkeypatch.setattr("lys_storage.core._to_disk.AGAIN_S", 0.02)
    real, told, done = _fs.File.sync, [], threading.Event()

    def sync(self: _fs.File) -> None:
        if self.path.name.endswith(".part") and len(told) < 3:
            raise lys_storage.StorageOSError(errno.EIO, "injected", str(self.path))
        real(self)
        if self.path.name.endswith(".journal"):
            done.set()

    monkeypatch.setattr(_fs.File, "sync", sync)
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": 0.01}
    scan = begin_scan(tmp_path, "data", (4, 8), "u1", failed=told.append, **options)
    scan[0] = np.arange(8, dtype="u1")
    assert done.wait(DEADLINE_S)
    assert [type(error) for error in told] == [lys_storage.StorageOSError] * 3
    scan.suspend()
