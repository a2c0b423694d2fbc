"""What recover does with interrupted scans."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.format import journal_path, redo_path
from tests.helpers import assert_same_array, files, interrupt, load_export
from tests.scan.scans import begin

# -- recover -----------------------------------------------------------------------------------------------------------


def test_an_interrupted_scan_becomes_its_export_and_nothing_else_is_left(tmp_path: Path) -> None:
    """It has the written frames, the fill value elsewhere, the last axes and note, and the list of missing frames."""
    axes, note = [np.arange(4) * 0.5, np.arange(3)], {"sample": "é"}
    part = interrupt(tmp_path / "data.npz", axes=axes, note=note, fill_value=7)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.part, found.path, found.frames_written, found.frames_expected) == (part, tmp_path / "data.npz", 2, 4)
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, np.array([[1] * 3, [7] * 3, [3] * 3, [7] * 3], "u2"))
    assert (export.note, export.info["missing"]) == (note, [[1, 2], [3, 4]])
    assert files(tmp_path) == {"data.npz"}
    assert lys_storage.verify(tmp_path) == []


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """Neither a byte nor a name changes."""
    interrupt(tmp_path / "data.npz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (found,) = lys_storage.recover(tmp_path, dry_run=True)
    assert (found.path, found.frames_written, found.frames_expected) == (None, 2, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_scan_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    """Its lock shows this, never a process id or a clock."""
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1") as scan:
        (found,) = lys_storage.recover(tmp_path)
        assert (found.path, found.running) == (None, True)
        scan[0] = np.uint8(1)
    assert_same_array(load_export(tmp_path / "data.npz").data, np.array([1, 0], "u1"))


@pytest.mark.parametrize("overwrite", [False, True], ids=["a new file", "one that was to replace it"])
def test_a_final_file_is_never_replaced_by_recovery(tmp_path: Path, overwrite: bool) -> None:
    """If the name is taken, the recovered export gets another name, and the message says so."""
    interrupt(tmp_path / "data.npz", overwrite=overwrite)
    np.savez(tmp_path / "data.npz", data=np.arange(3))
    before = (tmp_path / "data.npz").read_bytes()
    (found,) = lys_storage.recover(tmp_path)
    assert found.path == tmp_path / "data.recovered_0.npz"
    assert "data.recovered_0.npz" in found.message
    assert (tmp_path / "data.npz").read_bytes() == before
    assert files(tmp_path) == {"data.npz", "data.recovered_0.npz"}


def test_what_a_crash_left_beside_a_finished_export_is_removed(tmp_path: Path) -> None:
    """A crash before the last step of finalizing leaves the journal without its scan file. It is superfluous."""
    part = interrupt(tmp_path / "data.npz")
    journal = journal_path(part).read_bytes()
    lys_storage.recover(tmp_path)
    journal_path(part).write_bytes(journal)
    redo_path(part).write_bytes(b"")
    (found,) = lys_storage.recover(tmp_path)
    assert found.cleaned_up
    assert files(tmp_path) == {"data.npz"}


def test_a_scan_that_was_only_just_begun_leaves_no_trace(tmp_path: Path) -> None:
    """No frame can be written between the exclusive create of its file and the first byte in it."""
    (tmp_path / "data_0.npz.part").touch()
    (tmp_path / "data_0.npz.part.journal").write_bytes(b"half a jour")
    assert [found.cleaned_up for found in lys_storage.recover(tmp_path)] == [True]
    assert files(tmp_path) == set()


def test_a_damaged_scan_is_told_and_left_as_it_is_while_the_others_are_recovered(tmp_path: Path) -> None:
    """One damaged scan raises nothing."""
    broken = interrupt(tmp_path / "a.npz")
    interrupt(tmp_path / "b.npz")
    journal_path(broken).write_bytes(b"rubbish")
    first, second = lys_storage.recover(tmp_path)
    assert (first.path, second.path) == (None, tmp_path / "b.npz")
    assert "does not begin with the magic bytes of a journal" in first.message
    assert files(tmp_path) == {"a.npz.part", "a.npz.part.journal", "b.npz"}


# -- trim --------------------------------------------------------------------------------------------------------------


def test_recover_trims_where_it_is_told_to(tmp_path: Path) -> None:
    """The export has the size of the lines that were begun, not of the whole grid."""
    interrupt(tmp_path / "data.npz", shape=(1000, 4096), frames=tuple(range(10)))
    (found,) = lys_storage.recover(tmp_path, incomplete="trim")
    assert found.path is not None
    assert (load_export(found.path).data.shape, found.frames_expected) == ((10, 4096), 10)
    assert found.path.stat().st_size < 200_000


# -- a truncated scan file ---------------------------------------------------------------------------------------------


def test_frames_behind_the_end_of_a_scan_file_that_was_cut_are_missing(tmp_path: Path) -> None:
    """Their bytes are missing, whatever their states: an export must not have a checksum of bytes that it lacks."""
    part = interrupt(tmp_path / "data.npz", frames=(0, 1, 2, 3), fill_value=7)
    os.truncate(part, 4096 + 2 * 6 + 5)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.frames_written, found.frames_expected) == (2, 4)
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, np.array([[1] * 3, [2] * 3, [7] * 3, [7] * 3], "u2"))
    assert export.info["missing"] == [[2, 4]]
    assert lys_storage.verify(tmp_path) == []


# -- many scans --------------------------------------------------------------------------------------------------------


def test_recover_exports_every_interrupted_scan_below_a_folder(tmp_path: Path) -> None:
    """Missing frames hold the fill value. Running scans are left alone; scans that cannot be recovered stay."""
    for k, name in enumerate(["a", "b/c"]):
        scan = lys_storage.create(tmp_path / name, (2, 3), fill_value=-1, grid_ndim=1)
        scan[k] = np.full(3, float(k))
        scan.suspend()
    (tmp_path / "b" / "junk.npz.part").write_bytes(b"junk")
    with lys_storage.create(tmp_path / "running", (2,)) as running:
        told: list[Any] = []
        results = lys_storage.recover(tmp_path, on_result=told.append)
        by_name = {result.part.name: result for result in results}
        assert told == results
        assert by_name["a.npz.part"] == lys_storage.Recovered(
            tmp_path / "a.npz.part", tmp_path / "a.npz", 1, 2, "exported with 1 of 2 frames"
        )
        assert by_name["c.npz.part"].path == tmp_path / "b" / "c.npz"
        assert (by_name["running.npz.part"].path, by_name["running.npz.part"].running) == (None, True)
        assert (by_name["junk.npz.part"].path, by_name["junk.npz.part"].running) == (None, False)
        running[...] = np.zeros(2)
    assert files(tmp_path) == {"a.npz", "b/c.npz", "b/junk.npz.part", "running.npz"}
    assert load_export(tmp_path / "a.npz").data.tolist() == [[0.0] * 3, [-1.0] * 3]
    assert load_export(tmp_path / "b" / "c.npz").data.tolist() == [[-1.0] * 3, [1.0] * 3]


def test_a_dry_run_of_recover_changes_nothing(tmp_path: Path) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[0] = np.ones(3)
    scan.suspend()
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    (result,) = lys_storage.recover(tmp_path, dry_run=True)
    assert (result.path, result.frames_written, result.frames_expected) == (None, 1, 2)
    assert result.message == "would be exported, 1 of 2 frames"
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_recovering_a_folder_without_scans_finds_none(tmp_path: Path) -> None:
    begin(tmp_path).close()
    assert lys_storage.recover(tmp_path) == []
