"""Helpers of all tests: exports read without lys_storage, comparisons, sample data, threads, injected errors."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import boot_id
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal.writer_record import WriterRecord

DEADLINE_S = 20.0


@dataclass
class Export:
    """The content of a .npz, read without lys_storage and without lys."""

    data: np.ndarray[Any, Any]
    axes: list[np.ndarray[Any, Any]]
    note: dict[Any, Any]
    info: dict[str, Any]


def load_export(path: Path) -> Export:
    """Read a .npz as `lys.Wave(path)` does, after verifying its checksums."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        info = json.loads(archive.read("acquisition.json"))
    with np.load(path, allow_pickle=True) as members:
        data, stored = members["data"], members["axes"]
        axes = [_axis(axis, length) for axis, length in zip(stored, data.shape, strict=True)]
        return Export(data, axes, members["note"][()], info)


def _axis(stored: Any, length: int) -> np.ndarray[Any, Any]:
    """The axis that `lys.Wave` makes of a stored axis: index coordinates if it is None."""
    if stored is None:
        return np.arange(length).astype(float)
    return np.array(stored, dtype=type(stored[0])) if len(stored) else np.asarray(stored)


def assert_same_array(actual: Any, expected: Any) -> None:
    """Assert equal dtype, shape and bytes, NaN included."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    assert actual.tobytes() == expected.tobytes()


def assert_same_axes(actual: Any, expected: Any) -> None:
    """Assert the same number of axes, and equal arrays."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert_same_array(one, other)


def files(folder: Path) -> set[str]:
    """Paths of all files below `folder`, with "/"; without hidden lock files."""
    found = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix() for path in found}


def write_anew(path: Path, content: bytes | bytearray) -> None:
    """Unlink and write: ext4 waits for the disk if a file is truncated to zero and written again."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def some(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random values of any dtype of numbers, times or text."""
    dtype = np.dtype(dtype)
    if dtype.names is not None:
        result = np.zeros(shape, dtype)
        for k, name in enumerate(dtype.names):
            part = dtype[name]
            inner, extra = part.subdtype or (part, ())
            result[name] = some(shape + extra, inner, seed + k)
        return result
    random = np.random.default_rng(seed)
    whole = random.integers(1, 120, shape)
    if dtype.kind == "b":
        return np.asarray(whole % 2 == 0)
    if dtype.kind in "iu":
        return np.asarray(whole).astype(dtype)
    if dtype.kind in "fc":
        return np.asarray(whole / 8 if dtype.kind == "f" else whole / 8 + 0.5j).astype(dtype)
    if dtype.kind in "mM":
        return np.asarray(whole).astype("i8").astype(dtype.newbyteorder("=")).astype(dtype)
    if dtype.kind in "SU":
        return np.asarray(whole).astype("U").astype(dtype)
    return np.frombuffer(random.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)


def make_link(path: Path, target: str | Path) -> None:
    """A symbolic link. The test is skipped where this user may not make one (Windows), or none is made (Wine)."""
    try:
        path.symlink_to(target)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    if not path.is_symlink():
        pytest.skip("Wine: os.symlink makes no link, and raises nothing")


def wait_until(condition: Callable[[], object]) -> bool:
    """Whether `condition` becomes true before the deadline. Only a hang reaches the deadline."""
    end = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def in_threads(*work: Callable[[], object]) -> None:
    """Run each in its own thread, all started together; raise the first exception here."""
    faults: list[BaseException] = []
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        try:
            barrier.wait(DEADLINE_S)
            one()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "a thread hangs"
    if faults:
        raise faults[0]


@contextlib.contextmanager
def copies_are_trusted() -> Iterator[None]:
    """Trust the states of a copied folder: the copy represents the files that a SIGKILL leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WriterRecord, "vouches_for", lambda record, *files: record.boot_id == boot_id())
        yield


def take_locks_away(patch: pytest.MonkeyPatch, code: str) -> None:
    """Make the file systems those without locks. `code`: the name of the errno of flock(2); empty on any system."""
    if not code:
        patch.setattr(SYSTEM, "try_lock", lambda fd, *, shared: None)
        return
    fcntl, number = pytest.importorskip("fcntl"), getattr(errno, code)

    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    patch.setattr(fcntl, "flock", flock)


def raising(code: int) -> Callable[..., Any]:
    """A function to patch in that raises StorageOSError with errno `code` for any arguments."""

    def fail(*args: Any, **options: Any) -> Any:
        raise StorageOSError(code, os.strerror(code), "injected")

    return fail


def interrupt(path: Path, shape: tuple[int, ...] = (4, 3), frames: tuple[int, ...] = (0, 2), **options: Any) -> Path:
    """Make an interrupted scan in which frame i holds i + 1. Returns the path of its .part."""
    scan = lys_storage.create(path, shape, "u2", grid_ndim=1, **options)
    for i in frames:
        scan[i] = np.full(shape[1:], i + 1, "u2")
    scan.suspend()
    return scan.part_path


HAS_PASSED = pytest.StashKey[bool]()  # of a test: whether its call has passed, set before the teardown of its fixtures


def open_below(folder: Path) -> list[str]:
    """Files below `folder` that this process has open or mapped (Linux), or that any process has (Windows)."""
    if sys.platform == "win32":
        return sorted(str(path) for path in folder.rglob("*") if path.is_file() and _is_open(path))
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # the descriptor of the directory listing
    below = f"{folder}{os.sep}"
    maps = Path("/proc/self/maps").read_text()
    if below in maps:
        found += [line.split(maxsplit=5)[-1].strip() for line in maps.splitlines()]
    return sorted({name for name in found if name.startswith(below)})


def _is_open(path: Path) -> bool:
    """Whether a file is open or mapped in any process: nobody else can open it then without sharing it (Windows)."""
    import _winapi

    try:
        _winapi.CloseHandle(_winapi.CreateFile(str(path), _winapi.GENERIC_READ, 0, 0, _winapi.OPEN_EXISTING, 0, 0))  # type: ignore[attr-defined]
    except PermissionError as error:
        return getattr(error, "winerror", 0) == 32
    return False


_CTRL_C_BY_FILE = """
import os, signal, threading, time
def wait_for_ctrl_c():
    while not os.path.exists({path!r}):
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)
threading.Thread(target=wait_for_ctrl_c, daemon=True).start()
"""


def takes_ctrl_c(source: str, tmp_path: Path) -> str:
    """Source of a child process for press_ctrl_c(). Windows sends no signal to one process: a file tells it to raise one.

    Reading stdin in a thread would keep the process from loading a library there.
    """
    return (_CTRL_C_BY_FILE.format(path=str(_ctrl_c(tmp_path))) if sys.platform == "win32" else "") + source


def press_ctrl_c(child: subprocess.Popen[Any], tmp_path: Path) -> None:
    if sys.platform == "win32":
        _ctrl_c(tmp_path).touch()
    else:
        child.send_signal(signal.SIGINT)


def _ctrl_c(tmp_path: Path) -> Path:
    return tmp_path.with_name(f"{tmp_path.name} Ctrl-C")


@dataclass
class Finished:
    """The exit code and the output of a child process."""

    code: int
    out: str
    err: str


class MakesAnArray:
    """Not an array: numpy calls its `__array__` to get `array`."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array
