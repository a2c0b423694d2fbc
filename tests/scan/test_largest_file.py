"""The largest file of FAT is 4 GiB - 1 byte. A scan that would be larger is refused when it begins.

The system knows the limit of the kernel's own FAT. It does not know that of FAT through FUSE, or behind a network share. There
the file system refuses the size.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk.systems import SYSTEM
from tests.helpers import files

LIMIT = (1 << 32) - 1
FRAME = 4096


@pytest.fixture
def fat(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A file system with that limit, which the system does not know. Returns the sizes that were set. No space is used."""
    real, sizes = SYSTEM.set_size, []

    def set_size(fd: int, size: int) -> None:
        sizes.append(size)
        if size > LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        real(fd, size)

    monkeypatch.setattr(SYSTEM, "set_size", set_size)
    monkeypatch.setattr(SYSTEM, "preallocate", lambda fd, offset, size, *, beyond_end: False)
    monkeypatch.setattr(SYSTEM, "largest_file", lambda folder: None)
    return sizes


def frames_that_end_before(limit: int, folder: Path, sizes: list[int]) -> int:
    """The most frames of which the array ends before `limit`, in a file of about 4 GiB."""
    frames = LIMIT // FRAME - 1000
    lys_storage.create(folder / "probe.npz", (frames, FRAME), "u1", grid_ndim=1).discard()
    frames += (limit - max(sizes)) // FRAME
    sizes.clear()
    return frames


@pytest.mark.parametrize("is_known", [True, False], ids=["the limit is known", "it is not"])
def test_a_scan_that_is_too_large_for_fat_is_refused_when_it_begins(
    tmp_path: Path, fat: list[int], monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    if is_known:
        monkeypatch.setattr(SYSTEM, "largest_file", lambda folder: LIMIT)
    with pytest.raises(StorageOSError, match=r"exFAT, or (split the scan|write less)") as caught:
        lys_storage.create(tmp_path / "run" / "data.npz", (2 * LIMIT // FRAME, FRAME), "u1", grid_ndim=1)
    assert caught.value.errno == errno.EFBIG
    assert f"{LIMIT:,}" in str(caught.value) or f"set the size to {max(fat):,} bytes" in str(caught.value)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("is_known", [True, False], ids=["the limit is known", "it is not"])
def test_so_is_one_of_which_only_the_tail_does_not_fit(
    tmp_path: Path, fat: list[int], monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """Otherwise its last frame could be written, and close() would fail."""
    frames = frames_that_end_before(LIMIT, tmp_path, fat)
    if is_known:
        monkeypatch.setattr(SYSTEM, "largest_file", lambda folder: LIMIT)
    with pytest.raises(StorageOSError) as caught:
        lys_storage.create(tmp_path / "data.npz", (frames, FRAME), "u1", grid_ndim=1)
    assert caught.value.errno == errno.EFBIG
    assert files(tmp_path) == set()


def test_a_scan_that_just_fits_can_begin(tmp_path: Path, fat: list[int]) -> None:
    """Its size is set once: where new bytes are written as zeros, a second time would take as long."""
    frames = frames_that_end_before(LIMIT - (1 << 22), tmp_path, fat)
    lys_storage.create(tmp_path / "data.npz", (frames, FRAME), "u1", grid_ndim=1).discard()
    assert [size for size in fat if size > LIMIT // 2] == [max(fat)]


def test_a_dtype_that_makes_it_too_large_is_refused_and_the_scan_goes_on(tmp_path: Path, fat: list[int]) -> None:
    scan = lys_storage.create(tmp_path / "data.npz", (3, LIMIT // 8), "u1", grid_ndim=1)
    with pytest.raises(StorageOSError) as caught:
        scan.change_dtype("u4")
    assert caught.value.errno == errno.EFBIG
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}
    scan.change_dtype("u2")
    scan.discard()
    assert files(tmp_path) == set()
