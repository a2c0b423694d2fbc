"""Which frames of a table need a checksum, and which need a sync: spans, which cover at least these frames."""

from __future__ import annotations

import functools

from ..journal import FrameStates, Span
from .hotpath import TableState
from .spans import join


class DirtyFrames(TableState):
    """The spans of a frame table that wait for checksums and for a sync. `lock` guards them.

    A frame goes from `dirty` (or `dirty_backlog`) to `taken`, while its checksum is computed, and to `unsynced`. From there it
    goes to `syncing`.
    """

    states: FrameStates
    dirty_backlog: list[Span]  # moved here from `dirty`, still without checksums
    taken: Span  # their checksums are being computed; if no thread does so, left by an error or an interrupt
    unsynced: Span  # written since the last successful sync, except `dirty`
    syncing: Span  # being synced; if no thread does so, left by an error or an interrupt

    @property
    def has_dirty(self) -> bool:
        first, stop = join(self.dirty, self.taken)
        return first < stop or bool(self.dirty_backlog)

    def take_dirty(self) -> Span:
        """See take_all."""
        return self.take_all()[0]

    def take_all(self) -> tuple[Span, int]:
        """A span that covers all frames without a checksum, and how many bytes of it were written. It becomes `taken` and
        unsynced, and is no longer dirty."""
        with self.lock:
            written = self.dirty_bytes + sum(stop - first for first, stop in self.dirty_backlog) * self.frame_bytes
            span = functools.reduce(join, self.dirty_backlog, join(self.taken, self.dirty))
            unsynced = join(self.unsynced, self.dirty)
            self.taken, self.unsynced = span, unsynced
            self.dirty, self.dirty_bytes, self.dirty_backlog = (0, 0), 0, []
            return span, written

    def take_batch(self, size: int) -> tuple[Span, int]:
        """A span of about `size` bytes of frames without a checksum, and how many bytes of it were written.

        The newest frames are first: they are still in the CPU caches. A reader that falls behind the caches would read
        everything from memory, more slowly than frames are written. The others wait in the backlog until no frame is new.
        """
        with self.lock:
            dirty = join(self.dirty, self.taken)
            self.dirty, self.taken = dirty, (0, 0)
            backlog, unsynced, dirty_bytes = self.dirty_backlog, self.unsynced, self.dirty_bytes
            if dirty_bytes >= size:
                span, written, unsynced = dirty, dirty_bytes, join(unsynced, dirty)
                dirty, dirty_bytes = (0, 0), 0
                dense = written >= (span[1] - span[0]) * self.frame_bytes
            elif backlog:
                span, backlog, dense = backlog[-1], backlog[:-1], True
                written = (span[1] - span[0]) * self.frame_bytes
            else:
                return (0, 0), 0
            cut = self._cut_of(span, size) if dense else span[0]
            if span[0] < cut:
                backlog = [*backlog, (span[0], cut)]
                written = (span[1] - cut) * self.frame_bytes
            self.taken, self.unsynced, self.dirty_backlog = (cut, span[1]), unsynced, backlog
            self.dirty, self.dirty_bytes = dirty, dirty_bytes
            return self.taken, written

    def _cut_of(self, span: Span, size: int) -> int:
        """The first frame, at a block, of the last `size` bytes of a span; the span's first if there is not much more."""
        per_block = self.states.per_block
        cut = (span[1] - max(1, size // self.frame_bytes)) // per_block * per_block
        return cut if 2 * (span[1] - cut) <= span[1] - span[0] else span[0]

    def mark_dirty(self, span: Span) -> None:
        with self.lock:
            self.dirty = join(self.dirty, span)

    def mark_all_dirty(self) -> None:
        self.mark_dirty((0, self.frames))

    def mark_unsynced(self, span: Span) -> None:
        """A sync of `span` has failed. The kernel may also have dropped bytes of frames in flight."""
        with self.lock:
            self.unsynced = functools.reduce(join, self.in_flight, join(self.unsynced, span))
