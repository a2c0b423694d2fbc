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
    """The states of `frames` frames, all ABSENT at first.

    compare() tells what has changed, and keep() keeps it: what an interrupt comes between is told again.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._kept = np.zeros(frames, np.uint8)  # pages that are never stored to take no memory
        self._counts = np.zeros(-(-frames // TABLE_STEP), np.intp)  # frames that are data, of each piece
        self._hot: deque[int] = deque(maxlen=_HOT_PIECES)
        self._turn = 0

    @property
    def written(self) -> int:
        """How many frames are data."""
        return int(self._counts.sum())

    def pieces(self, *, whole: bool) -> list[int]:
        """The first frames of the pieces to look at now."""
        count = -(-self.frames // TABLE_STEP)
        if whole or count <= PIECES_AT_A_LOOK:
            return list(range(0, self.frames, TABLE_STEP))
        chosen = {piece for hot in self._hot for piece in (hot, hot + 1) if piece < count}
        chosen |= {(self._turn + k) % count for k in range(PIECES_AT_A_LOOK)}
        self._turn = (self._turn + PIECES_AT_A_LOOK) % count
        return [piece * TABLE_STEP for piece in sorted(chosen)]

    def compare(self, at: int, states: States) -> tuple[Numbers, Numbers, Span]:
        """(new, rewritten, span): the frames that are data now and were not, those of which a rewrite has ended, and the range
        of `states`, those of the frames from `at`, in which something has changed.
        """
        kept = self._kept[at : at + len(states)]
        if _is_same(states, kept):
            return _NONE, _NONE, (0, 0)
        changed = np.flatnonzero(states != kept)
        was, now = kept[changed], states[changed]
        was_data, is_data = was >= WRITTEN, now >= WRITTEN
        had_checksum = (was == CHECKSUMMED) | (was == BLOCK_CHECKSUMMED)
        ended = ((was == REWRITING) & (now != REWRITING)) | (had_checksum & (now == WRITTEN))
        span = int(changed[0]), int(changed[-1]) + 1
        return changed[is_data & ~was_data] + at, changed[was_data & is_data & ended] + at, span

    def keep(self, at: int, states: States) -> None:
        """Keep the states of the piece that begins with frame `at`."""
        piece = at // TABLE_STEP
        self._counts[piece] = np.count_nonzero(states >= WRITTEN)
        if piece in self._hot:
            self._hot.remove(piece)
        self._hot.append(piece)
        self._kept[at : at + len(states)] = (
            states  # last: after an interrupt before it, the next look finds the change again
        )

    def adopt(self, frames: int, times: int) -> None:
        """The scan has another number of frames: each frame is now `times` frames, and those from `frames` on are cut."""
        kept = np.repeat(np.minimum(self._kept, WRITTEN), times)[:frames].copy()
        self.__init__(len(kept))  # type: ignore[misc]
        for at in range(0, self.frames, TABLE_STEP):
            self.keep(at, kept[at : at + TABLE_STEP])

    def flags(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Of each frame, whether it is data."""
        return np.asarray(self._kept >= WRITTEN)


def with_checksum(states: States) -> States:
    """`states` without those of frames that have no checksum: what counts if they are not trusted."""
    has_one = (states == CHECKSUMMED) | (states == BLOCK_CHECKSUMMED)
    return np.where(has_one, states, 0).astype(np.uint8)


_NONE = np.empty(0, np.intp)


def _is_same(a: States, b: States) -> bool:
    whole = len(a) - len(a) % _ALIGNED
    return np.array_equal(a[:whole].view(np.uint64), b[:whole].view(np.uint64)) and np.array_equal(a[whole:], b[whole:])
