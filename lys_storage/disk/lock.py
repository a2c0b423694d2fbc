"""The answers to the question for a lock. `File` asks it."""

from __future__ import annotations

from enum import Enum


class Lock(Enum):
    """What came of asking for a lock: false only where another process has it.

    UNSUPPORTED: the file system has no locks. Whether a process writes the file cannot be told there; for a new file
    exclusive create decides.
    """

    TAKEN = "taken"
    BUSY = "busy"
    UNSUPPORTED = "not supported"

    def __bool__(self) -> bool:
        return self is not Lock.BUSY
