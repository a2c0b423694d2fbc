"""A frame table with a file and a journal: which frames are written, in flight and dirty."""

from __future__ import annotations

import errno
import threading
from typing import Any

import pytest

from lys_storage import ScanClosedError, StorageOSError
from lys_storage.format import FrameLayout, LayoutChanged
from lys_storage.journal import ABSENT, CHECKSUMMED, REWRITING, WRITING, WRITTEN
from lys_storage.store import FrameTable
from tests.helpers import DEADLINE_S, raising, wait_until
from tests.store.tables import FRAMES, SIZE, assert_holds, frame, put, states

# -- writes ------------------------------------------------------------------------------------------------------------


def test_a_frame_is_writing_while_its_bytes_come_and_written_then(
    table: FrameTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = table.file.write_frame

    def write_frame(*args: Any) -> None:
        seen.append((states(table)[3], [*table.in_flight]))
        real(*args)

    monkeypatch.setattr(table.file, "write_frame", write_frame)
    assert table.write_one(table.layout, 3, frame(3))
    assert seen == [(WRITING, [(3, 4)])]
    assert states(table) == [ABSENT] * 3 + [WRITTEN] + [ABSENT] * (FRAMES - 4)
    assert (table.frames_written, table.dirty, table.dirty_bytes, table.in_flight) == (1, (3, 4), SIZE, [])
    assert_holds(table, 3, frame(3))


def test_neighbours_are_written_together(table: FrameTable) -> None:
    assert table.write_adjacent(table.layout, 2, [frame(2), frame(3), frame(4)])
    assert states(table)[:6] == [ABSENT] * 2 + [WRITTEN] * 3 + [ABSENT]
    assert (table.frames_written, table.dirty, table.dirty_bytes, table.in_flight) == (3, (2, 5), 3 * SIZE, [])
    assert_holds(table, 2, frame(2), frame(3), frame(4))


def test_only_new_frames_of_this_layout_are_written_and_only_while_nothing_is_in_flight(table: FrameTable) -> None:
    """Everything else is refused without a side effect: the general path handles it."""
    put(table, 3)
    before = (states(table), table.frames_written, table.dirty, table.dirty_bytes)

    def refused(layout: Any, first: int) -> bool:
        one = table.write_one(layout, first, frame(9))
        return not one and not table.write_adjacent(layout, first, [frame(9), frame(9)])

    assert refused(table.layout, 3)
    assert not table.write_adjacent(table.layout, 2, [frame(2), frame(9)]), "one of them is not new"
    assert refused(FrameLayout.of(table.description), 6), "it is equal, and not the one"
    table.in_flight.append((10, 11))
    assert refused(table.layout, 6)
    table.in_flight.clear()
    table.accepting_layout = None
    assert refused(table.layout, 6)
    assert (states(table), table.frames_written, table.dirty, table.dirty_bytes) == before
    assert_holds(table, 3, frame(3))


@pytest.mark.parametrize("together", [False, True], ids=["one frame", "neighbours"])
def test_a_write_that_fails_leaves_no_frame_and_nothing_in_flight(
    table: FrameTable, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    for name in ("write_frame", "write_frames"):
        monkeypatch.setattr(table.file, name, raising(errno.EIO))
    write: Any = table.write_adjacent if together else table.write_one
    with pytest.raises(StorageOSError):
        write(table.layout, 2, [frame(2)] * 2 if together else frame(2))
    assert states(table)[2] == WRITING
    assert (table.frames_written, table.in_flight) == (0, [])


# -- begin, commit, abort ----------------------------------------------------------------------------------------------


def abort(table: FrameTable, span: tuple[int, int]) -> None:
    table.aborted.append(span)
    table.settle()


def test_new_frames_are_writing_from_begin_to_commit(table: FrameTable) -> None:
    assert table.begin(table.layout, (2, 5)) == 3
    assert (states(table)[1:6], table.in_flight) == ([ABSENT, WRITING, WRITING, WRITING, ABSENT], [(2, 5)])
    table.commit((2, 5), 3)
    assert (states(table)[1:6], table.in_flight) == ([ABSENT, WRITTEN, WRITTEN, WRITTEN, ABSENT], [])
    assert (table.frames_written, table.dirty, table.dirty_bytes) == (3, (2, 5), 3 * SIZE)


def test_where_some_are_there_already_begin_leaves_all_states_to_the_rewrite(table: FrameTable) -> None:
    put(table, 3)
    assert table.begin(table.layout, (2, 5)) == 2
    assert states(table)[1:6] == [ABSENT, ABSENT, WRITTEN, ABSENT, ABSENT]
    table.states.begin_rewrite(2, 5)
    assert states(table)[1:6] == [ABSENT, REWRITING, REWRITING, REWRITING, ABSENT]
    table.end_rewrite((2, 5))
    assert states(table)[1:6] == [ABSENT, WRITTEN, WRITTEN, WRITTEN, ABSENT]
    table.commit((2, 5), 2)
    assert (table.frames_written, table.dirty, table.in_flight) == (3, (2, 5), [])


def test_an_abort_counts_anew_and_leaves_the_frames_dirty(table: FrameTable) -> None:
    """After an interrupt it is unknown how much was written."""
    span = (2, 4)
    table.begin(table.layout, span)
    table.states.end_write(2, 3)
    abort(table, span)
    assert (states(table)[2:4], table.frames_written) == ([WRITTEN, WRITING], 1)
    assert (table.dirty, table.in_flight) == ((2, 4), [])


def test_an_abort_of_what_did_not_begin_does_nothing(table: FrameTable) -> None:
    """It does not affect another thread that writes the same frames: the spans are equal, but not the same object."""
    table.begin(table.layout, (2, 4))
    equal = (table.in_flight[0][0], 4)
    abort(table, equal)
    assert (table.in_flight, table.dirty, states(table)[2:4]) == ([(2, 4)], (0, 0), [WRITING] * 2)


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_begin_waits_for_who_writes_one_of_the_frames(table: FrameTable, end: str) -> None:
    first, second = (2, 5), (4, 6)
    table.begin(table.layout, first)
    waiting = threading.Thread(target=table.begin, args=(table.layout, second))
    waiting.start()
    assert wait_until(lambda: table.waiting == 1)
    assert table.in_flight == [first]
    table.commit(first, 3) if end == "commit" else abort(table, first)
    waiting.join(DEADLINE_S)
    assert table.in_flight == [second]


def test_begin_refuses_another_layout_and_a_scan_that_takes_no_more(table: FrameTable) -> None:
    with pytest.raises(LayoutChanged):
        table.begin(FrameLayout.of(table.description), (0, 1))
    table.stop_accepting("it is over")
    with pytest.raises(ScanClosedError, match="it is over"):
        table.begin(table.layout, (0, 1))
    assert not table.write_one(table.layout, 0, frame(0))
    assert (table.in_flight, states(table)[0]) == ([], ABSENT)


@pytest.mark.parametrize("end", ["a frame", "the end of the scan"])
def test_a_write_of_which_an_interrupt_has_kept_the_end_keeps_nobody_waiting(table: FrameTable, end: str) -> None:
    """A second interrupt comes after the first one is recorded, and before it is handled."""
    span = (2, 4)
    table.begin(table.layout, span)
    table.aborted.append(span)
    if end == "a frame":
        assert table.begin(table.layout, (3, 4)) == 1
        assert table.in_flight == [(3, 4)]
    else:
        table.stop_accepting("it is over")
        assert table.in_flight == []
    assert table.dirty == (2, 4)


# -- quiesce -----------------------------------------------------------------------------------------------------------


def test_quiesce_waits_for_frames_in_flight_and_new_ones_wait_for_the_lock(table: FrameTable) -> None:
    table.begin(table.layout, (2, 3))
    inside, go_on = threading.Event(), threading.Event()

    def quiesce() -> None:
        with table.layout_lock:
            table.quiesce()
            inside.set()
            assert go_on.wait(DEADLINE_S)

    quiet = threading.Thread(target=quiesce)
    quiet.start()
    assert wait_until(lambda: table.waiting == 1)
    assert not inside.is_set()
    table.commit((2, 3), 1)
    assert inside.wait(DEADLINE_S)
    assert not table.write_one(table.layout, 4, frame(4))
    writing = threading.Thread(target=table.begin, args=(table.layout, (4, 5)))
    writing.start()
    writing.join(0.05)
    assert (table.in_flight, writing.is_alive()) == ([], True)
    go_on.set()
    for thread in (quiet, writing):
        thread.join(DEADLINE_S)
    assert table.in_flight == [(4, 5)]
    assert table.accepting_layout is table.layout, "begin() has let the fast paths go on"


def test_a_table_that_takes_no_more_takes_none_after_it_was_quiet(table: FrameTable) -> None:
    table.stop_accepting("it is over")
    with table.layout_lock:
        table.quiesce()
    table.accept()
    assert table.accepting_layout is None


# -- dirty frames ------------------------------------------------------------------------------------------------------


def test_what_is_dirty_is_taken_once_and_is_unsynced_then(table: FrameTable) -> None:
    put(table, 3, 4, 9)
    assert table.dirty == (3, 10)
    assert table.take_dirty() == (3, 10)
    assert (table.dirty, table.dirty_bytes, table.taken, table.unsynced) == ((0, 0), 0, (3, 10), (3, 10))
    table.taken = (0, 0)  # they have their checksums
    assert table.take_dirty() == (0, 0)
    table.mark_dirty((5, 6))
    table.mark_dirty((1, 2))
    assert table.take_dirty() == (1, 6)
    assert table.unsynced == (1, 10)
    table.mark_all_dirty()
    assert table.take_dirty() == (0, FRAMES)


def test_what_was_taken_and_has_no_checksum_is_taken_again(table: FrameTable) -> None:
    """An error or an interrupt came in between."""
    put(table, 3, 4)
    table.take_dirty()
    put(table, 9)
    assert table.take_dirty() == (3, 10)
    put(table, 1)
    assert table.take_batch(SIZE) == ((1, 10), SIZE)
    assert table.unsynced == (1, 10)


def test_a_batch_is_what_came_last_and_the_rest_waits(table: FrameTable) -> None:
    """It is cut at the beginning of a block. A flush takes the rest."""
    put(table, *range(FRAMES))
    assert table.take_batch(FRAMES * SIZE + 1) == ((0, 0), 0), "there is less than that"
    assert table.take_batch(4 * SIZE) == ((16, 20), 4 * SIZE)
    assert (table.dirty_backlog, table.dirty, table.unsynced) == ([(0, 16)], (0, 0), (0, 20))
    table.taken = (0, 0)
    assert table.take_batch(4 * SIZE) == ((8, 16), 8 * SIZE)
    assert table.dirty_backlog == [(0, 8)]
    table.taken = (0, 0)
    assert table.take_dirty() == (0, 8)
    table.taken = (0, 0)
    assert table.take_batch(SIZE) == ((0, 0), 0)


def test_a_batch_that_is_most_of_what_came_is_not_cut(table: FrameTable) -> None:
    put(table, *range(FRAMES))
    assert table.take_batch(11 * SIZE) == ((0, 20), 20 * SIZE)
    assert table.dirty_backlog == []


def test_a_failed_sync_makes_frames_in_flight_unsynced_too(table: FrameTable) -> None:
    table.begin(table.layout, (12, 13))
    table.mark_unsynced((3, 5))
    assert table.unsynced == (3, 13)


# -- another journal, another process ----------------------------------------------------------------------------------


def test_of_a_journal_in_which_frames_have_come_all_are_dirty(table: FrameTable) -> None:
    table.states.end_write(2, 5)
    table.states.restore_rewritten(2, 77)
    table.bind(table.journal, table.file)
    assert states(table)[2:5] == [CHECKSUMMED, WRITTEN, WRITTEN]
    assert (table.frames_written, table.dirty) == (3, (0, FRAMES))


def test_in_a_forked_child_it_takes_no_frame(table: FrameTable) -> None:
    """A thread that does not exist in the child may hold its lock."""
    old = table.lock
    with old:
        table.after_fork_in_child()
        assert table.lock is not old
        assert table.journal.table_lock is table.lock
        assert not table.write_one(table.layout, 0, frame(0))
        for refused in (table.raise_if_forked, lambda: table.begin(table.layout, (0, 1))):
            with pytest.raises(ScanClosedError, match="forked"):
                refused()
    assert states(table) == [ABSENT] * FRAMES
