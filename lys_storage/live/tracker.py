"""What is known of one scan that another process writes: its frames, its events and its state. One thread at a time uses it.

    no scan yet -> scan in progress (opened again when one of its files is replaced) -> export, or removed

Never changes a file, and never maps one. The lock of the scan is tried a few times a second, and released at once.
"""

from __future__ import annotations

import errno
import glob
import os
import time
from math import prod
from pathlib import Path

import numpy as np

from ..disk import absolute
from ..errors import BadFileError, LysStorageError, StorageOSError
from ..format import EXPORT_SUFFIX, PART_SUFFIX, Grid, is_export, is_scan_file, journal_path
from ..journal import TABLE_STEP, WRITTEN
from ..reading import ScanInProgress, StoredWave, open_wave
from ..recovery import INTERRUPTED, RUNNING, UNKNOWN, find_scan_file, is_gone, opened_scan_id, scan_state
from .checksum_table import MOST_FRAMES, ChecksumTable
from .events import EventLog
from .rewrites import Rewrites
from .state_table import StateTable, with_checksum

WAITING, FINISHED, REMOVED = "waiting", "finished", "removed"
_STATE_S = 0.2
"""The state (running or interrupted) is looked up so often."""
_GRACE_S = 2.0
"""So long a scan may be in the middle of its creation or its removal."""


class Tracker:
    """The scan that `path` names: the final name, or the scan file. With `wait` it need not exist yet.

    `source`: the scan in progress, then the export; None before and after. `log`: an event for each frame that arrived, or was
    rewritten. Raises StorageOSError if there is no such scan, and no export, BadFileError if one of its files is damaged.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self.path, self.state = absolute(path), WAITING
        self.source: ScanInProgress | StoredWave | None = None
        self.grid: Grid | None = None
        self.log = EventLog()
        self._table: StateTable | None = None
        self._checksums: ChecksumTable | None = None
        self._rewrites = Rewrites()
        self._buffer = np.empty(TABLE_STEP, np.uint8)
        self._scan_id: str | None = None
        self._state_due_s = self._fails_since_s = 0.0
        if not wait and is_gone(find_scan_file(self.path)) and self._export_at_path() is None:
            text = "no scan in progress and no export has this name: begin the scan first, or pass wait=True"
            raise StorageOSError(errno.ENOENT, text, os.fspath(self.path))
        self.look(whole=True)

    @property
    def is_over(self) -> bool:
        """Whether no more events can come."""
        return self.state in (FINISHED, REMOVED)

    @property
    def frames_written(self) -> int:
        return 0 if self._table is None else self._table.written

    def flags(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Of each frame of the grid, in C order: whether it is written."""
        return np.zeros(0, bool) if self._table is None else self._table.flags()

    def look(self, *, whole: bool) -> None:
        """Add the events since the last look. Without `whole` a change in a large table may be found some looks later."""
        if self.is_over:
            return
        if self.source is None and not self._begin():
            return
        scan = self.source
        if isinstance(scan, ScanInProgress):
            try:
                self._compare(scan, whole)
                if not scan.is_current():  # its last states
                    self._compare(scan, whole=True, is_last=True)
            except LysStorageError:
                if scan.is_current():
                    raise
            if not scan.is_current():
                self._go_on(scan)
            elif time.monotonic() >= self._state_due_s:
                self._look_up_state(scan.path)

    def forget_files(self) -> None:
        """The open files are closed: the next look opens them again."""
        self.source = None

    def close(self) -> None:
        """Let go of the files. They are closed when no other thread reads them any more."""
        if isinstance(self.source, StoredWave):
            self.source.close()
        self.source = None

    # -- frames ---------------------------------------------------------------------------------------------------

    def _compare(self, scan: ScanInProgress, whole: bool, is_last: bool = False) -> None:
        assert self._table is not None
        is_trusted = scan.is_trusted()
        self._rewrites.look(scan)
        is_new_epoch = self._rewrites.is_new_epoch
        is_thorough = is_new_epoch or is_last
        for at in self._table.pieces(whole=whole or is_new_epoch):
            states = self._buffer[: min(TABLE_STEP, scan.grid.frames - at)]
            scan.journal.read_states_into(states, at)
            states = states if is_trusted else with_checksum(states)
            new, rewritten, span = self._table.compare(at, states)
            first, stop = (0, len(states)) if is_thorough else span
            if self._checksums is not None and stop > first:
                some = states[first:stop]
                changed = self._checksums.look(scan.journal, at + first, some, with_unknown=is_new_epoch)
                if is_thorough:
                    rewritten = np.union1d(rewritten, np.setdiff1d(changed, new, assume_unique=True))
            self.log.add_numbers(scan.grid, new)
            if rewritten.size:
                self._rewrites.see(rewritten)
            if span[1]:
                self._table.keep(at, states)
        if self._rewrites.ended:
            self.log.add_numbers(scan.grid, np.unique(np.concatenate(self._rewrites.ended)))
        self._rewrites.were_told()

    def _adopt(self, grid: Grid) -> None:
        """Frames have the numbers of `grid` from now on. It may be finer than before, or cut after the last frame."""
        old, self.grid = self.grid, grid
        self._checksums = ChecksumTable(grid.frames) if grid.frames <= MOST_FRAMES else None
        if old is None or self._table is None:
            self._table = StateTable(grid.frames)
            return
        for first, stop in self._rewrites.take_pending():
            self.log.add(old, first, stop)
        times = prod(grid.shape[old.ndim : grid.ndim])
        if (times, grid.frames) != (1, old.frames):
            self._table.adopt(grid.frames, times)
        self._rewrites = Rewrites()

    # -- files ----------------------------------------------------------------------------------------------------

    def _begin(self) -> bool:
        """Open the scan, or its export. False if there is none yet, or it is in the middle of its creation."""
        part = find_scan_file(self.path)
        if is_gone(part):
            export = self._export_at_path()
            if export is not None:
                self._finish(export)
            return False
        return self._open(part)

    def _open(self, part: Path) -> bool:
        """Open the scan in progress `part`, and look at all of it. False if it is in the middle of its creation or removal."""
        try:
            scan = ScanInProgress(part)
        except (BadFileError, StorageOSError) as error:
            now = time.monotonic()
            self._fails_since_s = self._fails_since_s or now
            if not isinstance(error, BadFileError) and error.errno != errno.ENOENT:
                raise
            if now - self._fails_since_s < _GRACE_S:
                return False
            if not isinstance(error, BadFileError) and not is_gone(part):
                journal = journal_path(part).name
                text = (
                    f"its journal {journal} is missing, so that nothing tells which frames it has; put the journal back"
                )
                raise BadFileError(f"scan {part} cannot be followed: {text}") from None
            raise
        self._fails_since_s = 0.0
        scan.file.hold_folder()
        if self._scan_id not in (None, scan.description.scan_id):
            self._end_without_scan()
            return False
        self._scan_id = scan.description.scan_id
        self._adopt(scan.grid)
        self.source = scan
        self._compare(scan, whole=True)
        self._look_up_state(part)
        return True

    def _go_on(self, scan: ScanInProgress) -> None:
        """One of the files is no longer at its path: the scan has a new layout, or is over, or its folder was renamed."""
        if scan.follow_folder() and scan.is_current():
            return
        if is_gone(scan.path):
            self._end_without_scan()
        else:
            self._open(scan.path)

    def _end_without_scan(self) -> None:
        """The followed scan is not in progress any more: go on with its export, if there is one."""
        scan = self.source
        export = _export_of(scan) if isinstance(scan, ScanInProgress) else self._export_at_path()
        if export is not None:
            self._finish(export)
        else:
            self.source, self.state = None, REMOVED

    def _finish(self, export: Path) -> None:
        wave = open_wave(export)
        try:
            grid, written = Grid(wave.shape, len(wave.grid_shape)), wave.written.reshape(-1)
            self._adopt(grid)
            assert self._table is not None
            for at in self._table.pieces(whole=True):
                piece = written[at : at + TABLE_STEP]
                states = np.where(piece, WRITTEN, 0).astype(np.uint8)
                self.log.add_numbers(grid, self._table.compare(at, states)[0])
                self._table.keep(at, states)
        except BaseException:
            wave.close()
            raise
        self.source, self.state = wave, FINISHED

    def _export_at_path(self) -> Path | None:
        """The export that the path names, itself or by its scan file; None if there is none."""
        name = self.path.name
        path = self.path.with_name(name.removesuffix(PART_SUFFIX)) if is_scan_file(name) else self.path
        return path if is_export(path.name) and path.is_file() else None

    def _look_up_state(self, part: Path) -> None:
        self._state_due_s = time.monotonic() + _STATE_S
        try:
            self.state = {RUNNING: RUNNING, INTERRUPTED: INTERRUPTED}.get(scan_state(part), UNKNOWN)
        except StorageOSError:
            if not is_gone(part):
                raise


def _export_of(scan: ScanInProgress) -> Path | None:
    """The export that the scan file has become. It has the final name, or another one if that was taken."""
    d = scan.description
    final = scan.path.with_name(d.final)
    try:
        if scan.file.is_at(final):
            return final
    except OSError:
        pass  # it has another name, or there is none
    other = scan.file.other_name(EXPORT_SUFFIX)
    if other is not None:
        return other
    if scan.file.is_unlinked:
        return None  # it was removed
    # It was moved, or the system has no stable inode numbers.
    names = sorted(scan.path.parent.glob(f"{glob.escape(d.stem)}*{EXPORT_SUFFIX}"), key=lambda path: path != final)
    return next((path for path in names if opened_scan_id(path) == d.scan_id), None)
