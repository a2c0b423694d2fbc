"""The folder, the files or the final name of a scan are removed, replaced or made read-only while it runs."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import LysStorageError, NameTakenError, Scan, StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.faults.operations import (
    BECOME_NOBODY,
    DATA,
    JOURNAL,
    PART,
    Disk,
    assert_a_death_now_loses_nothing,
    assert_saved,
    assert_told,
)
from tests.faults.scans import IN_PROGRESS, begun, create, interrupted, write
from tests.helpers import assert_same_array, files, load_export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls that fail are Linux's")


# -- the folder, the files and the names change during a scan ----------------------------------------------------------


def test_a_folder_that_is_removed_while_a_scan_runs_is_an_error_and_what_came_can_still_be_read(folder: Path) -> None:
    """The files exist as long as they are open: frames are accepted, and only the name is missing."""
    scan = begun(folder)
    shutil.rmtree(folder)
    write(scan, 3)
    scan.flush()
    with pytest.raises(StorageOSError) as caught:
        scan[0] = DATA[0]  # a rewrite needs the redo log
    assert_told(caught.value, errno.ENOENT, folder)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.close()
        assert_told(caught.value, errno.ENOENT, folder)
    assert_same_array(scan.read(slice(0, 4)), DATA[:4])
    with contextlib.suppress(StorageOSError):
        scan.suspend()
    assert not folder.exists()


def test_a_folder_that_is_removed_before_the_first_flush_makes_it_fail(folder: Path) -> None:
    """A file without a name cannot be durable."""
    scan = create(folder)
    write(scan, 0)
    shutil.rmtree(folder)
    with pytest.raises(StorageOSError) as caught:
        scan.flush()
    assert_told(caught.value, errno.ENOENT, folder)
    with pytest.raises(StorageOSError):
        scan.suspend()


def test_in_a_folder_that_is_renamed_the_scan_is_saved_where_it_is(folder: Path) -> None:
    """It is recovered there if the process dies."""
    scan = begun(folder)
    away = folder.rename(folder.with_name("away"))
    write(scan, 3)
    assert_a_death_now_loses_nothing(away, {0, 1, 2, 3})
    scan.close()
    assert scan.path == away / "data.npz"
    assert_saved(away, {0, 1, 2, 3})


def in_its_place(folder: Path) -> Scan:
    """A scan of the same name, in a new folder of the same name."""
    scan = create(folder, note={"which": "the second"})
    scan[5] = DATA[5]
    scan.flush()
    return scan


def inodes(folder: Path) -> dict[str, int]:
    """The inode of each name."""
    return {name: (folder / name).stat().st_ino for name in files(folder)}


@pytest.mark.parametrize("how", ["removed", "renamed away"])
@pytest.mark.parametrize(
    "deed",
    [
        pytest.param(lambda scan: scan.close(), id="close"),
        pytest.param(lambda scan: scan.suspend(), id="suspend"),
        pytest.param(lambda scan: scan.write(0, DATA[0]), id="rewrite a frame"),
        pytest.param(lambda scan: scan.write((3, 4), 1.0), id="lay the grid out anew"),
    ],
)
def test_a_scan_whose_folder_has_gone_never_touches_the_one_that_is_in_its_place(
    folder: Path, how: str, deed: Callable[[Scan], Any]
) -> None:
    """The name now belongs to the files of another scan. These are neither published, nor removed, nor replaced."""
    one = begun(folder)
    if how == "removed":
        shutil.rmtree(folder)
    else:
        folder.rename(folder.with_name("away"))
    two = in_its_place(folder)
    two[5] = DATA[5]  # creates a redo log
    before = inodes(folder)
    with contextlib.suppress(LysStorageError):
        deed(one)
    with contextlib.suppress(LysStorageError):
        one.suspend()
    assert inodes(folder) == before
    assert not (folder / "data.npz").exists()
    write(two, 4)
    two.close()
    assert load_export(folder / "data.npz").note == {"which": "the second"}
    assert_saved(folder, {4, 5})


def test_an_empty_scan_whose_folder_has_gone_does_not_discard_the_one_in_its_place(folder: Path) -> None:
    """A discard removes its own file, not the file of that name."""
    one = create(folder)
    shutil.rmtree(folder)
    two = in_its_place(folder)
    with contextlib.suppress(LysStorageError):
        one.discard()
    with contextlib.suppress(LysStorageError):
        one.suspend()
    two.close()
    assert_saved(folder, {5})


def test_a_scan_file_that_is_unlinked_while_the_scan_runs_is_an_error_at_its_end(folder: Path) -> None:
    """It is not a success without a file. The frames can be read from the open scan."""
    scan = begun(folder)
    scan.part_path.unlink()
    write(scan, 3)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.close()
        assert_told(caught.value, errno.ENOENT, folder)
        assert files(folder) == {"data.npz" + JOURNAL}
    assert_same_array(scan.read(slice(0, 4)), DATA[:4])
    scan.suspend()
    (found,) = lys_storage.recover(folder)
    assert found.path is None
    assert "its scan file data.npz.part is missing" in found.message
    assert files(folder) == {"data.npz" + JOURNAL}


def test_a_journal_that_is_unlinked_while_the_scan_runs_costs_the_export_nothing(folder: Path) -> None:
    """The open file has everything that the export needs."""
    scan = begun(folder)
    (folder / ("data.npz" + JOURNAL)).unlink()
    write(scan, 3)
    scan.note["b"] = 2
    scan.close()
    assert load_export(folder / "data.npz").note == {"a": 1, "b": 2}
    assert_saved(folder, {0, 1, 2, 3})


def test_a_scan_without_its_journal_is_told_and_left_as_it_is(folder: Path) -> None:
    """It is then unknown which frames are written."""
    scan = begun(folder)
    (folder / ("data.npz" + JOURNAL)).unlink()
    scan.suspend()
    (found,) = lys_storage.recover(folder)
    assert found.path is None
    assert os.strerror(errno.ENOENT) in found.message
    assert files(folder) == {"data.npz" + PART}


# -- a final name that is a folder ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_link", [False, True], ids=["by a rename that refuses", "by a link"])
def test_a_final_name_that_is_a_folder_by_now_is_refused_and_the_scan_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, by_link: bool
) -> None:
    """close() succeeds after the folder is moved away."""
    if by_link:
        monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
    scan = begun(folder)
    (folder / "data.npz").mkdir()
    with pytest.raises(NameTakenError):
        scan.close()
    assert files(folder) == IN_PROGRESS
    (folder / "data.npz").rmdir()
    scan.close()
    assert_saved(folder, {0, 1, 2})


def test_a_final_name_that_is_a_folder_is_not_replaced_even_where_a_file_would_be(folder: Path) -> None:
    """This includes an empty folder."""
    scan = begun(folder, overwrite=True)
    (folder / "data.npz").mkdir()
    with pytest.raises(StorageOSError) as caught:
        scan.close()
    assert_told(caught.value, errno.EISDIR, folder)
    assert (folder / "data.npz").is_dir()
    (folder / "data.npz").rmdir()
    scan.close()
    assert_saved(folder, {0, 1, 2})


def test_a_number_whose_name_is_a_folder_by_now_is_passed_over(folder: Path) -> None:
    """The report says so."""
    scan = begin_scan(folder, "data", DATA.shape, "f8", numbered=True, replace_existing=False, grid_ndim=1)
    write(scan, 0)
    (folder / "data_0.npz").mkdir()
    assert scan.close() == folder / "data_1.npz"
    assert scan.report is not None
    assert scan.report.renumbered
    assert_saved(folder, {0}, "data_1.npz")


def test_recovery_takes_another_name_where_its_own_is_a_folder(folder: Path) -> None:
    """It replaces nothing."""
    interrupted(folder)
    (folder / "data.npz").mkdir()
    (found,) = lys_storage.recover(folder)
    assert found.path == folder / "data.recovered_0.npz"
    assert_saved(folder, {0, 1, 2}, "data.recovered_0.npz")


# -- a folder that may no longer be written -------------------------------------------------------------------------------

READ_ONLY = """
import errno, os, sys
import numpy as np
from pathlib import Path
import lys_storage  # before it is somebody else, who may not be allowed to
from tests.faults.operations import DATA as data

folder = Path(sys.argv[1])
exec(sys.argv[2])
folder.mkdir()
scan = lys_storage.create(folder / "data.npz", data.shape, grid_ndim=1, flush_interval_s=None)
scan[0] = data[0]
folder.chmod(0o555)

def refused(deed):
    try:
        deed()
    except lys_storage.StorageOSError as error:
        print(error.errno == errno.EACCES, Path(error.filename).name)
    else:
        print("went through")

def rewrite():
    scan[0] = data[0]

scan[1] = data[1]
scan.flush()
scan.note = {"a": 1}
refused(lambda: lys_storage.create(folder / "other.npz", (2,)))
refused(rewrite)
refused(scan.close)
print(sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")))
folder.chmod(0o755)
scan.close()
"""


def test_a_folder_that_may_no_longer_be_written_keeps_the_scan_until_it_may_be_again(
    open_to_all: Path, run_child: Callable[..., Any]
) -> None:
    """Frames, flushes and the note need no new name. A rewrite, the export and a new scan do."""
    child = run_child(READ_ONLY, open_to_all / "run", BECOME_NOBODY)
    assert child.code == 0, child.err
    assert child.out.splitlines() == [
        "True other.npz.part",
        "True data.npz.part.redo",
        "True data.npz.part",
        "['data.npz.part', 'data.npz.part.journal']",
    ]
    assert load_export(open_to_all / "run" / "data.npz").note == {"a": 1}
    assert_saved(open_to_all / "run", {0, 1})


# -- no space can be preallocated --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT], ids=["ENOSPC", "EDQUOT"])
def test_where_space_cannot_be_preallocated_a_full_disk_refuses_frames_and_what_came_is_saved(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A frame without space raises an exception. The others are in the export, although the disk stays full."""
    calls = 0

    def refuse(file: File, offset: int, size: int) -> bool:
        nonlocal calls
        calls += 1
        return False

    monkeypatch.setattr(File, "preallocate", refuse)
    monkeypatch.setattr(File, "punch_hole", refuse)
    scan = create(folder, fill_value=0)
    assert calls >= 2
    write(scan, 0, 1, 2)
    disk.breaks("write a frame", code)
    refused = 0
    for k in (3, 4, 5):
        try:
            write(scan, k)
        except lys_storage.DiskFullError as error:
            assert_told(error, code, folder)
            refused += 1
    assert (refused, scan.frames_written) == (3, 3)
    disk.mended()
    scan.close()
    export = load_export(folder / "data.npz")
    assert_same_array(export.data, np.concatenate([DATA[:3], np.zeros((3, 500))]))
    assert export.info["missing"] == [[3, 6]]
    assert files(folder) == {"data.npz"}
    assert lys_storage.verify(folder) == []
