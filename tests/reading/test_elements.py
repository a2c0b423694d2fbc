"""The elements of an export are read in pieces, in the order of the file, also if it is compressed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.errors import BadFileError, ScanClosedError
from lys_storage.reading import elements as elements_module
from lys_storage.reading import is_compressed, is_fortran, iterate_stored, missing_frames, open_wave, read_stored


def save(path: Path, data: np.ndarray, *, compressed: bool) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, data=data)
    return path


@pytest.mark.parametrize("compressed", [False, True], ids=["stored", "deflated"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u2", ">f8", "c8", "M8[us]"])
def test_the_pieces_are_the_whole_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool, order: str, dtype: str
) -> None:
    monkeypatch.setattr(elements_module, "_PIECE_BYTES", 100)
    data = np.asarray(np.arange(5 * 7 * 3).reshape(5, 7, 3).astype(dtype), order=order)
    with open_wave(save(tmp_path / "a.npz", data, compressed=compressed)) as wave:
        assert (is_compressed(wave), is_fortran(wave)) == (compressed, order == "F")
        pieces = list(iterate_stored(wave))
        assert [at for at, _ in pieces] == np.cumsum([0, *(len(piece) for _, piece in pieces[:-1])]).tolist()
        assert {piece.dtype for _, piece in pieces} == {np.dtype(dtype)}
        found = b"".join(piece.tobytes() for _, piece in pieces)
        assert found == data.tobytes(order)
        if not compressed:
            size = data.itemsize
            assert read_stored(wave, 10, 4).tobytes() == found[10 * size : 14 * size]


def test_a_compressed_array_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    """The CRC-32 is compared at the end."""
    path = save(tmp_path / "a.npz", np.random.default_rng(0).random(200_000), compressed=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with open_wave(path) as wave, pytest.raises(BadFileError, match="cannot be read as an export"):
        list(iterate_stored(wave))


def test_a_closed_or_compressed_wave_is_not_read_at_a_place(tmp_path: Path) -> None:
    wave = open_wave(save(tmp_path / "a.npz", np.zeros(3), compressed=True))
    with pytest.raises(ScanClosedError, match="is compressed"):
        read_stored(wave, 0, 1)
    wave.close()
    with pytest.raises(ScanClosedError, match="is closed"):
        list(iterate_stored(wave))


@pytest.mark.parametrize("frames", [40, 30_000], ids=["listed", "as bits"])
def test_missing_frames_are_known(tmp_path: Path, frames: int) -> None:
    """Up to 10,000 runs are in acquisition.json, more in missing.npy."""
    came = np.arange(frames) % 2 == 1
    with lys_storage.create(tmp_path / "a.npz", (frames,), "u1", grid_ndim=1) as scan:
        for i in np.flatnonzero(came).tolist():
            scan[i] = np.uint8(7)
    with open_wave(tmp_path / "a.npz") as wave:
        missing = missing_frames(wave, frames)
        assert (missing.bits is not None) == (frames > 20_000)
        assert np.array_equal(missing.among(np.arange(frames)), ~came)
        assert not missing_frames(wave, 0).among(np.arange(3)).any(), "a file of unknown frames"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ('{"missing": [], "missing_complete": false}', r"missing\.npy is missing, or shorter"),
        ('{"missing": [[0, 1], [2]]}', "no list of runs"),
        ('{"missing": [[0, 1e300]]}', "no list of runs"),
        ('{"missing": [["a", {}]]}', "no list of runs"),
    ],
    ids=["missing.npy is cut", "half a run", "too large", "no numbers"],
)
def test_a_damaged_list_of_missing_frames_is_refused(tmp_path: Path, info: str, words: str) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", stream.getvalue())
        archive.writestr("acquisition.json", info)
    with (
        open_wave(tmp_path / "a.npz") as wave,
        pytest.raises(BadFileError, match=words),
    ):
        missing_frames(wave, 2)
