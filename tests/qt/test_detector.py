"""The simulated detector behaves as DESIGN.md measured: signals, their threads, their order."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tests.helpers import assert_same_array
from tests.qt.detector import QUEUED, SimulatedDetector, process_events
from tests.qt.helpers import Log

MAIN = "main"
ACQUISITION = "acquisition"


def listen_to(detector: SimulatedDetector) -> Log:
    return Log().listen(busy=detector.busyStateChanged, data=detector.dataAcquired, stopped=detector.stopped)


def story(log: Log) -> list[tuple[Any, ...]]:
    """(name, value, thread) of each emission; only the indices of the data."""
    told = []
    for emission in log:
        what = emission.args[0] if emission.args else None
        thread = MAIN if emission.thread == threading.get_ident() else ACQUISITION
        told.append((emission.name, tuple(what) if isinstance(what, dict) else what, thread))
    return told


def test_busy_is_told_by_the_caller_of_startAcq_before_it_returns(make_detector: Any) -> None:
    """`busyStateChanged(True)` is emitted in the main thread."""
    detector = make_detector(by_hand=True)
    log = listen_to(detector)
    detector.startAcq()
    assert story(log) == [("busy", True, MAIN)]


def test_in_a_full_run_only_the_last_frame_comes_from_the_acquisition_thread(make_detector: Any) -> None:
    """`dataAcquired` is emitted in the main thread, the last one in the acquisition thread, before busy False."""
    detector = make_detector((3,), (2,), by_hand=True)
    log = listen_to(detector)
    detector.startAcq()
    detector.step(2)
    detector.take()
    assert story(log) == [
        ("busy", True, MAIN),
        ("data", ((0,),), MAIN),
        ("data", ((1,),), MAIN),
        ("data", ((2,),), ACQUISITION),
        ("busy", False, ACQUISITION),
    ]
    process_events()
    assert story(log)[5:] == [("data", (), MAIN)], "what was queued finds nothing any more: {} means nothing"


def test_a_stopped_run_tells_stopped_in_the_caller_of_stop(make_detector: Any) -> None:
    """A waiting frame is emitted in the acquisition thread, while the main thread waits inside `stop()`."""
    detector = make_detector((3,), (2,), by_hand=True)
    log = listen_to(detector)
    detector.startAcq()
    detector.step()
    detector.take()
    detector.stop()
    assert story(log) == [
        ("busy", True, MAIN),
        ("data", ((0,),), MAIN),
        ("data", ((1,),), ACQUISITION),
        ("busy", False, ACQUISITION),
        ("data", (), MAIN),
        ("stopped", None, MAIN),
    ]


def test_for_a_queued_slot_one_late_frame_follows_stopped(make_detector: Any) -> None:
    """A slot of the main thread receives that frame, and busy False, after `stopped`."""
    detector = make_detector((3,), (2,), by_hand=True)
    order: list[str] = []
    detector.dataAcquired.connect(lambda data: order.append("data" if data else "{}"))
    detector.busyStateChanged.connect(lambda busy: order.append(f"busy {busy}"), QUEUED)
    detector.stopped.connect(lambda: order.append("stopped"))
    detector.startAcq()
    detector.take()
    detector.stop()
    assert order == ["{}", "stopped"]
    process_events()
    assert [item for item in order if item != "{}"] == ["stopped", "busy True", "data", "busy False"]


def test_busy_false_is_told_with_the_mutex_of_the_detector_held(make_detector: Any) -> None:
    """`busyStateChanged(False)` is emitted in the acquisition thread."""
    detector = make_detector((1,), (2,), by_hand=True)
    was_free: list[bool] = []

    def look(busy: bool) -> None:
        if not busy:
            was_free.append(detector._mutex.tryLock())

    from tests.qt.detector import DIRECT

    detector.busyStateChanged.connect(look, DIRECT)
    detector.startAcq()
    detector.take()
    assert was_free == [False]


def test_stop_on_an_idle_detector_tells_stopped_and_no_busy(make_detector: Any) -> None:
    """An `{}` and a `stopped` are emitted, and nothing else."""
    detector = make_detector()
    log = listen_to(detector)
    detector.stop()
    assert story(log) == [("data", (), MAIN), ("stopped", None, MAIN)]


def test_a_dead_device_tells_neither_stopped_nor_busy_false(make_detector: Any) -> None:
    """After a device error nothing is emitted."""
    detector = make_detector((3,), (2,), by_hand=True, fails_after=2)
    log = listen_to(detector)
    detector.startAcq()
    detector.step(3)
    detector.wait_ended()
    process_events()
    assert story(log) == [("busy", True, MAIN), ("data", ((0,),), MAIN), ("data", ((1,),), MAIN)]


def test_several_passes_are_one_acquisition(make_detector: Any) -> None:
    """`startAcq(iter=3)` emits one busy True, every index three times, and one busy False."""
    detector = make_detector((2,), (), by_hand=True, frame_style="scalar")
    log = listen_to(detector)
    detector.run_all(iter=3)
    frames = [frame for (data,) in log.args("data") for frame in data.items()]
    assert frames == [((k % 2,), detector.data[k % 2] + 1000 * (k // 2)) for k in range(6)]
    assert log.args("busy") == [(True,), (False,)]


@pytest.mark.parametrize(
    ("style", "indices"),
    [
        pytest.param("full", [(0, 0), (0, 1), (1, 0), (1, 1)], id="an int for each dimension"),
        pytest.param("negative", [(-2, -2), (-2, -1), (-1, -2), (-1, -1)], id="counted from the end"),
        pytest.param("short", [(0,), (1,)], id="a row at a time"),
        pytest.param("whole", [()], id="everything at once"),
    ],
)
def test_the_indices_are_of_the_style_asked_for(make_detector: Any, style: str, indices: list[Any]) -> None:
    """Each style covers the whole array. The frame of an index has the dimensions that the index leaves over."""
    detector = make_detector((2, 2), (3,), index_style=style)
    log = listen_to(detector)
    detector.run_all()
    frames = {index: frame for (data,) in log.args("data") for index, frame in data.items()}
    assert list(frames) == indices
    for index, frame in frames.items():
        assert_same_array(frame, detector.data[index])


def test_numpy_ints_and_a_reused_buffer_are_what_they_say(make_detector: Any) -> None:
    """The index has np.int64, and the memory of a frame is overwritten after its emit has returned."""
    detector = make_detector((1,), (3,), index_style="numpy", reuse_buffer=True)
    kept: list[Any] = []
    detector.dataAcquired.connect(kept.append)
    log = listen_to(detector)
    detector.run_all()
    ((index, frame),) = (item for (data,) in log.args("data") for item in data.items())
    assert type(index[0]) is np.int64
    assert_same_array(frame, np.full(3, 77.0))
