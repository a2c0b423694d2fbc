"""Fixtures of tests in several folders; tests/conftest.py loads them.

They inject disk faults, one operation at a time, let tests patch checksums, and make small frames share a checksum.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lys_storage import LysStorageError, Scan
from lys_storage.disk import File
from lys_storage.disk import speed as speed_module
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import layout as layout_module
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.store import checksummer as checksummer_module

OPERATIONS: list[tuple[str, Any, str]] = [
    ("open", SYSTEM, "open_file"),
    ("open", SYSTEM, "open_folder"),
    ("write", SYSTEM, "pwrite"),
    ("write together", SYSTEM, "pwritev"),
    ("read", SYSTEM, "preadv"),
    ("stat", os, "fstat"),
    ("set the size", SYSTEM, "set_size"),
    ("claim or punch", SYSTEM, "preallocate"),
    ("claim or punch", SYSTEM, "punch_hole"),
    ("map", mmap, "mmap"),
    ("sync", SYSTEM, "sync"),
    ("sync of a folder", SYSTEM, "sync_folder"),
    ("publish", SYSTEM, "rename_new"),
    ("replace", SYSTEM, "replace"),
    ("remove", SYSTEM, "remove"),
]

TESTS = Path(__file__).parent
OWNERS_END_THEIR_SCANS = {"qt", "demo", "benchmarks"}


class Faults:
    """Counts the disk operations, and makes one call of one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self.failed: list[str] = []
        self._plan: tuple[str, int, int] | None = None
        monkeypatch.setattr(
            SYSTEM, "largest_file", lambda folder: None
        )  # it opens the folder, and nobody hears if it fails
        for name, owner, attribute in OPERATIONS:
            monkeypatch.setattr(owner, attribute, self._wrap(name, getattr(owner, attribute)))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if self._plan is not None and self._plan[:2] == (name, self.calls[name]):
                code = self._plan[2]
                self._plan = None
                self.failed.append(name)
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        return call

    def fail(self, name: str, nth: int, code: int) -> None:
        """Make the `nth` call of `name` from now on fail once with errno `code`."""
        self.calls.clear()
        self.failed.clear()
        self._plan = (name, nth, code)

    def off(self) -> None:
        self._plan = None


@pytest.fixture
def no_early_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute checksums in whole batches, in flushes and at the end only, so that tests do not depend on time."""
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture(autouse=True)
def scans_of_a_failed_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Suspend the scans that a failed test leaves open, so that no later test sees them.

    Scans that the test closed, suspended or dropped are not touched. A storage or the demo ends the scans that it owns.
    """
    if request.path.relative_to(TESTS).parts[0] in OWNERS_END_THEIR_SCANS:
        yield
        return
    made: weakref.WeakSet[Scan] = weakref.WeakSet()
    real = Scan.__init__

    def init(scan: Scan, *args: Any, **options: Any) -> None:
        real(scan, *args, **options)
        made.add(scan)

    monkeypatch.setattr(Scan, "__init__", init)
    yield
    monkeypatch.undo()
    for scan in list(made):
        with contextlib.suppress(LysStorageError, ValueError):
            scan.suspend()


@pytest.fixture
def python_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute checksums in Checksummer.sums, which a test can patch, even if the compiled code is present."""
    monkeypatch.setattr(checksummer_module, "CRC32_ADDRESS", None)


FRAMES_IN_SMALL_BLOCK = 8


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 8 frames share a checksum, instead of up to 4096."""
    monkeypatch.setattr(layout_module, "_MOST_IN_BLOCK", FRAMES_IN_SMALL_BLOCK)


@pytest.fixture(params=["stored through a map", "written"])
def states_are(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test twice: with states stored through a map, and written as on a copy-on-write filesystem."""
    monkeypatch.setattr(File, "keeps_mapped_stores", lambda self: request.param != "written")
    return str(request.param)


@pytest.fixture(autouse=True)
def short_speed_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """check_disk writes 8 MiB to measure the speed, instead of some GiB for some seconds."""
    monkeypatch.setattr(speed_module, "_LEAST", 8 << 20)
    monkeypatch.setattr(speed_module, "_MOST", 8 << 20)
    monkeypatch.setattr(speed_module, "_BLOCK", 1 << 19)
    monkeypatch.setattr(speed_module, "_PIECE", 1 << 20)
    monkeypatch.setattr(speed_module, "_BEHIND", 2 << 20)
