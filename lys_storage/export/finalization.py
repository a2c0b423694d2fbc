"""Makes the export of a scan in progress. The array is neither read nor copied: its checksum is folded from the frames'."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..callbacks import Progress
from ..disk import rewrite_range, sync_folder
from ..errors import StorageOSError
from ..format import DataLayout, Description, layout_of, tail_reserve
from ..store import ScanStore
from .array_crc import array_crc32
from .fill import fill_missing
from .members import encode_export
from .publish import publish
from .trim import trimmed

log = logging.getLogger("lys_storage")

_KEEP_RESERVE_RATIO = 256
"""The reserve for the tail is not truncated if the file is this many times larger: where the file system discards freed
blocks at once, a truncation can wait for all write-back in flight."""


@dataclass(frozen=True)
class FinalizeReport:
    """The result of finalize. `seconds` excludes the sync. `renumbered`: the scan's name was taken, the export has another."""

    path: Path
    seconds: float
    sync_seconds: float
    frames_written: int
    frames_expected: int
    size_bytes: int
    renumbered: bool


def finalize(
    store: ScanStore, on_progress: Progress | None = None, *, trim: bool = False, recovering: bool = False
) -> FinalizeReport:
    """Turn `store`, which accepts no more frames, into its export.

    1. checksum the remaining dirty frames; 2. write the fill value of missing frames; 3. fold the checksum of the array;
    4. write the tail behind the array; 5. write the header, with the checksum; 6. sync the file; 7. publish it under its
    final name, in one step; 8. sync the folder; 9. remove the redo log and the journal. After a kill at any step recovery
    can run it again from the disk; after an error at any step it can be called again.

    `trim`: cut the array to the part of the grid that has frames. `recovering`: replace no file. No other thread flushes
    meanwhile: it could find that a sync lost a frame, whose checksum is already in that of the array.
    """
    with store.finishing():
        return _finalize(store, on_progress, trim, recovering)


def _finalize(store: ScanStore, on_progress: Progress | None, trim: bool, recovering: bool) -> FinalizeReport:
    begin = time.perf_counter()
    sync_seconds = 0.0
    if not store.find_export():
        description = store.description
        if trim and not store.complete:
            cut = trimmed(description, store.journal.states.last_written())
            description = cut if layout_of(cut).array_offset == description.array_offset else description
        sync_seconds = _complete_file(store, description, on_progress)
        store.table.ensure_owns_path()
        _let_journal_be_recognized(store, description)
        store.exported_as = description  # from here on a changed name of the scan file can be the export's
        store.published = publish(store.path, description, recovering=recovering)
    description = store.exported_as or store.description
    assert store.published is not None
    folder_from = time.perf_counter()
    sync_folder(store.published.parent)
    sync_seconds += time.perf_counter() - folder_from
    store.remove_sidecars()
    return FinalizeReport(
        path=store.published,
        seconds=time.perf_counter() - begin - sync_seconds,
        sync_seconds=sync_seconds,
        frames_written=store.frames_written,
        frames_expected=description.frames,
        size_bytes=store.published.stat().st_size,
        renumbered=store.published.name != description.final,
    )


def _let_journal_be_recognized(store: ScanStore, description: Description) -> None:
    """Sync a journal that may not be on the disk, if the name of the export may differ from that of the journal.

    After a crash behind the rename, recovery compares the scan_id of the journal with that of the export, and removes the
    journal. The export is complete without it.
    """
    final_is_taken = not description.replace and os.path.lexists(store.path.with_name(description.final))
    if final_is_taken or store.journal.sync_failed:
        try:
            store.journal.sync()
        except StorageOSError as error:
            log.info("%s; after a crash the journal may stay beside the export", error)


def _complete_file(store: ScanStore, description: Description, on_progress: Progress | None) -> float:
    """Steps 1 to 6. Returns the duration of the sync in seconds. `description` may have fewer frames than the scan."""
    layout, frames = layout_of(description), description.frames
    store.checksum_dirty(all_frames=True)
    store.take_failed_write_back()  # before the tail and the header are written
    if frames < store.frames:
        store.split_blocks(frames - 1, frames)
    store.invalidate_from(frames)
    fill_missing(store, frames, on_progress)
    encoded = encode_export(store, description, layout, array_crc32(store, frames))
    _write_tail(store, layout, encoded.tail)
    _write_heads(store, encoded.heads)
    begin = time.perf_counter()
    if store.sync_has_failed:  # sync_file() rewrites the head and the frames
        rewrite_range(store.file, layout.array_end, store.file.size - layout.array_end)
    store.sync_file()
    return time.perf_counter() - begin


def _write_tail(store: ScanStore, layout: DataLayout, tail: list[bytes]) -> None:
    at = layout.array_end
    for piece in tail:  # into space preallocated past the end; truncating first would release it
        store.file.write_at(piece, at)
        at += len(piece)
    if store.file.size > at or at < _KEEP_RESERVE_RATIO * tail_reserve(store.frames):
        store.file.set_size(at)  # release the rest of the reserve, and bytes of an earlier attempt


def _write_heads(store: ScanStore, heads: list[tuple[int, bytes]]) -> None:
    """Also the zeros between the pieces, as the padding member declares them: an older header or damaged bytes may be there.

    To look for such bytes first would read ahead into the array, whose pages were dropped.
    """
    end = 0
    for at, head in heads:
        if at > end:
            store.file.write_at(bytes(at - end), end)
        store.file.write_at(head, at)
        end = at + len(head)
