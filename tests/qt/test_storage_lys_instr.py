"""The storage in place of lys_instr's own: its panel, its scan, and the checks of its test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage.qt import QtCore
from tests.helpers import assert_same_array, files, load_export
from tests.qt.detector import process_events
from tests.qt.helpers import listen_to, wait_saved, wait_until


class Panel(QtCore.QObject):
    """What lys_instr's panel does to a storage: it holds its own texts, and sets them repeatedly."""

    def __init__(
        self, storage: Any, base: str, folder: str = "folder", name: str = "data", numbered: bool = True
    ) -> None:
        super().__init__()
        self._storage = storage
        self.base, self.folder, self.name, self.numbered, self.enabled = base, folder, name, numbered, True
        self.number: int | None = None
        self.status = ""
        self._setting = False
        storage.savingStateChanged.connect(self._show)
        storage.numberChanged.connect(self.set_path)
        self.set_path()

    def set_path(self) -> None:
        if self._setting:
            return
        self._setting = True
        for setting in ("base", "folder", "name", "numbered", "enabled"):
            setattr(self._storage, setting, getattr(self, setting))
        self.number = self._storage.getNumber()
        self._setting = False

    def _show(self, saving: bool) -> None:
        reserved, being_saved = len(self._storage._paths), len(self._storage._threads)
        self.status = f"{reserved} reserved, {being_saved} being saved" if saving else "waiting"


def test_what_is_saved_is_what_the_array_held_before_the_save(storage: Any, folder: Path) -> None:
    """`_arr`, with one of four frames, holds the fill value before the save, and equals the file."""
    assert storage._arr is None
    number = storage.getNumber()
    storage.reserve((2, 2, 2, 2), fillValue=5)
    assert storage.getNumber() == number + 1
    storage.update({(0, 0): np.ones((2, 2))})
    array = storage._arr
    storage.save([np.arange(2)] * 4)
    assert storage.saving is True
    wait_saved(storage)
    expected = np.full((2, 2, 2, 2), 5.0)
    expected[0, 0] = 1
    with np.load(folder / f"data_{number}.npz", allow_pickle=True) as members:
        assert members.files[0] == "data"
        assert_same_array(members[members.files[0]], expected)
    assert_same_array(array, expected)
    assert storage._arr is None


def test_disabled_no_array_is_reserved(make_storage: Any) -> None:
    """`_arr` stays None."""
    storage = make_storage(enabled=False)
    storage.reserve((2, 2))
    assert storage._arr is None


def test_the_panel_shows_the_next_number_and_the_state(
    storage: Any, tmp_path: Path, make_detector: Any, disk: Any
) -> None:
    """The panel calls getNumber in the slot of numberChanged, and counts `_paths` and `_threads`."""
    panel = Panel(storage, str(tmp_path))
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    assert (panel.number, panel.status) == (0, "")
    disk.hold()
    detector.startAcq()
    assert (panel.number, panel.status) == (1, "1 reserved, 0 being saved")
    detector.step(2)
    process_events()
    assert panel.status == "0 reserved, 1 being saved"
    disk.release()
    wait_until(lambda: panel.status == "waiting")
    assert files(tmp_path) == {"folder/data_0.npz"}


def test_a_panel_that_is_open_cannot_steer_a_scan_over_an_older_file(
    storage: Any, tmp_path: Path, make_detector: Any
) -> None:
    """The panel sets the name to its own text in the slot of numberChanged. The path is already fixed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "data.npz").write_bytes(b"older")
    Panel(storage, str(tmp_path), numbered=False).setParent(storage)
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    storage.name = "step"
    detector.run_all()
    wait_saved(storage)
    assert files(folder) == {"data.npz", "step.npz"}
    assert (folder / "data.npz").read_bytes() == b"older"


@pytest.mark.parametrize("with_panel", [False, True], ids=["alone", "with the panel open"])
def test_each_step_of_a_scan_is_a_file_of_its_own_name(
    storage: Any, tmp_path: Path, make_detector: Any, with_panel: bool
) -> None:
    """lys_instr's scan switches numbering off, sets `name` before every step, and starts the next step at busy False.

    Names are nested: "y_[2]/x_[1]". A second scan replaces the files of the first.
    """
    detector = make_detector((2,), (3,))
    storage.connect(detector)
    if with_panel:
        Panel(storage, str(tmp_path), name="text").setParent(storage)
    log = listen_to(storage)
    steps: list[tuple[int, int]] = []
    passes = [0]

    def step() -> None:
        if not steps:
            return
        y, x = steps.pop(0)
        storage.name = f"y_[{y}]/x_[{x}]"
        detector.data = np.full((2, 3), 100.0 * passes[0] + 10 * y + x)
        detector.startAcq()

    detector.busyStateChanged.connect(lambda busy: None if busy else step())
    for k in range(2):
        passes[0] = k
        steps[:] = [(y, x) for y in range(2) for x in range(3)]
        storage.numbered = False
        step()
        wait_until(lambda: not steps and not detector.isBusy)
        process_events()
        wait_saved(storage)
        assert files(tmp_path) == {f"folder/y_[{y}]/x_[{x}].npz" for y in range(2) for x in range(3)}
        for y in range(2):
            for x in range(3):
                data = load_export(tmp_path / f"folder/y_[{y}]/x_[{x}].npz").data
                assert_same_array(data, np.full((2, 3), 100.0 * k + 10 * y + x))
        storage.numbered = True
    assert len(log.args("saved")) == 12
    assert log.args("failed") == []


def test_a_scan_without_a_number_changes_no_number(make_storage: Any) -> None:
    """Otherwise lys_instr's panel would set its own "numbered", and the later steps of the scan would get numbers."""
    storage = make_storage(numbered=False)
    log = listen_to(storage)
    storage.reserve((2,))
    storage.save([])
    assert storage.waitForSaved()
    assert log.args("numberChanged") == []


def test_frames_after_a_stop_and_a_new_start_are_the_new_scans(storage: Any, folder: Path, make_detector: Any) -> None:
    """A run is stopped, the name changes, and a new run starts at once: no file gets the name or tag of another one."""
    detector = make_detector((3,), (2,), by_hand=True)
    storage.connect(detector)
    storage.tagRequest.connect(lambda tag: tag.update(name=storage.name))
    for k in range(4):
        storage.name = f"run{k}"
        detector.startAcq()
        detector.step(k)
        if k < 3:
            detector.stop()
    process_events()
    wait_saved(storage)
    for k in range(4):
        export = load_export(folder / f"run{k}_0.npz")
        expected = detector.data.copy()
        expected[k:] = np.nan
        assert_same_array(export.data, expected)
        assert export.note == {"Notes": None, "name": f"run{k}"}


def test_a_failed_folder_shifts_nothing(storage: Any, tmp_path: Path, make_detector: Any) -> None:
    """The run that could not be stored is missing. The others have their own names and tags."""
    (tmp_path / "a file").touch()
    detector = make_detector((2,), (3,), by_hand=True)
    storage.connect(detector)
    storage.tagRequest.connect(lambda tag: tag.update(name=storage.name))
    for k, base in enumerate((tmp_path, tmp_path / "a file", tmp_path)):
        storage.base, storage.name = str(base), f"run{k}"
        detector.run_all()
        wait_saved(storage)
    assert files(tmp_path) == {"a file", "folder/run0_0.npz", "folder/run2_0.npz"}
    for k in (0, 2):
        assert load_export(tmp_path / f"folder/run{k}_0.npz").note == {"Notes": None, "name": f"run{k}"}
