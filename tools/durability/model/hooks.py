"""Hooks at one operation on the recorded disk: the process dies, or another thread runs an action.

An operation is counted when it begins. Each hook is removed at the end of its block.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from tools.durability.model.recorder import Recorder

MEANWHILE_S = 0.02


class Killed(BaseException):
    """The process is dead: it changes the disk no more."""


@contextlib.contextmanager
def killed_at(recorder: Recorder, at: int) -> Iterator[None]:
    """End the block silently before its `at`-th operation, if it has so many."""
    count = 0

    def hook() -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed

    recorder.hook = hook
    try:
        with contextlib.suppress(Killed):
            yield
    finally:
        recorder.hook = None


@contextlib.contextmanager
def meanwhile(recorder: Recorder, at: int, action: Callable[[], None]) -> Iterator[None]:
    """In the block, another thread runs `action` at this thread's `at`-th operation, or at the end of the block."""
    me, count, faults = threading.current_thread(), 0, []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            faults.append(error)

    other = threading.Thread(target=run)

    def hook() -> None:
        nonlocal count
        if threading.current_thread() is not me:
            return
        count += 1
        if count == at:
            other.start()
            other.join(MEANWHILE_S)  # it may wait for a lock that this thread holds: then this thread continues

    recorder.hook = hook
    try:
        yield
    finally:
        recorder.hook = None
        if other.ident is None:
            other.start()
        other.join()
    if faults:
        raise faults[0]
