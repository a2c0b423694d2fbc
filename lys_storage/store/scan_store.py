"""A scan in progress on disk: the scan file and its journal, kept consistent. Frames are written, checksummed and synced.

    first write    ABSENT -> WRITING -> bytes -> WRITTEN                                  FrameTable
    checksum       WRITTEN -> CHECKSUMMING -> CHECKSUMMED or BLOCK_CHECKSUMMED            Checksummer
    sync           and the rewrite after a failed one                                     Syncer
    rewrite        WRITTEN or CHECKSUMMED -> redo log -> REWRITING -> bytes -> WRITTEN    Rewriter

Lock order: layout > flush > priority > checksum > redo > directory > journal sync > journal metadata > table.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from ..disk import HELD_BY_OTHERS, File, remove_file, replace_file
from ..errors import ScanClosedError, StorageOSError
from ..format import EXPORT_SUFFIX, Description, FrameLayout, Grid, redo_path, replacement_path
from ..journal import Chunk, Journal, Span
from .checksummer import Checksummer
from .frame_table import FrameTable
from .rewriter import Rewriter
from .syncer import Syncer
from .write_behind import WriteBehind

log = logging.getLogger("lys_storage")


class ScanStore:
    """An open scan file with its journal. Any thread may write frames; one at a time computes checksums, and one flushes.

    `table`: the states of the frames. `published`: the path of the export, once it has its name. `exported_as`: its
    description, set before that. `last_write`: when an earlier process wrote its last frame; None if this one writes.
    """

    def __init__(self, file: File, journal: Journal) -> None:
        file.lock_file.is_new = False  # the scan keeps it, also when it is interrupted
        self.table = FrameTable(file, journal)
        self.write_behind = WriteBehind(self.table)
        self._checksummer = Checksummer(self.table, self.write_behind)
        self._syncer = Syncer(self.table, self._checksummer, self.write_behind)
        self._rewriter = Rewriter(self.table, self._checksummer, self._syncer, self.write_behind)
        self.published: Path | None = None
        self.exported_as: Description | None = None
        self.last_write: datetime | None = None
        self._closed = False
        self._owns_sidecars = True

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def file(self) -> File:
        return self.table.file

    @property
    def journal(self) -> Journal:
        return self.table.journal

    @property
    def path(self) -> Path:
        """Of the scan file."""
        return self.table.path

    @property
    def final_path(self) -> Path:
        """Of the export, as it was reserved."""
        return self.path.with_name(self.description.final)

    @property
    def description(self) -> Description:
        return self.table.description

    @property
    def layout(self) -> FrameLayout:
        return self.table.layout

    @property
    def grid(self) -> Grid:
        return self.table.layout.grid

    @property
    def frames(self) -> int:
        return self.table.frames

    @property
    def frames_written(self) -> int:
        return self.table.frames_written

    @property
    def complete(self) -> bool:
        return self.table.frames_written == self.table.frames

    # -- frames ---------------------------------------------------------------------------------------------------

    def write(self, layout: FrameLayout, first: int, count: int, chunks: Iterable[Chunk]) -> None:
        """Store the bytes of `count` frames from number `first`. When this returns they survive the death of the process.

        Threads that write one frame take turns. Raises LayoutChanged if `layout` is no longer the scan's, ScanClosedError if the
        scan accepts no more frames, and StorageOSError if a system call fails. A new frame is then missing; a rewritten one
        holds the old or the new version.
        """
        table, span = self.table, (first, first + count)
        if self._rewriter.needs_checkpoint:
            self.flush()
        try:
            new = table.begin(layout, span)
            if new == count:
                base = table.offset_of(first)
                for at, data in chunks:
                    table.file.write_at(data, base + at)
            else:
                self._rewriter.rewrite(*span, chunks)
            table.commit(span, new)
        except BaseException:
            table.aborted.append(span)
            table.settle()
            raise
        if self._rewriter.over_limit:
            with contextlib.suppress(
                ScanClosedError
            ):  # these frames were accepted, and the end of the scan synced them
                self.flush()

    def stop_accepting(self, why: str) -> None:
        """Refuse new frames, with `why` as the reason, and wait for those in flight."""
        self.table.stop_accepting(why)

    @property
    def layout_lock(self) -> threading.Lock:
        """Held while the layout changes: frames wait. Taken before the lock of a flush."""
        return self.table.layout_lock

    def quiesce(self) -> None:
        """Holding `layout_lock`: wait until no frame is in flight. New ones wait until that lock is free."""
        self.table.quiesce()

    # -- checksums and syncs --------------------------------------------------------------------------------------

    def checksum_dirty(self, *, all_frames: bool = False) -> None:
        """Compute the checksum of each written frame that has none, of the dirty frames or of all."""
        checksummer = self._checksummer
        with checksummer.flush_priority, checksummer.checksum_lock:
            self.table.raise_if_forked()
            self.table.raise_if_between_layouts()
            self._rewriter.retry_pending()
            span = self.table.take_dirty()
            checksummer.checksum((0, self.frames) if all_frames else span)

    def checksum_batch(self, size: int) -> tuple[Span, int]:
        """Compute checksums of about `size` bytes of whole blocks. Returns their span, and how many bytes were written."""
        checksummer = self._checksummer
        with checksummer.flush_priority:
            pass  # a thread that flushes has priority
        with checksummer.checksum_lock:
            self.table.raise_if_forked()
            self._rewriter.retry_pending()
            span, written = self.table.take_batch(size)
            checksummer.checksum(span, whole_blocks_only=True)
            return span, written

    def checksum_all(self) -> tuple[Span, int]:
        """As checksum_batch, for all written frames."""
        checksummer = self._checksummer
        with checksummer.flush_priority:
            pass
        with checksummer.checksum_lock:
            self.table.raise_if_forked()
            self._rewriter.retry_pending()
            span, written = self.table.take_all()
            checksummer.checksum(span)
            return span, written

    def split_blocks(self, first: int, stop: int) -> None:
        """Give each frame of the blocks that contain `first` to `stop` a checksum of its own."""
        self._checksummer.split_blocks(first, stop)

    def flush(self) -> None:
        """Make every frame written so far survive a power cut.

        1. note the end of the redo log; 2. checksum the dirty frames; 3. sync the scan file; 4. sync the journal; 5. once, sync
        the folder; 6. a checkpoint of the redo log. The kernel may write states and checksums to the disk in any order: after a
        power cut a frame is valid only if its bytes match its checksum, or if the redo log holds it. Checksums of later frames
        may be computed during 3 to 6.
        """
        with self._syncer.flush_lock:
            self.table.raise_if_forked()
            if self._closed:
                raise ScanClosedError(f"scan {self.path} is closed")
            position, written = self._rewriter.position, self.table.frames_written
            self.checksum_dirty()
            self._syncer.take_failed_write_back()
            self._syncer.sync_file()
            self.journal.sync()
            self._syncer.end_flush()
            self.journal.durable_frames = written
            self._rewriter.checkpoint(position)

    @property
    def sync_has_failed(self) -> bool:
        """Whether the last sync of the scan file has failed. What is written now is not durable before rewrite_range()."""
        return self._syncer.has_failed

    def take_failed_write_back(self) -> None:
        """See Syncer. The caller holds finishing()."""
        self._syncer.take_failed_write_back()

    def sync_file(self) -> None:
        """Sync the scan file. The caller holds finishing()."""
        self._syncer.sync_file()

    def finishing(self) -> contextlib.AbstractContextManager[bool]:
        """A context in which no other thread flushes."""
        return self._syncer.flush_lock

    def invalidate_from(self, first: int) -> None:
        """The export's tail will be written over the frames from `first` on, all of which are missing."""
        with self.table.lock:
            self.table.states.invalidate(first, self.frames)

    # -- the end --------------------------------------------------------------------------------------------------

    def switch_journal(self, journal: Journal, file: File | None = None) -> None:
        """Replace the scan's journal (and file) by `journal` (and `file`), which are beside them. Only while quiesced.

        1. set `successor`: after an exception from here on the scan refuses frames, unless the disk is unchanged or the change
        was undone; 2. rename the journal; 3. rename the file, and set its states to ABSENT; 4. bind the new layout, in one step.
        Other threads cannot look at the states meanwhile: where an open file keeps its name, the old journal is closed first.
        """
        table = self.table
        with self._syncer.flush_lock, self._checksummer.checksum_lock, table.lock:
            old_journal, old_file = table.journal, table.file
            table.successor = (journal, file or old_file)
            try:
                journal.replace(old_journal)
                if file is not None:
                    self._put_in_place(file, journal)
                    journal.states.release_all()
                table.bind(journal, file or old_file)
            except BaseException:
                if old_journal.file.owns_path():
                    table.successor = None
                    if table.states is not old_journal.states:  # it had to be closed and opened again
                        table.bind(old_journal, old_file)
                    journal.close()
                    remove_file(journal.path)
                raise
            old_journal.close()
            if file is not None:
                old_file.close()

    def _put_in_place(self, file: File, journal: Journal) -> None:
        """Step 3, holding the table's lock. If it fails, a journal of the old layout replaces `journal`, if that is possible."""
        table = self.table
        file.share_lock()
        try:
            with table.file.closed_for_replacement(is_scan_file=True):
                replace_file(file.path, table.path)
        except OSError:
            old_journal = table.journal
            back = journal.write_replacement(table.description, lambda j: None, table.file)
            back.replace(journal)
            journal.close()
            table.bind(back, table.file)
            old_journal.close()
            raise
        file.path = table.path
        file.take_lock_of(table.file)

    def find_export(self) -> bool:
        """Whether the export has its name. An interrupt may have come after the rename and before `published` was set: then
        another name of the scan file is looked up, once it is finalized. Before that, such a name is not the export's."""
        if self.published is None and self.exported_as is not None and not self.file.follow_folder():
            self.published = self.file.other_name(EXPORT_SUFFIX)
        return self.published is not None

    def sync_new_names(self) -> None:
        """Files of the scan have been renamed: make their names durable."""
        self._syncer.directory_changed()
        self._syncer.sync_directory()

    def remove_sidecars(self, *, keep_lock: bool = False) -> None:
        """Remove the lock file, the redo log, then the journal: they are no longer needed. `keep_lock`: not the lock file.

        If the export is there, and another program holds one of them, it stays, for recovery to remove.
        """
        with self._syncer.flush_lock, self._checksummer.checksum_lock:
            self._closed = True  # a writer may be about to flush after its last frame
            if self.published is None:
                self.table.follow_folder()
            if self.journal.file.fd >= 0:
                self._owns_sidecars = self.journal.file.owns_path()
            self._rewriter.close()
            self.journal.close()
            if not self._owns_sidecars:
                return
            if not keep_lock:
                self.file.lock_file.remove()  # first: a lock file that a crash leaves alone would stay
            try:
                for left in (self.path, self.journal.path):
                    remove_file(replacement_path(left))  # of an interrupted change of the layout
                remove_file(redo_path(self.path))
                remove_file(self.journal.path)
            except StorageOSError as error:
                if self.published is None or error.errno not in HELD_BY_OTHERS:
                    raise
                log.warning("%s is complete, but %s; lys-storage recover removes it later", self.published, error)

    def discard(self) -> None:
        """Remove the files: 1. truncate the scan file, so that recovery treats it as a scan without frames and removes the rest
        if this is interrupted; 2. remove the sidecars; 3. remove the scan file; 4. the lock file, last: without a lock recovery
        could remove the empty scan file, and another process claim its name before step 3."""
        if self.file.follow_folder():
            self.file.set_size(0)
            self.remove_sidecars(keep_lock=True)
            remove_file(self.path)
        self.file.lock_file.remove()

    def close(self) -> None:
        with self._syncer.flush_lock, self._checksummer.checksum_lock:
            self._closed = True
            self._rewriter.close()
            self.journal.close()
            for part in self.table.successor or ():
                part.close()
            self.file.close()
