"""The state of a scan (open, sealed, over), and the lock that guards its changes."""

from __future__ import annotations

import threading
from pathlib import Path

from ..disk import register_for_forks
from ..errors import ScanClosedError

_FORKED = "open in another process, from which this one was forked"
DISCARDING = "being discarded"
_TERMINAL_STATES = ("saved", "suspended", "discarded", _FORKED)


class Lifecycle:
    """`state`: open, sealed (it accepts no more frames), DISCARDING (an interrupt may leave it), or one of the terminal ones.

    `lock` guards the state, the layout, axes and note, the preallocation, and the start of the background threads. Its place
    in the order of locks: docs/architecture.md.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.state = "open"
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        """The child neither writes nor finalizes. Replace the lock: a thread of the parent may hold it."""
        self.lock = threading.RLock()
        if not self.is_over:
            self.state = _FORKED

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def is_over(self) -> bool:
        return self.state in _TERMINAL_STATES

    @property
    def is_forked(self) -> bool:
        return self.state == _FORKED

    def raise_unless_open(self, path: Path) -> None:
        if not self.is_open:
            raise ScanClosedError(f"scan {path} is {self.state}")

    def raise_if_over(self, path: Path) -> None:
        if self.is_over:
            raise ScanClosedError(f"scan {path} is {self.state}; read it with open_wave, or continue it with resume")

    def raise_if_discarding(self, path: Path) -> None:
        if self.state == DISCARDING:
            raise ScanClosedError(f"scan {path} is {DISCARDING}: call discard() again, or suspend()")
