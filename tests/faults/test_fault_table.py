"""Operation x errno for each phase of a scan: what is raised, what is on disk, and that the scan continues afterwards.

In each row the operation fails until it is repaired, and the test fails if the operation never occurs. A copy of the
folder during the fault represents what a SIGKILL would leave.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import LysStorageError, Scan, StorageOSError
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.faults.operations import (
    DATA,
    ERRNOS,
    HELD,
    JOURNAL,
    PART,
    Disk,
    assert_a_death_now_loses_nothing,
    assert_holds,
    assert_saved,
    assert_told,
    killed_now,
    rows,
)
from tests.faults.scans import IN_PROGRESS, begun, create, write
from tests.helpers import DEADLINE_S, files, load_export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the calls that fail are Linux's")

codes = pytest.mark.parametrize("code", [getattr(errno, name) for name in ERRNOS], ids=ERRNOS)


# -- create ------------------------------------------------------------------------------------------------------------


@rows(
    (
        "create",
        [
            "make the folder",
            "open the scan file",
            "open the journal",
            "claim the scan file's space",
            "claim the journal's space",
            "set the scan file's size",
            "set the journal's size",
            "write the header",
            "write the description",
            "write axes and note",
            "write the pointer to axes and note",
            "map the journal",
        ],
    )
)
def test_a_scan_that_cannot_begin_leaves_no_file_and_begins_once_the_fault_is_gone(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """It gets the same name, because the claimed name is released."""
    disk.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        create(folder)
    assert_told(caught.value, code, folder)
    assert files(folder) == set()
    disk.mended()
    scan = create(folder)
    write(scan, *range(6))
    scan.close()
    assert_saved(folder, set(range(6)))


@codes
@pytest.mark.parametrize("numbered", [False, True], ids=["a plain name", "a number"])
def test_a_scan_file_that_cannot_be_locked_leaves_no_file(disk: Disk, folder: Path, code: int, numbered: bool) -> None:
    """The file of the exclusive create is removed. Otherwise its name would stay taken."""

    def begin() -> Scan:
        return begin_scan(
            *(folder, "data", DATA.shape, "f8"),
            numbered=numbered,
            replace_existing=False,
            grid_ndim=1,
            flush_interval_s=None,
        )

    disk.breaks("lock the scan file", code)
    with pytest.raises(StorageOSError) as caught:
        begin()
    assert_told(caught.value, code, folder)
    assert files(folder) == set()
    disk.mended()
    scan = begin()
    write(scan, 0)
    scan.close()
    assert_saved(folder, {0}, "data_0.npz" if numbered else "data.npz")


@codes
def test_a_new_folder_whose_name_could_not_be_synced_is_synced_by_the_next_scan_in_it(
    disk: Disk, folder: Path, code: int
) -> None:
    """Otherwise a power cut could remove the folder with all its durable data."""
    disk.breaks("sync the folder above", code)
    with pytest.raises(StorageOSError) as caught:
        create(folder)
    assert_told(caught.value, code, folder.parent)
    assert files(folder) == set()
    disk.mended()
    with disk.watched("sync the folder above") as done:
        scan = begun(folder)
    assert ("sync the folder above",) in done
    scan.close()
    assert_saved(folder, {0, 1, 2})


# -- frames ------------------------------------------------------------------------------------------------------------


@rows(("frame", ["write a frame"]))
def test_a_frame_that_cannot_be_written_is_missing_and_can_be_written_again(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """The other frames stay, and later frames are stored."""
    scan = begun(folder)
    disk.breaks(operation, code)
    for k in (3, 3, 4):
        with pytest.raises(StorageOSError) as caught:
            write(scan, k)
        assert_told(caught.value, code, folder)
    assert scan.written.tolist() == [True, True, True, False, False, False]
    assert files(folder) == IN_PROGRESS
    assert_a_death_now_loses_nothing(folder, {0, 1, 2})
    disk.mended()
    write(scan, 3, 5)
    scan.close()
    assert_saved(folder, {0, 1, 2, 3, 5})


@rows(
    (
        "rewrite",
        [
            "open the redo file",
            "write a record of the redo file",
            "sync the redo file",
            "sync the folder",
            "write a frame",
        ],
    )
)
def test_a_frame_that_cannot_be_rewritten_is_the_old_one_or_the_new_one(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """It is the new version only if the redo log had all of it."""
    scan = begun(folder)
    is_new = operation == "write a frame"  # from the state REWRITING on, the record is valid
    new = DATA[1] + 1
    disk.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        scan[1] = new
    assert_told(caught.value, code, folder)
    assert scan.written.tolist() == [True, True, True, False, False, False]
    changed = DATA.copy()
    changed[1] = new
    assert_holds(killed_now(folder), {0, 1, 2}, changed if is_new else DATA)
    disk.mended()
    scan[1] = new
    write(scan, 3)
    scan.close()
    assert files(folder) == {"data.npz"}
    assert_holds(folder / "data.npz", {0, 1, 2, 3}, changed)
    assert lys_storage.verify(folder) == []


@codes
def test_a_redo_file_whose_name_could_not_be_synced_has_it_synced_by_the_next_rewrite(
    disk: Disk, folder: Path, code: int
) -> None:
    """This comes before its record: a power cut during the rewrite would find no redo log."""
    scan = begun(folder)
    disk.breaks("sync the folder", code)
    with pytest.raises(StorageOSError):
        scan[0] = DATA[0]
    disk.mended()
    with disk.watched("sync the folder", "sync the redo file", "write a frame") as done:
        scan[0] = DATA[0]
    assert frames_of(done) == ["sync the folder", "sync the redo file", "0"]
    scan.close()
    assert_saved(folder, {0, 1, 2})


def test_a_failed_sync_of_the_redo_file_is_not_forgotten_by_one_that_succeeds(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may have dropped a record. The records after it must still be found after a power cut."""
    scan = begun(folder)
    disk.breaks("sync the redo file", errno.EIO)
    with pytest.raises(StorageOSError):
        scan[0] = DATA[0] + 1
    disk.mended()
    with open(folder / ("data.npz" + PART + ".redo"), "r+b") as dropped:
        dropped.write(bytes(os.path.getsize(dropped.name)))
    real = SYSTEM.pwrite

    def torn(fd: int, data: Any, offset: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(PART) and offset == 4096 + DATA[0].nbytes:
            real(fd, memoryview(data).cast("B")[:1000], offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, data, offset)

    new = DATA[1] + 1
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "pwrite", torn)
        with pytest.raises(StorageOSError):
            scan[1] = new
    cut = folder.with_name("cut")
    shutil.copytree(folder, cut)
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
        lys_storage.recover(cut)
    row = load_export(cut / "data.npz").data[1]
    assert row.tobytes() in (DATA[1].tobytes(), new.tobytes())
    scan[1] = new
    scan.close()
    assert lys_storage.verify(folder) == []


@rows(
    (
        "the first frame",
        [
            "sync the scan file",
            "sync the journal",
            "sync the folder",
            "open the new journal",
            "claim the new journal's space",
            "write the new journal",
            "map the new journal",
            "sync the new journal",
            "replace the journal",
        ],
    )
)
def test_a_grid_that_cannot_be_laid_out_anew_refuses_the_frame_and_the_scan_goes_on(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """The first index decides the grid, and a new journal is written for it."""
    scan = create(folder, grid_ndim=None)
    disk.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        write(scan, 0)
    assert_told(caught.value, code, folder)
    assert scan.frames_written == 0
    assert files(folder) == IN_PROGRESS
    assert_a_death_now_loses_nothing(folder, set())
    disk.mended()
    write(scan, 0, 4)
    scan.close()
    assert_saved(folder, {0, 4})


@codes
def test_a_failed_sync_of_the_folder_is_not_forgotten_by_a_grid_that_is_laid_out_anew(
    disk: Disk, folder: Path, code: int
) -> None:
    """Otherwise the journal of the coarse grid could reappear after a power cut, without the later durable data."""
    scan = create(folder, grid_ndim=None)
    scan.flush()  # syncs the folder, for the first journal
    disk.breaks("sync the folder", code)
    with pytest.raises(StorageOSError) as caught:
        write(scan, 0)
    assert_told(caught.value, code, folder)
    disk.mended()
    with disk.watched("sync the folder") as done:
        write(scan, 0)
        scan.flush()
    assert done != []
    scan.close()
    assert_saved(folder, {0})


@rows(
    (
        "another dtype",
        [
            "open the new scan file",
            "write the new scan file",
            "sync the new scan file",
            "open the new journal",
            "sync the new journal",
            "replace the journal",
            "replace the scan file",
        ],
    )
)
def test_a_dtype_that_cannot_be_changed_stays_and_frames_of_it_are_kept(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """Some new files may be in place already. An acknowledged frame then survives the death of the process."""
    scan = create(folder)
    disk.breaks(operation, code)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.change_dtype("i4")
        assert_told(caught.value, code, folder)
        assert (scan.dtype, files(folder)) == ("f8", IN_PROGRESS)
    write(scan, 0, 1)
    assert_a_death_now_loses_nothing(folder, {0, 1})
    disk.mended()
    write(scan, 2)
    scan.close()
    assert_saved(folder, {0, 1, 2})


# -- flushes -----------------------------------------------------------------------------------------------------------

SYNCS = ["sync the scan file", "sync the journal", "sync the folder"]
FRAME = DATA[0].nbytes


def frames_of(done: list[tuple[Any, ...]]) -> list[str]:
    """The log of a sync in words: "3" if frame 3 was written, "all" if the scan file was rewritten from its beginning, and
    "journal" if the journal was."""
    words = []
    for name, *where in done:
        if name == "write a frame":
            words.append(str((where[0] - 4096) // FRAME))
        elif name in _FROM_THE_BEGINNING:
            words.append(_FROM_THE_BEGINNING[name])
        else:
            words.append(name)
    return words


_FROM_THE_BEGINNING = {"write the header": "all", "write the description": "journal"}
WRITES = ["write a frame", *_FROM_THE_BEGINNING]


@rows(("flush by hand", SYNCS))
def test_a_flush_that_fails_says_so_and_the_next_one_begins_again_where_it_was(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """Data since the last good sync is written again before the next sync, which then covers it."""
    scan = create(folder)
    write(scan, 0, 1)
    if operation != "sync the folder":  # only the first flush does this
        scan.flush()
    write(scan, 2, 3)
    disk.breaks(operation, code)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.flush()
        assert_told(caught.value, code, folder)
    assert files(folder) == IN_PROGRESS
    assert_a_death_now_loses_nothing(folder, {0, 1, 2, 3})
    disk.mended()
    write(scan, 4)
    with disk.watched(*SYNCS, *WRITES) as done:
        scan.flush()
        scan.flush()
    again = {
        "sync the scan file": ["all", "all", "sync the scan file", "sync the journal"],
        "sync the journal": ["sync the scan file", "journal", "sync the journal"],
        "sync the folder": ["sync the scan file", "sync the journal", "sync the folder"],
    }[operation]
    assert frames_of(done) == [*again, "sync the scan file", "sync the journal"]
    scan.close()
    assert_saved(folder, {0, 1, 2, 3, 4})


@rows(("after each write", SYNCS))
def test_with_an_interval_of_zero_a_failed_flush_is_raised_by_the_write_and_its_frame_is_kept(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """It survives the death of the process, but not yet a power cut."""
    scan = create(folder, flush_interval_s=0)
    if operation != "sync the folder":
        write(scan, 0, 1)
    disk.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        write(scan, 2)
    assert_told(caught.value, code, folder)
    there = {k for k, is_there in enumerate(scan.written) if is_there}
    assert there == ({2} if operation == "sync the folder" else {0, 1, 2})
    assert_a_death_now_loses_nothing(folder, there)
    disk.mended()
    write(scan, 3)
    scan.close()
    assert_saved(folder, there | {3})


@rows(("the follower's flush", SYNCS))
def test_a_background_flush_that_fails_is_told_and_the_next_one_covers_what_it_did_not(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """Frames are accepted meanwhile."""
    told: list[LysStorageError] = []
    was_told = threading.Event()

    def failed(error: LysStorageError) -> None:
        told.append(error)
        was_told.set()

    disk.breaks(operation, code)
    with disk.watched(*SYNCS, *WRITES) as done:
        scan = begin_scan(
            *(folder, "data", DATA.shape, "f8"),
            numbered=False,
            replace_existing=False,
            grid_ndim=1,
            flush_interval_s=0.01,
            on_error=failed,
        )
        write(scan, 0, 1)
        assert was_told.wait(DEADLINE_S)
        write(scan, 2)
        assert_told(told[0], code, folder)
        assert_a_death_now_loses_nothing(folder, {0, 1, 2})
        disk.mended()
        scan.flush()
        words = frames_of(done)
    while f"{operation} fails" in words:
        del words[: words.index(f"{operation} fails") + 1]
    again = {"sync the scan file": ["all"], "sync the journal": ["journal"], "sync the folder": []}[operation]
    assert set(again) <= set(words[: words.index(operation)])
    write(scan, 3)
    scan.close()
    assert_saved(folder, {0, 1, 2, 3})


@rows(("the follower's flush of a script", ["sync the scan file"]))
def test_a_background_flush_that_fails_where_nobody_listens_is_logged(
    disk: Disk, folder: Path, caplog: pytest.LogCaptureFixture, phase: str, operation: str, code: int
) -> None:
    """The log has an error that names the file and says what may be lost."""
    disk.breaks(operation, code)
    scan = create(folder, flush_interval_s=0.01)
    logged = threading.Event()
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: logged.set()  # type: ignore[method-assign]
    logging.getLogger("lys_storage").addHandler(handler)
    try:
        write(scan, 0)
        assert logged.wait(DEADLINE_S)
    finally:
        logging.getLogger("lys_storage").removeHandler(handler)
    disk.mended()
    scan.close()
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert any(str(scan.part_path) in m and os.strerror(code) in m and "power cut" in m for m in messages)
    assert_saved(folder, {0})


# -- axes and note -----------------------------------------------------------------------------------------------------


@rows(
    ("axes", ["sync the journal", "write axes and note", "write the pointer to axes and note"]),
    ("note", ["sync the journal", "write axes and note", "write the pointer to axes and note"]),
)
def test_axes_and_note_that_cannot_be_stored_leave_the_stored_ones(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """After the death of the process the older ones are there. After they are set again, the new ones are."""
    scan = begun(folder)
    scan.axes = scan.axes  # a second copy of both, which is not durable yet
    axes, note = [np.arange(6.0) * 2, None], {"b": 2}

    def change() -> None:
        if phase == "axes":
            scan.axes = axes
        else:
            scan.note = note

    disk.breaks(operation, code)
    for _ in range(3):
        with pytest.raises(StorageOSError) as caught:
            change()
        assert_told(caught.value, code, folder)
    now = killed_now(folder)
    export = load_export(now)
    assert (export.note, export.axes[0].tolist()) == ({"a": 1}, [0, 1, 2, 3, 4, 5])
    assert_holds(now, {0, 1, 2})
    disk.mended()
    change()
    scan.close()
    export = load_export(folder / "data.npz")
    expected = ({"a": 1}, [0, 2, 4, 6, 8, 10]) if phase == "axes" else ({"b": 2}, [0, 1, 2, 3, 4, 5])
    assert (export.note, export.axes[0].tolist()) == expected
    assert_saved(folder, {0, 1, 2})


@codes
@pytest.mark.parametrize("what", ["axes", "note"])
def test_a_journal_whose_sync_failed_for_the_axes_is_written_again_before_a_flush_counts(
    disk: Disk, folder: Path, what: str, code: int
) -> None:
    """States and checksums were in the same sync: the kernel has marked their pages clean."""
    scan = begun(folder)
    scan.axes = scan.axes  # a second copy of both, which is not durable yet
    disk.breaks("sync the journal", code)
    with pytest.raises(StorageOSError):
        setattr(scan, what, {"axes": [np.arange(6.0) * 2, None], "note": {"b": 2}}[what])
    disk.mended()
    with disk.watched(*SYNCS, *WRITES) as done:
        scan.flush()
    assert frames_of(done) == ["sync the scan file", "journal", "sync the journal"]
    scan.close()
    assert_saved(folder, {0, 1, 2})


# -- the end -----------------------------------------------------------------------------------------------------------

END = [
    "write axes and note",
    "write the pointer to axes and note",
    "sync the journal",
    "set the scan file's size",
    "write a frame",
    "write the tail",
    "write the header",
    "sync the scan file",
    "publish",
]


@rows(("close", END), ("close, over an older file", ["sync the scan file", "publish over an older file"]))
def test_a_close_that_fails_keeps_the_scan_in_progress_and_can_be_called_again(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """The final name has no new file until all of it is durable. An older file stays until then."""
    overwrite = phase != "close"
    if overwrite:
        create(folder, note={"old": True}).close()
    scan = begun(folder, overwrite=overwrite)
    scan.axes = scan.axes  # a second copy of axes and note, which is not durable yet
    scan.note["b"] = 2
    in_progress = {scan.part_path.name, scan.part_path.name + ".journal"}
    old = {"data.npz"} if overwrite else set()
    disk.breaks(operation, code)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.close()
        assert_told(caught.value, code, folder)
        assert (scan.report, files(folder)) == (None, old | in_progress)
    if overwrite:
        assert load_export(folder / "data.npz").note == {"old": True}
    else:
        assert_a_death_now_loses_nothing(folder, {0, 1, 2})
    disk.mended()
    with disk.watched(SYNCS[0], "write the header") as done:
        assert scan.close() == folder / "data.npz"
    if operation == "sync the scan file":
        assert frames_of(done)[-1] == "sync the scan file"
        # The header of the export. And the only folio: for the fill, the tail, the head, and what came since the last good sync.
        assert frames_of(done)[:-1] == ["all"] * 5
    assert load_export(folder / "data.npz").note == {"a": 1, "b": 2}
    assert_saved(folder, {0, 1, 2})


@rows(("close, published already", ["sync the folder", "remove the journal"]))
def test_a_close_that_fails_after_the_name_is_there_can_be_called_again(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """The export is complete by then. The second call, or recover(), removes the sidecar files."""
    scan = begun(folder)
    disk.breaks(operation, code)
    for _ in range(2):
        with pytest.raises(StorageOSError) as caught:
            scan.close()
        assert_told(caught.value, code, folder)
        assert (scan.report, files(folder)) == (None, {"data.npz", "data.npz" + JOURNAL})
    assert_holds(folder / "data.npz", {0, 1, 2})
    disk.mended()
    with disk.watched("sync the folder", "remove the journal") as done:
        scan.close()
    assert [name for name, *_ in done] == ["sync the folder", "remove the journal"]
    assert_saved(folder, {0, 1, 2})


@HELD
def test_a_journal_that_another_program_holds_stays_beside_the_export_until_a_recovery(
    disk: Disk, folder: Path, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """close() succeeds, and a warning names the journal."""
    scan = begun(folder)
    disk.breaks("remove the journal", code)
    assert scan.close() == scan.close() == folder / "data.npz"
    assert scan.report is not None
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "data.npz is complete" in said
    assert os.strerror(code) in said
    assert f"data.npz{JOURNAL}" in said
    assert files(folder) == {"data.npz", "data.npz" + JOURNAL}
    assert_holds(folder / "data.npz", {0, 1, 2})
    disk.mended()
    assert lys_storage.verify(folder) == []
    lys_storage.recover(folder)
    assert_saved(folder, {0, 1, 2})


@rows(("suspend", SYNCS[:2]))
def test_a_suspend_that_fails_says_so_and_the_scan_can_be_gone_on_with(
    disk: Disk, folder: Path, phase: str, operation: str, code: int
) -> None:
    """The scan keeps neither a descriptor nor a lock."""
    scan = begun(folder)
    disk.breaks(operation, code)
    with pytest.raises(StorageOSError) as caught:
        scan.suspend()
    assert_told(caught.value, code, folder)
    disk.mended()
    assert files(folder) == IN_PROGRESS
    with lys_storage.resume(folder / "data.npz") as again:
        assert list(again.missing()) == [(3,), (4,), (5,)]
        write(again, 3)
    assert_saved(folder, {0, 1, 2, 3})
