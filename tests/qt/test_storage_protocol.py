"""`connect`: each row and bullet of "The protocol of a lys_instr detector" in DESIGN.md.

With the simulated detector threads and order are those measured. With the bare one the test emits the signals.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from tests.helpers import assert_same_array, assert_same_axes, files, load_export
from tests.qt.detector import DEADLINE_S, SimulatedDetector, in_another_thread, process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until

FRAMES = np.arange(1.0, 13.0).reshape(3, 4)


@pytest.fixture
def connected(storage: Any, bare_detector: Any) -> Any:
    """A storage that is connected to the bare detector."""
    storage.connect(bare_detector)
    return storage


def begin(detector: Any) -> None:
    detector.busyStateChanged.emit(True)


def send(detector: Any, *rows: int, offset: float = 0.0) -> None:
    for i in rows:
        detector.dataAcquired.emit({(i,): FRAMES[i] + offset})


def end(detector: Any) -> None:
    """Emit busyStateChanged(False) as lys_instr does: from the acquisition thread, queued for the main thread."""
    in_another_thread(detector.busyStateChanged.emit, False)
    process_events()


def holes(*rows: int) -> np.ndarray[Any, Any]:
    """FRAMES, with NaN in the missing frames."""
    data = np.full(FRAMES.shape, np.nan)
    data[list(rows)] = FRAMES[list(rows)]
    return data


# -- the data ----------------------------------------------------------------------------------------------------------

DETECTORS = {
    "a grid of two dimensions": {"index_shape": (2, 3), "frame_shape": (4, 5)},
    "a line of spectra": {"index_shape": (4,), "frame_shape": (6,)},
    "no grid: () is the index": {"index_shape": (), "frame_shape": (4, 5)},
    "no grid, 0-d": {"index_shape": (), "frame_shape": (), "frame_style": "scalar"},
    "0-d frames as scalars": {"index_shape": (2, 3), "frame_shape": (), "frame_style": "scalar"},
    "0-d frames as Python numbers": {"index_shape": (2, 3), "frame_shape": (), "frame_style": "list"},
    "frames as lists": {"index_shape": (2, 3), "frame_shape": (4,), "frame_style": "list"},
    "ints as np.int64": {"index_shape": (2, 3), "frame_shape": (4,), "index_style": "numpy"},
    "ints that count from the end": {"index_shape": (2, 3), "frame_shape": (4,), "index_style": "negative"},
    "an index shorter than the grid": {"index_shape": (2, 3), "frame_shape": (4,), "index_style": "short"},
    "the whole grid at once": {"index_shape": (2, 3), "frame_shape": (4,), "index_style": "whole"},
    "empty dicts in between": {"index_shape": (2, 3), "frame_shape": (4,), "emits_empty": True},
    "one grid point": {"index_shape": (1,), "frame_shape": (3,)},
}


@pytest.mark.parametrize("by_hand", [True, False], ids=["frame by frame", "as fast as it can"])
@pytest.mark.parametrize("options", DETECTORS.values(), ids=DETECTORS)
def test_a_full_run_is_one_file_with_every_frame(
    storage: Any, folder: Path, make_detector: Any, options: Any, by_hand: bool
) -> None:
    """A signal carries `{index tuple: frame}`, with any kind of index and frame."""
    detector = make_detector(**options, by_hand=by_hand)
    storage.connect(detector)
    log = listen_to(storage)
    detector.run_all()
    wait_saved(storage)
    assert files(folder) == {"data_0.npz"}
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, detector.data)
    assert_same_axes(export.axes, detector.axes)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
    assert log.args("failed") == []


def test_the_sender_may_reuse_the_buffer_as_soon_as_the_emit_returns(
    storage: Any, folder: Path, make_detector: Any
) -> None:
    """The frame is in the file when the emit returns: no event queue holds a copy."""
    detector = make_detector((3,), (4,), reuse_buffer=True, by_hand=True)
    storage.connect(detector)
    detector.run_all()
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, detector.data)


def test_nothing_but_the_promised_signals_and_properties_is_asked_of_a_detector(
    connected: Any, folder: Path, bare_detector: Any
) -> None:
    """`indexShape` is not promised: the length of the first index decides the grid."""
    begin(bare_detector)
    send(bare_detector, 2)
    assert connected.written.shape == (3,)
    send(bare_detector, 0, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)


def test_the_grid_is_the_detectors_index_shape_where_it_has_one(storage: Any, make_detector: Any) -> None:
    """This is so even if the first index is shorter, or no index was written yet."""
    detector = make_detector((2, 3), (4,), index_style="short", by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    assert storage.written.shape == (2, 3)
    detector.step()
    assert storage.written.tolist() == [[True] * 3, [False] * 3]
    detector.stop()


def test_an_empty_dict_means_nothing(connected: Any, folder: Path, bare_detector: Any, errors: Any) -> None:
    """It can be emitted before, during and after a run."""
    log = listen_to(connected)
    bare_detector.dataAcquired.emit({})
    begin(bare_detector)
    bare_detector.dataAcquired.emit({})
    send(bare_detector, 0, 1, 2)
    bare_detector.dataAcquired.emit({})
    end(bare_detector)
    bare_detector.dataAcquired.emit({})
    wait_saved(connected)
    assert (log.args("failed"), errors(), files(folder)) == ([], [], {"data_0.npz"})


# -- the rows of the table: which thread, which order ------------------------------------------------------------------


def test_busy_true_reserves_before_startAcq_returns(storage: Any, make_detector: Any) -> None:
    """`saving` is True when `startAcq` returns. The shape is that of the detector's data."""
    detector = make_detector((2, 3), (4,), by_hand=True)
    storage.connect(detector)
    log = listen_to(storage)
    assert storage.saving is False
    detector.startAcq()
    assert storage.saving is True
    assert storage.array.shape == (2, 3, 4)
    assert sorted(log.names()) == ["numberChanged", "savingStateChanged", "tagRequest"]
    detector.stop()


def test_frames_are_written_in_the_thread_that_emits_them(storage: Any, make_detector: Any) -> None:
    """The last one is written in the acquisition thread, while the main thread is busy: the file is complete then."""
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.step(2)
    assert storage.written.tolist() == [True, True, False]
    detector.take()  # and handles no events
    assert storage.array is None, "complete, and on its way to its final name"
    assert storage.saving is True
    wait_saved(storage)


def test_a_slow_disk_slows_the_detector_instead_of_filling_the_memory(
    storage: Any, make_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emit does not return before the frame is written."""
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    real, begun, go_on = SYSTEM.pwrite, threading.Event(), threading.Event()

    def slow(*args: Any) -> int:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert go_on.wait(DEADLINE_S)
        return real(*args)

    detector.startAcq()
    detector.step(2)
    monkeypatch.setattr(SYSTEM, "pwrite", slow)
    detector._permits.release()
    assert begun.wait(DEADLINE_S)
    assert not detector._ended.wait(0.05)
    go_on.set()
    detector.wait_ended()
    wait_saved(storage)


def test_stopped_saves_what_came(storage: Any, folder: Path, make_detector: Any) -> None:
    """`saving` stays True until the file exists. Missing frames hold NaN."""
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.step(2)
    detector.stop()
    assert storage.saving is True
    wait_saved(storage)
    expected = detector.data.copy()
    expected[2] = np.nan
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, expected)
    assert_same_axes(export.axes, detector.axes)
    assert files(folder) == {"data_0.npz"}


def test_the_frame_that_stop_finds_waiting_is_in_the_stopped_scan(
    storage: Any, folder: Path, make_detector: Any
) -> None:
    """It is emitted in the acquisition thread, while the main thread waits inside `stop()`."""
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.step()
    detector.take()
    detector.stop()
    wait_saved(storage)
    expected = detector.data.copy()
    expected[2] = np.nan
    assert_same_array(load_export(folder / "data_0.npz").data, expected)


def test_stop_without_a_frame_gives_a_file_of_the_fill(storage: Any, folder: Path, make_detector: Any) -> None:
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.stop()
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, np.full((3, 4), np.nan))


def test_stop_on_an_idle_detector_gives_no_file(storage: Any, tmp_path: Path, make_detector: Any) -> None:
    """This holds before the first run and after the last."""
    detector = make_detector((3,), (4,))
    storage.connect(detector)
    log = listen_to(storage)
    detector.stop()
    process_events()
    assert (storage.saving, list(tmp_path.iterdir()), log.args("failed")) == (False, [], [])
    detector.run_all()
    wait_saved(storage)
    detector.stop()
    process_events()
    assert (storage.saving, files(tmp_path), log.args("failed")) == (False, {"folder/data_0.npz"}, [])


# -- the late frame ----------------------------------------------------------------------------------------------------


def test_the_late_frame_after_stopped_belongs_to_the_stopped_scan(
    connected: Any, folder: Path, bare_detector: Any
) -> None:
    """One late frame can follow `stopped`. The scan is sealed at busy False."""
    begin(bare_detector)
    send(bare_detector, 0)
    bare_detector.stopped.emit()
    send(bare_detector, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, holes(0, 1))
    assert files(folder) == {"data_0.npz"}


def test_the_late_frame_may_come_from_another_thread(connected: Any, folder: Path, bare_detector: Any) -> None:
    begin(bare_detector)
    bare_detector.stopped.emit()
    in_another_thread(send, bare_detector, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, holes(1))


def test_a_late_frame_that_completes_the_stopped_scan_saves_it(
    connected: Any, folder: Path, bare_detector: Any
) -> None:
    """It is saved once."""
    log = listen_to(connected)
    begin(bare_detector)
    send(bare_detector, 0, 1)
    bare_detector.stopped.emit()
    send(bare_detector, 2)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]


def test_a_stopped_scan_is_sealed_by_the_next_reserve(connected: Any, folder: Path, bare_detector: Any) -> None:
    """Busy False has not been emitted yet. The frames of the next run belong to the next scan."""
    begin(bare_detector)
    send(bare_detector, 0)
    bare_detector.stopped.emit()
    begin(bare_detector)
    send(bare_detector, 0, 1, 2, offset=100)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, holes(0))
    assert_same_array(load_export(folder / "data_1.npz").data, FRAMES + 100)


def test_a_stopped_scan_is_sealed_half_a_second_after_stopped(connected: Any, folder: Path, bare_detector: Any) -> None:
    """Busy False is never emitted."""
    begin(bare_detector)
    send(bare_detector, 0)
    begun = time.monotonic()
    bare_detector.stopped.emit()
    wait_saved(connected)
    assert time.monotonic() - begun > 0.2
    assert_same_array(load_export(folder / "data_0.npz").data, holes(0))
    assert files(folder) == {"data_0.npz"}


# -- busy False --------------------------------------------------------------------------------------------------------


def test_busy_false_ends_a_run_that_was_neither_stopped_nor_complete(
    connected: Any, folder: Path, bare_detector: Any
) -> None:
    """The written frames are saved."""
    begin(bare_detector)
    send(bare_detector, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, holes(1))


def test_the_kth_false_belongs_to_the_kth_true(storage: Any, folder: Path, bare_detector: Any) -> None:
    """Another listener, connected first, starts the next run in its slot of busy False: that True comes first."""
    runs: list[int] = []

    def start_next(busy: bool) -> None:
        if not busy and len(runs) < 3:
            runs.append(1)
            begin(bare_detector)
            send(bare_detector, 0, offset=100.0 * len(runs))

    bare_detector.busyStateChanged.connect(start_next)
    storage.connect(bare_detector)
    begin(bare_detector)
    send(bare_detector, 0)
    end(bare_detector)  # run 1 begins in the slot before that of the storage
    assert storage.array is not None, "run 1 is not ended by the False of run 0"
    send(bare_detector, 1, offset=100)
    end(bare_detector)
    send(bare_detector, 1, offset=200)
    end(bare_detector)
    send(bare_detector, 1, offset=300)
    end(bare_detector)
    wait_saved(storage)
    assert files(folder) == {f"data_{k}.npz" for k in range(4)}
    assert_same_array(load_export(folder / "data_0.npz").data, holes(0))
    for k in range(1, 4):
        assert_same_array(load_export(folder / f"data_{k}.npz").data, holes(0, 1) + 100 * k)


def test_after_a_false_that_never_came_the_next_ones_are_not_taken_for_it(
    connected: Any, folder: Path, bare_detector: Any
) -> None:
    """A device error emits neither `stopped` nor False. A later run that ends early is saved at its own False."""
    begin(bare_detector)
    send(bare_detector, 0)  # nothing more is emitted
    begin(bare_detector)
    send(bare_detector, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, holes(0))
    assert_same_array(load_export(folder / "data_1.npz").data, holes(1))


def test_a_run_that_starts_between_the_end_of_busy_and_its_signal_is_not_ended_by_it(
    storage: Any, folder: Path
) -> None:
    """A script that polls `isBusy` can start the next run before the acquisition thread has emitted False."""

    class Slow(SimulatedDetector):
        between, go_on = threading.Event(), threading.Event()

        def _emit_idle(self) -> None:
            self.between.set()
            assert self.go_on.wait(DEADLINE_S)
            super()._emit_idle()

    detector = Slow((2,), (3,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.step()
    detector._permits.release()
    assert detector.between.wait(DEADLINE_S)
    assert not detector.isBusy
    detector.startAcq()
    process_events()
    detector.go_on.set()
    detector.wait_ended()
    process_events()
    assert storage.array is not None, "the second run goes on"
    detector.step(2)
    wait_saved(storage)
    detector.close()
    for k in range(2):
        assert_same_array(load_export(folder / f"data_{k}.npz").data, detector.data)


def test_a_device_error_keeps_the_frames_and_the_next_run_is_a_scan_of_its_own(
    storage: Any, folder: Path, make_detector: Any
) -> None:
    """The next reserve finalizes the scan of the failed device."""
    detector = make_detector((3,), (4,), by_hand=True, fails_after=2)
    storage.connect(detector)
    detector.startAcq()
    detector.step(2)
    detector.take()
    process_events()
    assert (storage.saving, files(folder) & {"data_0.npz"}) == (True, set())
    detector.reset()
    detector.fails_after = None
    detector.run_all()
    wait_saved(storage)
    expected = detector.data.copy()
    expected[2] = np.nan
    assert_same_array(load_export(folder / "data_0.npz").data, expected)
    assert_same_array(load_export(folder / "data_1.npz").data, detector.data)


def test_no_python_of_ours_runs_in_the_acquisition_thread_at_busy_false(storage: Any, qapp: Any) -> None:
    """A direct slot there can hang the process: lys_instr drops the QThread while it is in its emit."""
    ran: list[str] = []

    class Watched(SimulatedDetector):
        def _emit_idle(self) -> None:
            gc.disable()  # it could finalize objects of another test here
            sys.setprofile(lambda frame, event, arg: ran.append(frame.f_code.co_filename) if event == "call" else None)
            try:
                self.busyStateChanged.emit(False)
            finally:
                sys.setprofile(None)
                gc.enable()

    detector = Watched((3,), (4,), by_hand=True)
    storage.connect(detector)
    detector.run_all()
    wait_saved(storage)
    detector.close()
    assert ran == []


def test_the_next_run_may_start_in_a_slot_of_busy_false(storage: Any, folder: Path, make_detector: Any) -> None:
    """lys_instr's scan does this, with its thread. Ten runs give ten files."""
    detector = make_detector((2,), (3,))
    storage.connect(detector)
    runs = [0]

    def start_next(busy: bool) -> None:
        if not busy and len(runs) < 10:
            runs.append(len(runs))
            detector.startAcq()

    detector.busyStateChanged.connect(start_next)
    detector.startAcq()
    wait_until(lambda: len(runs) == 10 and not detector.isBusy)
    wait_saved(storage)
    assert files(folder) == {f"data_{k}.npz" for k in range(10)}
    for k in range(10):
        assert_same_array(load_export(folder / f"data_{k}.npz").data, detector.data)


# -- what is fixed when ------------------------------------------------------------------------------------------------


def test_path_and_tag_are_fixed_at_busy_true_and_axes_read_when_saving(
    storage: Any, folder: Path, make_detector: Any
) -> None:
    """A later change of `name` or `folder` is used for the next scan."""
    detector = make_detector((3,), (4,), by_hand=True)
    storage.connect(detector)
    storage.tagRequest.connect(lambda tag: tag.update(name=storage.name))
    detector.startAcq()
    detector.step(2)
    storage.name, storage.folder = "later", "elsewhere"
    detector.axes = [np.array([7.0, 8.0, 9.0]), np.arange(4.0)]
    detector.step()
    wait_saved(storage)
    export = load_export(folder / "data_0.npz")
    assert export.note == {"Notes": None, "name": "data"}
    assert_same_axes(export.axes, detector.axes)


def test_the_scan_is_saved_when_its_last_missing_frame_comes(connected: Any, folder: Path, bare_detector: Any) -> None:
    """It is not saved at busy False."""
    begin(bare_detector)
    send(bare_detector, 0, 1, 2)
    wait_saved(connected)
    assert files(folder) == {"data_0.npz"}
    end(bare_detector)
    assert (connected.saving, files(folder)) == (False, {"data_0.npz"})


@pytest.mark.parametrize("passes", [3, -1], ids=["three passes", "a stream"])
def test_several_passes_give_exactly_one_file_of_the_first(
    storage: Any, folder: Path, make_detector: Any, caplog: Any, passes: int
) -> None:
    """Frames after the first full pass are not written. One log message counts them."""
    caplog.set_level("INFO")
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    log = listen_to(storage)
    detector.startAcq(passes)
    detector.step(6)
    detector.stop() if passes < 0 else process_events()
    wait_saved(storage)
    process_events()
    assert files(folder) == {"data_0.npz"}
    assert_same_array(load_export(folder / "data_0.npz").data, detector.data)
    assert log.args("failed") == []
    counted = [record.getMessage() for record in caplog.records if "4" in record.getMessage()]
    assert len([message for message in counted if "frame" in message]) == 1, caplog.text


def test_after_several_passes_the_next_acquisition_is_a_scan_again(
    storage: Any, folder: Path, make_detector: Any
) -> None:
    """Only the frames of that acquisition were left out."""
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    for _ in range(2):
        detector.run_all(iter=2)
    wait_saved(storage)
    for k in range(2):
        assert_same_array(load_export(folder / f"data_{k}.npz").data, detector.data)
    assert files(folder) == {"data_0.npz", "data_1.npz"}


def test_disabled_there_is_no_file_no_folder_and_no_tag(
    make_storage: Any, tmp_path: Path, make_detector: Any, errors: Any
) -> None:
    """`savingStateChanged(False)` is emitted. The frames are ignored, and are no error."""
    storage = make_storage(enabled=False)
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    log = listen_to(storage)
    detector.run_all()
    detector.startAcq()
    detector.step()
    detector.stop()
    process_events()
    assert [(emission.name, emission.args) for emission in log] == [("savingStateChanged", (False,))] * 2
    assert (list(tmp_path.iterdir()), errors()) == ([], [])


def test_enabled_counts_at_reserve(storage: Any, folder: Path, make_detector: Any) -> None:
    """A change during a run is used for the next run."""
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    detector.startAcq()
    detector.step()
    storage.enabled = False
    detector.step()
    process_events()
    wait_saved(storage)
    assert_same_array(load_export(folder / "data_0.npz").data, detector.data)
    detector.startAcq()
    storage.enabled = True
    detector.step(2)
    process_events()
    assert (storage.saving, files(folder)) == (False, {"data_0.npz"})


def test_a_frame_with_no_acquisition_of_ours_is_nobodys(connected: Any, tmp_path: Path, bare_detector: Any) -> None:
    """A live view, or a run that was in progress when `connect` was called, leaves no file and raises nothing."""
    send(bare_detector, 0)
    in_another_thread(send, bare_detector, 1)
    end(bare_detector)
    assert (connected.saving, files(tmp_path)) == (False, set())


# -- connections -------------------------------------------------------------------------------------------------------


def test_connecting_twice_is_harmless(storage: Any, folder: Path, make_detector: Any) -> None:
    """There is one file, and each frame is written once."""
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    storage.connect(detector)
    log = listen_to(storage)
    detector.run_all()
    wait_saved(storage)
    assert files(folder) == {"data_0.npz"}
    assert len(log.args("tagRequest")) == 1
    assert {done for done, _ in log.args("frameWritten")} <= {1, 2}


def test_connect_keeps_the_storage_alive(qapp: Any, tmp_path: Path, make_detector: Any) -> None:
    """No other reference is needed."""
    detector = make_detector((2,), (3,), by_hand=True)
    storage = lys_storage.DataStorage(base=str(tmp_path))
    storage.connect(detector)
    seen = weakref.ref(storage)
    del storage
    gc.collect()
    detector.run_all()
    wait_until((tmp_path / "folder/data_0.npz").exists)
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, detector.data)
    storage = seen()
    assert storage is not None
    storage.close()


def test_several_storages_of_one_detector_each_have_their_file(
    make_storage: Any, folder: Path, make_detector: Any
) -> None:
    """This includes storages with one folder and one name: they take different numbers."""
    detector = make_detector((2,), (3,), by_hand=True)
    storages = [make_storage(), make_storage(), make_storage(name="other")]
    for storage in storages:
        storage.connect(detector)
    detector.run_all()
    for storage in storages:
        wait_saved(storage)
    assert files(folder) == {"data_0.npz", "data_1.npz", "other_0.npz"}
    for name in files(folder):
        assert_same_array(load_export(folder / name).data, detector.data)


def test_several_detectors_each_with_a_storage_do_not_mix(make_storage: Any, folder: Path, make_detector: Any) -> None:
    """Two cameras of different shapes run at the same time, in one folder."""
    detectors = [make_detector((2,), (3,), by_hand=True), make_detector((3, 2), (2, 2), by_hand=True)]
    storages = [make_storage(), make_storage()]
    for detector, storage in zip(detectors, storages, strict=True):
        storage.connect(detector)
        detector.startAcq()
    detectors[1].step(3)
    detectors[0].step(2)
    detectors[1].step(3)
    for k in range(2):
        wait_saved(storages[k])
        assert_same_array(load_export(folder / f"data_{k}.npz").data, detectors[k].data)


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_bad_frame_is_logged_and_signalled_and_the_others_are_saved(
    connected: Any, folder: Path, bare_detector: Any, errors: Any
) -> None:
    """An exception in a slot must not stop the detector."""
    log = listen_to(connected)
    begin(bare_detector)
    send(bare_detector, 0)
    bare_detector.dataAcquired.emit({(1,): np.zeros(5)})
    bare_detector.dataAcquired.emit({(9,): FRAMES[1]})
    bare_detector.dataAcquired.emit({(1,): np.array(["text"] * 4)})
    in_another_thread(bare_detector.dataAcquired.emit, {(1,): None})
    send(bare_detector, 1, 2)
    end(bare_detector)
    wait_saved(connected)
    process_events()
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)
    assert any("(5,)" in message for message in errors())
    path, message = log.args("failed")[0]
    assert (Path(path).name.startswith("data_0.npz"), "(5,)" in message) == (True, True)


def test_a_frame_that_raises_by_itself_does_not_keep_the_others_out(
    connected: Any, folder: Path, bare_detector: Any, errors: Any
) -> None:
    """A frame can be any object that numpy converts. This one raises in the conversion."""

    class Broken:
        def __array__(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("the frame grabber has gone")

    log = listen_to(connected)
    begin(bare_detector)
    bare_detector.dataAcquired.emit({(0,): FRAMES[0], (1,): Broken(), (2,): FRAMES[2]})
    process_events()
    assert connected.written.tolist() == [True, False, True]
    assert any("the frame grabber has gone" in message for _, message in log.args("failed"))
    assert any("the frame grabber has gone" in message for message in errors())
    send(bare_detector, 1)
    end(bare_detector)
    wait_saved(connected)
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)


def test_repeated_faults_are_gathered(connected: Any, bare_detector: Any) -> None:
    """A detector with a wrong frame size does not flood the listeners of `failed`."""
    log = listen_to(connected)
    begin(bare_detector)
    for _ in range(500):
        bare_detector.dataAcquired.emit({(1,): np.zeros(5)})
    send(bare_detector, 0, 1, 2)
    end(bare_detector)
    wait_saved(connected)
    process_events()
    assert 1 <= len(log.args("failed")) <= 10


def test_axes_that_raise_cost_no_data(storage: Any, folder: Path, make_broken_detector: Any) -> None:
    """The file has index coordinates, and the fault is signalled."""
    detector = make_broken_detector("axes")
    storage.connect(detector)
    log = listen_to(storage)
    begin(detector)
    send(detector, 0, 1, 2)
    end(detector)
    wait_saved(storage)
    process_events()
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, FRAMES)
    assert_same_axes(export.axes, [np.arange(3.0), np.arange(4.0)])
    assert any("the device does not answer (axes)" in message for _, message in log.args("failed"))


def test_axes_that_were_known_before_serve_where_the_detector_no_longer_tells(
    storage: Any, folder: Path, make_broken_detector: Any
) -> None:
    """They were known at the beginning of the run, but not at its end."""
    detector = make_broken_detector("")
    storage.connect(detector)
    log = listen_to(storage)
    begin(detector)
    send(detector, 0, 1)
    detector.broken = "axes"
    send(detector, 2)
    wait_saved(storage)
    process_events()
    assert_same_array(load_export(folder / "data_0.npz").data, FRAMES)
    assert any("(axes)" in message for _, message in log.args("failed"))


@pytest.mark.parametrize("reason", ["no shape", "no folder", "no space"])
def test_a_reserve_that_fails_is_loud_and_the_next_acquisition_is_tried_anew(
    storage: Any, tmp_path: Path, make_broken_detector: Any, errors: Any, reason: str
) -> None:
    """`failed` is emitted at once. A message at the end counts the frames of that acquisition."""
    detector = make_broken_detector("dataShape" if reason == "no shape" else "")
    storage.connect(detector)
    log = listen_to(storage)
    if reason == "no folder":
        (tmp_path / "a file").touch()
        storage.base = str(tmp_path / "a file")
    elif reason == "no space":
        detector._data_shape = (3, 10**4, 10**4, 10**4, 10**3)
    begin(detector)
    process_events()
    assert (len(log.args("failed")), storage.saving) == (1, False)
    send(detector, 0, 1)
    in_another_thread(send, detector, 2)
    end(detector)
    process_events()
    said = [*errors(), *(message for _, message in log.args("failed"))]
    assert any("3" in message and "frame" in message for message in said), said
    assert len(log.args("failed")) <= 3
    storage.base, detector.broken, detector._data_shape = str(tmp_path), "", (3, 4)
    begin(detector)
    send(detector, 0, 1, 2)
    end(detector)
    wait_saved(storage)
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, FRAMES)


def test_faults_in_slots_do_not_end_a_process_without_an_excepthook(run_child: Any, tmp_path: Path) -> None:
    """PyQt aborts if an exception leaves a slot and sys.excepthook is Python's own."""
    child = run_child(
        """
import sys, threading
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
from tests.qt.detector import BrokenDetector, in_another_thread, process_events
app = QtCore.QCoreApplication([])
storage = DataStorage(base=sys.argv[1])
detector = BrokenDetector("dataShape")
storage.connect(detector)
for broken in ("dataShape", "axes", ""):
    detector.broken = broken
    detector.busyStateChanged.emit(True)
    detector.dataAcquired.emit({(0,): np.zeros(7)})
    detector.dataAcquired.emit({"what": None})
    in_another_thread(detector.dataAcquired.emit, {(9, 9, 9): np.zeros(4)})
    for i in range(2):
        detector.dataAcquired.emit({(i,): np.ones(4)})
    in_another_thread(detector.dataAcquired.emit, {(2,): np.ones(4)})
    in_another_thread(detector.busyStateChanged.emit, False)
    process_events()
assert storage.waitForSaved(30)
storage.close()
print("alive")
""",
        str(tmp_path),
    )
    assert (child.code, child.out) == (0, "alive\n"), child.err
    assert files(tmp_path) == {"folder/data_0.npz", "folder/data_1.npz"}
