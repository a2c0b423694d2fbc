"""Operation x errno for recover and resume: what is raised, what is on disk, and that it continues afterwards."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

import lys_storage
from lys_storage import LysStorageError, ScanInUseError, StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.faults.operations import (
    DATA,
    ERRNOS,
    HELD,
    JOURNAL,
    Disk,
    assert_a_death_now_loses_nothing,
    assert_holds,
    assert_saved,
    assert_told,
    rows,
)
from tests.faults.scans import IN_PROGRESS, interrupted, write
from tests.helpers import files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls that fail are Linux's")

codes = pytest.mark.parametrize("code", [getattr(errno, name) for name in ERRNOS], ids=ERRNOS)


RECOVERED = [
    "open the scan file",
    "open the journal",
    "map the journal",
    "write a frame",
    "write the tail",
    "write the header",
    "set the scan file's size",
    "sync the scan file",
    "publish",
]


@rows(("recover", RECOVERED))
def test_a_recovery_that_fails_says_so_keeps_the_scan_and_can_be_run_again(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """A fault of one scan raises nothing: it is reported with its reason."""
    interrupted(folder)
    disk.breaks(operation, code)
    for _ in range(2):
        (found,) = lys_storage.recover(folder)
        assert (found.path, found.running, found.cleaned_up) == (None, False, False)
        assert os.strerror(code) in found.message
        assert "data.npz" in found.message
        assert files(folder) == IN_PROGRESS
    disk.mended()
    assert lys_storage.verify(folder) == []
    (found,) = lys_storage.recover(folder)
    assert found.path == folder / "data.npz"
    assert_saved(folder, {0, 1, 2})


@rows(("recover", ["sync the folder", "remove the journal"]))
def test_a_recovery_that_fails_after_the_name_is_there_can_be_run_again(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """Each run removes the journal only after the name is durable."""
    interrupted(folder)
    disk.breaks(operation, code)
    for _ in range(2):
        (found,) = lys_storage.recover(folder)
        assert os.strerror(code) in found.message
        assert files(folder) == {"data.npz", "data.npz" + JOURNAL}
        assert_holds(folder / "data.npz", {0, 1, 2})
    disk.mended()
    with disk.watched("sync the folder", "remove the journal") as done:
        lys_storage.recover(folder)
    assert [name for name, *_ in done] == ["sync the folder", "remove the journal"]
    assert_saved(folder, {0, 1, 2})


@HELD
def test_a_journal_that_another_program_holds_stays_beside_the_export_until_the_next_recovery(
    disk: Disk, folder: Path, code: int
) -> None:
    """The scan is exported. Only a recovery that finds nothing but the journal reports that it stays."""
    interrupted(folder)
    disk.breaks("remove the journal", code)
    (found,) = lys_storage.recover(folder)
    assert (found.path, found.failed, found.frames_written) == (folder / "data.npz", False, 3)
    assert files(folder) == {"data.npz", "data.npz" + JOURNAL}
    (found,) = lys_storage.recover(folder)
    assert os.strerror(code) in found.message
    assert_holds(folder / "data.npz", {0, 1, 2})
    disk.mended()
    lys_storage.recover(folder)
    assert_saved(folder, {0, 1, 2})


@rows(
    ("resume", ["open the scan file", "open the journal", "map the journal"]),
    (
        "resume on another boot",
        [
            "sync the scan file",
            "sync the journal",
        ],
    ),
)
def test_a_scan_that_cannot_be_resumed_stays_as_it_is_and_is_resumed_once_the_fault_is_gone(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch, phase: str, operation: str, code: int
) -> None:
    """The scan keeps neither a lock nor a descriptor."""
    interrupted(folder)
    if phase != "resume":
        monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
    disk.breaks(operation, code)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            lys_storage.resume(folder / "data.npz")
        assert_told(caught.value, code, folder)
        assert files(folder) == IN_PROGRESS
    disk.mended()
    assert_a_death_now_loses_nothing(folder, {0, 1, 2})
    with lys_storage.resume(folder / "data.npz") as scan:
        assert list(scan.missing()) == [(3,), (4,), (5,)]
        write(scan, 4)
    assert_saved(folder, {0, 1, 2, 4})


@pytest.mark.parametrize(
    "code", [getattr(errno, name) for name in ERRNOS if name != "EACCES"], ids=[e for e in ERRNOS if e != "EACCES"]
)
def test_an_interrupted_scan_that_cannot_be_locked_is_neither_resumed_nor_recovered(
    disk: Disk, folder: Path, code: int
) -> None:
    """It is then unknown whether a writer is alive."""
    interrupted(folder)
    disk.breaks("lock the scan file", code)
    with pytest.raises(StorageOSError) as caught:
        lys_storage.resume(folder / "data.npz")
    assert_told(caught.value, code, folder)
    (found,) = lys_storage.recover(folder)
    assert found.path is None
    assert os.strerror(code) in found.message
    assert files(folder) == IN_PROGRESS
    disk.mended()
    lys_storage.recover(folder)
    assert_saved(folder, {0, 1, 2})


def test_a_lock_that_is_refused_for_its_holders_sake_means_that_a_writer_lives(disk: Disk, folder: Path) -> None:
    """Some systems report the lock of another process with EACCES: see tests/disk/test_locks.py."""
    interrupted(folder)
    disk.breaks("lock the scan file", None)
    with pytest.raises(ScanInUseError):
        lys_storage.resume(folder / "data.npz")
    (found,) = lys_storage.recover(folder)
    assert (found.path, found.running) == (None, True)
    assert files(folder) == IN_PROGRESS
    disk.mended()
    lys_storage.recover(folder)
    assert_saved(folder, {0, 1, 2})


def test_where_every_lock_is_refused_a_number_is_not_looked_for_for_ever(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is raised, and no empty files are left."""
    opened = 0
    real = File.create

    def create_few(path: Path) -> File:
        nonlocal opened
        opened += 1
        assert opened < 100, "it goes on for ever"
        return real(path)

    monkeypatch.setattr(File, "create", create_few)
    disk.breaks("lock the scan file", None)
    with pytest.raises(LysStorageError):
        begin_scan(folder, "data", DATA.shape, "f8", numbered=True, replace_existing=False)
    disk.mended()
    assert files(folder) == set()
