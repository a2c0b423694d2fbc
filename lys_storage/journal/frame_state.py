"""The state of each frame, and the transitions between states. Nothing else changes a state.

    ABSENT              no byte of the frame was written
    WRITING             its first write is in progress, or its bytes are not data
    WRITTEN             data, without a checksum
    CHECKSUMMING        data; its checksum is being computed
    CHECKSUMMED         data; the frame's checksum is that of its bytes
    BLOCK_CHECKSUMMED   data; the checksum of its block is that of the block's bytes
    REWRITING           data; a new version, which is in the redo log, is being written over an older one

    first write   begin_write     ABSENT, WRITING -> WRITING       end_write      WRITING -> WRITTEN or CHECKSUMMED
    rewrite       begin_rewrite   data -> REWRITING                end_rewrite    REWRITING -> WRITTEN
    checksum      begin_checksum  WRITTEN -> CHECKSUMMING          end_checksum   -> CHECKSUMMED or BLOCK_CHECKSUMMED
                  cancel_checksum CHECKSUMMING -> WRITTEN          split_block    BLOCK_CHECKSUMMED -> CHECKSUMMED
    loss          invalidate      any -> WRITING
    recovery      reconcile       any -> what was found; restore_rewritten -> CHECKSUMMED
    new journal   withhold_all    -> WRITING, release_all -> ABSENT, copy_from, refine_from

With several threads, the caller of a transition holds the lock of the frame table. The accelerator (store/hotpath) performs
begin_write, end_write, begin_checksum and end_checksum on the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ..disk import File

ABSENT, WRITING, WRITTEN, CHECKSUMMED, REWRITING, CHECKSUMMING, BLOCK_CHECKSUMMED = range(7)

TABLE_STEP = 1 << 16
"""States that are processed together; a multiple of each block size."""

_RELEASED = memoryview(b"")
_RELEASED.release()

Span = tuple[int, int]
"""(first, stop) of frame numbers."""
Numbers = np.ndarray[Any, np.dtype[np.intp]]
Checksums = np.ndarray[Any, np.dtype[np.uint32]]
States = np.ndarray[Any, np.dtype[np.uint8]]


class PwriteStates:
    """State bytes that are written to the journal's file one by one, and read from its map."""

    def __init__(self, file: File, offset: int, view: memoryview) -> None:
        self._file, self._offset, self._view = file, offset, view

    def __getitem__(self, frame: int) -> int:
        return self._view[frame]

    def __setitem__(self, frame: int, state: int) -> None:
        self._file.write_at(bytes((state,)), self._offset + frame)


class FrameStates:
    """State and checksum of each frame, and the checksum of each block, as the journal holds them.

    `raw[frame]` is one state. `checksums` (one a frame) and `block_checksums` (one a block of `per_block` frames) are
    views to read. `store(table, first, data)` writes bytes into one of the journal's tables.
    """

    def __init__(
        self,
        raw: memoryview | PwriteStates,
        view: memoryview,
        checksums: Checksums,
        block_checksums: Checksums,
        doubtful: States,
        per_block: int,
        store: Callable[[str, int, bytes], None],
    ) -> None:
        self.raw, self._view = raw, view
        self.checksums, self.block_checksums = checksums, block_checksums
        self._doubtful_bits = doubtful
        self.per_block, self.blocks = per_block, len(block_checksums)
        self.frames = len(view)
        self._store = store
        self._uses_mmap = isinstance(raw, memoryview)

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def array(self) -> States:
        """The states as a read-only numpy view. Do not keep it: release() fails while a view exists."""
        view = np.frombuffer(self._view, np.uint8)
        view.flags.writeable = False
        return view

    def of(self, first: int, stop: int) -> bytes:
        return self._view[first:stop].tobytes()

    def is_data(self, frame: int) -> bool:
        return self.raw[frame] >= WRITTEN

    def count_missing(self, first: int, stop: int) -> int:
        states, steps = self.array, range(first, stop, TABLE_STEP)
        return sum(int(np.count_nonzero(states[at : min(at + TABLE_STEP, stop)] < WRITTEN)) for at in steps)

    def count_written(self) -> int:
        return self.frames - self.count_missing(0, self.frames)

    def any_data(self) -> bool:
        states = self.array
        return any((states[at : at + TABLE_STEP] > WRITING).any() for at in range(0, self.frames, TABLE_STEP))

    def last_written(self) -> int | None:
        """The number of the last written frame; None if there is none."""
        for at in reversed(range(0, self.frames, TABLE_STEP)):
            arrived = np.flatnonzero(self.array[at : at + TABLE_STEP] >= WRITTEN)
            if arrived.size:
                return at + int(arrived[-1])
        return None

    def missing(self, of: int | None = None) -> Iterator[Span]:
        """Runs of missing frames in order, of the first `of` frames or of all."""
        frames = self.frames if of is None else of
        begin: int | None = None
        for first, _, arrived in self._runs(frames, self._arrived):
            if arrived and begin is not None:
                yield begin, first
                begin = None
            elif not arrived and begin is None:
                begin = first
        if begin is not None:
            yield begin, frames

    def written(self) -> Iterator[Span]:
        """Runs of frames that are data, in order. Two runs may be adjacent."""
        for first, stop, arrived in self._runs(self.frames, self._arrived):
            if arrived:
                yield first, stop

    def doubtful(self, of: int | None = None) -> Iterator[Span]:
        """Runs of doubtful frames that were kept, in order, of the first `of` frames or of all."""
        if self._doubtful_bits.any():
            for first, stop, is_doubtful in self._runs(self.frames if of is None else of, self._is_doubtful):
                if is_doubtful:
                    yield first, stop

    def _arrived(self, first: int, stop: int) -> np.ndarray[Any, Any]:
        return self.array[first:stop] >= WRITTEN

    def _is_doubtful(self, first: int, stop: int) -> np.ndarray[Any, Any]:
        bits = np.unpackbits(self._doubtful_bits[first // 8 : -(-stop // 8)])
        return bits[first % 8 : first % 8 + stop - first].astype(bool)

    def _runs(self, frames: int, key: Callable[[int, int], np.ndarray[Any, Any]]) -> Iterator[tuple[int, int, Any]]:
        """Runs (first, stop, key) of frames with one key. `key(first, stop)`: their keys. A run also ends at each TABLE_STEP."""
        for at in range(0, frames, TABLE_STEP):
            keys = key(at, min(at + TABLE_STEP, frames))
            edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
            for begin, stop in pairwise(edges):
                yield at + begin, at + stop, keys[begin]

    def missing_bits(self, of: int) -> bytes:
        """One bit for each of the first `of` frames, packed as by numpy.packbits: 1 is missing."""
        steps = range(0, of, TABLE_STEP)  # a multiple of 8
        states = self.array
        return b"".join(np.packbits(states[at : min(at + TABLE_STEP, of)] < WRITTEN).tobytes() for at in steps)

    # -- first writes and rewrites --------------------------------------------------------------------------------

    def begin_write(self, first: int, stop: int) -> None:
        self._set(first, stop, WRITING)

    def begin_write_one(self, frame: int) -> None:
        self.raw[frame] = WRITING

    def end_write(self, first: int, stop: int) -> None:
        self._set(first, stop, WRITTEN)

    def end_write_one(self, frame: int, crc: int | None = None) -> None:
        """`crc`: the checksum of its bytes in the file, if it is known."""
        if crc is None:
            self.raw[frame] = WRITTEN
        else:
            self._store("checksums", frame, crc.to_bytes(4, "little"))
            self.raw[frame] = CHECKSUMMED

    def begin_rewrite(self, first: int, stop: int) -> None:
        self._set(first, stop, REWRITING)

    def end_rewrite(self, first: int, stop: int) -> None:
        self._set(first, stop, WRITTEN)
        self._set_doubtful(first, stop, False)

    def invalidate(self, first: int, stop: int) -> None:
        """The bytes of these frames are not data."""
        self._set(first, stop, WRITING)
        self._set_doubtful(first, stop, False)

    # -- checksums ------------------------------------------------------------------------------------------------

    def begin_checksum(self, first: int, chosen: Numbers) -> None:
        """For the frames `first + chosen` (ascending)."""
        self._set_chosen(first, chosen, CHECKSUMMING)

    def begin_checksum_run(self, first: int, stop: int) -> bool:
        """For a run of frames. False, and no change, if one of them is not WRITTEN."""
        if self.of(first, stop) != bytes((WRITTEN,)) * (stop - first):
            return False
        self._set(first, stop, CHECKSUMMING)
        return True

    def end_checksum(self, first: int, chosen: Numbers, sums: Checksums) -> None:
        """The frames `first + chosen` (ascending) have these checksums."""
        if self._uses_mmap:
            self.checksums[first + chosen] = sums
        elif chosen.size:
            low, high = int(chosen[0]), int(chosen[-1]) + 1
            known = self.checksums[first + low : first + high].copy()
            known[chosen - low] = sums
            self._put("checksums", first + low, known)
        self._set_chosen(first, chosen, CHECKSUMMED)

    def end_block_checksums(self, first: int, blocks: Numbers, sums: Checksums, members: Numbers) -> None:
        """`blocks` (numbers, ascending), of the frames `first + members`, have these checksums."""
        for run in np.split(np.arange(len(blocks)), np.flatnonzero(np.diff(blocks) > 1) + 1):
            if run.size:
                self._put("block_checksums", int(blocks[run[0]]), sums[run])
        self._set_chosen(first, members, BLOCK_CHECKSUMMED)

    def end_checksum_run(self, first: int, stop: int, sums: Checksums) -> bool:
        """For a run of whole units (blocks or frames). False, and no change, if a frame is no longer CHECKSUMMING."""
        if self.of(first, stop) != bytes((CHECKSUMMING,)) * (stop - first):
            return False
        if self.per_block > 1:
            self._put("block_checksums", first // self.per_block, sums)
        else:
            self._put("checksums", first, sums)
        self._set(first, stop, BLOCK_CHECKSUMMED if self.per_block > 1 else CHECKSUMMED)
        return True

    def cancel_checksum(self, first: int, stop: int) -> None:
        """Frames of this range that are CHECKSUMMING become WRITTEN again."""
        self._set_chosen(first, np.flatnonzero(self.array[first:stop] == CHECKSUMMING), WRITTEN)

    def cancel_checksum_of(self, first: int, chosen: Numbers) -> None:
        self._set_chosen(first, chosen, WRITTEN)

    def split_block(self, first: int, sums: Checksums) -> None:
        """Each frame of the block that begins at `first` has a checksum of its own."""
        self._put("checksums", first, sums)
        self._set(first, first + self.per_block, CHECKSUMMED)

    # -- recovery, and new journals -------------------------------------------------------------------------------

    def reconcile(self, first: int, states: States) -> None:
        """Store the states that recovery has determined for the frames from `first`."""
        if (states != self.array[first : first + len(states)]).any():
            self._store("states", first, states.tobytes())

    def keep_doubtful(self, first: int, stop: int) -> None:
        """Recovery keeps these frames, although no checksum verifies them."""
        self._set_doubtful(first, stop, True)

    def restore_rewritten(self, frame: int, checksum: int) -> None:
        """Recovery has written the newest version of `frame` to the scan file."""
        self._put("checksums", frame, np.array([checksum], np.uint32))
        self.raw[frame] = CHECKSUMMED

    def withhold_all(self) -> None:
        """The scan file holds no data yet: another file will replace it."""
        self._set(0, self.frames, WRITING)

    def release_all(self) -> None:
        """The scan file has been replaced, and holds no frames."""
        self._set(0, self.frames, ABSENT)

    def copy_from(self, old: FrameStates) -> None:
        """Copy all states and checksums from a journal of the same layout."""
        for at in range(0, self.frames, TABLE_STEP):
            self._store("states", at, old.array[at : at + TABLE_STEP].tobytes())
            self._put("checksums", at, old.checksums[at : at + TABLE_STEP])
        for at in range(0, self.blocks, TABLE_STEP):
            self._put("block_checksums", at, old.block_checksums[at : at + TABLE_STEP])
        for first, stop in old.doubtful():
            self._set_doubtful(first, stop, True)

    def refine_from(self, old: FrameStates) -> None:
        """Copy the states of a coarser grid: each frame gets the state of the frame it was part of, without its checksum."""
        times = self.frames // old.frames
        for first, stop, state in old._runs(old.frames, lambda a, b: np.minimum(old.array[a:b], WRITTEN)):
            if state != ABSENT:
                self._set(first * times, stop * times, int(state))
        for first, stop in old.doubtful():
            self._set_doubtful(first * times, stop * times, True)

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _set(self, first: int, stop: int, state: int) -> None:
        for at in range(first, stop, TABLE_STEP):
            self._store("states", at, bytes((state,)) * min(TABLE_STEP, stop - at))

    def _set_doubtful(self, first: int, stop: int, value: bool) -> None:
        begin, end = first // 8, -(-stop // 8)
        bits = np.unpackbits(self._doubtful_bits[begin:end])
        if (bits[first - 8 * begin : stop - 8 * begin] != value).any():
            bits[first - 8 * begin : stop - 8 * begin] = value
            self._store("doubtful", begin, np.packbits(bits).tobytes())

    def _set_chosen(self, first: int, chosen: Numbers, state: int) -> None:
        """Set the state of the frames `first + chosen` (ascending). Frames between them keep theirs."""
        if self._uses_mmap:
            np.frombuffer(self._view, np.uint8)[first + chosen] = state
        elif chosen.size:
            low, high = int(chosen[0]), int(chosen[-1]) + 1
            states = self.array[first + low : first + high].copy()
            states[chosen - low] = state
            self._store("states", first + low, states.tobytes())

    def _put(self, table: str, first: int, sums: Checksums) -> None:
        self._store(table, first, sums.astype("<u4").tobytes())

    def release(self) -> None:
        """Release the views of the journal's map. Raises BufferError if another view of the states exists."""
        self.checksums = self.block_checksums = np.empty(0, np.uint32)
        self._doubtful_bits = np.empty(0, np.uint8)
        raw, view = self.raw, self._view
        self.raw = self._view = _RELEASED  # first: only a view that still exists keeps the map then
        if isinstance(raw, memoryview):
            raw.release()
        view.release()
