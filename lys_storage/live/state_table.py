"""A copy of the states of a scan, and which frames differ from it. Pure arithmetic.

A look at the whole table of ten million frames takes milliseconds. A look at a part of it takes the pieces in which frames
changed lately, the ones after them, and some others in turn.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, REWRITING, TABLE_STEP, WRITTEN, Numbers, Span, States

PIECES_AT_A_LOOK = 16
"""Pieces of TABLE_STEP states, besides those in which frames changed lately."""
_HOT_PIECES = 4
_ALIGNED = 8


class StateTable:
    """The states of `frames` frames, all ABSENT at first. `written`: how many of them are data."""

    def __init__(self, frames: int) -> None:
        self.frames, self.written = frames, 0
        self._kept = np.zeros(frames, np.uint8)  # pages that are never stored to take no memory
        self._hot: deque[int] = deque(maxlen=_HOT_PIECES)
        self._turn = 0

    def pieces(self, *, whole: bool) -> list[int]:
        """The first frames of the pieces to look at now."""
        count = -(-self.frames // TABLE_STEP)
        if whole or count <= PIECES_AT_A_LOOK:
            return list(range(0, self.frames, TABLE_STEP))
        chosen = {piece for hot in self._hot for piece in (hot, hot + 1) if piece < count}
        chosen |= {(self._turn + k) % count for k in range(PIECES_AT_A_LOOK)}
        self._turn = (self._turn + PIECES_AT_A_LOOK) % count
        return [piece * TABLE_STEP for piece in sorted(chosen)]

    def compare(self, at: int, states: States, *, is_trusted: bool) -> tuple[Numbers, Numbers, Span]:
        """(new, rewritten, span): the frames that are data now and were not, those of which a rewrite has ended, and the range
        of `states` in which something has changed.

        `states`: those of the frames from `at`, which are kept. If they are not trusted, only frames with a checksum count.
        """
        if not is_trusted:
            states = np.where((states == CHECKSUMMED) | (states == BLOCK_CHECKSUMMED), states, 0).astype(np.uint8)
        kept = self._kept[at : at + len(states)]
        if _is_same(states, kept):
            return _NONE, _NONE, (0, 0)
        changed = np.flatnonzero(states != kept)
        was, now = kept[changed], states[changed]
        kept[changed] = now
        piece = at // TABLE_STEP
        if piece in self._hot:
            self._hot.remove(piece)
        self._hot.append(piece)
        was_data, is_data = was >= WRITTEN, now >= WRITTEN
        self.written += int(np.count_nonzero(is_data)) - int(np.count_nonzero(was_data))
        had_checksum = (was == CHECKSUMMED) | (was == BLOCK_CHECKSUMMED)
        ended = ((was == REWRITING) & (now != REWRITING)) | (had_checksum & (now == WRITTEN))
        span = int(changed[0]), int(changed[-1]) + 1
        return changed[is_data & ~was_data] + at, changed[was_data & is_data & ended] + at, span

    def adopt(self, frames: int, times: int) -> None:
        """The scan has another number of frames: each frame is now `times` frames, and those from `frames` on are cut."""
        self._kept = np.repeat(np.minimum(self._kept, WRITTEN), times)[:frames].copy()
        self.frames = len(self._kept)
        self.written = int(np.count_nonzero(self._kept >= WRITTEN))
        self._hot.clear()
        self._turn = 0

    def flags(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Of each frame, whether it is data."""
        return np.asarray(self._kept >= WRITTEN)


_NONE = np.empty(0, np.intp)


def _is_same(a: States, b: States) -> bool:
    whole = len(a) - len(a) % _ALIGNED
    return np.array_equal(a[:whole].view(np.uint64), b[:whole].view(np.uint64)) and np.array_equal(a[whole:], b[whole:])
