"""Writes an array as netCDF-4, with h5netcdf: a variable `data`, a coordinate variable for each axis, and attributes.

The conventions are those of CF and of xarray: times are int64 with `units` and `calendar`, and a bool is an int8 with the
attribute `dtype`, "bool".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConversionError, MissingExtraError, install_command
from .elements import NOT_A_TIME, Elements, as_they_are, cast_to, plain_texts, times
from .given import Given
from .stream import output_stream

_BLOCK, _CHUNK = 8 << 20, 1 << 20
_MOST_OF_AN_ATTRIBUTE = 60_000
_MOST_DIMENSIONS = 32


def write_netcdf(path: Path, given: Given, compress: bool) -> None:
    try:
        import h5netcdf
        import h5py
    except ImportError as error:
        raise MissingExtraError(f"netCDF needs h5netcdf ({error}): {install_command('netcdf')}") from None
    if 0 in given.shape:
        raise ConversionError(f"netCDF has no dimension of length 0: the shape is {given.shape}")
    if len(given.shape) > _MOST_DIMENSIONS:
        raise ConversionError(f"a netCDF-4 variable has at most {_MOST_DIMENSIONS} dimensions, not {len(given.shape)}")
    elements = netcdf_elements(given.dtype)
    text = h5py.string_dtype()
    with (
        output_stream(path) as stream,
        h5py.File(stream, "w", track_order=True) as whole,  # closed also if the next line is interrupted
        h5netcdf.File(whole, "w") as file,
    ):
        file.dimensions = dict(zip(given.names, given.shape, strict=True))
        options: dict[str, Any] = {}
        if compress and given.shape:
            options = {"chunks": given.block(_CHUNK), "compression": "gzip", "compression_opts": 1, "shuffle": True}
        dtype = text if elements.dtype == object else elements.dtype
        data = file.create_variable("data", given.names, dtype, **options)
        _describe(data, elements, given.about_frames)
        _add_axes(file, given, text)
        if given.written is not None:
            flags = cast_to("i1", dtype="bool")
            written = file.create_variable("written", given.names[: given.written.ndim], flags.dtype)
            _describe(written, flags, {"long_name": "whether the frame was written"})
            written[...] = flags.convert(given.written)
        for name, value in [
            ("note", given.note),
            *((fact, given.fact(fact)) for fact in ("started", "ended", "scan_id")),
        ]:
            if value is not None and len(value) > _MOST_OF_AN_ATTRIBUTE:
                given.warn(f"the {name} is left out: its {len(value):,} bytes do not fit into an attribute")
            elif value is not None:
                file.attrs[name] = value
        for box, part in stream.until_failure(given.blocks(_CHUNK if options else _BLOCK)):
            data[box or ...] = elements.convert(part)


def _add_axes(file: Any, given: Given, text: Any) -> None:
    for name, elements, values, attributes in given.converted_axes(given.names, netcdf_elements):
        axis = file.create_variable(name, (name,), text if elements.dtype == object else elements.dtype)
        axis.attrs.update(attributes)
        axis[...] = values


def _describe(variable: Any, elements: Elements, more: dict[str, Any]) -> None:
    for key, value in (more | elements.attributes).items():
        variable.attrs[key] = value


def netcdf_elements(dtype: np.dtype[Any]) -> Elements:
    """How elements of `dtype` are stored in netCDF and Zarr by the conventions of xarray. Raises ConversionError."""
    if dtype.kind in "iu" or (dtype.kind == "f" and 2 < dtype.itemsize <= 8):
        return as_they_are(dtype)
    if dtype == np.float16:
        return cast_to("<f4")
    if dtype.kind == "b":
        return cast_to("i1", dtype="bool")
    if dtype.kind in "mM":
        found = times(dtype, "ns")
        return Elements(found.dtype, found.convert, {"_FillValue": np.int64(NOT_A_TIME), **found.attributes})
    if dtype.kind == "U":
        return Elements(np.dtype(object), plain_texts)
    raise ConversionError(f"netCDF has no type for elements of dtype {dtype}: convert to .h5 or .npy")
