"""The lock of a scan file: exclusive for a writer, and briefly shared for a reader."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File, Lock, check_disk
from lys_storage.disk.systems import SYSTEM
from tests.helpers import take_locks_away

CODES = ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL"]


def test_a_lock_is_taken_busy_or_not_supported(tmp_path: Path) -> None:
    """Readers exclude writers, and not each other."""
    one = File.create(tmp_path / "a")
    other, third = (File.open(tmp_path / "a", writable=False) for _ in range(2))
    assert (one.try_lock(), other.try_lock(), other.try_lock(shared=True)) == (Lock.TAKEN, Lock.BUSY, Lock.BUSY)
    one.close()
    assert (other.try_lock(shared=True), third.try_lock(shared=True)) == (Lock.TAKEN, Lock.TAKEN)
    third.close()
    again = File.open(tmp_path / "a", writable=True)
    assert (again.try_lock(), bool(Lock.BUSY), bool(Lock.UNSUPPORTED)) == (Lock.BUSY, False, True)
    other.close()
    again.close()


def test_a_scan_that_is_written_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer refuses a shared lock: this distinguishes it from a reader."""
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1"):
        file = File.open(tmp_path / "data.npz.part", writable=True)
        monkeypatch.setattr(threading.Event, "wait", lambda *args: pytest.fail("it waits"))
        assert file.lock_to_take_over() is Lock.BUSY
        file.close()


@pytest.mark.filterwarnings("ignore:flock not supported on this filesystem")  # of filelock
@pytest.mark.parametrize("code", ["", *CODES], ids=lambda code: code or "on any system")
def test_scans_are_created_without_locks_and_the_disk_check_says_that_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The exclusive create decides who gets a new name."""
    take_locks_away(monkeypatch, code)
    with lys_storage.create(tmp_path / "a.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    failed = {finding.what: finding.seen for finding in check_disk(tmp_path) if not finding.holds}
    assert failed["a writer's lock keeps another process out"] == "not supported by this file system"


@pytest.mark.parametrize(
    ("code", "expected"), [*((code, None) for code in CODES), ("EAGAIN", False), ("EACCES", False)]
)
@pytest.mark.parametrize("shared", [False, True])
def test_what_flock_reports_is_told_as_a_lock_that_is_held_or_that_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: bool | None, shared: bool
) -> None:
    """Any other error is raised."""
    file = File.create(tmp_path / "a")
    with monkeypatch.context() as patch:
        take_locks_away(patch, code)
        assert SYSTEM.try_lock(file.fd, shared=shared) is expected
        take_locks_away(patch, "EIO")
        with pytest.raises(OSError) as caught:
            SYSTEM.try_lock(file.fd, shared=shared)
        assert caught.value.errno == errno.EIO
    assert SYSTEM.try_lock(file.fd, shared=shared) is True
    file.close()


@pytest.mark.parametrize("sidecar", ["data.npz.part.journal", "data.npz.part.redo"])
def test_a_name_is_taken_by_what_is_left_of_an_earlier_scan(tmp_path: Path, sidecar: str) -> None:
    """A new scan would overwrite a file that a scan that was moved away still needs."""
    (tmp_path / sidecar).write_bytes(b"needed")
    with pytest.raises(lys_storage.NameTakenError, match="is left over from an earlier scan") as caught:
        lys_storage.create(tmp_path / "data.npz", (2,), "u1")
    assert caught.value.filename == str(tmp_path / sidecar)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {sidecar: b"needed"}


def test_a_disk_check_makes_no_folder(tmp_path: Path) -> None:
    """A misspelt name is an error, not a check of another disk."""
    (tmp_path / "file").touch()
    for name, code in (("misspelt/path", errno.ENOENT), ("file", errno.ENOTDIR)):
        with pytest.raises(lys_storage.StorageOSError, match="check its name, or make it first") as caught:
            next(check_disk(tmp_path / name))
        assert caught.value.errno == code
    assert os.listdir(tmp_path) == ["file"]
