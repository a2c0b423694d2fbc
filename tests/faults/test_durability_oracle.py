"""The ledger and the oracle of the durability tools: which frames are durable, and that each fault is found."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.durability.files import digest, digests_of_exports
from tools.durability.frames import find_version, make_frame
from tools.durability.ledger import Ledger
from tools.durability.oracle import (
    Expected,
    Kind,
    Verdict,
    check_archives,
    check_earlier_files,
    compare,
    read_exports,
)

CELLS, SIZE, FILL = 3, 64, 9
EXPECTED = Expected((CELLS, SIZE // 2), 1, {np.dtype("<u2"): np.uint16(FILL).tobytes()})


def replayed(*facts: tuple[Any, ...]) -> Ledger:
    ledger = Ledger()
    for fact in facts:
        ledger.take(*fact)
    return ledger


def write_export(path: Path, versions: dict[int, int | bytes], *, missing: list[list[int]], note: int = 0) -> None:
    """An export of the cells: a version of each, or bytes; the fill value in the others."""
    data = np.full((CELLS, SIZE // 2), FILL, "<u2")
    for cell, version in versions.items():
        content = version if isinstance(version, bytes) else make_frame(0, cell, version, SIZE)
        data[cell] = np.frombuffer(content, "<u2")
    axes = np.array([None, None], object)
    np.savez(path, data=data, axes=axes, note=np.array({"version": note}, object))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("acquisition.json", json.dumps({"frames_expected": CELLS, "missing": missing}))


def verdict_on(folder: Path, ledger: Ledger, *, required: bool = False) -> list[Kind]:
    verdict = Verdict()
    exports = read_exports(folder, verdict)
    compare(EXPECTED, exports, ledger, verdict, folder=folder, required=required)
    return [fault.kind for fault in verdict.faults]


# -- the ledger ---------------------------------------------------------------------------------------------------------


def test_a_flush_promises_what_was_acknowledged_before_it_began() -> None:
    """A frame that is acknowledged during a flush is covered by the next one."""
    facts: list[tuple[Any, ...]] = [("begun", 1, [0]), ("written", 1, [0]), ("flush begun", 0)]
    facts += [("begun", 2, [0, 1]), ("written", 2, [0, 1])]
    ledger = replayed(*facts)
    assert ledger.promised() == {}
    ledger.take("flushed", 0)
    assert ledger.promised() == {0: 1}
    assert (ledger.allowed(0), ledger.allowed(1), ledger.allowed(2)) == ({1, 2}, {2}, set())


def test_two_flushes_at_once_promise_what_each_of_them_covers() -> None:
    """The flush that began later covers more, from its own end on."""
    facts: list[tuple[Any, ...]] = [("flush begun", 0), ("begun", 1, [0]), ("written", 1, [0]), ("flush begun", 1)]
    ledger = replayed(*facts, ("flushed", 0))
    assert ledger.promised() == {}
    ledger.take("flushed", 1)
    assert ledger.promised() == {0: 1}


def test_a_flush_that_fails_promises_nothing() -> None:
    ledger = replayed(("begun", 1, [0]), ("written", 1, [0]), ("flush begun", 0))
    assert (ledger.promised(), ledger.flushes) == ({}, 0)


def test_a_killed_process_keeps_all_that_was_acknowledged() -> None:
    ledger = Ledger.of_killed_process()
    facts: list[tuple[Any, ...]] = [("begun", 1, [0]), ("written", 1, [0]), ("begun", 2, [0]), ("note begun", 1)]
    for fact in facts:
        ledger.take(*fact)
    assert (ledger.promised(), ledger.allowed(0), ledger.allowed_notes()) == ({0: 1}, {1, 2}, {0, 1})


def test_what_was_found_after_a_cut_is_all_that_can_be_found_again() -> None:
    """A version that a power cut has dropped does not come back."""
    ledger = replayed(("begun", 1, [0]), ("written", 1, [0]), ("begun", 2, [0, 1]), ("found", {0: 1}, 0))
    assert (ledger.promised(), ledger.allowed(0), ledger.allowed(1)) == ({0: 1}, {1}, set())


def test_a_fact_that_the_ledger_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown fact 'writen'"):
        Ledger().take("writen", 1, [0])


# -- the frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 30, 64, 5000, 1 << 20])
def test_a_frame_tells_its_version_and_has_its_size(size: int) -> None:
    frame = make_frame(0, 3, 7, size)
    assert len(frame) == size
    assert find_version(frame, 0, 3, [5, 6, 7, 8]) == 7


def test_no_mixture_of_two_versions_is_a_version() -> None:
    """This includes a frame that is torn at any sector, in either order, and a frame of another cell or scan."""
    old, new = make_frame(0, 3, 7, 4096), make_frame(0, 3, 8, 4096)
    for at in range(512, 4096, 512):
        assert find_version(old[:at] + new[at:], 0, 3, [7, 8]) is None
        assert find_version(new[:at] + old[at:], 0, 3, [7, 8]) is None
    assert find_version(old, 0, 4, [7, 8]) is None
    assert find_version(old, 1, 3, [7, 8]) is None


# -- the oracle ---------------------------------------------------------------------------------------------------------


def a_scan_of_two_cells() -> Ledger:
    """Cell 0: version 1 is durable, 2 was begun after it. Cell 1: version 3 is acknowledged, and not durable."""
    facts: list[tuple[Any, ...]] = [("begun", 1, [0]), ("written", 1, [0]), ("flush begun", 0), ("flushed", 0)]
    return replayed(*facts, ("begun", 2, [0]), ("begun", 3, [1]), ("written", 3, [1]))


@pytest.mark.parametrize(
    ("versions", "missing", "expected"),
    [
        pytest.param({0: 1, 1: 3}, [[2, 3]], [], id="what was acknowledged"),
        pytest.param({0: 2}, [[1, 3]], [], id="a newer version, and a cell that was not promised is missing"),
        pytest.param({1: 3}, [[0, 1], [2, 3]], [Kind.LOST], id="a promised cell is missing"),
        pytest.param(
            {0: b"\0" * SIZE, 1: 3}, [[2, 3]], [Kind.PASSED_OFF, Kind.LOST], id="a promised cell holds zeros as data"
        ),
        pytest.param({0: 1, 1: 4}, [[2, 3]], [Kind.PASSED_OFF], id="a version that was never begun"),
        pytest.param(
            {0: 1, 1: make_frame(0, 1, 3, SIZE)[:32] + bytes(32)}, [[2, 3]], [Kind.PASSED_OFF], id="a torn frame"
        ),
        pytest.param({0: 1, 1: 3}, [], [Kind.PASSED_OFF], id="a fill value is said to be data"),
        pytest.param({0: 1, 1: 3}, [[1, 3]], [Kind.PASSED_OFF], id="a missing cell does not hold the fill value"),
    ],
)
def test_the_oracle_names_each_kind_of_fault(
    versions: dict[int, int | bytes], missing: list[list[int]], expected: list[Kind], tmp_path: Path
) -> None:
    write_export(tmp_path / "a.npz", versions, missing=missing)
    assert verdict_on(tmp_path, a_scan_of_two_cells()) == expected


def test_an_older_version_than_the_promised_one_is_a_lost_cell(tmp_path: Path) -> None:
    facts: list[tuple[Any, ...]] = [("begun", 1, [0]), ("written", 1, [0]), ("begun", 2, [0]), ("written", 2, [0])]
    write_export(tmp_path / "a.npz", {0: 1}, missing=[[1, 3]])
    assert verdict_on(tmp_path, replayed(*facts, ("flush begun", 0), ("flushed", 0))) == [Kind.LOST]
    assert verdict_on(tmp_path, replayed(*facts)) == []


def test_a_note_has_to_be_one_that_was_set_since_the_last_flush(tmp_path: Path) -> None:
    facts: list[tuple[Any, ...]] = [
        ("note begun", 1),
        ("note", 1),
        ("flush begun", 0),
        ("flushed", 0),
        ("note begun", 2),
    ]
    for note, expected in ((0, [Kind.OTHER]), (1, []), (2, []), (3, [Kind.OTHER])):
        write_export(tmp_path / "a.npz", {}, missing=[[0, 3]], note=note)
        assert verdict_on(tmp_path, replayed(*facts)) == expected


def test_a_scan_without_an_export_has_lost_its_promised_cells(tmp_path: Path) -> None:
    """If no cell is durable, an export is needed only if the experiment requires one."""
    assert verdict_on(tmp_path, a_scan_of_two_cells()) == [Kind.LOST]
    assert verdict_on(tmp_path, Ledger()) == []
    assert verdict_on(tmp_path, Ledger(), required=True) == [Kind.OTHER]


def test_a_saved_scan_has_to_be_there_under_its_name(tmp_path: Path) -> None:
    ledger = replayed(("saved", "a.npz"))
    assert verdict_on(tmp_path, ledger) == [Kind.VANISHED]
    write_export(tmp_path / "b.npz", {}, missing=[[0, 3]])
    assert verdict_on(tmp_path, ledger) == [Kind.VANISHED]
    write_export(tmp_path / "a.npz", {}, missing=[[0, 3]])
    assert verdict_on(tmp_path, ledger) == [Kind.OTHER], "one export is expected"
    (tmp_path / "b.npz").unlink()
    assert verdict_on(tmp_path, ledger) == []


def test_a_file_that_is_no_sound_archive_is_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_export(path, {0: 1}, missing=[[1, 3]])
    content = bytearray(path.read_bytes())
    content[content.index(make_frame(0, 0, 1, SIZE))] ^= 1
    path.write_bytes(content)
    assert [fault.kind for fault in check_archives(tmp_path)] == [Kind.BAD_FILE]
    assert verdict_on(tmp_path, Ledger()) == [Kind.BAD_FILE]


def test_a_final_file_neither_goes_nor_changes(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"old")
    before = digests_of_exports(tmp_path)
    assert before == {"a.npz": digest(b"old")}
    assert check_earlier_files(tmp_path, before) == []
    (tmp_path / "a.npz").write_bytes(b"new")
    assert [fault.kind for fault in check_earlier_files(tmp_path, before)] == [Kind.VANISHED]
    assert check_earlier_files(tmp_path, before, replaceable=["a.npz"]) == []
    (tmp_path / "a.npz").unlink()
    assert [fault.kind for fault in check_earlier_files(tmp_path, before, replaceable=["a.npz"])] == [Kind.VANISHED]
