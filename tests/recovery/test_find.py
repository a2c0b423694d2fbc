"""The directory walk of listing, recovery and verification."""

from __future__ import annotations

import errno
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest

from lys_storage.recovery.find import Found, Kind, walk
from tests.helpers import make_link

EXPORT, SCAN, LEFTOVERS = Kind.EXPORT, Kind.SCAN, Kind.LEFTOVERS
ALL = tuple(Kind)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: Path, kinds: Container[Kind] = ALL, *, recursive: bool = True) -> list[tuple[str, Kind]]:
    walked = walk(folder, kinds=kinds, recursive=recursive)
    return [(one.path.relative_to(folder).as_posix(), one.kind) for one in walked]


# -- what is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(["a.npz"], [("a.npz", EXPORT)], id="an export"),
        pytest.param(["a.npz.part"], [("a.npz.part", SCAN)], id="a scan file alone"),
        pytest.param(
            ["a.npz.part", "a.npz.part.journal", "a.npz.part.redo"],
            [("a.npz.part", SCAN)],
            id="a scan file with its sidecars is one scan",
        ),
        pytest.param(["a.npz.part.journal"], [("a.npz.part", LEFTOVERS)], id="a journal without its scan file"),
        pytest.param(["a.npz.part.redo"], [("a.npz.part", LEFTOVERS)], id="a redo file without its scan file"),
        pytest.param(
            ["a.npz.part.journal", "a.npz.part.redo"],
            [("a.npz.part", LEFTOVERS)],
            id="both sidecars without their scan file are found once",
        ),
        pytest.param(
            ["a.npz", "a.npz.part.journal"],
            [("a.npz", EXPORT), ("a.npz.part", LEFTOVERS)],
            id="an export with leftovers beside it",
        ),
        pytest.param(
            ["a.npz", "a.npz.1f2e3d4c.part"],
            [("a.npz", EXPORT), ("a.npz.1f2e3d4c.part", SCAN)],
            id="a scan that will replace an export",
        ),
        pytest.param(
            ["a.txt", "a.npy", "a.journal", "a.npz.part.journal.new", "a.npz.part.redo.journal", ".lys_storage.lock"],
            [],
            id="other files",
        ),
        pytest.param([".a.npz", ".part"], [(".a.npz", EXPORT), (".part", SCAN)], id="hidden files"),
    ],
)
def test_files_are_found_by_their_names(tmp_path: Path, files: list[str], expected: list[tuple[str, Kind]]) -> None:
    touch(tmp_path, *files)
    assert found(tmp_path) == expected


@pytest.mark.parametrize("kinds", [(), (EXPORT,), (SCAN,), (LEFTOVERS,), (EXPORT, SCAN), (SCAN, LEFTOVERS), ALL])
def test_only_what_is_asked_for_is_found(tmp_path: Path, kinds: tuple[Kind, ...]) -> None:
    """A running scan is never reported as a leftover, also if only leftovers are asked for."""
    touch(tmp_path, "a.npz", "b.npz.part", "b.npz.part.journal", "c.npz.part.journal")
    everything = [("a.npz", EXPORT), ("b.npz.part", SCAN), ("c.npz.part", LEFTOVERS)]
    assert found(tmp_path, kinds) == [one for one in everything if one[1] in kinds]


def test_what_is_found_is_a_record_that_compares_by_value(tmp_path: Path) -> None:
    touch(tmp_path, "a.npz")
    assert list(walk(tmp_path, kinds=ALL)) == [Found(tmp_path / "a.npz", EXPORT)]


# -- where, and in which order -----------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_paths(tmp_path: Path) -> None:
    """It is folder by folder: "a" comes before "a-b", though "a-b" sorts before "a/"."""
    touch(tmp_path, "b.npz", "a-b/0.npz", "a/1.npz", "a/0.npz.part", "a/c/0.npz", "0.npz")
    paths = [one.path for one in walk(tmp_path, kinds=ALL)]
    assert paths == sorted(paths)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["0.npz", "a/0.npz.part", "a/1.npz", "a/c/0.npz", "a-b/0.npz", "b.npz"]


def test_without_recursion_only_the_folder_itself_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, "a.npz", "b/c.npz", "b.npz.part", "d/e.npz.part.journal")
    assert found(tmp_path, recursive=False) == [("a.npz", EXPORT), ("b.npz.part", SCAN)]


def test_a_relative_folder_gives_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "b/a.npz")
    monkeypatch.chdir(tmp_path)
    assert [one.path for one in walk(Path(), kinds=ALL)] == [Path("b/a.npz")]
    assert [one.path for one in walk(Path("b"), kinds=ALL)] == [Path("b/a.npz")]


@pytest.mark.parametrize("name", ["nowhere", "a.npz"], ids=["no such folder", "a file"])
def test_nothing_is_found_where_there_is_no_folder(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.npz")
    assert list(walk(tmp_path / name, kinds=ALL)) == []


# -- other than files --------------------------------------------------------------------------------------------------


def test_a_folder_with_the_name_of_a_file_is_none_but_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, "a.npz/b.npz", "c.npz.part/d.txt")
    assert found(tmp_path) == [("a.npz/b.npz", EXPORT)]


def test_sidecars_of_a_folder_are_leftovers(tmp_path: Path) -> None:
    touch(tmp_path, "a.npz.part/b.txt", "a.npz.part.journal")
    assert found(tmp_path) == [("a.npz.part", LEFTOVERS)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "a.npz.part.journal")
    assert found(tmp_path) == []


def test_links_to_files_are_followed_links_to_folders_are_not(tmp_path: Path) -> None:
    """Following a link to a parent folder would never end."""
    touch(tmp_path, "a/real.npz")
    make_link(tmp_path / "link.npz", tmp_path / "a" / "real.npz")
    make_link(tmp_path / "dangling.npz", tmp_path / "nowhere")
    make_link(tmp_path / "a" / "up", tmp_path)
    make_link(tmp_path / "a" / "up.npz", tmp_path)
    assert found(tmp_path) == [("a/real.npz", EXPORT), ("link.npz", EXPORT)]


# -- files that appear and disappear -----------------------------------------------------------------------------------


def test_what_has_gone_when_it_is_its_turn_is_skipped(tmp_path: Path) -> None:
    """Another process can save or remove scans during the walk."""
    touch(tmp_path, "a.npz", "b.npz.part", "c.npz.part.journal", "d.npz")
    walked = walk(tmp_path, kinds=ALL)
    assert next(walked) == Found(tmp_path / "a.npz", EXPORT)
    (tmp_path / "b.npz.part").unlink()
    (tmp_path / "c.npz.part.journal").unlink()
    touch(tmp_path, "c.npz")
    assert list(walked) == [Found(tmp_path / "d.npz", EXPORT)]


def test_a_scan_that_is_saved_when_it_is_its_turn_has_leftovers(tmp_path: Path) -> None:
    """Its scan file has its final name, and its journal is not removed yet."""
    touch(tmp_path, "a.npz", "b.npz.part", "b.npz.part.journal")
    walked = walk(tmp_path, kinds=ALL)
    next(walked)
    (tmp_path / "b.npz.part").rename(tmp_path / "b.npz")
    assert list(walked) == [Found(tmp_path / "b.npz.part", LEFTOVERS)]


def failing_scandir(monkeypatch: pytest.MonkeyPatch, folder: Path, code: int) -> None:
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR])
def test_a_folder_that_has_gone_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    touch(tmp_path, "a/b.npz", "c.npz")
    failing_scandir(monkeypatch, tmp_path / "a", code)
    assert found(tmp_path) == [("c.npz", EXPORT)]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_folder_that_may_not_be_read_is_found_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The caller learns that its content is unknown."""
    touch(tmp_path, "a/b.npz", "c.npz")
    failing_scandir(monkeypatch, tmp_path / "a", code)
    assert found(tmp_path) == [("a", Kind.FOLDER), ("c.npz", EXPORT)]
    assert found(tmp_path, (EXPORT,)) == [("c.npz", EXPORT)]


def test_a_disk_that_cannot_list_a_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its content would be taken for sound without a check."""
    touch(tmp_path, "a/b.npz", "c.npz")
    failing_scandir(monkeypatch, tmp_path / "a", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        found(tmp_path)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_looked_at_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Opening it gives the reason."""
    touch(tmp_path, "a.npz.part", "b.npz")
    real = Path.is_file

    def is_file(path: Path, *args: Any, **options: Any) -> bool:
        if path.name == "a.npz.part":
            raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert found(tmp_path) == [("a.npz.part", SCAN), ("b.npz", EXPORT)]
