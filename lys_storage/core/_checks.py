"""Checksums of frames that have come: taken behind the writer, from the file's bytes, never from the sender's memory.

    WRITTEN -> CHECKING -> read back from the file -> CHECKED or BLOCK_CHECKED, if no rewrite began meanwhile

Where frames are small, a block of them shares a checksum once all of it has come: a call of the interpreter for each
frame would cost more than the writing. A frame that is to be rewritten leaves its block first: split_blocks() gives each frame
of it a checksum of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._checksum import crc32
from ._frames import TABLE_STEP, Frames, Span, join
from ._journal import BLOCK_CHECKED, CHECKED, CHECKING, WRITTEN

READ_SIZE = 1 << 20

Numbers = np.ndarray[Any, np.dtype[np.intp]]


class Checks(Frames):
    """Frames that get checksums. One thread at a time takes them; see Part for who has the turn."""

    def take_checksums(self, span: Span, *, leave_loose: bool = False) -> None:
        """The checksum of every frame of `span` that is written and has none.

        `leave_loose`: where there are blocks, those that are whole only; the others are told as fresh again.
        """
        per_block = self.journal.per_block
        leave_loose = leave_loose and per_block > 1
        first, stop = span[0] // per_block * per_block, span[1]
        for at in range(first, stop, TABLE_STEP):
            try:
                end = min(at + TABLE_STEP, -(-stop // per_block) * per_block, self.frames)
                left = self._take_range(at, end, leave_loose)
                if left[0] < left[1] and not leave_loose:
                    # A rewrite began in a block, which gets no checksum: its other frames are promised by this flush.
                    left = self._take_range(at, end, leave_loose, in_blocks=False)
            except BaseException:
                with self._lock:
                    self.fresh = join(self.fresh, (at, stop))
                raise
            if left[0] < left[1]:
                with self._lock:
                    self.fresh = join(self.fresh, left)

    def _take_range(self, first: int, stop: int, leave_loose: bool, *, in_blocks: bool = True) -> Span:
        """Of one step of the table; the range of what is left without a checksum."""
        journal = self.journal
        marks = journal.mark_array[first:stop]
        with self._lock:
            blocks, loose = _chosen(marks, first, journal.per_block, journal.blocks, in_blocks)
            left: Span = (0, 0)
            if leave_loose and loose.size:
                left = (first + int(loose[0]), first + int(loose[-1]) + 1)
                loose = loose[:0]
            members = _members(blocks, journal.per_block, first)
            journal.set_chosen(first, np.sort(np.concatenate((members, loose))), CHECKING)
        try:
            size = self.frame_bytes
            block_sums = np.fromiter(self.sums(blocks, size * journal.per_block), np.uint32, blocks.size)
            own_sums = np.fromiter(self.sums(first + loose, size), np.uint32, loose.size)
        except BaseException:
            with self._lock:
                journal.set_chosen(first, np.flatnonzero(marks == CHECKING), WRITTEN)
            raise
        with self._lock:
            checking = marks == CHECKING
            whole = checking[members].reshape(-1, journal.per_block).all(axis=1)
            for a, b in self.in_flight:  # a rewrite that found no block to split would leave a part of one
                whole &= (blocks * journal.per_block >= b) | ((blocks + 1) * journal.per_block <= a)
            # Of no others: a checksum of bytes in the middle of a rewrite would vouch for these.
            sound = np.flatnonzero(whole)
            for run in np.split(sound, np.flatnonzero(np.diff(blocks[sound]) > 1) + 1):
                if run.size:
                    journal.put_block_checksums(int(blocks[run[0]]), block_sums[run])
            broken = members.reshape(-1, journal.per_block)[~whole].ravel()  # a rewrite began in these
            broken = broken[checking[broken]]
            still = checking[loose]
            journal.set_checksums(first, loose[still], own_sums[still])
            journal.set_chosen(first, loose[still], CHECKED)
            journal.set_chosen(first, members.reshape(-1, journal.per_block)[whole].ravel(), BLOCK_CHECKED)
            journal.set_chosen(first, broken, WRITTEN)
        if broken.size:
            left = join(left, (first + int(broken[0]), first + int(broken[-1]) + 1))
        return left

    def split_blocks(self, first: int, stop: int) -> bool:
        """Give each frame of the blocks that `first` to `stop` are part of a checksum of its own; whether any had none.

        None of them may be in the middle of a rewrite.
        """
        journal = self.journal
        per_block, split = journal.per_block, False
        if per_block == 1:
            return False
        for begin in range(first // per_block * per_block, min(stop, journal.blocks * per_block), per_block):
            if self.marks[begin] != BLOCK_CHECKED:
                continue
            numbers = np.arange(begin, begin + per_block)
            sums = np.fromiter(self.sums(numbers, self.frame_bytes), np.uint32, per_block)
            with self._lock:
                journal.put_checksums(begin, sums)
                journal.set_marks(begin, begin + per_block, CHECKED)
            split = True
        return split

    def sums(self, numbers: Numbers, size: int) -> Iterator[int]:
        """CRC-32 of each unit of `size` bytes (frames, or blocks of them) by its number, in as few reads as 1 MiB allows."""
        if not numbers.size:
            return
        buffer = memoryview(bytearray(min(READ_SIZE, size * len(numbers)) if size <= READ_SIZE else READ_SIZE))
        per_read, units, k = max(1, len(buffer) // size), numbers.tolist(), 0
        while k < len(units):
            n = 1
            while n < per_read and k + n < len(units) and units[k + n] == units[k] + n:
                n += 1
            at = self.array_offset + units[k] * size
            if size <= READ_SIZE:
                self.read_whole(buffer[: n * size], at)
                for j in range(0, n * size, size):
                    yield crc32(buffer[j : j + size])
            else:
                crc = 0
                for j in range(0, size, READ_SIZE):
                    view = buffer[: min(READ_SIZE, size - j)]
                    self.read_whole(view, at + j)
                    crc = crc32(view, crc)
                yield crc
            k += n


def _chosen(
    marks: np.ndarray[Any, Any], first: int, per_block: int, blocks: int, in_blocks: bool
) -> tuple[Numbers, Numbers]:
    """Numbers of the blocks all of whose frames are WRITTEN; and, counted from `first`, the other WRITTEN frames."""
    written = (marks == WRITTEN) | (marks == CHECKING)  # CHECKING: left by a check that ended in the middle
    begin = first // per_block
    count = min(len(marks) // per_block, max(0, blocks - begin))
    if not count:
        return np.empty(0, np.intp), np.flatnonzero(written)
    rows = written[: count * per_block].reshape(count, per_block)
    of_block = marks[: count * per_block].reshape(count, per_block) == BLOCK_CHECKED
    rows |= of_block & ~of_block.all(axis=1, keepdims=True)  # a part of a block: its checksum is nobody's
    whole = rows.all(axis=1) & in_blocks
    loose = written.copy()
    loose[: count * per_block].reshape(count, per_block)[whole] = False
    return begin + np.flatnonzero(whole), np.flatnonzero(loose)


def _members(blocks: Numbers, per_block: int, first: int) -> Numbers:
    """The frames of `blocks`, counted from `first`."""
    members: Numbers = (blocks[:, None] * per_block + np.arange(per_block) - first).ravel()
    return members
