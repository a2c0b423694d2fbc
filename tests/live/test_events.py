"""Events, and what a table of states tells: pure arithmetic."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lys_storage import FrameIndexError
from lys_storage.format import Grid
from lys_storage.journal import (
    ABSENT,
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    CHECKSUMMING,
    REWRITING,
    TABLE_STEP,
    WRITING,
    WRITTEN,
)
from lys_storage.live import Indices, events
from lys_storage.live.events import EventLog
from lys_storage.live.state_table import PIECES_AT_A_LOOK, StateTable, with_checksum

LINE = Grid((1000,), 1)


def test_events_are_kept_in_their_order() -> None:
    """Against a plain list."""
    log, plain, rng = EventLog(), [], random.Random(1)
    for _ in range(200):
        numbers = sorted(rng.sample(range(1000), rng.randrange(5)))
        log.add_numbers(LINE, np.array(numbers, np.intp))
        plain += [(n,) for n in numbers]
        at = rng.randrange(len(plain) + 2)
        assert log.after(at) == plain[at:]
        assert (log.count, log.newest) == (len(plain), plain[-1] if plain else None)
    found = log.after(0)
    assert [found[k] for k in range(-len(plain), len(plain))] == plain * 2
    assert (found[3:9], found[::-1]) == (plain[3:9], plain[::-1])
    assert (found.last_run(), found == plain[1:], found == "x") == (
        [(LINE, plain[-1][0], plain[-1][0] + 1)],
        False,
        False,
    )
    with pytest.raises(IndexError):
        found[len(plain)]


def test_frames_in_order_take_one_run() -> None:
    log = EventLog()
    for n in range(1000):
        log.add(LINE, n, n + 1)
    assert len(log._runs) == 1
    log.add(LINE, 5, 6)
    log.add(Grid((1000, 2), 2), 6, 7)  # a finer grid: no part of the run before
    assert list(log.after(999)) == [(999,), (5,), (3, 0)]


def test_old_events_are_forgotten_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_RUNS", 10)
    log = EventLog()
    for n in range(0, 100, 2):
        log.add(LINE, n, n + 1)
    assert len(log._runs) <= 10
    known = log.after(log._forgotten)
    assert list(known) == [(n,) for n in range(0, 100, 2)][log._forgotten :]
    with pytest.raises(FrameIndexError, match=rf"event 3 is forgotten: the last {len(known)} of 50 events are known"):
        log.after(3)


def test_indices_of_ten_million_frames_take_no_memory() -> None:
    found = Indices([(Grid((10_000, 1000), 2), 0, 10_000_000)])
    assert (len(found), found[-1], repr(found)) == (
        10_000_000,
        (9999, 999),
        "<Indices: (0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), and 9,999,994 more>",
    )
    assert (list(Indices()), repr(Indices())) == ([], "<Indices: >")


def look(table: StateTable, states: list[int], *, is_trusted: bool = True) -> tuple[list[int], list[int]]:
    found = np.array(states, np.uint8)
    found = found if is_trusted else with_checksum(found)
    new, rewritten, _ = table.compare(0, found)
    table.keep(0, found)
    return new.tolist(), rewritten.tolist()


def test_what_a_change_of_a_state_means() -> None:
    table = StateTable(4)
    assert look(table, [ABSENT, WRITING, WRITTEN, CHECKSUMMED]) == ([2, 3], [])
    assert look(table, [WRITING, WRITTEN, CHECKSUMMING, REWRITING]) == ([1], [])
    assert look(table, [REWRITING, WRITTEN, CHECKSUMMED, WRITTEN]) == ([0], [3])
    assert look(table, [WRITTEN, CHECKSUMMED, WRITTEN, BLOCK_CHECKSUMMED]) == ([], [0, 2])
    assert look(table, [WRITTEN, CHECKSUMMED, CHECKSUMMING, CHECKSUMMED]) == ([], [])
    assert look(table, [WRITTEN, WRITING, WRITTEN, WRITTEN]) == ([], [3])  # 1 was lost
    assert (table.written, table.flags().tolist()) == (3, [True, False, True, True])


def test_states_that_are_not_trusted_tell_of_frames_with_a_checksum_only() -> None:
    table = StateTable(3)
    assert look(table, [WRITTEN, CHECKSUMMED, REWRITING], is_trusted=False) == ([1], [])
    assert look(table, [CHECKSUMMED, CHECKSUMMED, BLOCK_CHECKSUMMED], is_trusted=False) == ([0, 2], [])
    assert look(table, [WRITTEN, CHECKSUMMED, REWRITING], is_trusted=False) == ([], [])
    assert look(table, [WRITTEN, CHECKSUMMED, REWRITING]) == ([0, 2], [])


@pytest.mark.parametrize("whole", [True, False])
def test_each_piece_of_a_large_table_has_its_turn(whole: bool) -> None:
    pieces = 100
    table = StateTable(pieces * TABLE_STEP - 5)
    seen: set[int] = set()
    looks = 1 if whole else -(-pieces // PIECES_AT_A_LOOK)
    for _ in range(looks):
        seen |= set(table.pieces(whole=whole))
    assert seen == set(range(0, table.frames, TABLE_STEP))


def test_pieces_with_a_change_and_the_ones_after_them_are_looked_at_each_time() -> None:
    table = StateTable(100 * TABLE_STEP)
    states = np.zeros(TABLE_STEP, np.uint8)
    states[-1] = WRITTEN
    assert [len(found) for found in table.compare(50 * TABLE_STEP, states)[:2]] == [1, 0]
    table.keep(50 * TABLE_STEP, states)
    assert table.written == 1
    for _ in range(20):
        assert {50 * TABLE_STEP, 51 * TABLE_STEP} <= set(table.pieces(whole=False))


@pytest.mark.parametrize(("frames", "times", "expected"), [(8, 2, "11001111"), (4, 2, "1100"), (3, 1, "101")])
def test_a_finer_or_a_trimmed_grid(frames: int, times: int, expected: str) -> None:
    table = StateTable(4)
    look(table, [CHECKSUMMED, ABSENT, WRITTEN, BLOCK_CHECKSUMMED])
    table.adopt(frames, times)
    assert "".join(map(str, table.flags().astype(int).tolist())) == expected
    assert table.written == expected.count("1")
