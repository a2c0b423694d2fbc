"""Helpers of the tests of background threads: their names, and a disk whose syncs can be delayed."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import pytest

import lys_storage
from lys_storage.callbacks import ErrorHandler
from lys_storage.disk import File
from lys_storage.scan import begin_scan
from tests.helpers import DEADLINE_S

FRAME = 1 << 20
FLUSH_THREAD, CHECKSUM_THREAD = "lys_storage flush", "lys_storage checksums"


def threads() -> list[str]:
    """Names of the background threads of all scans of this process."""
    gc.collect()
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lys_storage")]


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make starting a thread of this name fail, as if the system had no more threads."""
    start = threading.Thread.start

    def refused(self: threading.Thread) -> None:
        if self.name == name:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)


def begin_with_handler(folder: Path, shape: Any, on_error: ErrorHandler, **options: Any) -> lys_storage.Scan:
    """A scan `a.npz` of "u1" whose background errors go to `on_error`."""
    plain = {"numbered": False, "replace_existing": False, "grid_ndim": 1}
    return begin_scan(folder, "a", shape, "u1", on_error=on_error, **plain, **options)


class SlowDisk:
    """A disk whose syncs of scan files wait for `let_go`; one of them fails with `error`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.under_way, self.let_go = threading.Event(), threading.Event()
        self.error: lys_storage.LysStorageError | None = None
        self._sync = File.sync
        monkeypatch.setattr(File, "sync", lambda file: self.sync(file))

    def sync(self, file: File) -> None:
        if file.path.name.endswith(".part"):
            self.under_way.set()
            assert self.let_go.wait(2 * DEADLINE_S)  # longer than the deadline of a test
            error, self.error = self.error, None
            if error is not None:
                raise error
        self._sync(file)
