"""Reads the redo log of a scan that another process may write: which frames are being rewritten.

Never changes a file, never maps one, and takes no lock. Only the newest record can be on its way to the scan file: the writer
puts each record in its place before it appends the next one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..disk import File, place_of
from ..errors import StorageOSError
from .redo_log import HEADER_SIZE, RedoRecord, decode_record

_WINDOW_BYTES = 1 << 12
_NO_FILE = (0, 0)


@dataclass(frozen=True)
class RedoMark:
    """How far a redo log was read. `file`: its device and inode. `last`: the newest record of `epoch` before `end`."""

    file: tuple[int, int] = _NO_FILE
    epoch: int = -1
    end: int = 0
    last: RedoRecord | None = None


class RedoReader:
    """The redo log at `path`, which need not exist. `key`: that of the journal."""

    def __init__(self, path: Path, key: int) -> None:
        self.path, self._key = path, key
        self._opened: tuple[tuple[int, int], File] | None = None

    def advance(self, mark: RedoMark, epoch: int, seen: Callable[[RedoRecord], None]) -> RedoMark:
        """Call `seen` for each intact record of `epoch` behind `mark`, in order. Returns how far the log was read.

        It is read from its beginning if the epoch or the file is another than that of `mark`.
        """
        opened = self._open()
        if opened is None:
            return RedoMark(epoch=epoch)
        identity, file = opened
        size = file.size
        at, last = mark.end, mark.last
        if (mark.file, mark.epoch) != (identity, epoch) or size < at:
            at, last = 0, None
        window, window_at = b"", 0
        while at + HEADER_SIZE <= size:
            if not window_at <= at <= window_at + len(window) - HEADER_SIZE:
                window, window_at = file.read_at(_WINDOW_BYTES, at), at
            found = decode_record(window[at - window_at :][:HEADER_SIZE], self._key, at)
            if found is None or found[1].at + found[1].size > size:
                break
            its_epoch, record = found
            if its_epoch == epoch:
                last = record
                seen(record)
            at = record.at + record.size + -record.size % HEADER_SIZE
        return RedoMark(identity, epoch, at, last)

    def read_into(self, view: memoryview, record: RedoRecord, offset: int) -> bool:
        """Fill `view` with the new bytes for `offset` of the scan file. False if the log no longer holds all of them."""
        opened = self._opened
        return opened is not None and opened[1].read_into(view, record.at + offset - record.offset) == len(view)

    def _open(self) -> tuple[tuple[int, int], File] | None:
        """The log that is at the path now; None if there is none."""
        try:
            identity = place_of(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self._opened = None
            return None
        if self._opened is None or self._opened[0] != identity:
            try:
                file = File.open_for_reading(self.path)
            except StorageOSError:
                if os.path.lexists(self.path):
                    raise
                return None
            self._opened = file.place(), file
        return self._opened
