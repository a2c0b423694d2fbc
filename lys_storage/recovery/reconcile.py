"""Finds out which frames of an interrupted scan are data.

How far a state can be trusted depends on what happened. After the death of the process every state is true. After a power cut
(another boot id, or none) states and bytes reached the disk in any order: a state alone proves nothing, and a frame is valid
only if its bytes match its checksum, or that of its block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from ..disk import File, folios_of, open_page_cache, remove_file, rewrite_range, sync_folder
from ..format import crc32_repeated, redo_path
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
    States,
    frames_crc,
    read_records,
)

_STEP = 1 << 12  # frames; a multiple of every block size


def reconcile_frames(
    file: File,
    journal: Journal,
    *,
    trust_states: bool,
    keep_doubtful: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Set every frame to the state ABSENT, WRITING (bytes that are not data), WRITTEN, CHECKSUMMED or BLOCK_CHECKSUMMED.

    1. apply the rewrites in the redo log; 2. find the states: an interrupted first write is not data; without `trust_states`
    a frame is data only if it matches its checksum; after a failed sync, frames with a checksum are verified; 3. make all of it
    durable; 4. remove the redo log. It can be killed, and run again. `on_progress(done, total)`: bytes read.

    `keep_doubtful`: without `trust_states`, also keep frames that were written too late to have a checksum, and mark them as
    doubtful. A frame that does not match its checksum is never kept.
    """
    sync_failed, tell = journal.file_sync_failed, on_progress or (lambda done, total: None)
    redone = _redo(file, journal, trust_states)
    size, total = journal.description.frame_bytes, journal.description.frames
    held = max(0, file.size - journal.description.array_offset) // size
    for at in range(0, total, _STEP):
        states = journal.states.array[at : at + _STEP].copy()
        in_doubt = _settle_trusted(journal, at, states, held) if trust_states else np.ones(len(states), bool)
        has_no_checksum = np.isin(states, (WRITTEN, CHECKSUMMING)) & (np.arange(at, at + len(states)) < held)
        if in_doubt.any():
            _verify_blocks(file, journal, at, states, in_doubt)
        for k in np.flatnonzero(in_doubt).tolist():
            checksum = int(journal.states.checksums[at + k])
            vouched = checksum or states[k] == CHECKSUMMED
            sound = vouched and frames_crc(file, journal, at + k, 1) == checksum
            if not sound and keep_doubtful and not trust_states and has_no_checksum[k]:
                states[k] = WRITTEN
                journal.states.keep_doubtful(at + k, at + k + 1)
                continue
            states[k] = CHECKSUMMED if sound else WRITING  # some of its bytes may be on the disk
            if not trust_states:
                tell((at + k + 1) * size, total * size)
        _split_partial_blocks(journal, at, states)
        journal.states.reconcile(at, states)
        if not trust_states:
            tell(min(total, at + _STEP) * size, total * size)
    if redone is not None or not trust_states or sync_failed:
        _sync(file, journal)
        journal.sync()  # before the epoch, which makes the redo log void and may reach the disk first
        journal.epoch += 1
        journal.sync()
    if redone is not None:
        redone.close()
        remove_file(redone.file.path)


def is_of_another_scan(file: File, journal: Journal) -> bool:
    """Whether no frame matches its checksum, and some are not zeros: to fill them would destroy the data of another scan.

    Reads up to the first frame that matches, nearly always the first one.
    """
    states, size, per_block = journal.states, journal.description.frame_bytes, journal.states.per_block
    has_other_bytes = False
    for at in range(0, states.frames, _STEP):
        known = states.array[at : at + _STEP]
        units = [(int(k), 1, states.checksums[at + k]) for k in np.flatnonzero(known == CHECKSUMMED)]
        whole = len(known) // per_block * per_block if per_block > 1 else 0
        for k in (
            np.flatnonzero((known[:whole].reshape(-1, per_block) == BLOCK_CHECKSUMMED).all(axis=1)) if whole else ()
        ):
            block = at // per_block + int(k)
            if block < states.blocks:
                units.append((int(k) * per_block, per_block, states.block_checksums[block]))
        for first, count, checksum in units:
            crc = frames_crc(file, journal, at + first, count)
            if crc == checksum:
                return False
            has_other_bytes |= crc is not None and crc != crc32_repeated(b"\0", size * count)
    return has_other_bytes


def _settle_trusted(journal: Journal, first: int, states: States, held: int) -> np.ndarray[Any, Any]:
    """Make the trusted states of the frames from `first` on final. Returns which frames must be compared with their checksum.

    `held`: the number of frames that fit in the scan file.
    """
    in_doubt: np.ndarray[Any, Any] = states > BLOCK_CHECKSUMMED  # no such state: the byte is damaged
    in_doubt[max(0, held - first) :] = True  # past the end of a file that was truncated
    states[states == REWRITING] = WRITING  # it has no valid record: the redo log is damaged
    states[states == CHECKSUMMING] = WRITTEN
    in_blocks = _in_blocks(journal, first, len(states))
    in_doubt[in_blocks:] |= states[in_blocks:] == BLOCK_CHECKSUMMED  # there is no such block
    if journal.file_sync_failed:
        in_doubt |= np.isin(states, (CHECKSUMMED, BLOCK_CHECKSUMMED))
    return in_doubt


def _sync(file: File, journal: Journal) -> None:
    """Sync the scan file. If an earlier sync has failed, all data are rewritten first, and other pages are dropped.

    A page that the kernel could not write, and that is kept, can lose the frame that is written there later: see disk/direct.py.
    """
    try:
        if journal.file_sync_failed:
            size, offset = journal.description.frame_bytes, journal.description.array_offset
            rewrite_range(file, 0, min(offset, file.size))
            done = 0
            for first, stop in journal.states.written():
                begin, end = max(done, offset + first * size), offset + stop * size
                rewrite_range(file, begin, max(0, end - begin))
                done = max(done, folios_of(file, begin, max(0, end - begin))[1])
        file.sync()
        if journal.file_sync_failed and (cache := open_page_cache(file)) is not None:
            with closing(cache):
                cache.drop(0, file.size)
    except BaseException:
        journal.file_sync_failed = True
        raise
    journal.file_sync_failed = False


def _verify_blocks(file: File, journal: Journal, first: int, states: States, in_doubt: np.ndarray[Any, Any]) -> None:
    """Frames of a block that matches its checksum are data: clear their `in_doubt`."""
    per_block = journal.states.per_block
    for k in range(0, len(states), per_block):
        block, span = (first + k) // per_block, slice(k, k + per_block)
        if block >= journal.states.blocks or not in_doubt[span].any():
            continue
        checksum = int(journal.states.block_checksums[block])
        vouched = checksum or (states[span] == BLOCK_CHECKSUMMED).any()
        if vouched and frames_crc(file, journal, first + k, per_block) == checksum:
            states[span], in_doubt[span] = BLOCK_CHECKSUMMED, False
        else:
            in_doubt[span] |= states[span] == BLOCK_CHECKSUMMED  # something in the block has changed


def _in_blocks(journal: Journal, first: int, count: int) -> int:
    """How many of the `count` frames from `first` on are part of a block. `first` begins one."""
    return max(0, min(count, journal.states.blocks * journal.states.per_block - first))


def _split_partial_blocks(journal: Journal, first: int, states: States) -> None:
    """If a part of a block only is BLOCK_CHECKSUMMED, it was about to get its checksum, or to be split: its frames are data."""
    rows = states[: _in_blocks(journal, first, len(states))].reshape(-1, journal.states.per_block)
    marked = rows == BLOCK_CHECKSUMMED
    rows[marked & ~marked.all(axis=1, keepdims=True)] = WRITTEN


def _redo(file: File, journal: Journal, trust_states: bool) -> RedoLog | None:
    """Apply the redo log, with states and checksums. Returns the log, or None if there is none.

    With `trust_states` only frames that are REWRITING are applied, each from its last record: the others have their last
    version in place. Their checksums are taken again, since one may be of an older version: once the log is void, such a frame
    would not match after a power cut.
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
            if not trust_states:
                redo.apply(part, file)
    for frame, part in last.items():
        state = journal.states.raw[frame]
        if trust_states and state == REWRITING:
            redo.apply(part, file)
        if not trust_states or state in (REWRITING, WRITTEN, CHECKSUMMING):
            checksum = frames_crc(file, journal, frame, 1)
            if checksum is not None:
                journal.states.restore_rewritten(frame, checksum)
    return redo


def _frames_of(record: RedoRecord, journal: Journal) -> Iterator[tuple[int, RedoRecord]]:
    """Each frame of a record, with its part of the record; none if these are not whole frames of this scan."""
    size, offset = journal.description.frame_bytes, journal.description.array_offset
    first, over = divmod(record.offset - offset, size)
    count, rest = divmod(record.size, size)
    if first < 0 or over or rest or first + count > journal.description.frames:
        return
    for k in range(count):
        yield first + k, RedoRecord(record.offset + k * size, size, record.at + k * size)
