"""Fixtures of the Qt tests. They run under the binding of QT_API (with the same PYTEST_QT_API), else under PyQt6."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lys_storage.disk.systems import SYSTEM
from lys_storage.qt import API_NAME
from tests.helpers import HAS_PASSED, Finished, open_below
from tests.qt.detector import DEADLINE_S, BareDetector, BrokenDetector, SimulatedDetector, process_events

if os.environ.get("QT_API", API_NAME).lower() != API_NAME.lower():
    raise pytest.UsageError(
        f"QT_API={os.environ['QT_API']}, but pytest-qt has loaded {API_NAME}: set PYTEST_QT_API to the same binding"
    )


def pytest_report_header() -> str:
    return f"lys_storage.qt: {API_NAME}"


# -- storages and detectors --------------------------------------------------------------------------------------------


@pytest.fixture
def make_storage(qapp: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Storages whose base is `tmp_path` by default. They are closed after the test."""
    from lys_storage import DataStorage

    made: list[Any] = []

    def make(**properties: Any) -> Any:
        made.append(DataStorage(**{"base": str(tmp_path), **properties}))
        return made[-1]

    yield make
    for storage in made:
        storage.close()
    process_events()


@pytest.fixture
def storage(make_storage: Callable[..., Any]) -> Any:
    return make_storage()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default folder for the files of a storage."""
    return tmp_path / "folder"


@pytest.fixture
def make_detector(qapp: Any) -> Iterator[Callable[..., SimulatedDetector]]:
    """Simulated detectors. Their threads are ended after the test."""
    made: list[SimulatedDetector] = []

    def make(*args: Any, **options: Any) -> SimulatedDetector:
        made.append(SimulatedDetector(*args, **options))
        return made[-1]

    yield make
    for detector in made:
        detector.close()
    process_events()


@pytest.fixture
def bare_detector(qapp: Any) -> BareDetector:
    return BareDetector()


@pytest.fixture
def make_broken_detector(qapp: Any) -> Callable[..., BrokenDetector]:
    return BrokenDetector


class Disk:
    """Delays the syncs, or makes them fail, in every thread but the main one."""

    def __init__(self) -> None:
        self.error: int | None = None
        self.is_free = threading.Event()
        self.is_free.set()
        self.waited = threading.Event()

    def hold(self) -> None:
        self.waited.clear()
        self.is_free.clear()

    def release(self) -> None:
        self.is_free.set()

    def pass_(self) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        if not self.is_free.is_set():
            self.waited.set()
            assert self.is_free.wait(DEADLINE_S)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def disk(make_storage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Delay the syncs: a save that was started cannot end before `release`."""
    disk = Disk()
    for name in ("sync", "sync_folder"):
        real = getattr(SYSTEM, name)

        def sync(what: Any, real: Callable[[Any], None] = real) -> None:
            disk.pass_()
            real(what)

        monkeypatch.setattr(SYSTEM, name, sync)
    yield disk
    disk.error = None
    disk.release()


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The messages that were logged at WARNING or above."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- nothing outlives a test -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A test fails if a thread, a descriptor or a map outlives its storages."""
    before = set(threading.enumerate())
    yield
    if not request.node.stash.get(HAS_PASSED, False):
        return  # the traceback keeps objects alive
    for thread in set(threading.enumerate()) - before:
        if not isinstance(thread, threading._DummyThread):  # a QThread that has run Python code
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), f"{thread} is still running"
    if sys.platform == "linux":
        if open_below(tmp_path):
            gc.collect()
        assert open_below(tmp_path) == []


# -- child processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def run_child(tmp_path: Path) -> Callable[..., Finished]:
    """Run Python source in a child process, with the binding of this one unless `binding` names another."""

    def run(
        source: str, *args: str, binding: str | None = API_NAME, env: dict[str, str | None] | None = None
    ) -> Finished:
        root = Path(__file__).parents[2]
        variables: dict[str, str | None] = {
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "QT_API": binding and binding.lower(),
            "PYTHONPATH": str(root),
            "PYTHONFAULTHANDLER": "1",
            "HOME": str(tmp_path),
            **(env or {}),
        }
        result = subprocess.run(
            [sys.executable, "-c", source, *args],
            cwd=tmp_path,
            env={key: value for key, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=100,
        )
        return Finished(result.returncode, result.stdout, result.stderr)

    return run
