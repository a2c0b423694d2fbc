"""Recovery and resume never overwrite an export or another scan. A scan file can be renamed while it is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, Scan, StorageOSError
from tests.helpers import files, load_export


def begin(path: Path, frames: int, base: int = 0, **options: Any) -> Scan:
    path.parent.mkdir(exist_ok=True)
    scan = lys_storage.create(path, (8, 16, 16), "u2", grid_ndim=1, fill_value=0, **options)
    for k in range(frames):
        scan[k] = np.full((16, 16), base + k + 1, "u2")
    return scan


@pytest.mark.parametrize("frames", [5, 8])
def test_a_scan_file_that_was_renamed_while_it_is_written_is_not_taken_for_its_export(
    tmp_path: Path, frames: int
) -> None:
    scan = begin(tmp_path / "x.npz", frames)
    os.rename(scan.part_path, tmp_path / "look.npz")
    with pytest.raises(StorageOSError, match=r"renamed to look\.npz"):
        scan.close()
    assert "x.npz.part.journal" in files(tmp_path)
    os.rename(tmp_path / "look.npz", scan.part_path)
    assert scan.close() == tmp_path / "x.npz"
    assert load_export(tmp_path / "x.npz").info["frames_written"] == frames


def test_a_renamed_scan_that_is_suspended_is_flushed_and_recovered_under_its_name(tmp_path: Path) -> None:
    scan = begin(tmp_path / "x.npz", 5)
    os.rename(scan.part_path, tmp_path / "look.npz")
    scan.suspend()
    os.rename(tmp_path / "look.npz", scan.part_path)
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written == 5


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """Two scans of one shape whose scan files are swapped."""
    for name, base in (("a", 100), ("b", 200)):
        begin(tmp_path / f"{name}.npz", 8, base).suspend()
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        os.rename(tmp_path / f"{old}.npz.part", tmp_path / f"{new}.npz.part")
    return tmp_path


@pytest.mark.parametrize("deed", ["recover", "resume"])
def test_a_scan_file_beside_the_journal_of_another_scan_is_not_filled_up(swapped: Path, deed: str) -> None:
    before = {path.name: path.read_bytes() for path in swapped.glob("*.part*")}
    if deed == "recover":
        results = lys_storage.recover(swapped)
        assert [(r.path, r.failed) for r in results] == [(None, True)] * 2
        assert all("the journal belongs to another scan" in r.message for r in results)
    else:
        with pytest.raises(BadFileError, match="nothing was changed"):
            lys_storage.resume(swapped / "a.npz")
    assert {path.name: path.read_bytes() for path in swapped.glob("*.part*")} == before
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        os.rename(swapped / f"{old}.npz.part", swapped / f"{new}.npz.part")
    assert [r.frames_written for r in lys_storage.recover(swapped)] == [8, 8]


def test_who_says_so_gets_it_exported_all_the_same(swapped: Path) -> None:
    assert [r.frames_written for r in lys_storage.recover(swapped, force=True)] == [0, 0]


def test_a_copy_that_has_nothing_yet_is_no_other_scan(tmp_path: Path) -> None:
    """Zeros are no proof of another scan."""
    scan = begin(tmp_path / "a" / "x.npz", 0)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for k in range(8):
        scan[k] = np.full((16, 16), k + 1, "u2")
    scan.flush()
    shutil.copy(f"{scan.part_path}.journal", tmp_path / "b")
    scan.close()
    (result,) = lys_storage.recover(tmp_path / "b")
    assert (result.frames_written, load_export(tmp_path / "b" / "x.npz").data.any()) == (0, False)
    assert "8 more were written, but not verified" in result.message


@pytest.mark.parametrize("deed", ["resume", "recover --trim"])
def test_a_finished_export_in_a_backup_of_hard_links_is_not_changed(tmp_path: Path, deed: str) -> None:
    begin(tmp_path / "run" / "x.npz", 3).suspend()
    (tmp_path / "backup").mkdir()
    for path in (tmp_path / "run").glob("x.npz.part*"):
        os.link(path, tmp_path / "backup" / path.name)
    (result,) = lys_storage.recover(tmp_path / "backup")
    assert result.path is not None
    before = result.path.read_bytes()
    if deed == "resume":
        with pytest.raises(BadFileError, match="hard link"):
            lys_storage.resume(tmp_path / "run" / "x.npz")
    else:
        (refused,) = lys_storage.recover(tmp_path / "run", incomplete="trim")
        assert (refused.path, refused.failed) == (None, True)
    assert result.path.read_bytes() == before


def test_a_dry_run_of_a_copy_promises_no_frame(tmp_path: Path) -> None:
    begin(tmp_path / "a" / "x.npz", 8).suspend()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (own,), (copy,) = (lys_storage.recover(tmp_path / name, dry_run=True) for name in "ab")
    assert "would be exported, up to 8 of 8 frames: each is compared" in copy.message
    assert own.message == "would be exported, 8 of 8 frames"
