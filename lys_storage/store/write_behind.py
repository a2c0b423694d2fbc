"""Frames with a checksum on their way out of the page cache: written back, and dropped once newer ones have come.

    new -> write-back has begun -> written back, without an error -> dropped, when `cached_bytes` of newer frames exist

A page that the kernel must find, zero or get from a host costs several times as much as a write into one that was given back a
moment ago; and pages that nobody reads displace those of others. A page is dropped only if its frames have a checksum and were
written back after their last write. If a write-back fails, nothing more is dropped until the frames have been written again
and synced: see Syncer.

Runs of frames shorter than SCATTERED, as frames in random order make them, are left to the kernel until a sync has written them:
it can merge neighbours that come later.
"""

from __future__ import annotations

import errno
import logging
import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..disk import FOLIO_BYTES, NO_SUCH_CALL, PageCache, open_page_cache, register_for_forks
from ..errors import StorageOSError
from ..format import PAGE
from ..journal import Span
from .frame_table import FrameTable

log = logging.getLogger("lys_storage")

SCATTERED = 1 << 16
_CLEAN_SCATTERED = 128 << 20
_PIECE = 1 << 23
_AT_ONCE = 1 << 26
"""Bytes whose write-back has begun. The disk is kept busy, and the oldest are waited for."""
_FRAGMENTS = 32
_MOST_SCATTERED = 64
"""Batches. If no sync comes, the oldest are left to the kernel: the memory for them is limited."""
_NOT_OF_THE_DISK = NO_SUCH_CALL | {errno.EPERM, errno.EBADF, 0}

Numbers = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(slots=True)
class _Piece:
    """Bytes of the scan file. `position`: about how many bytes had come with it. `overwrites`: WriteBehind.overwrites
    before it was written back."""

    first: int
    stop: int
    position: int
    overwrites: int = -1

    def pages(self) -> list[Span]:
        """The range of its whole pages."""
        return [(-(-self.first // PAGE) * PAGE, self.stop // PAGE * PAGE)]


@dataclass(slots=True)
class _Scattered:
    """Whole pages, from each of `first` to the same of `stop`."""

    first: Numbers
    stop: Numbers
    position: int
    overwrites: int = -1

    def pages(self) -> list[Span]:
        return list(zip(self.first.tolist(), self.stop.tolist(), strict=True))


class WriteBehind:
    """Takes runs of frames that have got a checksum. One thread calls work(); any thread may call the others."""

    def __init__(self, table: FrameTable) -> None:
        self._table = table
        self._cache: PageCache | None = None
        self.cached_bytes: int | None = None  # None: it is not in use
        self.failures = 0
        self.is_awaited = False  # the writer waits: write back parts of folios, too
        self.overwrites = 0  # changes with _drop_lock held
        self._begin()
        register_for_forks(self)

    def _begin(self) -> None:
        self.lock = threading.RLock()  # a garbage collection may stop the write-behind in the thread that holds it
        self._drop_lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self._came = 0
        self._new: list[Span] = []  # ascending, not adjacent
        self._new_bytes = 0
        self._begun: deque[_Piece] = deque()
        self._clean: deque[_Piece] = deque()
        self._scattered: deque[_Scattered] = deque(maxlen=_MOST_SCATTERED)
        self.pending_bytes = 0  # of _new and _begun
        self._sync_mark: tuple[int, int] | None = None  # position and overwrites when the running sync began
        self._is_held = False  # after a failure, until the next good sync

    def after_fork_in_child(self) -> None:
        self._begin()
        cache, self._cache, self.cached_bytes = self._cache, None, None
        if cache is not None:
            cache.close()

    @property
    def drops(self) -> bool:
        """Whether pages are dropped: not only written back."""
        return self._cache is not None and self._cache.drops

    def end(self) -> None:
        """Keep and drop nothing more. Called by the thread that calls work(), when it ends."""
        with self.lock:
            cache, self._cache, self.cached_bytes = self._cache, None, None
            self._clear()
        if cache is not None:
            cache.close()

    def use(self, cached_bytes: int) -> bool:
        """Write back and drop from now on. False if the system has no calls for it."""
        self._cache = open_page_cache(self._table.file)
        self.cached_bytes = None if self._cache is None else cached_bytes
        return self._cache is not None

    # -- frames that have got a checksum ----------------------------------------------------------------------------

    def add(self, first: int, stop: int) -> None:
        """The frames from `first` to `stop` have checksums. Called with the checksum lock held."""
        if self.cached_bytes is None or first >= stop:
            return
        table = self._table
        begin, end = table.offset_of(first), table.offset_of(stop)
        with self.lock:
            if self._is_held:
                return
            self._came += end - begin
            self._put(begin, end)
            self.changed.notify_all()

    def add_scattered(self, numbers: Numbers) -> None:
        """As add, for frames with these numbers (ascending)."""
        if self.cached_bytes is None or not numbers.size:
            return
        table = self._table
        edges = np.flatnonzero(np.diff(numbers) > 1)
        firsts = numbers[np.concatenate(([0], edges + 1))]
        stops = numbers[np.concatenate((edges, [numbers.size - 1]))] + 1
        if numbers.size * table.frame_bytes >= SCATTERED * len(firsts):
            for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True):
                self.add(first, stop)
            return
        begin = -(-(table.array_offset + firsts * table.frame_bytes) // PAGE) * PAGE
        end = (table.array_offset + stops * table.frame_bytes) // PAGE * PAGE
        has_pages = begin < end
        with self.lock:
            if not self._is_held and self._cache is not None and self._cache.drops:
                self._came += int(numbers.size) * table.frame_bytes
                self._scattered.append(_Scattered(begin[has_pages], end[has_pages], self._came))

    def begin_overwrite(self) -> None:
        """Before bytes that may have a checksum are written again: their pages must be written back again before a drop."""
        with self._drop_lock:
            self.overwrites += 1

    def _put(self, begin: int, end: int) -> None:
        """Holding the lock: add bytes to _new, and join neighbours."""
        self.pending_bytes += end - begin
        self._new_bytes += end - begin
        new = self._new
        at = bisect_left(new, (begin, end))
        if at and new[at - 1][1] == begin:
            at -= 1
            begin = new[at][0]
            del new[at]
        if at < len(new) and new[at][0] == end:
            end = new.pop(at)[1]
        new.insert(at, (begin, end))

    # -- work ---------------------------------------------------------------------------------------------------------

    def work(self) -> bool:
        """Drop a piece, or begin one write-back, or wait for one, in this order. False if there is nothing to do.

        Raises StorageOSError if a write-back has failed.
        """
        cache = self._cache_of_the_file()
        if cache is None:
            return False
        try:
            if self._drop(cache):
                return True
            with self.lock:
                begins = sum(piece.stop - piece.first for piece in self._begun) < _AT_ONCE
                piece = self._take_new() if begins else None
                if piece is not None:
                    piece.overwrites = self.overwrites
                    self._begun.append(piece)
                oldest = self._begun[0] if self._begun else None
            if piece is not None:
                cache.begin_write_back(piece.first, piece.stop - piece.first)
                if not cache.drops:
                    self._is_written_back(piece)
            elif oldest is not None:
                cache.write_back(oldest.first, oldest.stop - oldest.first)
                self._is_written_back(oldest)
            return oldest is not None
        except StorageOSError as error:
            if error.errno in _NOT_OF_THE_DISK:  # for example a container that forbids the call
                log.info("%s; what stays in the page cache is left to the kernel", error)
                self._give_up()
                return False
            self._fail()
            raise

    def _give_up(self) -> None:
        self.cached_bytes = None
        self.forget()

    @property
    def has_work(self) -> bool:
        """Holding the lock of `changed`: whether work() has something to do."""
        is_new = self._sync_mark is None and self._next_new() is not None
        return bool(self._begun) or is_new or self._queue_due() is not None

    def _cache_of_the_file(self) -> PageCache | None:
        cache = self._cache
        if cache is not None and cache.of is not self._table.file:
            self.forget()
            cache.close()
            cache = self._cache = open_page_cache(self._table.file)
            if cache is None:
                self._give_up()
        return cache

    def _next_new(self) -> tuple[int, int, int] | None:
        """Holding the lock: place in _new, first and stop of the next bytes to write back. Whole folios, if there are any."""
        for at, (begin, end) in enumerate(self._new):
            stop = min(end // FOLIO_BYTES, (begin + _PIECE) // FOLIO_BYTES) * FOLIO_BYTES
            if begin < stop:
                return at, begin, stop
        return (0, *self._new[0]) if len(self._new) > (0 if self.is_awaited else _FRAGMENTS) else None

    def _take_new(self) -> _Piece | None:
        """Holding the lock: the next bytes to write back. None during a sync, which would wait for them, too."""
        found = self._next_new() if self._sync_mark is None else None
        if found is None:
            return None
        at, first, stop = found
        end = self._new[at][1]
        self._new[at : at + 1] = [(stop, end)] if stop < end else []
        self._new_bytes -= stop - first
        return _Piece(first, stop, self._came - self._new_bytes)

    def _is_written_back(self, piece: _Piece) -> None:
        with self.lock:
            if self._begun and self._begun[0] is piece:
                self._begun.popleft()
                self.pending_bytes -= piece.stop - piece.first
                if self._cache is not None and self._cache.drops:
                    self._clean.append(piece)
                self.changed.notify_all()

    def _drop(self, cache: PageCache) -> bool:
        """Drop the oldest bytes that have been written back, if enough newer ones have come."""
        with self.lock:
            queue = self._queue_due()
            pieces = [queue.popleft()] if queue else []
        with self._drop_lock:
            for piece in pieces:
                if piece.overwrites == self.overwrites:
                    for first, stop in piece.pages():
                        cache.drop(first, stop - first)
        return bool(pieces)

    def _queue_due(self) -> deque[_Piece] | deque[_Scattered] | None:
        """Holding the lock: the queue whose first entry is to be dropped now."""
        kept = self.cached_bytes or 0
        if self._clean and self._clean[0].position + kept <= self._came:
            return self._clean
        first = self._scattered[0] if self._scattered else None
        if first is not None and first.overwrites >= 0 and first.position + max(kept, _CLEAN_SCATTERED) <= self._came:
            return self._scattered
        return None

    def _fail(self) -> None:
        """A write-back has failed, of any page of the file: keep all pages until they are written again."""
        with self.lock:
            self.failures += 1
            self._is_held = True
            self._clear()
        self._table.journal.file_sync_failed = True

    def _clear(self) -> None:
        self._new, self._new_bytes, self.pending_bytes = [], 0, 0
        for queue in (self._begun, self._clean, self._scattered):
            queue.clear()
        self.changed.notify_all()

    def forget(self) -> None:
        with self.lock:
            self._clear()

    # -- syncs --------------------------------------------------------------------------------------------------------

    def sync_begins(self) -> int:
        """A sync of the file begins. Returns the number of failures so far."""
        with self.lock:
            self._sync_mark = (self._came, self.overwrites)
            return self.failures

    def sync_ended(self, *, good: bool) -> None:
        with self.lock:
            mark, self._sync_mark = self._sync_mark, None
            if good and mark is not None:
                self._is_held = False
                for scattered in self._scattered:
                    if scattered.overwrites < 0 and scattered.position <= mark[0]:
                        scattered.overwrites = mark[1]
            self.changed.notify_all()
