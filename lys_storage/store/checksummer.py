"""Checksums of frames, computed in the background from the bytes in the file, never from the caller's buffer.

    WRITTEN -> CHECKSUMMING -> read back from the file -> CHECKSUMMED or BLOCK_CHECKSUMMED, if no rewrite began meanwhile

Small frames share one checksum a block, once the whole block is written: a Python call for each frame would take longer than
its write. Before a frame is rewritten, split_blocks() gives each frame of its block a checksum of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..disk import preadv_is_native, register_for_forks, units_crc32
from ..format import CRC32_ADDRESS
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, TABLE_STEP, WRITTEN, Span
from .frame_table import FrameTable
from .hotpath import read_checksums
from .spans import join
from .write_behind import WriteBehind

READ_SIZE = 1 << 20
_PIECE = 1 << 17  # bytes of a read without the GIL: they are still in the CPU cache when their CRC is computed
_AT_ONCE = 1 << 25  # bytes of a call without the GIL: an interrupt waits for its end

Numbers = np.ndarray[Any, np.dtype[np.intp]]
Sums = np.ndarray[Any, np.dtype[np.uint32]]


class Checksummer:
    """Computes checksums of the frames of a table. The one thread that does holds `checksum_lock`.

    A thread that flushes holds `flush_priority` while it waits for `checksum_lock`, so that it is the next to get it. The
    caller of checksum() takes both, in this order, in its own `with` statement.
    """

    def __init__(self, table: FrameTable, behind: WriteBehind | None = None) -> None:
        self._table, self._behind = table, behind or WriteBehind(table)
        self._buffers: list[memoryview] = []  # reused: new memory costs more than the read into it
        self.after_fork_in_child()
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        self.flush_priority = threading.Lock()
        self.checksum_lock = threading.RLock()

    def checksum(self, span: Span, *, whole_blocks_only: bool = False) -> None:
        """Compute the checksum of each written frame of `span` that has none. `span` includes the table's `taken`.

        `whole_blocks_only`: if there are blocks, frames of partial ones become dirty again. An exception leaves all `taken`.
        """
        table = self._table
        per_block = table.states.per_block
        whole_blocks_only = whole_blocks_only and per_block > 1
        first, stop = span[0] // per_block * per_block, span[1]
        for at in range(first, stop, TABLE_STEP):
            try:
                left = self._checksum_step(at, min(at + TABLE_STEP, stop), whole_blocks_only)
            except BaseException:
                with table.lock:
                    table.states.cancel_checksum(at, stop)
                raise
            if left[0] < left[1]:
                table.mark_dirty(left)
        table.taken = (0, 0)

    def _checksum_step(self, first: int, stop: int, whole_blocks_only: bool) -> Span:
        """For one step of the table, which begins with a block. Returns the range of frames left without a checksum."""
        per_block, frames = self._table.states.per_block, self._table.frames
        whole = stop // per_block * per_block
        left = self._checksum_run(first, whole) if first < whole else None
        if left is None:
            whole, left = first, (0, 0)
        if whole < stop and whole_blocks_only and whole > first:
            return join(left, (whole, stop))
        if whole < stop:
            end = min(-(-stop // per_block) * per_block, frames)
            left = join(left, self._checksum_range(whole, end, whole_blocks_only))
        if left[0] < left[1] and not whole_blocks_only:
            # A rewrite began in a block, so the block gets no checksum. This flush promises its other frames.
            begin, end = left[0] // per_block * per_block, min(-(-left[1] // per_block) * per_block, frames)
            left = self._checksum_range(begin, end, whole_blocks_only, in_blocks=False)
        return left

    # -- a run that is all WRITTEN --------------------------------------------------------------------------------

    def _checksum_run(self, first: int, stop: int) -> Span | None:
        """For whole blocks (or frames, without blocks) that are all WRITTEN, which is the usual case. Otherwise None.

        The writer waits for the GIL meanwhile: this uses as few steps as possible.
        """
        table = self._table
        checksum_run, per_block = table.checksum_run, table.states.per_block
        if checksum_run is None or not self._reads_without_gil() or not table.journal.uses_mmap:
            return self._checksum_run_in_python(first, stop)
        step = max(1, _AT_ONCE // table.frame_bytes // per_block) * per_block
        left: Span = (0, 0)
        for at in range(first, stop, step):
            left_here = self._checksum_run_compiled(checksum_run, at, min(at + step, stop))
            if left_here is None:
                return None
            left = join(left, left_here)
        return left

    def _checksum_run_compiled(self, checksum_run: Callable[..., bool | bytes], first: int, stop: int) -> Span | None:
        table, states = self._table, self._table.states
        per_block, size = states.per_block, table.frame_bytes
        a, b = first // per_block, stop // per_block
        sums_table = states.block_checksums[a:b] if per_block > 1 else states.checksums[a:b]
        end_state = BLOCK_CHECKSUMMED if per_block > 1 else CHECKSUMMED
        buffer = self._take_buffer()
        try:
            at = table.offset_of(first)
            done = checksum_run(
                first, stop, end_state, CRC32_ADDRESS, at, size * per_block, sums_table, buffer[:_PIECE]
            )
        finally:
            self._buffers.append(buffer)
        if done is True:
            self._behind.add(first, stop)
            return 0, 0
        if done is False:
            return None
        sums = np.frombuffer(done, np.uint32)
        if len(sums) < b - a:
            sums = self.sums(range(a, b), size * per_block)  # raises the error of the read
        return self._commit_run(first, stop, sums)

    def _checksum_run_in_python(self, first: int, stop: int) -> Span | None:
        table, states = self._table, self._table.states
        per_block = states.per_block
        with table.lock:
            if not states.begin_checksum_run(first, stop):
                return None
        units = range(first // per_block, stop // per_block)
        sums = self.sums(units, table.frame_bytes * per_block)
        with table.lock:
            done = not table.is_in_flight(first, stop) and states.end_checksum_run(first, stop, sums)
        if done:
            self._behind.add(first, stop)
            return 0, 0
        return self._commit_run(first, stop, sums)

    def _commit_run(self, first: int, stop: int, sums: Sums) -> Span:
        per_block = self._table.states.per_block
        none, no_sums = np.empty(0, np.intp), np.empty(0, np.uint32)
        if per_block > 1:
            blocks = np.arange(first // per_block, stop // per_block)
            return self._commit(first, stop, blocks, sums, none, no_sums)
        return self._commit(first, stop, none, no_sums, np.arange(stop - first), sums)

    # -- any range ------------------------------------------------------------------------------------------------

    def _checksum_range(self, first: int, stop: int, whole_blocks_only: bool, *, in_blocks: bool = True) -> Span:
        """For any range within one step of the table. Returns the range of frames left without a checksum."""
        table, states = self._table, self._table.states
        size, per_block = table.frame_bytes, states.per_block
        with table.lock:
            blocks, loose = _chosen(states.array[first:stop], first, per_block, states.blocks, in_blocks)
            left: Span = (0, 0)
            if whole_blocks_only and loose.size:
                left = (first + int(loose[0]), first + int(loose[-1]) + 1)
                loose = loose[:0]
            members = _members(blocks, per_block, first)
            states.begin_checksum(first, np.sort(np.concatenate((members, loose))))
        block_sums = self.sums(blocks, size * per_block)
        own_sums = self.sums(first + loose, size)
        return join(left, self._commit(first, stop, blocks, block_sums, loose, own_sums))

    def _commit(self, first: int, stop: int, blocks: Numbers, block_sums: Sums, loose: Numbers, own_sums: Sums) -> Span:
        """Store the checksums of frames and blocks that are still CHECKSUMMING. Returns the range of frames left without one.

        Other checksums are dropped: one that was computed during a rewrite would make a mixture of bytes valid.
        """
        table, states = self._table, self._table.states
        per_block = states.per_block
        members = _members(blocks, per_block, first)
        with table.lock:
            checksumming = states.array[first:stop] == CHECKSUMMING
            whole = checksumming[members].reshape(-1, per_block).all(axis=1)
            for a, b in table.in_flight:  # a rewrite that found no block to split would leave a partial block
                whole &= (blocks * per_block >= b) | ((blocks + 1) * per_block <= a)
            rows = members.reshape(-1, per_block)
            broken = rows[~whole].ravel()  # a rewrite began in these
            broken = broken[checksumming[broken]]
            still = checksumming[loose]
            states.end_block_checksums(first, blocks[whole], block_sums[whole], rows[whole].ravel())
            states.end_checksum(first, loose[still], own_sums[still])
            states.cancel_checksum_of(first, broken)
        self._behind.add_scattered(first + np.sort(np.concatenate((rows[whole].ravel(), loose[still]))))
        return (first + int(broken[0]), first + int(broken[-1]) + 1) if broken.size else (0, 0)

    def split_blocks(self, first: int, stop: int) -> bool:
        """Give each frame of the blocks that contain `first` to `stop` a checksum of its own. Returns whether there were any.

        No rewrite of these frames may be in progress.
        """
        table, states = self._table, self._table.states
        per_block, split = states.per_block, False
        if per_block == 1:
            return False
        for begin in range(first // per_block * per_block, min(stop, states.blocks * per_block), per_block):
            if states.raw[begin] != BLOCK_CHECKSUMMED:
                continue
            sums = self.sums(range(begin, begin + per_block), table.frame_bytes)
            with table.lock:
                states.split_block(begin, sums)
            split = True
        return split

    # -- reading --------------------------------------------------------------------------------------------------

    def sums(self, units: range | Numbers, size: int) -> Sums:
        """CRC-32 of each unit of `size` bytes (a frame or a block). `units`: their numbers, ascending."""
        numbers, sums = np.asarray(units, np.int64), np.empty(len(units), np.uint32)
        buffer = self._take_buffer()
        try:
            done = self._read_checksums(numbers, size, sums, buffer)
            for run in np.split(np.arange(done, len(numbers)), np.flatnonzero(np.diff(numbers[done:]) > 1) + 1):
                if run.size:
                    at = self._table.array_offset + int(numbers[run[0]]) * size
                    units_crc32(self._table.file, at, size, sums[run[0] : run[-1] + 1], buffer)
        finally:
            self._buffers.append(buffer)
        return sums

    def _take_buffer(self) -> memoryview:
        try:
            return self._buffers.pop()
        except IndexError:
            return memoryview(bytearray(READ_SIZE))

    def _reads_without_gil(self) -> bool:
        return read_checksums is not None and CRC32_ADDRESS is not None and preadv_is_native()

    def _read_checksums(self, numbers: Numbers, size: int, sums: Sums, buffer: memoryview) -> int:
        """sums() in compiled code, without the GIL. Returns how many were computed; the next could not be read."""
        if read_checksums is None or not self._reads_without_gil():
            return 0
        done, most = 0, max(1, _AT_ONCE // size)
        table = self._table
        while done < len(sums):
            some = sums[done : done + most]
            place = table.file.fd, table.array_offset, size
            count = read_checksums(CRC32_ADDRESS or 0, *place, numbers[done : done + most], some, buffer[:_PIECE])
            done += count
            if count < len(some):
                break
        return done


def _chosen(
    states: np.ndarray[Any, Any], first: int, per_block: int, blocks: int, in_blocks: bool
) -> tuple[Numbers, Numbers]:
    """Numbers of the blocks all of whose frames are WRITTEN; and, counted from `first`, the other WRITTEN frames."""
    written = (states == WRITTEN) | (states == CHECKSUMMING)  # CHECKSUMMING: left by an interrupted thread
    begin = first // per_block
    count = min(len(states) // per_block, max(0, blocks - begin))
    if not count:
        return np.empty(0, np.intp), np.flatnonzero(written)
    rows = written[: count * per_block].reshape(count, per_block)
    of_block = states[: count * per_block].reshape(count, per_block) == BLOCK_CHECKSUMMED
    rows |= of_block & ~of_block.all(axis=1, keepdims=True)  # a partial block: its checksum is invalid
    whole = rows.all(axis=1) & in_blocks
    loose = written.copy()
    loose[: count * per_block].reshape(count, per_block)[whole] = False
    return begin + np.flatnonzero(whole), np.flatnonzero(loose)


def _members(blocks: Numbers, per_block: int, first: int) -> Numbers:
    """The frames of `blocks`, counted from `first`."""
    members: Numbers = (blocks[:, None] * per_block + np.arange(per_block) - first).ravel()
    return members
