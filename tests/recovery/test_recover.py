"""Interrupted scans: what recover, resume, ls and verify make of them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.core import _fs
from lys_storage.core._create import begin_scan
from lys_storage.core._layout import journal_path
from lys_storage.core._listing import list_scans
from lys_storage.core._recovery import find_interrupted
from lys_storage.core._redo import redo_path
from tests.helpers import assert_same_array, files, load_export


def interrupt(path: Path, shape: tuple[int, ...] = (4, 3), frames: tuple[int, ...] = (0, 2), **options: Any) -> Path:
    """A scan in progress that nobody writes: frame i holds i + 1. Returns its .part."""
    scan = lys_storage.create(path, shape, "u2", grid_ndim=1, **options)
    for i in frames:
        scan[i] = np.full(shape[1:], i + 1, "u2")
    scan.suspend()
    return scan.part_path


@pytest.fixture
def other_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine had been started again since the scan was begun."""
    monkeypatch.setattr(_fs, "boot_id", lambda: "another boot")


# -- recover -----------------------------------------------------------------------------------------------------------


def test_an_interrupted_scan_becomes_its_export_and_nothing_else_is_left(tmp_path: Path) -> None:
    """Frames that arrived, the fill value elsewhere, axes and note as last known, and what is missing is listed."""
    axes, note = [np.arange(4) * 0.5, np.arange(3)], {"sample": "é"}
    part = interrupt(tmp_path / "data.npz", axes=axes, note=note, fill=7)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.part, found.path, found.frames_written, found.frames_expected) == (part, tmp_path / "data.npz", 2, 4)
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, np.array([[1] * 3, [7] * 3, [3] * 3, [7] * 3], "u2"))
    assert (export.note, export.info["missing"]) == (note, [[1, 2], [3, 4]])
    assert files(tmp_path) == {"data.npz"}
    assert lys_storage.verify(tmp_path) == []


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """Not a byte, not a name."""
    interrupt(tmp_path / "data.npz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (found,) = lys_storage.recover(tmp_path, dry_run=True)
    assert (found.path, found.frames_written, found.frames_expected) == (None, 2, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_scan_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    """Its lock tells, never a process id or a clock."""
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1") as scan:
        (found,) = lys_storage.recover(tmp_path)
        assert (found.path, found.running) == (None, True)
        scan[0] = np.uint8(1)
    assert_same_array(load_export(tmp_path / "data.npz").data, np.array([1, 0], "u1"))


@pytest.mark.parametrize("overwrite", [False, True], ids=["a new file", "one that was to replace it"])
def test_a_final_file_is_never_replaced_by_recovery(tmp_path: Path, overwrite: bool) -> None:
    """Where the name is taken, what is recovered gets one of its own, and it is said."""
    interrupt(tmp_path / "data.npz", overwrite=overwrite)
    np.savez(tmp_path / "data.npz", data=np.arange(3))
    before = (tmp_path / "data.npz").read_bytes()
    (found,) = lys_storage.recover(tmp_path)
    assert found.path == tmp_path / "data.recovered_0.npz"
    assert "data.recovered_0.npz" in found.said
    assert (tmp_path / "data.npz").read_bytes() == before
    assert files(tmp_path) == {"data.npz", "data.recovered_0.npz"}


def test_what_a_crash_left_beside_a_finished_export_is_removed(tmp_path: Path) -> None:
    """The last two steps of finalizing: the journal without its scan file is of no use any more."""
    part = interrupt(tmp_path / "data.npz")
    journal = journal_path(part).read_bytes()
    lys_storage.recover(tmp_path)
    journal_path(part).write_bytes(journal)
    redo_path(part).write_bytes(b"")
    (found,) = lys_storage.recover(tmp_path)
    assert found.settled
    assert files(tmp_path) == {"data.npz"}


def test_a_scan_that_was_only_just_begun_leaves_no_trace(tmp_path: Path) -> None:
    """Between the exclusive create of its file and the first byte in it, no frame can have come."""
    (tmp_path / "data_0.npz.part").touch()
    (tmp_path / "data_0.npz.part.journal").write_bytes(b"half a jour")
    assert [found.settled for found in lys_storage.recover(tmp_path)] == [True]
    assert files(tmp_path) == set()


def test_a_damaged_scan_is_told_and_left_as_it_is_while_the_others_are_recovered(tmp_path: Path) -> None:
    """Nothing is raised for one scan's sake."""
    broken = interrupt(tmp_path / "a.npz")
    interrupt(tmp_path / "b.npz")
    journal_path(broken).write_bytes(b"rubbish")
    first, second = lys_storage.recover(tmp_path)
    assert (first.path, second.path) == (None, tmp_path / "b.npz")
    assert "does not begin as a journal does" in first.said
    assert files(tmp_path) == {"a.npz.part", "a.npz.part.journal", "b.npz"}


# -- after a power cut -------------------------------------------------------------------------------------------------


def test_after_a_power_cut_a_frame_is_data_only_where_its_checksum_says_so(tmp_path: Path, other_boot: None) -> None:
    """Bytes that did not all reach the disk are reported missing, and hold the fill value."""
    with pytest.MonkeyPatch.context() as same_boot:
        same_boot.setattr(_fs, "boot_id", lambda: "the boot of the scan")
        part = interrupt(tmp_path / "data.npz", frames=(0, 1, 2, 3), fill=9)
    with open(part, "r+b") as file:
        file.seek(4096 + 6)
        file.write(b"\xff")
    (found,) = lys_storage.recover(tmp_path)
    export = load_export(tmp_path / "data.npz")
    assert (found.frames_written, export.info["missing"]) == (3, [[1, 2]])
    assert_same_array(export.data, np.array([[1] * 3, [9] * 3, [3] * 3, [4] * 3], "u2"))


def test_frames_that_come_after_a_resume_on_another_boot_survive_the_death_of_the_process(
    tmp_path: Path, run_child: Any
) -> None:
    """The journal is of the boot that resumed it: its marks are true from then on, also without a checksum."""
    child = run_child("""
import os, signal, numpy as np, lys_storage
from lys_storage.core import _fs
_fs.boot_id = lambda: "first boot"
scan = lys_storage.create("data.npz", (4, 3), "u2", grid_ndim=1)
scan[0] = np.full(3, 1, "u2")
scan.suspend()
_fs.boot_id = lambda: "second boot"
scan = lys_storage.resume("data.npz", flush_interval_s=None)
scan[1] = np.full(3, 2, "u2")
os.kill(os.getpid(), signal.SIGKILL)
""")
    assert child.code == -9
    with pytest.MonkeyPatch.context() as second:
        second.setattr(_fs, "boot_id", lambda: "second boot")
        (found,) = lys_storage.recover(tmp_path)
    assert found.frames_written == 2
    assert_same_array(load_export(tmp_path / "data.npz").data, np.array([[1] * 3, [2] * 3, [0] * 3, [0] * 3], "u2"))


# -- resume ------------------------------------------------------------------------------------------------------------


def test_a_resumed_scan_names_the_missing_frames_and_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """By its final name, or by its .part."""
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
    [({"shape": (4, 4)}, r"uint16 \(4, 3\), not of uint16 \(4, 4\)"), ({"dtype": "f4"}, "not of float32")],
    ids=["another shape", "another dtype"],
)
def test_a_resume_as_something_else_is_refused(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    """With both in the message; the scan stays as it is."""
    interrupt(tmp_path / "data.npz")
    with pytest.raises(lys_storage.ScanShapeError, match=said):
        lys_storage.resume(tmp_path / "data.npz", **asked)
    assert len(lys_storage.recover(tmp_path)) == 1


def test_only_one_process_resumes_a_scan(tmp_path: Path) -> None:
    """The second one is told that it is being written."""
    interrupt(tmp_path / "data.npz")
    with lys_storage.resume(tmp_path / "data.npz"), pytest.raises(lys_storage.ScanInUseError):
        lys_storage.resume(tmp_path / "data.npz")


# -- trim --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        (0, (1, 1, 2)),
        (2, (1, 2, 2)),
        (4, (1, 4, 2)),
        (5, (2, 4, 2)),
        (12, (3, 4, 2)),
    ],
    ids=["nothing came", "a part of the first line", "the first line", "a line and one frame", "everything"],
)
@pytest.mark.parametrize("fill", [0, 5], ids=["fill of zeros", "another fill"])
def test_a_trimmed_scan_is_cut_to_the_lines_that_were_begun(
    tmp_path: Path, frames: int, kept: tuple[int, ...], fill: int
) -> None:
    """Raster order; axes are cut too, and acquisition.json names the shape it was to have."""
    axes = [np.arange(3) * 2.0, np.arange(4) * 3.0, np.arange(2) * 4.0]
    with lys_storage.create(
        tmp_path / "data.npz", (3, 4, 2), "i4", axes=axes, fill=fill, grid_ndim=2, partial="trim"
    ) as scan:
        expected = np.full((12, 2), fill, "i4")
        for k in range(frames):
            scan[divmod(k, 4)] = expected[k] = [k, -k]
    export = load_export(scan.path)
    assert_same_array(export.data, expected.reshape(3, 4, 2)[tuple(map(slice, kept))])
    assert [axis.tolist() for axis in export.axes] == [a[:n].tolist() for a, n in zip(axes, kept, strict=True)]
    assert export.info.get("trimmed_from") == (None if kept == (3, 4, 2) else [3, 4, 2])
    assert lys_storage.verify(scan.path) == []


def test_recover_trims_where_it_is_told_to(tmp_path: Path) -> None:
    """A scan that was stopped at a hundredth of it is a file of a hundredth."""
    interrupt(tmp_path / "data.npz", shape=(1000, 4096), frames=tuple(range(10)))
    (found,) = lys_storage.recover(tmp_path, trim=True)
    assert found.path is not None
    assert (load_export(found.path).data.shape, found.frames_expected) == ((10, 4096), 10)
    assert found.path.stat().st_size < 200_000


# -- verify and ls -----------------------------------------------------------------------------------------------------


def test_verify_finds_a_byte_that_changed_anywhere(tmp_path: Path) -> None:
    """In an export every byte of every member counts, in a scan in progress every frame that has a checksum."""
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2") as scan:
        scan[...] = np.ones((4, 3), "u2")
    part = interrupt(tmp_path / "b.npz")
    assert lys_storage.verify(tmp_path) == []
    for path, at in ((scan.path, 4096), (part, 4096 + 13)):
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)
    assert [(problem.path.name, problem.what.split(":")[0]) for problem in lys_storage.verify(tmp_path)] == [
        ("a.npz", "Bad CRC-32 for file 'data.npy'"),
        ("b.npz.part", "frames 2 are not what their checksums say"),
    ]


def test_verify_reads_what_lys_and_numpy_write(tmp_path: Path) -> None:
    """Compressed members too; a file that is none of these is told, not raised."""
    np.savez_compressed(tmp_path / "numpy.npz", data=np.arange(10.0))
    assert lys_storage.verify(tmp_path) == []
    (tmp_path / "other.npz").write_bytes(b"no archive")
    (problem,) = lys_storage.verify(tmp_path)
    assert "is no sound .npz" in str(problem)


def test_ls_tells_the_state_of_everything(tmp_path: Path) -> None:
    """Finalized, interrupted, running, damaged; frames written and expected."""
    with lys_storage.create(tmp_path / "a.npz", (2,), "u1", grid_ndim=1) as scan:
        scan[...] = np.ones(2, "u1")
    interrupt(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"")
    with lys_storage.create(tmp_path / "d.npz", (5, 2), "f4", grid_ndim=1):
        listed = [(e.path.name, e.state, e.shape, e.frames_written, e.frames_expected) for e in list_scans(tmp_path)]
    assert listed == [
        ("a.npz", "finalized", (2,), 2, 2),
        ("b.npz.part", "interrupted", (4, 3), 2, 4),
        ("c.npz", "damaged", None, None, None),
        ("d.npz.part", "running", (5, 2), 0, 5),
    ]


def test_interrupted_scans_of_a_folder_are_found_without_the_running_ones(tmp_path: Path) -> None:
    """What DataStorage looks for in the background."""
    part = interrupt(tmp_path / "b.npz")
    scan = begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False)
    assert find_interrupted(tmp_path) == [str(part)]
    scan.discard()


# -- a sync that fails -------------------------------------------------------------------------------------------------


def test_a_failed_sync_is_not_forgotten_by_one_that_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes what it could not write for written: the frames since the last good sync are written again."""
    scan = lys_storage.create(tmp_path / "data.npz", (3, 4), "u1", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.full(4, 1, "u1")
    scan.flush()
    scan[1] = np.full(4, 2, "u1")
    real_sync, real_write = _fs.File.sync, _fs.File.write_at
    failures = iter([OSError(5, "I/O error")])
    written: list[tuple[int, bytes]] = []

    def sync(file: _fs.File) -> None:
        if file.path == scan.part_path:
            for error in failures:
                raise lys_storage.StorageOSError(error.errno, "sync: I/O error", str(file.path))
        real_sync(file)

    def write_at(file: _fs.File, data: Any, offset: int) -> None:
        if file.path == scan.part_path:
            written.append((offset - 4096, bytes(data)))
        real_write(file, data, offset)

    monkeypatch.setattr(_fs.File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="I/O error"):
        scan.flush()
    scan[2] = np.full(4, 3, "u1")
    monkeypatch.setattr(_fs.File, "write_at", write_at)
    scan.flush()
    assert written == [(4, b"\2\2\2\2"), (8, b"\3\3\3\3")]
    written.clear()
    scan.flush()
    assert written == []
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[1] * 4, [2] * 4, [3] * 4], "u1"))


def test_a_frame_that_a_failed_sync_lost_is_missing_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page may have gone from memory with it: what is read again is not what came."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 4), "u1", grid_ndim=1, fill=9, flush_interval_s=None)
    scan[0] = np.full(4, 1, "u1")
    real_sync = _fs.File.sync

    def sync(file: _fs.File) -> None:
        monkeypatch.setattr(_fs.File, "sync", real_sync)
        with open(scan.part_path, "r+b") as other:
            other.seek(4096)
            other.write(bytes(4))
        raise lys_storage.StorageOSError(5, "sync: I/O error", str(file.path))

    monkeypatch.setattr(_fs.File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="I/O error"):
        scan.flush()
    with pytest.raises(lys_storage.StorageOSError, match="1 frames were lost by a sync that failed"):
        scan.flush()
    assert scan.written.tolist() == [False, False]
    scan[1] = np.full(4, 2, "u1")
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[9] * 4, [2] * 4], "u1"))


# -- the commands ------------------------------------------------------------------------------------------------------


def test_the_commands_say_what_the_functions_do(tmp_path: Path) -> None:
    """Exit code 1 where something is wrong, and words that name the file."""
    from click.testing import CliRunner

    from lys_storage.cli import main

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(words))
        return result.exit_code, result.output

    folder = str(tmp_path)
    interrupt(tmp_path / "data.npz")
    code, text = run("ls", folder)
    assert code == 0
    assert "interrupted" in text
    assert "2 of 4" in text
    assert run("recover", "--dry-run", folder) == (0, f"{tmp_path}/data.npz.part: would be exported, 2 of 4 frames\n")
    assert run("recover", folder) == (0, f"{tmp_path}/data.npz: exported with 2 of 4 frames\n")
    assert run("verify", folder) == (0, f"{tmp_path}/data.npz: sound\n")
    assert run("recover", folder) == (0, f"{tmp_path}: no scan was interrupted here\n")
    code, text = run("info", f"{tmp_path}/data.npz")
    assert code == 0
    assert "[[1, 2], [3, 4]]" in text
    with open(tmp_path / "data.npz", "r+b") as file:
        file.seek(5000)
        file.write(b"x")
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        broken = archive.testzip()
    assert run("verify", folder)[0] == (1 if broken or os.name == "nt" else 0)
    assert run("verify", "--json", f"{tmp_path}/nothing")[0] == 2


def test_check_disk_tries_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """A local disk does all of it; where a lock does not exclude, it fails, and says what follows."""
    from lys_storage.core import _check_disk

    check_disk = _check_disk.check_disk
    findings = list(check_disk(tmp_path))
    assert [finding.what for finding in findings if not finding.holds] == []
    assert len(findings) == 7
    assert list(tmp_path.iterdir()) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_check_disk, "_OTHER_PROCESS", "print(True)")
        failed = [finding for finding in check_disk(tmp_path) if not finding.holds]
    assert ("a writer's lock keeps another process out", "recover only while no scan is running") in [
        (finding.what, finding.follows) for finding in failed
    ]


def test_the_resume_command_tells_how_to_go_on(tmp_path: Path) -> None:
    """And leaves the scan in progress."""
    from click.testing import CliRunner

    from lys_storage.cli import main

    interrupt(tmp_path / "data.npz")
    result = CliRunner().invoke(main, ["resume", str(tmp_path / "data.npz")])
    assert result.exit_code == 0
    assert "2 of 4 frames are there" in result.output
    assert "(1,), (3,)" in result.output
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert list(scan.missing()) == [(1,), (3,)]


def test_frames_behind_the_end_of_a_scan_file_that_was_cut_are_missing(tmp_path: Path) -> None:
    """Their marks are true and their bytes are gone: no export may have a checksum of what is not in it."""
    part = interrupt(tmp_path / "data.npz", frames=(0, 1, 2, 3), fill=7)
    os.truncate(part, 4096 + 2 * 6 + 5)
    (found,) = lys_storage.recover(tmp_path)
    assert (found.frames_written, found.frames_expected) == (2, 4)
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, np.array([[1] * 3, [2] * 3, [7] * 3, [7] * 3], "u2"))
    assert export.info["missing"] == [[2, 4]]
    assert lys_storage.verify(tmp_path) == []


def test_a_resumed_scan_runs_nothing_that_its_journal_says(tmp_path: Path) -> None:
    """The note is a pickle: what is no plain data in it is refused by name, and still exported as it is."""
    interrupt(tmp_path / "data.npz", note={"where": Path("a")})
    scan = lys_storage.resume(tmp_path / "data.npz")
    with pytest.raises(lys_storage.UnsafeFileError, match="pathlib"):
        _ = scan.note
    scan.close()
    with lys_storage.open_wave(tmp_path / "data.npz", trust=True) as wave:
        assert wave.note == {"where": Path("a")}
