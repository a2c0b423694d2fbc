"""Each dtype in each format: the same values, or an error in words. Read with the readers of the formats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ConversionError, convert
from tests.conversion.readers import SUFFIXES, array_in, dataset_in, need
from tests.helpers import files, some

NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u2", ">i4", ">f8"]
COMPLEX = ["c8", "c16", ">c8"]
LONG = ["g", "G"] if np.dtype("g") != np.dtype("f8") else []  # else they are "f8" and "c16"
TIMES = ["M8[s]", "M8[ns]", ">M8[us]", "m8[ms]", "M8[D]", "M8[M]", "M8[25s]"]
FINE = ["M8[ps]", "m8[as]"]
TEXTS = ["U3", ">U3"]
FIELDS = [("a", "u2"), ("b", "f4", (2,))]
OTHERS = ["S5", "V3", FIELDS]
HELD = {
    ".h5": [*NUMBERS, "?", "f2", *COMPLEX, *LONG, *TIMES, *FINE, *TEXTS, *OTHERS],
    ".nc": [*NUMBERS, "?", "f2", *TIMES, *TEXTS],
    ".zarr": [*NUMBERS, "?", "f2", *COMPLEX, *TIMES, *TEXTS],
    ".tif": [*NUMBERS, "?", "f2"],
    ".npy": [*NUMBERS, "?", "f2", *COMPLEX, *LONG, *TIMES, *FINE, *TEXTS, *OTHERS],
}
ALL = HELD[".npy"]
UNITS = {"M8[D]": "D", "M8[M]": "D", "M8[25s]": "s"}


def write(path: Path, data: np.ndarray[Any, Any], grid_ndim: int = 1, **options: Any) -> Path:
    with lys_storage.create(path, data.shape, data.dtype, grid_ndim=grid_ndim, **options) as scan:
        for index in np.ndindex(data.shape[:grid_ndim]):
            scan[index] = data[index]
    return scan.path


def sample(dtype: Any) -> np.ndarray[Any, Any]:
    """With the extremes of the dtype, NaN or NaT."""
    data = some((3, 2, 4), dtype)
    if data.dtype.kind in "iu":
        limits = np.iinfo(data.dtype)
        data[0, 0, :2] = limits.min, limits.max
    elif data.dtype.kind == "f":
        data[0, 0, :3] = np.nan, -np.inf, -0.0
    elif data.dtype.kind == "c":
        data[0, 0, 0] = complex(np.nan, -np.inf)
    elif data.dtype.kind in "mM":
        data[0, 0, 0] = "NaT"
    elif data.dtype.kind == "U":
        data[0, 0, :2] = "", "é€𝄞"
    return data


def as_stored(data: np.ndarray[Any, Any], suffix: str) -> np.ndarray[Any, Any]:
    """What the reader of the format gives."""
    kind = data.dtype.kind
    if suffix == ".npy":
        return data
    if kind == "b" and suffix in (".nc", ".tif"):
        return data.astype("i1" if suffix == ".nc" else "u1")
    if data.dtype == np.float16 and suffix in (".nc", ".tif"):
        return data.astype("f4")
    if kind in "mM":
        unit, _ = np.datetime_data(data.dtype)
        unit = {"M": "D"}.get(unit, unit)
        return data.astype(f"{kind}8[{unit}]").view("i8")
    if kind == "U":
        return np.char.encode(data, "utf-8") if suffix == ".h5" else data.astype(object)
    return data


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("suffix", HELD)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_each_value_is_kept_or_the_dtype_is_refused(tmp_path: Path, suffix: str, dtype: Any, compress: bool) -> None:
    need(suffix)
    data, out = sample(dtype), tmp_path / f"b{suffix}"
    path = write(tmp_path / "a.npz", data)
    if compress and suffix == ".npy":
        with pytest.raises(ConversionError, match="cannot be compressed"):
            convert(path, out, compress=True)
        return
    if dtype not in HELD[suffix]:
        with pytest.raises(ConversionError, match=r"b\.|dtype"):
            convert(path, out, compress=compress)
        assert [name for name in os.listdir(tmp_path) if "b." in name or "tmp" in name] == []
        return
    result = convert(path, out, compress=compress)
    assert (result.path, result.shape, result.dtype, result.frames_missing) == (out, data.shape, str(data.dtype), 0)
    seen, expected = array_in(out), as_stored(data, suffix)
    assert seen.shape == expected.shape
    if expected.dtype == object or expected.dtype.kind == "S":
        assert seen.tolist() == expected.tolist()
    else:
        assert seen.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert seen.astype(expected.dtype).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["?", "M8[s]", "M8[ns]", "M8[D]", "m8[ms]", ">u2", "f4", "U3"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_xarray_gives_the_values_of_the_scan(tmp_path: Path, suffix: str, dtype: str) -> None:
    """Also zeros: no fill value makes them missing."""
    need(suffix)
    data = sample(dtype)
    if data.dtype.kind in "uf":
        data[1] = 0
    convert(write(tmp_path / "a.npz", data), tmp_path / f"b{suffix}")
    options = {"decode_timedelta": True} if dtype[0] == "m" else {}
    seen = dataset_in(tmp_path / f"b{suffix}", **options).data.values
    assert seen.dtype.kind in (data.dtype.kind, "O", "T")
    if data.dtype.kind in "mM":
        assert ((seen == data) | (np.isnat(seen) & np.isnat(data))).all()
    else:
        assert np.array_equal(seen, data, equal_nan=data.dtype.kind == "f")


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr"])
def test_a_time_that_does_not_fit_is_an_error(tmp_path: Path, suffix: str) -> None:
    """The year 10^17 in days is more than an int64 holds."""
    need(suffix)
    path = write(tmp_path / "a.npz", np.full((2, 3), 10**17, "i8").view("M8[Y]"))
    with pytest.raises(ConversionError, match="out of the range of 64 bits in days"):
        convert(path, tmp_path / f"b{suffix}")
    assert files(tmp_path) == {"a.npz"}


@pytest.mark.parametrize(("text", "said"), [("\ud800", "UTF-8"), ("a\0b", "null character")])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_text_that_the_format_cannot_hold_is_an_error(tmp_path: Path, suffix: str, text: str, said: str) -> None:
    need(suffix)
    path = write(tmp_path / "a.npz", np.full((2, 3), text))
    with pytest.raises(ConversionError, match=said):
        convert(path, tmp_path / f"b{suffix}")
    assert files(tmp_path) == {"a.npz"}


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_zarr_are_written(tmp_path: Path, version: int) -> None:
    need(".zarr")
    import zarr

    data = sample(">i4")
    convert(write(tmp_path / "a.npz", data), tmp_path / "b.zarr", zarr_format=version)
    assert zarr.open_group(tmp_path / "b.zarr", mode="r").metadata.zarr_format == version
    assert np.array_equal(array_in(tmp_path / "b.zarr"), data)
    assert np.array_equal(dataset_in(tmp_path / "b.zarr").data, data)
    assert dataset_in(tmp_path / "b.zarr").data.dtype.kind == "i"
    with pytest.raises(ConversionError, match="expected 2 or 3"):
        convert(tmp_path / "a.npz", tmp_path / "c.zarr", zarr_format=4)


SHAPES = [(), (1,), (5,), (1, 1), (3, 4), (2, 3, 4), (2, 3, 4, 5), (2, 1, 3, 2, 4), (1,) * 28 + (2, 1, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape)}-d")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "compressed"])
def test_arrays_of_up_to_32_dimensions(tmp_path: Path, suffix: str, shape: tuple[int, ...], compress: bool) -> None:
    need(suffix)
    data, out = some(shape, "u2"), tmp_path / f"b{suffix}"
    convert(write(tmp_path / "a.npz", data, max(0, len(shape) - 2)), out, compress=compress and suffix != ".npy")
    seen = array_in(out)
    if suffix == ".tif":
        seen = seen.reshape(shape)
    assert (seen.shape, seen.dtype) == (shape, data.dtype)
    assert np.array_equal(seen, data)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4), (0,)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_array_without_elements(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    """lys can write one. A dimension of netCDF is not empty, and a TIFF has a page."""
    need(suffix)
    np.savez(tmp_path / "a.npz", data=np.zeros(shape, "u2"))
    if suffix in (".nc", ".tif"):
        with pytest.raises(ConversionError, match="shape"):
            convert(tmp_path / "a.npz", tmp_path / f"b{suffix}")
    else:
        convert(tmp_path / "a.npz", tmp_path / f"b{suffix}")
        assert array_in(tmp_path / f"b{suffix}").shape == shape
