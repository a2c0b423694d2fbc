"""A resumed scan continues where it was suspended, in one process at a time, and executes nothing from its files."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, ScanClosedError, ScanInUseError, StorageOSError
from tests.helpers import assert_same_array, files, interrupt, load_export
from tests.scan.scans import begin

# -- the state of a resumed scan ---------------------------------------------------------------------------------------


def test_a_suspended_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    """This includes frames, rewrites, grid, fill value, axes and note. It can be repeated, with any of its names."""
    scan, expected = (
        begin(tmp_path, (4, 3), "i4", fill_value=-7, axes=[range(4)], note={"n": 0}),
        np.full((4, 3), -7, "i4"),
    )
    for k, name in enumerate(["data.npz", "data.npz.part", "data.npz.part.journal", "data.npz"]):
        scan[0] = expected[0] = [k] * 3
        if k < 3:
            scan[k] = expected[k] = [10 * k] * 3
        scan.note["n"] += 1
        scan.suspend()
        scan.suspend()
        scan = lys_storage.resume(tmp_path / name)
        assert scan.written.tolist() == [True, k > 0, k > 1, False]
        assert_same_array(scan.array, np.where(expected == -7, 0, expected).astype("i4"))
    assert (scan.note, scan.axes[0].tolist(), scan.fill_value, scan.path.name) == (
        {"n": 4},
        [0, 1, 2, 3],
        -7,
        "data.npz",
    )
    assert_same_array(load_export(scan.close()).data, expected)
    assert files(tmp_path) == {"data.npz"}


def test_a_resumed_scan_keeps_its_grid(tmp_path: Path) -> None:
    """It still refuses a longer index."""
    scan = begin(tmp_path, (4, 3))
    scan[1] = np.ones(3)
    scan.suspend()
    with lys_storage.resume(scan.path) as scan:
        with pytest.raises(FrameIndexError, match="a part of a frame"):
            scan[0, 1] = 5.0
        assert (scan.grid_shape, scan.frames_written) == ((4,), 1)


def test_a_scan_without_frames_can_be_suspended_and_its_first_index_still_says_the_grid(tmp_path: Path) -> None:
    begin(tmp_path, (4, 3)).suspend()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        scan[1] = np.ones(3)
        assert (scan.grid_shape, scan.frames_written) == ((4,), 1)


def test_a_suspended_scan_is_not_closed_by_mistake(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.suspend()
    with pytest.raises(ScanClosedError, match=r"is suspended.*resume"):
        scan.close()


def test_a_scan_that_is_being_written_is_not_resumed(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        with pytest.raises(ScanInUseError):
            lys_storage.resume(scan.path)
        scan[...] = np.ones((2, 3))


def test_resuming_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(lys_storage.StorageOSError) as caught:
        lys_storage.resume(tmp_path / "data.npz")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, os.fspath(tmp_path / "data.npz.part"))


def test_two_scans_of_one_name_have_to_be_told_apart(tmp_path: Path) -> None:
    """Unnumbered scans that replace a file have an id in their name."""
    for _ in range(2):
        begin(tmp_path, overwrite=True).suspend()
    with pytest.raises(lys_storage.BadFileError, match="has 2 scans in progress, expected one: name one of"):
        lys_storage.resume(tmp_path / "data.npz")
    for name in sorted(n for n in files(tmp_path) if n.endswith(".part")):
        lys_storage.resume(tmp_path / name).close()
    assert files(tmp_path) == {"data.npz"}


# -- which scan it is --------------------------------------------------------------------------------------------------


def test_a_resumed_scan_names_the_missing_frames_and_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """The scan is named by its final name or by its .part."""
    part = interrupt(tmp_path / "data.npz")
    inode = part.stat().st_ino
    with lys_storage.resume(tmp_path / "data.npz", shape=(4, 3), dtype="u2") as scan:
        assert list(scan.missing()) == [(1,), (3,)]
        for index in scan.missing():
            scan[index] = np.full(3, index[0] + 1, "u2")
    assert scan.path.stat().st_ino == inode
    assert_same_array(load_export(scan.path).data, np.repeat(np.arange(1, 5, dtype="u2"), 3).reshape(4, 3))


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"shape": (4, 4)}, r"uint16 \(4, 3\), expected uint16 \(4, 4\)"), ({"dtype": "f4"}, "expected float32")],
    ids=["another shape", "another dtype"],
)
def test_a_resume_as_something_else_is_refused(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    """The message names both values. The scan stays as it is."""
    interrupt(tmp_path / "data.npz")
    with pytest.raises(lys_storage.ScanShapeError, match=said):
        lys_storage.resume(tmp_path / "data.npz", **asked)
    assert len(lys_storage.recover(tmp_path)) == 1


def test_only_one_process_resumes_a_scan(tmp_path: Path) -> None:
    """The second process gets the error that the scan is being written."""
    interrupt(tmp_path / "data.npz")
    with lys_storage.resume(tmp_path / "data.npz"), pytest.raises(lys_storage.ScanInUseError):
        lys_storage.resume(tmp_path / "data.npz")


# -- its note ----------------------------------------------------------------------------------------------------------


def test_a_resumed_scan_runs_nothing_that_its_journal_says(tmp_path: Path) -> None:
    """The note is a pickle. What is not plain data in it is refused by name, and is exported unchanged."""
    interrupt(tmp_path / "data.npz", note={"where": Path("a")})
    scan = lys_storage.resume(tmp_path / "data.npz")
    with pytest.raises(lys_storage.UnsafeFileError, match="pathlib"):
        _ = scan.note
    scan.close()
    with lys_storage.open_wave(tmp_path / "data.npz", allow_pickle=True) as wave:
        assert wave.note == {"where": Path("a")}


@pytest.mark.parametrize(
    "content", [b"", b"notes of today", b"PK\x03\x04"], ids=["empty", "text", "the beginning of a ZIP"]
)
def test_a_file_that_is_no_export_is_not_called_a_finished_scan(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StorageOSError, match=r"and notes\.txt does not open as an export of lys_storage"):
        lys_storage.resume(path)


def test_a_finished_scan_is_said_to_be_finished(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "data.npz", (2,)) as scan:
        scan[...] = [1, 2]
    with pytest.raises(StorageOSError, match=r"the scan is finished; open_wave reads data\.npz"):
        lys_storage.resume(tmp_path / "data.npz")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no working directory")
def test_a_working_directory_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageOSError, match="go to another one, or give a full path"):
        lys_storage.resume("data.npz")
