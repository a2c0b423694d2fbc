"""Configuration of all tests: nothing may outlive a test, and child processes run this checkout."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # set before a test creates an application: no display is needed
from hypothesis import HealthCheck, settings

from lys_storage.disk.systems import SYSTEM
from tests.extras import HAS_QT, NEEDS_QT
from tests.fixtures import (  # noqa: F401
    faults,
    no_early_checksums,
    python_sums,
    scans_of_a_failed_test,
    short_speed_probe,
    small_blocks,
    states_are,
)
from tests.helpers import DEADLINE_S, HAS_PASSED, Finished, open_below

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell starts a command in the background so: children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]

settings.register_profile(
    "here",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("here")


# -- without an extra --------------------------------------------------------------------------------------------------


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Block pytest-qt if Qt is missing: it would end the run."""
    if not HAS_QT:
        pluginmanager.set_blocked("pytest-qt")


class _NeedsQt(pytest.File):  # a pytest.Directory would load the conftest.py in it
    def collect(self) -> Any:
        pytest.skip(f"tests/qt: {NEEDS_QT}")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """If Qt is missing, collect the tests of Qt as one skipped folder."""
    is_skipped = path == ROOT / "tests" / "qt" and not HAS_QT
    return _NeedsQt.from_parent(parent, path=path) if is_skipped else None


def pytest_collection_finish() -> None:
    """Freeze the objects that exist now: later garbage collections do not visit them."""
    gc.collect()
    gc.freeze()


# -- nothing outlives a test -------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    if call.when == "call":
        item.stash[HAS_PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A test fails if a thread of lys_storage, a descriptor or a map outlives it."""
    before = set(threading.enumerate())
    yield
    if not request.node.stash.get(HAS_PASSED, False):
        return  # the traceback keeps objects alive
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("lys_storage"):
            thread.join(DEADLINE_S)
            assert not thread.is_alive(), f"{thread} is still running"
    if sys.platform == "linux" and open_below(tmp_path):
        gc.collect()
        assert open_below(tmp_path) == []


@pytest.fixture(autouse=True)
def syncs_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs do nothing in this process: no power is cut, and the tests make ten thousand of them.

    Child processes sync. A descriptor that is not open, and a folder that cannot be opened, raise as usual.
    """
    open_folder = SYSTEM.open_folder

    def sync_folder(folder: Path) -> None:
        fd = open_folder(folder)
        if fd >= 0:
            os.close(fd)

    monkeypatch.setattr(SYSTEM, "sync", lambda fd: os.fstat(fd) and None)
    monkeypatch.setattr(SYSTEM, "sync_folder", sync_folder)


# -- child processes ---------------------------------------------------------------------------------------------------


def child_environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"PYTHONUTF8": "1"} if sys.flags.utf8_mode else {}),  # its output is read in the encoding of this process
        "HOME": str(home),
    }


@pytest.fixture
def run_child(tmp_path: Path) -> Callable[..., Finished]:
    """Run Python source in a child process that starts in `tmp_path`."""

    def run(source: str, *args: object) -> Finished:
        result = subprocess.run(
            [sys.executable, "-c", source, *map(str, args)],
            cwd=tmp_path,
            env=child_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=100,
        )
        return Finished(result.returncode, result.stdout, result.stderr)

    return run


@pytest.fixture
def start_child(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python source in a child process with pipes to stdin and stdout. It is killed at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *args: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", source, *map(str, args)],
                cwd=tmp_path,
                env=child_environment(tmp_path),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
