"""Compressed arrays, as lys writes them, that are larger than memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, NotEnoughMemoryError, ScanClosedError
from lys_storage.disk.systems import SYSTEM
from lys_storage.reading import array_file
from tests.helpers import assert_same_array, some, write_anew

DATA = some((7, 5, 4, 3), "i4")


def test_compressed_data_larger_than_memory_are_a_memory_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=np.zeros((100, 10)))
    monkeypatch.setattr(SYSTEM, "available_memory", lambda: 7999)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        for attempt in (np.asarray, lambda wave: wave.data):
            with pytest.raises(NotEnoughMemoryError) as caught:
                attempt(wave)
            assert isinstance(caught.value, MemoryError)
            assert f"{tmp_path / 'a.npz'}: it is compressed, and its array of shape (100, 10) of float64 " in str(
                caught.value
            )
            assert "needs 8,000 bytes of memory; 7,999 bytes are available" in str(caught.value)
        monkeypatch.setattr(SYSTEM, "available_memory", lambda: 8000)
        assert_same_array(np.asarray(wave), np.zeros((100, 10)))


def test_a_memory_error_of_numpy_is_told_in_the_same_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise MemoryError("injected")

    np.savez_compressed(tmp_path / "a.npz", data=np.zeros((100, 10)))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        monkeypatch.setattr(array_file.np, "empty", refuse)
        with pytest.raises(NotEnoughMemoryError, match=r"needs 8,000 bytes of memory"):
            wave.data  # noqa: B018


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte less than DATA needs. The whole array can then not be decompressed."""
    monkeypatch.setattr(SYSTEM, "available_memory", lambda: DATA.nbytes - 1)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("data", [DATA, np.asfortranarray(DATA)], ids=["C", "Fortran"])
@pytest.mark.parametrize(
    "index",
    [
        *(
            0,
            -1,
            (1, 2),
            (6, 4, 3, 2),
            ...,
            (..., 1),
            np.s_[1:3],
            np.s_[::2],
            np.s_[::-1],
            np.s_[3:0:-2, 1],
            np.s_[0:0],
        ),
        *(np.s_[..., ::2], np.s_[1, :, 0, ::-1], np.s_[-2:, 3], np.s_[5:1:-1, ::3, ::-1, 1:]),
        *(np.s_[-9::-1], np.s_[1, -9::-1], np.s_[-9::-1, 1, 1, 1]),
    ],
    ids=repr,
)
def test_a_part_is_read_without_the_whole(tmp_path: Path, data: Any, index: Any) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=data)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.read(index), DATA[index])
        assert wave._array._whole is None
        assert wave.read(index).flags.writeable
        with pytest.raises(NotEnoughMemoryError, match="read parts of it by wave"):
            np.asarray(wave)


@pytest.mark.parametrize("data", [DATA, np.arange(9.0), np.asfortranarray(DATA), some((3, 2), ">M8[s]")])
def test_iteration_over_a_large_array_is_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    monkeypatch.setattr(array_file, "CHUNK_BYTES", 8)
    np.savez_compressed(tmp_path / "a.npz", data=data)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        for got, expected in zip(wave, data, strict=True):
            assert_same_array(got, expected)
            assert type(got) is type(expected)
        is_kept = wave._array._whole is not None
        assert is_kept == (data.ndim > 1 and np.isfortran(data))
        first = wave.data
        assert_same_array(next(iter(wave)), first[0])


def test_iteration_ends_with_an_error_if_the_data_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are decompressed without an error, but have another CRC-32."""
    monkeypatch.setattr(array_file, "CHUNK_BYTES", 8)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, data=np.arange(100_000.0).reshape(10, 10_000))
    with lys_storage.open_wave(path) as wave:
        crc = wave._stored.member.CRC.to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(crc) == 2
    write_anew(path, content.replace(crc, b"1234"))
    with lys_storage.open_wave(path) as wave:
        with pytest.raises(BadFileError, match=r"a\.npz .*Bad CRC-32"):
            list(wave)
        with pytest.raises(BadFileError, match=r"a\.npz .*Bad CRC-32"):
            wave.read(0)


def test_iteration_after_close_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_file, "CHUNK_BYTES", 8)
    np.savez_compressed(tmp_path / "a.npz", data=DATA)
    wave = lys_storage.open_wave(tmp_path / "a.npz")
    rows = iter(wave)
    assert_same_array(next(rows), DATA[0])
    wave.close()
    with pytest.raises(ScanClosedError, match="open_wave"):
        next(rows)
    with pytest.raises(ScanClosedError, match="open_wave"):
        iter(wave)


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
def test_the_memory_of_an_iteration_is_that_of_an_entry(run_child: Callable[..., Any]) -> None:
    """256 MiB are read with less than 24 MiB of memory."""
    child = run_child("""
import numpy as np, lys_storage

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

np.savez_compressed("a.npz", data=np.ones((256, 128, 1024)))
with lys_storage.open_wave("a.npz") as wave:
    before, total, peak = anonymous(), 0.0, 0
    for frame in wave:
        total += frame.sum()
        peak = max(peak, anonymous() - before)
print(total == wave.size, peak >> 20)
""")
    assert child.code == 0, child.err
    same, peak = child.out.split()
    assert (same, int(peak) < 24) == ("True", True)
