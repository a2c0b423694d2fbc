"""Resident memory of a process, and warming what it is going to touch. Linux."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from pathlib import Path

import numpy as np

SAMPLE_EVERY_S = 0.05
_BLOCK = 8 << 20


def resident(pid: int | str = "self") -> tuple[int, int]:
    """(RssAnon, RssFile) in bytes: memory of its own, and pages of files that it has mapped."""
    anon = file = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            anon = int(line.split()[1]) << 10
        elif line.startswith("RssFile:"):
            file = int(line.split()[1]) << 10
    return anon, file


class Sampler:
    """Looks at a process from outside every 50 ms, so that it does not disturb what it measures; (time, anon, file)."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int, int]] = []
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            while not self._end.wait(SAMPLE_EVERY_S):
                self.samples.append((time.monotonic(), *resident(self._pid)))

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def available() -> int:
    """Bytes of memory that the kernel could give now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo has no MemAvailable")


def warm(folder: Path, size_bytes: int) -> None:
    """Touch `size_bytes` of page cache (at most half of what is available), by a file that is deleted again.

    The pages go back to the kernel's free list, from which both page cache and anonymous memory are taken next. On a
    virtual machine, memory that was left idle can cost 20 times as much to touch first; so twice as much of anonymous
    memory is touched before, or the free list has cold pieces between the warm ones.
    """
    with mmap.mmap(-1, max(mmap.PAGESIZE, min(2 * size_bytes, available() // 2))) as touched:
        view = np.frombuffer(touched, np.uint8)
        view[:] = 1
        del view
    path, block = folder / "warm", np.ones(_BLOCK, np.uint8)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for at in range(0, min(size_bytes, available() // 2), _BLOCK):
            os.pwrite(descriptor, block, at)
    finally:
        os.close(descriptor)
        path.unlink()


def drop_from_cache(folder: Path) -> None:
    """Let the page cache forget the files below `folder`, which have been synced."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def on_disk(folder: Path) -> int:
    """Bytes that the files below `folder` take on the disk (blocks, not lengths)."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
