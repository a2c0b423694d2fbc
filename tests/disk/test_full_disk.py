"""A full disk, before a scan and while it runs, raises an exception and never kills the process."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import DiskFullError
from lys_storage.disk import File
from lys_storage.disk import folder as folder_module
from lys_storage.disk import preallocation as preallocation_module
from lys_storage.disk.folder import free_space
from lys_storage.scan import begin_scan
from tests.fixtures import Faults
from tests.helpers import DEADLINE_S, files, load_export, wait_until

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB (tmpfs), if the tests may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a disk")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no disk can be mounted here: {mount.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill_up(folder: Path) -> Path:
    """Use all free space. Returns the file that holds it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while stream.write(b"x" * size):
                    pass
    return filler


@pytest.mark.parametrize("numbered", [False, True], ids=["a plain name", "a numbered one"])
def test_a_scan_that_does_not_fit_is_refused_before_it_starts_with_nothing_left_behind(
    tmp_path: Path, numbered: bool
) -> None:
    """The error states the needed and the free bytes. Not even the folder is created."""
    free = free_space(tmp_path)
    assert free is not None
    shape = (free // 1000, 2000)
    with pytest.raises(DiskFullError) as caught:
        begin_scan(tmp_path / "a" / "b", "data", shape, "u1", numbered=numbered, replace_existing=False)
    error = caught.value
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    needed, left = (int(word.replace(",", "")) for word in str(error).split() if word.replace(",", "").isdigit())
    assert needed > shape[0] * 2000
    assert abs(left - free) < 1 << 30
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_does_not_fit_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has five bytes for each frame: more than small frames themselves."""
    monkeypatch.setattr(folder_module, "free_space", lambda folder: 2_000_000)
    with pytest.raises(DiskFullError):
        lys_storage.create(tmp_path / "a" / "data.npz", (1000, 1000), "u1", grid_ndim=2)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("nth", range(1, 4))
def test_a_preallocation_that_fails_undoes_what_was_done(tmp_path: Path, faults: Faults, nth: int) -> None:
    """Another program can use the space after the check."""
    faults.fail("claim or punch", nth, errno.ENOSPC)
    try:
        scan = lys_storage.create(tmp_path / "data.npz", (2,), "u1")
    except DiskFullError:
        assert files(tmp_path) == set()
    else:
        scan.close()
        assert faults.failed == []


@pytest.mark.parametrize("name", ["write", "set the size", "map", "open"])
def test_a_beginning_that_fails_anywhere_leaves_nothing(tmp_path: Path, faults: Faults, name: str) -> None:
    for nth in range(1, 30):
        faults.fail(name, nth, errno.EIO)
        try:
            scan = lys_storage.create(tmp_path / "data.npz", (2, 2), "u1", note={"a": 1})
        except lys_storage.StorageOSError as error:
            raised: BaseException | None = error
        else:
            raised = None
            assert faults.failed == []
            faults.off()
            scan.discard()
        faults.off()
        assert files(tmp_path) == set()
        if raised is None:
            return
    pytest.fail("create() never came through")


def test_on_a_small_disk_the_preallocation_itself_is_refused(small_disk: Path) -> None:
    with pytest.raises(DiskFullError):
        lys_storage.create(small_disk / "data.npz", (9, MIB), "u1")
    assert files(small_disk) == set()


def test_a_scan_whose_space_is_claimed_runs_and_is_saved_on_a_disk_that_is_full(small_disk: Path) -> None:
    """Frames, journal and the tail of the archive have reserved space, whatever others write."""
    scan = lys_storage.create(small_disk / "data.npz", (4, MIB), "u1", grid_ndim=1, note={"a": 1}, flush_interval_s=0)
    fill_up(small_disk)
    for k in range(4):
        scan[k] = np.full(MIB, k + 1, "u1")
    scan.note["b"] = "x" * 1000
    assert scan.close() == small_disk / "data.npz"
    export = load_export(scan.path)
    assert (export.data[:, 5].tolist(), export.note) == ([1, 2, 3, 4], {"a": 1, "b": "x" * 1000})


def test_a_disk_that_fills_up_while_frames_come_is_an_exception_and_the_scan_can_be_saved(small_disk: Path) -> None:
    """Without preallocation the frame is refused and missing. Earlier frames stay, and later ones can be written."""
    scan = begin_scan(
        *(small_disk, "data", (4, MIB), "u1"), numbered=False, replace_existing=False, grid_ndim=1, preallocate=False
    )
    scan[0] = np.full(MIB, 1, "u1")
    filler = fill_up(small_disk)
    for _ in range(2):
        with pytest.raises(DiskFullError) as caught:
            scan[1] = np.full(MIB, 2, "u1")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(scan.part_path))
    assert scan.written.tolist() == [True, False, False, False]
    filler.unlink()
    scan[2] = np.full(MIB, 3, "u1")
    scan.close()
    assert load_export(scan.path).data[:, :: MIB - 1].tolist() == [[1, 1], [0, 0], [3, 3], [0, 0]]


def test_a_rewrite_on_a_full_disk_leaves_the_old_version(small_disk: Path) -> None:
    """The redo log is not preallocated."""
    scan = lys_storage.create(small_disk / "data.npz", (2, MIB), "u1", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.full(MIB, 1, "u1")
    fill_up(small_disk)
    with pytest.raises(DiskFullError):
        scan[0] = np.full(MIB, 2, "u1")
    scan[1] = np.full(MIB, 3, "u1")
    scan.close()
    assert load_export(scan.path).data[:, :: MIB - 1].tolist() == [[1, 1], [3, 3]]


def test_a_full_disk_never_kills_the_process(small_disk: Path, run_child: Callable[..., Any]) -> None:
    """A store through a map of a hole on a full disk is a SIGBUS, which kills Python. Here it is an exception."""
    child = run_child(
        """
import sys, numpy as np, lys_storage
from pathlib import Path
from lys_storage.scan import begin_scan
disk, refused = Path(sys.argv[1]), 0
scan = begin_scan(disk, "data", (300, 300, 60), "u1", numbered=False, replace_existing=False, preallocate=False)
with open(disk / "filler", "wb", buffering=0) as filler:
    for i in range(300):
        try:
            filler.write(bytes(1 << 16))
        except OSError:
            pass
        for index, frame in [((i, 3), np.ones(60, "u1")), ((i,), np.ones((300, 60), "u1"))]:
            try:
                scan[index] = frame
            except lys_storage.DiskFullError:
                refused += 1
(disk / "filler").unlink()
scan.close()
print("alive", refused > 0)
""",
        small_disk,
    )
    assert (child.code, child.out.split()) == (0, ["alive", "True"]), child.err
    assert files(small_disk) == {"data.npz"}
    load_export(small_disk / "data.npz")


def test_the_tail_has_its_room_also_where_another_takes_every_byte_that_is_given_back(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lys_storage.create(small_disk / "a.npz", (4, MIB), "u1", grid_ndim=1)
    assert scan.part_path.stat().st_size == scan.array.offset + 4 * MIB  # the reserved space is after the end
    fill_up(small_disk)
    real = File.set_size

    def set_size(file: File, size: int) -> None:
        real(file, size)
        fill_up(small_disk).rename(small_disk / f"filler {os.urandom(4).hex()}")

    monkeypatch.setattr(File, "set_size", set_size)
    for k in range(4):
        scan[k] = np.full(MIB, k + 1, "u1")
    scan.note = {"a": "b" * 20_000}
    path = scan.close()
    assert load_export(path).data[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.skipif(sys.platform != "linux", reason="space is claimed on Linux")
@pytest.mark.parametrize(("size", "is_cut"), [(1 << 16, True), (20 * MIB, False)])
def test_what_is_left_of_the_room_is_given_back_where_that_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, is_cut: bool
) -> None:
    cut: list[int] = []
    real = File.set_size
    monkeypatch.setattr(File, "set_size", lambda file, size: (cut.append(size), real(file, size)))
    with lys_storage.create(tmp_path / "a.npz", (1, size), "u1", grid_ndim=1) as scan:
        scan[0] = np.ones(size, "u1")
        before = len(cut)
    assert len(cut) - before == int(is_cut)
    stat = (tmp_path / "a.npz").stat()
    assert stat.st_blocks * 512 <= stat.st_size + (1 << 13 if is_cut else 1 << 17)
    assert load_export(tmp_path / "a.npz").data.sum() == size


# -- a preallocation that fails in the background ----------------------------------------------------------------------


def test_the_error_handler_of_a_failed_preallocation_may_ask_the_scan_while_its_dtype_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, changing = threading.Event(), threading.Event()
    asked: list[int] = []
    real = File.preallocate

    def preallocate(self: File, *args: Any, **more: Any) -> bool:
        if threading.current_thread() is threading.main_thread():
            return real(self, *args, **more)
        under_way.set()
        assert changing.wait(DEADLINE_S)
        raise lys_storage.DiskFullError(errno.ENOSPC, "injected", "x")

    def failed(error: Exception) -> None:
        threading.Event().wait(0.1)  # until a thread waits for the preallocation while it holds the lock
        asked.append(len(list(scan.missing())))

    monkeypatch.setattr(preallocation_module, "_AT_ONCE_S", 0.0)
    monkeypatch.setattr(File, "preallocate", preallocate)
    scan = begin_scan(
        *(tmp_path, "data", (8, 64), "u1"),
        numbered=False,
        replace_existing=False,
        grid_ndim=1,
        flush_interval_s=None,
        on_error=failed,
    )
    assert under_way.wait(DEADLINE_S)
    laying = threading.Thread(target=scan.change_dtype, args=("u2",))
    monkeypatch.setattr(preallocation_module, "_AT_ONCE_S", 1.0)
    monkeypatch.setattr(File, "preallocate", lambda *args, **more: True)
    laying.start()
    changing.set()
    laying.join(DEADLINE_S)
    assert not laying.is_alive()
    assert wait_until(lambda: asked)
    assert asked == [8]
    scan.suspend()
