"""A scan holds the descriptor of its folder and an absolute path: it is saved in the folder wherever that was moved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan
from tests.helpers import files, load_export
from tests.systems import IS_WINDOWS, not_on_windows, not_under_wine


def frame(k: int) -> np.ndarray[Any, Any]:
    return np.full((8, 8), k + 1, "u2")


def begin(path: Path | str, *frames: int, **options: Any) -> Scan:
    options = {"grid_ndim": 1, "fill_value": 0, "flush_interval_s": None, **options}
    scan = lys_storage.create(path, (6, 8, 8), "u2", **options)
    for k in frames:
        scan[k] = frame(k)
    return scan


def go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change the working directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "day 1"


def turn_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "day 2").mkdir()
    (tmp_path / "today").unlink()
    (tmp_path / "today").symlink_to(tmp_path / "day 2")
    return tmp_path / "day 1"


def rename_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "day 1").rename(tmp_path / "moved")
    return tmp_path / "moved"


def replace_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put another folder of this name, with a scan of this name, in its place."""
    rename_the_folder(tmp_path, monkeypatch)
    (tmp_path / "day 1").mkdir()
    begin(tmp_path / "day 1" / "x.npz", 5).suspend()
    return tmp_path / "moved"


found_by_descriptor = not_on_windows("a scan finds its folder by its path, and a folder with open files keeps its name")
WAYS = [
    go_elsewhere,
    *(pytest.param(way, marks=found_by_descriptor) for way in (turn_the_link, rename_the_folder, replace_the_folder)),
]


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder by a name that is relative to the working directory, and a link; few users of Windows may make links."""
    (tmp_path / "day 1").mkdir()
    monkeypatch.chdir(tmp_path)
    if IS_WINDOWS:
        return Path("day 1")
    (tmp_path / "today").symlink_to(tmp_path / "day 1")
    return Path("today")


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("resumed", [False, True], ids=["created", "resumed"])
@pytest.mark.parametrize("flushed", [False, True])
def test_a_scan_is_saved_where_its_folder_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    day: Path,
    move: Callable[[Path, pytest.MonkeyPatch], Path],
    resumed: bool,
    flushed: bool,
) -> None:
    scan = begin(day / "x.npz", 0, 1)
    if resumed:
        scan.suspend()
        scan = lys_storage.resume(day / "x.npz", flush_interval_s=None)
    if flushed:
        scan.flush()
    folder = move(tmp_path, monkeypatch)
    scan[2] = frame(2)
    scan[1] = frame(7)  # a rewrite creates the redo log
    scan.flush()
    assert scan.array[2].tolist() == frame(2).tolist()
    scan.note = {"a": 1}
    path = scan.close()
    assert path.resolve() == (folder / "x.npz").resolve()
    assert files(folder) == {"x.npz"}
    found = load_export(path)
    assert [int(found.data[k, 0, 0]) for k in range(6)] == [1, 8, 3, 0, 0, 0]
    assert found.note == {"a": 1}
    if move is replace_the_folder:
        assert files(tmp_path / "day 1") == {"x.npz.part", "x.npz.part.journal"}


@pytest.mark.parametrize("move", WAYS)
@pytest.mark.parametrize("deed", ["suspend", "discard", "a new dtype", "a finer grid"])
def test_what_else_is_done_by_name_is_done_where_the_folder_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    day: Path,
    move: Callable[[Path, pytest.MonkeyPatch], Path],
    deed: str,
) -> None:
    scan = begin(day / "x.npz", grid_ndim=None)
    folder = move(tmp_path, monkeypatch)
    if deed == "discard":
        scan.discard()
        assert files(folder) == set()
        return
    if deed == "a new dtype":
        scan.change_dtype("f4", 0)
    elif deed == "a finer grid":
        scan[0, 0] = frame(0)[0]
    else:
        scan[0] = frame(0)
    scan.suspend()
    assert files(folder) == {"x.npz.part", "x.npz.part.journal"}
    (result,) = lys_storage.recover(folder)
    assert result.path is not None
    assert lys_storage.verify(folder) == []


@not_under_wine("the name of a removed file stays until each process has closed the file")
def test_a_scan_whose_file_was_removed_says_so(tmp_path: Path, day: Path) -> None:
    scan = begin(day / "x.npz", 0)
    os.unlink(scan.part_path)
    with pytest.raises(lys_storage.StorageOSError, match="was removed, or its folder was moved"):
        scan.close()
    scan.suspend()


def test_numbers_and_storage_paths_are_absolute(tmp_path: Path, day: Path) -> None:
    scan = begin(day / "x.npz", 0)
    assert (scan.path, scan.part_path) == (tmp_path / day / "x.npz", tmp_path / day / "x.npz.part")
    scan.close()
