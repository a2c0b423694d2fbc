"""The simulated detector follows the protocol of lys_instr's detectors that DESIGN.md describes."""

import threading
import time

import numpy as np
import pytest

from lys_storage.demo import SimulatedMeasurement

GRID, FRAME = (3, 4), (8, 9)


@pytest.fixture
def make_detector(qtbot):
    """Detectors that are stopped at the end of the test."""
    from lys_storage.demo import SimulatedDetector

    made = []

    def make(measurement=None, **options):
        made.append(SimulatedDetector(measurement or SimulatedMeasurement(GRID, FRAME), **options))
        return made[-1]

    yield make
    for detector in made:
        detector.stop()


def listen(detector):
    """The emissions of the detector, received in the emitting thread, as [(name, value, thread)]."""
    from lys_storage.qt import QtCore

    seen = []
    direct = QtCore.Qt.ConnectionType.DirectConnection

    def copied(data):
        seen.append(("data", {i: frame.copy() for i, frame in data.items()}, threading.get_ident()))

    detector.dataAcquired.connect(copied, direct)
    detector.busyStateChanged.connect(lambda busy: seen.append(("busy", busy, threading.get_ident())), direct)
    detector.stopped.connect(lambda: seen.append(("stopped", None, threading.get_ident())), direct)
    return seen


def test_a_full_run_is_busy_then_every_frame_then_idle(make_detector):
    """busyStateChanged(True) is emitted before startAcq returns, False after the last frame, and `stopped` never."""
    detector = make_detector()
    seen = listen(detector)
    detector.startAcq()
    assert seen[0] == ("busy", True, threading.get_ident())
    assert detector.waitForReady(10)
    assert [name for name, *_ in seen] == ["busy", *["data"] * 12, "busy"]
    assert seen[-1][1] is False
    assert not detector.isBusy
    expected = SimulatedMeasurement(GRID, FRAME)
    for index, (_, data, _) in zip(np.ndindex(GRID), seen[1:-1], strict=True):
        assert list(data) == [index]
        assert data[index].tobytes() == expected.frame(index).tobytes()


def test_frames_come_in_the_acquisition_thread(make_detector):
    """Every frame, and the last busyStateChanged, is emitted in one thread that is not the caller's."""
    detector = make_detector()
    seen = listen(detector)
    detector.startAcq()
    detector.waitForReady(10)
    threads = {thread for _, _, thread in seen[1:]}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_the_buffer_of_a_frame_is_reused(make_detector):
    """A frame that is kept without a copy changes."""
    from lys_storage.qt import QtCore

    detector = make_detector()
    kept = []
    detector.dataAcquired.connect(lambda data: kept.extend(data.values()), QtCore.Qt.ConnectionType.DirectConnection)
    detector.startAcq()
    detector.waitForReady(10)
    assert len(kept) == 12
    assert all(frame is kept[0] for frame in kept)


def test_after_stop_has_returned_no_frame_comes(make_detector):
    """stop() waits for the current frame, then emits `stopped` last of all, in the caller's thread."""
    measurement, third, go_on = SimulatedMeasurement(GRID, FRAME), threading.Event(), threading.Event()
    frame, taken = measurement.frame, []

    def taking(index, out=None):
        taken.append(index)
        if len(taken) == 3:
            third.set()
            assert go_on.wait(20)
        return frame(index, out)

    measurement.frame = taking
    detector = make_detector(measurement)
    seen = listen(detector)
    detector.startAcq()
    assert third.wait(20)
    interrupt = detector._interrupted.set
    detector._interrupted.set = lambda: (interrupt(), go_on.set())  # from here on stop() waits
    detector.stop()
    names = [name for name, *_ in seen]
    assert names[-2:] == ["busy", "stopped"]
    assert seen[-1] == ("stopped", None, threading.get_ident())
    time.sleep(0.05)
    assert [name for name, *_ in seen] == names
    assert len(taken) == 3


def test_stop_on_an_idle_detector_is_harmless(make_detector):
    """It emits `stopped`, as lys_instr's does, and nothing else."""
    detector = make_detector()
    seen = listen(detector)
    detector.stop()
    assert [name for name, *_ in seen] == ["stopped"]


def test_a_busy_detector_starts_nothing_anew(make_detector, caplog):
    """startAcq while busy logs a warning, and there is one run."""
    detector = make_detector(rate=100)
    seen = listen(detector)
    detector.startAcq()
    detector.startAcq()
    detector.waitForReady(10)
    assert "is busy" in caplog.text
    assert [value for name, value, _ in seen if name == "busy"] == [True, False]


def test_passes_are_repeated(make_detector):
    """iter=3 takes the grid three times in one run; -1 continues until stop()."""
    detector = make_detector()
    seen = listen(detector)
    detector.startAcq(iter=3)
    detector.waitForReady(10)
    assert [name for name, *_ in seen].count("data") == 36
    detector.startAcq(iter=-1)
    while len(seen) < 200:
        time.sleep(0.001)
    detector.stop()
    assert not detector.isBusy


def test_a_rate_is_kept(make_detector):
    """With `rate` frames a second, frame n is not emitted before n/rate seconds after the start."""
    detector = make_detector(rate=100)
    began = time.monotonic()
    detector.startAcq()
    detector.waitForReady(10)
    assert time.monotonic() - began > 0.11


def test_a_failing_measurement_ends_the_run_and_not_the_process(make_detector, caplog):
    """An exception in the acquisition thread is logged, and the detector is idle again."""
    measurement = SimulatedMeasurement(GRID, FRAME)
    measurement.frame = lambda index, out=None: 1 / 0
    detector = make_detector(measurement)
    seen = listen(detector)
    detector.startAcq()
    detector.waitForReady(10)
    assert [(name, value) for name, value, _ in seen] == [("busy", True), ("busy", False)]
    assert "ZeroDivisionError" in caplog.text


def test_shapes_and_axes_are_the_measurement_s(make_detector):
    """dataShape is indexShape and frameShape. There is one axis for each dimension of it."""
    detector = make_detector()
    assert (detector.indexShape, detector.frameShape, detector.dataShape) == (GRID, FRAME, GRID + FRAME)
    assert tuple(map(len, detector.axes)) == detector.dataShape
