"""The description of a scan in its journal: pure encode and decode. docs/format.md names the fields.

Checks each field that it decodes: recovery finds and fills files by them.
"""

from __future__ import annotations

import ast
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from ..errors import BadFileError
from .alignment import PAGE
from .axis_labels import Labels, check_axis_names, check_units
from .names import export_name, is_export, is_file_name
from .npy import LITERAL_ERRORS, check_dtype, check_shape

MAX_FRAMES = 1 << 31
"""The most frames of a grid: the journal holds five to seven bytes for each."""


@dataclass(frozen=True)
class Description:
    """What a scan is. `fill`: the bytes of one element. `started`: UTC in ISO 8601. `number`: None if it has none.

    `axis_names`, `units`: one for each dimension, or () if none were given. `hdf5`: whether its file is an HDF5 file as well.
    """

    scan_id: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grid_ndim: int
    fill: bytes
    array_offset: int
    final: str
    stem: str
    number: int | None
    replace: bool
    started: str
    software: str
    axis_names: Labels = ()
    units: Labels = ()
    hdf5: bool = False

    @property
    def frames(self) -> int:
        return prod(self.shape[: self.grid_ndim])

    @property
    def frame_bytes(self) -> int:
        return prod(self.shape[self.grid_ndim :]) * self.dtype.itemsize


def encode_description(description: Description) -> bytes:
    fields = asdict(description)
    fields["dtype"] = repr(npy_format.dtype_to_descr(description.dtype))
    fields["fill"] = description.fill.hex()
    for name in ("axis_names", "units", "hdf5"):
        if not fields[name]:
            del fields[name]
    return json.dumps(fields, ensure_ascii=True).encode()


def decode_description(data: bytes) -> Description:
    """The description in `data`. Raises BadFileError if a field is missing or invalid."""
    try:
        fields = json.loads(data)
        fields["dtype"] = check_dtype(npy_format.descr_to_dtype(ast.literal_eval(fields["dtype"])))
        fields["shape"] = check_shape(fields["shape"], fields["dtype"])
        fields["fill"] = bytes.fromhex(fields["fill"])
        ndim = len(fields["shape"])
        fields["axis_names"] = check_axis_names(fields.get("axis_names") or None, ndim)
        fields["units"] = check_units(fields.get("units") or None, ndim)
        fields.setdefault("hdf5", False)
        description = Description(**{name: fields[name] for name in Description.__dataclass_fields__})
        texts = ("scan_id", "started", "software")
        if any(
            type(getattr(description, name)) is not str or not getattr(description, name).isprintable()
            for name in texts
        ):
            raise ValueError("scan_id, started or software is not printable text")
        if any(type(flag) is not bool for flag in (description.replace, description.hdf5)):
            raise ValueError("replace or hdf5 is not a bool")
        if type(description.array_offset) is not int:
            raise ValueError("array_offset is not an int")
        if type(description.grid_ndim) is not int or not 0 <= description.grid_ndim <= len(description.shape):
            raise ValueError(f"grid of {description.grid_ndim} dimensions in an array of shape {description.shape}")
        if description.frames > MAX_FRAMES:
            raise ValueError(f"grid of {description.frames:,} frames, expected at most {MAX_FRAMES:,}")
        if len(description.fill) != description.dtype.itemsize or description.array_offset % PAGE:
            raise ValueError(f"fill is not one element, or array_offset is not a multiple of {PAGE}")
        names = (description.final, description.stem)
        if any(type(name) is not str or not is_file_name(export_name(name)) for name in names):
            raise ValueError(f"names {names}, expected file names")
        if description.number is not None and not (type(description.number) is int and description.number >= 0):
            raise ValueError(f"number {description.number!r}, expected null or an integer of at least 0")
        if not is_export(description.final):
            raise ValueError(f"final name {description.final!r}, expected the name of an export")
        datetime.fromisoformat(description.started).timestamp()
    except (*LITERAL_ERRORS, SyntaxError, RecursionError, MemoryError) as error:
        raise BadFileError(f"the description of the scan is invalid: {error}") from error
    return description
