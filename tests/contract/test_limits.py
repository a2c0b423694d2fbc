"""The contract at its limits: as many dimensions as numpy has, one element, and more than 2^32 elements."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, ScanShapeError
from lys_storage.disk import File
from tests.helpers import assert_same_array, some

KINDS = pytest.mark.parametrize("kind", ["export", "in progress", "recovered", "numpy", "deflated"])


def opened(folder: Path, kind: str, data: np.ndarray[Any, Any], grid_ndim: int) -> Any:
    path = folder / "data.npz"
    if kind in ("numpy", "deflated"):
        (np.savez if kind == "numpy" else np.savez_compressed)(path, data=data)
        return lys_storage.open_wave(path)
    scan = lys_storage.create(path, data.shape, data.dtype, grid_ndim=grid_ndim)
    scan[...] = data
    return finished(scan, kind)


def finished(scan: lys_storage.Scan, kind: str) -> Any:
    if kind == "export":
        scan.close()
        return lys_storage.open_wave(scan.path)
    scan.suspend()
    if kind == "in progress":
        return lys_storage.open_wave(scan.part_path)
    assert len(lys_storage.recover(scan.path.parent)) == 1
    return lys_storage.open_wave(scan.path)


@KINDS
@pytest.mark.parametrize("grid_ndim", [0, 16, 32])
def test_32_dimensions(tmp_path: Path, kind: str, grid_ndim: int) -> None:
    """All that numpy 1 has."""
    data = some((1,) * 20 + (2,) * 6 + (1,) * 6, "u2")
    with opened(tmp_path, kind, data, grid_ndim) as wave:
        assert (wave.ndim, wave.shape, len(wave.dims), len(wave.axes)) == (32, data.shape, 32, 32)
        assert_same_array(np.asarray(wave), data)
        last = tuple(n - 1 for n in data.shape)
        assert wave[last] == data[last]
        assert_same_array(wave[..., 0, 0, 0, 0, 0, 0], data[..., 0, 0, 0, 0, 0, 0])
        assert_same_array(wave.isel(axis_20=1), data[(slice(None),) * 20 + (1,)])
        assert_same_array(wave[(slice(None, None, -1),) * 32], data[(slice(None, None, -1),) * 32])
        with pytest.raises(FrameIndexError, match="more entries than the 32 dimensions"):
            wave[(0,) * 33]
        expected = 30 if kind in ("numpy", "deflated") else grid_ndim
        assert (wave.grid_ndim, wave.written.ndim, wave.is_complete) == (expected, expected, True)
        assert "axis_31" not in repr(wave) or len(repr(wave).splitlines()) <= 33


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) >= "2.0.0", reason="numpy 2 has 64 dimensions")
def test_several_files_of_32_dimensions_are_refused_where_numpy_has_no_more(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", data=np.zeros((1,) * 32))
    with pytest.raises(ScanShapeError, match="has 32 dimensions, and numpy has no more: open it alone"):
        lys_storage.open_waves([tmp_path / "data.npz"] * 2)


@KINDS
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_one_element(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    data = np.full(shape, 2.5)
    with opened(tmp_path, kind, data, len(shape)) as wave:
        assert float(wave[(0,) * len(shape)]) == 2.5
        assert_same_array(np.asarray(wave), data)
        assert_same_array(wave.read((0,) * len(shape)), np.array(2.5))
        assert wave.written.all()


@pytest.mark.skipif(sys.platform != "linux", reason="files without sparse blocks would need 5 GB of disk")
@pytest.mark.parametrize("kind", ["export", "in progress", "recovered"])
def test_more_elements_and_frames_than_32_bits_count(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.6e9 elements in 70,000 frames of 64 KiB, of which three are written. The file is sparse: no space is claimed."""
    monkeypatch.setattr(File, "preallocate", lambda file, offset, size, **how: False)
    shape, last = (70_000, 256, 256), 69_999
    data = {0: 1, 65_537: 2, last: 3}
    scan = lys_storage.create(tmp_path / "data.npz", shape, "u1", grid_ndim=1)
    for k, value in data.items():
        scan[k] = np.full(shape[1:], value, "u1")
    with finished(scan, kind) as wave:
        assert (wave.size, wave.nbytes) == (70_000 << 16, 70_000 << 16)
        assert wave.size > 1 << 32
        for k, value in data.items():
            assert wave[k, 255, 255] == value
            assert_same_array(wave[k], np.full(shape[1:], value, "u1"))
        assert wave.read((slice(None, None, -4_375), 0, -1)).tolist()[0] == 3
        assert np.flatnonzero(wave.written).tolist() == list(data)
        assert wave.read((65_538, 0)).tolist() == [0] * 256
        if kind != "in progress":
            assert wave.data[last, 255, 255] == 3
            dask = pytest.importorskip("dask", reason="dask is not installed")
            assert dask.compute(wave.to_dask()[-1].max())[0] == 3
