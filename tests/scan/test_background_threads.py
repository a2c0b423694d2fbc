"""The threads behind the writer: checksums long before the end, woken when there is work, resting after a failure."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.journal import BLOCK_CHECKSUMMED, CHECKSUMMED
from lys_storage.scan import begin_scan
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan.checksum_thread import checksum_batch_bytes
from tests.helpers import DEADLINE_S, wait_until
from tests.store.small_blocks import states


@pytest.mark.usefixtures("small_blocks", "states_are")
@pytest.mark.parametrize("size", [1 << 20, 1 << 14], ids=["frames that stand alone", "frames in blocks"])
def test_checksums_are_taken_behind_the_writer_long_before_the_end(tmp_path: Path, size: int) -> None:
    """What is left for the end to do is a few frames, however many have come: without a flush as well."""
    frames = 3 * checksum_batch_bytes(size) // size
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": None}
    scan = begin_scan(tmp_path, "a", (frames, size), "u1", **options)
    value = np.ones(size, "u1")
    for k in range(frames):
        scan[k] = value

    def checked_bytes() -> int:
        return int(np.isin(scan._store.journal.states.array, (CHECKSUMMED, BLOCK_CHECKSUMMED)).sum()) * size

    assert wait_until(lambda: checked_bytes() >= checksum_batch_bytes(size))
    scan.close()


@pytest.mark.usefixtures("small_blocks", "states_are")
def test_an_interrupt_while_the_checksum_thread_is_woken_has_it_woken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (8, 100), "u1", grid_ndim=1, flush_interval_s=60.0)
    scan[0] = np.ones(100, "u1")
    part, follower = scan._store, scan._workers
    assert follower is not None
    assert part.table.wake_at_bytes == checksum_batch_bytes(100)
    part.table.wake_at_bytes, follower._to_disk.knows = 0, False  # as after a flush

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(follower._to_disk._wake, "set", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan[1] = np.ones(100, "u1")
    assert (part.table.wake_at_bytes, follower._to_disk.knows) == (0, False)
    scan[2] = np.ones(100, "u1")
    assert (part.table.wake_at_bytes, follower._to_disk.knows) == (checksum_batch_bytes(100), True)
    scan.close()


@pytest.mark.usefixtures("small_blocks", "states_are")
@pytest.mark.parametrize("interval", [None, 60.0])
def test_a_checksum_thread_that_fails_rests_before_it_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float | None
) -> None:
    """For AGAIN_S (a rest takes no time here, and the disk is mended in the third)."""
    done: list[Any] = []
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 12.5)
    scan = lys_storage.create(tmp_path / "a.npz", (24, 1 << 18), "u1", grid_ndim=1, flush_interval_s=interval)
    scan._failed = lambda error: done.append("told")
    part = scan._store
    failing = threading.Event()
    failing.set()
    real = part._rewriter.retry_pending

    def settle() -> None:
        if failing.is_set():
            assert scan._workers is not None
            monkeypatch.setattr(scan._workers._ended, "wait", rest)
            raise lys_storage.StorageOSError(5, "it cannot be put in its place", "x")
        real()

    def rest(seconds: float) -> None:
        done.append(seconds)
        if done.count(seconds) == 3:
            failing.clear()

    monkeypatch.setattr(part, "settle_rewrites", settle)
    part.table.dirty_backlog.append((0, 8))
    part.table.wake_at_bytes = 1 << 62
    for k in range(24):
        scan[k] = np.ones(1 << 18, "u1")
    scan._writer._notify_written(part)
    assert wait_until(lambda: states(scan)[:8] == [CHECKSUMMED] * 8)
    assert done == ["told", 12.5] * 3
    scan.close()


def test_a_background_flush_that_fails_is_tried_again_also_where_no_more_frames_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frame of an hour was promised within a second, and the detector is waiting for a sample."""
    monkeypatch.setattr("lys_storage.scan.flush_thread.AGAIN_S", 0.02)
    real, told, done = File.sync, [], threading.Event()

    def sync(self: File) -> None:
        if self.path.name.endswith(".part") and len(told) < 3:
            raise lys_storage.StorageOSError(errno.EIO, "injected", str(self.path))
        real(self)
        if self.path.name.endswith(".journal"):
            done.set()

    monkeypatch.setattr(File, "sync", sync)
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": 0.01}
    scan = begin_scan(tmp_path, "data", (4, 8), "u1", on_error=told.append, **options)
    scan[0] = np.arange(8, dtype="u1")
    assert done.wait(DEADLINE_S)
    assert [type(error) for error in told] == [lys_storage.StorageOSError] * 3
    scan.suspend()
