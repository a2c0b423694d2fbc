"""Files of released versions can be read, resumed and recovered: tests/data holds them as each version wrote them.

They were written on another machine, in another boot: the checksum of every frame of a scan in progress is verified.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.data import make

VERSIONS = sorted(path for path in Path(make.__file__).parent.iterdir() if (path / "complete.npz").exists())
version = pytest.mark.parametrize("version", VERSIONS, ids=[path.name for path in VERSIONS])


def expected(shape: tuple[int, ...], dtype: str, there: Any, fill: Any = 0) -> np.ndarray[Any, Any]:
    """The array of a golden file: its content at the frames `there`, `fill` elsewhere."""
    result = np.full(shape, fill, dtype)
    for index in there:
        result[index] = make.content(shape, dtype)[index]
    return result


EXPORTS = {
    "complete.npz": expected(make.SMALL, "<u2", np.ndindex(6, 8)),
    "incomplete.npz": expected(make.SMALL, "<f8", [(0, 0), (0, 1), (4, 7)], np.nan),
    "trimmed.npz": make.content(make.SMALL, ">c8")[:2],
    "aligned_export.npz": make.content(make.SMALL),
}
_REDONE = expected(make.LARGE, "<u2", range(3))
_REDONE[make.REWRITTEN] = make.content(make.LARGE, seed=1)[make.REWRITTEN]
SCANS: dict[str, tuple[np.ndarray[Any, Any], list[tuple[int, ...]]]] = {
    "blocks_0.npz": (expected(make.SMALL, "<u2", np.ndindex(5, 8)), [(5, j) for j in range(8)]),
    "large.npz": (expected(make.LARGE, "<u2", [0, 1, 3], 7), [(2,), (4,)]),
    "replaced.npz": (expected((4, 3), "<i4", [1]), [(0,), (2,), (3,)]),
    "redo.npz": (_REDONE, [(4,)]),
    "sync_failed.npz": (
        expected(make.SMALL, "<u2", [*np.ndindex(3, 8), (5, 7)]),
        [(i, j) for i in range(3, 6) for j in range(8) if (i, j) != (5, 7)],
    ),
    "aligned.npz": (expected(make.SMALL, "<u2", [k for k in np.ndindex(6, 8) if k != (2, 2)]), [(2, 2)]),
}


def same(actual: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> bool:
    return (actual.dtype, actual.shape, actual.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.fixture
def folder(version: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(version, tmp_path / "run"))


@version
def test_there_is_a_golden_file_for_each_case(version: Path) -> None:
    there = {path.name for path in version.iterdir()}
    assert set(EXPORTS) <= there
    assert {f"{name}.part" for name in SCANS} - there == {"replaced.npz.part"}  # its name contains an id
    assert "redo.npz.part.redo" in there


@version
@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read(folder: Path, name: str) -> None:
    with lys_storage.open_wave(folder / name, verify=True) as wave:
        assert same(wave.data, EXPORTS[name])
        if name in ("complete.npz", "incomplete.npz"):
            assert [axis.tolist() for axis in wave.axes] == [
                np.arange(n).tolist() if axis is None else axis.tolist()
                for axis, n in zip(make.AXES, make.SMALL, strict=True)
            ]
            assert wave.note.pop("delays").tolist() == [0, 1, 2]
            assert wave.note == {key: value for key, value in make.NOTE.items() if key != "delays"}
    with np.load(folder / name) as members:
        assert same(members["data"], EXPORTS[name])
    assert lys_storage.verify(folder / name) == []


@version
@pytest.mark.parametrize("name", SCANS)
def test_a_scan_in_progress_is_recovered(folder: Path, name: str) -> None:
    (found,) = [one for one in lys_storage.recover(folder) if one.part.name.startswith(name)]
    assert found.path is not None, found
    assert found.path.name == ("replaced.recovered_0.npz" if name == "replaced.npz" else name)
    with lys_storage.open_wave(found.path, verify=True) as wave:
        assert same(wave.data, SCANS[name][0])
    assert sorted(path.name for path in folder.glob("*.part*")) == []
    assert lys_storage.verify(found.path) == []


@version
@pytest.mark.parametrize("name", SCANS)
def test_a_scan_in_progress_is_resumed(folder: Path, name: str) -> None:
    array, missing = SCANS[name]
    scan = lys_storage.resume(folder / name)
    assert list(scan.missing()) == missing
    whole = array.copy()
    for index in missing:
        whole[index] = scan[index] = make.content(array.shape, array.dtype.str)[index]
    assert scan.close() == folder / name
    with lys_storage.open_wave(folder / name, verify=True) as wave:
        assert same(wave.data, whole)
        assert wave.info["frames_written"] == wave.info["frames_expected"]


@version
def test_scans_in_progress_are_listed_and_verified(folder: Path) -> None:
    (folder / "replaced.npz").unlink()  # which is not an export
    assert lys_storage.verify(folder) == []
