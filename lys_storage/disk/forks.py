"""One registry of what has to change in a forked child, and how to tell a child from its parent.

A fork copies the memory, but no thread other than the one that forked: a lock that another thread held stays held for
ever. What is registered here gets new locks in the child, and from then on neither writes nor finalizes. Nothing else in
the package asks for the process id, or registers with `os.register_at_fork`.
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
        """Make the object harmless in this child: new locks, and no use of its parent's files."""


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_functions: list[Callable[[], None]] = []
_generation = 0


def register_for_forks(thing: ForkAware) -> None:
    """Have `thing.after_fork_in_child()` called in every forked child, as long as `thing` lives."""
    _objects.add(thing)


def call_in_forked_child(function: Callable[[], None]) -> None:
    """Have `function()` called in every forked child."""
    _functions.append(function)


def fork_generation() -> int:
    """How many forks lie between the first process and this one. Where it has changed, this process is a child."""
    return _generation


def process_id() -> int:
    """To name this process to people. What a fork changes is asked of this registry."""
    return os.getpid()


def _after_fork_in_child() -> None:
    global _generation
    _generation += 1
    for act in [*_functions, *(thing.after_fork_in_child for thing in list(_objects))]:
        try:
            act()
        except Exception:  # one that cannot be made harmless must not keep the others from it
            log.exception("in a forked child")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
