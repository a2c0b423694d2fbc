"""Events that must not harm a storage: process signals, slots that raise, hundreds of scans, calls after the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, files, load_export
from tests.qt.detector import process_events
from tests.qt.helpers import wait_saved

KILLED = """
import os, signal, sys
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
if sys.argv[2] == "SIGINT":  # a shell in the background lets its children ignore some
    signal.signal(signal.SIGINT, signal.default_int_handler)
elif sys.argv[2] != "SIGKILL":
    signal.signal(getattr(signal, sys.argv[2]), signal.SIG_DFL)
app = QtCore.QCoreApplication([])
storage = DataStorage(base=sys.argv[1])
storage.reserve((3, 4))
storage.update({(0,): np.ones(4), (1,): np.ones(4)})
QtCore.QTimer.singleShot(0, lambda: os.kill(os.getpid(), getattr(signal, sys.argv[2])))
timer = QtCore.QTimer()
timer.timeout.connect(lambda: None)
timer.start(10)
app.exec()
"""


@pytest.mark.parametrize("name", [name for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGKILL") if hasattr(signal, name)])
def test_a_signal_that_ends_the_process_loses_no_frame(run_child: Any, tmp_path: Path, name: str) -> None:
    """The scan is saved at exit, or is interrupted and recovered. The frames are there in both cases.

    On Windows each of them is TerminateProcess.
    """
    child = run_child(KILLED, str(tmp_path), name)
    assert child.code != 0
    lys_storage.recover(tmp_path)
    (exported,) = (tmp_path / "folder").glob("*.npz")
    assert_same_array(load_export(exported).data, np.array([[1.0] * 4, [1.0] * 4, [np.nan] * 4]))
    assert lys_storage.verify(tmp_path) == []
    assert files(tmp_path / "folder") == {"data_0.npz"}


def test_an_exception_in_a_listener_does_not_keep_a_scan_from_being_saved(
    storage: Any, folder: Path, capture_exceptions: list[str]
) -> None:
    """The exception belongs to the listener. The storage continues."""

    def bad(*args: Any) -> None:
        raise RuntimeError("a listener's fault")

    for signal_ in (
        storage.tagRequest,
        storage.numberChanged,
        storage.savingStateChanged,
        storage.frameWritten,
        storage.saved,
    ):
        signal_.connect(bad)
    storage.reserve((2,))
    storage.update({(0,): 1.0, (1,): 2.0})
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, np.array([1.0, 2.0]))
    assert len(capture_exceptions) >= 5


@pytest.fixture
def capture_exceptions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Exceptions that left a slot. They are collected, so that they do not end the process."""
    seen: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(str(error)))
    return seen


def test_a_closed_storage_refuses_in_words(storage: Any, make_detector: Any) -> None:
    """reserve, update and resume raise. A detector that continues is not stopped by it."""
    storage.close()
    for call in (
        lambda: storage.reserve((2,)),
        lambda: storage.update({(0,): 1.0}),
        lambda: storage.resume("data.npz"),
    ):
        with pytest.raises(lys_storage.ScanClosedError, match="closed"):
            call()
    storage.close()
    detector = make_detector((2, 3), (4,))
    storage.connect(detector)
    detector.run_all()


@pytest.mark.skipif(sys.platform != "linux", reason="counts through /proc")
def test_a_hundred_scans_leak_no_thread_no_map_no_descriptor(storage: Any, folder: Path, make_detector: Any) -> None:
    """One save thread serves them all."""

    def counts() -> tuple[int, int, int]:
        maps = sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())
        return threading.active_count(), len(os.listdir("/proc/self/fd")), maps

    detector = make_detector((2, 3), (4,))
    storage.connect(detector)
    detector.run_all()
    wait_saved(storage)
    detector.close()
    before = counts()
    for _ in range(100):
        detector.run_all()
        wait_saved(storage)
        detector.close()
        process_events()
    assert all(now <= then for now, then in zip(counts(), before, strict=True))
    assert len(files(folder)) == 101
