"""The storage, or its detector, is destroyed while a scan runs: by Qt, by Python, or by a garbage collection."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanClosedError
from lys_storage.qt import QtCore, binding
from tests.helpers import assert_same_array, files, load_export
from tests.qt.detector import BareDetector, in_another_thread, process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until

FRAMES = np.arange(12.0).reshape(3, 4)
FIRST_ONLY = np.where(np.arange(3)[:, None] < 1, FRAMES, np.nan)


def delete_now(thing: Any) -> None:
    """Delete an object as the event loop does after deleteLater."""
    thing.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def delete_parent(thing: Any) -> None:
    parent = QtCore.QObject()
    thing.setParent(parent)
    delete_now(parent)


BY_QT = pytest.mark.parametrize("delete", [delete_now, delete_parent], ids=["deleteLater", "by its parent"])


# -- the storage -------------------------------------------------------------------------------------------------------


@BY_QT
def test_a_detector_outlives_its_storage(
    storage: Any, folder: Path, bare_detector: Any, errors: Any, delete: Callable[[Any], None]
) -> None:
    """The written frames are saved. Later frames are counted and reported once; later runs are reported, not stored."""
    storage.connect(bare_detector)
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(0,): FRAMES[0]})
    delete(storage)
    wait_until(lambda: not storage.saving)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)
    told = errors()
    bare_detector.dataAcquired.emit({(1,): FRAMES[1]})
    in_another_thread(bare_detector.dataAcquired.emit, {(2,): FRAMES[2], (0,): FRAMES[0]})
    assert errors() == told
    bare_detector.stopped.emit()
    bare_detector.busyStateChanged.emit(False)
    process_events()
    (message,) = errors()[len(told) :]
    assert " 3 frames " in message
    for _ in range(2):
        bare_detector.busyStateChanged.emit(True)
        bare_detector.dataAcquired.emit({(k,): FRAMES[k] for k in range(3)})
        bare_detector.busyStateChanged.emit(False)
    process_events()
    assert len(errors()) <= len(told) + 5
    assert "closed" in errors()[-2]
    assert files(folder) == {"data_0.npz"}


@BY_QT
def test_each_member_of_a_deleted_storage_answers_or_refuses_in_words(
    storage: Any, folder: Path, bare_detector: Any, delete: Callable[[Any], None]
) -> None:
    """None of them uses objects that Qt has deleted."""
    storage.reserve((3, 4))
    storage.update({(0,): FRAMES[0]})
    delete(storage)
    storage.name, storage.base, storage.folder = "other", "elsewhere", "there"
    assert storage.waitForSaved(20)
    for refused in (
        lambda: storage.reserve((3, 4)),
        lambda: storage.update({(1,): FRAMES[1]}),
        lambda: storage.resume(folder / "data_0.npz"),
    ):
        with pytest.raises(ScanClosedError, match="closed"):
            refused()
    storage.save()
    storage.connect(bare_detector)
    assert (storage.saving, storage.array, storage.written, storage._arr) == (False, None, None, None)
    assert (storage._paths, storage._threads, storage.report, storage.retry()) == ([], [], None, 0)
    assert storage.getNumber() == 0
    storage.close()
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)


def test_a_save_of_a_deleted_storage_that_fails_is_logged_and_keeps_the_scan(
    storage: Any, folder: Path, disk: Any, errors: Any
) -> None:
    """`failed` cannot be emitted any more."""
    storage.reserve((3, 4))
    storage.update({(0,): FRAMES[0]})
    disk.error = 5
    delete_now(storage)
    wait_until(lambda: not storage.saving)
    assert any("could not be saved" in message for message in errors())
    disk.error = None
    lys_storage.recover(folder)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_save_thread_that_qt_deletes_before_its_storage_is_replaced(
    storage: Any, folder: Path, errors: Any, frames: int
) -> None:
    """PyQt5 does this, in any order, when the application object is deleted. The storage can still be closed."""
    storage.reserve((3, 4))
    storage.update({(k,): FRAMES[k] for k in range(frames)})
    binding._sip.delete(storage._save_thread)
    delete_now(storage)
    assert storage.waitForSaved(20)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY if frames == 1 else FRAMES)
    assert [message for message in errors() if "was deleted while" not in message] == []
    assert (storage.saving, storage.retry()) == (False, 0)
    storage.close()


@pytest.mark.parametrize("how", ["storage.deleteLater()", "storage.setParent(parent); parent.deleteLater()", ""])
def test_a_process_without_an_excepthook_survives_the_end_of_a_storage(
    run_child: Any, tmp_path: Path, how: str
) -> None:
    """PyQt aborts if an exception leaves a slot. The detector is still in its last run when the script ends."""
    child = run_child(
        f"""
import sys
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
from tests.qt.detector import BareDetector, in_another_thread, process_events
app = QtCore.QCoreApplication([])
storage, detector, parent = DataStorage(base=sys.argv[1]), BareDetector(), QtCore.QObject()
storage.connect(detector)
for run in range(3):
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({{(0,): np.ones(4)}})
    if run == 1:
        {how or "del storage"}
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    in_another_thread(detector.dataAcquired.emit, {{(1,): np.ones(4)}})
    detector.stopped.emit()
    in_another_thread(detector.busyStateChanged.emit, False)
    process_events()
detector.busyStateChanged.emit(True)
print("alive")
""",
        str(tmp_path),
    )
    assert (child.code, child.out) == (0, "alive\n"), child.err
    assert "Traceback" not in child.err
    assert files(tmp_path) == {f"folder/data_{k}.npz" for k in range(2 if how else 3)}


# -- the detector ------------------------------------------------------------------------------------------------------


class Detectors:
    """The only reference to a busy detector, and the ways in which it is destroyed."""

    def __init__(self) -> None:
        self.held: Any = BareDetector()

    def drop(self) -> None:
        self.held = None

    def collect(self) -> None:
        self.held.itself = self.held
        self.held = None
        gc.collect()

    def delete_later(self) -> None:
        delete_now(self.held)

    def delete_parent(self) -> None:
        delete_parent(self.held)


WAYS = [Detectors.drop, Detectors.collect, Detectors.delete_later, Detectors.delete_parent]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("frames", [0, 1])
def test_the_scan_of_a_detector_that_goes_while_it_is_busy_is_saved_as_on_a_stop(
    storage: Any, folder: Path, errors: Any, way: Callable[[Detectors], None], frames: int
) -> None:
    """It has the known axes, also without a frame. `saving` becomes False, and the storage accepts the next scan."""
    detectors = Detectors()
    detectors.held.axes = [np.arange(3) * 7.0, np.arange(4) * 2.0]
    storage.connect(detectors.held)
    log = listen_to(storage)
    detectors.held.busyStateChanged.emit(True)
    detectors.held.dataAcquired.emit({(k,): FRAMES[k] for k in range(frames)})
    way(detectors)
    wait_saved(storage)
    assert log.args("savingStateChanged")[-1] == (False,)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
    assert log.args("failed") == []
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, FIRST_ONLY if frames else np.full((3, 4), np.nan))
    assert export.axes[0].tolist() == [0.0, 7.0, 14.0]
    (message,) = errors()
    assert "the detector was destroyed" in message
    storage.reserve((3, 4))
    storage.update({(): FRAMES})
    wait_saved(storage)
    assert files(folder) == {"data_0.npz", "data_1.npz"}


def test_a_detector_that_goes_when_it_is_through_costs_no_word(
    storage: Any, folder: Path, errors: Any, bare_detector: Any
) -> None:
    """Its scan is complete, and only busy False is missing."""
    storage.connect(bare_detector)
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(): FRAMES})
    delete_now(bare_detector)
    wait_saved(storage)
    assert errors() == []
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)


def test_a_detector_that_lives_in_another_thread_goes_while_it_is_busy(storage: Any, folder: Path) -> None:
    """It is deleted in that thread, as by QThread.finished with deleteLater."""
    thread, detector = QtCore.QThread(), BareDetector()
    detector.moveToThread(thread)
    storage.connect(detector)
    thread.finished.connect(detector.deleteLater)
    thread.start()
    detector.busyStateChanged.emit(True)
    wait_until(lambda: storage.saving)
    in_another_thread(detector.dataAcquired.emit, {(0,): FRAMES[0]})
    thread.quit()
    assert thread.wait(20_000)
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)


class PlainDetector:
    """Not a QObject: its signals belong to another object."""

    def __init__(self) -> None:
        self.signals = BareDetector()
        self.dataAcquired, self.stopped = self.signals.dataAcquired, self.signals.stopped
        self.busyStateChanged = self.signals.busyStateChanged
        self.dataShape, self.axes = self.signals.dataShape, self.signals.axes


def test_a_detector_that_is_no_qobject_is_stored_and_may_go(storage: Any, folder: Path) -> None:
    """The protocol promises signals and properties, and nothing more."""
    detector = PlainDetector()
    storage.connect(detector)
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({(): FRAMES})
    detector.busyStateChanged.emit(False)
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({(0,): FRAMES[0]})
    del detector
    gc.collect()
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)
    assert_same_array(load_export(folder / "data_1.npz").data, FIRST_ONLY)


@pytest.mark.parametrize("refers", ["neither", "detector to storage", "storage to detector", "each to the other"])
def test_a_storage_and_its_busy_detector_that_go_together_leave_an_export_and_no_object(
    qapp: Any, tmp_path: Path, refers: str
) -> None:
    """The connection to the end of the detector does not keep the storage alive."""
    storage, detector = lys_storage.DataStorage(base=str(tmp_path)), BareDetector()
    storage.connect(detector)
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({(0,): FRAMES[0]})
    gone, thread = weakref.ref(storage), storage._save_thread
    if refers in ("detector to storage", "each to the other"):
        detector.storage = storage
    if refers in ("storage to detector", "each to the other"):
        storage.detector = detector
    del storage, detector
    gc.collect()
    process_events()
    assert gone() is None
    assert thread.wait_idle(20)
    thread.join()
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, FIRST_ONLY)


def test_a_collection_in_a_thread_that_holds_a_lock_of_the_scan_does_not_hang(storage: Any, folder: Path) -> None:
    """A garbage collection can run in any thread at any point: the handler of the end of the detector takes no lock."""
    detectors = Detectors()
    storage.connect(detectors.held)
    detectors.held.busyStateChanged.emit(True)
    detectors.held.dataAcquired.emit({(0,): FRAMES[0]})
    store = storage._saves.running.scan._store

    def collect() -> None:
        with storage._saves._lock, store.table.lock:
            detectors.collect()

    in_another_thread(collect)
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)


@pytest.mark.parametrize("gone", ["storage", "detector"])
def test_a_log_handler_that_raises_keeps_no_scan_from_being_saved(
    storage: Any, folder: Path, bare_detector: Any, gone: str
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the log is broken")

    handler, logger = Broken(), logging.getLogger("lys_storage")
    storage.connect(bare_detector)
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(0,): FRAMES[0]})
    logger.addHandler(handler)
    try:
        delete_now(storage if gone == "storage" else bare_detector)
    finally:
        logger.removeHandler(handler)
    wait_until(lambda: not storage.saving)
    assert_same_array(load_export(folder / "data_0.npz").data, FIRST_ONLY)
