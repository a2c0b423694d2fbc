"""Bare loops that write more than the page cache shall hold: the fastest of them is the sustained limit. Linux.

Each writes into claimed space, and keeps its pages out of the page cache in its own way: drop-behind (`pwrite`, then the
write-back and the drop of what is 64 MiB behind), RWF_DONTCACHE (Linux 6.14), O_DIRECT of 4 MiB, one or two at a time.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import queue
import threading

from benchmarks._writers import Frame, Limit

PIECE = 8 << 20
BEHIND = 64 << 20
DIRECT = 4 << 20
_DONTCACHE = 0x80
_WAIT_BEFORE, _WRITE, _WAIT_AFTER = 1, 2, 4


def _sync_file_range(fd: int, offset: int, size: int, how: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).sync_file_range
    if call(fd, ctypes.c_int64(offset), ctypes.c_int64(size), how):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class DropBehind(Limit):
    """`pwrite`; each 8 MiB write-back begins, and what is 64 MiB behind is waited for and dropped. Frames in order."""

    def reserve(self) -> None:
        super().reserve()
        fd, pwrite, size, done = self._fd, os.pwrite, self.workload.frame_bytes, 0

        def put(number: int, frame: Frame) -> None:
            nonlocal done
            at = number * size
            pwrite(fd, frame, at)
            while at + size - done >= PIECE:
                _sync_file_range(fd, done, PIECE, _WRITE)
                done += PIECE
                old = done - BEHIND
                if old >= PIECE:
                    _sync_file_range(fd, old - PIECE, PIECE, _WAIT_BEFORE | _WRITE | _WAIT_AFTER)
                    os.posix_fadvise(fd, old - PIECE, PIECE, os.POSIX_FADV_DONTNEED)

        self.put = put


class DontCache(Limit):
    """`pwritev` with RWF_DONTCACHE."""

    def reserve(self) -> None:
        super().reserve()
        fd, pwritev, size = self._fd, os.pwritev, self.workload.frame_bytes
        self.put = lambda number, frame: pwritev(fd, [frame], number * size, _DONTCACHE)


class Direct(Limit):
    """O_DIRECT of 4 MiB, which are gathered in an aligned buffer. Frames in order."""

    def reserve(self) -> None:
        super().reserve()
        self._direct = os.open(self.path, os.O_WRONLY | os.O_DIRECT)
        self._buffer, self._filled, self._at = mmap.mmap(-1, DIRECT), 0, 0

        def put(number: int, frame: Frame) -> None:
            data = memoryview(frame).cast("B")
            while data:
                some = data[: DIRECT - self._filled]
                self._buffer[self._filled : self._filled + len(some)] = some
                self._filled += len(some)
                data = data[len(some) :]
                if self._filled == DIRECT:
                    self._full()

        self.put = put

    def _full(self) -> None:
        self._write(self._buffer, self._at)
        self._at, self._filled = self._at + DIRECT, 0

    def _write(self, buffer: mmap.mmap, at: int) -> None:
        if os.pwrite(self._direct, buffer, at) != DIRECT:
            raise OSError("a short write")

    def finalize(self) -> float:
        os.pwrite(self._fd, memoryview(self._buffer)[: self._filled], self._at)
        os.close(self._direct)
        return 0.0


class DirectTwo(Direct):
    """The same with two writes at a time: while one buffer is written by a thread, the next is filled."""

    def reserve(self) -> None:
        super().reserve()
        self._free: queue.SimpleQueue[mmap.mmap] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[tuple[mmap.mmap, int] | None] = queue.SimpleQueue()
        for _ in range(2):
            self._free.put(mmap.mmap(-1, DIRECT))
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._write(*job)
            self._free.put(job[0])

    def _full(self) -> None:
        self._jobs.put((self._buffer, self._at))
        self._buffer, self._at, self._filled = self._free.get(), self._at + DIRECT, 0

    def finalize(self) -> float:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        return super().finalize()
