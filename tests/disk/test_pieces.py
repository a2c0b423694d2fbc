"""Ranges of a file in pieces: reading, checksums and rewriting."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import StorageOSError
from lys_storage.disk import File, FileCutError, range_crc32, read_pieces, rewrite_range, units_crc32
from lys_storage.disk import direct as direct_module
from lys_storage.disk import pieces as pieces_module
from lys_storage.disk.systems import SYSTEM
from lys_storage.format import PAGE

SIZE = 1000
DATA = np.random.default_rng(3).integers(0, 256, SIZE).astype("u1").tobytes()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """A file of 1000 bytes, in pieces of 64 bytes."""
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", 64)
    made = File.create(tmp_path / "file")
    made.write_at(DATA, 0)
    yield made
    made.close()


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 1), (5, 63), (5, 64), (5, 65), (0, 640), (37, 963)])
def test_the_pieces_are_the_range_and_none_is_larger_than_the_buffer(file: File, offset: int, size: int) -> None:
    pieces = [bytes(piece) for piece in read_pieces(file, offset, size)]
    assert b"".join(pieces) == DATA[offset : offset + size]
    assert [len(piece) for piece in pieces] == [64] * (size // 64) + [size % 64] * (size % 64 > 0)
    mine = [bytes(piece) for piece in read_pieces(file, offset, size, memoryview(bytearray(100)))]
    assert b"".join(mine) == DATA[offset : offset + size]
    assert all(len(piece) == 100 for piece in mine[:-1])


def test_all_pieces_share_one_buffer(file: File) -> None:
    """A piece is valid until the next one: memory does not grow with the range."""
    assert len({id(piece.obj) for piece in read_pieces(file, 0, SIZE)}) == 1


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (5, 64), (37, 963)])
def test_the_checksum_of_a_range_is_that_of_its_bytes(file: File, offset: int, size: int) -> None:
    assert range_crc32(file, offset, size) == zlib.crc32(DATA[offset : offset + size])
    assert rewrite_range(file, offset, size) == zlib.crc32(DATA[offset : offset + size])


@pytest.mark.parametrize("size", [1, 7, 32, 33, 64, 65, 99])
@pytest.mark.parametrize("count", [0, 1, 2, 9, 10])
def test_each_unit_has_the_checksum_of_its_bytes(file: File, size: int, count: int) -> None:
    """This holds for units that are read together, and for units that are larger than the buffer."""
    sums = np.full(count, 5, np.uint32)
    units_crc32(file, 3, size, sums, memoryview(bytearray(64)))
    assert sums.tolist() == [zlib.crc32(DATA[3 + k * size : 3 + (k + 1) * size]) for k in range(count)]


def test_small_units_are_read_together(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = File.read_into
    monkeypatch.setattr(File, "read_into", lambda self, piece, at: (reads.append(len(piece)), real(self, piece, at))[1])
    units_crc32(file, 0, 10, np.empty(20, np.uint32), memoryview(bytearray(64)))
    assert reads == [60, 60, 60, 20]


def test_the_folios_of_a_range_are_rewritten_as_they_read(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of them is written, so that they are dirty again. None changes."""
    monkeypatch.setattr(pieces_module, "FOLIO_BYTES", PAGE)
    data = DATA * 9  # more than two pages
    file.write_at(data, 0)
    written: list[tuple[int, bytes]] = []
    real = File.write_at

    def write_at(self: File, data: memoryview, offset: int) -> None:
        written.append((offset, bytes(data)))
        real(self, data, offset)

    monkeypatch.setattr(File, "write_at", write_at)
    rewrite_range(file, 100, PAGE)
    assert written == [(at, data[at : at + PAGE]) for at in (0, PAGE)]
    rewrite_range(file, 2 * PAGE, 1)
    assert written[2:] == [(2 * PAGE, data[2 * PAGE :])]
    assert file.read_at(len(data) + 10, 0) == data


@pytest.mark.parametrize("ask", [range_crc32, rewrite_range, lambda *args: [*read_pieces(*args)]])
def test_a_file_that_ends_before_is_an_error_that_names_it(file: File, ask: object) -> None:
    for offset, size in [(SIZE - 10, 11), (SIZE, 1), (2 * SIZE, 100)]:
        with pytest.raises(FileCutError, match=f"shorter than the expected {offset + size} bytes") as caught:
            ask(file, offset, size)  # type: ignore[operator]
        assert repr(str(file.path)) in str(caught.value)
    assert issubclass(FileCutError, StorageOSError)
    with pytest.raises(FileCutError):
        units_crc32(file, SIZE - 10, 4, np.empty(3, np.uint32), memoryview(bytearray(64)))
    assert file.size == SIZE, "a rewrite makes no file longer"


# -- past the page cache -------------------------------------------------------------------------------------------------

PAGES = np.random.default_rng(4).integers(0, 256, 3 * PAGE + 100).astype("u1").tobytes()


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[File]:
    """A file of three pages and a part of one, on the disk."""
    made = File.create(tmp_path / "pages")
    made.write_at(PAGES, 0)
    made.sync()
    yield made
    made.close()


class Disk:
    """Counts direct writes. `error` is raised by them; `spoils`: they write other bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: File) -> None:
        self.error, self.spoils, self.written = 0, False, []
        self._real, self._file = SYSTEM.pwrite, file
        call = self.pwrite  # one object: a replaced call is taken for a model of the disk
        monkeypatch.setattr(direct_module, "_PWRITE", call)
        monkeypatch.setattr(SYSTEM, "pwrite", call)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        if fd == self._file.fd:
            return self._real(fd, data, offset)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        self.written.append((offset, len(data)))
        if self.spoils:
            data[5] ^= 1
            done = self._real(fd, data, offset)
            data[5] ^= 1
            return done
        return self._real(fd, data, offset)


def has_direct(file: File) -> None:
    with direct_module.DirectWriter(file) as direct:
        if direct._fd < 0:
            pytest.skip("no direct I/O here")


def test_whole_folios_are_written_past_the_page_cache(pages: File, monkeypatch: pytest.MonkeyPatch) -> None:
    has_direct(pages)
    disk = Disk(monkeypatch, pages)
    assert rewrite_range(pages, 5000, 100) == zlib.crc32(PAGES[5000:5100])
    assert rewrite_range(pages, 0, len(PAGES)) == zlib.crc32(PAGES)
    assert disk.written == [(0, 4 * PAGE)] * 2  # the folio, up to the end of the file: a part of a page
    assert pages.read_at(len(PAGES) + 10, 0) == PAGES


@pytest.mark.parametrize("fault", ["the disk fails", "the disk holds other bytes"])
def test_pages_that_the_disk_does_not_hold_are_an_error_and_stay_in_the_page_cache(
    pages: File, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    has_direct(pages)
    disk = Disk(monkeypatch, pages)
    disk.error, disk.spoils = (errno.EIO, False) if fault == "the disk fails" else (0, True)
    with pytest.raises(StorageOSError, match="write again"):
        rewrite_range(pages, 0, len(PAGES))
    assert pages.read_at(len(PAGES), 0) == PAGES


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_refuses_direct_writes_is_no_error(
    pages: File, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Otherwise no sync could succeed any more after one has failed."""
    has_direct(pages)
    disk = Disk(monkeypatch, pages)
    disk.error = code
    assert rewrite_range(pages, 0, len(PAGES)) == zlib.crc32(PAGES)
    assert pages.read_at(len(PAGES), 0) == PAGES
