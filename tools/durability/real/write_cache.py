"""A disk with a volatile write cache: a power cut keeps, drops or tears each write since the last flush.

It has two images: the one that the kernel reads, and the durable one. It does not depend on FUSE or a filesystem.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Write:
    """A write to the disk. `data` None means `size` zeros."""

    offset: int
    size: int
    data: bytes | None

    def piece(self, begin: int, end: int) -> Write:
        return Write(self.offset + begin, end - begin, None if self.data is None else self.data[begin:end])


MANNERS = {
    # name: the probabilities that a write is kept, dropped, torn
    "all kept": (1.0, 0.0, 0.0),
    "all dropped": (0.0, 1.0, 0.0),
    "any": (0.4, 0.4, 0.2),
    "most kept": (0.85, 0.1, 0.05),
    "most dropped": (0.1, 0.85, 0.05),
    "most torn": (0.1, 0.1, 0.8),
    "first ones kept": (0.0, 0.0, 0.0),
}


def choose(pending: list[Write], chance: random.Random, sector: int) -> tuple[str, Counter[str], list[Write]]:
    """Choose which writes since the last flush have reached the disk. Returns the manner, the counts, and the pieces."""
    manner = chance.choice(list(MANNERS))
    counts: Counter[str] = Counter(kept=0, dropped=0, torn=0)
    pieces: list[Write] = []
    stop = chance.randrange(len(pending) + 1)
    for k, write in enumerate(pending):
        if manner == "first ones kept":
            fate = "kept" if k < stop else "torn" if k == stop else "dropped"
        else:
            fate = chance.choices(("kept", "dropped", "torn"), MANNERS[manner])[0]
        if fate == "torn" and write.size <= sector:
            fate = chance.choice(("kept", "dropped"))
        counts[fate] += 1
        if fate == "kept":
            pieces.append(write)
        elif fate == "torn":
            pieces += tear(write, chance, sector)
    return manner, counts, pieces


def tear(write: Write, chance: random.Random, sector: int) -> Iterator[Write]:
    """The sectors of a write that reached the disk: the first, the last, all but one, or any."""
    sectors = -(-write.size // sector)
    cut = chance.randrange(1, sectors)
    how = chance.choice(("first", "last", "but one", "any"))
    for k in range(sectors):
        stays = {"first": k < cut, "last": k >= cut, "but one": k != cut, "any": chance.random() < 0.5}[how]
        if stays:
            yield write.piece(k * sector, min((k + 1) * sector, write.size))


class Disk:
    """`seen`: the image that the kernel reads; `durable`: the flushed image; `pending`: the writes between them."""

    def __init__(self, folder: Path) -> None:
        self.seen = os.open(folder / "seen.img", os.O_RDWR)
        self.durable = os.open(folder / "durable.img", os.O_RDWR)
        self.size = os.fstat(self.seen).st_size
        self.pending: list[Write] = []
        self.writes = self.flushes = 0
        self.stop_at: tuple[int, int] | None = None
        self.stopped_ns: int | None = None

    def stop(self) -> None:
        """Record the time of the cut. The writing program does not notice: `seen` still takes its writes."""
        if self.stopped_ns is None:
            self.stopped_ns = time.monotonic_ns()

    def write(self, write: Write) -> None:
        _put(self.seen, write)
        if self.stopped_ns is None:
            self.pending.append(write)
            self.writes += 1
            if self.stop_at is not None and self.writes >= self.stop_at[0] and len(self.pending) >= self.stop_at[1]:
                self.stop()

    def flush(self) -> None:
        if self.stopped_ns is None:
            for write in self.pending:
                _put(self.durable, write)
            self.pending.clear()
            self.flushes += 1

    def cut(self, seed: str, sector: int) -> dict[str, Any]:
        """Put into `durable` the writes that survive the power cut."""
        manner, counts, pieces = choose(self.pending, random.Random(seed), sector)
        for write in pieces:
            _put(self.durable, write)
        return {"manner": manner, **counts, "writes": self.writes, "flushes": self.flushes}


def _put(fd: int, write: Write) -> None:
    data = bytes(write.size) if write.data is None else write.data
    if os.pwrite(fd, data, write.offset) != write.size:
        raise OSError(errno.EIO, "short write to an image")
