"""Disk operations, one of which fails until it is repaired: which call it is, and on which file.

The system call below `lys_storage.disk` fails, selected by the file that it is for. All scans of the fault tables have
the shape of `DATA`, so that header, frames and tail are distinguished by their offsets.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import DiskFullError, StorageOSError
from lys_storage.disk.systems import SYSTEM
from tests.helpers import assert_same_array, copies_are_trusted, files, load_export, some

DATA = some((6, 500), "f8")
_ARRAY = range(4096, 4096 + DATA.nbytes)

ERRNOS = ["ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "ENOENT"]
HELD = pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY], ids=["EACCES", "EPERM", "EBUSY"])
"""Another program holds the file: Windows, some shares. The journal of an export stays then, which is no error."""
_STAYS_OR_IS_GONE = ("EACCES", "ENOENT")  # with ENOENT the journal is gone already, which is fine
_FULL = (errno.ENOSPC, errno.EDQUOT)

_COPY = " as SIGKILL leaves it"
PART, JOURNAL = ".part", ".part.journal"


BECOME_NOBODY = """
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
"""


@pytest.fixture(name="open_to_all")
def _open_to_all() -> Iterator[Path]:
    """A folder that other users can write, unlike those of pytest. It needs root, which becomes another user."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to become another user, whom modes bind")
    folder = Path(tempfile.mkdtemp(prefix="lys_storage-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def path_of(what: Any) -> str:
    """The path of a call, from its first argument: a path or a descriptor."""
    if isinstance(what, int):
        return os.readlink(f"/proc/self/fd/{what}").removesuffix(" (deleted)")
    return os.fspath(what)


@dataclass(frozen=True)
class Operation:
    """Calls of `owner.attribute` for a file whose name ends with `ending`, with arguments that `meets` accepts."""

    name: str
    owner: Any
    attribute: str
    ending: str
    meets: Callable[..., bool] = lambda *args: True

    def is_met(self, *args: Any) -> bool:
        path = path_of(args[0])
        return path.endswith(self.ending) and _COPY not in path and self.meets(*args)


def _at(where: Callable[[int], bool]) -> Callable[..., bool]:
    return lambda fd, data, offset: where(offset)


OPERATIONS = {
    operation.name: operation
    for operation in [
        Operation("open the scan file", SYSTEM, "open_file", PART),
        Operation("open the journal", SYSTEM, "open_file", JOURNAL),
        Operation("open the new journal", SYSTEM, "open_file", ".journal.new"),
        Operation("open the redo file", SYSTEM, "open_file", ".redo"),
        Operation("make the folder", os, "mkdir", "run"),
        Operation("claim the scan file's space", SYSTEM, "preallocate", PART),
        Operation("claim the journal's space", SYSTEM, "preallocate", JOURNAL),
        Operation("claim the new journal's space", SYSTEM, "preallocate", ".journal.new"),
        Operation("set the scan file's size", SYSTEM, "set_size", PART),
        Operation("set the journal's size", SYSTEM, "set_size", JOURNAL),
        Operation("write the header", SYSTEM, "pwrite", PART, _at(lambda offset: offset == 0)),
        Operation("write a frame", SYSTEM, "pwrite", PART, _at(lambda offset: offset in _ARRAY)),
        Operation("write frames together", SYSTEM, "pwritev", PART),
        Operation("write the tail", SYSTEM, "pwrite", PART, _at(lambda offset: offset >= _ARRAY.stop)),
        Operation("write the description", SYSTEM, "pwrite", JOURNAL, _at(lambda offset: offset == 0)),
        Operation("write axes and note", SYSTEM, "pwrite", JOURNAL, _at(lambda offset: offset >= 12288)),
        Operation(
            "write the pointer to axes and note", SYSTEM, "pwrite", JOURNAL, _at(lambda offset: 0 < offset < 4096)
        ),
        Operation("write the new journal", SYSTEM, "pwrite", ".journal.new"),
        Operation("write a record of the redo file", SYSTEM, "pwrite", ".redo"),
        Operation("map the journal", mmap, "mmap", JOURNAL),
        Operation("map the new journal", mmap, "mmap", ".journal.new"),
        Operation("sync the scan file", SYSTEM, "sync", PART),
        Operation("sync the journal", SYSTEM, "sync", JOURNAL),
        Operation("sync the new journal", SYSTEM, "sync", ".journal.new"),
        Operation("sync the redo file", SYSTEM, "sync", ".redo"),
        Operation("sync the folder", SYSTEM, "sync_folder", "run"),
        Operation("sync the folder above", SYSTEM, "sync_folder", "", lambda path: path.name != "run"),
        Operation("publish", SYSTEM, "rename_new", PART),
        Operation("publish over an older file", SYSTEM, "replace", PART),
        Operation("open the new scan file", SYSTEM, "open_file", ".part.new"),
        Operation("write the new scan file", SYSTEM, "pwrite", ".part.new"),
        Operation("sync the new scan file", SYSTEM, "sync", ".part.new"),
        Operation("replace the scan file", SYSTEM, "replace", ".part.new"),
        Operation("replace the journal", SYSTEM, "replace", ".journal.new"),
        Operation("remove the journal", SYSTEM, "remove", JOURNAL),
        Operation("lock the scan file", SYSTEM, "try_lock", PART),
    ]
}


class Disk:
    """The disk: `breaks` makes one operation fail, and `watched` records operations in order.

    No test here cuts the power: syncs are called and can fail, but do nothing.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        for name in ("sync", "sync_folder"):
            patch.setattr(SYSTEM, name, lambda what: None)
        self.hits, self._is_broken = 0, False

    def breaks(self, name: str, code: int | None) -> None:
        """From now on `name` fails with errno `code`, or returns False if that is None, until `mended` is called."""
        operation, real = OPERATIONS[name], getattr(OPERATIONS[name].owner, OPERATIONS[name].attribute)
        self.hits, self._is_broken = 0, True

        def call(*args: Any, **options: Any) -> Any:
            if self._is_broken and operation.is_met(*args):
                self.hits += 1
                if code is None:
                    return False
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        self._patch.setattr(operation.owner, operation.attribute, call)

    def mended(self) -> None:
        """End the fault. It must have occurred."""
        self._is_broken = False
        assert self.hits, "the operation that was to fail never came"

    @contextmanager
    def watched(self, *names: str) -> Iterator[list[tuple[Any, ...]]]:
        """Record these operations: (name,), with the offset of a write; or (name + " fails",)."""
        log: list[tuple[Any, ...]] = []
        undo = []
        for operation in (OPERATIONS[name] for name in names):
            real = getattr(operation.owner, operation.attribute)

            def call(*args: Any, real: Any = real, operation: Operation = operation, **options: Any) -> Any:
                is_met = operation.is_met(*args)
                try:
                    result = real(*args, **options)
                except OSError:
                    if is_met:
                        log.append((f"{operation.name} fails",))
                    raise
                if is_met:
                    log.append((operation.name, *args[2:]))
                return result

            self._patch.setattr(operation.owner, operation.attribute, call)
            undo.append((operation, real))
        yield log
        for operation, real in reversed(undo):
            self._patch.setattr(operation.owner, operation.attribute, real)


def rows(*phases: tuple[str, list[str]]) -> pytest.MarkDecorator:
    """`phase`, `operation` and `code` of a test: each operation of each phase x each errno."""
    return pytest.mark.parametrize(
        ("phase", "operation", "code"),
        [
            pytest.param(phase, operation, getattr(errno, code), id=f"{phase}: {operation}: {code}")
            for phase, operations in phases
            for operation in operations
            for code in ERRNOS
            if operation != "remove the journal" or code not in _STAYS_OR_IS_GONE
        ],
    )


def assert_told(error: BaseException, code: int, folder: Path) -> None:
    """An error of lys_storage, with errno, message and a file below `folder`. A full disk has its own class."""
    assert type(error) is (DiskFullError if code in _FULL else StorageOSError)
    assert isinstance(error, OSError)
    assert error.errno == code
    assert os.strerror(code) in str(error)
    assert Path(error.filename) == folder or folder in Path(error.filename).parents


def killed_now(folder: Path) -> Path:
    """The export of a copy of `folder`, which is what a SIGKILL would leave. The fault does not affect the copy."""
    copy = folder.with_name(f"{folder.name}{_COPY}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    with copies_are_trusted():
        (found,) = lys_storage.recover(copy)
    assert found.path is not None, found
    assert lys_storage.verify(copy) == []
    assert files(copy) == {found.path.name}
    return found.path


def assert_a_death_now_loses_nothing(folder: Path, acknowledged: set[int]) -> None:
    """After a SIGKILL now, recovery gives every frame of `acknowledged` bit for bit, and no other."""
    assert_holds(killed_now(folder), acknowledged)


def assert_holds(path: Path, there: set[int], data: Any = DATA) -> None:
    """The export has the rows `there` of `data`, NaN elsewhere, and lists the missing ones."""
    expected = np.full_like(DATA, np.nan)
    expected[sorted(there)] = data[sorted(there)]
    export = load_export(path)
    assert_same_array(export.data, expected)
    missing = {k for first, stop in export.info["missing"] for k in range(first, stop)}
    if export.info["frames_expected"] == len(DATA):
        assert missing == set(range(len(DATA))) - there


def assert_saved(folder: Path, there: set[int], name: str = "data.npz") -> None:
    """There is only the export, which holds `there`."""
    assert files(folder) == {name}
    assert_holds(folder / name, there)
    assert lys_storage.verify(folder) == []
