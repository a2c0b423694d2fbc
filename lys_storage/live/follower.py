"""`follow`: the frames of a scan that another process, or this one, writes.

Takes no lock of the scan for longer than a moment, and never changes a file. No lock is held while a callback runs.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

from ..disk import register_for_forks, user_path
from ..errors import FollowTimeoutError, LysStorageError, ScanClosedError
from .events import Index, Indices
from .signal import Connection, Signal
from .tracker import WAITING, Tracker
from .view import FollowerView

log = logging.getLogger("lys_storage")
POLL_INTERVAL_S = 0.02
_JOIN_S = 5.0


def follow(
    path: str | os.PathLike[str],
    *,
    wait: bool = False,
    latest_only: bool = False,
    poll_interval_s: float = POLL_INTERVAL_S,
    timeout_s: float | None = None,
) -> Follower:
    """Follow the frames of a scan while they are written, in any process of this machine.

    Args:
        path: The final name of the scan, or its scan file (.npz.part). A finished export gives all its frames at once.
        wait: The scan need not exist yet.
        latest_only: Tell only the newest frame of those that a poll finds, for pictures.
        poll_interval_s: How often the journal is read while no new frame is there.
        timeout_s: An iteration raises FollowTimeoutError if no frame has come for so many seconds. None: it waits for ever.

    Raises StorageOSError if there is no such scan, BadFileError if one of its files is damaged, or if several scans in
    progress have this final name.
    """
    return Follower(path, wait=wait, latest_only=latest_only, poll_interval_s=poll_interval_s, timeout_s=timeout_s)


class Follower(FollowerView):
    """The frames of a scan in progress, told as they arrive. Use it in a `with` block, or call `close()`.

    `for index in follower`, `async for index in follower`, `follower.changed.connect(function)` and `follower.poll()` each tell
    all frames from the first one on, those that were there before too. A frame that is rewritten is told again. If it is
    rewritten several times between two polls, it is told once; if a poll comes too late to see the rewrite, it is not told.
    `read` always gives the newest version. Frames that one poll finds are told in C order.

    An iteration ends after the last frame of the export, when the scan is removed, and after `close()`. It waits while the
    scan is interrupted, and goes on when it is resumed.

    Attributes:
        changed: A signal: `changed.connect(function)` calls function(index) in the thread of the follower for each frame.
        state_changed: A signal: function(state) is called with the present state, and whenever it changes. "finished" comes
            after the last frame.
        error: What has ended the thread of the follower, or None. `state_changed` then tells "failed".
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        wait: bool = False,
        latest_only: bool = False,
        poll_interval_s: float = POLL_INTERVAL_S,
        timeout_s: float | None = None,
    ) -> None:
        if not poll_interval_s > 0 or (timeout_s is not None and not timeout_s > 0):
            raise ValueError(f"poll_interval_s={poll_interval_s}, timeout_s={timeout_s}: expected more than 0 seconds")
        self.latest_only, self.poll_interval_s, self.timeout_s = latest_only, poll_interval_s, timeout_s
        self.changed, self.state_changed = Signal(self._start), Signal(self._start)
        self.error: LysStorageError | None = None
        self._polled = 0
        self._thread: threading.Thread | None = None
        self._begin_locks()
        self._tracker = Tracker(user_path(path), wait=wait)
        while self._tracker.state == WAITING and not wait:
            self._closing.wait(poll_interval_s)
            self._tracker.look(whole=True)  # raises if it does not open soon
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        """The thread is the parent's, and the open files are closed here."""
        is_closed = self._closing.is_set()
        self._begin_locks()
        if is_closed:
            self._closing.set()
        self._thread = None
        self._tracker.forget_files()

    def _begin_locks(self) -> None:
        self._lock = threading.Lock()  # guards the tracker, and the start and the end of the thread
        self._closing = threading.Event()

    # -- new frames -----------------------------------------------------------------------------------------------

    def poll(self) -> Indices:
        """The indices of the frames that are new since the last call; with `latest_only` at most one.

        The first call gives the frames that were there before. It reads the whole table of states: 10 million frames take
        some milliseconds.
        """
        self._look(whole=True)
        with self._lock:
            self._polled, found = self._tracker.log.count, self._tracker.log.after(self._polled)
        return self._chosen(found)

    def __iter__(self) -> Iterator[Index]:
        at, due_s = 0, self._due_s()
        while not self._closing.is_set():
            found, at, is_over = self._after(at)
            for index in found:
                yield index
                if self._closing.is_set():
                    return
            if found:
                due_s = self._due_s()
            elif is_over or self._closing.wait(self._pause_s(due_s)):
                return

    async def __aiter__(self) -> AsyncIterator[Index]:
        import asyncio  # imported here: few need it, and it takes long

        at, due_s = 0, self._due_s()
        while not self._closing.is_set():
            found, at, is_over = await asyncio.to_thread(self._after, at)
            for index in found:
                yield index
                if self._closing.is_set():
                    return
            if found:
                due_s = self._due_s()
            elif is_over:
                return
            else:
                await asyncio.sleep(self._pause_s(due_s))

    def _after(self, at: int) -> tuple[Indices, int, bool]:
        """(new indices, number of the next event, whether there can be no more) after a look."""
        try:
            self._look(whole=False)
        except ScanClosedError:
            return Indices(), at, True
        with self._lock:
            log = self._tracker.log
            return self._chosen(log.after(at)), log.count, self._tracker.is_over

    def _chosen(self, found: Indices) -> Indices:
        return Indices(found.last_run()) if self.latest_only else found

    def _due_s(self) -> float:
        return time.monotonic() + (self.timeout_s or 0.0)

    def _pause_s(self, due_s: float) -> float:
        """How long to wait for the next look. Raises FollowTimeoutError at the timeout."""
        if self.timeout_s is None:
            return self.poll_interval_s
        left = due_s - time.monotonic()
        if left <= 0:
            raise FollowTimeoutError(
                f"no frame of {self.path} has come for {self.timeout_s:g} s: {self.frames_written} are written, and its state "
                f'is "{self.state}"'
            )
        return min(self.poll_interval_s, left)

    # -- callbacks ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the thread that calls the functions, unless it runs."""
        with self._lock:
            if self._closing.is_set():
                raise ScanClosedError(f"the follower of {self._tracker.path} is closed: call follow again")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lys_storage follow", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        closing = self._closing
        while not closing.is_set():
            try:
                self._look(whole=False)
                told = self._tell()
            except ScanClosedError:
                break
            except Exception as error:  # the thread has no caller: `error` tells it
                log.error("%s: it is not followed any more: %s", self._tracker.path, str(error))
                self.error = error if isinstance(error, LysStorageError) else LysStorageError(repr(error))
                self.error.__traceback__ = self.error.__context__ = None  # they would keep the files open
                self._tell_state()
                break
            with self._lock:
                if self._tracker.is_over and self._have_been_told():
                    break
            if not told:
                closing.wait(self.poll_interval_s)
        with self._lock:
            if self._thread is threading.current_thread():
                self._thread = None

    def _tell(self) -> bool:
        """Call the functions that have not been told all, the state last. Whether there were any."""
        told = False
        for connection in self.changed.connections:
            with self._lock:
                found = self._tracker.log.after(connection.events)
                connection.events = self._tracker.log.count
            for index in self._chosen(found):
                if self._closing.is_set() or connection not in self.changed.connections:
                    break
                told = True
                _call(connection, index)
        return self._tell_state() or told

    def _tell_state(self) -> bool:
        told, state = False, "failed" if self.error else self._tracker.state
        for connection in self.state_changed.connections:
            if connection.state != state:
                connection.state, told = state, True
                _call(connection, state)
        return told

    def _have_been_told(self) -> bool:
        """Holding the lock: whether each function has been told all."""
        count, state = self._tracker.log.count, self._tracker.state
        return all(one.events == count for one in self.changed.connections) and all(
            one.state == state for one in self.state_changed.connections
        )

    # -- the end --------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End the iterations and the thread, without waiting for them. Takes no lock."""
        self._closing.set()

    def close(self) -> None:
        """End the iterations and the thread, and close the files. Called in a callback, it does not wait for the thread."""
        self.end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)
        with self._lock:
            self._tracker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        tracker = self._tracker
        frames = "" if tracker.grid is None else f": {tracker.frames_written} of {tracker.grid.frames} frames"
        return f"<Follower {self.path}{frames}, {'closed' if self._closing.is_set() else tracker.state}>"


def _call(connection: Connection, value: Any) -> None:
    try:
        connection.callback(value)
    except Exception:  # of a user's function: the others are called
        log.exception("a function that follows a scan raised an exception")
