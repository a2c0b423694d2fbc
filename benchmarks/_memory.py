"""Resident memory of a process, and the warming of memory before a measurement. Linux."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import time
from pathlib import Path

import numpy as np

SAMPLE_EVERY_S = 0.05
WARM_BYTES = 2 << 30
FRAGMENTS_BYTES = 1 << 30
WARM_PASSES = 8


def resident(pid: int | str = "self") -> tuple[int, int]:
    """(RssAnon, RssFile) in bytes: anonymous memory, and pages of mapped files."""
    anon = file = 0
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            anon = int(line.split()[1]) << 10
        elif line.startswith("RssFile:"):
            file = int(line.split()[1]) << 10
    return anon, file


class Sampler:
    """Samples (time, anon, file) of a process every 50 ms from outside, so that it does not disturb the measurement."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int, int]] = []
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the process has ended
            while not self._end.wait(SAMPLE_EVERY_S):
                self.samples.append((time.monotonic(), *resident(self._pid)))

    def stop(self) -> None:
        self._end.set()
        self._thread.join()


def available() -> int:
    """Bytes of memory that the kernel can allocate now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo has no MemAvailable")


def warm(folder: Path, size_bytes: int, block_bytes: int) -> list[float]:
    """Write and delete a file of `size_bytes` (at most WARM_BYTES), as the limit does, until two passes take equally long.

    Returns the seconds of each pass. The pages return to the kernel's free list, from which the next file takes them. A
    virtual machine returns free memory to its host within two seconds; then the first access to a page costs up to 20
    times as much. So no more memory is warmed than the measurement uses, and it is used at once. Anonymous memory is
    touched before, page by page: it comes from the small blocks of the free list, which maps and files with another
    alignment take first, and which the passes do not reach.
    """
    with mmap.mmap(-1, min(size_bytes + FRAGMENTS_BYTES, available() // 2)) as touched:
        touched.madvise(mmap.MADV_NOHUGEPAGE)
        view = np.frombuffer(touched, np.uint8)
        view[:: mmap.PAGESIZE] = 1
        del view
    count = max(1, min(size_bytes, WARM_BYTES, available() // 2) // block_bytes)
    path, block = folder / "warm", np.ones(block_bytes, np.uint8)
    passes: list[float] = []
    while len(passes) < WARM_PASSES and not _steady(passes):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, count * block_bytes)
            begin = time.perf_counter()
            for k in range(count):
                os.pwrite(descriptor, block, k * block_bytes)
            passes.append(time.perf_counter() - begin)
        finally:
            os.close(descriptor)
            path.unlink()
    return passes


def _steady(passes: list[float]) -> bool:
    """Whether the last two passes took at most 10 % longer than the fastest pass."""
    return len(passes) > 1 and max(passes[-2:]) <= 1.1 * min(passes)


def drop_from_cache(folder: Path) -> None:
    """Drop the files below `folder`, which must be synced, from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def on_disk(folder: Path) -> int:
    """Bytes that the files below `folder` occupy on the disk (blocks, not lengths)."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
