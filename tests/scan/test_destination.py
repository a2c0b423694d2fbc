"""Names that the file system accepts are kept and can be read; others raise a clear error and leave no file."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import LysStorageError, ScanShapeError, StorageOSError
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.helpers import files, load_export
from tests.systems import not_on_windows

forbidden = not_on_windows("no name has these characters")
no_bytes = not_on_windows("a name is text")

# -- names that are kept -----------------------------------------------------------------------------------------------

NAMES = [
    pytest.param("温度　走査", id="an ideographic space"),
    pytest.param("a\u00a0b", id="a space that does not break"),
    pytest.param("a\u202fb", id="a narrow one"),
    pytest.param("a\u200bb", id="one of no width"),
    pytest.param("a\nb", id="a newline", marks=forbidden),
    pytest.param("a\n", id="a newline at the end", marks=forbidden),
    pytest.param("a\tb\x1b[31m", id="control characters", marks=forbidden),
    pytest.param("a\u202eb", id="a change of direction"),
    pytest.param("a\udcff\udce9b", id="bytes that are no UTF-8", marks=no_bytes),
    pytest.param(" a ", id="spaces around it"),
    pytest.param("a\"b'c\\d", id="quotes and a backslash", marks=forbidden),
    pytest.param("a.npz.part", id="a suffix of ours"),
    pytest.param(".", id="a dot"),
    pytest.param("..", id="two dots"),
    pytest.param("", id="nothing but a number or a suffix"),
    pytest.param("𝒳\U0010ffff", id="beyond 16 bits"),
]


@pytest.mark.parametrize("numbered", [False, True], ids=["without a number", "numbered"])
@pytest.mark.parametrize("replaces", [False, True], ids=["new", "replacing"])
@pytest.mark.parametrize("stem", NAMES)
def test_an_interrupted_scan_of_any_name_is_read_resumed_and_recovered(
    tmp_path: Path, stem: str, numbered: bool, replaces: bool
) -> None:
    def begin() -> lys_storage.Scan:
        scan = begin_scan(tmp_path, stem, (2, 3), "u2", numbered=numbered, replace_existing=replaces)
        scan[0] = np.ones(3, "u2")
        scan.suspend()
        return scan

    scan = begin()
    assert lys_storage.verify(tmp_path) == []
    with lys_storage.resume(scan.part_path) as scan:
        scan[1] = np.full(3, 2, "u2")
    assert scan.path.name == (f"{stem}_0.npz" if numbered else f"{stem}.npz")
    assert load_export(scan.path).data.tolist() == [[1] * 3, [2] * 3]
    lys_storage.open_wave(scan.path, verify=True).close()
    begin() if numbered or replaces else None
    (recovered,) = lys_storage.recover(tmp_path) if numbered or replaces else [None]
    assert recovered is None or (recovered.path is not None and recovered.path.exists()), recovered
    assert lys_storage.verify(tmp_path) == []


@no_bytes
def test_a_path_may_be_bytes(tmp_path: Path) -> None:
    with lys_storage.create(os.fsencode(tmp_path) + b"/a\xff", (2,)) as scan:
        assert os.fsencode(scan.path.name) == b"a\xff.npz"
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"a\xff.npz"]


# -- names that are too long -------------------------------------------------------------------------------------------


def stem_of(size: int, letter: str = "x") -> str:
    """A stem whose export name has `size` bytes."""
    left = size - len(".npz")
    return letter * (left // len(letter.encode())) + "x" * (left % len(letter.encode()))


def longest(folder: Path, numbered: bool, replaces: bool, letter: str) -> int:
    """The longest name that is accepted. The error for the next one states the same length."""
    refused: list[StorageOSError] = []
    size = 200
    while not refused:
        size += 1
        stem = stem_of(size - (7 if numbered else 0), letter)
        try:
            begin_scan(folder, stem, (2, 3), "u2", numbered=numbered, replace_existing=replaces).discard()
        except StorageOSError as error:
            refused.append(error)
    assert refused[0].errno == errno.ENAMETOOLONG
    assert f"{size} {SYSTEM.name_unit} long, and can be {size - 1} here" in str(refused[0])
    return size - 1


@pytest.mark.skipif(sys.platform != "linux", reason="names are 255 bytes long on Linux")
@pytest.mark.parametrize(
    ("numbered", "replaces", "expected"),
    [(False, False, 238), (False, True, 229), (True, False, 238)],
    ids=["without a number", "replacing", "numbered"],
)
@pytest.mark.parametrize("letter", ["x", "温"], ids=["ASCII", "three bytes"])
def test_the_longest_name_takes_frames_rewrites_another_dtype_and_a_recovery_and_the_next_is_refused(
    tmp_path: Path, numbered: bool, replaces: bool, expected: int, letter: str
) -> None:
    """The name is refused at creation, not at the first frame: the names of its sidecar files are longer."""
    size = longest(tmp_path, numbered, replaces, letter)
    assert size == expected
    assert files(tmp_path) == set()
    stem = stem_of(size - (7 if numbered else 0), letter)
    scan = begin_scan(tmp_path, stem, (2, 3), "u2", numbered=numbered, replace_existing=replaces)
    scan.change_dtype("u4")
    for value in (1, 2):
        scan[0] = np.full(3, value, "u4")
        scan.flush()
    scan.suspend()
    (recovered,) = lys_storage.recover(tmp_path)
    assert recovered.path is not None
    assert load_export(recovered.path).data.tolist() == [[2] * 3, [0] * 3]
    if numbered:
        for n in range(1, 12):  # the last ones have one digit more
            begin_scan(tmp_path, stem, (2, 3), "u2", numbered=True, replace_existing=False).close()
            assert (tmp_path / f"{stem}_{n}.npz").exists()


def test_a_path_of_which_a_sidecar_is_too_long_is_refused(tmp_path: Path) -> None:
    folder, limit = tmp_path, SYSTEM.name_limits(tmp_path)[1]
    assert limit == 4095 or sys.platform != "linux"
    while len(os.fspath(folder)) < limit - 220:
        folder = folder / ("d" * min(200, limit - 210 - len(os.fspath(folder))))
    folder.mkdir(parents=True, exist_ok=True)
    most = limit - len(os.fspath(folder)) - 1 - len(".part.journal.new")
    with pytest.raises(StorageOSError, match=f"can be {most} here") as caught:
        lys_storage.create(folder / stem_of(most + 1), (2, 3))
    assert caught.value.errno == errno.ENAMETOOLONG
    with lys_storage.create(folder / stem_of(most), (2, 3)) as scan:
        scan[0] = np.zeros(3)


# -- invalid names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("a\0b.npz", "NUL", id="a NUL"),
        pytest.param("run\0/a.npz", "NUL", id="a NUL in a folder"),
        pytest.param(
            "a\ud800.npz",
            "cannot be encoded by this system",
            id="half a surrogate pair",
            marks=not_on_windows("a name can have it"),
        ),
        pytest.param(5, "is not a path", id="a number"),
        pytest.param(None, "is not a path", id="None"),
        pytest.param(["a.npz"], "is not a path", id="a list"),
        pytest.param("", "is a folder: name a file", id="nothing"),
        pytest.param(".", "is a folder: name a file", id="the folder itself"),
        pytest.param("..", "is a folder: name a file", id="the folder above"),
        pytest.param("there", "is a folder: name a file in it, such as data_0.npz: 'there", id="a folder"),
        pytest.param("there/", "is a folder: name a file", id="a folder with a slash"),
        pytest.param("new/", "is a folder: name a file", id="a folder that is not there"),
        pytest.param("taken.npz", "is a folder, and no file can take its name", id="a folder of the final name"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_can_name_no_file_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, words: str, overwrite: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("taken.npz").mkdir()
    with pytest.raises(LysStorageError, match=words) as caught:
        lys_storage.create(path, (2,), overwrite=overwrite)
    assert isinstance(caught.value, StorageOSError | ScanShapeError)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["taken.npz", "there"]


def test_beside_a_folder_a_file_of_its_name_can_be_named_with_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with lys_storage.create(tmp_path / "there.npz", (2,)) as scan:
        assert scan.path == tmp_path / "there.npz"


@pytest.mark.parametrize("stem", ["a/b", "/a", "a\0b"])
def test_a_stem_with_a_folder_in_it_is_refused(tmp_path: Path, stem: str) -> None:
    with pytest.raises(StorageOSError, match=r"not the name of a file|NUL"):
        begin_scan(tmp_path, stem, (2,), "f8", numbered=True, replace_existing=False)
    assert list(tmp_path.iterdir()) == []


@not_on_windows("the working directory of a process cannot be removed")
def test_a_working_directory_that_is_gone_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StorageOSError, match=r"find the working directory.*give a full path") as caught:
        lys_storage.create("data.npz", (1,))
    assert caught.value.errno == errno.ENOENT
    lys_storage.create(tmp_path / "data.npz", (1,)).close()
