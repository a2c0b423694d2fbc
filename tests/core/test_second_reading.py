"""What a second reading of the core broke: each test is one rule, and failed when it was written."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.core import _finalize, _fs, _space
from lys_storage.core._checks import Checks
from lys_storage.core._create import begin_scan
from lys_storage.core._journal import CHECKED, COMING, REWRITING, WRITTEN, Journal
from lys_storage.core._part import Part
from lys_storage.core._redo import Redo
from lys_storage.core._rewrite import Rewrites
from lys_storage.core._scan import Scan
from tests.core.conftest import Faults
from tests.core.helpers import DEADLINE_S, wait_until

FRAMES, SIZE = 16, 1 << 14


def value(k: int, version: int = 0) -> Any:
    return np.full(SIZE, k + 1 + 100 * version, "u1")


def begun(folder: Path, count: int = 8) -> Scan:
    """Blocks of 16 frames would be of 256 KiB: these are of 16 KiB, 16 of them."""
    scan = lys_storage.create(folder / "a.npz", (FRAMES, SIZE), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(count):
        scan[k] = value(k)
    return scan


def assert_export(path: Path, expected: dict[int, int]) -> None:
    """Each frame is the version that `expected` says, the others are zeros, and every checksum is right."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        for k in range(len(wave.data)):
            assert np.array_equal(wave.data[k], value(k, expected[k]) if k in expected else np.zeros(SIZE, "u1")), k
    assert lys_storage.verify(path.parent) == []


def after_a_cut(folder: Path, monkeypatch: pytest.MonkeyPatch, journal: bytes | None = None) -> Path:
    """The export of what is on disk now, on another boot; `journal`: what of the journal is durable."""
    copy = folder.with_name(f"{folder.name}_cut")
    shutil.copytree(folder, copy)
    if journal is not None:
        (copy / "a.npz.part.journal").write_bytes(journal)
    with monkeypatch.context() as patch:
        patch.setattr(_fs, "boot_id", lambda: "another boot")
        (result,) = lys_storage.recover(copy)
    assert result.path is not None, result.said
    return result.path


def lose_frame_0(part: Part) -> None:
    """As by a sync that failed: it reads as what did not come."""
    part.check()
    part.journal.file_sync_failed = True
    part.file.write_at(b"torn", part.array_offset)


def raising(code: int) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise StorageOSError(code, os.strerror(code), "injected")

    return fail


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_rewrite_that_failed_in_its_place_does_not_come_after_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path)
    scan.flush()
    with monkeypatch.context() as patch:
        patch.setattr(Redo, "apply", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan[3] = value(3, 1)
    scan[3] = value(3, 2)
    scan.flush()
    assert_export(scan.close(), {k: 2 * (k == 3) for k in range(8)})


def test_frames_that_never_came_hold_nothing_of_a_trimmed_save_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tail was written behind the cut; who saves the scan whole afterwards finds it there."""
    scan = begun(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(_finalize, "publish", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.close(trim=True)
    scan.suspend()
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert list(again.missing()) == [(k,) for k in range(3, FRAMES)]
    assert_export(tmp_path / "a.npz", dict.fromkeys(range(3), 0))


@pytest.mark.usefixtures("python_sums")
def test_a_flush_promises_the_other_frames_of_a_block_in_which_a_rewrite_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, real, once = begun(tmp_path, FRAMES), Checks.sums, [True]

    def sums(self: Checks, numbers: Any, size: int) -> Any:
        result = real(self, numbers, size)
        if once and len(numbers):
            once.clear()
            in_a_thread(lambda: scan.write(3, value(3, 1)))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Checks, "sums", sums)
        scan.flush()
    assert_export(after_a_cut(tmp_path, monkeypatch), {k: int(k == 3) for k in range(FRAMES)})
    scan.close()


def test_a_flush_promises_the_old_version_of_a_frame_whose_rewrite_has_not_begun_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is registered, and waits; where it fails then, the old version is what there is."""
    scan, inside, go_on = begun(tmp_path), threading.Event(), threading.Event()

    def rewrite(*args: Any) -> None:
        inside.set()
        assert go_on.wait(DEADLINE_S)
        raising(errno.ENOSPC)()

    def write() -> None:
        with pytest.raises(StorageOSError):
            scan.write(3, value(3, 1))

    with monkeypatch.context() as patch:
        patch.setattr(Rewrites, "rewrite", rewrite)
        writer = threading.Thread(target=write)
        writer.start()
        assert inside.wait(DEADLINE_S)
        scan.flush()
        go_on.set()
        writer.join(DEADLINE_S)
    assert_export(after_a_cut(tmp_path, monkeypatch), dict.fromkeys(range(8), 0))
    scan.close()


def test_a_check_that_ended_in_the_middle_is_made_up_for_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum that could not be written, or Ctrl-C just there, leaves frames CHECKING."""
    monkeypatch.setattr(_fs.File, "keeps_its_place", lambda self: False)
    scan = begun(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "put_checksums", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan.flush()
    scan.flush()
    assert scan._part.journal.mark_array[:8].tolist() == [CHECKED] * 8
    assert_export(after_a_cut(tmp_path, monkeypatch), dict.fromkeys(range(8), 0))
    assert_export(scan.close(), dict.fromkeys(range(8), 0))


def test_a_block_that_is_taken_apart_during_the_first_flush_is_promised_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush has synced the journal already when the rewrite gives the others checksums of their own."""
    scan, real, durable = begun(tmp_path, FRAMES), Journal.sync, []

    def sync(self: Journal) -> None:
        real(self)
        durable.append(self.path.read_bytes())
        if len(durable) == 1:
            in_a_thread(lambda: scan.write(3, value(3, 1)))

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", sync)
        scan.flush()
    path = after_a_cut(tmp_path, monkeypatch, durable[-1])
    assert_export(path, {k: int(k == 3) for k in range(FRAMES)})
    scan.close()


def test_a_mark_that_cannot_be_written_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a frame that a failed sync has lost, on a full disk that copies on write."""
    monkeypatch.setattr(_fs.File, "keeps_its_place", lambda self: False)
    scan = begun(tmp_path, 1)
    part = scan._part
    lose_frame_0(part)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "set_marks", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan.flush()
    assert part.in_flight == []
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    scan.suspend()


def test_after_a_kill_an_old_record_does_not_come_over_what_was_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewritten, lost by a failed sync, written once more: the record of the rewrite is still in the redo file."""
    scan = begun(tmp_path, 1)
    part = scan._part
    scan[0] = value(0, 1)
    lose_frame_0(part)
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    assert part.journal.marks[0] == COMING
    scan[0] = value(0, 2)
    shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_killed"))
    (result,) = lys_storage.recover(tmp_path.with_name(f"{tmp_path.name}_killed"))
    assert result.path is not None
    assert_export(result.path, {0: 2})
    scan.close()


@pytest.mark.parametrize("together", [False, True], ids=["one frame", "neighbours"])
def test_an_interrupt_in_the_middle_of_a_write_leaves_the_count_right_and_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """Ctrl-C comes at any line: the frame has its mark, and was not counted yet."""
    scan = begun(tmp_path, 0)
    real = os.pwritev if together else os.pwrite

    def interrupted(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    data = {(k,): value(k) for k in ((0, 1) if together else (0,))}
    with monkeypatch.context() as patch:
        patch.setattr(os, real.__name__, interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.update(data)
    assert (scan.frames_written, scan._part.in_flight) == (0, [])
    scan.update(data)
    assert scan.frames_written == len(data)
    assert_export(scan.close(), dict.fromkeys(range(len(data)), 0))


def test_a_mapping_that_hands_out_one_buffer_again_and_again_is_stored_as_it_comes(tmp_path: Path) -> None:
    class Lazy(dict[Any, Any]):
        def items(self) -> Any:
            buffer = np.empty(SIZE, "u1")
            for k in range(4):
                buffer[:] = value(k)
                yield (k,), buffer

    scan = begun(tmp_path, 0)
    scan.update(Lazy.fromkeys(range(4)))
    assert_export(scan.close(), dict.fromkeys(range(4), 0))


def test_a_kill_in_a_rewrite_does_not_bring_back_what_an_older_record_holds_of_other_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of four frames, then one of one of them, then the process dies while it rewrites another of the four."""
    scan, real = begun(tmp_path), Redo.apply
    scan.flush()
    scan[0:4] = np.stack([value(k, 1) for k in range(4)])
    scan[2] = value(2, 2)

    def killed(self: Redo, record: Any, file: Any) -> None:
        file.write_at(bytes(SIZE // 2), record.offset)
        shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}_killed"))
        real(self, record, file)

    with monkeypatch.context() as patch:
        patch.setattr(Redo, "apply", killed)
        scan[1] = value(1, 2)
    (result,) = lys_storage.recover(tmp_path.with_name(f"{tmp_path.name}_killed"))
    assert result.path is not None
    assert_export(result.path, {0: 1, 1: 2, 2: 2, 3: 1, **dict.fromkeys(range(4, 8), 0)})
    scan.close()


def test_neighbours_of_one_update_are_written_in_one_call_of_the_system(tmp_path: Path, faults: Faults) -> None:
    """And frames that are none, each in one of its own."""
    scan = begun(tmp_path, 0)
    faults.calls.clear()
    scan.update({(k,): value(k) for k in range(4)})
    assert (faults.calls["write together"], faults.calls["write"]) == (1, 0)
    scan.update({(k,): value(k) for k in (5, 7)})
    assert (faults.calls["write together"], faults.calls["write"]) == (1, 2)
    assert_export(scan.close(), dict.fromkeys((0, 1, 2, 3, 5, 7), 0))


# -- what a third reading broke ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"], ids=["its mark is set", "its bytes are in place"])
def test_an_interrupt_in_a_rewrite_leaves_a_frame_that_can_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    scan = begun(tmp_path)
    scan.flush()
    real = Journal.set_marks

    def interrupted(self: Journal, first: int, stop: int, mark: int) -> None:
        if when == "before":
            real(self, first, stop, mark)
        if mark == (REWRITING if when == "before" else WRITTEN):
            raise KeyboardInterrupt
        if when == "after":
            real(self, first, stop, mark)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "set_marks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan[3] = value(3, 1)
    scan.flush()
    scan.flush()
    assert_export(scan.close(), {k: int(k == 3) for k in range(8)})


def test_a_rewrite_that_was_refused_before_it_touched_anything_is_not_made_up_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk that copies on write no flush would get past it."""
    scan = begun(tmp_path)
    scan.flush()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "set_marks", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan[3] = value(3, 1)
    assert scan._part._unsettled == []
    scan.flush()
    assert_export(scan.close(), dict.fromkeys(range(8), 0))


def test_a_frame_that_was_in_flight_during_a_failed_sync_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel had some of it, and dropped that; the frame is done after the next sync has succeeded."""
    scan = begun(tmp_path, 1)
    part, real = scan._part, os.pwrite
    under_way, go_on = threading.Event(), threading.Event()

    def slow(fd: int, data: Any, at: int) -> int:
        done = real(fd, data, at)
        under_way.set()
        assert go_on.wait(DEADLINE_S)
        return done

    monkeypatch.setattr(os, "pwrite", slow)
    writing = threading.Thread(target=scan.write, args=(5, value(5)))
    writing.start()
    assert under_way.wait(DEADLINE_S)
    monkeypatch.setattr(os, "pwrite", real)
    with monkeypatch.context() as patch:
        patch.setattr(_fs.File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.flush()
    written: list[int] = []
    write_at = part.file.write_at
    monkeypatch.setattr(part.file, "write_at", lambda data, at: (written.append(at), write_at(data, at)))
    flushing = threading.Thread(target=scan.flush)
    flushing.start()
    flushing.join(0.1)
    go_on.set()
    for thread in (writing, flushing):
        thread.join(DEADLINE_S)
    assert part.array_offset + 5 * SIZE in written
    assert_export(scan.close(), {0: 0, 5: 0})


def test_an_interrupt_at_the_beginning_of_a_sync_forgets_nothing_that_is_to_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path)
    part = scan._part
    with monkeypatch.context() as patch:
        patch.setattr(_fs.File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.flush()
    assert part._unsynced == (0, 8)

    class Interrupted:
        """A lock; the interrupt comes when it has been let go."""

        def __enter__(self) -> None:
            part_lock.acquire()

        def __exit__(self, *args: object) -> None:
            part_lock.release()
            part._lock = part_lock
            raise KeyboardInterrupt

    part_lock = part._lock
    monkeypatch.setattr(part, "_lock", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        part.sync_file()
    assert (part._unsynced, part.journal.file_sync_failed) == ((0, 8), True)
    scan.close()


def test_frames_that_were_found_to_be_lost_are_told_though_the_sync_behind_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path, 2)
    part = scan._part
    lose_frame_0(part)
    with monkeypatch.context() as patch:
        patch.setattr(_fs.File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError, match="Input/output"):
            scan.flush()
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    scan.flush()
    assert scan.frames_written == 1
    scan.suspend()


def test_a_rewrite_after_an_interrupted_new_epoch_makes_it_durable_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the epoch that is on disk no record of the new one would count."""
    scan = begun(tmp_path)
    scan.flush()
    scan[3] = value(3, 1)
    part, syncs = scan._part, []
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
    append = Redo.append
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", lambda self: (after.append("sync"), real(self)))
        patch.setattr(Redo, "append", lambda *args: (after.append("record"), append(*args))[1])
        scan[3] = value(3, 2)
    assert after.index("sync") < after.index("record")
    assert part._epoch_is_durable
    assert_export(scan.close(), {k: 2 * (k == 3) for k in range(8)})


@pytest.mark.parametrize("what", ["epoch", "file_sync_failed"])
def test_nothing_of_the_table_changes_while_it_is_stored_again(tmp_path: Path, what: str) -> None:
    """An old epoch would be put back."""
    scan = begun(tmp_path)
    part = scan._part
    with part._lock:
        changing = threading.Thread(target=setattr, args=(part.journal, what, 1))
        changing.start()
        changing.join(0.1)
        assert getattr(part.journal, what) == 0
    changing.join(DEADLINE_S)
    assert getattr(part.journal, what) == 1
    setattr(part.journal, what, 0)
    scan.suspend()


def test_who_is_told_of_a_claim_that_failed_may_ask_the_scan_while_it_is_laid_out_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, changing = threading.Event(), threading.Event()
    asked: list[int] = []
    real = _fs.File.claim

    def claim(self: _fs.File, *args: Any, **more: Any) -> bool:
        if threading.current_thread() is threading.main_thread():
            return real(self, *args, **more)
        claimed.set()
        assert changing.wait(DEADLINE_S)
        raise lys_storage.DiskFullError(errno.ENOSPC, "injected", "x")

    def failed(error: Exception) -> None:
        threading.Event().wait(0.1)  # until somebody waits for the claim, holding the lock
        asked.append(len(list(scan.missing())))

    monkeypatch.setattr(_space, "_AT_ONCE_S", 0.0)
    monkeypatch.setattr(_fs.File, "claim", claim)
    scan = begin_scan(
        *(tmp_path, "data", (8, 64), "u1"),
        numbered=False,
        replace_existing=False,
        grid_ndim=1,
        flush_interval_s=None,
        failed=failed,
    )
    assert claimed.wait(DEADLINE_S)
    laying = threading.Thread(target=scan.change_dtype, args=("u2",))
    monkeypatch.setattr(_space, "_AT_ONCE_S", 1.0)
    monkeypatch.setattr(_fs.File, "claim", lambda *args, **more: True)
    laying.start()
    changing.set()
    laying.join(DEADLINE_S)
    assert not laying.is_alive()
    assert wait_until(lambda: asked)
    assert asked == [8]
    scan.suspend()


def test_a_frame_that_was_in_time_is_not_said_to_be_late_since_the_flush_behind_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread closes the scan between a rewrite that fills the redo file and the flush that is to empty it."""
    scan = begun(tmp_path)
    scan.flush()
    closing = threading.Thread(target=scan.close)

    def long(self: Rewrites) -> bool:
        closing.start()
        closing.join(DEADLINE_S)
        return True

    monkeypatch.setattr(Rewrites, "redo_is_long", property(long))
    scan[3] = value(3, 1)
    assert not closing.is_alive()
    assert_export(scan.path, {k: int(k == 3) for k in range(8)})
