"""The result of an attempt to lock a file. `File` makes it."""

from __future__ import annotations

from enum import Enum


class Lock(Enum):
    """The result of an attempt to lock a file. False only if another process holds the lock.

    UNSUPPORTED: the file system has no locks. It is then unknown whether a process writes the file; for a new file,
    exclusive create decides.
    """

    TAKEN = "taken"
    BUSY = "busy"
    UNSUPPORTED = "not supported"

    def __bool__(self) -> bool:
        return self is not Lock.BUSY
