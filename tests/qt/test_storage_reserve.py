"""`reserve`: the name, the tag, the space, the fill value; its signals and errors."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.disk import folder as folder_module
from lys_storage.disk import preallocation as preallocation_module
from tests.helpers import assert_same_array, files, load_export
from tests.qt.detector import DEADLINE_S, in_another_thread
from tests.qt.helpers import listen_to, wait_until

NAN = np.nan


def save_and_load(storage: Any, path: Path, axes: Any = ()) -> Any:
    storage.save(list(axes))
    assert storage.waitForSaved()
    return load_export(path)


# -- its signals -------------------------------------------------------------------------------------------------------


def test_reserving_asks_for_the_tag_then_tells_number_and_state(storage: Any, folder: Path) -> None:
    """tagRequest({"Notes": None}), numberChanged and savingStateChanged(True) are emitted in the caller's thread."""
    log = listen_to(storage)
    storage.reserve((2, 2))
    assert sorted(log.names()[1:]) == ["numberChanged", "savingStateChanged"]
    assert log.names()[0] == "tagRequest"
    assert log.args("tagRequest") == [({"Notes": None},)]
    assert log.args("savingStateChanged") == [(True,)]
    assert {emission.thread for emission in log} == {threading.get_ident()}
    assert storage.saving is True


def test_a_listener_of_the_number_sees_the_next_one(storage: Any) -> None:
    """numberChanged is emitted after the number is claimed."""
    numbers: list[int] = []
    storage.numberChanged.connect(lambda: numbers.append(storage.getNumber()))
    storage.reserve((2, 2))
    assert numbers == [1]


def test_what_listeners_put_into_the_tag_is_the_note(storage: Any, folder: Path) -> None:
    """Several listeners fill the same dict."""
    storage.tagRequest.connect(lambda tag: tag.update(motor=1.5))
    storage.tagRequest.connect(lambda tag: tag.update(Notes="größe", list=[1, None]))
    storage.reserve((2,))
    assert save_and_load(storage, folder / "data_0.npz").note == {"Notes": "größe", "motor": 1.5, "list": [1, None]}


def test_each_scan_gets_a_fresh_tag(storage: Any, folder: Path) -> None:
    """The tag of one scan is not used for the next."""
    tags: list[dict[str, Any]] = []
    storage.tagRequest.connect(lambda tag: (tags.append(tag), tag.update(number=len(tags))))
    for number in range(2):
        storage.reserve((2,))
        export = save_and_load(storage, folder / f"data_{number}.npz")
        assert export.note == {"Notes": None, "number": number + 1}
    assert tags[0] is not tags[1]


def test_a_listener_in_another_thread_may_fill_the_tag_late(storage: Any, folder: Path) -> None:
    """The content at the time of the save is stored."""
    tags: list[dict[str, Any]] = []
    storage.tagRequest.connect(tags.append)
    storage.reserve((2,))
    in_another_thread(tags[0].update, {"late": 1})
    assert save_and_load(storage, folder / "data_0.npz").note == {"Notes": None, "late": 1}


def test_a_tag_value_that_cannot_be_pickled_is_replaced_and_said_at_reserve_time(
    storage: Any, folder: Path, errors: Any
) -> None:
    """It becomes its repr, and a warning is logged at once, not after the scan."""
    lock = threading.Lock()
    storage.tagRequest.connect(lambda tag: tag.update(lock=lock, motor=1))
    storage.reserve((2,))
    assert any("lock" in message for message in errors())
    note = save_and_load(storage, folder / "data_0.npz").note
    assert {**note, "lock": ""} == {"Notes": None, "motor": 1, "lock": ""}
    assert isinstance(note["lock"], str)
    assert "lock" in note["lock"]


def test_what_of_a_tag_could_not_be_read_again_is_replaced(storage: Any, folder: Path, errors: Any) -> None:
    key = (0,) * 1100
    storage.tagRequest.connect(lambda tag: tag.update({"me": tag, "motor": 1, key: 2}))
    storage.reserve((2,))
    assert any("'me'" in message for message in errors())
    note = save_and_load(storage, folder / "data_0.npz").note
    assert note.pop("me").startswith("{'Notes': None, 'me': {...}")
    assert note == {"Notes": None, "motor": 1, repr(key): 2}


def test_a_late_tag_value_that_cannot_be_pickled_costs_no_data(storage: Any, folder: Path) -> None:
    """Bad metadata never cost data."""
    tags: list[dict[str, Any]] = []
    storage.tagRequest.connect(tags.append)
    storage.reserve((2,))
    tags[0]["late"] = lambda: None
    storage.update({(): np.array([1.0, 2.0])})
    assert storage.waitForSaved()
    export = load_export(folder / "data_0.npz")
    assert_same_array(export.data, [1.0, 2.0])
    assert (export.note["Notes"], type(export.note["late"])) == (None, str)


def test_a_listener_of_the_tag_that_raises_does_not_lose_the_scan(storage: Any, folder: Path, qtbot: Any) -> None:
    """An exception of foreign code does not stop the storage."""

    def fail(tag: Any) -> None:
        raise RuntimeError("from a listener")

    storage.tagRequest.connect(fail)
    storage.tagRequest.connect(lambda tag: tag.update(after=1))
    with qtbot.capture_exceptions() as raised:
        storage.reserve((2,))
    assert [kind for kind, *_ in raised] == [RuntimeError]
    assert save_and_load(storage, folder / "data_0.npz").note == {"Notes": None, "after": 1}


# -- the name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["data", "y_[2]/x_[1]", "a.b.c", "温度 20 °C", "name.npz", "data_7", "a/b/c", "[1] (2) {3}", "100%"],
)
@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "not numbered"])
def test_the_file_is_base_folder_name_number(make_storage: Any, folder: Path, name: str, numbered: bool) -> None:
    """It is <base>/<folder>/<name>_<n>.npz or <name>.npz, for any name. Two scans have n = 0 and 1."""
    storage = make_storage(name=name, numbered=numbered)
    for _ in range(2):
        storage.reserve((2,))
        storage.save([])
        assert storage.waitForSaved()
    assert files(folder) == ({f"{name}_0.npz", f"{name}_1.npz"} if numbered else {f"{name}.npz"})


def test_path_tag_and_number_are_fixed_by_reserve(storage: Any, tmp_path: Path) -> None:
    """A later change of base, folder, name or numbered is used for the next scan."""
    storage.reserve((2,))
    storage.name, storage.folder, storage.numbered = "other", "elsewhere", False
    storage.base = str(tmp_path / "base")
    storage.save([])
    assert storage.waitForSaved()
    assert files(tmp_path) == {"folder/data_0.npz"}
    storage.reserve((2,))
    storage.save([])
    assert storage.waitForSaved()
    assert files(tmp_path) == {"folder/data_0.npz", "base/elsewhere/other.npz"}


def test_two_processes_never_get_the_same_path(storage: Any, tmp_path: Path, run_child: Any) -> None:
    """The other process reserves the number that getNumber has returned here."""
    assert storage.getNumber() == 0
    source = """
import sys
from lys_storage import DataStorage
from lys_storage.qt import QtCore
app = QtCore.QCoreApplication([])
storage = DataStorage(base=sys.argv[1])
storage.reserve((2,))
storage.save([])
assert storage.waitForSaved(30)
storage.close()
"""
    assert run_child(source, str(tmp_path)).code == 0
    storage.reserve((2,))
    storage.save([])
    assert storage.waitForSaved()
    assert files(tmp_path) == {"folder/data_0.npz", "folder/data_1.npz"}


# -- the fill value ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "fill", "expected"),
    [
        pytest.param("float64", None, NAN, id="floating: NaN"),
        pytest.param("float32", None, NAN, id="float32: NaN"),
        pytest.param("complex64", None, complex(NAN, 0), id="complex: NaN"),
        pytest.param("uint16", None, 0, id="integer: 0"),
        pytest.param("bool", None, False, id="bool: False"),
        pytest.param("float64", 5, 5.0, id="an integer in a float dtype"),
        pytest.param("uint16", 65535, 65535, id="the largest"),
        pytest.param("int8", -1, -1, id="negative"),
        pytest.param("uint16", 7.0, 7, id="a float that is whole"),
    ],
)
def test_frames_that_never_came_hold_the_fill(
    make_storage: Any, folder: Path, dtype: Any, fill: Any, expected: Any
) -> None:
    """Written frames are unchanged."""
    storage = make_storage(dtype=dtype)
    storage.reserve((3, 2), fillValue=fill)
    storage.update({(1,): np.ones(2, dtype)})
    data = save_and_load(storage, folder / "data_0.npz").data
    whole = np.full((3, 2), expected, dtype)
    whole[1] = 1
    if np.dtype(dtype).kind == "c":  # of NaN the real part is compared
        assert np.isnan(data[[0, 2]]).all()
        data[[0, 2]] = whole[[0, 2]]
    assert_same_array(data, whole)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        pytest.param("int32", NAN, id="NaN in an integer"),
        pytest.param("uint8", 256, id="too large"),
        pytest.param("uint8", -1, id="negative in unsigned"),
        pytest.param("int16", 0.5, id="a fraction in an integer"),
        pytest.param("float64", 1j, id="complex in a real dtype"),
        pytest.param("float64", "x", id="text"),
        pytest.param("float64", [1.0, 2.0], id="two values"),
    ],
)
def test_a_fill_that_the_dtype_cannot_hold_is_refused(make_storage: Any, tmp_path: Path, dtype: str, fill: Any) -> None:
    """A ValueError of lys_storage is raised, and no file is left. The next reserve succeeds."""
    storage = make_storage(dtype=dtype)
    with pytest.raises(ValueError) as caught:
        storage.reserve((2,), fillValue=fill)
    assert isinstance(caught.value, lys_storage.LysStorageError)
    assert files(tmp_path) == set()
    assert storage.saving is False
    storage.reserve((2,))
    assert storage.saving is True


def test_the_dtype_of_a_reserve_counts_more_than_the_storages(make_storage: Any, folder: Path) -> None:
    """The dtype is given by reserve(shape, fillValue, dtype)."""
    storage = make_storage(dtype="float32")
    storage.reserve((2,), 3, "int16")
    assert storage.array.dtype == np.int16
    assert_same_array(save_and_load(storage, folder / "data_0.npz").data, np.array([3, 3], "int16"))
    storage.reserve((2,))
    assert storage.array.dtype == np.float32


# -- the space ---------------------------------------------------------------------------------------------------------


def test_too_little_space_is_told_before_the_scan_with_nothing_left_behind(storage: Any, tmp_path: Path) -> None:
    """An OSError (ENOSPC) names the needed and the free space. The number stays free."""
    log = listen_to(storage)
    needed = 8 * 10**15
    with pytest.raises(OSError) as caught:
        storage.reserve((10**4, 10**4, 10**4, 10**3))
    assert caught.value.errno == errno.ENOSPC
    assert isinstance(caught.value, lys_storage.LysStorageError)
    digits = str(caught.value).replace(",", "").replace("_", "")
    assert str(needed)[:3] in digits or f"{needed / 2**40:.0f}" in digits or f"{needed / 1e12:.0f}" in digits
    assert "free" in str(caught.value)
    assert files(tmp_path) == set()
    assert storage.saving is False
    assert storage.getNumber() == 0
    assert (True,) not in log.args("savingStateChanged")


@pytest.mark.parametrize(
    "shape", [(2, -1), (0,), (2.5,), "ab", 65 * (1,)], ids=["-1", "0", "2.5", "ab", "65 dimensions"]
)
def test_a_shape_that_no_scan_can_have_is_refused(storage: Any, tmp_path: Path, shape: Any) -> None:
    """An error of lys_storage is raised, and no file is left."""
    with pytest.raises(lys_storage.LysStorageError):
        storage.reserve(shape)
    assert files(tmp_path) == set()
    assert storage.saving is False


@pytest.mark.parametrize("base", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_made_is_an_os_error(make_storage: Any, tmp_path: Path, base: str) -> None:
    """The error names the path. The storage can reserve again."""
    (tmp_path / "a file").touch()
    storage = make_storage(base=str(tmp_path / base))
    with pytest.raises(OSError, match="a file"):
        storage.reserve((2,))
    assert storage.saving is False
    storage.base = str(tmp_path)
    storage.reserve((2,))
    assert storage.saving is True


def test_20_gigabytes_are_reserved_while_their_space_is_still_being_claimed(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a part that takes 40 ms is preallocated at once. Here a step takes 30 ms, and the disk has enough space."""
    now, claimed, go_on = 0.0, [], threading.Event()

    def claim(file: File, *args: Any, **more: Any) -> bool:
        nonlocal now
        if file.path.name.endswith(".part"):
            in_main = threading.current_thread() is threading.main_thread()
            assert in_main or go_on.wait(DEADLINE_S)
            now += 0.03
            claimed.append(in_main)
        return True

    monkeypatch.setattr(preallocation_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(folder_module, "free_space", lambda folder: 50 * 10**9)
    monkeypatch.setattr(File, "preallocate", claim)
    storage.reserve((100, 100, 500, 500), fillValue=0)
    assert claimed == [True, True]
    go_on.set()
    wait_until(lambda: sum(claimed) == 2 and len(claimed) > 70)
    storage.close()


# -- an earlier scan ---------------------------------------------------------------------------------------------------


def test_an_earlier_scan_with_frames_is_finalized_first_under_its_own_name_and_tag(storage: Any, folder: Path) -> None:
    """lys_instr's storage loses it, and mixes up the names."""
    names = iter(["first", "second"])
    storage.tagRequest.connect(lambda tag: tag.update(scan=next(names)))
    storage.name = "first"
    storage.reserve((2, 2), fillValue=-1)
    storage.update({(0,): np.array([1.0, 2.0])})
    storage.name = "second"
    storage.reserve((2, 2), fillValue=-2)
    storage.update({(1,): np.array([3.0, 4.0])})
    second = save_and_load(storage, folder / "second_0.npz")
    first = load_export(folder / "first_0.npz")
    assert_same_array(first.data, [[1.0, 2.0], [-1.0, -1.0]])
    assert_same_array(second.data, [[-2.0, -2.0], [3.0, 4.0]])
    assert (first.note["scan"], second.note["scan"]) == ("first", "second")
    assert files(folder) == {"first_0.npz", "second_0.npz"}


def test_an_earlier_scan_without_a_frame_does_not_stay_reserved(storage: Any) -> None:
    """A storage has at most one scan in progress."""
    storage.reserve((2, 2))
    storage.reserve((2, 2))
    assert len(storage._paths) == 1


# -- disabled ----------------------------------------------------------------------------------------------------------


def test_a_disabled_storage_reserves_nothing_and_tells_its_state_all_the_same(
    make_storage: Any, tmp_path: Path
) -> None:
    """There is no file, no folder and no tagRequest. savingStateChanged(False) is emitted."""
    storage = make_storage(enabled=False)
    log = listen_to(storage)
    storage.reserve((2, 2))
    assert [(emission.name, emission.args) for emission in log] == [("savingStateChanged", (False,))]
    assert list(tmp_path.iterdir()) == []
    assert storage.array is None
    assert storage.saving is False


def test_enabled_counts_at_reserve(storage: Any, folder: Path) -> None:
    """A running scan is kept if the storage is disabled."""
    storage.reserve((2, 2))
    storage.update({(0,): np.zeros(2)})
    storage.enabled = False
    storage.update({(1,): np.ones(2)})
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_0.npz").data, [[0.0, 0.0], [1.0, 1.0]])
