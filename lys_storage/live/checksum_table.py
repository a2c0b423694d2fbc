"""A copy of the checksums of a scan: which frames were rewritten while nobody looked, and the redo log was emptied.

Kept for at most 16 million frames: it takes five bytes for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, JournalReader, Numbers, States

MOST_FRAMES = 1 << 24


class ChecksumTable:
    """The checksum of each frame, or of its block, when it was last looked at."""

    def __init__(self, frames: int) -> None:
        self._sums = np.zeros(frames, np.uint32)
        self._kinds = np.zeros(frames, np.uint8)  # the state to which the checksum belongs; 0: none is known

    def look(self, journal: JournalReader, first: int, states: States, *, with_unknown: bool) -> Numbers:
        """Keep the checksums of the frames from `first`, which have these states.

        Returns the frames that may have been rewritten since the last look, by their numbers: those whose checksum is another
        one, or is of another kind, or with `with_unknown` was not known.
        """
        has_one = (states == CHECKSUMMED) | (states == BLOCK_CHECKSUMMED)
        if not has_one.any():
            return np.empty(0, np.intp)
        sums: np.ndarray[Any, Any] = journal.read_checksums(first, states)
        kept, kinds = (table[first : first + len(states)] for table in (self._sums, self._kinds))
        differs = has_one & ((kinds != states) | (kept != sums)) & (with_unknown | (kinds > 0))
        kept[has_one], kinds[has_one] = sums[has_one], states[has_one]
        return np.flatnonzero(differs) + first
