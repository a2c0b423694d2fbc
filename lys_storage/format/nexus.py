"""The HDF5/NeXus side of a scan file and of its export: the same bytes of the array, as `/entry/data/data`. Pure encode.

NeXus: NXroot, NXentry and NXdata (base classes, https://manual.nexusformat.org/classes/base_classes/). docs/format.md lists
the objects. HDF5 looks for its superblock at 0, 512, 1024, ...: at 512 there are zeros in a ZIP archive that is aligned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import HDF5_HEAD_BYTES, HDF5_OFFSET, DataLayout
from .axes_and_note import Axes
from .axis_labels import Labels
from .description import Description
from .hdf5 import (
    MAX_RANK,
    SUPERBLOCK_BYTES,
    Dataset,
    Objects,
    Value,
    datatype,
    group,
    superblock,
    text_dataset,
    text_type,
)

_BOOL = datatype(np.dtype(bool)) or b""
_MAX_NAME_BYTES = 255
_MAX_TEXT_AXIS = 1 << 20
TIME_UNITS = {
    "Y": "years",
    "M": "months",
    "W": "weeks",
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "ps": "picoseconds",
    "fs": "femtoseconds",
    "as": "attoseconds",
}
"""The words of the CF conventions for the units of numpy's times."""
_INTERPRETATIONS = {0: "scalar", 1: "spectrum", 2: "image"}
"""NXdata's `interpretation` of the last dimensions, by the number of dimensions of a frame."""
Place = tuple[int, int]
"""Offset in the file, and size, in bytes."""


def scan_block(layout: DataLayout, grid_ndim: int) -> bytes:
    """What is at HDF5_OFFSET of a scan in progress: the superblock, and a small tree with the attribute `incomplete`.

    Its dataset `written` has no data, and reads as False: only the journal knows which frames are written.
    """
    objects, incomplete = Objects(SUPERBLOCK_BYTES), ("incomplete", 1)
    data = _array(layout, grid_ndim, [incomplete])
    written = Dataset(layout.shape[:grid_ndim], _BOOL)
    axes = (".",) * len(layout.shape)
    root = _tree(objects, {"data": data, "written": written}, axes, {}, [incomplete])
    block = superblock(HDF5_OFFSET, layout.array_end, root) + objects.encode()
    if len(block) > HDF5_HEAD_BYTES:
        raise AssertionError(f"{len(block)} bytes of HDF5 metadata, expected at most {HDF5_HEAD_BYTES}")
    return block


def scan_heads(description: Description, layout: DataLayout) -> list[tuple[int, bytes]]:
    """The bytes before the array of a scan in progress, as DataLayout.heads gives them."""
    return layout.heads(block=scan_block(layout, description.grid_ndim) if layout.hdf5 else b"")


@dataclass(frozen=True)
class Contents:
    """What the tree of an export shows. A place is that of bytes in the file; an axis without one is left out.

    `written`: a place, or None if all frames are written.
    """

    layout: DataLayout
    description: Description
    ended: str
    axes: Axes
    axis_places: Sequence[Place | None]
    names: Sequence[str]
    note: Place
    acquisition: Place
    written: Place | None


def export_objects(contents: Contents, offset: int) -> tuple[bytes, int]:
    """The objects of an export, to be written at `offset` in the file, and the address of its root group."""
    c, labels = contents, contents.description
    start = offset - HDF5_OFFSET
    objects = Objects(start + -start % 8)
    data = {"data": _array(c.layout, labels.grid_ndim, [])}
    units = labels.units or (None,) * len(c.layout.shape)
    shown = ["."] * len(c.layout.shape)
    for k, (axis, place) in enumerate(zip(c.axes, c.axis_places, strict=True)):
        dataset = None if axis is None else _axis(objects, axis, place, units[k])
        if axis is not None and dataset is not None:
            data[c.names[k]] = dataset
            shown[k] = c.names[k] if axis.ndim == 1 else "."
    grid = c.layout.shape[: labels.grid_ndim]
    data["written"] = Dataset(grid, _BOOL, fill=1) if c.written is None else Dataset(grid, _BOOL, _address(c.written))
    entry = {
        "start_time": text_dataset(labels.started),
        "end_time": text_dataset(c.ended),
        "program_name": text_dataset(labels.software),
        "note": _text_at(c.note),
        "acquisition": _text_at(c.acquisition),
    }
    root = _tree(objects, data, shown, entry, [])
    return bytes(-start % 8) + objects.encode(), root


def export_block(end_of_file: int, root: int) -> bytes:
    """What is at HDF5_OFFSET of an export of `end_of_file` bytes: the superblock, which leads to the tail."""
    return superblock(HDF5_OFFSET, end_of_file, root)


def _tree(
    objects: Objects,
    data: Mapping[str, Dataset],
    axes: Sequence[str],
    entry: Mapping[str, Dataset],
    attributes: list[tuple[str, Value]],
) -> int:
    """Append the groups `/`, `/entry` and `/entry/data`. Returns the address of the root group."""
    links = [(name, objects.add(dataset.encode())) for name, dataset in data.items()]
    shown: list[tuple[str, Value]] = [("NX_class", "NXdata"), ("signal", "data")]
    if axes:
        shown.append(("axes", axes))
    inner = objects.add(group(links, [*shown, *attributes]))
    links = [("data", inner), *((name, objects.add(dataset.encode())) for name, dataset in entry.items())]
    outer = objects.add(group(links, [("NX_class", "NXentry"), ("default", "data"), *attributes]))
    top: list[tuple[str, Value]] = [("NX_class", "NXroot"), ("default", "entry"), *attributes]
    return objects.add(group([("entry", outer)], top, refuses_writing=True))


def _array(layout: DataLayout, grid_ndim: int, attributes: list[tuple[str, Value]]) -> Dataset:
    interpretation = _INTERPRETATIONS.get(len(layout.shape) - grid_ndim)
    shown: list[tuple[str, Value]] = [("interpretation", interpretation)] if interpretation else []
    kind = datatype(layout.dtype)
    assert kind is not None
    place = layout.array_offset - HDF5_OFFSET, layout.array_size
    return Dataset(layout.shape, kind, place, attributes=(*shown, *_time_attributes(layout.dtype), *attributes))


def _axis(objects: Objects, axis: np.ndarray[Any, Any], place: Place | None, unit: str | None) -> Dataset | None:
    """The dataset of an axis; None if HDF5 has no type for it. Text is stored again, as UTF-8."""
    attributes: list[tuple[str, Value]] = [("units", unit)] if unit else []
    kind = datatype(axis.dtype)
    if kind is not None and place is not None and axis.ndim <= MAX_RANK:
        attributes = [*(each for each in _time_attributes(axis.dtype) if each[0] != "units" or not unit), *attributes]
        return Dataset(axis.shape, kind, _address(place), attributes=tuple(attributes))
    if axis.dtype.kind != "U" or axis.size == 0:
        return None
    try:
        texts = [str(text).encode() for text in axis.ravel()]
    except UnicodeEncodeError:  # a surrogate
        return None
    width = max(1, *map(len, texts))
    if width * len(texts) > _MAX_TEXT_AXIS:
        return None
    raw = b"".join(text.ljust(width, b"\0") for text in texts)
    return Dataset(axis.shape, text_type(width), (objects.add(raw), len(raw)), attributes=tuple(attributes))


def _time_attributes(dtype: np.dtype[Any]) -> list[tuple[str, Value]]:
    """For times, which HDF5 shows as integers: their unit, in the words of CF, and the dtype of numpy."""
    if dtype.kind not in "mM":
        return []
    unit, count = np.datetime_data(dtype)
    attributes: list[tuple[str, Value]] = [("numpy_dtype", dtype.str)]
    if unit in TIME_UNITS and count == 1:
        attributes.append(("units", TIME_UNITS[unit] + (" since 1970-01-01T00:00:00" if dtype.kind == "M" else "")))
    return attributes


def _text_at(place: Place) -> Dataset:
    return Dataset((), text_type(place[1]), _address(place))


def _address(place: Place) -> Place:
    return place[0] - HDF5_OFFSET, place[1]


def axis_dataset_names(names: Labels, note: Mapping[Any, Any], shape: tuple[int, ...]) -> list[str]:
    """A valid, unique name for the dataset of each axis: its name, else that of lys_instr's `scanNames`, else axis_0, ...

    Valid in HDF5, in netCDF and in a Unix path: no "/", no NUL, not "." or "..", at most 255 bytes in UTF-8.
    """
    scan_names = note.get("scanNames")
    listed = list(scan_names) if isinstance(scan_names, list | tuple) else []
    result: list[str] = []
    for k in range(len(shape)):
        known = names[k] if k < len(names) else None
        if known is None and k < len(listed) and isinstance(listed[k], str):
            known = listed[k]
        valid = _valid_name(known or "") or f"axis_{k}"
        name, n = valid, 2
        while name in result or name in ("data", "written"):
            suffix = f"_{n}"
            name, n = _cut(valid, _MAX_NAME_BYTES - len(suffix)) + suffix, n + 1
        result.append(name)
    return result


def _valid_name(name: str) -> str:
    text = "".join(c if c.isprintable() and c != "/" else "_" for c in name).strip()
    return "" if text in (".", "..") else _cut(text, _MAX_NAME_BYTES)


def _cut(text: str, size: int) -> str:
    """The beginning of `text`, of at most `size` bytes in UTF-8."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
