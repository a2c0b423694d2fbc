"""The settings of a storage, and the number that it takes next."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import numbering as numbering_module
from lys_storage.qt import QtCore
from tests.helpers import files
from tests.qt.helpers import listen_to, wait_until

# -- properties --------------------------------------------------------------------------------------------------------


def test_a_new_storage_has_the_defaults_of_lys_instr(qapp: Any) -> None:
    """They are base ".", folder "folder", name "data", numbered, enabled, float64; nothing is reserved."""
    storage = lys_storage.DataStorage()
    told = {
        name: getattr(storage, name) for name in ("base", "folder", "name", "numbered", "enabled", "saving", "array")
    }
    assert told == {
        "base": ".",
        "folder": "folder",
        "name": "data",
        "numbered": True,
        "enabled": True,
        "saving": False,
        "array": None,
    }
    assert np.dtype(storage.dtype) == np.float64
    assert isinstance(storage, QtCore.QObject)
    storage.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base", "elsewhere"),
        ("folder", "Ordner µ"),
        ("name", "y_[2]/x_[1]"),
        ("numbered", False),
        ("enabled", False),
        ("dtype", "detector"),
        ("flushInterval", None),
        ("flushInterval", 2.5),
        ("incomplete", "trim"),
        ("burstBytes", 1 << 20),
        ("cachedBytes", 0),
    ],
)
def test_every_setting_is_readable_and_writable_and_a_keyword(make_storage: Any, name: str, value: Any) -> None:
    """Keyword arguments of the constructor set properties."""
    storage = make_storage()
    setattr(storage, name, value)
    assert getattr(storage, name) == value
    assert getattr(make_storage(**{name: value}), name) == value


@pytest.mark.parametrize("dtype", ["uint16", np.float32, np.dtype(">i4"), complex], ids=str)
def test_the_dtype_is_anything_that_numpy_takes_for_one(make_storage: Any, dtype: Any) -> None:
    """It is read as it was set."""
    assert np.dtype(make_storage(dtype=dtype).dtype) == np.dtype(dtype)


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"data"


TEXT = [42, 1.5, None, True, b"data", _BytesPath(), ["data"], object()]
NO_BOOL = [1, 0, 2, 1.0, "yes", "False", None, [], np.array([True])]
REFUSED = [
    *((name, value, TypeError) for name in ("base", "folder", "name") for value in TEXT),
    *((name, value, ValueError) for name in ("base", "folder", "name") for value in ("a\0b", "\ud800", Path("a\0b"))),
    *((name, value, TypeError) for name in ("numbered", "enabled") for value in NO_BOOL),
    *(("dtype", value, ValueError) for value in (42, "no dtype", object, "O", [], True)),
    *(
        ("flushInterval", value, TypeError)
        for value in ("1s", "1", True, False, np.True_, [1], b"1", 1j, np.array([1.0, 2.0]))
    ),
    *(("flushInterval", value, ValueError) for value in (-1, -0.1, math.nan, math.inf, -math.inf, 1e300, 10**400)),
    *(("incomplete", value, TypeError) for value in (42, None, True, b"fill", ["fill"], np.array(["fill"]))),
    *(("incomplete", value, ValueError) for value in ("", "cut", "Fill")),
    *((name, value, TypeError) for name in ("burstBytes", "cachedBytes") for value in ("1G", 1.5, True, [1], math.inf)),
    *((name, value, ValueError) for name in ("burstBytes", "cachedBytes") for value in (-1, np.int64(-5))),
]


@pytest.mark.parametrize(("name", "value", "kind"), REFUSED, ids=lambda value: repr(value).partition(" at 0x")[0])
def test_a_value_that_a_property_cannot_have_is_refused_when_it_is_set(
    make_storage: Any, name: str, value: Any, kind: type[Exception]
) -> None:
    """The error names the value. The property is unchanged, and the next scan is stored."""
    storage = make_storage()
    before = getattr(storage, name)
    with pytest.raises(kind) as caught:
        setattr(storage, name, value)
    assert isinstance(caught.value, TypeError | ValueError)
    assert len(str(caught.value).split()) >= 5
    assert getattr(storage, name) == before
    with pytest.raises(kind):
        make_storage(**{name: value})
    storage.reserve((2,))
    storage.update({(): np.ones(2)})
    assert storage.waitForSaved(20)
    assert storage.report is not None


@pytest.mark.parametrize(
    ("name", "value", "reads"),
    [
        ("name", Path("a/b"), str(Path("a/b"))),
        ("folder", Path("run 1"), "run 1"),
        ("name", np.str_("scan"), "scan"),
        ("numbered", np.False_, False),
        ("flushInterval", np.float32(0.5), 0.5),
        ("flushInterval", 2, 2.0),
        ("flushInterval", None, None),
        ("flushInterval", 0, 0.0),
        ("dtype", None, np.dtype(float)),
        ("burstBytes", np.int64(4096), 4096),
    ],
    ids=repr,
)
def test_what_means_the_same_is_taken(make_storage: Any, folder: Path, name: str, value: Any, reads: Any) -> None:
    storage = make_storage(**{name: value})
    assert getattr(storage, name) == reads
    assert type(getattr(storage, name)) is type(reads)
    storage.reserve((2,))
    storage.update({(): np.ones(2)})
    assert storage.waitForSaved(20)
    assert storage.report is not None


@pytest.mark.parametrize("name", ["", "a/", "x" * 300])
def test_a_name_that_makes_no_file_is_refused_when_a_scan_is_reserved(
    storage: Any, tmp_path: Path, bare_detector: Any, name: str
) -> None:
    """lys_instr's panel sets the name at each key press: an empty field must not raise in its slot."""
    storage.connect(bare_detector)
    log = listen_to(storage)
    storage.name = name
    storage.getNumber()
    with pytest.raises((ValueError, lys_storage.StorageOSError), match="name"):
        storage.reserve((3, 4))
    bare_detector.busyStateChanged.emit(True)
    bare_detector.busyStateChanged.emit(False)
    ((_, message),) = log.args("failed")
    assert "name" in message
    assert (storage.saving, files(tmp_path)) == (False, set())
    storage.enabled = False
    storage.reserve((3, 4))
    storage.enabled, storage.name = True, "data"
    storage.reserve((3, 4))
    assert storage._paths == [str(tmp_path / "folder/data_0.npz")]


@pytest.mark.parametrize("folder_name", ["x" * 300, "file/below"])
def test_a_folder_that_the_disk_does_not_take_is_refused_in_words(
    storage: Any, tmp_path: Path, bare_detector: Any, folder_name: str
) -> None:
    """It is refused by reserve. The search for interrupted scans finds none there, and raises nothing."""
    (tmp_path / "file").touch()
    storage.connect(bare_detector)
    log = listen_to(storage)
    storage.folder = folder_name
    wait_until(lambda: not storage._interrupted_search.pending)
    assert storage.getNumber() == 0
    bare_detector.busyStateChanged.emit(True)
    bare_detector.busyStateChanged.emit(False)
    assert len(log.args("failed")) == 1
    storage.folder = "folder"
    bare_detector.busyStateChanged.emit(True)
    bare_detector.dataAcquired.emit({(): np.ones((3, 4))})
    assert storage.waitForSaved(20)
    assert files(tmp_path) == {"file", "folder/data_0.npz"}


def test_an_object_dtype_is_refused_before_anything_is_reserved(make_storage: Any, tmp_path: Path) -> None:
    """Objects have no bytes of a known size. It is refused when it is set or reserved."""
    with pytest.raises((TypeError, ValueError)):
        make_storage(dtype=object).reserve((2, 2))
    assert files(tmp_path) == set()


def test_a_keyword_that_is_no_property_is_refused(make_storage: Any) -> None:
    """A misspelt name must not be a setting without effect."""
    with pytest.raises((TypeError, AttributeError)):
        make_storage(nmae="data")


def test_a_pathlib_path_will_do_for_the_base(make_storage: Any, tmp_path: Path, folder: Path) -> None:
    """Scripts use Path for folders."""
    storage = make_storage(base=tmp_path)
    storage.reserve((2,))
    storage.update({(): np.ones(2)})
    assert storage.waitForSaved()
    assert files(tmp_path) == {"folder/data_0.npz"}


# -- getNumber ---------------------------------------------------------------------------------------------------------


def test_the_number_is_0_in_a_folder_that_does_not_exist_and_is_not_made(storage: Any, tmp_path: Path) -> None:
    """getNumber changes nothing on disk."""
    log = listen_to(storage)
    assert storage.getNumber() == 0
    assert list(tmp_path.iterdir()) == []
    assert log == []


def test_the_number_is_the_smallest_without_an_export(storage: Any, folder: Path) -> None:
    """Gaps are filled. Files with other names, or with text that only looks like a number, are ignored."""
    folder.mkdir()
    for name in ("data_0.npz", "data_1.npz", "data_3.npz", "data_02.npz", "data_2.npz.txt", "data.npz", "other_2.npz"):
        (folder / name).touch()
    assert storage.getNumber() == 2


def test_without_numbering_there_is_no_number(make_storage: Any) -> None:
    """It is None, and the file is <name>.npz."""
    assert make_storage(numbered=False).getNumber() is None


def test_a_reserved_number_is_taken_and_gaps_are_filled(storage: Any, folder: Path) -> None:
    """If 0 and 2 exist the scan takes 1, and the next one would take 3."""
    folder.mkdir()
    (folder / "data_0.npz").touch()
    (folder / "data_2.npz").touch()
    assert storage.getNumber() == 1
    storage.reserve((2, 2))
    assert storage.getNumber() == 3


def test_a_number_reserved_by_another_storage_is_taken(make_storage: Any) -> None:
    """Both storages are in one process."""
    one, other = make_storage(), make_storage()
    one.reserve((2, 2))
    assert other.getNumber() == 1


def test_a_scan_in_progress_of_another_process_is_taken(storage: Any, folder: Path, run_child: Any) -> None:
    """The scan in progress of a killed process keeps its number."""
    child = run_child(
        "import lys_storage, os, sys; scan = lys_storage.create(sys.argv[1], (2, 2)); scan[0] = [1, 2]; os._exit(0)",
        str(folder / "data_0.npz"),
    )
    assert child.code == 0, child.err
    assert storage.getNumber() == 1


def test_each_name_and_each_folder_has_its_own_numbers(storage: Any, tmp_path: Path) -> None:
    """Numbers belong to <base>/<folder>/<name>."""
    storage.reserve((2, 2))
    storage.name = "other"
    assert storage.getNumber() == 0
    storage.name, storage.folder = "data", "other"
    assert storage.getNumber() == 0
    storage.folder, storage.base = "folder", str(tmp_path / "other")
    assert storage.getNumber() == 0


def test_the_number_can_be_asked_while_a_file_is_being_saved(storage: Any, disk: Any) -> None:
    """lys_instr's storage raises then, and the next scan is lost."""
    disk.hold()
    storage.reserve((2, 2))
    storage.save([])
    assert storage.getNumber() == 1
    disk.release()


def test_asking_costs_no_look_for_each_number_and_few_scans_of_the_folder(
    storage: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 numbers are read in a folder of 2,000 exports, and in an empty one. No directory scan is due meanwhile."""
    folder.mkdir()
    for number in range(2000):
        (folder / f"data_{number}.npz").touch()
    calls: Counter[str] = Counter()

    def counted(name: str, real: Any) -> Any:
        return lambda *args: (calls.update([name]), real(*args))[1]

    monkeypatch.setattr(numbering_module, "_SCAN_INTERVAL_RATIO", 1e9)
    for module, name in [(os, "scandir"), (os, "listdir"), (os.path, "lexists")]:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))

    def costs() -> tuple[set[int], Counter[str]]:
        calls.clear()
        return {storage.getNumber() for _ in range(1000)}, calls.copy()

    assert costs() == ({2000}, {"scandir": 1, "lexists": 2000})
    folder.with_name("empty").mkdir()
    storage.folder = "empty"
    assert costs() == ({0}, {"scandir": 1, "lexists": 2000})


def test_a_name_of_which_a_sidecar_is_too_long_is_refused_when_a_scan_is_reserved(storage: Any, folder: Path) -> None:
    """Otherwise it would fail at the first frame. The message gives the longest possible length."""
    storage.name = "x" * 239
    with pytest.raises(lys_storage.StorageOSError, match=r"can be 238 here \(227 before '_999999.npz'\)"):
        storage.reserve((2, 2))
    assert not storage.saving
    assert not folder.exists()


def test_a_tag_that_open_wave_cannot_read_is_warned_of_by_its_key(
    storage: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning comes at reserve, and at the save for later values."""
    tags: list[dict[str, Any]] = []
    storage.tagRequest.connect(lambda tag: (tag.update(where=folder), tags.append(tag)))
    storage.reserve((2, 2))
    assert "note 'where' is not plain data" in caplog.text
    tags[0]["late"] = {folder}
    storage.save()
    assert storage.waitForSaved()
    assert "note 'where', 'late' is not plain data" in caplog.text
