"""A note as JSON, and names that HDF5, netCDF and Zarr accept. Pure."""

from __future__ import annotations

import datetime
import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_DEEPEST = 50
_MOST_ELEMENTS = 10_000
_MOST_BYTES = 200
"""Of a name. The limit of netCDF is 256 bytes."""


def note_as_json(note: Mapping[Any, Any]) -> str:
    """`note` as JSON, in ASCII. What JSON does not have is a text: "nan", an ISO 8601 time, else its repr."""
    return json.dumps(_plain(dict(note), 0), ensure_ascii=True, allow_nan=False)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, np.generic) and not isinstance(
        value, np.void | np.datetime64 | np.timedelta64 | np.longdouble
    ):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 64 else _text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [_plain(item, depth + 1) for item in value]
        if isinstance(value, np.ndarray) and value.size <= _MOST_ELEMENTS and value.dtype.kind in "biufcUO":
            return _plain(value.tolist(), depth + 1)
    return _text(value)


def _key(key: Any) -> str:
    return str(key) if isinstance(key, str) else _text(key)


def _text(value: Any) -> str:
    try:
        return str(value) if isinstance(value, np.generic) else repr(value)
    except Exception as error:  # an int of too many digits; the repr of a user's class can raise anything
        return f"<{type(value).__name__} without a text: {type(error).__name__}>"


def valid_names(dims: Sequence[str], taken: Sequence[str], *, as_folders: bool = False) -> tuple[str, ...]:
    """`dims` as unique names of objects and dimensions in HDF5, netCDF and Zarr, and none of `taken`.

    A slash, a character that is not printable, and a dot at an end become an underscore. Names are in the form NFC of Unicode:
    netCDF compares them so. `as_folders`: two names differ by more than the case of letters, as on Windows and macOS.
    """
    seen = str.casefold if as_folders else str
    used, others, result = {*taken}, [seen(dim) for dim in dims], []
    for k, dim in enumerate(dims):
        text = unicodedata.normalize("NFC", dim)
        text = "".join(c if c.isprintable() and c not in '/\\:"|?*<>' else "_" for c in text).strip()
        text = text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore").strip() or f"axis_{k}"
        text = "_" + text[1:] if text[0] == "." else text
        text = text[:-1] + "_" if text[-1] == "." else text
        name, n = text, 1
        while seen(name) in used or (name != dim and seen(name) in others):
            n += 1
            name = f"{text}_{n}"
        used.add(seen(name))
        result.append(name)
    return tuple(result)
