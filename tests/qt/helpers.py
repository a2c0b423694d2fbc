"""What the Qt tests ask of a storage: the file it left, the signals it gave, an end to wait for."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lys_storage.qt._binding import QtCore
from tests.qt.detector import DEADLINE_S, DIRECT

# -- what is on disk ---------------------------------------------------------------------------------------------------


@dataclass
class Export:
    """What a .npz holds, read with nothing of ours and nothing of lys."""

    data: np.ndarray[Any, Any]
    axes: list[np.ndarray[Any, Any]]
    note: dict[Any, Any]
    info: dict[str, Any]


def load_export(path: Path) -> Export:
    """Read a .npz as `lys.Wave(path)` does, after its checksums have been found right."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        info = json.loads(archive.read("acquisition.json"))
    with np.load(path, allow_pickle=True) as members:
        axes = [np.array(axis, dtype=type(axis[0])) if len(axis) else axis for axis in members["axes"]]
        return Export(members["data"], axes, members["note"][()], info)


def assert_same_array(actual: Any, expected: Any) -> None:
    """Equal in dtype, shape and every value, NaN included."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected, strict=True)


def assert_same_axes(actual: Any, expected: Any) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert_same_array(one, other)


def files(folder: Path) -> set[str]:
    """Every file below `folder`, by its path with "/"; the hidden lock files count for nothing."""
    found = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix() for path in found}


# -- what is signalled -------------------------------------------------------------------------------------------------


@dataclass
class Emission:
    name: str
    args: tuple[Any, ...]
    thread: int


class Log(list[Emission]):
    """Every emission of the signals listened to, in their order, as seen in the thread that emits."""

    def listen(self, **signals: Any) -> Log:
        for name, signal in signals.items():

            def slot(*args: Any, name: str = name) -> None:
                self.append(Emission(name, args, threading.get_ident()))

            signal.connect(slot, DIRECT)
        return self

    def args(self, name: str) -> list[tuple[Any, ...]]:
        return [emission.args for emission in self if emission.name == name]

    def names(self) -> list[str]:
        return [emission.name for emission in self]


STORAGE_SIGNALS = ("savingStateChanged", "tagRequest", "numberChanged", "saved", "failed", "frameWritten")


def listen_to(storage: Any) -> Log:
    """A log of all the signals of a storage."""
    return Log().listen(**{name: getattr(storage, name) for name in STORAGE_SIGNALS})


def wait_until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Handle events until `condition`; fails at the deadline."""
    loop = QtCore.QEventLoop()
    poll = QtCore.QTimer()
    poll.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > end else None)
    end = time.monotonic() + deadline_s
    if not condition():
        poll.start(2)
        loop.exec()
        poll.stop()
    assert condition(), "the deadline has passed"


def wait_saved(storage: Any) -> None:
    """Through the event loop, as an application would."""
    wait_until(lambda: not storage.saving)
