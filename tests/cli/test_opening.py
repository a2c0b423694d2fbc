"""`lys-storage info` says how other programs open an export: each way gives the array, bit for bit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage.cli import main

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u2", ">f4", "c8", "?", "M8[s]", "U3"]
IMAGEJ = {"8-bit": "u1", "16-bit Unsigned": "u2", "16-bit Signed": "i2", "32-bit Unsigned": "u4", "32-bit Signed": "i4"}
IMAGEJ |= {"32-bit Real": "f4", "64-bit Real": "f8"}


def ways_of(path: Path) -> dict[str, str]:
    result = CliRunner().invoke(main, ["info", "--json", str(path)])
    assert result.exit_code == 0, result.output
    ways: dict[str, str] = json.loads(result.stdout)["open_with"]
    return ways


def some(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def python(way: str) -> Any:
    return eval(way, {"numpy": np, "lys_storage": lys_storage})


def as_matlab(way: str) -> np.ndarray[Any, Any]:
    """What memmapfile reads: the first dimension is the fastest."""
    found = re.fullmatch(
        r"m = memmapfile\('(.*)', 'Offset', (\d+), 'Format', \{'(\w+)', \[([\d ]+)\], 'data'\}, 'Repeat', 1\); m.Data.data",
        way,
    )
    assert found
    path, offset, kind, size = found.groups()
    names = {"single": "f4", "double": "f8"}
    dtype = np.dtype(names.get(kind, kind)).newbyteorder("<")
    shape = tuple(map(int, size.split()))
    return np.array(np.memmap(path.replace("''", "'"), dtype, "r", int(offset), shape, "F"))


def as_imagej(path: Path, way: str) -> np.ndarray[Any, Any]:
    found = re.fullmatch(
        r"File > Import > Raw: ([\w\- ]+), width (\d+), height (\d+), offset (\d+), number of images (\d+), gap 0(, little-.*)?",
        way,
    )
    assert found
    kind, width, height, offset, images, little = found.groups()
    dtype = np.dtype(IMAGEJ[kind]).newbyteorder("<" if little else ">")
    shape = (int(images), int(height), int(width))
    return np.array(np.memmap(path, dtype, "r", int(offset), shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 5), (6,), ()])
def test_each_way_gives_the_array(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    data, path = some(shape, dtype), tmp_path / "it's.npz"
    with lys_storage.create(path, shape, dtype, grid_ndim=0) as scan:
        scan[...] = data
    ways = ways_of(path)
    assert np.array_equal(python(ways["numpy"]), data)
    assert ways["numpy"].startswith("numpy.memmap")
    with python(ways["lys_storage"]) as wave:
        assert np.array_equal(wave.read(), data)
    has_matlab = bool(shape) and data.dtype.kind in "iuf" and dtype[0] != ">"
    assert ("MATLAB" in ways) == has_matlab
    if has_matlab:
        assert np.array_equal(as_matlab(ways["MATLAB"]).T.reshape(shape), data)
    assert ("ImageJ" in ways) == (len(shape) > 1 and data.dtype.str[1:] in IMAGEJ.values())
    if "ImageJ" in ways:
        assert np.array_equal(as_imagej(path, ways["ImageJ"]).reshape(shape), data)


def test_an_array_in_fortran_order(tmp_path: Path) -> None:
    data = np.asfortranarray(some((2, 3, 4), "f4"))
    np.savez(tmp_path / "a.npz", data=data)
    ways = ways_of(tmp_path / "a.npz")
    assert np.array_equal(python(ways["numpy"]), data)
    assert np.array_equal(as_matlab(ways["MATLAB"]), data)
    assert "ImageJ" not in ways


@pytest.mark.parametrize("kind", ["compressed", "structured", "empty"])
def test_what_is_no_raw_array_is_loaded_by_numpy(tmp_path: Path, kind: str) -> None:
    data = {"structured": np.zeros(3, [("a", "u2"), ("b", "f4")]), "empty": np.zeros((0, 3))}.get(
        kind, some((3, 4), "u2")
    )
    (np.savez_compressed if kind == "compressed" else np.savez)(tmp_path / "a.npz", data=data)
    ways = ways_of(tmp_path / "a.npz")
    assert set(ways) == {"lys_storage", "lys", "xarray", "numpy"}
    assert np.array_equal(python(ways["numpy"]), data)


def test_xarray_opens_it(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")
    np.savez(tmp_path / "a.npz", data=some((3, 4), "f8"))
    with eval(ways_of(tmp_path / "a.npz")["xarray"], {"xarray": xarray}) as dataset:
        assert np.array_equal(dataset.data, some((3, 4), "f8"))


def test_the_text_has_a_line_for_each_program(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (2, 3, 4), "u2", grid_ndim=1) as scan:
        scan[...] = 1
    lines = CliRunner().invoke(main, ["info", str(tmp_path / "a.npz")]).stdout.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("open with")] == [
        *("lys_storage", "lys", "xarray", "h5py", "numpy", "MATLAB", "ImageJ")
    ]
    assert any(line.startswith("array offset") for line in lines)


def test_h5py_opens_it(tmp_path: Path) -> None:
    """An array that HDF5 has no type for, and a file of another program, have no such line."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
    for name, dtype in (("a", "u2"), ("b", "U3")):
        with lys_storage.create(tmp_path / f"{name}.npz", (3, 4), dtype) as scan:
            scan[...] = some((3, 4), dtype)
    np.savez(tmp_path / "c.npz", data=some((3, 4), "f8"))
    assert np.array_equal(eval(ways_of(tmp_path / "a.npz")["h5py"], {"h5py": h5py}), some((3, 4), "u2"))
    assert ["h5py" in ways_of(tmp_path / f"{name}.npz") for name in "bc"] == [False, False]
