"""States are trusted only for the same file, on the same mount, in the same boot. Otherwise each checksum is compared.

The states of a copy, of a restored file, or of a disk that was detached do not have to match its bytes.
"""

from __future__ import annotations

import gc
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import BLOCK_CHECKSUMMED, CHECKSUMMED, WRITTEN, Journal, writer_record
from lys_storage.journal.writer_record import WriterRecord
from lys_storage.recovery.takeover import open_store
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan import frame_writer
from tests.helpers import assert_same_array, in_threads, load_export, wait_until
from tests.systems import not_under_wine

FRAMES, SHAPE = 60, (32, 32)


def value(k: int) -> np.ndarray[Any, Any]:
    return np.full(SHAPE, k + 1, "u2")


def begin(folder: Path, **options: Any) -> lys_storage.Scan:
    folder.mkdir(exist_ok=True)
    options = {"fill_value": 0, "grid_ndim": 1, "flush_interval_s": None, **options}
    return lys_storage.create(folder / "x_0.npz", (FRAMES, *SHAPE), "u2", **options)


def write(scan: lys_storage.Scan, *frames: int) -> None:
    for k in frames:
        scan[k] = value(k)


def assert_nothing_is_passed_off(export: Path, *, has: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
    """Each frame is what was written, or is listed as missing and holds 0. `has` are there. Returns those there."""
    found = load_export(export)
    missing = {k for first, stop in found.info["missing"] for k in range(first, stop)}
    for k in range(FRAMES):
        expected = 0 if k in missing else k + 1
        assert (found.data[k] == expected).all(), (k, k in missing)
    assert has <= set(range(FRAMES)) - missing
    return set(range(FRAMES)) - missing


def recovered(folder: Path, **options: Any) -> Path:
    (result,) = lys_storage.recover(folder, **options)
    assert result.path is not None, result.message
    assert lys_storage.verify(folder) == []
    return result.path


# -- the files themselves ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_early_checksums")
@pytest.mark.parametrize("moved", [False, True], ids=["where it was", "moved within its file system"])
def test_after_the_death_of_the_process_every_state_is_believed(tmp_path: Path, moved: bool) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from lys_storage.scan import checksum_thread; checksum_thread.LATEST_S = 3600.0\n"
        "from tests.recovery.test_identity import begin, write\n"
        "scan = begin(Path(sys.argv[1])); write(scan, *range(40)); os._exit(0)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a"), str(root)], check=True, cwd=root)
    if moved:
        (tmp_path / "a").rename(tmp_path / "b")
    there = assert_nothing_is_passed_off(recovered(tmp_path / ("b" if moved else "a")))
    probe = File.create(tmp_path / "probe")
    identity = probe.identity()
    probe.close()
    if identity is not None:
        assert there == set(range(40))


def test_the_writer_is_named_in_the_journal(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    journal = Journal.open(scan.part_path.with_name("x_0.npz.part.journal"), writable=False)
    assert journal.writer == (platform.node(), os.getpid())
    journal.close()
    scan.discard()


def test_a_resumed_scan_is_signed_by_who_resumed_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from tests.recovery.test_identity import begin\n"
        "begin(Path(sys.argv[1])).suspend()\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(root)], check=True, cwd=root)
    with lys_storage.resume(tmp_path / "x_0.npz") as scan:
        assert scan._store.journal.writer == (platform.node(), os.getpid())
        assert scan._store.journal.vouches_for(scan._store.file)


@pytest.mark.parametrize("step", ["a new dtype", "a finer grid"])
def test_a_new_journal_is_signed(tmp_path: Path, step: str) -> None:
    scan = begin(tmp_path, grid_ndim=None)
    if step == "a new dtype":
        scan.change_dtype("u4", 0)
    else:
        scan[0, 0] = np.ones(32, "u2")
    assert scan._store.journal.vouches_for(scan._store.file)
    scan.close()


# -- copies and restored files -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_early_checksums")
@pytest.mark.parametrize("keep_times", [False, True], ids=["cp", "cp -a, and rsync -a"])
def test_a_copy_of_a_running_scan_passes_nothing_off(tmp_path: Path, keep_times: bool) -> None:
    """The scan file is copied first, and the journal later: its states name frames that the copy does not have."""
    copy = shutil.copy2 if keep_times else shutil.copyfile
    scan = begin(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write(scan, *range(20))
    scan.flush()
    copy(scan.part_path, tmp_path / "b" / scan.part_path.name)
    write(scan, *range(20, 60))
    scan._store.checksum_dirty()
    journal = f"{scan.part_path.name}.journal"
    copy(tmp_path / "a" / journal, tmp_path / "b" / journal)
    assert assert_nothing_is_passed_off(recovered(tmp_path / "b")) == set(range(20))
    assert_nothing_is_passed_off(scan.close(), has=set(range(60)))


@not_under_wine("a file has the number of a removed one; NTFS counts the uses of a number in it")
@pytest.mark.parametrize("replaced", ["x_0.npz.part", "x_0.npz.part.journal"])
def test_a_file_that_was_restored_over_the_old_one_is_another_one(tmp_path: Path, replaced: str) -> None:
    """The scan file or the journal is from a backup, the other one is current."""
    scan = begin(tmp_path / "a")
    write(scan, *range(20))
    scan.flush()
    shutil.copy2(tmp_path / "a" / replaced, tmp_path / "backup")
    write(scan, *range(20, 50))
    scan.flush()
    scan.suspend()
    inode = os.stat(tmp_path / "a" / replaced).st_ino
    for _ in range(20):  # ext4 reuses the inode number
        os.unlink(tmp_path / "a" / replaced)
        shutil.copy2(tmp_path / "backup", tmp_path / "a" / replaced)
        if os.stat(tmp_path / "a" / replaced).st_ino == inode:
            break
    assert_nothing_is_passed_off(recovered(tmp_path / "a"), has=set(range(20)))


def test_the_journal_and_the_scan_file_of_two_copies_pass_nothing_off(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a")
    write(scan, *range(20))
    scan.flush()
    shutil.copytree(tmp_path / "a", tmp_path / "early")
    write(scan, *range(20, 50))
    scan.flush()
    scan.suspend()
    shutil.copytree(tmp_path / "a", tmp_path / "late")
    for part, journal in (("early", "late"), ("late", "early")):
        mixed = tmp_path / f"{part} {journal}"
        mixed.mkdir()
        shutil.copy2(tmp_path / part / "x_0.npz.part", mixed)
        shutil.copy2(tmp_path / journal / "x_0.npz.part.journal", mixed)
        assert assert_nothing_is_passed_off(recovered(mixed)) == set(range(20))


def test_where_nothing_came_the_fill_is_written_and_not_assumed(tmp_path: Path) -> None:
    """The scan file is later than its journal: it has bytes for frames that the journal does not know."""
    scan = begin(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    write(scan, *range(60))
    scan.flush()
    shutil.copy2(scan.part_path, tmp_path / "b" / scan.part_path.name)
    assert assert_nothing_is_passed_off(recovered(tmp_path / "b")) == set()
    scan.close()


def test_with_trust_withheld_each_byte_is_read_and_the_progress_is_told(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a")
    write(scan, *range(60))
    scan.flush()
    scan.suspend()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    told: list[tuple[int, int]] = []
    recovered(tmp_path / "b", on_progress=lambda done, total: told.append((done, total)))
    size = 60 * 2048
    assert {total for _, total in told} == {size}
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.fixture(params=["the boot", "the identity of files"])
def unknown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing proves that the states in a journal are valid. Checksums are not taken in the background."""
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)
    if request.param == "the boot":
        monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "")
    else:
        monkeypatch.setattr(SYSTEM, "identify", lambda fd: None)


def test_where_it_is_unknown_a_frame_has_its_checksum_before_its_write_returns(tmp_path: Path, unknown: None) -> None:
    """A copy is what another process sees after the death of this one."""
    scan = begin(tmp_path / "a")
    write(scan, *range(20))
    scan.flush()
    write(scan, *range(20, 40))
    assert not scan._store.journal.vouches_for(scan._store.file)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert assert_nothing_is_passed_off(recovered(tmp_path / "b")) == set(range(40))
    scan.close()


@pytest.mark.parametrize(
    "ways", ["update", "row", "number", "other dtype", "rewrite", "threads", "adjacent in DataStorage"]
)
def test_it_has_by_every_way_of_writing(tmp_path: Path, unknown: None, ways: str) -> None:
    scan = lys_storage.create(tmp_path / "a" / "x.npz", (6, 4, 8), "u2", grid_ndim=2)
    expected = np.zeros((6, 4, 8), "u2")
    expected[1] = np.arange(32).reshape(4, 8)
    if ways == "update":
        scan.update({(1, k): expected[1, k] for k in range(4)})
    elif ways == "row":
        scan[1] = expected[1]
    elif ways == "number":
        expected[1] = 7
        scan[1] = 7
    elif ways == "other dtype":
        for k in range(4):
            scan[1, k] = expected[1, k].astype("u1")
    elif ways == "rewrite":
        scan[1] = 9
        for k in range(4):
            scan[1, k] = expected[1, k]
    elif ways == "threads":
        in_threads(*[partial(scan.write, (1, k), expected[1, k]) for k in range(4)])
    else:
        frame_writer(scan).store({(1, k): expected[1, k] for k in range(4)})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    lys_storage.recover(tmp_path / "b")
    assert_same_array(lys_storage.open_wave(tmp_path / "b" / "x.npz").read(...), expected)
    scan.close()


@pytest.mark.parametrize("spoiled", [b"\xff", b"{", b"\0"])
def test_a_damaged_record_of_the_writer_vouches_for_nothing(tmp_path: Path, spoiled: bytes) -> None:
    scan = begin(tmp_path)
    write(scan, *range(10))
    scan.suspend()
    with open(f"{scan.part_path}.journal", "r+b") as stream:
        stream.seek(80)
        stream.write(spoiled)
    journal = Journal.open(Path(f"{scan.part_path}.journal"), writable=False)
    assert journal.writer is None
    journal.close()
    assert_nothing_is_passed_off(recovered(tmp_path), has=set(range(10)))


def test_a_failed_sync_that_a_takeover_meets_ends_the_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel could not write pages of the page cache. It reports this to one sync only."""
    scan = begin(tmp_path)
    write(scan, *range(30))
    scan.suspend()
    real, failed = File.sync, []

    def sync(self: File) -> None:
        if self.path.name.endswith(".part") and not failed:
            failed.append(True)
            raise lys_storage.StorageOSError(5, "sync: injected", str(self.path))
        real(self)

    with open(scan.part_path, "r+b") as stream:  # the bytes of frame 7 on the disk
        stream.seek(scan._store.description.array_offset + 7 * 2048)
        stream.write(b"lost")
    monkeypatch.setattr(File, "sync", sync)
    there = assert_nothing_is_passed_off(recovered(tmp_path))
    assert failed
    assert there == set(range(30)) - {7}


# -- mounts ------------------------------------------------------------------------------------------------------------


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()}")


class Disk:
    """A file system on a loop device, mounted at `mount`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.image, self.mount, self.kind = folder / "image", folder / "mount", kind
        self.mount.mkdir()
        self.image.touch()
        os.truncate(self.image, 320 << 20)
        run(f"mkfs.{kind}", "-q", self.image)

    def attach(self) -> None:
        run("mount", "-o", "loop", self.image, self.mount)

    def detach(self) -> None:
        run("umount", self.mount)


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    made = Disk(tmp_path, request.param)
    made.attach()
    yield made
    subprocess.run(["umount", "-l", made.mount], capture_output=True)


@pytest.mark.usefixtures("no_early_checksums")
def test_a_disk_that_went_and_came_back_is_not_believed_and_nothing_older_than_a_flush_is_lost(disk: Disk) -> None:
    scan = begin(disk.mount / "a")
    write(scan, *range(20))
    scan.flush()
    write(scan, *range(20, 40))
    journal = scan._store.journal
    path = scan.part_path
    scan._finalizer.detach()
    scan._workers.stop()
    scan._store.close()  # as after the death of the process
    scan._lifecycle.state = "suspended"
    assert journal.file.fd < 0
    disk.detach()
    disk.attach()
    with open(path, "r+b") as stream:  # bytes after the last flush are lost
        stream.seek(scan._store.description.array_offset + 30 * 2048)
        stream.write(bytes(2048))
    there = assert_nothing_is_passed_off(recovered(disk.mount / "a"))
    assert there == set(range(20))


def test_the_same_files_by_another_mount_are_not_believed(disk: Disk, tmp_path: Path) -> None:
    """For example from a container to the host. Each frame is compared."""
    scan = begin(disk.mount / "a")
    write(scan, *range(40))
    scan.suspend()
    bound = tmp_path / "bound"
    bound.mkdir()
    run("mount", "--bind", disk.mount, bound)
    try:
        file = File.open(bound / "a" / "x_0.npz.part", writable=False)
        journal = Journal.open(bound / "a" / "x_0.npz.part.journal", writable=False)
        assert not journal.vouches_for(file)
        journal.close()
        file.close()
        assert assert_nothing_is_passed_off(recovered(bound / "a")) == set(range(40))
    finally:
        run("umount", bound)


@pytest.mark.parametrize("disk", ["btrfs"], indirect=True)
def test_a_snapshot_that_is_rolled_back_is_not_believed(disk: Disk) -> None:
    """The inodes and birth times of a snapshot equal those of the original files."""
    run("btrfs", "subvolume", "create", disk.mount / "live")
    scan = begin(disk.mount / "live" / "a")
    write(scan, *range(20))
    scan.flush()
    write(scan, *range(20, 40))
    run("btrfs", "subvolume", "snapshot", disk.mount / "live", disk.mount / "snapshot")
    snapshot = disk.mount / "snapshot" / "a"
    file = File.open(snapshot / "x_0.npz.part", writable=False)
    journal = Journal.open(snapshot / "x_0.npz.part.journal", writable=False)
    assert not journal.vouches_for(file)
    journal.close()
    file.close()
    assert_nothing_is_passed_off(recovered(snapshot), has=set(range(20)))
    assert_nothing_is_passed_off(scan.close(), has=set(range(40)))


# -- what was acknowledged -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flush_interval_s", [None, 1.0])
def test_a_frame_has_its_checksum_within_a_tenth_of_a_second(tmp_path: Path, flush_interval_s: float | None) -> None:
    scan = begin(tmp_path, flush_interval_s=flush_interval_s)
    write(scan, 0)
    states = scan._store.journal.states
    begun = time.monotonic()
    assert wait_until(lambda: states.raw[0] > WRITTEN)
    first = time.monotonic() - begun
    write(scan, *range(1, 40))
    begun = time.monotonic()
    assert wait_until(lambda: (states.array[:40] > WRITTEN).all())
    assert max(first, time.monotonic() - begun) < 1.0  # 0.05 on an idle machine; a flush would take longer
    scan.close()


def test_after_an_orderly_restart_everything_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin(tmp_path / "a", flush_interval_s=3600.0)
    write(scan, *range(50))
    states = scan._store.journal.states
    assert wait_until(lambda: np.isin(states.array[:50], (CHECKSUMMED, BLOCK_CHECKSUMMED)).all())
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
    assert assert_nothing_is_passed_off(recovered(tmp_path / "b")) == set(range(50))
    scan.close()


@pytest.mark.filterwarnings("ignore:a scan was not closed:ResourceWarning")
def test_a_scan_that_is_dropped_is_flushed_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)
    scan = begin(tmp_path / "a", flush_interval_s=3600.0)
    write(scan, *range(50))
    del scan
    gc.collect()
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
    assert assert_nothing_is_passed_off(recovered(tmp_path / "a")) == set(range(50))


@pytest.mark.filterwarnings("ignore:a scan was not closed:ResourceWarning")
def test_a_scan_that_a_script_forgets_is_flushed_at_its_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from lys_storage.scan import checksum_thread; checksum_thread.LATEST_S = 3600.0\n"
        "from tests.recovery.test_identity import begin, write\n"
        "scan = begin(Path(sys.argv[1]), flush_interval_s=3600.0); write(scan, *range(50))\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a"), str(root)], check=True, cwd=root)
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
    assert assert_nothing_is_passed_off(recovered(tmp_path / "a")) == set(range(50))


@pytest.mark.parametrize("keep", [False, True])
def test_frames_without_a_checksum_are_kept_on_request_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)
    scan = begin(tmp_path / "a", fill_value=9)
    write(scan, *range(20))
    scan.flush()
    write(scan, *range(30, 40))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    part = tmp_path / "b" / "x_0.npz.part"
    with part.open("r+b") as stream:  # a frame with a checksum that no longer matches
        stream.seek(scan._store.description.array_offset + 3 * 2048)
        stream.write(b"rotten")
    scan.close()
    export = load_export(recovered(tmp_path / "b", keep_doubtful=keep))
    kept = [*range(3), *range(4, 20), *(range(30, 40) if keep else ())]
    assert [k for k in range(60) if (export.data[k] == k + 1).all()] == kept
    assert export.info.get("doubtful") == ([[30, 40]] if keep else None)
    assert export.info["frames_written"] == len(kept)


def test_doubtful_frames_stay_listed_when_the_recovery_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)
    scan = begin(tmp_path / "a")
    write(scan, *range(10))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    scan.close()
    store = open_store(tmp_path / "b" / "x_0.npz", keep_doubtful=True)
    store.checksum_dirty(all_frames=True)
    store.close()
    export = load_export(recovered(tmp_path / "b"))
    assert export.info["doubtful"] == [[0, 10]]


def test_a_recovered_scan_ended_when_its_last_frame_came(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    write(scan, 0)
    scan.suspend()
    os.utime(scan.part_path, (1_700_000_000, 1_700_000_000.25))
    assert load_export(recovered(tmp_path)).info["ended"] == "2023-11-14T22:13:20.250+00:00"


def test_a_scan_that_was_resumed_ended_when_it_was_closed(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    write(scan, 0)
    scan.suspend()
    os.utime(scan.part_path, (1_700_000_000, 1_700_000_000))
    with lys_storage.resume(scan.path) as scan:
        write(scan, 1)
    assert load_export(scan.path).info["ended"] > "2026"


def test_a_record_of_the_writer_fits_its_place_whatever_the_host_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    most = (1 << 64) - 1
    monkeypatch.setattr(writer_record.platform, "node", lambda: "測定" * 50)
    monkeypatch.setattr(writer_record, "boot_id", lambda: "0" * 36)

    class Extreme:
        def identity(self) -> tuple[int, int, int, int, int]:
            return most, most, most, -(1 << 63), 999_999_999

    record = WriterRecord.of_this_process(Extreme(), Extreme())  # type: ignore[arg-type]
    assert len(record.encode()) == writer_record.RECORD_BYTES
    assert writer_record.decode_writer_record(record.encode()) == record
