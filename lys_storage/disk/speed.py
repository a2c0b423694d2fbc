"""Measures what a disk sustains: writes for some seconds into preallocated space, in the way that lys_storage uses there.

    rounds of 4 MiB, 8 MiB, ... until one takes half a second; each ends with a sync, as a scan syncs each second

Only the rounds of about the largest size count: the small ones mostly wait for their sync.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import os_error
from .file import File
from .folder import ensure_free_space, free_space
from .memory import available_memory
from .page_cache import PageCache, open_page_cache
from .systems import SYSTEM

_SECONDS, _DIRECT_SECONDS, _ROUND_S, _PREALLOCATION_S = 5.0, 1.5, 0.5, 1.0
_SURE_S = 2.0
"""A shorter measurement can end in the cache of the drive."""
_LEAST, _MOST = 64 << 20, 8 << 30
"""Bytes that are written in all, at most a quarter of the free space between."""
_LARGEST_ROUND, _STEP = 1 << 30, 1 << 28
_BLOCK, _PIECE, _BEHIND = 4 << 20, 8 << 20, 64 << 20
DROP_BEHIND, WRITE_AND_SYNC = "drop-behind", "write and sync"


@dataclass(frozen=True)
class Speed:
    """What a disk sustains. `method`: DROP_BEHIND or WRITE_AND_SYNC. `direct_bytes_per_second`: None if not measured."""

    method: str
    bytes_per_second: float
    direct_bytes_per_second: float | None
    seconds: float

    def __str__(self) -> str:
        text = f"{rate_text(self.bytes_per_second)} by {self.method}"
        if self.method == DROP_BEHIND:
            text += " (what lys_storage does)"
        if self.direct_bytes_per_second is not None:
            text += f", {rate_text(self.direct_bytes_per_second)} by O_DIRECT"
        if self.seconds < _SURE_S:
            text += f"; measured for {self.seconds:.1f} s only: a long scan can be slower"
        return text


def rate_text(bytes_per_second: float) -> str:
    megabytes = bytes_per_second / 1e6
    return f"{megabytes:,.{0 if megabytes >= 10 else 2}f} MB/s"


def measure_speed(folder: Path) -> Speed:
    """Write a file in `folder` for about _SECONDS; the caller removes it. Raises DiskFullError, StorageOSError."""
    path, free = folder / "speed", free_space(folder)
    most = _MOST if free is None else max(_LEAST, min(_MOST, free // 4))
    ensure_free_space(folder, most, path)
    with closing(File.create(path)) as file:
        cache = open_page_cache(file)
        if cache is None:
            return _by_sync(file, most)
        with closing(cache):
            return _by_drops(file, cache, most) if cache.drops else _by_sync(file, most)


def _preallocate(file: File, most: int) -> int:
    """Preallocate up to `most` bytes for about a second. Returns how many; `most` if the file system cannot preallocate."""
    at, begin = 0, time.perf_counter()
    while at < most and (at == 0 or time.perf_counter() - begin < _PREALLOCATION_S):
        size = min(_STEP, most - at)
        if not file.preallocate(at, size):
            return most
        at += size
    return at


def _by_sync(file: File, most: int) -> Speed:
    most = min(most, max(_LEAST, available_memory() // 4))  # a disk in memory takes memory
    most = _preallocate(file, most)
    block = os.urandom(_BLOCK)
    begin = time.perf_counter()
    rate = _rate(lambda at: file.write_at(block, at), file.sync, (0, most), _SECONDS)
    return Speed(WRITE_AND_SYNC, rate, None, time.perf_counter() - begin)


def _by_drops(file: File, cache: PageCache, most: int) -> Speed:
    """A quarter of the bytes is for O_DIRECT."""
    most = _preallocate(file, most)
    middle = most * 3 // 4 // _BLOCK * _BLOCK
    writer = _DropBehind(file, cache)
    begin = time.perf_counter()
    rate = _rate(writer.put, writer.finish, (0, middle), _SECONDS)
    seconds = time.perf_counter() - begin
    return Speed(DROP_BEHIND, rate, _direct_rate(file, middle, most), seconds)


def _rate(put: Callable[[int], object], finish: Callable[[], None], span: tuple[int, int], seconds: float) -> float:
    """Bytes per second. `put` writes a block at an offset, `finish` ends a round with a sync."""
    rounds: list[tuple[int, float]] = []
    (at, stop), size, deadline = span, _BLOCK, time.perf_counter() + seconds
    while at + _BLOCK <= stop and (not rounds or time.perf_counter() < deadline):
        first, begin = at, time.perf_counter()
        while at == first or (at + _BLOCK <= min(first + size, stop) and time.perf_counter() < deadline):
            put(at)
            at += _BLOCK
        finish()
        took = time.perf_counter() - begin
        rounds.append((at - first, took))
        if took < _ROUND_S:
            size = min(2 * size, _LARGEST_ROUND)
    largest = max(written for written, _ in rounds)
    counted = [(written, took) for written, took in rounds if 2 * written >= largest]
    return sum(written for written, _ in counted) / sum(took for _, took in counted)


class _DropBehind:
    """Writes in order. The write-back of each piece begins; what is far enough behind is waited for, and dropped."""

    def __init__(self, file: File, cache: PageCache) -> None:
        self._file, self._cache, self._block = file, cache, os.urandom(_BLOCK)
        self._written = self._begun = self._dropped = 0

    def put(self, at: int) -> None:
        self._file.write_at(self._block, at)
        self._written = at + _BLOCK
        if self._written - self._begun >= _PIECE:
            self._cache.begin_write_back(self._begun, self._written - self._begun)
            self._begun = self._written
            if self._begun - self._dropped > _BEHIND:
                self._drop(_PIECE)

    def finish(self) -> None:
        self._drop(self._written - self._dropped)
        self._begun = self._written
        self._file.sync()

    def _drop(self, size: int) -> None:
        self._cache.write_back(self._dropped, size)
        self._cache.drop(self._dropped, size)
        self._dropped += size


def _direct_rate(file: File, first: int, stop: int) -> float | None:
    """Bytes per second by O_DIRECT; None if the system or the file system has none."""
    if not SYSTEM.has_direct_io:
        return None
    fd = -1
    try:
        fd = SYSTEM.open_direct(file.fd)
        with mmap.mmap(-1, _BLOCK) as buffer:  # aligned, as O_DIRECT needs it
            buffer[:] = os.urandom(_BLOCK)

            def put(at: int) -> None:
                if SYSTEM.pwrite(fd, buffer, at) != _BLOCK:
                    raise OSError(errno.EIO, "a short write")

            return _rate(put, file.sync, (first, stop), _DIRECT_SECONDS)
    except OSError as error:
        if fd < 0 or error.errno == errno.EINVAL:
            return None
        raise os_error("write by O_DIRECT", file.path, error) from error
    finally:
        if fd >= 0:
            os.close(fd)
