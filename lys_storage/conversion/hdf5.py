"""Writes an array as HDF5 with the structure of NeXus: NXroot, NXentry, NXdata.

/entry/data has the array `data`, its coordinates, and `written` if frames are missing. /entry/note is an NXnote, whose
`data` is the note as JSON. NeXus: https://manual.nexusformat.org/classes/base_classes/NXdata.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConversionError, MissingExtraError, install_command
from .elements import Array, Elements, as_they_are, encoded_texts, times
from .given import Given
from .stream import output_stream

_BLOCK, _CHUNK = 8 << 20, 1 << 20
"""Bytes. HDF5 caches chunks up to 1 MiB by default."""
_GZIP_LEVEL = 1
_MOST_DIMENSIONS = 32


def import_h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(f"HDF5 needs h5py ({error}): {install_command('hdf5')}") from None
    return h5py


def write_hdf5(path: Path, given: Given, compress: bool) -> None:
    h5py = import_h5py()
    if len(given.shape) > _MOST_DIMENSIONS:
        raise ConversionError(f"an HDF5 dataset has at most {_MOST_DIMENSIONS} dimensions, not {len(given.shape)}")
    elements, stored = hdf5_elements(h5py, given.dtype)
    with output_stream(path) as stream, h5py.File(stream, "w", libver=("earliest", "v110")) as file:
        data = begin_nexus(file, given, note=given.note)
        block = given.block(_CHUNK)
        options: dict[str, Any] = {}
        if compress and given.shape and 0 not in given.shape:
            options = {"chunks": block, "compression": "gzip", "compression_opts": _GZIP_LEVEL, "shuffle": True}
        array = data.create_dataset("data", given.shape, stored, **options)
        array.attrs.update(elements.attributes)
        add_axes(h5py, data, given.names, given.points, given.units, given.warn)
        add_written(data, given.written)
        array.attrs.update(given.about_frames)
        for k, name in enumerate(given.names):
            array.dims[k].label = name
        for box, part in stream.until_failure(given.blocks(_CHUNK if options else _BLOCK)):
            array[box or ()] = elements.convert(part)


def begin_nexus(file: Any, given: Given | None, *, note: str) -> Any:
    """The groups of NeXus in an empty file. Returns /entry/data."""
    file.attrs.update({"NX_class": "NXroot", "default": "entry"})
    entry = file.create_group("entry")
    entry.attrs.update({"NX_class": "NXentry", "default": "data"})
    for name, fact in (("start_time", "started"), ("end_time", "ended"), ("entry_identifier", "scan_id")):
        value = given.fact(fact) if given is not None else None
        if value is not None:
            entry[name] = value
    noted = entry.create_group("note")
    noted.attrs["NX_class"] = "NXnote"
    noted["type"] = "application/json"
    noted["data"] = note
    data = entry.create_group("data")
    data.attrs.update({"NX_class": "NXdata", "signal": "data"})
    return data


def add_axes(
    h5py: Any,
    data: Any,
    names: tuple[str, ...],
    points: list[Array | None],
    units: list[str | None],
    warn: Any,
) -> None:
    """A dataset for each dimension with coordinates; "." stands for the others."""
    axes = []
    for k, (name, values, unit) in enumerate(zip(names, points, units, strict=True)):
        kept = "."
        if values is not None:
            try:
                elements, stored = hdf5_elements(h5py, values.dtype)
                axis = data.create_dataset(name, values.shape, stored, data=elements.convert(values))
                axis.attrs.update(({} if unit is None else {"units": unit}) | elements.attributes)
                data.attrs[f"{name}_indices"] = k
                kept = name
            except (ConversionError, TypeError, ValueError) as error:
                warn(f"the axis of {name} is left out: {error}")
                if name in data:
                    del data[name]
        axes.append(kept)
    if axes:
        data.attrs.create("axes", axes, dtype=h5py.string_dtype())


def add_written(data: Any, written: Any) -> None:
    """`written`: of each frame whether it was written; None if all were."""
    if written is not None:
        options = {"compression": "gzip"} if written.size > 1 and written.ndim else {}
        data.create_dataset("written", data=written, **options)


def hdf5_elements(h5py: Any, dtype: np.dtype[Any]) -> tuple[Elements, Any]:
    """How elements of `dtype` are stored, and the dtype of the dataset. Raises ConversionError."""
    if dtype.kind in "mM":
        return times(dtype, "as"), np.dtype("i8")
    if dtype.kind == "U":
        text = h5py.string_dtype("utf-8", dtype.itemsize)  # a character has at most 4 bytes, in UTF-8 and in numpy
        return Elements(text, lambda block: encoded_texts(block).astype(text)), text
    try:
        h5py.h5t.py_create(dtype, logical=True)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"HDF5 has no type for elements of dtype {dtype}: {error}") from None
    return as_they_are(dtype), dtype
