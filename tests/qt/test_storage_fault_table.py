"""Operation x errno for a DataStorage: what is raised or signalled, what is on disk, and the result of retry()."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import numbering as numbering_module
from tests.faults.operations import (
    DATA,
    HELD,
    JOURNAL,
    PART,
    Disk,
    assert_a_death_now_loses_nothing,
    assert_saved,
    assert_told,
    rows,
)
from tests.helpers import files
from tests.qt.detector import process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls that fail are Linux's")

NAME = "data_0.npz"
IN_PROGRESS = {NAME + PART, NAME + JOURNAL}


@pytest.fixture
def broken(make_storage: Any, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder in which the storage puts its files."""
    return tmp_path / "run"


@pytest.fixture
def folder_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scan the folder for each number, so that a released number is found at once."""
    monkeypatch.setattr(numbering_module, "_SCAN_INTERVAL_RATIO", 0)


@pytest.fixture
def store(make_storage: Any) -> Any:
    return make_storage(folder="run", flushInterval=None)


def put(storage: Any, *frames: int) -> None:
    storage.update({(k,): DATA[k] for k in frames})


RESERVE = [
    "open the scan file",
    "lock the scan file",
    "open the journal",
    "claim the scan file's space",
    "map the journal",
]


@rows(("reserve", RESERVE))
def test_a_reservation_that_fails_is_raised_leaves_nothing_and_the_next_one_gets_its_number(
    store: Any, broken: Disk, run: Path, phase: str, operation: str, code: int
) -> None:
    """The storage is as before: no scan is running or being saved."""
    broken.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        store.reserve(DATA.shape)
    assert_told(caught.value, code, run)
    assert (store.saving, files(run)) == (False, set())
    broken.mended()
    store.reserve(DATA.shape)
    put(store, *range(6))
    assert store.waitForSaved(20)
    assert_saved(run, set(range(6)), NAME)


@rows(("a detector's reservation", RESERVE))
def test_a_reservation_that_a_signal_asks_for_and_that_fails_is_signalled(
    store: Any, broken: Disk, bare_detector: Any, run: Path, phase: str, operation: str, code: int
) -> None:
    """`failed` gives the reason once. Later frames are counted at the end, and the next run is stored."""
    bare_detector.dataShape = DATA.shape
    bare_detector.axes = []
    store.connect(bare_detector)
    log = listen_to(store)
    broken.breaks(operation, code)
    bare_detector.busyStateChanged.emit(True)
    ((path, message),) = log.args("failed")
    assert path.startswith(str(run))
    assert os.strerror(code) in message
    bare_detector.dataAcquired.emit({(k,): DATA[k] for k in range(3)})
    bare_detector.busyStateChanged.emit(False)
    assert [message for _, message in log.args("failed")[1:]] == [
        "3 frames of this acquisition were not stored, because its reservation had failed"
    ]
    assert (store.saving, files(run)) == (False, set())
    broken.mended()
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(k,): DATA[k] for k in range(6)})
    bare_detector.busyStateChanged.emit(False)
    wait_saved(store)
    assert_saved(run, set(range(6)), NAME)


@rows(("a detector's frame", ["write a frame"]))
def test_a_frame_of_a_detector_that_cannot_be_stored_is_signalled_and_the_others_are_saved(
    store: Any, broken: Disk, bare_detector: Any, run: Path, phase: str, operation: str, code: int
) -> None:
    """The first fault is signalled at once. Repeated ones are collected, and signalled at the end."""
    bare_detector.dataShape = DATA.shape
    bare_detector.axes = []
    store.connect(bare_detector)
    log = listen_to(store)
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(0,): DATA[0]})
    broken.breaks("write frames together", code)  # the frames of one signal; after this fails, each by itself
    broken.breaks(operation, code)
    bare_detector.dataAcquired.emit({(1,): DATA[1], (2,): DATA[2]})
    bare_detector.dataAcquired.emit({(3,): DATA[3]})
    ((path, message),) = log.args("failed")
    assert path == str(run / NAME)
    assert os.strerror(code) in message
    assert store.written.tolist() == [True, False, False, False, False, False]
    assert_a_death_now_loses_nothing(run, {0})
    broken.mended()
    bare_detector.dataAcquired.emit({(4,): DATA[4]})
    bare_detector.busyStateChanged.emit(False)
    wait_saved(store)
    ((_, gathered),) = log.args("failed")[1:]
    assert gathered.endswith(": 2 more of them in this acquisition")
    assert log.args("saved") == [(str(run / NAME),)]
    assert_saved(run, {0, 4}, NAME)


@rows(("a detector's first frame", ["open the new journal", "write the new journal", "replace the journal"]))
def test_a_first_frame_whose_grid_cannot_be_laid_out_is_signalled_and_the_scan_goes_on(
    store: Any, broken: Disk, bare_detector: Any, run: Path, phase: str, operation: str, code: int
) -> None:
    """The first index of a detector without indexShape decides the grid."""
    bare_detector.dataShape = DATA.shape
    bare_detector.axes = []
    store.connect(bare_detector)
    log = listen_to(store)
    bare_detector.busyStateChanged.emit(True)
    broken.breaks(operation, code)
    bare_detector.dataAcquired.emit({(0,): DATA[0]})
    ((path, message),) = log.args("failed")
    assert path == str(run / NAME)
    assert os.strerror(code) in message
    broken.mended()
    bare_detector.dataAcquired.emit({(k,): DATA[k] for k in range(1, 5)})
    bare_detector.busyStateChanged.emit(False)
    wait_saved(store)
    assert_saved(run, {1, 2, 3, 4}, NAME)


@rows(("the background flush", ["sync the scan file", "sync the journal"]))
def test_a_background_flush_that_fails_is_signalled_and_the_scan_is_saved_once_the_disk_is_well(
    make_storage: Any, broken: Disk, run: Path, phase: str, operation: str, code: int
) -> None:
    """`failed` gives the path of the scan and the reason. Frames are still accepted."""
    storage = make_storage(folder="run", flushInterval=0.01)
    log = listen_to(storage)
    storage.reserve(DATA.shape)
    put(storage, 0)
    broken.breaks(operation, code)
    put(storage, 1)
    wait_until(lambda: bool(log.args("failed")))
    path, message = log.args("failed")[0]
    assert path == str(run / NAME)
    assert os.strerror(code) in message
    put(storage, 2)
    assert_a_death_now_loses_nothing(run, {0, 1, 2})
    broken.mended()
    put(storage, 3)
    storage.save()
    wait_saved(storage)
    assert log.args("saved") == [(str(run / NAME),)]
    assert_saved(run, {0, 1, 2, 3}, NAME)


SAVE = [
    "write axes and note",
    "set the scan file's size",
    "write the tail",
    "write the header",
    "sync the scan file",
    "publish",
]


@rows(("save", SAVE))
def test_a_save_that_fails_is_signalled_keeps_the_scan_and_retry_saves_it(
    store: Any, broken: Disk, run: Path, phase: str, operation: str, code: int
) -> None:
    """No failed attempt looks like a success. The final name is free until one succeeds."""
    log = listen_to(store)
    store.tagRequest.connect(lambda tag: tag.update(a=1))
    store.reserve(DATA.shape)
    put(store, 0, 1, 2)
    broken.breaks(operation, code)
    store.save([np.arange(6) * 2.0, np.arange(500)])
    wait_saved(store)
    assert store.retry() == 1
    wait_saved(store)
    assert log.args("saved") == []
    assert [path for path, _ in log.args("failed")] == [str(run / NAME)] * 2
    assert all(os.strerror(code) in message for _, message in log.args("failed"))
    assert files(run) == IN_PROGRESS
    broken.mended()
    assert store.retry() == 1
    wait_saved(store)
    assert log.args("saved") == [(str(run / NAME),)]
    assert store.retry() == 0
    assert lys_storage.open_wave(run / NAME).note["a"] == 1
    assert_saved(run, {0, 1, 2}, NAME)


@rows(("save, published already", ["sync the folder", "remove the journal"]))
def test_a_save_that_fails_after_the_name_is_there_is_signalled_and_retry_saves_it(
    store: Any, broken: Disk, run: Path, phase: str, operation: str, code: int
) -> None:
    """The name is made durable and the sidecar files are removed later."""
    log = listen_to(store)
    store.reserve(DATA.shape)
    put(store, 0, 1, 2)
    broken.breaks(operation, code)
    store.save()
    wait_saved(store)
    assert log.args("saved") == []
    ((path, message),) = log.args("failed")
    assert path == str(run / NAME)
    assert os.strerror(code) in message
    assert files(run) == {NAME, NAME + JOURNAL}
    broken.mended()
    assert store.retry() == 1
    wait_saved(store)
    assert log.args("saved") == [(str(run / NAME),)]
    assert log.args("failed")[1:] == []
    assert_saved(run, {0, 1, 2}, NAME)


@HELD
def test_a_journal_that_another_program_holds_stays_beside_the_file_that_is_saved(
    store: Any, broken: Disk, run: Path, code: int
) -> None:
    """It is no failure: the next recovery removes it."""
    log = listen_to(store)
    store.reserve(DATA.shape)
    put(store, 0, 1, 2)
    broken.breaks("remove the journal", code)
    store.save()
    wait_saved(store)
    assert (log.args("saved"), log.args("failed")) == ([(str(run / NAME),)], [])
    assert files(run) == {NAME, NAME + JOURNAL}
    broken.mended()
    assert store.retry() == 0
    lys_storage.recover(run)
    assert_saved(run, {0, 1, 2}, NAME)


@rows(("resume", ["open the scan file", "open the journal", "map the journal"]))
def test_a_scan_that_cannot_be_resumed_is_raised_and_resumed_once_the_fault_is_gone(
    store: Any, broken: Disk, run: Path, phase: str, operation: str, code: int
) -> None:
    """It stays as it is, and no scan is running."""
    scan = lys_storage.create(run / NAME, DATA.shape, grid_ndim=1, flush_interval_s=None)
    scan[0] = DATA[0]
    scan.suspend()
    broken.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        store.resume(run / NAME)
    assert_told(caught.value, code, run)
    assert (store.saving, files(run)) == (False, IN_PROGRESS)
    broken.mended()
    assert list(store.resume(run / NAME)) == [(k,) for k in range(1, 6)]
    put(store, 1)
    store.save()
    wait_saved(store)
    assert_saved(run, {0, 1}, NAME)


@pytest.mark.usefixtures("folder_is_looked_at")
@pytest.mark.parametrize("how", ["removed", "renamed away"])
def test_a_folder_that_goes_while_a_scan_runs_is_signalled_or_followed_and_the_next_scan_is_stored(
    store: Any, run: Path, how: str
) -> None:
    """The next scan creates the folder again. The first one is saved in the renamed folder, or fails."""
    log = listen_to(store)
    store.reserve(DATA.shape)
    put(store, 0, 1)
    if how == "removed":
        shutil.rmtree(run)
    else:
        run.rename(run.with_name("away"))
    put(store, 2)
    store.save()
    wait_saved(store)
    if how == "removed":
        ((path, message),) = log.args("failed")
        assert path == str(run / NAME)
        assert os.strerror(errno.ENOENT) in message
    else:
        assert log.args("saved") == [(str(run.with_name("away") / NAME),)]
        assert_saved(run.with_name("away"), {0, 1, 2}, NAME)
    store.reserve(DATA.shape)
    put(store, *range(6))
    wait_saved(store)
    assert log.args("saved")[-1] == (str(run / NAME),)
    assert_saved(run, set(range(6)), NAME)
    process_events()


@pytest.mark.usefixtures("folder_is_looked_at")
@pytest.mark.parametrize("how", ["removed", "renamed away"])
def test_a_scan_whose_folder_has_gone_is_not_published_in_the_place_of_the_next_one(
    make_storage: Any, run: Path, how: str
) -> None:
    """Another storage has made a folder and a scan of the same names meanwhile: its file is not touched."""
    one, two = (make_storage(folder="run", flushInterval=None) for _ in range(2))
    one.reserve(DATA.shape)
    put(one, 0, 1)
    if how == "removed":
        shutil.rmtree(run)
    else:
        run.rename(run.with_name("away"))
    two.reserve(DATA.shape)
    put(two, 5)
    log = listen_to(one)
    one.save()
    wait_saved(one)
    away = [] if how == "removed" else [(str(run.with_name("away") / NAME),)]
    assert (len(log.args("failed")), log.args("saved")) == (1 - len(away), away)
    assert files(run) == IN_PROGRESS
    put(two, *range(5))
    wait_saved(two)
    assert_saved(run, set(range(6)), NAME)
