"""Scans that a crash or a failed save has left are found, resumed by a detector, and retried."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, files, load_export
from tests.qt.helpers import Log, listen_to, wait_saved, wait_until


def interrupt(folder: Path, shape: tuple[int, ...], indices: list[tuple[int, ...]], data: Any) -> Path:
    """An interrupted scan of `data` in which the frames at `indices` are written."""
    scan = lys_storage.create(folder / "data_0.npz", shape, "float64", grid_ndim=2)
    for index in indices:
        scan[index] = data[index]
    scan.suspend()
    return scan.part_path


def test_interrupted_scans_are_told_once_the_event_loop_runs(make_storage: Any, folder: Path) -> None:
    """The search runs in the background, for the folder of the properties, and again when they change."""
    part = interrupt(folder, (2, 3, 4), [(0, 0)], np.ones((2, 3, 4)))
    storage = make_storage()
    log = Log().listen(found=storage.interruptedFound)
    wait_until(lambda: bool(log))
    assert log.args("found") == [([str(part)],)]
    storage.folder = "another"
    storage.folder = "folder"
    storage.folder = "another"
    wait_until(lambda: not storage._interrupted_search.pending)
    storage.folder = "folder"
    wait_until(lambda: len(log) == 2)
    assert log.args("found") == [([str(part)],)] * 2


def test_a_detector_goes_on_with_a_resumed_scan(storage: Any, make_detector: Any, folder: Path) -> None:
    """It only needs to send the missing frames. The file is that of the interrupted scan, with its name."""
    detector = make_detector((2, 3), (4,))
    interrupt(folder, (2, 3, 4), [(0, 0), (0, 1), (1, 2)], detector.data)
    storage.connect(detector)
    missing = storage.resume(folder / "data_0.npz")
    assert storage.saving
    detector.busyStateChanged.emit(True)
    delivered = []
    for index in missing:  # also after the last one, which ends the scan
        detector.dataAcquired.emit({index: detector.data[index]})
        delivered.append(index)
    assert delivered == [(0, 2), (1, 0), (1, 1)]
    detector.busyStateChanged.emit(False)
    wait_saved(storage)
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, detector.data)
    assert export.info["missing"] == []
    assert files(folder) == {"data_0.npz"}


def test_a_detector_of_another_shape_is_refused_and_the_resumed_scan_stays(
    storage: Any, bare_detector: Any, folder: Path
) -> None:
    """The message has both shapes. The resumed scan can still be saved."""
    interrupt(folder, (2, 3, 4), [(0, 0)], np.ones((2, 3, 4)))
    log = listen_to(storage)
    storage.connect(bare_detector)
    storage.resume(folder / "data_0.npz")
    bare_detector.busyStateChanged.emit(True)
    ((_, message),) = log.args("failed")
    assert "(2, 3, 4)" in message
    assert "(3, 4)" in message
    storage.save()
    wait_saved(storage)
    assert load_export(folder / "data_0.npz").info["frames_written"] == 1


def test_a_save_that_failed_is_finished_by_retry(storage: Any, folder: Path, disk: Any) -> None:
    """It never looked like a success: the scan stays in progress on disk until then."""
    log = listen_to(storage)
    storage.flushInterval = None
    storage.reserve((2, 3))
    storage.update({(0,): np.ones(3)})
    disk.error = errno.EIO
    storage.save([np.arange(2) * 2.0, np.arange(3)])
    wait_until(lambda: bool(log.args("failed")))
    assert log.args("saved") == []
    assert "data_0.npz.part" in files(folder)
    disk.error = None
    assert storage.retry() == 1
    wait_saved(storage)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, np.array([[1.0] * 3, [np.nan] * 3]))
    assert_same_array(export.axes[0], np.arange(2) * 2.0)
    assert storage.retry() == 0


def test_a_partial_scan_is_trimmed_where_the_storage_is_told_to(make_storage: Any, folder: Path) -> None:
    """With incomplete="trim" the grid is cut to the lines that were begun."""
    storage = make_storage(incomplete="trim")
    storage.reserve((100, 3))
    storage.update({(0,): np.ones(3), (1,): np.full(3, 2.0)})
    storage.save()
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, np.array([[1.0] * 3, [2.0] * 3]))
    with pytest.raises(ValueError, match="fill"):
        storage.incomplete = "cut"
