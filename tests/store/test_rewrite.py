"""A rewritten frame is its old or its new version, also after a crash, and never a mixture."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan, StorageOSError
from lys_storage.journal import ABSENT, CHECKSUMMED, WRITING, WRITTEN, Journal, RedoLog
from lys_storage.journal.frame_state import FrameStates
from lys_storage.store import Checksummer
from lys_storage.store.rewriter import Rewriter
from tests.helpers import DEADLINE_S, assert_same_array, copies_are_trusted, files, in_threads, raising
from tests.scan.scans import begin, saved
from tests.store.one_block import FRAMES, SIZE, after_a_cut, assert_export, begun, lose_frame_0, value

# -- the last version is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["nothing", "checksum_dirty", "flush"])
def test_of_a_frame_that_comes_twice_the_last_one_counts(tmp_path: Path, between: str) -> None:
    """Its old version has no checksum, has one, or is durable. The new one goes through the redo log in each case."""
    scan = begin(tmp_path, (3, 4), "u2")
    scan[1] = np.full(4, 1, "u2")
    if between != "nothing":
        getattr(scan._store, between)()
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}
    scan[1] = np.full(4, 2, "u2")
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal", "data.npz.part.redo"}
    scan[1] = np.full(4, 3, "u2")
    assert (scan.frames_written, scan.complete) == (1, False)
    assert_same_array(saved(scan), np.array([[0] * 4, [3] * 4, [0] * 4], "u2"))
    assert files(tmp_path) == {"data.npz"}


def test_a_row_over_points_of_which_some_have_come_replaces_them_and_counts_each_once(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 3, 2), "u1")
    scan[0, 1] = np.full(2, 1, "u1")
    scan[0] = np.full((3, 2), 2, "u1")
    scan[:, 2] = np.full((2, 2), 3, "u1")
    assert scan.written.tolist() == [[True, True, True], [False, False, True]]
    assert_same_array(saved(scan), np.array([[[2, 2], [2, 2], [3, 3]], [[0, 0], [0, 0], [3, 3]]], "u1"))


def test_a_flush_ends_what_the_redo_log_holds(tmp_path: Path) -> None:
    """Rewriting for days does not fill the disk."""
    with begin(tmp_path, (2, 1000), "u1", grid_ndim=1) as scan:
        redo, sizes = tmp_path / "data.npz.part.redo", []
        for k in range(6):
            scan[0] = np.full(1000, k, "u1")
            if redo.exists():
                sizes.append(redo.stat().st_size)
            scan.flush()
        assert len(set(sizes)) == 1
        assert redo.stat().st_size == 0


# -- while checksums are taken or the scan ends ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 200_000], ids=["small frames", "larger ones"])
def test_a_frame_that_is_rewritten_in_a_loop_while_the_scan_is_closed_never_spoils_the_export(
    tmp_path: Path, size: int
) -> None:
    """zipfile.testzip, which load_export runs, accepts the export at any moment, and the frame is one version."""
    for attempt in range(12):
        scan = begin(tmp_path / str(attempt), (3, size), "u1", flush_interval_s=(None, 0.001, 0)[attempt % 3])
        begun = threading.Event()

        def rewrite(scan: Scan, begun: threading.Event, at_least: int) -> None:
            buffer = np.empty(size, "u1")
            with contextlib.suppress(lys_storage.ScanClosedError):
                for k in itertools.count():
                    buffer[:] = 1 + k % 200
                    scan[1] = buffer
                    buffer[:] = 255
                    if k >= at_least:
                        begun.set()

        writer = threading.Thread(target=rewrite, args=(scan, begun, attempt))
        writer.start()
        assert begun.wait(DEADLINE_S)
        data = saved(scan)
        writer.join(DEADLINE_S)
        assert not writer.is_alive()
        assert (data[0].any(), data[2].any(), len(set(data[1].tolist()))) == (False, False, 1)
        assert 1 <= data[1, 0] <= 200


@pytest.mark.usefixtures("python_sums")
def test_a_frame_that_is_rewritten_while_its_checksum_is_taken_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum is kept only if the frame did not change meanwhile. Those of its neighbours are kept."""
    scan, real, taken = begin(tmp_path, (3, 8), "u1"), Checksummer.sums, []
    scan[0], scan[1] = np.full(8, 1, "u1"), np.full(8, 2, "u1")

    def sums(self: Checksummer, numbers: Any, size: int) -> Any:
        result = real(self, numbers, size)
        if len(result):
            taken.append(len(result))
            if len(taken) == 1:
                scan[1] = np.full(8, 3, "u1")
        return result

    monkeypatch.setattr(Checksummer, "sums", sums)
    scan._store.checksum_dirty()
    assert scan._store.journal.states.array.tolist() == [CHECKSUMMED, WRITTEN, ABSENT]
    assert saved(scan).tolist() == [[1] * 8, [3] * 8, [0] * 8]
    assert taken == [2, 1]


def test_a_rewrite_that_failed_in_its_place_does_not_come_after_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path)
    scan.flush()
    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "apply", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan[3] = value(3, 1)
    scan[3] = value(3, 2)
    scan.flush()
    assert_export(scan.close(), {k: 2 * (k == 3) for k in range(8)})


@pytest.mark.usefixtures("python_sums")
def test_a_flush_promises_the_other_frames_of_a_block_in_which_a_rewrite_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, real, once = begun(tmp_path, FRAMES), Checksummer.sums, [True]

    def sums(self: Checksummer, numbers: Any, size: int) -> Any:
        result = real(self, numbers, size)
        if once and len(numbers):
            once.clear()
            in_threads(lambda: scan.write(3, value(3, 1)))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Checksummer, "sums", sums)
        scan.flush()
    assert_export(after_a_cut(tmp_path, monkeypatch), {k: int(k == 3) for k in range(FRAMES)})
    scan.close()


def test_a_flush_promises_the_old_version_of_a_frame_whose_rewrite_has_not_begun_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewrite is registered, and waits. If it fails later the old version stays."""
    scan, inside, go_on = begun(tmp_path), threading.Event(), threading.Event()

    def rewrite(*args: Any) -> None:
        inside.set()
        assert go_on.wait(DEADLINE_S)
        raising(errno.ENOSPC)()

    def write() -> None:
        with pytest.raises(StorageOSError):
            scan.write(3, value(3, 1))

    with monkeypatch.context() as patch:
        patch.setattr(Rewriter, "rewrite", rewrite)
        writer = threading.Thread(target=write)
        writer.start()
        assert inside.wait(DEADLINE_S)
        scan.flush()
        go_on.set()
        writer.join(DEADLINE_S)
    assert_export(after_a_cut(tmp_path, monkeypatch), dict.fromkeys(range(8), 0))
    scan.close()


def test_a_block_that_is_split_during_the_first_flush_is_promised_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush has already synced the journal when the rewrite gives the other frames their own checksums."""
    scan, real, durable = begun(tmp_path, FRAMES), Journal.sync, []

    def sync(self: Journal) -> None:
        real(self)
        durable.append(self.path.read_bytes())
        if len(durable) == 1:
            in_threads(lambda: scan.write(3, value(3, 1)))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", sync)
        scan.flush()
    path = after_a_cut(tmp_path, monkeypatch, durable[-1])
    assert_export(path, {k: int(k == 3) for k in range(FRAMES)})
    scan.close()


def test_after_a_kill_an_old_record_does_not_come_over_what_was_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame is rewritten, lost by a failed sync, and written again. Its record is still in the redo log."""
    scan = begun(tmp_path, 1)
    store = scan._store
    scan[0] = value(0, 1)
    lose_frame_0(store)
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    assert store.journal.states.raw[0] == WRITING
    scan[0] = value(0, 2)
    shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_killed"))
    with copies_are_trusted():
        (result,) = lys_storage.recover(tmp_path.with_name(f"{tmp_path.name}_killed"))
    assert result.path is not None
    assert_export(result.path, {0: 2})
    scan.close()


def test_a_kill_in_a_rewrite_does_not_bring_back_what_an_older_record_holds_of_other_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has a record of four frames and one of a single one. The process dies while it rewrites another one."""
    scan, real = begun(tmp_path), RedoLog.apply
    scan.flush()
    scan[0:4] = np.stack([value(k, 1) for k in range(4)])
    scan[2] = value(2, 2)

    def killed(self: RedoLog, record: Any, file: Any) -> None:
        file.write_at(bytes(SIZE // 2), record.offset)
        shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_killed"))
        real(self, record, file)

    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "apply", killed)
        scan[1] = value(1, 2)
    with copies_are_trusted():
        (result,) = lys_storage.recover(tmp_path.with_name(f"{tmp_path.name}_killed"))
    assert result.path is not None
    assert_export(result.path, {0: 1, 1: 2, 2: 2, 3: 1, **dict.fromkeys(range(4, 8), 0)})
    scan.close()


# -- the redo log and its epochs --------------------------------------------------------------------------------------


def test_a_rewrite_that_was_refused_before_it_touched_anything_is_not_made_up_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full copy-on-write disk no flush would succeed."""
    scan = begun(tmp_path)
    scan.flush()
    with monkeypatch.context() as patch:
        patch.setattr(FrameStates, "begin_rewrite", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan[3] = value(3, 1)
    assert scan._store._rewriter._pending == []
    scan.flush()
    assert_export(scan.close(), dict.fromkeys(range(8), 0))


def test_a_rewrite_after_an_interrupted_new_epoch_makes_it_durable_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the epoch on the disk, records of the new epoch would be invalid."""
    scan = begun(tmp_path)
    scan.flush()
    scan[3] = value(3, 1)
    store, syncs = scan._store, []
    real = Journal.sync

    def interrupted(self: Journal) -> None:
        syncs.append(self.epoch)
        if syncs[-1] > syncs[0]:
            raise KeyboardInterrupt
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.flush()
    after: list[str] = []
    append = RedoLog.append
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", lambda self: (after.append("sync"), real(self)))
        patch.setattr(RedoLog, "append", lambda *args: (after.append("record"), append(*args))[1])
        scan[3] = value(3, 2)
    assert after.index("sync") < after.index("record")
    assert store._rewriter._epoch_is_durable
    assert_export(scan.close(), {k: 2 * (k == 3) for k in range(8)})


def test_a_rewrite_that_was_stored_raises_nothing_where_a_close_comes_before_its_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread closes the scan between a rewrite that fills the redo log and the flush that would empty it."""
    scan = begun(tmp_path)
    scan.flush()
    closing = threading.Thread(target=scan.close)

    def over_limit(self: Rewriter) -> bool:
        closing.start()
        closing.join(DEADLINE_S)
        return True

    monkeypatch.setattr(Rewriter, "over_limit", property(over_limit))
    scan[3] = value(3, 1)
    assert not closing.is_alive()
    assert_export(scan.path, {k: int(k == 3) for k in range(8)})
