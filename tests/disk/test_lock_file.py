"""The lock of a scan is a hidden file beside it: who holds it, and when it goes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import NameTakenError, ScanInUseError, StorageOSError
from lys_storage.disk import File, Lock, probe_lock
from lys_storage.disk import lock as lock_module
from lys_storage.disk.systems import SYSTEM
from lys_storage.format import lock_path
from lys_storage.recovery import list_scans
from lys_storage.recovery.leftovers import judge_leftovers, remove_leftovers
from lys_storage.store import scan_store as scan_store_module
from tests.helpers import copies_are_trusted, interrupt, load_export, make_link, raising, take_locks_away
from tests.systems import not_on_windows, not_under_wine

name_is_freed = not_under_wine("the name of a removed file stays until each process has closed the file")


def names(folder: Path) -> list[str]:
    """Also hidden ones."""
    return sorted(os.listdir(folder))


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of another program."""
    fd = SYSTEM.open_file(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def begun(folder: Path) -> lys_storage.Scan:
    scan = lys_storage.create(folder / "a.npz", (3, 2), "u1", grid_ndim=1)
    scan[0] = np.ones(2, "u1")
    return scan


_WRITING = [".a.npz.part.lock", "a.npz.part", "a.npz.part.journal"]


def test_the_lock_file_is_there_until_the_scan_is_over(tmp_path: Path) -> None:
    """An interrupted scan keeps it: a missing one is a sign that somebody deleted it."""
    scan = begun(tmp_path)
    assert names(tmp_path) == _WRITING
    scan.suspend()
    assert names(tmp_path) == _WRITING
    lys_storage.resume(tmp_path / "a.npz").close()
    assert names(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("how", ["discard", "recover", "numbered", "overwrite", "dtype"])
def test_each_end_removes_it(tmp_path: Path, how: str) -> None:
    if how == "discard":
        lys_storage.create(tmp_path / "a.npz", (2,), "u1").discard()
    elif how == "recover":
        begun(tmp_path).suspend()
        lys_storage.recover(tmp_path)
    elif how == "numbered":
        lys_storage.create(tmp_path / "a", (2,), "u1", numbered=True).close()
    elif how == "overwrite":
        begun(tmp_path).close()
        lys_storage.create(tmp_path / "a.npz", (2,), "u1", overwrite=True).close()
    else:
        from lys_storage.scan import relayout

        with lys_storage.create(tmp_path / "a.npz", (2,), "f8") as scan:
            relayout.change_dtype(scan._store, np.dtype("u1"), None)
            assert names(tmp_path) == _WRITING
            assert probe_lock(tmp_path / "a.npz.part") is Lock.BUSY
    assert [name for name in names(tmp_path) if name.endswith(".lock") and name != ".lys_storage.lock"] == []


def test_a_create_that_is_refused_leaves_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(NameTakenError):
        lys_storage.create(tmp_path / "a.npz", (2,), "u1")
    assert names(tmp_path) == ["a.npz"]
    (tmp_path / "b.npz.part.journal").write_bytes(b"x")
    with pytest.raises(NameTakenError):
        lys_storage.create(tmp_path / "b.npz", (2,), "u1")
    assert names(tmp_path) == ["a.npz", "b.npz.part.journal"]


def test_a_scan_in_use_is_not_taken_over_and_its_lock_file_stays(tmp_path: Path) -> None:
    with begun(tmp_path):
        with pytest.raises(ScanInUseError):
            lys_storage.resume(tmp_path / "a.npz")
        assert [found.state for found in lys_storage.recover(tmp_path)] == ["running"]
        assert names(tmp_path) == _WRITING


@name_is_freed
def test_a_scan_whose_lock_file_was_deleted_is_not_taken_over(tmp_path: Path) -> None:
    """Scratch disks are cleaned of files that nobody has changed for weeks. The writer goes on, and ends as ever."""
    with begun(tmp_path) as scan:
        (tmp_path / ".a.npz.part.lock").unlink()
        for _ in range(2):
            with pytest.raises(ScanInUseError):
                lys_storage.resume(tmp_path / "a.npz")
            assert names(tmp_path) == _WRITING[1:], (
                "the other process leaves no lock file, which would look like a free one"
            )
        scan[1] = np.full(2, 2, "u1")
    assert names(tmp_path) == ["a.npz"]
    assert load_export(tmp_path / "a.npz").data.tolist() == [[1, 1], [2, 2], [0, 0]]


def test_a_writer_of_an_earlier_version_is_respected(tmp_path: Path) -> None:
    """It locks the scan file itself, and makes no lock file."""
    begun(tmp_path).suspend()
    (tmp_path / ".a.npz.part.lock").unlink()
    with opened(tmp_path / "a.npz.part") as earlier:
        assert SYSTEM.try_lock(earlier, shared=False)
        for leave in (False, True):
            if leave:
                (tmp_path / ".a.npz.part.lock").touch()
            assert [entry.state for entry in list_scans(tmp_path)] == ["running"]
            with pytest.raises(ScanInUseError):
                lys_storage.resume(tmp_path / "a.npz")
            assert names(tmp_path) == _WRITING[0 if leave else 1 :]
    assert [entry.state for entry in list_scans(tmp_path)] == ["interrupted"]
    lys_storage.resume(tmp_path / "a.npz").close()
    assert names(tmp_path) == ["a.npz"]


@pytest.mark.parametrize("has_lock_file", [True, False])
def test_a_reader_with_a_shared_lock_does_not_hinder_anybody(tmp_path: Path, has_lock_file: bool) -> None:
    """As HDF5 takes it. A copied scan has no lock file: then its reader and a writer without one look the same."""
    begun(tmp_path).suspend()
    if not has_lock_file:
        (tmp_path / ".a.npz.part.lock").unlink()
    with opened(tmp_path / "a.npz.part") as reader:
        assert SYSTEM.try_lock(reader, shared=True)
        assert [entry.state for entry in list_scans(tmp_path)] == ["interrupted"]
        if not has_lock_file:
            with pytest.raises(ScanInUseError):
                lys_storage.resume(tmp_path / "a.npz")
            SYSTEM.unlock(reader)
        with lys_storage.resume(tmp_path / "a.npz"):
            assert SYSTEM.try_lock(reader, shared=True)


def test_a_look_makes_no_lock_file(tmp_path: Path) -> None:
    begun(tmp_path).suspend()
    (tmp_path / ".a.npz.part.lock").unlink()
    list_scans(tmp_path)
    lys_storage.verify(tmp_path)
    lys_storage.recover(tmp_path, dry_run=True)
    assert names(tmp_path) == _WRITING[1:]


def test_a_lock_file_that_its_holder_has_just_removed_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process has opened the file, and locks it when it has no name any more. A third one makes a new file."""
    part = tmp_path / "a.npz.part"
    first, second, third = File.create(part), File.open(part, writable=True), File.open(part, writable=True)
    assert first.try_lock() is Lock.TAKEN
    real, waited = SYSTEM.try_lock, []

    def try_lock(fd: int, *, shared: bool) -> bool | None:
        if not waited:
            waited.append(fd)
            first.lock_file.remove()
            SYSTEM.unlock(first.fd)
            assert third.try_lock() is Lock.TAKEN
        return real(fd, shared=shared)

    monkeypatch.setattr(SYSTEM, "try_lock", try_lock)
    assert second.try_lock() is Lock.BUSY
    assert lock_path(part).exists()
    third.lock_file.remove()
    for file in (first, second, third):
        file.close()


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="a folder"),
        pytest.param(
            lambda path: os.mkfifo(path), id="a pipe", marks=not_on_windows("no named pipe is a file in a folder")
        ),
        pytest.param(lambda path: make_link(path, "elsewhere"), id="a link to nowhere"),
        pytest.param(lambda path: make_link(path, "a.npz.part"), id="a link to the scan file"),
    ],
)
def test_what_is_no_lock_file_is_an_error_that_names_it(tmp_path: Path, make: Callable[[Path], None]) -> None:
    begun(tmp_path).suspend()
    (tmp_path / ".a.npz.part.lock").unlink()
    make(tmp_path / ".a.npz.part.lock")
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    with pytest.raises(StorageOSError, match=r"\.a\.npz\.part\.lock"):
        lys_storage.resume(tmp_path / "a.npz")
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


def test_an_empty_lock_file_alone_is_removed_by_recovery(tmp_path: Path) -> None:
    """A power cut can leave it. One that another program has written, or that is held, stays."""
    for name in ("a", "b", "c"):
        (tmp_path / f".{name}.npz.part.lock").touch()
    (tmp_path / ".b.npz.part.lock").write_text("4711")
    with opened(tmp_path / ".c.npz.part.lock") as held:
        assert SYSTEM.try_lock(held, shared=False)
        found = lys_storage.recover(tmp_path)
        assert names(tmp_path) == [".b.npz.part.lock", ".c.npz.part.lock"]
        assert not any(result.failed for result in found)
    lys_storage.recover(tmp_path)
    assert names(tmp_path) == [".b.npz.part.lock"]


@not_on_windows("a folder with open files cannot be renamed")
def test_a_scan_whose_folder_is_renamed_removes_its_lock_file_there(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    scan = begun(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    scan[1] = np.ones(2, "u1")
    scan.close()
    assert names(tmp_path / "new") == ["a.npz"]


FORKS = """
import os, sys
from pathlib import Path
import numpy as np
import lys_storage
from lys_storage.disk import probe_lock

scan = lys_storage.create("a.npz", (3, 2), "u1", grid_ndim=1)
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print(probe_lock(Path("a.npz.part")).name, sorted(os.listdir(".")))
pid = os.fork()
if pid == 0:
    del scan
    sys.exit(0)
os.waitpid(pid, 0)
print(probe_lock(Path("a.npz.part")).name, sorted(os.listdir(".")))
scan.close()
print(os.listdir("."))
"""


@not_on_windows("no fork")
def test_a_forked_child_neither_releases_nor_removes_it(run_child: Callable[..., Any]) -> None:
    done = run_child(FORKS)
    assert done.out.splitlines() == [f"BUSY {_WRITING}"] * 2 + ["['a.npz']"], done.err


def test_of_many_that_take_over_at_once_one_gets_the_scan(tmp_path: Path, run_child: Callable[..., Any]) -> None:
    """With and without a lock file."""
    from concurrent.futures import ThreadPoolExecutor

    program = (
        "import sys, lys_storage\n"
        "try: scan = lys_storage.resume(sys.argv[1])\n"
        "except lys_storage.LysStorageError as error: print(type(error).__name__)\n"
        "else:\n"
        "    print('taken', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    scan.suspend()\n"
    )
    import subprocess

    for has_lock_file in (True, False):
        interrupt(tmp_path / "a.npz") if not (tmp_path / "a.npz.part").exists() else None
        if not has_lock_file:
            lock_path(tmp_path / "a.npz.part").unlink()
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", program, str(tmp_path / "a.npz")]
        children = [subprocess.Popen(command, **pipes) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda child: child.stdout.readline().strip(), children))
        assert sorted(said) == ["ScanInUseError"] * 3 + ["taken"]
        for child in children:
            child.communicate("\n", timeout=60)
        assert [child.returncode for child in children] == [0] * 4


def test_no_permission_for_the_folder_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with copies_are_trusted():
        begun(tmp_path).suspend()
        lock_path(tmp_path / "a.npz.part").unlink()
        real = SYSTEM.open_file

        def refusing(path: Any, flags: int) -> int:
            if str(path).endswith(".lock") and flags & os.O_CREAT:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, flags)

        monkeypatch.setattr(SYSTEM, "open_file", refusing)
        assert [entry.state for entry in list_scans(tmp_path)] == ["interrupted"]
        with pytest.raises(StorageOSError, match=r"\.a\.npz\.part\.lock"):
            lys_storage.resume(tmp_path / "a.npz")


# -- races ----------------------------------------------------------------------------------------------------------------


@name_is_freed
def test_a_lock_file_that_another_process_has_only_just_made_does_not_stand_for_a_free_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock file of a living writer was deleted, and two processes try to take the scan over at the same time."""
    with begun(tmp_path) as scan:
        lock_path(scan.part_path).unlink()
        first, second = (File.open(scan.part_path, writable=True) for _ in range(2))
        real, results, is_nested = SYSTEM.try_lock, [], [False]

        def try_lock(fd: int, *, shared: bool) -> bool | None:
            if not is_nested[0]:
                is_nested[0] = True
                results.append(second.try_lock())
                is_nested[0] = False
            return real(fd, shared=shared)

        monkeypatch.setattr(SYSTEM, "try_lock", try_lock)
        results.append(first.try_lock())
        assert set(results) == {Lock.BUSY}
        for file in (first, second):
            file.close()
        assert names(tmp_path) == _WRITING[1:]


def test_who_makes_a_lock_file_keeps_others_from_it_until_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted scan without a lock file: the second process locks the file that the first has just made."""
    begun(tmp_path).suspend()
    part = tmp_path / "a.npz.part"
    lock_path(part).unlink()
    first, second = (File.open(part, writable=True) for _ in range(2))
    real, results = SYSTEM.open_file, []

    def open_file(path: Path, flags: int) -> int:
        fd = real(path, flags)
        if flags & os.O_CREAT and not results:
            results.append(None)
            results[0] = second.try_lock()
        return fd

    monkeypatch.setattr(SYSTEM, "open_file", open_file)
    results.append(first.try_lock())
    assert results == [Lock.BUSY, Lock.TAKEN]
    for file in (second, first):
        file.close()


def test_a_refused_lock_leaves_the_scan_file_unlocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again on the same descriptor, while others look."""
    begun(tmp_path).suspend()
    part = tmp_path / "a.npz.part"
    lock_path(part).unlink()
    file, real = File.open(part, writable=True), SYSTEM.try_lock

    def try_lock(fd: int, *, shared: bool) -> bool | None:
        return fd == file.fd and real(fd, shared=shared)

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "try_lock", try_lock)
        assert file.try_lock() is Lock.BUSY
    with opened(part) as other:
        assert SYSTEM.try_lock(other, shared=False)
        SYSTEM.unlock(other)
    assert file.try_lock() is Lock.TAKEN
    file.close()


def test_leftovers_of_a_scan_that_was_begun_meanwhile_stay(tmp_path: Path) -> None:
    """A lock file alone does not keep anybody from the name, as a journal does."""
    lock_path(tmp_path / "a.npz.part").touch()
    assert judge_leftovers(tmp_path / "a.npz.part").superfluous
    with begun(tmp_path) as scan:
        remove_leftovers(tmp_path / "a.npz.part")
        assert names(tmp_path) == _WRITING
        scan.suspend()
    remove_leftovers(tmp_path / "a.npz.part")
    assert names(tmp_path) == _WRITING


@pytest.mark.parametrize("how", ["discard", pytest.param("discard, interrupted", marks=name_is_freed)])
def test_the_lock_is_held_until_the_scan_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Else recovery could remove the empty file, and a third process claim its name, before this one removes it again."""
    scan = lys_storage.create(tmp_path / "a.npz", (2,), "u1")
    real, looks = scan_store_module.remove_file, []

    def remove(path: Path) -> None:
        if path == scan.part_path:
            looks.append(probe_lock(path))
            real(path)
            if how != "discard" and len(looks) == 1:
                raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(scan_store_module, "remove_file", remove)
    if how != "discard":
        with pytest.raises(KeyboardInterrupt):
            scan.discard()
    scan.discard()
    assert looks == [Lock.BUSY]
    assert names(tmp_path) == []


def test_a_lock_that_cannot_be_tried_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS has run out of locks, for a moment: the writer has its own."""
    with begun(tmp_path):
        with monkeypatch.context() as patch:
            take_locks_away(patch, "")
            with pytest.raises(StorageOSError):
                lys_storage.resume(tmp_path / "a.npz")
        assert names(tmp_path) == _WRITING


def test_without_locks_no_lock_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that was copied there with its scan."""
    begun(tmp_path).suspend()
    take_locks_away(monkeypatch, "")
    lys_storage.resume(tmp_path / "a.npz", force=True).close()
    lys_storage.create(tmp_path / "b.npz", (2,), "u1").close()
    lys_storage.create(tmp_path / "c.npz", (2,), "u1").discard()
    lock_path(tmp_path / "d.npz.part").touch()
    lys_storage.recover(tmp_path)
    assert names(tmp_path) == ["a.npz", "b.npz"]


def test_a_lock_is_released_also_if_its_file_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process may still hold a file that is removed, the file stays: that is no error."""
    part = tmp_path / "a.npz.part"
    file = File.create(part)
    assert file.try_lock() is Lock.TAKEN
    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "remove_file", raising(errno.EACCES))
        with nullcontext() if SYSTEM.open_files_keep_their_names else pytest.raises(StorageOSError):
            file.close()
    assert file.fd == -1
    assert probe_lock(part) is Lock.TAKEN


def test_a_scan_file_of_another_dtype_is_locked_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock file may have been deleted."""
    from lys_storage.scan import relayout

    with lys_storage.create(tmp_path / "a.npz", (2,), "f8") as scan:
        lock_path(scan.part_path).unlink()
        real, found = scan_store_module.replace_file, []

        def replace(old: Path, new: Path) -> None:
            real(old, new)
            file = File.open(new, writable=True)
            found.append(file.try_lock())
            file.close()

        monkeypatch.setattr(scan_store_module, "replace_file", replace)
        relayout.change_dtype(scan._store, np.dtype("u1"), None)
        assert found == [Lock.BUSY]


def test_a_lock_file_of_another_user_that_may_only_be_read_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chmod g+w data.npz.part*` in a shared folder does not name the hidden file. A lock needs no permission to write."""
    begun(tmp_path).suspend()
    real = SYSTEM.open_file

    def refusing(path: Any, flags: int) -> int:
        if str(path).endswith(".part.lock") and flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "open_file", refusing)
        scan = lys_storage.resume(tmp_path / "a.npz")
        assert probe_lock(tmp_path / "a.npz.part") is Lock.BUSY
    with pytest.raises(ScanInUseError):
        lys_storage.resume(tmp_path / "a.npz")
    scan.close()
    assert names(tmp_path) == ["a.npz"]
