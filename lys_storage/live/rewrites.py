"""Which frames were rewritten, by the redo log: a rewrite can begin and end between two looks at the states.

Never reads a frame.
"""

from __future__ import annotations

from ..journal import Numbers, RedoMark, RedoRecord, Span
from ..reading import ScanInProgress


class Rewrites:
    """What the redo log has told so far. `pending`: the frames of the newest record, which may not be in the scan file yet.

    A record is in its place when the next one follows, or when a new epoch begins.
    """

    def __init__(self) -> None:
        self._mark: RedoMark | None = None
        self.pending: Span | None = None
        self.is_new_epoch = False  # whether records may have come and gone since the last look
        self._is_alone = False  # whether the pending record is the only one of its frames that the last look found

    def look(self, scan: ScanInProgress) -> list[Span]:
        """The frames of records that have come into their place since the last look; none at the first look."""
        epoch = scan.journal.marks()[0]
        records: list[RedoRecord] = []
        before = self._mark or RedoMark()
        self._mark = mark = scan.redo.advance(before, epoch, records.append)
        spans = [scan.frames_of(record) for record in records]
        self.is_new_epoch = 0 <= before.epoch != mark.epoch
        ended = []
        if self.pending is not None and (spans or (mark.file, mark.epoch) != (before.file, before.epoch)):
            ended.append(self.pending)
            self.pending = None
        self._is_alone = True
        if spans:
            *others, self.pending = spans
            ended += others
            self._is_alone = not any(_overlap(self.pending, other) for other in others)
        return ended if before.epoch >= 0 else []

    def see(self, rewritten: Numbers) -> None:
        """A change of their states has shown that rewrites of these frames have ended."""
        if self.pending is not None and self._is_alone and rewritten.size:
            first, stop = self.pending
            if ((rewritten >= first) & (rewritten < stop)).any():
                self.pending = None

    def take_pending(self) -> list[Span]:
        """The frames of the record that was pending: the scan has a new layout, or is over."""
        spans, self.pending = [self.pending] if self.pending is not None else [], None
        return spans


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
