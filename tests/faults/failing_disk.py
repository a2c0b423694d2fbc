"""A scan on a disk that fails to write pages in mid-scan, and heals. Run in a mount namespace of its own.

    failing_disk.py CASE FOLDER

Prints JSON: how often each call has failed, how many frames of the export are wrong, and how many are missing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import ZEROS_BYTES, File, PageCache
from lys_storage.disk.systems import SYSTEM
from tests.faults.namespace import NOT_HERE

MiB = 1 << 20
FRAMES, FIRST_BAD, BAD_BYTES = 256, 100, 16 * MiB
FILL = 7
NEVER = 1 << 40
SMALL = 1 << 12
RUN = ZEROS_BYTES // SMALL
AT_THE_END = {"flush_interval_s": None, "burst_bytes": NEVER, "cached_bytes": NEVER}
FLUSHING = {"flush_interval_s": 0.02, "burst_bytes": NEVER, "cached_bytes": NEVER}
DROPPING = {"flush_interval_s": None, "burst_bytes": 16 * MiB, "cached_bytes": 8 * MiB}
CASES: dict[str, dict[str, Any]] = {
    "frames, seen by the write-behind": DROPPING,
    "frames, seen by a flush": FLUSHING,
    "frames, seen by both": {**DROPPING, "flush_interval_s": 0.02},
    "frames, seen by close": AT_THE_END,
    "the head": FLUSHING,
    "the tail": AT_THE_END,
    "the fill": AT_THE_END,
    "zeros ahead of small frames": AT_THE_END,
    "zeros ahead into the next folio": AT_THE_END,
    "the journal": AT_THE_END,
}
"""What is affected by the fault, and the options of the scan."""
ZEROS_AHEAD = {"zeros ahead of small frames": 800 * RUN, "zeros ahead into the next folio": 799 * RUN}
"""The first of the small frames that are prepared together, and are affected. The last of the second ones begins at 100 MiB."""


def run(*command: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        print("cannot", *command, done.stderr.strip(), flush=True)
        sys.exit(NOT_HERE)
    return done.stdout


class Disk:
    """ext4 on a loop device whose image is in a tmpfs, with a hole where some frames of a file are. The tmpfs is full: writes
    into the hole fail, until heal(). No metadata of the file system is affected. A loop device reports a write that fails after
    its first page as done (seen with Linux 6.18): what is before the hole has to be clean."""

    def __init__(self, folder: Path) -> None:
        self._below, self.path = folder / "below", folder / "disk"
        self._below.mkdir()
        self.path.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=700m", "none", self._below)
        self._image = os.open(self._below / "image", os.O_RDWR | os.O_CREAT)
        os.truncate(self._image, 600 * MiB)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", self._below / "image")
        os.posix_fallocate(self._image, 0, 600 * MiB)  # after mkfs, which makes holes
        run("mount", "-o", "loop", self._below / "image", self.path)
        self.healed = threading.Event()

    def break_at(self, file: Path, offset: int) -> None:
        lines = [line for line in run("filefrag", "-v", file).splitlines() if ".." in line]
        for line in lines:
            extent = [int(word) for word in line.replace("..", " ").replace(":", " ").split()[:6]]
            at, block, count = extent[1], extent[3], extent[5]
            if at <= offset >> 12 < at + count:
                first = block + (offset >> 12) - at
                bad = min(BAD_BYTES, (block + count - first) << 12)
                assert SYSTEM.punch_hole(self._image, first << 12, bad)
                break
        else:
            raise AssertionError(lines)
        with (self._below / "filler").open("wb", buffering=0) as filler:
            step = MiB
            while step >= 4096:
                try:
                    filler.write(bytes(step))
                except OSError:
                    step //= 2

    def heal(self) -> None:
        if not self.healed.is_set():
            (self._below / "filler").unlink()
            self.healed.set()


def value(number: int, size: int) -> Any:
    return np.random.default_rng(number).integers(8, 255, size, "u1")


def counted(disk: Disk, faults: dict[str, int], name: str, real: Callable[..., None]) -> Callable[..., None]:
    """The call, which heals the disk after it has failed."""

    def call(*args: Any) -> None:
        try:
            real(*args)
        except StorageOSError:
            faults[name] += 1
            disk.heal()
            raise

    return call


def insist(action: Callable[[], Any], faults: dict[str, int]) -> None:
    for _ in range(3):
        try:
            action()
            return
        except StorageOSError:
            faults["close"] += 1


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("1\n")


def write(scan: lys_storage.Scan, numbers: range, size: int, *, pause_s: float = 0.0) -> None:
    for number in numbers:
        scan[number] = value(number, size)
        time.sleep(pause_s)


def break_and_write(disk: Disk, case: str, scan: lys_storage.Scan, faults: dict[str, int]) -> range:
    """Break the disk, and write frames. Returns which."""
    part, table = scan.part_path, scan._store.table
    if case in ZEROS_AHEAD:
        first = ZEROS_AHEAD[case]
        write(scan, range(first), SMALL)
        assert table.prepare_frames == RUN
        scan.flush()
        disk.break_at(part, table.offset_of(first))
        write(scan, range(first, first + 1), SMALL)
        insist(scan.flush, faults)
        assert faults["sync"], "the flush did not fail"
        write(scan, range(first + 1, scan.shape[0]), SMALL)
        return range(scan.shape[0])
    first_bad = table.offset_of(FIRST_BAD)
    where = {"the head": 0, "the tail": table.offset_of(FRAMES), "the journal": 4096}.get(case, first_bad)
    numbers = range(FIRST_BAD if case == "the fill" else FRAMES)
    before = {"the head": 0, "the journal": 0, "the tail": FRAMES}.get(case, FIRST_BAD)
    if before:
        write(scan, numbers[:before], MiB)
        scan.flush()
    disk.break_at(scan._store.journal.path if case == "the journal" else part, where)
    write(scan, numbers[before:], MiB, pause_s=0.002)
    if case == "the journal":
        insist(scan.flush, faults)
    return numbers


def main(case: str, folder: Path) -> None:
    disk = Disk(folder)
    faults = {"wait": 0, "sync": 0, "close": 0}
    PageCache.write_back = counted(disk, faults, "wait", PageCache.write_back)  # type: ignore[method-assign]
    File.sync = counted(disk, faults, "sync", File.sync)  # type: ignore[method-assign]
    if CASES[case]["burst_bytes"] == NEVER:
        PageCache.begin_write_back = PageCache.write_back = lambda *args: None  # type: ignore[method-assign]
    size = SMALL if case in ZEROS_AHEAD else MiB
    shape = (FRAMES * MiB // size, size)
    scan = lys_storage.create(disk.path / "a.npz", shape, "u1", grid_ndim=1, fill_value=FILL, **CASES[case])
    numbers = break_and_write(disk, case, scan, faults)
    if case == "the journal":
        scan.suspend()
        drop_caches()
        scan = lys_storage.resume(scan.path)
    insist(scan.close, faults)
    drop_caches()
    wrong = missing = 0
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        for number in range(shape[0]):
            is_filled = (wave.data[number] == FILL).all()
            missing += is_filled and number in numbers
            expected = value(number, size) if number in numbers else np.full(size, FILL, "u1")
            wrong += not (is_filled and number in numbers) and not np.array_equal(wave.data[number], expected)
    told = {"faults": faults, "wrong": int(wrong), "missing": int(missing), "failed": disk.healed.is_set()}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
