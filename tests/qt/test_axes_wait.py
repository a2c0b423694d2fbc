"""The documented order without a detector: reserve, update with all frames, save(axes). The late axes are stored."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.qt import QtCore
from tests.helpers import assert_same_array, assert_same_axes, files, load_export
from tests.qt.detector import DEADLINE_S, in_another_thread, process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until

DATA = np.arange(6.0).reshape(2, 3)
AXES = [np.array([0.5, 1.5]), np.array([2.0, 3.0, 4.0])]
INDICES = [np.arange(2.0), np.arange(3.0)]


def fill(storage: Any, data: Any = DATA, **options: Any) -> None:
    """Reserve, and update with every frame, the last one in another thread."""
    storage.reserve(data.shape, **options)
    storage.update({(0,): data[0]})
    in_another_thread(storage.update, {(k,): data[k] for k in range(1, len(data))})


def assert_export(path: Path, data: Any, axes: Any) -> None:
    export = load_export(path)
    assert_same_array(export.data, data)
    assert_same_axes(export.axes, axes)


# -- save(axes) is called ----------------------------------------------------------------------------------------------


def test_reserve_update_all_and_save_store_the_axes(storage: Any, folder: Path) -> None:
    """`saving` stays True from reserve until the file exists. There is one file, and one `saved`."""
    log = listen_to(storage)
    fill(storage)
    process_events()
    assert (storage.saving, storage._paths, storage._threads) == (True, [str(folder / "data_0.npz")], [])
    assert files(folder) == {"data_0.npz.part", "data_0.npz.part.journal"}
    storage.save(AXES)
    assert storage.saving is True
    wait_saved(storage)
    assert_export(folder / "data_0.npz", DATA, AXES)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
    assert log.args("savingStateChanged")[-1] == (False,)


@pytest.mark.parametrize("axes", [None, [], AXES, [np.zeros(2), np.zeros(3)], [np.zeros(9)]], ids=str)
@pytest.mark.parametrize("published", [True, False])
def test_a_second_save_changes_nothing(storage: Any, folder: Path, axes: Any, published: bool, disk: Any) -> None:
    """A published file is never changed. Neither is one that is being saved."""
    fill(storage)
    storage.save(AXES)
    if published:
        assert storage.waitForSaved()
    else:
        disk.hold()
    log = listen_to(storage)
    before = {path: path.read_bytes() for path in folder.iterdir()} if published else {}
    storage.save(axes)
    disk.release()
    assert storage.waitForSaved()
    assert log.args("failed") == []
    if published:
        assert log == []
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert files(folder) == {"data_0.npz"}
    assert_export(folder / "data_0.npz", DATA, AXES)


def test_save_with_nothing_reserved_does_nothing(storage: Any, folder: Path, errors: Any) -> None:
    """As in lys_instr; also without axes, and after close()."""
    log = listen_to(storage)
    storage.save(AXES)
    storage.save()
    storage.close()
    storage.save(AXES)
    assert (log, storage.saving, folder.exists(), errors()) == ([], False, False, [])


def test_axes_that_do_not_fit_are_refused_and_the_scan_still_waits(storage: Any, folder: Path) -> None:
    """The call can be repeated."""
    fill(storage)
    for axes in ([np.zeros(3), np.zeros(3)], [*AXES, np.zeros(1)], 5):
        with pytest.raises(lys_storage.AxisLengthError):
            storage.save(axes)
    process_events()
    assert (storage.saving, storage._threads) == (True, [])
    storage.save(axis for axis in AXES)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", DATA, AXES)


def test_each_of_several_scans_gets_its_own_axes(storage: Any, folder: Path) -> None:
    """The axes of one save are not used for the next scan."""
    axes = [[AXES[0] + k, AXES[1] * k] for k in range(3)]
    for k in range(3):
        fill(storage, DATA + k)
        storage.save(axes[k])
    fill(storage)
    assert storage.waitForSaved()
    for k in range(3):
        assert_export(folder / f"data_{k}.npz", DATA + k, axes[k])
    assert_export(folder / "data_3.npz", DATA, INDICES)


def test_a_frame_that_comes_again_meanwhile_replaces_the_one_before(storage: Any, folder: Path) -> None:
    """This holds until the scan is sealed. After that it is an error, as before a reserve."""
    fill(storage)
    storage.update({(1,): -DATA[1]})
    assert_same_array(storage.array, [DATA[0], -DATA[1]])
    storage.save(AXES)
    with pytest.raises(lys_storage.NothingReservedError):
        storage.update({(0,): DATA[0]})
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", [DATA[0], -DATA[1]], AXES)


# -- save(axes) is not called ------------------------------------------------------------------------------------------


def delete_now(thing: Any) -> None:
    thing.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


ENDS: dict[str, Callable[[Any], Any]] = {
    "the next reserve": lambda storage: storage.reserve((2,)),
    "waitForSaved": lambda storage: storage.waitForSaved(),
    "retry": lambda storage: storage.retry(),
    "close": lambda storage: storage.close(),
    "the application quits": lambda storage: storage._on_about_to_quit(),
    "the storage is deleted": delete_now,
    "half a second of the event loop": lambda storage: wait_until(lambda: storage._paths == []),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_wait_ends_with(storage: Any, folder: Path, end: Callable[[Any], Any]) -> None:
    """The file is complete, and has index coordinates."""
    fill(storage)
    process_events()
    assert storage._paths == [str(folder / "data_0.npz")]
    end(storage)
    assert storage._save_thread.wait_idle(DEADLINE_S)
    assert_export(folder / "data_0.npz", DATA, INDICES)


def test_a_resumed_scan_ends_the_wait_and_waits_itself(storage: Any, folder: Path, bare_detector: Any) -> None:
    """Its own axes can be late, too. A detector that becomes busy then begins another scan."""
    scan = lys_storage.create(folder / "old.npz", DATA.shape, grid_ndim=1, axes=AXES)
    scan[0] = DATA[0]
    scan.suspend()
    fill(storage)
    missing = storage.resume(folder / "old.npz")
    assert list(missing) == [(1,)]
    storage.update({(1,): DATA[1]})
    storage.connect(bare_detector)
    bare_detector.busyStateChanged.emit(True)
    assert storage.array.shape == (3, 4)
    bare_detector.stopped.emit()
    bare_detector.busyStateChanged.emit(False)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", DATA, INDICES)
    assert_export(folder / "old.npz", DATA, AXES)


def test_the_event_loop_waits_half_a_second(storage: Any, folder: Path) -> None:
    """The time starts in the event loop: a script that is busy before its save(axes) loses no axes."""
    fill(storage)
    threading.Event().wait(0.6)
    began = time.monotonic()
    process_events()
    assert storage._paths == [str(folder / "data_0.npz")]
    wait_until(lambda: storage._paths == [])
    assert 0.4 < time.monotonic() - began < DEADLINE_S
    wait_saved(storage)


def test_the_time_of_one_scan_does_not_end_the_wait_of_the_next(storage: Any, folder: Path) -> None:
    fill(storage)
    process_events()
    storage.save(AXES)
    fill(storage, 2 * DATA)
    storage._axes_wait._on_timeout()
    assert storage._paths == [str(folder / "data_1.npz")]
    process_events()
    storage.save(AXES)
    assert storage.waitForSaved()
    assert_export(folder / "data_1.npz", 2 * DATA, AXES)


def test_the_time_runs_in_the_thread_of_the_storage(run_child: Any, tmp_path: Path) -> None:
    """The storage belongs to a thread with an event loop. Another thread writes the last frame. Qt prints nothing."""
    child = run_child(
        """
import sys, threading
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
app = QtCore.QCoreApplication([])
made, threads = threading.Event(), []

class Thread(QtCore.QThread):
    def run(self):
        self.storage = DataStorage(base=sys.argv[1])
        self.storage.savingStateChanged.connect(
            lambda saving: (threads.append(threading.get_ident()), saving or self.quit()),
            QtCore.Qt.ConnectionType.DirectConnection,
        )
        self.storage.reserve((2, 3))
        self.ident = threading.get_ident()
        made.set()
        self.exec()
        self.storage.close()
        del self.storage

thread = Thread()
thread.start()
assert made.wait(20)
thread.storage.update({(): np.ones((2, 3))})
assert thread.wait(20000)
print(set(threads) == {thread.ident})
""",
        str(tmp_path),
    )
    assert (child.code, child.out, child.err) == (0, "True\n", "")
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, np.ones((2, 3)))


# -- detectors ---------------------------------------------------------------------------------------------------------


def test_a_detector_that_is_connected_meanwhile_gets_its_own_scan(
    storage: Any, folder: Path, bare_detector: Any
) -> None:
    """Its frames and axes do not go into the scan that waits."""
    fill(storage, np.ones((3, 4)))
    storage.connect(bare_detector)
    assert storage._paths == [str(folder / "data_0.npz")]
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(): np.zeros((3, 4))})
    bare_detector.busyStateChanged.emit(False)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", np.ones((3, 4)), [np.arange(3.0), np.arange(4.0)])
    assert_export(folder / "data_1.npz", np.zeros((3, 4)), bare_detector.axes)


def run_once(storage: Any, detector: Any) -> None:
    storage.connect(detector)
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({(): np.zeros(detector.dataShape)})
    detector.busyStateChanged.emit(False)


def test_the_axes_of_the_latest_detector_are_used_where_no_others_come_and_they_fit(
    storage: Any, folder: Path, bare_detector: Any
) -> None:
    """lys_instr keeps them, too, but lys would pad or cut axes that do not fit."""
    run_once(storage, bare_detector)
    log = listen_to(storage)
    fill(storage, np.ones((3, 4)))
    fill(storage, np.ones((3, 4)))
    given = [np.arange(3.0) + 9, np.arange(4.0) - 9]
    storage.save(given)
    fill(storage, np.ones((3, 4)))
    storage.save()
    fill(storage)
    assert storage.waitForSaved()
    for number, axes in enumerate([bare_detector.axes, bare_detector.axes, given, bare_detector.axes, INDICES]):
        assert_same_axes(load_export(folder / f"data_{number}.npz").axes, axes)
    assert log.args("failed") == []


def test_a_frame_without_its_detector_completes_the_scan_of_a_detector_at_once(
    storage: Any, folder: Path, bare_detector: Any
) -> None:
    """Its axes are known since the detector became busy."""
    storage.connect(bare_detector)
    bare_detector.busyStateChanged.emit(True)
    storage.update({(): np.ones((3, 4))})
    assert storage._paths == []
    bare_detector.busyStateChanged.emit(False)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", np.ones((3, 4)), bare_detector.axes)


# -- axes that are given to reserve ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "expected"),
    [(AXES, AXES), ((axis for axis in AXES), AXES), ([None, AXES[1]], [INDICES[0], AXES[1]]), ([], INDICES)],
    ids=["a list", "a generator", "one is None", "none at all"],
)
def test_with_axes_reserved_the_last_frame_saves_the_scan(storage: Any, folder: Path, axes: Any, expected: Any) -> None:
    fill(storage, axes=axes)
    assert storage._paths == []
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", DATA, expected)


def test_reserved_axes_are_used_by_every_end_but_a_save_with_others(storage: Any, folder: Path) -> None:
    """This includes save() of an incomplete scan, and the next reserve."""
    for _ in range(3):
        storage.reserve(DATA.shape, axes=AXES)
        storage.update({(0,): DATA[0]})
        if storage.getNumber() == 2:
            storage.save()
    storage.save(INDICES)
    assert storage.waitForSaved()
    for number, axes in enumerate([AXES, AXES, INDICES]):
        assert_same_axes(load_export(folder / f"data_{number}.npz").axes, axes)


@pytest.mark.parametrize("axes", [[np.zeros(3), np.zeros(3)], [*AXES, np.zeros(1)], 5, "ab"], ids=str)
def test_reserved_axes_that_do_not_fit_are_refused(storage: Any, folder: Path, axes: Any) -> None:
    """No file is left, and a scan can be reserved."""
    with pytest.raises(lys_storage.AxisLengthError):
        storage.reserve(DATA.shape, axes=axes)
    assert (storage.saving, folder.exists()) == (False, False)
    fill(storage, axes=AXES)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", DATA, AXES)


# -- other states ------------------------------------------------------------------------------------------------------


def test_without_an_event_loop_no_scan_is_kept(storage: Any) -> None:
    """A script that makes thousands of scans needs the memory of one."""
    scans = []
    for _ in range(5):
        fill(storage)
        scans.append(weakref.ref(storage._saves.running))
        storage.save(AXES)
    assert storage.waitForSaved()
    gc.collect()
    assert [scan() for scan in scans[:-1]] == [None] * 4  # the save thread may still use the last one


def test_a_storage_that_is_not_enabled_waits_for_nothing(make_storage: Any, folder: Path) -> None:
    storage = make_storage(enabled=False)
    fill(storage)
    storage.save(AXES)
    assert (storage.saving, folder.exists()) == (False, False)


def test_a_storage_that_is_disabled_while_it_waits_stores_the_scan(storage: Any, folder: Path) -> None:
    """`enabled` is read by reserve."""
    fill(storage)
    storage.enabled = False
    storage.save(AXES)
    assert storage.waitForSaved()
    assert_export(folder / "data_0.npz", DATA, AXES)


def test_axes_that_come_too_late_are_warned_of(storage: Any, folder: Path, errors: Any) -> None:
    """There is one warning for each call, which names the file. There is none without axes, or after a save in time."""
    fill(storage)
    storage.save(AXES)
    storage.save(AXES)
    assert storage.waitForSaved()
    fill(storage)
    assert storage.waitForSaved()
    for axes in (None, []):
        storage.save(axes)
    assert errors() == []
    storage.save(AXES)
    (message,) = errors()
    assert str(folder / "data_1.npz") in message
    assert "these axes are not stored" in message


def test_a_storage_that_qt_deletes_under_the_last_frame_saves_the_scan(storage: Any, folder: Path) -> None:
    """Frames that another thread writes meanwhile are in the file, and raise nothing."""
    gate = threading.Event()
    storage.reserve(DATA.shape)
    storage.update({(0,): DATA[0]})
    storage._save_thread.submit(lambda: gate.wait(DEADLINE_S))
    delete_now(storage)
    in_another_thread(storage.update, {(1,): DATA[1]})
    gate.set()
    wait_until(lambda: not storage.saving)
    assert_export(folder / "data_0.npz", DATA, INDICES)


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_process_that_dies_while_the_scan_waits_loses_nothing(run_child: Any, tmp_path: Path, how: str) -> None:
    child = run_child(
        f"""
import os, sys
import numpy as np
from lys_storage import DataStorage
storage = DataStorage(base=sys.argv[1])
storage.reserve((2, 3))
storage.update({{(k,): np.full(3, k) for k in range(2)}})
{"os.kill(os.getpid(), 9)" if how == "kill" else "os._exit(9)"}
""",
        str(tmp_path),
    )
    assert child.code in ((-9, 9) if how == "kill" else (9,))  # SIGKILL; TerminateProcess on Windows
    assert not (tmp_path / "folder/data_0.npz").exists()
    lys_storage.recover(tmp_path / "folder")
    assert_export(tmp_path / "folder/data_0.npz", np.array([[0.0] * 3, [1.0] * 3]), INDICES)


@pytest.mark.parametrize("end", ["storage.save(axes)", "", "storage.waitForSaved()", "storage.close()", "del storage"])
def test_a_script_without_an_application_stores_all_and_prints_nothing(
    run_child: Any, tmp_path: Path, end: str
) -> None:
    """There are three scans; the last one ends with `end`."""
    child = run_child(
        f"""
import sys
import numpy as np
from lys_storage import DataStorage
storage = DataStorage(base=sys.argv[1])
axes = [np.array([0.5, 1.5]), np.array([2.0, 3.0, 4.0])]
for k in range(3):
    storage.reserve((2, 3))
    storage.update({{(): np.full((2, 3), k)}})
    if k < 2:
        storage.save(axes)
{end}
""",
        str(tmp_path),
    )
    assert (child.code, child.out, child.err) == (0, "", "")
    for k in range(3):
        axes = AXES if k < 2 or "axes" in end else INDICES
        assert_export(tmp_path / f"folder/data_{k}.npz", np.full((2, 3), float(k)), axes)
