"""Which frames of an interrupted scan are data.

What a mark is worth depends on what happened. A dead process leaves every mark true; a machine that went down (told by the
boot id, or unknown) leaves marks and bytes in any order, and there a frame is data only where its checksum, or that of its
block, is that of its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from ..disk import File, remove_file, sync_folder
from ..format import redo_path
from ..journal import (
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    CHECKSUMMING,
    REWRITING,
    WRITING,
    WRITTEN,
    Journal,
    RedoLog,
    RedoRecord,
    frames_crc,
    read_records,
)

Marks = np.ndarray[Any, np.dtype[np.uint8]]
_STEP = 1 << 12  # a multiple of every block
_READ_SIZE = 1 << 20


def reconcile_frames(
    file: File, journal: Journal, *, trust_marks: bool, progress: Callable[[int, int], None] | None = None
) -> None:
    """Bring every mark to ABSENT, WRITING (bytes that are not data), WRITTEN, CHECKSUMMED or BLOCK_CHECKSUMMED.

    1. rewrites that the redo file holds are put in their place; 2. marks: an interrupted first write is not data; without
    trust, data are the frames whose bytes have their checksum; after a sync that failed, what has a checksum is asked for
    it; 3. all of it is made durable; 4. the redo file goes. Can be killed, and run again. `progress(done, total)`: bytes that
    have been read.
    """
    sync_failed = journal.file_sync_failed
    redone = _redo(file, journal, trust_marks)
    size, total = journal.description.frame_bytes, journal.description.frames
    held = max(0, file.size - journal.description.array_offset) // size
    for at in range(0, total, _STEP):
        marks = journal.mark_array[at : at + _STEP].copy()
        if trust_marks:
            doubtful = marks > BLOCK_CHECKSUMMED  # no mark of ours: the byte has rotted
            doubtful[max(0, held - at) :] = True  # behind the end of a file that was cut
            marks[marks == REWRITING] = WRITING  # its record is not whole: the redo file is damaged
            marks[marks == CHECKSUMMING] = WRITTEN
            in_blocks = _in_blocks(journal, at, len(marks))
            doubtful[in_blocks:] |= marks[in_blocks:] == BLOCK_CHECKSUMMED  # there is no such block
            if sync_failed:
                doubtful |= np.isin(marks, (CHECKSUMMED, BLOCK_CHECKSUMMED))
        else:
            doubtful = np.ones(len(marks), bool)
        if doubtful.any():
            _verify_blocks(file, journal, at, marks, doubtful)
        for k in np.flatnonzero(doubtful).tolist():
            checksum = int(journal.checksums[at + k])
            vouched = checksum or marks[k] == CHECKSUMMED
            sound = vouched and frames_crc(file, journal, at + k, 1) == checksum
            marks[k] = CHECKSUMMED if sound else WRITING  # bytes of it may have reached the disk all the same
            if progress is not None and not trust_marks:
                progress((at + k + 1) * size, total * size)
        _split_partial_blocks(journal, at, marks)
        if (marks != journal.mark_array[at : at + _STEP]).any():
            journal.put_marks(at, marks)
        if progress is not None and not trust_marks:
            progress(min(total, at + _STEP) * size, total * size)
    if redone is not None or not trust_marks or sync_failed:
        _sync(file, journal)
        journal.sync()  # before the epoch, which may reach the disk first: by it the redo file is void
        journal.epoch += 1
        journal.sync()
    if redone is not None:
        redone.close()
        remove_file(redone.file.path)


def _sync(file: File, journal: Journal) -> None:
    """Sync the scan file. Where a sync has failed before, all that is data is written again first."""
    try:
        if journal.file_sync_failed:
            size, offset = journal.description.frame_bytes, journal.description.array_offset
            for first in range(0, journal.description.frames, _STEP):
                data = journal.mark_array[first : first + _STEP] >= WRITTEN
                edges = [0, *(np.flatnonzero(np.diff(data)) + 1).tolist(), len(data)]
                for begin, stop in [(a, b) for a, b in pairwise(edges) if data[a]]:
                    end = offset + (first + stop) * size
                    for at in range(offset + (first + begin) * size, end, _READ_SIZE):
                        file.write_at(file.read_at(min(_READ_SIZE, end - at), at), at)
        file.sync()
    except BaseException:
        journal.file_sync_failed = True
        raise
    journal.file_sync_failed = False


def _verify_blocks(file: File, journal: Journal, first: int, marks: Marks, doubtful: np.ndarray[Any, Any]) -> None:
    """Doubtful frames of a block that is as it was when its checksum was taken are data, and in doubt no more."""
    per_block = journal.per_block
    for k in range(0, len(marks), per_block):
        block, span = (first + k) // per_block, slice(k, k + per_block)
        if block >= journal.blocks or not doubtful[span].any():
            continue
        checksum = int(journal.block_checksums[block])
        vouched = checksum or (marks[span] == BLOCK_CHECKSUMMED).any()
        if vouched and frames_crc(file, journal, first + k, per_block) == checksum:
            marks[span], doubtful[span] = BLOCK_CHECKSUMMED, False
        else:
            doubtful[span] |= marks[span] == BLOCK_CHECKSUMMED  # something in it is not what it was


def _in_blocks(journal: Journal, first: int, count: int) -> int:
    """How many of the `count` frames from `first` on, which begins a block, are part of one."""
    return max(0, min(count, journal.blocks * journal.per_block - first))


def _split_partial_blocks(journal: Journal, first: int, marks: Marks) -> None:
    """A block of which a part only is marked so was about to get its checksum, or to be taken apart: its frames are data."""
    rows = marks[: _in_blocks(journal, first, len(marks))].reshape(-1, journal.per_block)
    marked = rows == BLOCK_CHECKSUMMED
    rows[marked & ~marked.all(axis=1, keepdims=True)] = WRITTEN


def _redo(file: File, journal: Journal, trust_marks: bool) -> RedoLog | None:
    """Put what the redo file holds in its place, with marks and checksums; the redo file, where there is one.

    Where marks are true, only frames that are REWRITING are put there, each by the last record that has it: any other has
    what came last in its place already. Its checksum may be that of an older version, though: once the redo file is void,
    a power cut would find the bytes of one and the checksum of another.
    """
    path = redo_path(file.path)
    if not path.exists():
        return None
    redo = RedoLog(File.open(path, writable=True), journal.key)
    records = read_records(redo, journal.epoch)
    if records:  # the process may have died before it made them durable, or their name
        redo.sync(again=True)
        sync_folder(path.parent)
    last: dict[int, RedoRecord] = {}
    for record in records:
        for frame, part in _frames_of(record, journal):
            last[frame] = part
            if not trust_marks:
                redo.apply(part, file)
    for frame, part in last.items():
        mark = journal.marks[frame]
        if trust_marks and mark == REWRITING:
            redo.apply(part, file)
        if not trust_marks or mark in (REWRITING, WRITTEN, CHECKSUMMING):
            journal.put_checksums(frame, np.array([frames_crc(file, journal, frame, 1)], np.uint32))
            journal.marks[frame] = CHECKSUMMED
    return redo


def _frames_of(record: RedoRecord, journal: Journal) -> Iterator[tuple[int, RedoRecord]]:
    """Each frame that a record is of, with its part of it; none where it is of no whole frames of this scan."""
    size, offset = journal.description.frame_bytes, journal.description.array_offset
    first, over = divmod(record.offset - offset, size)
    count, rest = divmod(record.size, size)
    if first < 0 or over or rest or first + count > journal.description.frames:
        return
    for k in range(count):
        yield first + k, RedoRecord(record.offset + k * size, size, record.at + k * size)
