"""Ctrl-C in a write, a rewrite, a checksum or a sync loses nothing, and blocks no thread."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from lys_storage import StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import CHECKSUMMED
from lys_storage.journal.frame_state import FrameStates
from tests.helpers import raising
from tests.store.one_block import after_a_cut, assert_export, begun, value
from tests.store.small_blocks import begin_without_checksums, states
from tools.durability.interrupts.points import Interrupts


def test_checksums_that_were_cut_short_are_taken_by_the_next_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum that could not be written, or Ctrl-C at that point, leaves frames CHECKSUMMING."""
    monkeypatch.setattr(File, "keeps_mapped_stores", lambda self: False)
    scan = begun(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(FrameStates, "_put", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan.flush()
    scan.flush()
    assert scan._store.journal.states.array[:8].tolist() == [CHECKSUMMED] * 8
    assert_export(after_a_cut(tmp_path, monkeypatch), dict.fromkeys(range(8), 0))
    assert_export(scan.close(), dict.fromkeys(range(8), 0))


@pytest.mark.parametrize("together", [False, True], ids=["one frame", "neighbours"])
def test_an_interrupt_in_the_middle_of_a_write_leaves_the_count_right_and_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """Ctrl-C can come at any line: here the frame has its state, and is not counted yet."""
    scan = begun(tmp_path, 0)
    name = "pwritev" if together else "pwrite"
    real = getattr(SYSTEM, name)

    def interrupted(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    data = {(k,): value(k) for k in ((0, 1) if together else (0,))}
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.update(data)
    assert (scan.frames_written, scan._store.table.in_flight) == (0, [])
    scan.update(data)
    assert scan.frames_written == len(data)
    assert_export(scan.close(), dict.fromkeys(range(len(data)), 0))


@pytest.mark.parametrize("transition", ["begin_rewrite", "end_rewrite"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_in_a_rewrite_leaves_a_frame_that_can_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transition: str, when: str
) -> None:
    """It comes before or after the state becomes REWRITING, and before or after it becomes WRITTEN again."""
    scan = begun(tmp_path)
    scan.flush()
    real = getattr(FrameStates, transition)

    def interrupted(self: FrameStates, first: int, stop: int) -> None:
        if when == "after":
            real(self, first, stop)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FrameStates, transition, interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan[3] = value(3, 1)
    assert scan._store.table.in_flight == []
    scan.flush()
    scan.flush()
    is_new = (transition, when) != ("begin_rewrite", "before")  # from the state REWRITING on, the record is valid
    assert_export(scan.close(), {k: int(is_new and k == 3) for k in range(8)})


def test_an_interrupt_at_the_beginning_of_a_sync_forgets_nothing_that_is_to_be_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path)
    store = scan._store
    with monkeypatch.context() as patch:
        patch.setattr(File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.flush()
    assert store.table.unsynced == (0, 8)

    class Interrupted:
        """A lock; the interrupt comes after it is released."""

        def __enter__(self) -> None:
            table_lock.acquire()

        def __exit__(self, *args: object) -> None:
            table_lock.release()
            store.table.lock = table_lock
            raise KeyboardInterrupt

    table_lock = store.table.lock
    monkeypatch.setattr(store.table, "lock", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        store.sync_file()
    assert (store.table.unsynced, store.journal.file_sync_failed) == ((0, 8), True)
    scan.close()


@pytest.mark.usefixtures("small_blocks", "states_are")
def test_an_interrupt_before_the_checksums_of_new_frames_leaves_none_of_them_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin_without_checksums(tmp_path, 24, 1 << 18)
    store = scan._store
    store.checksum_batch(8 << 18)
    real = store.table.take_dirty

    def interrupted() -> Any:
        real()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.table, "take_dirty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.flush()
    assert store.table.dirty_backlog == []
    scan.flush()
    assert states(scan) == [CHECKSUMMED] * 24
    scan.close()


def is_free(lock: Any) -> bool:
    """Whether another thread can acquire it."""
    got: list[bool] = []

    def take() -> None:
        if lock.acquire(timeout=1):
            lock.release()
            got.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return bool(got)


def test_an_interrupt_at_any_point_of_a_flush_leaves_no_lock(tmp_path: Path) -> None:
    """The locks are free while the traceback is alive: a script suspends the scan in its `except` block.

    A lock that a contextlib generator holds would be held as long as the traceback keeps the generator.
    """
    scan = begun(tmp_path)
    store, at = scan._store, 0
    while True:
        at, interrupts = at + 1, Interrupts((at + 1,))
        try:
            interrupts.run(scan.flush)
            break
        except KeyboardInterrupt:
            assert not store._checksummer.flush_priority.locked()
            for lock in (store._checksummer.checksum_lock, store._syncer.flush_lock):
                assert is_free(lock)
    assert at > 20, "it was hardly interrupted"
    scan.suspend()
