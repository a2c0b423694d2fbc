"""A storage that is created before the application: Qt prints no warning, and everything works in the event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, files, load_export

BEFORE = """
import sys
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
from tests.qt.detector import BareDetector
storage = DataStorage(base=sys.argv[1], folder="folder", name="scan")
storage.base = sys.argv[1]
found, saved, states = [], [], []
storage.interruptedFound.connect(found.append)
storage.saved.connect(saved.append)
storage.savingStateChanged.connect(states.append)
detector = BareDetector()
storage.connect(detector)
"""

WITHOUT = """
storage.reserve((3, 4))
storage.update({(k,): np.full(4, k) for k in range(3)})
detector.busyStateChanged.emit(True)
detector.dataAcquired.emit({(0,): np.ones(4)})
detector.stopped.emit()
"""

APPLICATION = """
from qtpy import QtWidgets
app = QtWidgets.QApplication([]) if "gui" in sys.argv else QtCore.QCoreApplication([])
"""

LOOP = """
QtCore.QTimer.singleShot(1500, app.quit)
app.exec()
assert [len(paths) for paths in found] == [1], found
assert not storage.saving and states[-1] is False, states
"""


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """An interrupted scan in the folder."""
    scan = lys_storage.create(tmp_path / "folder/old.npz", (2, 2), grid_ndim=1)
    scan[0] = np.ones(2)
    scan.suspend()
    return scan.part_path


@pytest.mark.parametrize("application", ["core", "gui"])
def test_it_stores_before_the_application_and_tells_once_the_loop_runs(
    run_child: Any, tmp_path: Path, interrupted: Path, application: str
) -> None:
    """The scan that was stopped before the loop is saved half a second after it starts. Nothing is printed."""
    child = run_child(
        BEFORE + WITHOUT + APPLICATION + LOOP + "storage.close(); print(len(saved))",
        str(tmp_path),
        application,
        env={"XDG_RUNTIME_DIR": str(tmp_path)},  # Qt 5 warns if it is not set
    )
    assert (child.code, child.out, child.err) == (0, "2\n", "")
    assert files(tmp_path / "folder") >= {"scan_0.npz", "scan_1.npz"}
    assert_same_array(load_export(tmp_path / "folder/scan_1.npz").data[0], np.ones(4))


def test_quitting_waits_for_the_saves_of_a_storage_that_was_there_first(run_child: Any, tmp_path: Path) -> None:
    """At aboutToQuit a stopped scan is saved, and `saved` is emitted, before exec() returns."""
    quit_at_once = "QtCore.QTimer.singleShot(0, app.quit)\napp.exec()\nprint(len(saved), storage.saving)"
    child = run_child(BEFORE + WITHOUT + APPLICATION + quit_at_once, str(tmp_path))
    assert (child.code, child.out, child.err) == (0, "2 False\n", "")


@pytest.mark.parametrize("end", ["", "storage.close()", "del storage, detector", "storage.waitForSaved()"])
def test_a_script_without_an_application_prints_nothing_and_loses_nothing(
    run_child: Any, tmp_path: Path, end: str
) -> None:
    child = run_child(BEFORE + WITHOUT + end, str(tmp_path))
    assert child.code == 0
    assert [line for line in child.err.splitlines() if line.startswith(("Q", "Traceback"))] == []
    assert files(tmp_path) == {"folder/scan_0.npz", "folder/scan_1.npz"}
