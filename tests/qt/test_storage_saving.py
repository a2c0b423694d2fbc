"""From the last frame, or `save`, to the final file: timing, threads, signals, and faults."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from lys_storage.qt import QtCore
from tests.helpers import assert_same_array, assert_same_axes, files, load_export
from tests.qt.detector import DEADLINE_S, process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until

DATA = np.arange(6.0).reshape(2, 3)
AXES = [np.array([0.5, 1.5]), np.array([2.0, 3.0, 4.0])]


def complete(storage: Any, data: np.ndarray[Any, Any] = DATA) -> None:
    """Reserve, and write every frame. The save has been started when this returns."""
    storage.reserve(data.shape, axes=[])
    storage.update({(): data})


# -- when it is saved, and with which axes -----------------------------------------------------------------------------


def test_a_complete_scan_is_saved_with_the_axes_of_the_detector(storage: Any, folder: Path, bare_detector: Any) -> None:
    """`update(data, detector)` reads the axes when the scan is saved."""
    bare_detector.axes = [np.zeros(2), np.zeros(3)]
    storage.reserve(DATA.shape)
    storage.update({(0,): DATA[0]}, bare_detector)
    bare_detector.axes = AXES
    storage.update({(1,): DATA[1]}, bare_detector)
    wait_saved(storage)
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, DATA)
    assert_same_axes(export.axes, AXES)
    assert export.note == {"Notes": None}


def test_without_a_detector_the_axes_are_index_coordinates(storage: Any, folder: Path) -> None:
    """As in lys they are 0.0, 1.0, ..."""
    storage.reserve(DATA.shape)
    storage.update({(): DATA})
    wait_saved(storage)
    assert_same_axes(load_export(folder / "data_0.npz").axes, [np.arange(2.0), np.arange(3.0)])


def test_save_saves_what_there_is_now(storage: Any, folder: Path) -> None:
    """Missing frames hold the fill value. Axes that are None or left out are index coordinates."""
    storage.reserve((2, 3), fillValue=-1)
    storage.update({(1,): DATA[1]})
    storage.save([AXES[0], None])
    wait_saved(storage)
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, [[-1.0, -1.0, -1.0], DATA[1]])
    assert_same_axes(export.axes, [AXES[0], np.arange(3.0)])


def test_the_record_of_the_acquisition_tells_what_is_missing(storage: Any, folder: Path) -> None:
    """acquisition.json has the frames expected and written, and the missing ones."""
    storage.reserve((4, 3))
    for i in (0, 2):
        storage.update({(i,): np.zeros(3)})
    storage.save([])
    assert storage.waitForSaved()
    info = load_export(folder / "data_0.npz").info
    assert (info["frames_written"], info["frames_expected"], info["missing"]) == (2, 4, [[1, 2], [3, 4]])
    assert {"format", "software"} <= {word for key in info for word in key.split("_")}


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param([np.zeros(3), np.zeros(3)], id="one of a wrong length"),
        pytest.param([np.zeros(2), np.zeros(3), np.zeros(4)], id="one too many"),
    ],
)
def test_an_axis_of_a_wrong_length_is_refused_before_anything_is_consumed(
    storage: Any, folder: Path, axes: list[Any]
) -> None:
    """A ValueError of lys_storage is raised. The call can be repeated, and frames are still accepted."""
    storage.reserve(DATA.shape)
    storage.update({(0,): DATA[0]})
    with pytest.raises(ValueError) as caught:
        storage.save(axes)
    assert isinstance(caught.value, lys_storage.LysStorageError)
    assert (storage.saving, len(storage._paths), len(storage._threads)) == (True, 1, 0)
    storage.update({(1,): DATA[1]})
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_0.npz").data, DATA)


def test_on_the_signal_driven_way_a_wrong_axis_costs_no_data(storage: Any, folder: Path, bare_detector: Any) -> None:
    """No caller can be informed: that axis gets index coordinates, and the fault is signalled."""
    bare_detector.axes = [np.zeros(7), AXES[1]]
    log = listen_to(storage)
    storage.reserve(DATA.shape)
    storage.update({(): DATA}, bare_detector)
    wait_saved(storage)
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, DATA)
    assert_same_axes(export.axes, [np.arange(2.0), AXES[1]])
    ((path, message),) = log.args("failed")
    assert Path(path).name.startswith("data_0.npz")
    assert "7" in message


# -- saving, its signals, and their threads ----------------------------------------------------------------------------


def test_saving_holds_from_the_reservation_to_the_file_in_its_place(storage: Any, folder: Path) -> None:
    """It becomes False in the event loop, with savingStateChanged(False)."""
    log = listen_to(storage)
    states = [storage.saving]
    storage.reserve(DATA.shape)
    states.append(storage.saving)
    storage.update({(): DATA})
    states.append(storage.saving)
    there: list[bool] = []
    storage.savingStateChanged.connect(lambda saving: saving or there.append((folder / "data_0.npz").exists()))
    wait_saved(storage)
    assert states == [False, True, True]
    assert there == [True]
    assert log.args("savingStateChanged")[-1] == (False,)
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]


def test_saving_does_not_fall_before_the_call_that_started_the_save_has_returned(storage: Any, folder: Path) -> None:
    """This holds even if the file exists at once: only the event loop, waitForSaved or close emit the signal."""
    log = listen_to(storage)
    complete(storage)
    end = time.monotonic() + DEADLINE_S
    while not (folder / "data_0.npz").exists():  # without the event loop of this thread
        assert time.monotonic() < end
        threading.Event().wait(0.002)
    assert (storage.saving, (False,) in log.args("savingStateChanged")) == (True, False)
    process_events()
    wait_saved(storage)
    assert log.args("savingStateChanged").count((False,)) == 1


def test_the_signals_of_the_end_come_in_the_storages_own_thread(storage: Any) -> None:
    """They are never emitted in the save thread, even if the last frame was written in the acquisition thread."""
    log = listen_to(storage)
    storage.reserve(DATA.shape)
    thread = threading.Thread(target=storage.update, args=({(): DATA},))
    thread.start()
    thread.join(DEADLINE_S)
    wait_saved(storage)
    ends = [emission for emission in log if emission.name == "saved" or emission.args == (False,)]
    assert sorted(emission.name for emission in ends) == ["saved", "savingStateChanged"]
    assert {emission.thread for emission in ends} == {threading.get_ident()}


def test_a_storage_that_lives_in_another_thread_tells_there(qapp: Any, tmp_path: Path) -> None:
    """Its own thread is the one that created it."""
    from lys_storage import DataStorage

    told: list[int] = []

    class Owner(QtCore.QThread):
        def run(self) -> None:
            self.ident = threading.get_ident()
            storage = DataStorage(base=str(tmp_path))
            loop = QtCore.QEventLoop()

            def state(saving: bool) -> None:
                if not saving:
                    told.append(threading.get_ident())
                    loop.quit()

            storage.savingStateChanged.connect(state)
            complete(storage)
            loop.exec()
            storage.close()

    owner = Owner()
    owner.start()
    assert owner.wait(int(DEADLINE_S * 1000))
    assert told == [owner.ident]
    assert_same_array(load_export(tmp_path / "folder/data_0.npz").data, DATA)


def test_the_views_of_the_panel_count_files_reserved_and_files_being_saved(storage: Any, disk: Any) -> None:
    """`_paths` and `_threads` are those of lys_instr's storage, as listeners of savingStateChanged see them."""
    seen: list[tuple[bool, int, int]] = []
    storage.savingStateChanged.connect(lambda saving: seen.append((saving, len(storage._paths), len(storage._threads))))
    disk.hold()
    storage.reserve(DATA.shape)
    assert (len(storage._paths), len(storage._threads)) == (1, 0)
    storage.save([])
    assert (len(storage._paths), len(storage._threads)) == (0, 1)
    storage.reserve(DATA.shape)
    assert (len(storage._paths), len(storage._threads)) == (1, 1)
    storage.save([])
    assert (len(storage._paths), len(storage._threads)) == (0, 2)
    disk.release()
    wait_saved(storage)
    assert (len(storage._paths), len(storage._threads)) == (0, 0)
    assert seen[0] == (True, 1, 0)
    assert seen[-1] == (False, 0, 0)
    assert [state for state in seen if state[0] != (state[1] + state[2] > 0)] == []


def test_the_views_of_the_panel_are_read_only(storage: Any) -> None:
    """A storage cannot be controlled through them."""
    for name in ("_paths", "_threads"):
        with pytest.raises(AttributeError):
            setattr(storage, name, [])


def test_frame_written_counts_up_to_the_total_and_is_not_told_for_every_frame(storage: Any) -> None:
    """It gives done and total, at most about 20 times a second. The last one is always emitted."""
    frames = 3000
    log = listen_to(storage)
    storage.reserve((frames, 2))
    begin = time.monotonic()
    for i in range(frames):
        storage.update({(i,): np.zeros(2)})
        if i % 100 == 0:
            process_events()
    assert storage.waitForSaved()
    process_events()
    seconds = time.monotonic() - begin
    told = log.args("frameWritten")
    assert {total for _, total in told} == {frames}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (frames, frames)
    assert len(told) <= 20 * seconds + 3


# -- waiting and closing -----------------------------------------------------------------------------------------------


def test_wait_for_saved_tells_inside_that_it_is_over(storage: Any, folder: Path) -> None:
    """It returns True. `saving` is False and savingStateChanged(False) has been emitted by then."""
    log = listen_to(storage)
    complete(storage)
    assert storage.waitForSaved(DEADLINE_S) is True
    assert storage.saving is False
    assert log.args("savingStateChanged").count((False,)) == 1
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
    process_events()
    assert log.args("savingStateChanged").count((False,)) == 1, "and not once more through the event loop"


def test_wait_for_saved_gives_up_at_its_timeout(storage: Any, disk: Any) -> None:
    """It returns False while `saving` is True. A later call can wait again."""
    disk.hold()
    complete(storage)
    assert storage.waitForSaved(0.05) is False
    assert storage.saving is True
    disk.release()
    assert storage.waitForSaved() is True


def test_wait_for_saved_with_nothing_to_wait_for_returns_at_once(storage: Any) -> None:
    """It returns True."""
    assert storage.waitForSaved() is True


def test_close_waits_for_what_is_being_saved_and_twice_is_harmless(storage: Any, folder: Path) -> None:
    """savingStateChanged(False) is emitted during close()."""
    log = listen_to(storage)
    complete(storage)
    storage.close()
    assert (storage.saving, log.args("savingStateChanged").count((False,))) == (False, 1)
    storage.close()
    assert_same_array(load_export(folder / "data_0.npz").data, DATA)


def test_close_loses_no_frame_of_a_scan_that_is_not_complete(storage: Any, folder: Path) -> None:
    """The scan is exported, or stays in progress on disk."""
    storage.reserve(DATA.shape)
    storage.update({(1,): DATA[1]})
    storage.close()
    assert storage.saving is False
    if not (folder / "data_0.npz").exists():
        lys_storage.recover(folder)
    assert_same_array(load_export(folder / "data_0.npz").data[1], DATA[1])


def test_many_scans_in_a_row_are_all_saved_in_their_order(storage: Any, folder: Path, disk: Any) -> None:
    """On a slow disk they wait in a queue, and keep their names, tags and frames."""
    log = listen_to(storage)
    storage.tagRequest.connect(lambda tag: tag.update(number=len(log.args("tagRequest"))))
    disk.hold()
    for k in range(5):
        complete(storage, DATA + k)
    disk.release()
    assert storage.waitForSaved()
    for k in range(5):
        export = load_export(folder / f"data_{k}.npz")
        assert_same_array(export.data, DATA + k)
        assert export.note == {"Notes": None, "number": k + 1}
    assert log.args("saved") == [(str(folder / f"data_{k}.npz"),) for k in range(5)]
    assert log.args("savingStateChanged")[-1] == (False,)


# -- without numbers ---------------------------------------------------------------------------------------------------


def test_an_older_file_stays_until_the_new_one_is_durable_and_is_then_replaced(
    make_storage: Any, folder: Path, disk: Any
) -> None:
    """With `numbered = False` the file is <name>.npz."""
    storage = make_storage(numbered=False)
    complete(storage, DATA)
    assert storage.waitForSaved()
    disk.hold()
    complete(storage, DATA + 1)
    assert disk.waited.wait(DEADLINE_S)
    assert_same_array(load_export(folder / "data.npz").data, DATA)
    disk.release()
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data.npz").data, DATA + 1)
    assert files(folder) == {"data.npz"}


def test_two_scans_of_one_unnumbered_name_follow_each_other(make_storage: Any, folder: Path) -> None:
    """Two storages run at the same time: neither file is corrupt, and the one that is saved last stays."""
    one, other = make_storage(numbered=False), make_storage(numbered=False)
    one.reserve(DATA.shape)
    one.update({(0,): DATA[0]})
    other.reserve(DATA.shape)
    other.update({(): DATA + 1})
    assert other.waitForSaved()
    assert_same_array(load_export(folder / "data.npz").data, DATA + 1)
    one.update({(1,): DATA[1]})
    assert one.waitForSaved()
    assert_same_array(load_export(folder / "data.npz").data, DATA)
    assert files(folder) == {"data.npz"}


def test_a_rerun_does_not_meet_what_a_killed_unnumbered_scan_has_left(
    make_storage: Any, tmp_path: Path, folder: Path, run_child: Any
) -> None:
    """Its scan in progress has an id in its name."""
    source = """
import os, sys
import numpy as np
from lys_storage import DataStorage
from lys_storage.qt import QtCore
app = QtCore.QCoreApplication([])
storage = DataStorage(base=sys.argv[1], numbered=False)
storage.reserve((2, 3))
storage.update({(0,): np.zeros(3)})
os._exit(0)
"""
    assert run_child(source, str(tmp_path)).code == 0
    left = files(folder)
    assert len(left) == 2
    storage = make_storage(numbered=False)
    complete(storage)
    assert storage.waitForSaved()
    assert files(folder) == left | {"data.npz"}
    assert_same_array(load_export(folder / "data.npz").data, DATA)


def test_a_number_that_lys_instr_takes_meanwhile_is_not_overwritten(storage: Any, folder: Path) -> None:
    """lys_instr's own storage ignores scans in progress. The next number is used, and this is reported."""
    log = listen_to(storage)
    storage.reserve(DATA.shape)
    (folder / "data_0.npz").write_bytes(b"somebody else's")
    storage.update({(): DATA})
    assert storage.waitForSaved()
    assert (folder / "data_0.npz").read_bytes() == b"somebody else's"
    assert_same_array(load_export(folder / "data_1.npz").data, DATA)
    assert log.args("saved") == [(str(folder / "data_1.npz"),)]


# -- when the disk fails -----------------------------------------------------------------------------------------------


def test_a_save_that_fails_is_signalled_and_keeps_the_frames(
    storage: Any, folder: Path, disk: Any, errors: Any
) -> None:
    """`failed` gives path and message, a line is logged, and the final name is free. The next scan works."""
    log = listen_to(storage)
    disk.error = errno.EIO
    complete(storage)
    wait_until(lambda: bool(log.args("failed")))
    wait_saved(storage)
    disk.error = None
    assert log.args("saved") == []
    path, message = log.args("failed")[0]
    assert "data_0.npz" in path
    assert os.strerror(errno.EIO) in message
    assert any("data_0.npz" in line for line in errors())
    assert "data_0.npz" not in files(folder)
    assert log.args("savingStateChanged")[-1] == (False,)
    complete(storage, DATA + 1)
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_1.npz").data, DATA + 1)
    storage.close()
    lys_storage.recover(folder)
    assert_same_array(load_export(folder / "data_0.npz").data, DATA)


def test_a_write_that_fails_is_an_os_error_and_the_scan_goes_on(
    storage: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the frame counts as written."""
    storage.reserve(DATA.shape)
    real = SYSTEM.pwrite

    def fail(*args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SYSTEM, "pwrite", fail)
    with pytest.raises(OSError) as caught:
        storage.update({(0,): DATA[0]})
    monkeypatch.setattr(SYSTEM, "pwrite", real)
    assert isinstance(caught.value, lys_storage.LysStorageError)
    assert caught.value.errno == errno.ENOSPC
    assert not storage.written.any()
    storage.update({(): DATA})
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_0.npz").data, DATA)
