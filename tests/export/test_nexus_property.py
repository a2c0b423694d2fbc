"""Any export is sound as a ZIP archive, for numpy, and for h5py, and the three agree."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import lys_storage
from tests.helpers import assert_same_array, some

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
_DTYPES = [
    "?",
    "i1",
    "u2",
    ">i4",
    "u8",
    ">f2",
    "f4",
    ">f8",
    "c8",
    ">c16",
    "S1",
    "S7",
    "M8[ns]",
    ">m8[3us]",
    "M8[D]",
    "U2",
]
_NUMBERS = ["?", "i1", ">u2", "i8", "u8", "f2", "f4", ">f8", "c8", "c16", "g"]
_AXIS_DTYPES = [*_NUMBERS, "M8[ns]", "M8[s]", ">m8[D]", "m8[5ms]", "S3"]
_TEXT = st.text(max_size=5)
_NOTES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3) | st.tuples(inner),
    max_leaves=8,
)
_LABELS = st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=80)


@st.composite
def _axis(draw: Any, n: int) -> Any:
    kind = draw(st.sampled_from(["none", "plain", "text", "table"]))
    if kind == "none":
        return None
    if kind == "text":
        return np.array(draw(st.lists(_TEXT, min_size=n, max_size=n)), "U")
    dtype = np.dtype(draw(st.sampled_from(_AXIS_DTYPES if kind == "plain" else ["f8", ">i2", "?", "c16"])))
    return draw(hnp.arrays(dtype, (n,) if kind == "plain" else (n, 2), elements=_elements(dtype)))


def _elements(dtype: np.dtype[Any]) -> Any:
    return st.just(np.zeros((), dtype)[()]) if dtype.char == "g" else hnp.from_dtype(dtype)


@st.composite
def _scans(draw: Any) -> dict[str, Any]:
    shape = tuple(draw(st.lists(st.integers(1, 4), max_size=5)))
    if draw(st.integers(0, 19)) == 0:
        shape = (1,) * draw(st.integers(25, 32 - len(shape))) + shape if len(shape) < 7 else shape
    axes = [draw(_axis(n)) for n in shape]
    labels = [draw(_LABELS) for _ in shape]
    return {
        "shape": shape,
        "dtype": draw(st.sampled_from(_DTYPES)),
        "grid_ndim": draw(st.integers(0, len(shape))),
        "axes": axes,
        "axis_names": None if len(set(labels)) < len(labels) else labels,
        "units": draw(st.none() | st.just([draw(_LABELS) for _ in shape])),
        "note": draw(st.dictionaries(_TEXT, _NOTES, max_size=4)),
        "incomplete": draw(st.sampled_from(["fill", "trim"])),
        "hdf5": draw(st.sampled_from([True, True, True, False])),
        "written": draw(st.sampled_from([0.0, 0.3, 0.9, 1.0])),
        "seed": draw(st.integers(0, 99)),
    }


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, one: found.update({name: one}) if isinstance(one, h5py.Dataset) else None)
    return found


def _place(archive: zipfile.ZipFile, raw: bytes, member: str) -> tuple[int, int]:
    info = archive.getinfo(member)
    at = info.header_offset
    sizes = [int.from_bytes(raw[at + k : at + k + 2], "little") for k in (26, 28)]
    return at + 30 + sum(sizes), info.file_size


def _read(dataset: h5py.Dataset, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All of it, in its own byte order, which `dataset[()]` loses if it has no dimension."""
    read = np.empty(like.shape, dataset.dtype)
    dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, read)
    return read.reshape(-1).view(like.dtype).reshape(like.shape)


def _check_hdf5(path: Path, raw: bytes, archive: zipfile.ZipFile, array: np.ndarray[Any, Any]) -> None:
    with h5py.File(path) as file:
        found, data = _datasets(file), file["entry/data"]
        assert_same_array(_read(found["entry/data/data"], array), array)
        for one in found.values():
            at, size = one.id.get_offset(), one.id.get_storage_size()
            assert at is None or size == 0 or 512 < at < at + size <= len(raw)
        for name, member in (("note", "note.json"), ("acquisition", "acquisition.json")):
            one = found[f"entry/{name}"]
            assert (one.id.get_offset(), one.id.get_storage_size()) == _place(archive, raw, member)
            assert json.loads(one[()]) == json.loads(archive.read(member))
        info = json.loads(archive.read("acquisition.json"))
        assert int(np.sum(data["written"][()])) == info["frames_written"]
        shown = [name.decode() for name in data.attrs.get("axes", ())]
        assert len(shown) == array.ndim
        names, places = archive.namelist(), {}
        for k in range(array.ndim):
            if f"axis_{k}.npy" in names:
                at, size = _place(archive, raw, f"axis_{k}.npy")
                places[at + size] = np.load(archive.open(f"axis_{k}.npy"), allow_pickle=False)
        for name in set(data) - {"data", "written"}:
            at, size = data[name].id.get_offset(), data[name].id.get_storage_size()
            if at + size in places and size:
                stored = places.pop(at + size)
                assert_same_array(_read(data[name], stored), stored)
        for k, name in enumerate(shown):
            assert name == "." or data[name].shape == (array.shape[k],)
        left = [axis for axis in places.values() if axis.size and axis.dtype.char not in "gGU"]
        assert left == [], "each axis with a type in HDF5 is shown"


@settings(max_examples=60, deadline=None)
@given(_scans())
def test_each_export_is_sound_for_all_its_readers(case: dict[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        _check(folder, case)
    finally:
        shutil.rmtree(folder)


def _check(folder: Path, case: dict[str, Any]) -> None:
    part, seed = case.pop("written"), case.pop("seed")
    values = some(case["shape"], case["dtype"])
    chosen = np.random.default_rng(seed)
    try:
        scan = lys_storage.create(folder / "a.npz", **case)
    except lys_storage.LysStorageError:
        assert list(folder.iterdir()) == []
        return
    with scan:
        for index in np.ndindex(case["shape"][: case["grid_ndim"]]):
            if chosen.random() < part:
                scan[index] = values[index]
    raw = scan.path.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["a.npz"]
    assert lys_storage.verify(scan.path) == []
    with zipfile.ZipFile(scan.path) as archive:
        assert archive.testzip() is None
        with np.load(scan.path) as loaded:
            array = loaded["data"]
        with lys_storage.open_wave(scan.path, verify=True) as wave:
            assert_same_array(np.asarray(wave.data), array)
            assert len(wave.axes) == array.ndim
        has_type = array.dtype.kind != "U"
        assert h5py.is_hdf5(scan.path) is (case["hdf5"] and has_type)
        if case["hdf5"] and has_type:
            assert int.from_bytes(raw[540:548], "little") == len(raw), (
                "the end of file address; HDF5 cuts the file there"
            )
            _check_hdf5(scan.path, raw, archive, array)
            with h5py.File(scan.path, "r+"):
                pass
            assert scan.path.read_bytes() == raw
