"""Recovery removes only what is proven to be superfluous, follows links, and reports what it may not read or change."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.format import MAX_MISSING_RUNS, journal_path
from lys_storage.recovery import list_scans
from tests.helpers import files, interrupt, load_export, make_link


def fill(scan: lys_storage.Scan, frames: range) -> None:
    for k in frames:
        scan[k] = np.full(3, k + 1, "u2")


def copy_of(part: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in (part, journal_path(part)):
        shutil.copy(path, folder)
    return folder / part.name


# -- an export of an early copy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trim", [False, True])
def test_an_export_of_an_early_copy_does_not_prove_that_the_journal_is_superfluous(tmp_path: Path, trim: bool) -> None:
    folder = tmp_path / "a"
    scan = lys_storage.create(folder / "x_0.npz", (40, 3), "u2", grid_ndim=1)
    fill(scan, range(10))
    scan.flush()
    copy_of(scan.part_path, tmp_path / "b")
    fill(scan, range(10, 40))
    scan.suspend()
    (early,) = lys_storage.recover(tmp_path / "b", incomplete="trim" if trim else "fill")
    assert early.frames_written == 10
    shutil.copy(tmp_path / "b" / "x_0.npz", folder / "preview.npz")
    scan.part_path.rename(tmp_path / "aside")
    journal = journal_path(scan.part_path)
    before = journal.read_bytes()
    for dry_run in (True, False):
        (found,) = lys_storage.recover(folder, dry_run=dry_run)
        assert (found.failed, found.cleaned_up) == (True, False)
        assert "preview.npz does not have all its frames" in found.message
        assert journal.read_bytes() == before
    (tmp_path / "aside").rename(scan.part_path)
    (found,) = lys_storage.recover(folder)
    assert found.frames_written == 40
    assert files(folder) == {"preview.npz", "x_0.npz"}


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_an_export_with_every_frame_does_also_where_it_is_cut(tmp_path: Path, trim: bool, later: bool) -> None:
    """`later`: the scan has a frame that the export does not have. Then the journal stays."""
    scan = lys_storage.create(tmp_path / "x.npz", (4, 5, 3), "u2", grid_ndim=2)
    scan[0, 1] = scan[1, 2] = np.ones(3, "u2")
    scan.flush()
    copy = copy_of(scan.part_path, tmp_path / "b")
    if later:
        scan[0, 0] = np.ones(3, "u2")
    scan.suspend()
    lys_storage.recover(copy, incomplete="trim" if trim else "fill")
    scan.part_path.unlink()
    (tmp_path / "b" / "x.npz").rename(tmp_path / "x.npz")
    (found,) = lys_storage.recover(journal_path(scan.part_path))
    assert (found.cleaned_up, found.failed) == (not later, later)
    assert journal_path(scan.part_path).exists() == later


@pytest.mark.parametrize("later", [False, True])
def test_an_export_with_more_missing_runs_than_it_lists_is_compared_frame_by_frame(tmp_path: Path, later: bool) -> None:
    frames = 2 * MAX_MISSING_RUNS + 103
    scan = lys_storage.create(tmp_path / "x.npz", (frames,), "u1", grid_ndim=1)
    for k in range(0, frames, 2):
        scan[k] = 1
    scan.flush()
    copy = copy_of(scan.part_path, tmp_path / "b")
    if later:
        scan[frames - 2] = 1
    scan.suspend()
    lys_storage.recover(copy)
    assert not load_export(tmp_path / "b" / "x.npz").info["missing_complete"]
    scan.part_path.unlink()
    (tmp_path / "b" / "x.npz").rename(tmp_path / "x.npz")
    (found,) = lys_storage.recover(journal_path(scan.part_path))
    assert (found.cleaned_up, found.failed) == (not later, later)


# -- journals that cannot be read --------------------------------------------------------------------------------------


def an_export(path: Path) -> None:
    with lys_storage.create(path, (2, 3), "u2", grid_ndim=1) as scan:
        scan[...] = np.ones((2, 3), "u2")


@pytest.mark.parametrize("damage", ["cut in its head", "cut in its description", "without its head"])
def test_a_journal_that_is_damaged_stays_beside_the_export_of_another_scan(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "run"
    part = interrupt(folder / "big.npz", note={"text": "x" * 5000})
    part.rename(tmp_path / "aside")
    an_export(folder / "x.npz")
    whole = journal_path(part).read_bytes()
    left = {
        "cut in its head": whole[:40],
        "cut in its description": whole[:1700],
        "without its head": bytes(512) + whole[512:],
    }[damage]
    assert left != whole
    journal_path(part).write_bytes(left)
    for dry_run in (True, False):
        (found,) = lys_storage.recover(folder, dry_run=dry_run)
        assert (found.failed, found.cleaned_up) == (True, False)
        assert journal_path(part).read_bytes() == left


def test_a_journal_that_is_cut_short_stays_beside_an_export_of_its_name(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "run" / "big.npz")
    part.unlink()
    an_export(tmp_path / "big.npz")
    (tmp_path / "big.npz").rename(part.with_name("big.npz"))
    os.truncate(journal_path(part), 1700)
    (found,) = lys_storage.recover(part.parent)
    assert (found.failed, found.cleaned_up, found.state) == (True, False, "damaged")
    assert files(part.parent) == {"big.npz", "big.npz.part.journal"}


@pytest.mark.parametrize("size", [0, 8192])
def test_a_journal_that_was_never_filled_goes_with_true_words(tmp_path: Path, size: int) -> None:
    an_export(tmp_path / "x.npz")
    (tmp_path / "big.npz.part.journal").write_bytes(bytes(size))
    kept = tmp_path / "big.npz.part.bak"
    kept.touch()
    (found,) = lys_storage.recover(tmp_path)
    assert (found.failed, found.cleaned_up) == (True, False)
    kept.unlink()
    (found,) = lys_storage.recover(tmp_path)
    assert found.cleaned_up
    assert "a journal that was never synced" in found.message
    assert "exported" not in found.message
    assert files(tmp_path) == {"x.npz"}


def test_an_empty_file_that_only_ends_as_a_journal_of_ours_is_not_removed(tmp_path: Path) -> None:
    an_export(tmp_path / "x.npz")
    (tmp_path / "setup.exe.part.journal").touch()
    (found,) = lys_storage.recover(tmp_path)
    assert (found.state, found.failed, found.cleaned_up) == ("foreign", False, False)
    assert files(tmp_path) == {"x.npz", "setup.exe.part.journal"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_empty_scan_file_without_a_journal_can_be_anothers_and_stays(tmp_path: Path, dry_run: bool) -> None:
    """A browser creates one for each download. A `create` that was killed before its journal leaves one, too."""
    (tmp_path / "download.npz.part").touch()
    (found,) = lys_storage.recover(tmp_path, dry_run=dry_run)
    assert (found.state, found.failed, found.cleaned_up) == ("foreign", False, False)
    assert "is empty and has no journal: there is nothing to recover" in found.message
    (listed,) = list_scans(tmp_path)
    assert (listed.state, listed.problem) == ("foreign", False)
    assert files(tmp_path) == {"download.npz.part"}


def test_an_empty_scan_file_with_a_journal_of_no_frames_goes(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "data.npz", frames=())
    part.write_bytes(b"")
    (found,) = lys_storage.recover(tmp_path)
    assert found.cleaned_up
    assert files(tmp_path) == set()


# -- symbolic links ----------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """The scan file of an interrupted scan in t/, with links to it and to its journal in v/."""
    part = interrupt(tmp_path / "t" / "x.npz")
    (tmp_path / "v").mkdir()
    for path in (part, journal_path(part)):
        make_link(tmp_path / "v" / path.name, path)
    return part


@pytest.mark.parametrize("name", ["v", "v/x.npz.part", "v/x.npz", "v/x.npz.part.journal"])
def test_a_link_to_a_scan_file_is_recovered_where_the_scan_is(tmp_path: Path, linked: Path, name: str) -> None:
    (found,) = lys_storage.recover(tmp_path / name)
    assert (found.path, found.frames_written) == (linked.with_name("x.npz"), 2)
    assert files(linked.parent) == {"x.npz"}
    assert not linked.with_name("x.npz").is_symlink()
    assert load_export(linked.with_name("x.npz")).data[:, 0].tolist() == [1, 0, 3, 0]


def test_a_link_to_a_scan_file_is_resumed_where_the_scan_is(tmp_path: Path, linked: Path) -> None:
    with lys_storage.resume(tmp_path / "v" / "x.npz") as scan:
        scan[1] = np.full(3, 2, "u2")
    assert files(linked.parent) == {"x.npz"}
    assert load_export(linked.with_name("x.npz")).data[:, 0].tolist() == [1, 2, 3, 0]


def test_a_scan_file_whose_journal_is_a_link_is_left_as_it_is(tmp_path: Path, linked: Path) -> None:
    """Recovery writes into the journal. The journal of another scan file would no longer name all its frames."""
    copy = tmp_path / "v" / linked.name
    copy.unlink()
    copy.write_bytes(linked.read_bytes()[:-100])
    before = journal_path(linked).read_bytes()
    (found,) = lys_storage.recover(tmp_path / "v")
    assert (found.failed, found.path) == (True, None)
    assert "is a link" in found.message
    with pytest.raises(lys_storage.BadFileError, match="is a link"):
        lys_storage.resume(copy)
    assert journal_path(linked).read_bytes() == before


def test_a_name_that_no_file_can_have_is_said_not_to_be_there(tmp_path: Path) -> None:
    (found,) = lys_storage.recover(tmp_path / "a\0b.npz.part")
    assert (found.failed, found.message) == (True, "no folder, export or scan in progress has this name")


# -- what this user may not read or change -----------------------------------------------------------------------------

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no modes of files here")
AS_NOBODY = """
import os, sys
os.chdir(sys.argv[1])
from lys_storage.cli import main
import encodings.cp437, lys_storage.recovery, lys_storage.cli.commands
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[2:])
"""


def as_nobody(folder: Path, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    """The exit code and the output of a command that another user than root runs in `folder`."""
    child = [sys.executable, "-c", AS_NOBODY, str(folder), *arguments, "--json"]
    done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@posix
@pytest.mark.parametrize("command", ["ls", "verify", "recover"])
def test_a_scan_in_a_folder_that_may_be_listed_but_not_entered_is_said(tmp_path: Path, command: str) -> None:
    part = interrupt(tmp_path / "d" / "x.npz")
    an_export(tmp_path / "e.npz")
    (tmp_path / "e.npz").rename(part.parent / "e.npz")
    tmp_path.chmod(0o755)
    part.parent.chmod(0o644)
    try:
        code, said = as_nobody(tmp_path, command, "d")
    finally:
        part.parent.chmod(0o755)
    states = {str(one["path"]): one["state"] for one in said}
    names = {"d/x.npz.part"} if command == "recover" else {"d/x.npz.part", "d/e.npz"}
    assert states == dict.fromkeys(names, "not readable")
    assert code == 0


@posix
def test_leftovers_that_may_not_be_removed_are_said_to_be_so_and_by_a_dry_run_too(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "d" / "x.npz")
    journal = journal_path(part).read_bytes()
    lys_storage.recover(part.parent)
    journal_path(part).write_bytes(journal)
    tmp_path.chmod(0o755)
    part.parent.chmod(0o555)
    for path in part.parent.iterdir():
        path.chmod(0o644)
    try:
        told = [as_nobody(tmp_path, "recover", "d", *more) for more in ([], ["--dry-run"])]
    finally:
        part.parent.chmod(0o755)
    assert told[0] == told[1]
    assert told[0][0] == 1
    assert "this user may not write d" in str(told[0][1])
    assert files(part.parent) == {"x.npz", "x.npz.part.journal"}
