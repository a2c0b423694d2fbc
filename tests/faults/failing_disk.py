"""A scan on a disk that fails to write pages in mid-scan, and heals. Run in a mount namespace of its own.

    failing_disk.py CASE FOLDER

CASE: who sees the fault first: "wait" (the write-behind), "sync" (a timed flush), "both", or "the end" (close). In "the journal"
its pages are affected, and the scan is resumed from the disk. Prints JSON: how often each call has failed, how many frames of the
export are wrong, and how many are missing.
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
from lys_storage.disk import File, PageCache, syscalls
from tests.faults.namespace import NOT_HERE

MiB = 1 << 20
FRAMES, FIRST_BAD, BAD_BYTES = 256, 100, 16 * MiB
NEVER = 1 << 40
CASES: dict[str, dict[str, Any]] = {
    "wait": {"flush_interval_s": None, "burst_bytes": 16 * MiB, "cached_bytes": 8 * MiB},
    "sync": {"flush_interval_s": 0.02, "burst_bytes": NEVER, "cached_bytes": NEVER},
    "both": {"flush_interval_s": 0.02, "burst_bytes": 16 * MiB, "cached_bytes": 8 * MiB},
    "the end": {"flush_interval_s": None, "burst_bytes": NEVER, "cached_bytes": NEVER},
    "the journal": {"flush_interval_s": None, "burst_bytes": NEVER, "cached_bytes": NEVER},
}


def run(*command: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        print("cannot", *command, done.stderr.strip(), flush=True)
        sys.exit(NOT_HERE)
    return done.stdout


class Disk:
    """ext4 on a loop device whose image is in a tmpfs, with a hole where some frames of a file are. The tmpfs is full: writes
    into the hole fail, until heal(). No metadata of the file system is affected."""

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
        os.sync()
        lines = [line for line in run("filefrag", "-v", file).splitlines() if ".." in line]
        for line in lines:
            extent = [int(word) for word in line.replace("..", " ").replace(":", " ").split()[:6]]
            at, block, count = extent[1], extent[3], extent[5]
            if at <= offset >> 12 < at + count:
                first = block + (offset >> 12) - at
                size = min(BAD_BYTES, (block + count - first) << 12)
                assert syscalls.fallocate(self._image, 3, first << 12, size)
                break
        else:
            raise AssertionError(lines)
        with (self._below / "filler").open("wb", buffering=0) as filler:
            size = MiB
            while size >= 4096:
                try:
                    filler.write(bytes(size))
                except OSError:
                    size //= 2

    def heal(self) -> None:
        if not self.healed.is_set():
            (self._below / "filler").unlink()
            self.healed.set()


def value(number: int) -> Any:
    return np.random.default_rng(number).integers(1, 255, MiB, "u1")


def main(case: str, folder: Path) -> None:
    disk = Disk(folder)
    faults = {"wait": 0, "sync": 0, "close": 0}

    def counted(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            try:
                real(*args)
            except StorageOSError:
                faults[name] += 1
                disk.heal()
                raise

        return call

    PageCache.write_back = counted("wait", PageCache.write_back)  # type: ignore[method-assign]
    File.sync = counted("sync", File.sync)  # type: ignore[method-assign]
    if case in ("sync", "the end", "the journal"):
        PageCache.begin_write_back = PageCache.write_back = lambda *args: None  # type: ignore[method-assign]
    scan = lys_storage.create(disk.path / "a.npz", (FRAMES, MiB), "u1", grid_ndim=1, fill_value=0, **CASES[case])
    if case == "the journal":
        disk.break_at(scan._store.journal.path, 4096)
    else:
        disk.break_at(scan.part_path, scan._store.table.offset_of(FIRST_BAD))
    for number in range(FRAMES):
        scan[number] = value(number)
        time.sleep(0.002)
    for _ in range(3):
        try:
            scan.flush() if case == "the journal" else scan.close()
            break
        except StorageOSError:
            faults["close"] += 1
    if case == "the journal":
        scan.suspend()
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
        scan = lys_storage.resume(scan.path)
        scan.close()
    Path("/proc/sys/vm/drop_caches").write_text("1\n")
    wrong = missing = 0
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        for number in range(FRAMES):
            is_missing = not wave.data[number].any()
            missing += is_missing
            wrong += not is_missing and not np.array_equal(wave.data[number], value(number))
    told = {"faults": faults, "wrong": wrong, "missing": missing, "failed": disk.healed.is_set()}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
