"""Checksums of frames that have come: taken behind the writer, from the file's bytes, never from the sender's memory.

    WRITTEN -> CHECKING -> read back from the file -> CHECKED or BLOCK_CHECKED, if no rewrite began meanwhile

Where frames are small, a block of them shares a checksum once all of it has come: a call of the interpreter for each
frame would cost more than the writing. A frame that is to be rewritten leaves its block first: split_blocks() gives each frame
of it a checksum of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..disk import File, preadv_is_native
from ..format import CRC32_ADDRESS, crc32
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, WRITTEN, Journal
from .frame_table import TABLE_STEP, FrameTable, join
from .hotpath import Span, read_sums

READ_SIZE = 1 << 20
_PIECE = 1 << 17  # of a read without the interpreter's lock: what is read is still close by when it is summed
_AT_ONCE = 1 << 25  # bytes of a call without it: an interrupt waits for its end
Numbers = np.ndarray[Any, np.dtype[np.intp]]
Sums = np.ndarray[Any, np.dtype[np.uint32]]


class Checksummer(FrameTable):
    """FrameTable that get checksums. One thread at a time takes them: whoever has the turn (see _sync)."""

    def __init__(self, file: File, journal: Journal) -> None:
        super().__init__(file, journal)
        self._buffers: list[memoryview] = []  # kept, since new memory costs more than what is read into it

    def take_checksums(self, span: Span, *, leave_loose: bool = False) -> None:
        """The checksum of every frame of `span` that is written and has none.

        `leave_loose`: where there are blocks, those that are whole only; the others are told as fresh again.
        """
        per_block = self.journal.per_block
        leave_loose = leave_loose and per_block > 1
        first, stop = span[0] // per_block * per_block, span[1]
        for at in range(first, stop, TABLE_STEP):
            try:
                left = self._take_step(at, min(at + TABLE_STEP, stop), leave_loose)
            except BaseException:
                with self._lock:
                    self.fresh = join(self.fresh, (at, stop))
                raise
            if left[0] < left[1]:
                with self._lock:
                    self.fresh = join(self.fresh, left)

    def _take_step(self, first: int, stop: int, leave_loose: bool) -> Span:
        """Of one step of the table, from the first frame of a block; the range of what is left without a checksum."""
        per_block = self.journal.per_block
        whole = stop // per_block * per_block
        left = self._take_run(first, whole) if first < whole else None
        if left is None:
            whole, left = first, (0, 0)
        if whole < stop and leave_loose and whole > first:
            return join(left, (whole, stop))
        if whole < stop:
            end = min(-(-stop // per_block) * per_block, self.frames)
            left = join(left, self._take_range(whole, end, leave_loose))
        if left[0] < left[1] and not leave_loose:
            # A rewrite began in a block, which gets no checksum: its other frames are promised by this flush.
            begin, end = left[0] // per_block * per_block, min(-(-left[1] // per_block) * per_block, self.frames)
            left = self._take_range(begin, end, leave_loose, in_blocks=False)
        return left

    def _take_run(self, first: int, stop: int) -> Span | None:
        """Of whole blocks (or frames, where there are none) that are all WRITTEN, which is nearly every time; else None.

        The writer waits for the interpreter meanwhile, so it is done in as few steps as there are.
        """
        check_run = self.check_run
        if check_run is None or not self._reads_by_itself() or not self.journal.by_map:
            return self._take_run_here(first, stop)
        step = max(1, _AT_ONCE // self.frame_bytes // self.journal.per_block) * self.journal.per_block
        left: Span = (0, 0)
        for at in range(first, stop, step):
            left_here = self._take_compiled_run(check_run, at, min(at + step, stop))
            if left_here is None:
                return None
            left = join(left, left_here)
        return left

    def _take_compiled_run(self, check_run: Callable[..., bool | bytes], first: int, stop: int) -> Span | None:
        journal, per_block = self.journal, self.journal.per_block
        size, a, b = self.frame_bytes, first // per_block, stop // per_block
        table = journal.block_checksums[a:b] if per_block > 1 else journal.checksums[a:b]
        mark = BLOCK_CHECKSUMMED if per_block > 1 else CHECKSUMMED
        buffer = self._buffer()
        try:
            at = self.array_offset + first * size
            done = check_run(first, stop, mark, CRC32_ADDRESS, at, size * per_block, table, buffer[:_PIECE])
        finally:
            self._buffers.append(buffer)
        if isinstance(done, bool):
            return (0, 0) if done else None
        with self._written_again(first, stop):
            sums = np.frombuffer(done, np.uint32)
            if len(sums) < b - a:
                sums = self.sums(range(a, b), size * per_block)  # which says what is wrong
        return self._conclude_run(first, stop, sums)

    def _take_run_here(self, first: int, stop: int) -> Span | None:
        journal = self.journal
        per_block, count = journal.per_block, stop - first
        with self._lock:
            if journal.marks_of(first, stop) != bytes((WRITTEN,)) * count:
                return None
            journal.set_marks(first, stop, CHECKSUMMING)
        units = range(first // per_block, stop // per_block)
        with self._written_again(first, stop):
            sums = self.sums(units, self.frame_bytes * per_block)
        with self._lock:
            if journal.marks_of(first, stop) == bytes((CHECKSUMMING,)) * count and not self.is_in_flight(first, stop):
                if per_block > 1:
                    journal.put_block_checksums(units.start, sums)
                else:
                    journal.put_checksums(first, sums)
                journal.set_marks(first, stop, BLOCK_CHECKSUMMED if per_block > 1 else CHECKSUMMED)
                return 0, 0
        return self._conclude_run(first, stop, sums)

    def _conclude_run(self, first: int, stop: int, sums: Sums) -> Span:
        per_block = self.journal.per_block
        none, no_sums = np.empty(0, np.intp), np.empty(0, np.uint32)
        if per_block > 1:
            return self._conclude(first, stop, np.arange(first // per_block, stop // per_block), sums, none, no_sums)
        return self._conclude(first, stop, none, no_sums, np.arange(stop - first), sums)

    def _take_range(self, first: int, stop: int, leave_loose: bool, *, in_blocks: bool = True) -> Span:
        """Of one step of the table; the range of what is left without a checksum."""
        journal, size = self.journal, self.frame_bytes
        marks = journal.mark_array[first:stop]
        with self._lock:
            blocks, loose = _chosen(marks, first, journal.per_block, journal.blocks, in_blocks)
            left: Span = (0, 0)
            if leave_loose and loose.size:
                left = (first + int(loose[0]), first + int(loose[-1]) + 1)
                loose = loose[:0]
            members = _members(blocks, journal.per_block, first)
            journal.set_chosen(first, np.sort(np.concatenate((members, loose))), CHECKSUMMING)
        with self._written_again(first, stop):
            block_sums = self.sums(blocks.tolist(), size * journal.per_block)
            own_sums = self.sums((first + loose).tolist(), size)
        return join(left, self._conclude(first, stop, blocks, block_sums, loose, own_sums))

    @contextlib.contextmanager
    def _written_again(self, first: int, stop: int) -> Iterator[None]:
        """Where the block is left by an exception, what is CHECKSUMMING is WRITTEN again."""
        try:
            yield
        except BaseException:
            with self._lock:
                marks = self.journal.mark_array[first:stop]
                self.journal.set_chosen(first, np.flatnonzero(marks == CHECKSUMMING), WRITTEN)
            raise

    def _conclude(
        self, first: int, stop: int, blocks: Numbers, block_sums: Sums, loose: Numbers, own_sums: Sums
    ) -> Span:
        """Keep the checksums of what is still CHECKSUMMING, of whole blocks only; the range of what is left without one.

        Of no others: a checksum of bytes in the middle of a rewrite would vouch for these.
        """
        journal = self.journal
        members = _members(blocks, journal.per_block, first)
        with self._lock:
            checking = journal.mark_array[first:stop] == CHECKSUMMING
            whole = checking[members].reshape(-1, journal.per_block).all(axis=1)
            for a, b in self.in_flight:  # a rewrite that found no block to split would leave a part of one
                whole &= (blocks * journal.per_block >= b) | ((blocks + 1) * journal.per_block <= a)
            sound = np.flatnonzero(whole)
            for run in np.split(sound, np.flatnonzero(np.diff(blocks[sound]) > 1) + 1):
                if run.size:
                    journal.put_block_checksums(int(blocks[run[0]]), block_sums[run])
            broken = members.reshape(-1, journal.per_block)[~whole].ravel()  # a rewrite began in these
            broken = broken[checking[broken]]
            still = checking[loose]
            journal.set_checksums(first, loose[still], own_sums[still])
            journal.set_chosen(first, loose[still], CHECKSUMMED)
            journal.set_chosen(first, members.reshape(-1, journal.per_block)[whole].ravel(), BLOCK_CHECKSUMMED)
            journal.set_chosen(first, broken, WRITTEN)
        return (first + int(broken[0]), first + int(broken[-1]) + 1) if broken.size else (0, 0)

    def split_blocks(self, first: int, stop: int) -> bool:
        """Give each frame of the blocks that `first` to `stop` are part of a checksum of its own; whether any had none.

        None of them may be in the middle of a rewrite.
        """
        journal = self.journal
        per_block, split = journal.per_block, False
        if per_block == 1:
            return False
        for begin in range(first // per_block * per_block, min(stop, journal.blocks * per_block), per_block):
            if self.marks[begin] != BLOCK_CHECKSUMMED:
                continue
            sums = self.sums(range(begin, begin + per_block), self.frame_bytes)
            with self._lock:
                journal.put_checksums(begin, sums)
                journal.set_marks(begin, begin + per_block, CHECKSUMMED)
            split = True
        return split

    def sums(self, units: Sequence[int], size: int) -> Sums:
        """CRC-32 of each unit of `size` bytes (frames, or blocks of them) by its number (ascending)."""
        sums = np.empty(len(units), np.uint32)
        buffer = self._buffer()
        try:
            k = 0
            while k < len(units):
                n = len(units) if isinstance(units, range) else 1
                while k + n < len(units) and units[k + n] == units[k] + n:
                    n += 1
                self._sum_neighbours(sums[k : k + n], self.array_offset + units[k] * size, size, buffer)
                k += n
        finally:
            self._buffers.append(buffer)
        return sums

    def _buffer(self) -> memoryview:
        try:
            return self._buffers.pop()
        except IndexError:
            return memoryview(bytearray(READ_SIZE))

    def _sum_neighbours(self, sums: Sums, offset: int, size: int, buffer: memoryview) -> None:
        """CRC-32 of units one behind the other, in as few reads as the buffer allows."""
        k = self._read_sums(offset, size, sums, buffer)
        per_read = max(1, len(buffer) // size)
        while k < len(sums):
            at = offset + k * size
            if size <= len(buffer):
                n = min(per_read, len(sums) - k)
                self.read_whole(buffer[: n * size], at)
                for j in range(n):
                    sums[k + j] = crc32(buffer[j * size : (j + 1) * size])
                k += n
                continue
            crc = 0
            for j in range(0, size, len(buffer)):
                view = buffer[: min(len(buffer), size - j)]
                self.read_whole(view, at + j)
                crc = crc32(view, crc)
            sums[k] = crc
            k += 1

    def _reads_by_itself(self) -> bool:
        """Whether checksums are read without the interpreter's lock."""
        return read_sums is not None and CRC32_ADDRESS is not None and preadv_is_native()

    def _read_sums(self, offset: int, size: int, sums: Sums, buffer: memoryview) -> int:
        """The same where it was compiled: without the interpreter's lock. How many of them; the next could not be read."""
        if read_sums is None or not self._reads_by_itself():
            return 0
        done, most = 0, max(1, _AT_ONCE // size)
        while done < len(sums):
            some = sums[done : done + most]
            count = read_sums(CRC32_ADDRESS or 0, self.file.fd, offset + done * size, size, some, buffer[:_PIECE])
            done += count
            if count < len(some):
                break
        return done


def _chosen(
    marks: np.ndarray[Any, Any], first: int, per_block: int, blocks: int, in_blocks: bool
) -> tuple[Numbers, Numbers]:
    """Numbers of the blocks all of whose frames are WRITTEN; and, counted from `first`, the other WRITTEN frames."""
    written = (marks == WRITTEN) | (marks == CHECKSUMMING)  # CHECKSUMMING: left by a check that ended in the middle
    begin = first // per_block
    count = min(len(marks) // per_block, max(0, blocks - begin))
    if not count:
        return np.empty(0, np.intp), np.flatnonzero(written)
    rows = written[: count * per_block].reshape(count, per_block)
    of_block = marks[: count * per_block].reshape(count, per_block) == BLOCK_CHECKSUMMED
    rows |= of_block & ~of_block.all(axis=1, keepdims=True)  # a part of a block: its checksum is nobody's
    whole = rows.all(axis=1) & in_blocks
    loose = written.copy()
    loose[: count * per_block].reshape(count, per_block)[whole] = False
    return begin + np.flatnonzero(whole), np.flatnonzero(loose)


def _members(blocks: Numbers, per_block: int, first: int) -> Numbers:
    """The frames of `blocks`, counted from `first`."""
    members: Numbers = (blocks[:, None] * per_block + np.arange(per_block) - first).ravel()
    return members
