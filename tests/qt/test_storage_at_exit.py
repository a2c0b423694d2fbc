"""The end of the process, or of the storage, while a file is being saved, in child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import assert_same_array, files, load_export

#: A disk whose first sync is slow in every thread but the main one, and a scan that is being saved.
BEGIN = """
import gc, os, sys, threading
import numpy as np
from lys_storage.disk.systems import SYSTEM
slow_threads = set()
for name in ("sync", "sync_folder"):
    def slow(what, real=getattr(SYSTEM, name)):
        thread = threading.current_thread()
        if thread is not threading.main_thread() and thread not in slow_threads:
            slow_threads.add(thread)
            threading.Event().wait(0.3)
        real(what)
    setattr(SYSTEM, name, slow)
from lys_storage import DataStorage
from lys_storage.qt import QtCore
app = QtCore.QCoreApplication([])
AXES = None if "waits" in sys.argv else []

def saving():
    storage = DataStorage(base=sys.argv[1])
    storage.reserve((2, 3), axes=AXES)
    storage.update({(): np.ones((2, 3))})
    assert storage.saving
    return storage
"""

ENDS = {
    "the event loop is left": "storage = saving(); QtCore.QTimer.singleShot(0, app.quit); app.exec()",
    "quit in the slot that begins the save": """
storage = DataStorage(base=sys.argv[1])
QtCore.QTimer.singleShot(0, lambda: (storage.reserve((2, 3), axes=AXES), storage.update({(): np.ones((2, 3))}), app.quit()))
app.exec()
""",
    "the script ends without an event loop": "storage = saving()",
    "nobody holds the storage": "saving(); gc.collect()",
    "the storage is deleted": "storage = saving(); del storage; gc.collect(); app.processEvents()",
    "the storage is deleted by Qt": "storage = saving(); storage.deleteLater(); app.processEvents()",
    "its parent is deleted by Qt": """
parent = QtCore.QObject()
storage = saving()
storage.setParent(parent)
del storage
parent.deleteLater()
del parent
QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
gc.collect()
""",
    "the application object is deleted first": "storage = saving(); del app; gc.collect()",
    "sys.exit in a slot": "storage = saving(); QtCore.QTimer.singleShot(0, lambda: app.exit(0)); sys.exit(app.exec())",
    "an exception ends the script": "storage = saving(); raise SystemExit(0)",
    "several files wait": "storages = [saving() for _ in range(3)]",
    "close": "saving().close()",
}


@pytest.mark.parametrize("state", ["is being saved", "waits for save(axes)"])
@pytest.mark.parametrize("how", ENDS.values(), ids=ENDS)
def test_the_end_waits_for_the_file_of_a_complete_scan(run_child: Any, tmp_path: Path, how: str, state: str) -> None:
    """The exit code is 0, the file is complete, and Qt prints no "Destroyed while thread is still running"."""
    child = run_child(BEGIN + how, str(tmp_path), *state.split())
    assert (child.code, child.out) == (0, ""), child.err
    assert "QThread" not in child.err
    assert "Traceback" not in child.err
    assert "was deleted" not in child.err, "nothing is missing"
    count = 3 if how.startswith("storages") else 1
    assert files(tmp_path) == {f"folder/data_{k}.npz" for k in range(count)}
    for k in range(count):
        assert_same_array(load_export(tmp_path / f"folder/data_{k}.npz").data, np.ones((2, 3)))


def test_a_scan_that_is_not_complete_at_the_end_is_not_lost(run_child: Any, tmp_path: Path) -> None:
    """Its frames are in an export, or in a scan in progress that recover exports."""
    import lys_storage

    child = run_child(
        BEGIN + "storage = DataStorage(base=sys.argv[1]); storage.reserve((2, 3)); storage.update({(0,): np.ones(3)})",
        str(tmp_path),
    )
    assert child.code == 0, child.err
    assert "QThread" not in child.err
    if files(tmp_path) != {"folder/data_0.npz"}:
        lys_storage.recover(tmp_path / "folder")
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, [[1.0] * 3, [np.nan] * 3])


def test_an_acquisition_that_runs_at_the_end_does_not_hang_it(run_child: Any, tmp_path: Path) -> None:
    """The owner of the detector stops it. The storage does not block this."""
    child = run_child(
        BEGIN
        + """
from tests.qt.detector import SimulatedDetector
detector = SimulatedDetector((1000,), (3,), delay_s=0.001)
storage = DataStorage(base=sys.argv[1])
storage.connect(detector)
detector.startAcq()
QtCore.QTimer.singleShot(100, app.quit)
app.exec()
detector.stop()
detector.close()
""",
        str(tmp_path),
    )
    assert (child.code, child.out) == (0, ""), child.err
    assert "QThread" not in child.err


def test_a_forked_child_leaves_the_files_of_its_parent_alone(run_child: Any, tmp_path: Path) -> None:
    """It writes and finalizes nothing, also when it exits."""
    child = run_child(
        BEGIN
        + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
if not hasattr(os, "fork"):
    sys.exit(0)
storage = DataStorage(base=sys.argv[1])
storage.reserve((2, 3))
storage.update({(0,): np.ones(3)})
pid = os.fork()
if pid == 0:
    try:
        storage.update({(1,): np.zeros(3)})
    except Exception:
        pass
    os._exit(0)
os.waitpid(pid, 0)
assert storage.written.tolist() == [True, False], storage.written
storage.update({(1,): np.ones(3)})
assert storage.waitForSaved(30)
""",
        str(tmp_path),
    )
    assert child.code == 0, child.err
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, np.ones((2, 3)))
