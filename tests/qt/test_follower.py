"""`lys_storage.qt.Follower`: the frames of a scan as signals of Qt."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.qt import Follower, QtCore
from tests.helpers import interrupt
from tests.qt.detector import in_another_thread, process_events
from tests.qt.helpers import wait_until


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[Any]:
    scan = lys_storage.create(tmp_path / "a.npz", (5, 3), "u2", grid_ndim=1)
    scan[1] = np.full(3, 2, "u2")
    yield scan
    scan.close()


@pytest.fixture
def make_follower(qapp: Any, tmp_path: Path) -> Iterator[Callable[..., Follower]]:
    made: list[Follower] = []

    def make(**options: Any) -> Follower:
        made.append(Follower(tmp_path / "a.npz", pollInterval=0.002, **options))
        return made[-1]

    yield make
    for follower in made:
        follower.close()
    process_events()


class Viewer(QtCore.QObject):
    """Reads each frame in the thread of the event loop."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower
        self.seen: list[Any] = []
        self.states: list[str] = []
        self.threads: set[int] = set()
        follower.frame.connect(self.show)
        follower.stateChanged.connect(self.states.append)

    def show(self, index: tuple[int, ...]) -> None:
        self.threads.add(threading.get_ident())
        self.seen.append((index, int(self.follower.read(index)[0])))


def test_frames_and_states_arrive_in_the_thread_of_the_receiver(
    scan: Any, make_follower: Callable[..., Follower]
) -> None:
    follower = make_follower()
    viewer = Viewer(follower)
    assert (follower.state, follower.written.tolist()) == ("running", [False, True, False, False, False])
    follower.start()
    follower.start()
    wait_until(lambda: viewer.seen == [((1,), 2)] and viewer.states == ["running"])
    in_another_thread(scan.__setitem__, 3, np.full(3, 4, "u2"))
    wait_until(lambda: viewer.seen == [((1,), 2), ((3,), 4)])
    scan.close()
    wait_until(lambda: viewer.states == ["running", "finished"])
    assert viewer.threads == {threading.get_ident()}
    assert (follower.newest, list(follower.since(1)), follower.error) == ((3,), [(3,)], None)
    assert follower.data.read((3, 0)) == 4


def test_a_signal_of_pytest_qt(qtbot: Any, scan: Any, make_follower: Callable[..., Follower]) -> None:
    follower = make_follower()
    with qtbot.waitSignals([follower.frame, follower.stateChanged], timeout=10_000) as caught:
        follower.start()
    assert {signal.args for signal in caught.all_signals_and_args} == {((1,),), ("running",)}


def test_only_the_latest_frame(scan: Any, make_follower: Callable[..., Follower]) -> None:
    scan[2] = np.full(3, 3, "u2")
    follower = make_follower(latestOnly=True)
    viewer = Viewer(follower)
    follower.start()
    wait_until(lambda: viewer.seen == [((2,), 3)])


def test_a_follower_that_waits_for_its_scan(tmp_path: Path, make_follower: Callable[..., Follower]) -> None:
    viewer = Viewer(make_follower(wait=True))
    viewer.follower.start()
    wait_until(lambda: viewer.states == ["waiting"])
    interrupt(tmp_path / "a.npz")
    wait_until(lambda: viewer.seen == [((0,), 1), ((2,), 3)] and viewer.states[-1] == "interrupted")


def test_a_fault_is_a_state_and_not_the_end_of_the_process(
    tmp_path: Path, make_follower: Callable[..., Follower], errors: Callable[[], list[str]]
) -> None:
    part = interrupt(tmp_path / "a.npz")
    viewer = Viewer(make_follower())
    viewer.follower.start()
    wait_until(lambda: len(viewer.seen) == 2)
    os.truncate(part.with_name(part.name + ".journal"), 100)
    wait_until(lambda: viewer.states == ["interrupted", "failed"])
    assert isinstance(viewer.follower.error, lys_storage.BadFileError)
    assert "its table of states ends early" in errors()[0]


def test_a_slot_that_raises_does_not_end_the_follower(
    qtbot: Any, scan: Any, make_follower: Callable[..., Follower]
) -> None:
    follower = make_follower()

    def fail(index: Any) -> None:
        raise ValueError("of the user")

    follower.frame.connect(fail)
    viewer = Viewer(follower)
    with qtbot.captureExceptions() as raised:
        follower.start()
        wait_until(lambda: viewer.seen == [((1,), 2)])
        scan[0] = np.full(3, 1, "u2")
        wait_until(lambda: len(viewer.seen) == 2)
    assert [str(value) for _, value, _ in raised] == ["of the user"] * 2


@pytest.mark.parametrize("how", ["by deleteLater", "by its parent", "by Python"])
def test_a_follower_that_is_gone_ends_its_thread(qapp: Any, scan: Any, tmp_path: Path, how: str) -> None:
    parent = QtCore.QObject()
    follower = Follower(tmp_path / "a.npz", parent if how == "by its parent" else None, pollInterval=0.002)
    follower.start()
    inner, gone = follower._follower, weakref.ref(follower)
    wait_until(lambda: inner.events == 1)
    if how == "by Python":
        del follower
        gc.collect()
        assert gone() is None
    else:
        (parent if how == "by its parent" else follower).deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    scan[0] = np.full(3, 1, "u2")
    wait_until(lambda: inner._thread is None)
    inner.close()


def test_close_in_a_slot(scan: Any, make_follower: Callable[..., Follower]) -> None:
    scan[2:] = np.full((3, 3), 3, "u2")
    follower, seen = make_follower(), []

    def once(index: Any) -> None:
        seen.append(index)
        follower.close()

    follower.frame.connect(once)
    follower.start()
    wait_until(lambda: follower._follower._thread is None and bool(seen))
    assert seen[0] == (1,)
    follower.close()
