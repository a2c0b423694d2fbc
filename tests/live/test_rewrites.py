"""A frame that is being rewritten is read as its old or its new version, never as a mixture, and is told again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import MissingFrameError
from lys_storage.disk import File
from lys_storage.journal import REWRITING, WRITTEN, RedoLog
from lys_storage.reading import ScanInProgress
from lys_storage.store.rewriter import Rewriter
from tests.helpers import DEADLINE_S, wait_until
from tests.live.writers import Writer
from tests.systems import IS_WINDOWS

Follow = Callable[..., lys_storage.Follower]


@pytest.mark.parametrize(
    ("frame", "flush_interval_s"),
    [
        pytest.param(3, 0.01, id="small frames, many flushes"),
        pytest.param(3, None, id="small frames, no flush"),
        pytest.param(1 << 19, 0.01, id="1 MiB, many flushes"),
        pytest.param(1 << 19, 1.0, id="1 MiB, some flushes"),
    ],
)
def test_no_half_frame_is_read_while_a_process_rewrites_at_full_speed(
    writer: Writer, follow: Follow, frame: int, flush_interval_s: float | None
) -> None:
    """Each version of a frame is filled with one value. The follower reads single frames, and both at once."""
    writer.create((2, frame), flush_interval_s=flush_interval_s)
    writer.do("scan[0] = np.zeros(scan.frame_shape, 'u2'); scan[1] = np.zeros(scan.frame_shape, 'u2')")
    writer.do("import time")
    loop = "k = 0\nwhile time.monotonic() < end:\n k += 1\n scan[k % 2] = np.full(scan.frame_shape, k % 60000, 'u2')"
    seconds = 8.0 if IS_WINDOWS else 1.3  # the shortest pause of a read that tries again is 16 ms there
    writer.begin(f"end = time.monotonic() + {seconds + 0.2}; exec({loop!r})")
    follower = follow()
    end = time.monotonic() + seconds
    reads, seen = 0, set()
    while time.monotonic() < end:
        for rows in (follower.read(reads % 2)[None], follower.data.read()):
            assert (rows == rows[:, :1]).all(), "half a frame"
            seen |= set(rows[:, 0].tolist())
        reads += 1
    writer.wait()
    assert reads > 20
    assert len(seen) > 20, "the frames were not rewritten while they were read"
    writer.begin("last = [int(scan[i][0]) for i in range(2)]; scan.close(); print(*last, flush=True)")
    assert writer.process.stdout is not None
    last = [int(word) for word in writer.process.stdout.readline().split()]
    writer.wait()
    assert [int(follower.read(i)[0]) for i in range(2)] == last


@pytest.fixture
def scan(tmp_path: Path) -> Any:
    scan = lys_storage.create(tmp_path / "a.npz", (4, 1000), "u2", grid_ndim=1, flush_interval_s=None)
    for i in range(3):
        scan[i] = np.full(1000, i + 1, "u2")
    yield scan
    scan.close()


class Halfway:
    """Stops each rewrite at a moment: `reached` is set there, and it goes on after `go` was set."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def stop(self) -> None:
        self.reached.set()
        assert self.go.wait(DEADLINE_S)


@pytest.fixture(params=["before its state changes", "before its bytes", "within its bytes", "after its bytes"])
def halfway(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Halfway:
    stop, moment = Halfway(), request.param
    put, apply = Rewriter._put_in_place, RedoLog.apply

    def stopping_put(self: Rewriter, record: Any) -> None:
        if moment == "before its state changes":
            stop.stop()
        put(self, record)

    def stopping_apply(self: RedoLog, record: Any, file: File) -> None:
        if moment == "before its bytes":
            stop.stop()
        elif moment == "within its bytes":
            half = self.file.read_at(record.size // 2, record.at)
            file.write_at(half, record.offset)
            stop.stop()
        apply(self, record, file)
        if moment == "after its bytes":
            stop.stop()

    monkeypatch.setattr(Rewriter, "_put_in_place", stopping_put)
    monkeypatch.setattr(RedoLog, "apply", stopping_apply)
    return stop


def test_at_each_moment_of_a_rewrite_a_whole_version_is_read(scan: Any, follow: Follow, halfway: Halfway) -> None:
    follower = follow()
    assert follower.poll() == [(0,), (1,), (2,)]
    thread = threading.Thread(target=scan.update, args=({(1,): np.full(1000, 9, "u2")},))
    thread.start()
    assert halfway.reached.wait(DEADLINE_S)
    try:
        for found in (follower.read(1), follower.data.read(1), follower.data.read()[1]):
            assert set(found.tolist()) in ({2}, {9})
        assert set(follower.read(0).tolist()) == {1}
        assert follower.written.tolist() == [True, True, True, False]
    finally:
        halfway.go.set()
        thread.join(DEADLINE_S)
    assert set(follower.read(1).tolist()) == {9}
    scan.flush()
    assert (1,) in follower.poll()


def test_a_rewrite_between_the_two_looks_at_a_state_is_found(
    scan: Any, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins after the first look, ends before the second one, and half of the bytes are read in between."""
    follower = follow()
    real, rewrites = ScanInProgress._read, []

    def torn(self: ScanInProgress, rows: Any, first: int) -> None:
        real(self, rows, first)
        if len(rewrites) < 3:
            rewrites.append(len(rewrites) + 10)
            scan[1] = np.full(1000, rewrites[-1], "u2")
            if len(rewrites) == 2:
                scan.flush()  # empties the redo log
            flat = rows.reshape(-1).view("u2")
            flat[: flat.size // 2] = rewrites[-1]

    monkeypatch.setattr(ScanInProgress, "_read", torn)
    assert set(follower.read(1).tolist()) == {12}
    assert len(rewrites) == 3


def test_a_rewrite_whose_record_was_there_before_the_first_look_is_found(
    scan: Any, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is the newest one before the read begins. The rest of it happens while the bytes are read."""
    appended, go = threading.Event(), threading.Event()
    put, real = Rewriter._put_in_place, ScanInProgress._read

    def stopping_put(self: Rewriter, record: Any) -> None:
        appended.set()
        assert go.wait(DEADLINE_S)
        put(self, record)

    def torn(self: ScanInProgress, rows: Any, first: int) -> None:
        real(self, rows, first)
        if not go.is_set():
            go.set()
            thread.join(DEADLINE_S)
            flat = rows.reshape(-1).view("u2")
            flat[: flat.size // 2] = 9

    follower = follow()
    follower.poll()
    monkeypatch.setattr(Rewriter, "_put_in_place", stopping_put)
    thread = threading.Thread(target=scan.update, args=({(1,): np.full(1000, 9, "u2")},))
    thread.start()
    assert appended.wait(DEADLINE_S)
    monkeypatch.setattr(ScanInProgress, "_read", torn)
    assert set(follower.read(1).tolist()) == {9}
    assert go.is_set()


@pytest.mark.parametrize("is_flushed", [False, True], ids=["before a flush", "after a flush"])
def test_a_frame_that_is_rewritten_is_told_again(scan: Any, follow: Follow, is_flushed: bool) -> None:
    """Once, if it was rewritten several times between two polls; also if the redo log was emptied before the second one."""
    scan.flush()
    follower = follow()
    assert len(follower.poll()) == 3
    for value, frame in [(5, 0), (6, 2), (7, 2)]:
        scan[frame] = np.full(1000, value, "u2")
    if is_flushed:
        scan.flush()
    assert follower.poll() == [(0,), (2,)]
    scan.flush()
    assert set(follower.poll()) <= {(0,), (2,)}
    assert (follower.poll(), follower.frames_written, follower.newest) == ([], 3, (2,))


def test_a_rewrite_just_before_the_end_is_told(scan: Any, follow: Follow) -> None:
    scan.flush()
    follower = follow()
    assert len(follower.poll()) == 3
    scan[1] = np.full(1000, 9, "u2")
    scan.close()
    assert (follower.poll(), follower.state) == ([(1,)], "finished")


def test_of_small_frames_that_share_a_checksum_those_of_the_block_are_told(
    tmp_path: Path, follow: Follow, small_blocks: None
) -> None:
    """Nothing tells which of them was rewritten, if the redo log was emptied before the poll."""
    scan = lys_storage.create(tmp_path / "b.npz", (24, 5), "u2", grid_ndim=1, flush_interval_s=None)
    scan[:] = np.zeros((24, 5), "u2")
    scan.flush()
    follower = follow("b.npz")
    assert len(follower.poll()) == 24
    scan[9] = np.ones(5, "u2")
    scan.flush()
    found = follower.poll()
    assert (9,) in found
    assert set(found) <= {(i,) for i in range(8, 16)}
    scan.close()


def test_a_frame_with_a_checksum_that_is_rewritten_is_told_at_once(scan: Any, follow: Follow) -> None:
    scan.flush()
    follower = follow()
    assert len(follower.poll()) == 3
    for value in range(5):
        scan[1] = np.full(1000, value, "u2")
        scan._store.checksum_dirty()
        assert follower.poll() == ([(1,)] if value else [])
    scan.flush()
    assert follower.poll() == [(1,)]


def test_a_rewrite_that_failed_leaves_the_old_version(
    scan: Any, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record stays in the redo log."""

    def fail(self: Any) -> None:
        raise OSError("injected")

    follower = follow()
    with monkeypatch.context() as patch:
        patch.setattr(type(scan._store._rewriter._behind), "begin_overwrite", fail)
        with pytest.raises(OSError, match="injected"):
            scan[1] = np.full(1000, 9, "u2")
    assert set(follower.read(1).tolist()) == {2}


def test_a_frame_that_its_dead_writer_was_rewriting_is_read_from_the_redo_log(
    tmp_path: Path, scan: Any, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its record it is an error that says so."""
    follower = follow()
    monkeypatch.setattr(RedoLog, "apply", lambda self, record, file: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        scan[1] = np.full(1000, 9, "u2")
    monkeypatch.undo()
    assert scan._store.journal.states.raw[1] == REWRITING
    assert set(follower.read(1).tolist()) == {9}
    redo = tmp_path / "a.npz.part.redo"
    redo.rename(tmp_path / "moved")
    monkeypatch.setattr("lys_storage.reading.scan_in_progress._MOST_ATTEMPTS", 12)
    with pytest.raises(
        MissingFrameError, match=r"frame \(1,\) .* is being rewritten, and no version of it could be read"
    ):
        follower.read(1)
    (tmp_path / "moved").rename(redo)
    scan._store.retry_pending() if hasattr(scan._store, "retry_pending") else scan.flush()
    assert scan._store.journal.states.raw[1] >= WRITTEN


def test_rewrites_in_another_process_are_told_to_a_function(writer: Writer, follow: Follow) -> None:
    writer.create((2, 100), flush_interval_s=0.01)
    writer.write(0, 1)
    follower, seen = follow(), []
    follower.changed.connect(lambda index: seen.append((index, int(follower.read(index)[0]))))
    assert wait_until(lambda: len(seen) == 2)
    writer.do("scan[0] = np.full(100, 50, 'u2')")
    assert wait_until(lambda: ((0,), 50) in seen)
