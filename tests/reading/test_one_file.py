"""Everything that a StoredWave returns is from one file, also if another file takes its name meanwhile."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import reading
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from tests.reading.exports import with_members
from tests.systems import not_under_wine

replaces_open_files = not_under_wine("an open file is not replaced")
READING = str(Path(reading.__file__).parent)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Exports that differ in shape, dtype, values, axes and note. Their arrays have the same offset."""
    for number, shape, dtype in ((1, (3, 4), "u1"), (2, (30, 40), "f8")):
        path = tmp_path / f"{number}.npz"
        with lys_storage.create(path, shape, dtype, axes=[[number] * shape[0]], note={"number": number}) as scan:
            scan[...] = np.full(shape, number, dtype)
    return tmp_path / "1.npz", tmp_path / "2.npz"


def replace(path: Path, source: Path) -> None:
    """Replace `path` with a copy of `source` in one step."""
    SYSTEM.replace(shutil.copyfile(source, path.with_name("new")), path)


def numbers(wave: lys_storage.StoredWave) -> set[Any]:
    """The numbers of the files from which the contents of `wave` were read."""
    shape, dtype = {1: ((3, 4), "u1"), 2: ((30, 40), "f8")}[wave.note["number"]]
    assert (wave.shape, wave.dtype) == (shape, dtype)
    found = [np.unique(wave.data), np.unique(wave.read(0)), np.unique(wave.axes[0])]
    return {
        wave.note["number"],
        *map(float, np.concatenate(found)),
        *([] if list(wave.verify()) == [] else ["damaged"]),
    }


@contextmanager
def once_at_line(k: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Call `act` before the k-th line that runs in the package `reading`. Yields [number of lines so far]."""
    lines, before = [0], sys.gettrace()

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(READING):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == k:
                act()
        return trace

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


@replaces_open_files
def test_a_file_that_is_replaced_before_any_line_is_not_mixed_with_the_new_one(
    tmp_path: Path, two: tuple[Path, Path]
) -> None:
    path, seen, k = tmp_path / "a.npz", set(), 1
    while True:
        replace(path, two[0])
        with once_at_line(k, lambda: replace(path, two[1])) as lines, lys_storage.open_wave(path) as wave:
            found = numbers(wave)
        assert len(found) == 1, f"line {k}: of files {found}"
        seen |= found
        if lines[0] < k:
            break
        k += 1
    assert (seen, k > 100) == ({1, 2}, True)


@replaces_open_files
def test_a_file_that_is_replaced_while_it_is_verified_is_one_of_the_two(tmp_path: Path, two: tuple[Path, Path]) -> None:
    """One has a rotten array, the other an unreadable note. `verify` reports exactly one of these problems."""
    content = bytearray(two[0].read_bytes())
    content[4096] ^= 1
    (tmp_path / "rotten.npz").write_bytes(content)
    bad_note = with_members(tmp_path / "note.npz", {"note.npy": b"noise"}, two[1])
    path, seen, k = tmp_path / "a.npz", set(), 1
    while True:
        replace(path, tmp_path / "rotten.npz")
        with once_at_line(k, lambda: replace(path, bad_note)) as lines:
            said = [problem.what for problem in lys_storage.verify(path)]
        assert len(said) == 1, f"line {k}: {said}"
        seen |= set(said)
        if lines[0] < k:
            break
        k += 7
    assert seen == {"Bad CRC-32 for file 'data.npy'", "not a .npy header"}


@replaces_open_files
def test_opens_beside_a_writer_that_replaces_the_file_show_one_file_each(
    tmp_path: Path, two: tuple[Path, Path]
) -> None:
    path, over = tmp_path / "a.npz", threading.Event()
    replace(path, two[0])

    def write() -> None:
        while not over.is_set():
            for source in two:
                replace(path, source)

    writer = threading.Thread(target=write)
    writer.start()
    mixed, seen = [], set()
    try:
        for _ in range(2000):
            with lys_storage.open_wave(path) as wave:
                found = numbers(wave)
            seen |= found
            if len(found) > 1:
                mixed.append(found)
    finally:
        over.set()
        writer.join()
    assert mixed == []
    assert seen == {1, 2}


@pytest.mark.parametrize("when", ["before the bytes are read", "after"])
def test_a_file_that_another_thread_closes_is_not_read_from_its_successor(
    tmp_path: Path, two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The next file that is opened gets the number of the closed descriptor. Its bytes are never taken for those of the first."""
    wave, read_into, later = lys_storage.open_wave(two[0]), File.read_into, []

    def close_and_open_another() -> None:
        wave.close()
        later.append(two[1].open("rb"))

    def read(file: File, buffer: Any, offset: int) -> int:
        fd = file.fd
        monkeypatch.undo()
        if when == "before the bytes are read":
            close_and_open_another()
            return SYSTEM.preadv(fd, [buffer], offset)
        result = read_into(file, buffer, offset)
        close_and_open_another()
        return result

    monkeypatch.setattr(File, "read_into", read)
    with pytest.raises(lys_storage.ScanClosedError):
        wave.read(0)
    later[0].close()
