"""Decides which syncs of a recorded run fail.

The recorder raises the error, and the modelled disk loses the pages.
"""

from __future__ import annotations

import errno
import random


class SyncErrors:
    """In some runs no sync fails. In others a share of all syncs fails, or of those of one kind of file; at most `MOST`."""

    KINDS = ("scan file", "journal", "redo file", "folder")
    MOST = 12

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._kinds = rng.choice([self.KINDS, self.KINDS, *((kind,) for kind in self.KINDS)])
        self._share = rng.choice([0.1, 0.3] if self._kinds == self.KINDS else [0.2, 0.5])
        if rng.random() < 0.2:
            self._share = 0.0
        self.count = 0

    def draw(self, name: str | None, *, folder: bool) -> tuple[int, int] | None:
        """The errno of the failing sync of `name`, and a seed for the damage; None if the sync succeeds."""
        kind = "folder" if folder else "scan file"
        for suffix, its_kind in ((".journal", "journal"), (".journal.new", "journal"), (".redo", "redo file")):
            if name is not None and name.endswith(suffix):
                kind = its_kind
        if kind not in self._kinds or self.count >= self.MOST or self._rng.random() >= self._share:
            return None
        self.count += 1
        return self._rng.choice([errno.EIO, errno.EIO, errno.ENOSPC]), self._rng.getrandbits(32)
