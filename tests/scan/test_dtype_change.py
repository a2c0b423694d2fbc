"""The dtype can change before the first frame, by that frame or by a call, beside writers, maps and failures."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanShapeError
from lys_storage.disk import folder as folder_module
from lys_storage.format import FrameLayout
from lys_storage.scan import frame_writer
from lys_storage.store import FrameTable, ScanStore
from tests.fixtures import Faults
from tests.helpers import DEADLINE_S, assert_same_array, files, load_export, some
from tests.scan.scans import begin, without_accelerator
from tests.systems import IS_WINDOWS, not_on_windows

# -- a dtype that is not known yet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["u2", "f8", ">f4", "c16", "?", "M8[us]", [("a", "f4"), ("b", "u1", (2,))]])
def test_the_first_frame_can_choose_the_dtype(tmp_path: Path, given: Any) -> None:
    """The fill value follows the dtype."""
    frame, scan = some((3,), given), begin(tmp_path)
    frame_writer(scan).infer_dtype_from_first_frame()
    scan[1] = frame
    assert (scan.dtype, scan.written.tolist()) == (np.dtype(given), [False, True])
    expected = np.full((2, 3), np.nan, given) if np.dtype(given).kind in "fc" else np.zeros((2, 3), given)
    expected[1] = frame
    assert_same_array(load_export(scan.close()).data, expected)


def test_a_first_frame_that_is_refused_chooses_nothing(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    frame_writer(scan).infer_dtype_from_first_frame()
    for bad in (np.zeros(4, "u2"), np.zeros(3, "O")):
        with pytest.raises((lys_storage.FrameShapeError, lys_storage.FrameTypeError, ScanShapeError)):
            scan[0] = bad
    with pytest.raises(lys_storage.FrameIndexError):
        scan[5] = np.zeros(3, "u4")
    scan[0] = np.ones(3, "i2")
    assert scan.dtype == np.dtype("i2")
    assert_same_array(load_export(scan.close()).data, np.array([[1] * 3, [0] * 3], "i2"))


def test_without_any_frame_the_dtype_stays(tmp_path: Path) -> None:
    with begin(tmp_path, (2,)) as scan:
        frame_writer(scan).infer_dtype_from_first_frame(fill_value=3)
    assert_same_array(load_export(scan.path).data, np.full(2, np.nan))


@pytest.mark.parametrize(
    ("old", "new", "fill"),
    [("f8", "c16", None), ("f8", "u1", 7), ("u1", "f8", None), ("f8", [("name" * 50, "i4")], None)],
    ids=["larger", "smaller, with a fill", "from one byte to eight", "with a longer header"],
)
def test_an_empty_scan_can_be_laid_out_anew(tmp_path: Path, old: str, new: Any, fill: Any) -> None:
    """Name, axes and note stay."""
    scan, frame = begin(tmp_path, (4, 1000), old, axes=[range(4)], note={"a": 1}), some((1000,), new)
    held = scan.array
    if IS_WINDOWS:
        del held  # a file that is mapped is not replaced
    scan.change_dtype(new, fill)
    if not IS_WINDOWS:
        del held
    assert (scan.dtype, scan.array.dtype, scan.array.shape) == (np.dtype(new), np.dtype(new), (4, 1000))
    scan[2] = frame
    export = load_export(scan.close())
    expected = np.full((4, 1000), np.zeros((), new) if fill is None else fill, new)
    if np.dtype(new).kind in "fc":
        expected[...] = np.nan
    expected[2] = frame
    assert_same_array(export.data, expected)
    assert (export.note, export.axes[0].tolist()) == ({"a": 1}, [0, 1, 2, 3])
    assert files(tmp_path) == {"data.npz"}


def test_a_scan_with_frames_keeps_its_dtype(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.raises(ScanShapeError, match="only before its first frame"):
        scan.change_dtype("c16")
    assert_same_array(load_export(scan.close()).data, np.array([[1.0] * 3, [np.nan] * 3]))


@pytest.mark.parametrize("bad", ["O", "no dtype"])
def test_a_dtype_that_no_scan_can_have_changes_nothing(tmp_path: Path, bad: str) -> None:
    with begin(tmp_path) as scan:
        with pytest.raises(ScanShapeError):
            scan.change_dtype(bad)
        scan[0] = np.ones(3)
    assert load_export(scan.path).data[0].tolist() == [1.0] * 3


@pytest.mark.parametrize("name", ["set the size", "write", "claim or punch", "sync", "replace", "map", "open"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_change_of_the_dtype_that_fails_leaves_a_scan_that_can_be_saved(
    tmp_path: Path, faults: Faults, name: str, nth: int
) -> None:
    """It has the old or the new dtype, and nothing is torn. A second attempt succeeds."""
    scan = begin(tmp_path)
    faults.fail(name, nth, 28)
    raised: list[int | None] = []
    try:
        scan.change_dtype("c16")
    except lys_storage.StorageOSError as error:
        raised.append(error.errno)
    failed = list(faults.failed)
    faults.off()
    assert raised == [28 for _ in failed]
    assert failed or nth > 1, f"{name} is never called"
    if scan.dtype != np.dtype("c16"):
        assert failed
        scan.change_dtype("c16")
    scan[0] = np.full(3, 1 + 2j)
    assert_same_array(load_export(scan.close()).data, np.array([[1 + 2j] * 3, [np.nan] * 3], "c16"))
    assert files(tmp_path) == {"data.npz"}


def test_a_bigger_dtype_that_does_not_fit_on_the_disk_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin(tmp_path, (4, 100_000), "u1")
    monkeypatch.setattr(folder_module, "free_space", lambda folder: 1_000_000)
    with pytest.raises(lys_storage.DiskFullError, match="not enough space: needs"):
        scan.change_dtype("c16")
    scan[1] = np.ones(100_000, "u1")
    assert load_export(scan.close()).data.sum() == 100_000


# -- beside writers and maps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comes", ["before the new layout", "after it"])
def test_a_frame_that_waits_while_the_dtype_changes_is_stored_in_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    """Grid and dtype are read together. Bytes of the old dtype in the new layout would pass as data."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 8), "f8", fill_value=0, grid_ndim=1, flush_interval_s=None)
    entered, begin, switch_journal = threading.Event(), FrameTable.begin, ScanStore.switch_journal
    writer = threading.Thread(target=lambda: scan.write(0, np.full(8, 1.5)))
    tried: list[str] = []

    def begin_write(table: FrameTable, layout: FrameLayout, span: tuple[int, int]) -> int:
        tried.append(layout.dtype.str)
        entered.set()
        return begin(table, layout, span)

    def write_meanwhile() -> None:
        writer.start()
        assert entered.wait(DEADLINE_S)

    def switch(store: ScanStore, *args: Any) -> None:
        if comes == "before the new layout":
            write_meanwhile()
        switch_journal(store, *args)
        if comes == "after it":
            write_meanwhile()

    monkeypatch.setattr(FrameTable, "begin", begin_write)
    monkeypatch.setattr(ScanStore, "switch_journal", switch)
    scan.change_dtype("f4", 0)
    writer.join(DEADLINE_S)
    scan.close()
    assert tried == {"before the new layout": ["<f8", "<f4"], "after it": ["<f4"]}[comes]
    assert_same_array(load_export(scan.path).data, np.array([[1.5] * 8, [0] * 8], "f4"))


def test_a_frame_that_comes_while_the_dtype_changes_is_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the scan is empty is checked after it stops accepting frames: an acknowledged frame is kept."""
    without_accelerator(monkeypatch)  # the test patches write_one
    scan = lys_storage.create(tmp_path / "data.npz", (2, 8), "f8", fill_value=0, grid_ndim=1, flush_interval_s=None)
    write_one, quiesce, stored = FrameTable.write_one, ScanStore.quiesce, threading.Event()
    writer = threading.Thread(target=lambda: scan.write(0, np.full(8, 1.5)))

    def write(table: FrameTable, *args: Any) -> bool:
        done = write_one(table, *args)
        stored.set()
        return done

    def after_a_frame(store: ScanStore) -> None:
        writer.start()
        assert stored.wait(DEADLINE_S)
        quiesce(store)

    monkeypatch.setattr(FrameTable, "write_one", write)
    monkeypatch.setattr(ScanStore, "quiesce", after_a_frame)
    with pytest.raises(lys_storage.ScanShapeError, match="before its first frame"):
        scan.change_dtype("f4", 0)
    writer.join(DEADLINE_S)
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[1.5] * 8, [0] * 8]))


@not_on_windows("a file that is mapped is not replaced")
def test_a_map_that_is_held_while_the_dtype_changes_does_not_kill_the_process(tmp_path: Path, run_child: Any) -> None:
    """A viewer can hold `array` from before the first frame. Reading a map beyond the end of its file is a SIGBUS."""
    child = run_child("""
import lys_storage, numpy as np
from lys_storage.scan import frame_writer
scan = lys_storage.create("data.npz", (100, 10_000), "f8")
frame_writer(scan).infer_dtype_from_first_frame()
held = scan.array
scan[0] = np.ones(10_000, "u1")
held[-1, -1]
scan.close()
held[-1, -1]
print("alive")
""")
    assert (child.code, child.out.strip()) == (0, "alive")


@pytest.mark.parametrize("by_frame", [False, True], ids=["by the caller", "by the first frame"])
def test_the_replaced_file_is_let_go_with_its_map(tmp_path: Path, by_frame: bool) -> None:
    """A map that the scan kept would hold the disk space of the replaced file."""
    scan = begin(tmp_path, dtype="f8", grid_ndim=1)
    assert scan.array.dtype == np.dtype("f8")
    if by_frame:
        frame_writer(scan).infer_dtype_from_first_frame()
        scan[0] = np.ones(scan.frame_shape, "c16")
    else:
        scan.change_dtype("c16")
    if sys.platform == "linux":
        maps = Path("/proc/self/maps").read_text()
        assert not [line for line in maps.splitlines() if str(tmp_path) in line and line.endswith("(deleted)")]
    assert scan.array.dtype == np.dtype("c16")
    scan.suspend()
