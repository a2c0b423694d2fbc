"""After a power cut a frame is data only if its checksum matches, and flushed frames are there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import ABSENT, CHECKSUMMED, CHECKSUMMING, REWRITING, WRITTEN
from lys_storage.store import ScanStore
from tests.helpers import assert_same_array, files, interrupt, load_export, some, wait_until

ARRAY_AT, FRAME_BYTES = 4096, 2000  # in the scan file of flushed_scan
MARKS_AT = 4096  # in its journal

pytestmark = pytest.mark.usefixtures("no_early_checksums")


def cut_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change the boot id, as after a restart of the machine."""
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "after the cut")


def spoil(scan: lys_storage.Scan, frame: int, content: bytes) -> None:
    """Overwrite bytes of a frame in the scan file of a suspended scan."""
    overwrite(scan.part_path, ARRAY_AT + frame * FRAME_BYTES, content)


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


def copied(scan: lys_storage.Scan, folder: Path) -> Path:
    """A copy of the files of a running scan. A power cut leaves this, or less. The scan is suspended."""
    shutil.copytree(scan.path.parent, folder)
    scan.suspend()
    return folder


def flushed_scan(tmp_path: Path, **options: Any) -> tuple[lys_storage.Scan, np.ndarray[Any, Any]]:
    scan = lys_storage.create(
        tmp_path / "data.npz", (6, 1000), "u2", **{"fill_value": 9, "grid_ndim": 1, "flush_interval_s": None, **options}
    )
    frames = some((6, 1000), "u2")
    for k in range(5):
        scan[k] = frames[k]
    return scan, frames


@pytest.mark.parametrize(
    ("frame", "content", "missing"),
    [
        pytest.param(0, b"", [5], id="nothing is torn"),
        pytest.param(0, b"\xff", [0, 5], id="one byte of the first"),
        pytest.param(4, b"\xff" * 2000, [4, 5], id="all of the last"),
        pytest.param(2, bytes(2000), [2, 5], id="zeros, as the kernel leaves them"),
        pytest.param(1, b"\xff" * 3000, [1, 2, 5], id="two of them"),
        pytest.param(5, b"\xff" * 2000, [5], id="one that never came"),
    ],
)
def test_after_a_power_cut_a_frame_is_data_only_where_its_bytes_are_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: int, content: bytes, missing: list[int]
) -> None:
    """A torn frame is reported as missing, and holds the fill value."""
    scan, expected = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, frame, content)
    cut_power(monkeypatch)
    (result,) = lys_storage.recover(tmp_path)
    assert (result.frames_written, result.frames_expected) == (6 - len(missing), 6)
    expected[missing] = 9
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, expected)
    assert [k for a, b in export.info["missing"] for k in range(a, b)] == missing


def test_after_a_power_cut_marks_without_bytes_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may write the journal first: the states of all frames, none of their bytes, no checksum."""
    scan, _ = flushed_scan(tmp_path / "running")
    folder = copied(scan, tmp_path / "cut")
    marks = (folder / "data.npz.part.journal").read_bytes()[MARKS_AT : MARKS_AT + 6]
    assert marks == bytes([WRITTEN] * 5 + [ABSENT])
    overwrite(folder / "data.npz.part", ARRAY_AT, bytes(6 * FRAME_BYTES))
    overwrite(
        folder / "data.npz.part.journal",
        MARKS_AT,
        bytes([WRITTEN, CHECKSUMMED, WRITTEN, CHECKSUMMED, REWRITING, CHECKSUMMING]),
    )
    cut_power(monkeypatch)
    (result,) = lys_storage.recover(folder)
    assert (result.frames_written, result.path) == (0, folder / "data.npz")
    assert_same_array(load_export(folder / "data.npz").data, np.full((6, 1000), 9, "u2"))


def test_after_the_death_of_the_process_bytes_are_not_checked_and_verify_checks_them(tmp_path: Path) -> None:
    """`verify=True` is for a share that other machines write too."""
    for verify, written in ((False, 5), (True, 4)):
        folder = tmp_path / str(verify)
        scan, _ = flushed_scan(folder)
        scan.suspend()
        spoil(scan, 1, b"\xff")
        (result,) = lys_storage.recover(folder, verify=verify)
        assert result.frames_written == written


def test_where_the_machine_names_no_boot_every_byte_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "")
    scan, _ = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, 1, b"\xff")
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written == 4


@pytest.mark.parametrize("redo_too", [False, True], ids=["its redo record is whole", "its redo record is torn as well"])
def test_after_a_power_cut_a_rewrite_is_the_new_version_or_the_old_one_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redo_too: bool
) -> None:
    """The redo log has the new version of a flushed frame before the frame is overwritten: a torn frame is restored."""
    scan, expected = flushed_scan(tmp_path / "running")
    scan.flush()
    scan[1] = np.full(1000, 777, "u2")
    folder = copied(scan, tmp_path / "cut")
    overwrite(folder / "data.npz.part", ARRAY_AT + FRAME_BYTES, b"\xee" * 1000)
    if redo_too:
        redo = folder / "data.npz.part.redo"
        redo.write_bytes(redo.read_bytes()[:1000])
    cut_power(monkeypatch)
    lys_storage.recover(folder)
    expected[1], expected[5] = (9 if redo_too else 777), 9
    assert_same_array(load_export(folder / "data.npz").data, expected)
    assert files(folder) == {"data.npz"}


def test_what_a_scan_was_resumed_with_after_a_power_cut_is_flushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing frames can be written again. They have checksums at the next power cut."""
    scan, expected = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, 3, b"\xff")
    cut_power(monkeypatch)
    scan = lys_storage.resume(tmp_path / "data.npz", flush_interval_s=None)
    assert list(scan.missing()) == [(3,), (5,)]
    scan[3], scan[5] = expected[3], expected[5]
    scan.suspend()
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "after the second cut")
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written == 6
    assert_same_array(load_export(tmp_path / "data.npz").data, expected)


def test_a_frame_older_than_the_flush_window_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan flushes by itself. A copy of the synced files then has the frame."""
    flushed: list[int] = []  # the number of frames at the start of each successful flush
    real = ScanStore.flush

    def flush(part: Any) -> None:
        there = part.frames_written
        real(part)
        flushed.append(there)

    monkeypatch.setattr(ScanStore, "flush", flush)
    scan, expected = flushed_scan(tmp_path / "a", flush_interval_s=0.05)
    assert wait_until(lambda: 5 in flushed)
    (tmp_path / "b").mkdir()
    scan[5] = expected[5]
    assert wait_until(lambda: 6 in flushed)
    for name in files(tmp_path / "a"):
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    scan.close()
    cut_power(monkeypatch)
    (result,) = lys_storage.recover(tmp_path / "b")
    assert result.frames_written == 6
    assert_same_array(load_export(tmp_path / "b" / "data.npz").data, expected)


@pytest.fixture
def other_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another boot id, as if the machine had been restarted since the scan was created."""
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")


def test_after_a_power_cut_a_frame_is_data_only_where_its_checksum_says_so(tmp_path: Path, other_boot: None) -> None:
    """A frame of which a part did not reach the disk is reported as missing, and holds the fill value."""
    with pytest.MonkeyPatch.context() as same_boot:
        same_boot.setattr(SYSTEM, "read_boot_id", lambda: "the boot of the scan")
        part = interrupt(tmp_path / "data.npz", frames=(0, 1, 2, 3), fill_value=9)
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
    """The journal belongs to the boot that resumed it: its later states are trusted without a checksum."""
    child = run_child("""
import os, numpy as np, lys_storage
from lys_storage.disk.systems import SYSTEM
SYSTEM.read_boot_id = lambda: "first boot"
scan = lys_storage.create("data.npz", (4, 3), "u2", grid_ndim=1)
scan[0] = np.full(3, 1, "u2")
scan.suspend()
SYSTEM.read_boot_id = lambda: "second boot"
scan = lys_storage.resume("data.npz", flush_interval_s=None)
scan[1] = np.full(3, 2, "u2")
os.kill(os.getpid(), 9)  # SIGKILL; TerminateProcess on Windows
""")
    assert abs(child.code) == 9
    with pytest.MonkeyPatch.context() as second:
        second.setattr(SYSTEM, "read_boot_id", lambda: "second boot")
        (found,) = lys_storage.recover(tmp_path)
    assert found.frames_written == 2
    assert_same_array(load_export(tmp_path / "data.npz").data, np.array([[1] * 3, [2] * 3, [0] * 3, [0] * 3], "u2"))
