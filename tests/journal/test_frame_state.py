"""The transitions between the states of a frame, as a table. No other code stores a state."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
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
from lys_storage.journal.frame_state import FrameStates, PwriteStates

LETTERS = {
    ".": ABSENT,
    "w": WRITING,
    "D": WRITTEN,
    "c": CHECKSUMMING,
    "C": CHECKSUMMED,
    "B": BLOCK_CHECKSUMMED,
    "r": REWRITING,
}
Make = Callable[..., FrameStates]


@pytest.fixture(params=["in a map", "by pwrite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """make(states, per_block): the states and checksums of as many frames, in their own file, without a journal."""
    opened: list[tuple[FrameStates, Any, File]] = []

    def made(states: str, per_block: int = 4) -> FrameStates:
        frames = len(states)
        at = {"states": 0, "checksums": 1 << 17, "block_checksums": 1 << 19, "doubtful": 3 << 18}
        file = File.create(tmp_path / f"states_{len(opened)}")
        file.set_size(1 << 20)
        file.write_at(bytes(LETTERS[letter] for letter in states), 0)
        mapped = file.map(1 << 20, writable=request.param == "in a map")
        view = memoryview(mapped)[:frames]

        def store(table: str, first: int, data: bytes) -> None:
            offset = at[table] + first * (4 if "checksums" in table else 1)
            if request.param == "in a map":
                mapped[offset : offset + len(data)] = data
            else:
                file.write_at(data, offset)

        blocks = frames // per_block if per_block > 1 else 0
        made = FrameStates(
            view if request.param == "in a map" else PwriteStates(file, 0, view),
            view,
            np.frombuffer(mapped, "<u4", frames, at["checksums"]),
            np.frombuffer(mapped, "<u4", blocks, at["block_checksums"]),
            np.frombuffer(mapped, np.uint8, -(-frames // 8), at["doubtful"]),
            per_block,
            store,
        )
        opened.append((made, mapped, file))
        return made

    yield made
    for made_states, mapped, file in opened:
        made_states.release()
        mapped.close()
        file.close()


def text(states: FrameStates) -> str:
    return "".join(next(letter for letter in LETTERS if LETTERS[letter] == state) for state in states.array)


def at(*numbers: int) -> Any:
    return np.array(numbers, np.intp)


def sums(*values: int) -> Any:
    return np.array(values, np.uint32)


# -- the table ---------------------------------------------------------------------------------------------------------

TRANSITIONS: dict[str, tuple[Callable[[FrameStates], Any], str, str]] = {
    "begin_write": (lambda s: s.begin_write(2, 5), "..w.......", "..www....."),
    "begin_write_one": (lambda s: s.begin_write_one(3), "..........", "...w......"),
    "end_write": (lambda s: s.end_write(2, 5), ".wwwww....", ".wDDDw...."),
    "end_write_one": (lambda s: s.end_write_one(3), "..www.....", "..wDw....."),
    "begin_rewrite": (lambda s: s.begin_rewrite(1, 5), "CDcCDD....", "CrrrrD...."),
    "end_rewrite": (lambda s: s.end_rewrite(1, 3), "CrrrD.....", "CDDrD....."),
    "begin_checksum": (lambda s: s.begin_checksum(1, at(0, 2)), "DDCDD.....", "DcCcD....."),
    "begin_checksum of none": (lambda s: s.begin_checksum(1, at()), "DDCDD.....", "DDCDD....."),
    "begin_checksum_run": (lambda s: s.begin_checksum_run(1, 4), "DDDDD.....", "DcccD....."),
    "begin_checksum_run of what is not all WRITTEN": (lambda s: s.begin_checksum_run(1, 4), "DDCDD.....", "DDCDD....."),
    "end_checksum": (lambda s: s.end_checksum(1, at(0, 2), sums(7, 8)), ".cDc......", ".CDC......"),
    "end_block_checksums": (
        lambda s: s.end_block_checksums(0, at(0, 1), sums(7, 8), at(*range(8))),
        "ccccccccDD",
        "BBBBBBBBDD",
    ),
    "end_block_checksums of none": (
        lambda s: s.end_block_checksums(0, at(), sums(), at()),
        "ccccDDDDDD",
        "ccccDDDDDD",
    ),
    "end_checksum_run": (lambda s: s.end_checksum_run(4, 8, sums(7)), "ccccccccDD", "ccccBBBBDD"),
    "end_checksum_run of what was touched": (lambda s: s.end_checksum_run(4, 8, sums(7)), "ccccccrcDD", "ccccccrcDD"),
    "cancel_checksum": (lambda s: s.cancel_checksum(1, 6), "ccCDrccc..", "cDCDrDcc.."),
    "cancel_checksum_of": (lambda s: s.cancel_checksum_of(1, at(0, 2)), "cccc......", "cDcD......"),
    "split_block": (lambda s: s.split_block(4, sums(5, 6, 7, 8)), "BBBBBBBBDD", "BBBBCCCCDD"),
    "invalidate": (lambda s: s.invalidate(1, 7), "..wDcCBr..", ".wwwwwwr.."),
    "reconcile": (lambda s: s.reconcile(2, np.array([3, 3, 1], np.uint8)), "DDDDDD....", "DDCCwD...."),
    "restore_rewritten": (lambda s: s.restore_rewritten(3, 7), "DDDrD.....", "DDDCD....."),
    "withhold_all": (lambda s: s.withhold_all(), "..........", "wwwwwwwwww"),
    "release_all": (lambda s: s.release_all(), "wwwwwwwwww", ".........."),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_changes_these_states_and_no_others(make: Make, tmp_path: Path, name: str) -> None:
    """The change shows in this process, and in the file."""
    transition, before, after = TRANSITIONS[name]
    states = make(before)
    done = transition(states)
    assert text(states) == after
    assert (tmp_path / "states_0").read_bytes()[:10] == bytes(LETTERS[letter] for letter in after)
    if name.partition(" ")[0] in ("begin_checksum_run", "end_checksum_run"):
        assert done is (before != after)


def test_every_transition_is_in_the_table() -> None:
    """Or it has its own test below."""
    own = {"copy_from", "refine_from", "keep_doubtful"}
    reading = {"array", "of", "is_data", "count_missing", "count_written", "any_data", "last_written", "missing"}
    reading |= {"written", "missing_bits", "doubtful", "release"}
    public = {name for name in vars(FrameStates) if not name.startswith("_")}
    assert {name.partition(" ")[0] for name in TRANSITIONS} == public - own - reading


# -- doubt -------------------------------------------------------------------------------------------------------------


def test_doubt_stays_until_the_frame_is_written_anew_or_lost(make: Make) -> None:
    states = make("wwwwwwwwww")
    assert list(states.doubtful()) == []
    states.keep_doubtful(1, 5)
    states.keep_doubtful(6, 10)
    states.end_checksum(0, at(*range(10)), sums(*range(10)))
    assert (list(states.doubtful()), list(states.doubtful(7))) == ([(1, 5), (6, 10)], [(1, 5), (6, 7)])
    states.begin_rewrite(2, 3)
    states.end_rewrite(2, 3)
    states.invalidate(8, 10)
    assert list(states.doubtful()) == [(1, 2), (3, 5), (6, 8)]


@pytest.mark.parametrize("times", [1, 3])
def test_doubt_is_carried_over_to_a_new_journal(make: Make, times: int) -> None:
    old, new = make("wwwwwwwwww"), make("." * 10 * times)
    old.keep_doubtful(3, 9)
    new.copy_from(old) if times == 1 else new.refine_from(old)
    assert list(new.doubtful()) == [(3 * times, 9 * times)]


# -- checksums ---------------------------------------------------------------------------------------------------------


def test_a_checksum_is_kept_by_the_transition_that_says_so(make: Make) -> None:
    states = make("ccccccccDr")
    states.end_block_checksums(0, at(1), sums(70), at(4, 5, 6, 7))
    states.end_checksum(1, at(0, 2), sums(10, 30))
    states.restore_rewritten(9, 90)
    assert text(states) == "cCcCBBBBDC"
    assert states.block_checksums.tolist() == [0, 70]
    assert states.checksums.tolist() == [0, 10, 0, 30, 0, 0, 0, 0, 0, 90]
    states.split_block(4, sums(4, 5, 6, 7))
    assert states.checksums.tolist() == [0, 10, 0, 30, 4, 5, 6, 7, 0, 90]


def test_a_run_that_was_touched_keeps_no_checksum(make: Make) -> None:
    states = make("ccrcccccDD")
    assert not states.end_checksum_run(0, 8, sums(1, 2))
    assert states.block_checksums.tolist() == [0, 0]
    assert states.end_checksum_run(4, 8, sums(2))
    assert states.block_checksums.tolist() == [0, 2]


def test_a_run_of_frames_that_stand_alone_has_their_own(make: Make) -> None:
    states = make("cccD", per_block=1)
    assert states.end_checksum_run(1, 3, sums(1, 2))
    assert (text(states), states.checksums.tolist()) == ("cCCD", [0, 1, 2, 0])
    assert states.blocks == 0


# -- another journal ---------------------------------------------------------------------------------------------------


def test_a_copy_has_all_states_and_checksums(make: Make) -> None:
    old, new = make("BBBBcCwDr."), make("..........")
    old.end_block_checksums(0, at(0), sums(5), at(0, 1, 2, 3))
    old.end_checksum(0, at(5), sums(6))
    new.copy_from(old)
    assert text(new) == "BBBBcCwDr."
    assert (new.checksums.tolist(), new.block_checksums.tolist()) == ([0] * 5 + [6] + [0] * 4, [5, 0])


def test_a_frame_of_a_finer_grid_is_what_the_one_was_that_it_is_a_part_of(make: Make) -> None:
    """It has no checksum, because the checksum of the whole frame is not that of its parts."""
    new = make("." * 21)
    new.refine_from(make(".wDcCBr"))
    assert text(new) == "...www" + "D" * 15


# -- many frames, and reading ------------------------------------------------------------------------------------------


def test_transitions_of_many_frames_are_made_in_steps(make: Make) -> None:
    frames = TABLE_STEP + 10
    states = make("." * frames)
    states.begin_write(3, frames)
    states.end_write(3, frames - 1)
    assert (states.count_missing(0, frames), states.count_written()) == (4, frames - 4)
    assert [*states.missing()] == [(0, 3), (frames - 1, frames)]
    assert [*states.written()] == [(3, TABLE_STEP), (TABLE_STEP, frames - 1)]
    assert (states.last_written(), states.any_data()) == (frames - 2, True)
    missing = np.unpackbits(np.frombuffer(states.missing_bits(frames), np.uint8), count=frames)
    assert np.flatnonzero(missing).tolist() == [0, 1, 2, frames - 1]


@pytest.mark.parametrize(("letter", "state"), LETTERS.items())
def test_a_frame_is_data_from_written_on(make: Make, letter: str, state: int) -> None:
    states = make(f".{letter}.")
    is_data = letter not in ".w"
    assert (states.is_data(1), states.raw[1], states.of(0, 3)) == (is_data, state, bytes((0, state, 0)))
    assert ([*states.written()], states.any_data()) == ([(1, 2)] * is_data, is_data)
    assert [*states.missing()] == ([(0, 1), (2, 3)] if is_data else [(0, 3)])
    assert states.last_written() == (1 if is_data else None)


def test_the_view_of_the_states_cannot_be_written(make: Make) -> None:
    states = make("...")
    with pytest.raises(ValueError, match="read-only"):
        states.array[0] = WRITTEN


# -- nothing else stores a state ---------------------------------------------------------------------------------------

PACKAGE = Path(lys_storage.__file__).parent
STATES = {"raw", "state_bytes", "states.array", "_view"}
PRIVATE = {"_set", "_set_chosen", "_put"}


def stores_of_states(source: str) -> list[str]:
    """Stores into state bytes: x.raw[k] = ..., x.state_bytes[k] = ..., store("states", ...), x.states._set(...)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Store) and _last(part.value) in STATES:
                    found.append(ast.unparse(node))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            by_name = (
                node.func.attr in ("_store", "store") and isinstance(first, ast.Constant) and first.value == "states"
            )
            if by_name or (node.func.attr in PRIVATE and _last(node.func.value) == "states"):
                found.append(ast.unparse(node))
    return found


def _last(node: ast.expr) -> str:
    """The last name of a.b.c, or of the arguments of a call: numpy.frombuffer(a.b.c, ...). Of x.states.array: both."""
    if isinstance(node, ast.Call):
        return next(filter(STATES.__contains__, map(_last, node.args)), "")
    if isinstance(node, ast.Attribute):
        return f"{_last(node.value)}.array" if node.attr == "array" else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_no_other_module_stores_into_state_bytes() -> None:
    """Only frame_state.py does, and store/_hotpath.pyx, which performs four of its transitions."""
    found = {
        path.relative_to(PACKAGE).as_posix(): stores
        for path in PACKAGE.rglob("*.py")
        if (stores := stores_of_states(path.read_text(encoding="utf-8")))
    }
    assert set(found) == {"journal/frame_state.py"}, found
    assert len(found["journal/frame_state.py"]) >= 8


@pytest.mark.parametrize(
    "line",
    [
        "journal.states.raw[3] = 2",
        "table.state_bytes[first:stop] = data",
        "raw = states.raw\nraw[3] = 2",
        "states.raw[3], epoch = 2, 5",
        "states.array[3] |= 2",
        "np.frombuffer(states._view, np.uint8)[first + chosen] = 2",
        "self._store('states', 0, data)",
        "tables.store('states', 0, data)",
        "table.states._set(0, 5, 2)",
        "states._set_chosen(0, chosen, 2)",
    ],
)
def test_a_store_into_state_bytes_is_seen(line: str) -> None:
    assert len(stores_of_states(line)) == 1


@pytest.mark.parametrize("line", ["state = states.raw[3]", "sums[3] = 2", "self._store('checksums', 0, data)"])
def test_what_stores_no_state_is_not(line: str) -> None:
    assert stores_of_states(line) == []
