"""A detector for `DataStorage.connect`, and a storage that is connected to it. Needs Qt, but no display."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from benchmarks._workloads import Workload
from lys_storage import DataStorage
from lys_storage.qt import QtCore, Signal


class Detector(QtCore.QObject):  # type: ignore[misc,unused-ignore]
    """A detector whose signals the benchmark emits. Frames go to `update` directly, so that no Qt signal is timed."""

    dataAcquired = Signal(dict)  # noqa: N815
    busyStateChanged = Signal(bool)  # noqa: N815
    stopped = Signal()

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.indexShape = workload.grid
        self.dataShape = (*workload.grid, *workload.frame)
        self.axes: list[Any] = [None] * len(self.dataShape)


def storage_and_detector(workload: Workload, folder: Path) -> tuple[Any, Detector]:
    """A DataStorage that creates `folder`/data_0.npz with the workload's dtype when the detector becomes busy."""
    application = QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])
    detector = Detector(workload)
    detector._application = application  # keeps the application alive
    storage = DataStorage(base=folder.parent, folder=folder.name, name="data", dtype=workload.dtype)
    storage.connect(detector)
    application.processEvents()
    return storage, detector
