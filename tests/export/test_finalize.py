"""Finalizing a scan in progress: it reads no array, replaces no file, and can be repeated after any failure."""

from __future__ import annotations

import errno
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import NameTakenError, Scan, StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.fixtures import Faults
from tests.helpers import assert_same_array, files, load_export
from tests.killing import every_death, moments
from tests.systems import not_under_wine

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

EXPECTED = np.array([[1] * 1000, [7] * 1000, [4] * 1000, [7] * 1000], "u2")


def running(folder: Path, **options: Any) -> Scan:
    """A scan with a rewritten frame (and so a redo log), missing frames, axes and a note."""
    scan = lys_storage.create(
        *(folder / "data.npz", (4, 1000), "u2"),
        **{"fill_value": 7, "axes": [range(4)], "note": {"a": 1}, "flush_interval_s": None, **options},
    )
    for i, value in ((0, 1), (2, 3), (2, 4)):
        scan[i] = np.full(1000, value, "u2")
    return scan


def assert_exported(path: Path) -> None:
    export = load_export(path)
    assert_same_array(export.data, EXPECTED)
    assert (export.note, export.axes[0].tolist()) == ({"a": 1}, [0, 1, 2, 3])
    assert (export.info["frames_written"], export.info["missing"]) == (2, [[1, 2], [3, 4]])


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_a_complete_scan_is_finalized_without_reading_or_writing_its_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 MiB with checksums of all frames: a few KiB of header and tail are written, and nothing is read."""
    scan = lys_storage.create(tmp_path / "data.npz", (64, 1 << 18), "u1", flush_interval_s=None)
    for i in range(64):
        scan[i] = np.full(1 << 18, i, "u1")
    scan.flush()
    moved = {"read": 0, "write": 0}
    real_read, real_write = File.read_into, File.write_at

    def read_into(file: File, buffer: Any, offset: int) -> int:
        moved["read"] += len(buffer) if file.path == scan.part_path else 0
        return real_read(file, buffer, offset)

    def write_at(file: File, data: Any, offset: int) -> None:
        moved["write"] += len(data) if file.path == scan.part_path else 0
        real_write(file, data, offset)

    monkeypatch.setattr(File, "read_into", read_into)
    monkeypatch.setattr(File, "write_at", write_at)
    scan.close()
    assert moved["read"] == 0
    assert moved["write"] < 80_000  # the header of up to 64 KiB is a part of it
    monkeypatch.undo()
    assert load_export(scan.path).data[:, 7].tolist() == list(range(64))


def test_a_fill_of_zero_is_free(tmp_path: Path, faults: Faults) -> None:
    """1 GiB with one written frame: the rest are holes, which are not written."""
    scan = begin_scan(
        *(tmp_path, "data", (1024, 1 << 20), "u1"),
        numbered=False,
        replace_existing=False,
        preallocate=False,
        grid_ndim=1,
    )
    scan[500] = np.ones(1 << 20, "u1")
    scan.flush()
    faults.calls.clear()
    path = scan.close()
    assert faults.calls["write"] < 10
    assert path.stat().st_size > 1 << 30
    allocated = SYSTEM.allocated_bytes(path.stat())
    assert allocated is None or allocated < 16 << 20


def test_what_a_frame_left_that_was_cut_off_does_not_show(tmp_path: Path, faults: Faults) -> None:
    """A part of its bytes is in the file. The frame is missing, and holds the fill value."""
    for fill in (0, 5):
        scan = lys_storage.create(
            tmp_path / f"{fill}.npz", (3, 4, 1 << 17), "f8", fill_value=fill, grid_ndim=1, flush_interval_s=None
        )
        frame = np.full((4, 1 << 18), 9, "f4")[:, ::2]
        faults.fail("write", 2, errno.EIO)
        with pytest.raises(StorageOSError):
            scan[1] = frame
        assert scan.written.tolist() == [False] * 3
        assert scan.array[1].any(), "some of it is there"
        assert_same_array(scan.read(1), np.full((4, 1 << 17), fill, "f8"))
        data = load_export(scan.close()).data
        assert_same_array(data, np.full((3, 4, 1 << 17), fill, "f8"))


# -- the name ----------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_refused_at_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(b"mine")
    with pytest.raises(NameTakenError, match="exists already") as caught:
        running(tmp_path)
    assert isinstance(caught.value, FileExistsError)
    assert caught.value.filename == str(tmp_path / "data.npz")
    assert (files(tmp_path), (tmp_path / "data.npz").read_bytes()) == ({"data.npz"}, b"mine")


def test_a_scan_in_progress_of_that_name_is_refused_too(tmp_path: Path) -> None:
    """The existing scan, running or interrupted, is not touched. The message says what to do."""
    scan = running(tmp_path)
    with pytest.raises(NameTakenError, match="lys-storage recover"):
        running(tmp_path)
    scan.suspend()
    with pytest.raises(NameTakenError, match="lys-storage recover"):
        running(tmp_path)
    lys_storage.recover(tmp_path)
    assert_exported(tmp_path / "data.npz")


@pytest.mark.parametrize("by_link", [False, True], ids=["by a rename that refuses", "by a link"])
def test_a_name_that_is_taken_meanwhile_is_not_replaced_and_the_scan_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_link: bool
) -> None:
    """close() succeeds after the other file has been moved away."""
    if by_link:
        monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
    scan = running(tmp_path)
    (tmp_path / "data.npz").write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(NameTakenError, match="is not replaced"):
            scan.close()
        assert (tmp_path / "data.npz").read_bytes() == b"mine"
        assert scan.part_path.exists()
    (tmp_path / "data.npz").rename(tmp_path / "away")
    assert scan.close() == tmp_path / "data.npz"
    assert_exported(tmp_path / "data.npz")
    assert files(tmp_path) == {"data.npz", "away"}


def test_a_number_that_is_taken_meanwhile_is_passed_over_and_that_is_said(tmp_path: Path) -> None:
    """The storage of lys_instr ignores scans in progress."""
    scan = begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False, flush_interval_s=None)
    assert scan.number == 0
    for n in (0, 1):
        (tmp_path / f"data_{n}.npz").write_bytes(b"mine")
    assert scan.close() == scan.path == tmp_path / "data_2.npz"
    assert scan.report is not None
    assert (scan.report.renumbered, scan.report.path.name) == (True, "data_2.npz")
    assert files(tmp_path) == {"data_0.npz", "data_1.npz", "data_2.npz"}
    assert (tmp_path / "data_0.npz").read_bytes() == b"mine"
    assert_same_array(load_export(tmp_path / "data_2.npz").data, np.zeros(2, "u1"))


@not_under_wine("an open file is never replaced")
def test_with_overwrite_the_old_file_stays_until_the_new_one_takes_its_place_in_one_step(tmp_path: Path) -> None:
    """A reader that has the old file open keeps it."""
    old = running(tmp_path, note={"old": True}).close()
    before = old.read_bytes()
    with lys_storage.open_wave(old) as reader:
        scan = running(tmp_path, overwrite=True)
        assert scan.part_path.name != "data.npz.part"
        assert old.read_bytes() == before
        scan.close()
        assert reader.note == {"old": True}
        assert_same_array(reader.read(), EXPECTED)
    assert files(tmp_path) == {"data.npz"}
    assert_exported(old)


def test_two_scans_that_overwrite_one_name_follow_each_other(tmp_path: Path) -> None:
    """Neither is corrupt. The one that is closed last stays."""
    one, two = (running(tmp_path, overwrite=True, note={"which": k}) for k in (1, 2))
    two.close()
    assert load_export(tmp_path / "data.npz").note == {"which": 2}
    one.close()
    assert load_export(tmp_path / "data.npz").note == {"which": 1}
    assert files(tmp_path) == {"data.npz"}


def test_two_threads_that_close_one_scan_close_it_once(tmp_path: Path) -> None:
    scan, paths = running(tmp_path), []
    threads = [threading.Thread(target=lambda: paths.append(scan.close())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "data.npz"] * 4
    assert_exported(tmp_path / "data.npz")


# -- failing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("name", ["write", "read", "set the size", "sync", "sync of a folder", "publish", "remove"])
def test_a_step_that_fails_leaves_the_scan_in_progress_and_close_can_be_called_again(
    tmp_path: Path, faults: Faults, name: str, code: int
) -> None:
    """Each call of each operation fails in turn, until close() succeeds without a fault."""
    for nth in range(1, 50):
        folder = tmp_path / str(nth)
        scan = running(folder)
        faults.fail(name, nth, code)
        raised: list[tuple[int | None, bool]] = []
        try:
            scan.close()
        except StorageOSError as error:
            raised.append((error.errno, str(error.filename).startswith(str(folder))))
            assert (scan.report, scan.closed) == (None, True)
            scan.close()
        failed = list(faults.failed)
        assert raised == [(code, True) for _ in failed]
        faults.off()
        assert files(folder) == {"data.npz"}
        assert_exported(folder / "data.npz")
        if not failed:
            assert nth > 1, f"{name} is never called"
            return
    pytest.fail("close() never came through")


def test_a_scan_whose_end_failed_can_be_suspended_and_gone_on_with(tmp_path: Path, faults: Faults) -> None:
    scan = running(tmp_path)
    faults.fail("sync", 1, errno.EIO)
    with pytest.raises(StorageOSError):
        scan.close()
    scan.suspend()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        scan[1] = np.full(1000, 5, "u2")
    assert load_export(scan.path).data[:, 0].tolist() == [1, 5, 4, 7]


def test_a_longer_tail_of_a_failed_attempt_leaves_nothing_behind_a_shorter_one(tmp_path: Path, faults: Faults) -> None:
    """The file ends with the central directory."""
    scan = running(tmp_path, note={"long": "x" * 100_000})
    faults.fail("sync", 1, errno.EIO)
    with pytest.raises(StorageOSError):
        scan.close()
    scan.note = {"a": 1}
    scan.close()
    assert_exported(tmp_path / "data.npz")
    with lys_storage.open_wave(tmp_path / "data.npz") as wave:
        assert wave.note == {"a": 1}
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        last = max(archive.infolist(), key=lambda member: member.header_offset)
        end = archive.start_dir + sum(46 + len(one.orig_filename) + len(one.extra) for one in archive.infolist())
    assert archive.start_dir == last.header_offset + 30 + len(last.orig_filename) + last.file_size
    assert (tmp_path / "data.npz").stat().st_size == end + 56 + 20 + 22, (
        "the ends of ZIP64 and of ZIP, and nothing else"
    )


# -- killed ------------------------------------------------------------------------------------------------------------

RUNNING = """
def begin(**options):
    scan = lys_storage.create("data.npz", (4, 1000), "u2", fill_value=7, axes=[range(4)], flush_interval_s=None, **options)
    for i, value in ((0, 1), (2, 3), (2, 4)):
        scan[i] = np.full(1000, value, "u2")
    return scan
"""


@posix
@moments
def test_killed_at_any_step_of_its_end_a_scan_is_recovered_and_nothing_else_is_left(
    tmp_path: Path, run_child: Any, moment: str
) -> None:
    """The final name is free or has the complete file. After recover() it has the complete file."""
    scenario = (
        RUNNING
        + """
def scenario(arm, say):
    scan = begin(note={"a": 1})
    arm()
    scan.close()
"""
    )
    for folder, _ in every_death(run_child, tmp_path, moment, scenario):
        if (folder / "data.npz").exists():
            assert_exported(folder / "data.npz")
        results = lys_storage.recover(folder)
        assert [result.path for result in results] in ([], [folder / "data.npz"], [None]), results
        assert_exported(folder / "data.npz")
        assert files(folder) == {"data.npz"}, (folder.name, results)


@posix
@moments
def test_killed_while_it_replaces_a_file_the_old_one_or_the_new_one_is_there(
    tmp_path: Path, run_child: Any, moment: str
) -> None:
    """Recovery replaces nothing: it gives the scan another name."""
    scenario = (
        RUNNING
        + """
def scenario(arm, say):
    begin(note={"old": True}).close()
    scan = begin(note={"a": 1}, overwrite=True)
    arm()
    scan.close()
"""
    )
    for folder, _ in every_death(run_child, tmp_path, moment, scenario):
        first = load_export(folder / "data.npz").note
        assert first in ({"old": True}, {"a": 1})
        lys_storage.recover(folder)
        assert load_export(folder / "data.npz").note == first
        new = folder / ("data.npz" if first == {"a": 1} else "data.recovered_0.npz")
        assert_exported(new)
        assert files(folder) == {"data.npz", new.name}


@posix
@moments
def test_killed_while_it_is_published_under_the_next_number_it_is_there_once(
    tmp_path: Path, run_child: Any, moment: str
) -> None:
    scenario = """
from lys_storage.scan import begin_scan
from pathlib import Path

def scenario(arm, say):
    scan = begin_scan(Path(), "data", (2, 8), "u1", numbered=True, replace_existing=False, flush_interval_s=None)
    scan[...] = np.full((2, 8), 3, "u1")
    open("data_0.npz", "w").close()
    arm()
    scan.close()
"""
    for folder, _ in every_death(run_child, tmp_path, moment, scenario):
        lys_storage.recover(folder)
        (new,) = files(folder) - {"data_0.npz"}
        assert new in ("data_1.npz", "data_0.recovered_0.npz")
        assert_same_array(load_export(folder / new).data, np.full((2, 8), 3, "u1"))
        assert (folder / "data_0.npz").stat().st_size == 0


# -- closed again after a failure --------------------------------------------------------------------------------------


def test_a_read_that_fails_once_while_checksums_are_taken_does_not_keep_the_scan_from_being_saved(
    tmp_path: Path, faults: Faults
) -> None:
    """Frames without a checksum stay dirty, also those after the piece that failed (a piece is 65,536 frames)."""
    scan = lys_storage.create(tmp_path / "data.npz", (200_000,), "u1", grid_ndim=1, flush_interval_s=None)
    scan[...] = np.ones(200_000, "u1")
    faults.fail("read", 1, errno.EIO)
    with pytest.raises(lys_storage.StorageOSError):
        scan.close()
    assert faults.failed == ["read"]
    assert load_export(scan.close()).data.sum() == 200_000


@pytest.mark.parametrize(
    ("name", "nth"),
    [("sync of a folder", 1), ("remove", 1), ("remove", 2)],
    ids=["sync of the folder", "removing the redo file", "removing the journal"],
)
def test_a_close_that_failed_after_publishing_succeeds_when_called_again(
    tmp_path: Path, faults: Faults, name: str, nth: int
) -> None:
    """This includes the note: the journal is closed by then."""
    scan = lys_storage.create(tmp_path / "data.npz", (2,), "u1", note={"a": 1}, flush_interval_s=None)
    scan[...] = np.ones(2, "u1")
    faults.fail(name, nth, errno.EIO)
    with pytest.raises(lys_storage.StorageOSError):
        scan.close()
    assert scan.close() == tmp_path / "data.npz"
    assert files(tmp_path) == {"data.npz"}
    assert load_export(scan.path).note == {"a": 1}


def test_a_publish_by_link_whose_unlink_fails_is_not_done_twice(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exclusive rename the link publishes the file. The second close() finds its own file there."""
    monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
    scan = begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False, flush_interval_s=None)
    scan[...] = np.ones(2, "u1")
    faults.fail("remove", 1, errno.EIO)
    try:
        scan.close()
    except lys_storage.StorageOSError:
        scan.close()
    assert files(tmp_path) == {"data_0.npz"}


@pytest.mark.parametrize("disk", ["works", "fails"])
def test_before_an_export_gets_another_number_its_journal_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    """After a crash recovery then knows whose journal it is. Without that sync the export is no less durable."""
    scan = begin_scan(tmp_path, "data", (2, 3), "u2", numbered=True, replace_existing=False, flush_interval_s=None)
    scan[0] = [1, 2, 3]
    (tmp_path / "data_0.npz").write_bytes(b"a foreign file")
    synced: list[str] = []
    sync = File.sync

    def noted(file: File) -> None:
        synced.append(file.path.suffix)
        if disk == "fails" and file.path.suffix == ".journal":
            raise StorageOSError(errno.EIO, "injected", str(file.path))
        sync(file)

    monkeypatch.setattr(File, "sync", noted)
    assert scan.close() == tmp_path / "data_1.npz"
    assert synced == [".part", ".journal"]
    assert load_export(scan.path).data.tolist() == [[1, 2, 3], [0, 0, 0]]
