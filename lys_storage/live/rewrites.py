"""Which frames were rewritten, by the redo log: a rewrite can begin and end between two looks at the states.

Never reads a frame.
"""

from __future__ import annotations

import numpy as np

from ..journal import Numbers, RedoMark, RedoRecord, Span
from ..reading import ScanInProgress


class Rewrites:
    """What the redo log has told so far. `pending`: the frames of the newest record, which may not be in the scan file yet.

    A record is in its place when the next one follows, or when a new epoch begins. `ended`: the frames (arrays of numbers) of
    records that have come into their place, and were not told yet. `is_new_epoch`: whether records may have come and gone
    since they were told.
    """

    def __init__(self) -> None:
        self._mark: RedoMark | None = None
        self.pending: Span | None = None
        self.ended: list[Numbers] = []
        self.is_new_epoch = False
        self._is_alone = False  # whether the pending record is the only one of its frames that the last look found

    def look(self, scan: ScanInProgress) -> None:
        """Read what is new in the log. The first look only finds out how far it goes."""
        epoch = scan.journal.marks()[0]
        records: list[RedoRecord] = []
        before = self._mark or RedoMark()
        mark = scan.redo.advance(before, epoch, records.append)
        spans = [scan.frames_of(record) for record in records]
        ended, pending = list(self.ended), self.pending
        is_first = before.epoch < 0
        if pending is not None and (spans or (mark.file, mark.epoch) != (before.file, before.epoch)):
            ended.append(np.arange(*pending))
            pending = None
        is_alone = True
        if spans:
            *others, pending = spans
            ended += [] if is_first else [np.arange(*other) for other in others]
            is_alone = not any(_overlap(pending, other) for other in others)
        # The mark last: what an interrupt comes between is told again.
        self.is_new_epoch = self.is_new_epoch or (not is_first and before.epoch != mark.epoch)
        self.ended, self.pending, self._is_alone = ended, pending, is_alone
        self._mark = mark

    def were_told(self) -> None:
        """The frames of `ended` were told."""
        self.ended, self.is_new_epoch = [], False

    def see(self, rewritten: Numbers) -> None:
        """A change of their states or checksums has shown that rewrites of these frames have ended."""
        self.ended.append(rewritten)
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
