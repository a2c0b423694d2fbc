"""The page cache of a scan that is larger than it may hold: write-back, drop, the limit for the writer, and faults."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import WRITES_BACK, File, PageCache
from lys_storage.disk import memory as memory_module
from lys_storage.disk import page_cache as page_cache_module
from lys_storage.disk.systems import SYSTEM, linux_memory
from lys_storage.scan import write_behind_thread as thread_module
from lys_storage.store import WriteBehind
from tests.helpers import DEADLINE_S, assert_same_array, wait_until
from tests.scan.background import FRAME, refuse_threads, threads
from tests.scan.page_cache import cached

pytestmark = pytest.mark.skipif(not WRITES_BACK, reason="only Linux has the calls for the page cache")

MiB = 1 << 20
THREAD = "lys_storage write-behind"


@pytest.fixture
def on_ext4(tmp_path: Path) -> None:
    probe = File.create(tmp_path / "probe")
    drops = SYSTEM.pays_to_drop_pages(probe.fd)
    probe.close()
    (tmp_path / "probe").unlink()
    if not drops:
        pytest.skip("pages are not dropped on this file system")


def value(number: int) -> Any:
    return np.full(FRAME, number % 251, "u1")


def begin(folder: Path, frames: int, **options: Any) -> lys_storage.Scan:
    options = {"flush_interval_s": None, "burst_bytes": 16 * MiB, "cached_bytes": 8 * MiB, **options}
    return lys_storage.create(folder / "a.npz", (frames, FRAME), "u1", grid_ndim=1, **options)


def assert_holds(path: Path, frames: int) -> None:
    assert lys_storage.verify(path) == []
    with lys_storage.open_wave(path) as wave:
        assert_same_array(wave.data, np.stack([value(k) for k in range(frames)]))


# -- what stays in the page cache -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_ext4")
@pytest.mark.parametrize("order", ["forwards", "backwards", "random"])
def test_only_the_newest_frames_stay_in_the_page_cache(tmp_path: Path, order: str) -> None:
    frames = 160
    numbers = {"forwards": range(frames), "backwards": range(frames - 1, -1, -1)}.get(order)
    chosen = list(numbers or np.random.default_rng(3).permutation(frames).tolist())
    most = 0
    with begin(tmp_path, frames) as scan:
        for k, number in enumerate(chosen):
            scan[number] = value(number)
            if k % 16 == 15:
                most = max(most, cached(scan.part_path).all)
        assert wait_until(lambda: cached(scan.part_path).all <= 64 * MiB)
        assert cached(scan.part_path).all >= 8 * MiB  # of the newest
    assert most <= (8 + 16 + 64) * MiB  # kept; ahead of the disk; on their way, or waiting for a neighbour
    assert_holds(scan.path, frames)


@pytest.mark.usefixtures("on_ext4")
def test_checksums_are_not_read_from_the_disk(tmp_path: Path) -> None:
    """Every frame has its checksum before its pages are dropped. The export reads none either."""
    before = _read_bytes()
    with begin(tmp_path, 160, flush_interval_s=0.05) as scan:
        for number in range(160):
            scan[number] = value(number)
    assert _read_bytes() - before < MiB
    assert_holds(scan.path, 160)


def _read_bytes() -> int:
    """Bytes that this process has made the disk read."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    raise AssertionError("/proc/self/io has no read_bytes")


@pytest.mark.usefixtures("on_ext4")
def test_a_page_that_a_reader_has_mapped_stays(tmp_path: Path) -> None:
    with begin(tmp_path, 64) as scan:
        scan[0] = value(0)
        assert scan.array[0, 0] == 0  # the page is mapped now
        for number in range(1, 64):
            scan[number] = value(number)
        assert wait_until(lambda: cached(scan.part_path).all <= 40 * MiB)
        assert (scan.array[:64, ::4096] == np.arange(64)[:, None] % 251).all()


@pytest.mark.usefixtures("on_ext4")
def test_all_of_a_scan_stays_if_that_is_wanted(tmp_path: Path) -> None:
    with begin(tmp_path, 64, cached_bytes=64 * MiB) as scan:
        for number in range(64):
            scan[number] = value(number)
        scan.flush()
        time.sleep(0.1)
        assert cached(scan.part_path).all >= 60 * MiB


def test_a_small_scan_has_no_such_thread(tmp_path: Path) -> None:
    with begin(tmp_path, 8) as scan:
        for number in range(8):
            scan[number] = value(number)
        assert THREAD not in threads()


def test_its_thread_ends_with_the_scan(tmp_path: Path) -> None:
    for end in ("suspend", "close"):
        scan = begin(tmp_path, 64, overwrite=True)
        for number in range(40):
            scan[number] = value(number)
        assert THREAD in threads()
        getattr(scan, end)()
        assert wait_until(lambda: not threads())
        if end == "suspend":
            lys_storage.resume(scan.path).close()


def test_its_thread_ends_with_a_scan_that_is_dropped(tmp_path: Path) -> None:
    scan = begin(tmp_path, 64)
    for number in range(40):
        scan[number] = value(number)
    assert THREAD in threads()
    with pytest.warns(ResourceWarning):
        del scan
    assert wait_until(lambda: not threads())
    lys_storage.resume(tmp_path / "a.npz").suspend()


def test_a_scan_is_dropped_in_a_thread_that_holds_the_lock(tmp_path: Path) -> None:
    """A garbage collection can run anywhere: stop() must not wait for that thread."""
    with begin(tmp_path, 64) as scan:
        scan[0] = value(0)
        behind = scan._workers._write_behind
        assert behind is not None
        with scan._store.write_behind.changed:
            behind.stop()
            scan._store.write_behind.changed.notify_all()  # as add() does before it releases the lock
        assert wait_until(lambda: THREAD not in threads())


def test_a_thread_that_cannot_start_leaves_the_pages_to_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The frame is stored, and its write raises nothing."""
    refuse_threads(monkeypatch, THREAD)
    with begin(tmp_path, 64) as scan:
        for number in range(64):
            scan[number] = value(number)
        assert scan._store.write_behind.cached_bytes is None
    assert caplog.text.count("the write-behind thread did not start") == 1
    assert_holds(scan.path, 64)


# -- the limit for the writer ---------------------------------------------------------------------------------------------


class SlowDisk:
    """A disk whose write-back waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let_go, self.error = threading.Event(), False
        self._real = PageCache.write_back
        monkeypatch.setattr(PageCache, "begin_write_back", lambda cache, offset, size: None)
        monkeypatch.setattr(PageCache, "write_back", lambda cache, offset, size: self.write_back(cache, offset, size))

    def write_back(self, cache: PageCache, offset: int, size: int) -> None:
        self.let_go.wait(DEADLINE_S)
        self._real(cache, offset, size)


def written_by(scan: lys_storage.Scan, frames: int) -> threading.Thread:
    def write() -> None:
        for number in range(frames):
            scan[number] = value(number)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@pytest.mark.usefixtures("on_ext4")
def test_the_writer_waits_where_it_is_a_burst_ahead_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    scan = begin(tmp_path, 128)
    writer = written_by(scan, 128)
    assert wait_until(lambda: scan.frames_written >= 16)
    time.sleep(0.3)
    assert writer.is_alive()
    assert scan.frames_written <= 16 + 8  # a burst, and a batch until it is asked again
    disk.let_go.set()
    writer.join(DEADLINE_S)
    assert scan.complete
    scan.close()
    assert_holds(scan.path, 128)


@pytest.mark.usefixtures("on_ext4")
def test_a_disk_that_does_not_move_does_not_hold_the_writer_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "_GIVE_UP_S", 0.2)
    disk = SlowDisk(monkeypatch)
    scan = begin(tmp_path, 128)
    writer = written_by(scan, 128)
    writer.join(DEADLINE_S)
    assert scan.complete
    disk.let_go.set()
    scan.close()
    assert_holds(scan.path, 128)


@pytest.mark.usefixtures("on_ext4")
@pytest.mark.parametrize("end", ["suspend", "close"])
def test_a_scan_that_ends_lets_the_writer_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    disk = SlowDisk(monkeypatch)
    scan = begin(tmp_path, 128)
    refused: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(128):
                scan[number] = value(number)
        except lys_storage.ScanClosedError as error:
            refused.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert wait_until(lambda: scan.frames_written >= 16)
    getattr(scan, end)()
    writer.join(DEADLINE_S)
    assert refused
    disk.let_go.set()
    if end == "suspend":
        lys_storage.resume(scan.path).close()
    assert lys_storage.verify(scan.path) == []


@pytest.mark.parametrize(
    ("available", "burst", "cached"),
    [(64, 24, 8), (256, 96, 32), (512, 96, 64), (1024, 128, 64), (8192, 1024, 64), (1 << 20, 1024, 64)],
)
def test_the_burst_is_a_part_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int, burst: int, cached: int
) -> None:
    """An eighth of it; of less than 768 MiB 96 MiB, or three eighths. All in MiB."""
    monkeypatch.setattr(thread_module, "available_memory", lambda: available * MiB)
    assert thread_module.default_burst_bytes() == burst * MiB
    with begin(tmp_path, 64, burst_bytes=None, cached_bytes=None) as scan:
        scan[0] = value(0)
        behind = scan._workers._write_behind
        assert behind is not None
        assert (behind._burst, behind._cached) == (burst * MiB, cached * MiB)


def test_the_memory_of_a_cgroup_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable:    8388608 kB\n")
    (tmp_path / "cgroup").write_text("5:memory:/lab/run\n1:cpu,cpuacct:/\n0::/two\n")
    for name, limit, stat in (
        ("memory/lab/run", "4294967296", "cache 7\ntotal_rss 1073741824\ntotal_cache 9\n"),
        ("memory/lab", "9223372036854771712", "total_rss 1073741824\n"),
    ):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "memory.limit_in_bytes").write_text(limit)
        (tmp_path / name / "memory.stat").write_text(stat)
    monkeypatch.setattr(linux_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(linux_memory, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(linux_memory, "_MOUNTED", tmp_path)
    assert memory_module.available_memory() == 3 << 30
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "memory.max").write_text("max\n")
    assert memory_module.available_memory() == 3 << 30
    (tmp_path / "two" / "memory.max").write_text("1073741824\n")
    (tmp_path / "two" / "memory.stat").write_text("anon 536870912\nfile 4\nkernel 0\n")
    assert memory_module.available_memory() == 1 << 29
    (tmp_path / "cgroup").unlink()
    assert memory_module.available_memory() == 8 << 30
    (tmp_path / "meminfo").unlink()
    assert memory_module.known_available_memory() is None
    assert memory_module.available_memory() == 8 << 30


# -- faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_ext4")
@pytest.mark.parametrize("call", ["begin_write_back", "write_back"])
@pytest.mark.parametrize("interval", [None, 60.0])
def test_after_a_write_back_that_failed_the_frames_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, interval: float | None
) -> None:
    """At once, and before anything is dropped. The file that the kernel lost is played by zeros in it."""
    real, failed = getattr(PageCache, call), threading.Event()
    rewritten: list[tuple[int, int]] = []

    def failing(cache: PageCache, offset: int, size: int) -> None:
        if not failed.is_set():
            failed.set()
            raise StorageOSError(errno.EIO, "write back: I/O error", str(cache.of.path))
        real(cache, offset, size)

    monkeypatch.setattr(PageCache, call, failing)
    scan = begin(tmp_path, 64, flush_interval_s=interval)
    syncer, one = scan._store._syncer, type(scan._store._syncer)._rewrite
    monkeypatch.setattr(syncer, "_rewrite", lambda span: (rewritten.append(span), one(syncer, span)))
    for number in range(64):
        scan[number] = value(number)
    assert failed.wait(DEADLINE_S)
    assert wait_until(lambda: rewritten and not scan._store.journal.file_sync_failed)
    assert rewritten[0][0] == 0
    scan.close()
    assert_holds(scan.path, 64)


def test_too_many_open_files_leave_the_pages_to_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch, begin(tmp_path, 64) as scan:
        patch.setattr(os, "dup", refused)
        for number in range(64):
            scan[number] = value(number)
        assert THREAD not in threads()
    assert_holds(scan.path, 64)


@pytest.mark.parametrize("call", ["fails", "is missing", "is there"])
def test_the_export_is_the_same_whatever_the_system_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """For example in a container that forbids the call."""

    def forbidden(fd: int, offset: int, size: int, *, wait: bool) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(thread_module, "AFTER_S", 0.0)
    if call == "fails":
        monkeypatch.setattr(SYSTEM, "write_back", forbidden)
    elif call == "is missing":
        monkeypatch.setattr(page_cache_module, "WRITES_BACK", False)
    with begin(tmp_path, 64) as scan:
        for number in range(64):
            scan[number] = value(number)
    assert_holds(scan.path, 64)


def test_a_descriptor_that_cannot_be_opened_leaves_the_pages_to_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: File) -> Any:
        raise StorageOSError(errno.EMFILE, "open again: too many open files", os.fspath(file.path))

    monkeypatch.setattr(File, "reopen", refused)
    with begin(tmp_path, 64) as scan:
        for number in range(64):
            scan[number] = value(number)
        assert THREAD not in threads()
    monkeypatch.undo()
    assert_holds(scan.path, 64)


def test_a_burst_is_over_before_anything_is_written_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(thread_module, "AFTER_S", DEADLINE_S)
    monkeypatch.setattr(PageCache, "begin_write_back", lambda cache, offset, size: begun.append(offset))
    with begin(tmp_path, 64, burst_bytes=64 * MiB) as scan:
        for number in range(64):
            scan[number] = value(number)
    assert begun == []


def test_a_scan_that_is_larger_than_a_burst_is_written_back_from_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(thread_module, "AFTER_S", DEADLINE_S)
    monkeypatch.setattr(PageCache, "begin_write_back", lambda cache, offset, size: begun.append(offset))
    with begin(tmp_path, 64, burst_bytes=63 * MiB) as scan:
        for number in range(64):
            scan[number] = value(number)
        assert wait_until(lambda: begun)


def _link(fd: str) -> str:
    """The path of a descriptor; "" for the one that listed them, which is closed."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_drops_nothing(tmp_path: Path) -> None:
    with begin(tmp_path, 64) as scan:
        for number in range(40):
            scan[number] = value(number)
        pid = os.fork()
        if not pid:
            behind: WriteBehind = scan._store.write_behind
            is_closed = not any(_link(fd).endswith("a.npz.part") for fd in os.listdir("/proc/self/fd"))
            os._exit(0 if behind.cached_bytes is None and not behind.pending_bytes and is_closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for number in range(40, 64):
            scan[number] = value(number)
    assert_holds(scan.path, 64)


def test_the_page_cache_has_a_descriptor_of_its_own(tmp_path: Path) -> None:
    """A wait on the writer's descriptor would consume the error that the next sync must report."""
    file = File.create(tmp_path / "file")
    file.write_at(bytes(4096), 0)
    cache = page_cache_module.open_page_cache(file)
    assert cache is not None
    assert cache._fd != file.fd
    assert not os.get_inheritable(cache._fd)
    flags = [Path(f"/proc/self/fdinfo/{fd}").read_text().split("flags:")[1].split()[0] for fd in (cache._fd, file.fd)]
    assert [int(flag, 8) & os.O_ACCMODE for flag in flags] == [os.O_RDONLY, os.O_RDWR]  # two open files
    cache.write_back(0, 4096)
    cache.drop(0, 4096)
    cache.close()
    with pytest.raises(StorageOSError, match="write back"):
        cache.write_back(0, 4096)
    with pytest.raises(StorageOSError, match="drop from the page cache"):
        cache.drop(0, 4096)
    file.close()
