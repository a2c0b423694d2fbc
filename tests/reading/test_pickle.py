"""A pickle or a copy of a `StoredWave` holds its path. Loading it opens the same file, or raises an error."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ScanClosedError, StorageOSError, StoredWave
from tests.helpers import assert_same_array, some, write_anew
from tests.reading.exports import npy, with_members
from tests.systems import not_under_wine

DATA = some((4, 5, 2, 3), "i4")


def through_a_pickle(wave: StoredWave) -> StoredWave:
    loaded = pickle.loads(pickle.dumps(wave))
    assert isinstance(loaded, StoredWave)
    return loaded


COPIES = pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, through_a_pickle])


@COPIES
def test_a_copy_reads_the_same_file_through_its_own_descriptor(
    export: Path, duplicate: Callable[[StoredWave], StoredWave]
) -> None:
    with lys_storage.open_wave(export) as wave, duplicate(wave) as other:
        wave.close()
        assert_same_array(other[...], DATA)
        assert_same_array(other.axes[0], np.array([1.5, 2, 3, 4]))
        assert (other.path, other.note, other.info["frames_written"]) == (export, {"a": [1]}, 1)


def test_a_pickle_is_small_whatever_the_size_of_the_array(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (1000, 1000), note={"text": "x" * 10_000}) as scan:
        scan[0] = 1.0
    with lys_storage.open_wave(scan.path) as wave:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert len(pickle.dumps(wave, protocol)) < 3000


def test_another_process_in_another_folder_loads_it(
    export: Path, tmp_path: Path, run_child: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path in a pickle is absolute, also if the file was opened by a relative one."""
    monkeypatch.chdir(export.parent)
    with lys_storage.open_wave(export.name) as wave:
        monkeypatch.chdir("/")
        (tmp_path / "pickled").write_bytes(pickle.dumps(wave))
    child = run_child(
        """
import os, pickle, sys
pickled = open(sys.argv[1], "rb").read()
os.chdir("/")
with pickle.loads(pickled) as wave:
    print(wave.path, wave[3, 4].tolist())
""",
        tmp_path / "pickled",
    )
    assert (child.code, child.out) == (0, f"{export} {DATA[3, 4].tolist()}\n"), child.err


def test_a_copy_of_the_file_with_other_times_and_inode_is_the_same(export: Path, tmp_path: Path) -> None:
    """A file that was restored from a backup is read."""
    with lys_storage.open_wave(export) as wave:
        pickled = pickle.dumps(wave)
    shutil.copy(export, tmp_path / "backup")
    os.utime(tmp_path / "backup", (1, 1))
    os.replace(tmp_path / "backup", export)
    with pickle.loads(pickled) as wave:
        assert_same_array(wave[...], DATA)


@not_under_wine("the name of a removed file stays until it is closed: its bytes are written over")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_a_file_with_other_data_of_the_same_size_is_refused(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, data=np.zeros(5))
    with lys_storage.open_wave(path) as wave:
        pickled = pickle.dumps(wave)
        path.unlink()
        save(path, data=np.ones(5))
        with pytest.raises(BadFileError, match=r"a\.npz: is another file now: .* open_wave reads what is there now"):
            pickle.loads(pickled)
        with pytest.raises(BadFileError, match="is another file now"):
            copy.copy(wave)
        assert_same_array(wave[...], np.zeros(5))


def test_a_scan_of_the_same_data_is_another_file(tmp_path: Path) -> None:
    """Each scan has its own scan id: its note and its times can differ, too."""
    with lys_storage.create(tmp_path / "a.npz", (3,), "u2"):
        pass
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        pickled = pickle.dumps(wave)
    with lys_storage.create(tmp_path / "a.npz", (3,), "u2", overwrite=True):
        pass
    with pytest.raises(BadFileError, match="is another file now"):
        pickle.loads(pickled)


def test_a_file_that_is_removed_or_cut_is_an_error_that_names_it(export: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        pickled = pickle.dumps(wave)
    write_anew(export, export.read_bytes()[:-30])
    with pytest.raises(BadFileError, match=r"data\.npz"):
        pickle.loads(pickled)
    export.unlink()
    with pytest.raises(StorageOSError) as caught:
        pickle.loads(pickled)
    assert caught.value.filename == str(export)


def test_a_closed_wave_is_refused_in_words(export: Path) -> None:
    """Its copy would be open, which the owner of a closed wave does not expect."""
    wave = lys_storage.open_wave(export)
    wave.close()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ScanClosedError, match="is closed; open it again with open_wave"):
            attempt(wave)


# -- code in a file ----------------------------------------------------------------------------------------------------


class Ran:
    """Its pickle appends to calls."""

    def __reduce__(self) -> Any:
        return ran, ("x",)


calls: list[str] = []


def ran(what: str) -> float:
    calls.append(what)
    return 1.0


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_objects_of_the_file_are_unpickled_only_if_it_was_opened_so(
    tmp_path: Path, export: Path, allow_pickle: bool
) -> None:
    note = np.array(None, object)
    note[()] = {"a": Ran()}
    path = with_members(tmp_path / "a.npz", {"note.npy": npy(note)}, export)
    calls.clear()
    with lys_storage.open_wave(path, allow_pickle=allow_pickle) as wave, through_a_pickle(wave) as other:
        assert calls == (["x", "x"] if allow_pickle else [])
        assert other.note == wave.note


def test_a_replaced_file_is_refused_before_its_objects_are_unpickled(tmp_path: Path, export: Path) -> None:
    path = with_members(tmp_path / "a.npz", {}, export)
    with lys_storage.open_wave(path, allow_pickle=True) as wave:
        pickled = pickle.dumps(wave)
    note = np.array(None, object)
    note[()] = {"a": Ran()}
    path.unlink()
    with_members(path, {"note.npy": npy(note)}, export)
    calls.clear()
    with pytest.raises(BadFileError, match="is another file now"):
        pickle.loads(pickled)
    assert calls == []
