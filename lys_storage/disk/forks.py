"""The only registry of what must change in a forked child, and the test whether this process is one.

A fork copies the memory, but only the thread that forked: a lock that another thread held stays held for ever. Each
registered object gets new locks in the child, and neither writes nor finalizes there. No other module reads the process id
or calls `os.register_at_fork`.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("lys_storage")


class ForkAware(Protocol):
    def after_fork_in_child(self) -> None:
        """Make the object safe in this child: new locks, and no use of its parent's files."""


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_functions: list[Callable[[], None]] = []
_generation = 0


def register_for_forks(thing: ForkAware) -> None:
    """Call `thing.after_fork_in_child()` in every forked child, as long as `thing` exists."""
    _objects.add(thing)


def call_in_forked_child(function: Callable[[], None]) -> None:
    """Call `function()` in every forked child."""
    _functions.append(function)


def fork_generation() -> int:
    """The number of forks between the first process and this one. If it has changed, this process is a forked child."""
    return _generation


def process_id() -> int:
    """The id of this process, for messages and records. fork_generation() tells whether a fork has happened."""
    return os.getpid()


def _after_fork_in_child() -> None:
    global _generation
    _generation += 1
    for act in [*_functions, *(thing.after_fork_in_child for thing in list(_objects))]:
        try:
            act()
        except Exception:  # one failure must not prevent the calls for the other objects
            log.exception("a call in a forked child failed")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
