"""Which elements a format can hold, and as what. A value is never changed: what does not fit is a ConversionError.

Times are int64 with a unit since 1970 (the convention of CF), as netCDF and Zarr have no type for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConversionError
from ..format import TIME_UNITS

Array = np.ndarray[Any, Any]
NOT_A_TIME = -(1 << 63)
"""What NaT is as an int64."""
_LONGER = {"Y": "D", "M": "D", "W": "D"}
_UNITS = {unit: words for unit, words in TIME_UNITS.items() if unit not in _LONGER}


@dataclass(frozen=True)
class Elements:
    """How elements of a dtype are stored: as `dtype`, by `convert`, with `attributes` that tell what they are."""

    dtype: np.dtype[Any]
    convert: Callable[[Array], Array] = lambda block: block
    attributes: dict[str, Any] = field(default_factory=dict)


def as_they_are(dtype: np.dtype[Any]) -> Elements:
    return Elements(dtype)


def cast_to(dtype: Any, /, **attributes: Any) -> Elements:
    """As another dtype, which holds each value."""
    target = np.dtype(dtype)
    return Elements(target, lambda block: block.astype(target), attributes)


def times(dtype: np.dtype[Any], finest: str) -> Elements:
    """datetime64 or timedelta64 as int64. `finest`: the finest unit that readers of the format know. NaT is NOT_A_TIME."""
    unit, _ = np.datetime_data(dtype)
    unit = _LONGER.get(unit, unit) if dtype.kind == "M" or unit == "W" else unit
    known = list(_UNITS)
    if unit not in known or known.index(unit) > known.index(finest):
        raise ConversionError(f"times of dtype {dtype} have a unit that the format does not know")
    single = np.dtype(f"{dtype.kind}8[{unit}]")

    def convert(block: Array) -> Array:
        native = block.astype(dtype.newbyteorder("="))
        result = native.astype(single)
        if not np.array_equal(result.astype(native.dtype).view("i8"), native.view("i8")):
            raise ConversionError(f"a time of dtype {dtype} is out of the range of 64 bits in {_UNITS[unit]}")
        return result.view("i8")

    words = _UNITS[unit]
    if dtype.kind == "M":
        about = {"units": f"{words} since 1970-01-01", "calendar": "proleptic_gregorian"}
    else:
        about = {"units": words} | ({"dtype": f"timedelta64[{unit}]"} if unit in ("s", "ms", "us", "ns") else {})
    return Elements(np.dtype("i8"), convert, about)


def encoded_texts(block: Array) -> Array:
    """Text as UTF-8, null-padded to the size in the dtype."""
    try:
        return np.asarray(np.char.encode(block, "utf-8"))
    except UnicodeEncodeError as error:
        raise ConversionError(f"a text cannot be encoded as UTF-8: {error}") from None


def plain_texts(block: Array) -> Array:
    """Text as an array of str objects, for formats with texts of variable length."""
    for text in block.flat:
        if "\0" in text:
            raise ConversionError(f"the text {str(text)!r} has a null character, which ends a text in this format")
    encoded_texts(block)
    return block.astype(object)
