"""Recovery removes a journal or a redo log only if a valid export has the same `scan_id`. Otherwise it says why not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.format import journal_path, redo_path
from lys_storage.recovery import inspect, list_scans
from tests.helpers import files, interrupt, load_export


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def another_export(path: Path) -> None:
    """An export of another scan, moved here."""
    made = path.parent.parent / "made" / path.name
    with lys_storage.create(made, (2, 3), "u2", grid_ndim=1) as scan:
        scan[...] = np.ones((2, 3), "u2")
    made.rename(path)


# -- a journal without its scan file -----------------------------------------------------------------------------------


def move_aside(part: Path) -> None:
    part.rename(part.with_name("kept.bak"))


def rename_to_its_final_name(part: Path) -> None:
    part.rename(part.with_name("data.npz"))


def rename_to_another_export(part: Path) -> None:
    part.rename(part.with_name("other name.npz"))


def leave_it_under_a_temporary_name(part: Path) -> None:
    part.rename(part.with_name(".data.npz.part.aB3xYz"))


def move_it_beside_anothers_export(part: Path) -> None:
    part.rename(part.with_name("kept.bak"))
    another_export(part.with_name("a.npz"))
    np.savez(part.with_name("b.npz"), data=np.ones(3))


def put_anothers_export_under_its_name(part: Path) -> None:
    part.rename(part.with_name("kept.bak"))
    another_export(part.with_name("data.npz"))


def put_a_torn_export_under_its_name(part: Path) -> None:
    """A truncated copy of its own export."""
    there = part.parent.parent / "there"
    there.mkdir()
    for path in (part, journal_path(part)):
        shutil.copy(path, there)
    lys_storage.recover(there)
    whole = (there / "data.npz").read_bytes()
    part.rename(part.with_name("kept.bak"))
    part.with_name("data.npz").write_bytes(whole[:-30])


LOSSES = [
    move_aside,
    rename_to_its_final_name,
    rename_to_another_export,
    leave_it_under_a_temporary_name,
    move_it_beside_anothers_export,
    put_anothers_export_under_its_name,
    put_a_torn_export_under_its_name,
]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__.replace("_", " "))
def test_the_journal_of_a_scan_that_was_never_exported_stays(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    """Only the journal knows which frames were written. recover and ls report a problem, and nothing changes."""
    folder = tmp_path / "run"
    part = interrupt(folder / "data.npz")
    lose(part)
    before = content(folder)
    for dry_run in (False, True, False):
        found = {result.part.name: result for result in lys_storage.recover(folder, dry_run=dry_run)}["data.npz.part"]
        assert (found.path, found.failed, found.cleaned_up, found.state) == (None, True, False, "damaged")
        assert "its scan file data.npz.part is missing" in found.message
        assert content(folder) == before
    (listed,) = (entry for entry in list_scans(folder) if entry.path == journal_path(part))
    assert (listed.state, listed.problem) == ("damaged", True)


def test_a_scan_file_that_was_renamed_to_an_export_is_named_and_recovered_once_it_is_back(tmp_path: Path) -> None:
    """The journal alone has no frames. With the scan file, the frames are recovered."""
    part = interrupt(tmp_path / "data.npz")
    part.rename(tmp_path / "data.npz")
    (found,) = lys_storage.recover(tmp_path)
    assert "data.npz is incomplete: if it is the scan file, rename it to data.npz.part" in found.message
    (tmp_path / "data.npz").rename(part)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.path, found.frames_written) == (tmp_path / "data.npz", 2)


@pytest.mark.parametrize("name", ["data.npz", "data.recovered_0.npz", "another name.npz"])
def test_leftovers_go_where_the_export_of_their_scan_is_under_whatever_name(tmp_path: Path, name: str) -> None:
    """The final name in its description is tried first, then all others of the folder."""
    tmp_path = tmp_path / "run"
    part = interrupt(tmp_path / "data.npz")
    journal = journal_path(part).read_bytes()
    lys_storage.recover(tmp_path)
    (tmp_path / "data.npz").rename(tmp_path / name)
    another_export(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"no archive")
    journal_path(part).write_bytes(journal)
    redo_path(part).write_bytes(b"")
    (listed,) = (entry for entry in list_scans(tmp_path) if entry.path == journal_path(part))
    assert (listed.state, listed.problem) == ("leftover", False)
    (found,) = lys_storage.recover(tmp_path, dry_run=True)
    assert (found.state, found.failed) == ("leftover", False)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.cleaned_up, found.failed) == (True, False)
    assert name in found.message
    assert files(tmp_path) == {name, "a.npz", "b.npz"}


def test_a_journal_that_cannot_be_read_stays_beside_any_export(tmp_path: Path) -> None:
    """Its scan is unknown."""
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()
    another_export(tmp_path / "data.npz")
    (tmp_path / "data.npz.part.journal").write_bytes(b"rubbish" * 100)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.failed, found.cleaned_up) == (True, False)
    assert files(tmp_path) == {"data.npz", "data.npz.part.journal"}


@pytest.mark.parametrize("sector", [0, 1536], ids=["without its head", "without its description"])
def test_a_journal_that_never_reached_the_disk_goes_where_an_export_is(tmp_path: Path, sector: int) -> None:
    """After a power cut the name of a journal can be durable while its content is not, if no flush came before."""
    tmp_path = tmp_path / "run"
    part = interrupt(tmp_path / "data.npz")
    journal = bytearray(journal_path(part).read_bytes())
    journal[sector : sector + 512] = bytes(512)
    journal_path(part).write_bytes(journal)
    part.rename(tmp_path / "kept.bak")
    (found,) = lys_storage.recover(tmp_path)
    assert (found.failed, journal_path(part).exists()) == (True, True)
    another_export(tmp_path / "data.npz")
    (found,) = lys_storage.recover(tmp_path)
    assert found.cleaned_up
    assert files(tmp_path) == {"data.npz", "kept.bak"}


def test_a_damaged_journal_stays_even_where_an_export_is(tmp_path: Path) -> None:
    """A byte of its description is flipped. Its states can still be useful."""
    tmp_path = tmp_path / "run"
    part = interrupt(tmp_path / "data.npz")
    journal = bytearray(journal_path(part).read_bytes())
    journal[1540] ^= 1
    journal_path(part).write_bytes(journal)
    part.rename(tmp_path / "kept.bak")
    another_export(tmp_path / "data.npz")
    (found,) = lys_storage.recover(tmp_path)
    assert (found.failed, found.cleaned_up) == (True, False)
    assert files(tmp_path) == {"data.npz", "data.npz.part.journal", "kept.bak"}


# -- a redo log without its journal ------------------------------------------------------------------------------------


def with_redo(folder: Path) -> tuple[Path, bytes]:
    """An interrupted scan with a rewritten frame, and the content of its redo log."""
    scan = lys_storage.create(folder / "data.npz", (4, 3), "u2", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.ones(3, "u2")
    scan.flush()
    scan[0] = np.full(3, 5, "u2")
    redo = redo_path(scan.part_path).read_bytes()
    scan.suspend()
    assert redo != b""
    return scan.part_path, redo


def test_a_redo_file_alone_goes_only_where_the_export_of_its_scan_is(tmp_path: Path) -> None:
    """Its records carry the checksum of a scan_id."""
    tmp_path = tmp_path / "run"
    part, redo = with_redo(tmp_path)
    redo_path(part).write_bytes(redo)
    for path in (part, journal_path(part)):
        path.rename(path.with_suffix(".bak"))
    another_export(tmp_path / "data.npz")
    for dry_run in (True, False):
        (found,) = lys_storage.recover(tmp_path, dry_run=dry_run)
        assert (found.failed, found.cleaned_up) == (True, False)
        assert redo_path(part).read_bytes() == redo
    redo_path(part).unlink()
    (tmp_path / "data.npz").unlink()
    for path in (part, journal_path(part)):
        path.with_suffix(".bak").rename(path)
    lys_storage.recover(tmp_path)
    redo_path(part).write_bytes(redo)
    (found,) = lys_storage.recover(tmp_path)
    assert found.cleaned_up
    assert files(tmp_path) == {"data.npz"}


# -- a hard link of the scan file --------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links here")
@pytest.mark.parametrize("name", ["x.npz", "data.npz"])
def test_a_hard_link_of_an_unfinished_scan_file_is_not_its_export(tmp_path: Path, name: str) -> None:
    """It has the name of an export but does not open as one. The scan is recovered as usual."""
    part = interrupt(tmp_path / "data.npz")
    os.link(part, tmp_path / name)
    assert inspect(part).message == "would be exported, 2 of 4 frames"
    (found,) = lys_storage.recover(tmp_path)
    assert (found.path, found.frames_written, found.cleaned_up) == (tmp_path / "data.npz", 2, False)
    assert load_export(tmp_path / "data.npz").data[:, 0].tolist() == [1, 0, 3, 0]
    assert lys_storage.verify(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "link"), reason="no hard links here")
def test_a_scan_file_that_is_its_export_already_loses_its_other_name_only(tmp_path: Path) -> None:
    """A crash came between the link of the final name and the unlink of the other one."""
    part = interrupt(tmp_path / "data.npz")
    journal = journal_path(part).read_bytes()
    lys_storage.recover(tmp_path)
    os.link(tmp_path / "data.npz", part)
    journal_path(part).write_bytes(journal)
    with pytest.raises(
        lys_storage.NameTakenError, match=r"is a second name of the finished data\.npz: open_wave reads that"
    ):
        lys_storage.resume(tmp_path / "data.npz")
    assert "is a second name of the finished data.npz" in lys_storage.recover(tmp_path, dry_run=True)[0].message
    (found,) = lys_storage.recover(tmp_path)
    assert (found.path, found.cleaned_up, found.failed) == (tmp_path / "data.npz", True, False)
    assert files(tmp_path) == {"data.npz"}


# -- empty files -------------------------------------------------------------------------------------------------------


def test_an_empty_file_of_another_is_not_removed(tmp_path: Path) -> None:
    """Firefox creates an empty file for each download, and writes it later."""
    (tmp_path / "setup.exe.part").touch()
    (found,) = lys_storage.recover(tmp_path)
    assert (found.state, found.failed) == ("foreign", False)
    assert files(tmp_path) == {"setup.exe.part"}


def test_an_empty_scan_file_whose_journal_tells_of_frames_is_not_removed_with_it(tmp_path: Path) -> None:
    """It was truncated, or is a placeholder of a synchronizer."""
    part = interrupt(tmp_path / "data.npz")
    part.write_bytes(b"")
    before = content(tmp_path)
    for dry_run in (True, False):
        (found,) = lys_storage.recover(tmp_path, dry_run=dry_run)
        assert (found.failed, found.cleaned_up) == (True, False)
        assert "but its journal has frames" in found.message
        assert content(tmp_path) == before


# -- paths that are named themselves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_recover_says_of_each_name_what_it_is(tmp_path: Path, dry_run: bool) -> None:
    """A misspelt folder, a text file and a good export have different messages. None says that it was exported now."""
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()
    another_export(tmp_path / "good.npz")
    (tmp_path / "text.txt").write_text("hello")
    before = content(tmp_path)
    told = {}
    for name in ("misspelt", "text.txt", "good.npz"):
        (result,) = lys_storage.recover(tmp_path / name, dry_run=dry_run)
        assert (result.cleaned_up, result.running) == (False, False)
        told[name] = (result.message.removeprefix(f"{tmp_path / name} "), result.failed)
    assert told == {
        "misspelt": ("no folder, export or scan in progress has this name", True),
        "text.txt": ("is neither an export (.npz) nor a scan in progress (.npz.part)", True),
        "good.npz": ("finished already, nothing to do", False),
    }
    assert content(tmp_path) == before


def test_a_redo_log_beside_a_journal_that_was_never_durable_is_removed_with_it(tmp_path: Path) -> None:
    """No flush has succeeded before the export, and a power cut left the journal as zeros."""
    with lys_storage.create(tmp_path / "x.npz", (3, 4), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        for version in (1, 2):
            scan[0] = np.full(4, version, "u1")
        redo = (tmp_path / "x.npz.part.redo").read_bytes()
    left = tmp_path / "x.npz.part.journal", tmp_path / "x.npz.part.redo"
    left[0].write_bytes(bytes(8192))
    left[1].write_bytes(redo)
    (result,) = lys_storage.recover(tmp_path)
    assert result.cleaned_up, result.message
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    for path in left:
        path.write_bytes(bytes(8192) if path == left[0] else redo)
    (tmp_path / "x.npz").rename(tmp_path / "moved.npz")
    (result,) = lys_storage.recover(tmp_path)  # its export is elsewhere
    assert result.failed
    assert all(path.exists() for path in left)
