"""A DataStorage for the cases that use Qt. No display is needed."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import lys_storage
from benchmarks.scale_cases._measuring import Task


@functools.cache  # without a reference the application would be deleted
def _application() -> Any:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from lys_storage.qt._binding import QtCore

    return QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])


def storage_in(folder: Path) -> Any:
    """A DataStorage that saves below `folder`. The caller closes it."""
    _application()
    return lys_storage.DataStorage(base=str(folder), folder="scans", name="scan")


def load_qt(task: Task) -> None:
    """Load Qt, which is not part of a scan's memory."""
    storage_in(task.path).close()
