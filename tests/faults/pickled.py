"""Members of an .npz with a given pickle or header."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np


class Call:
    """Its pickle calls `function` with `arguments` when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


def npy_of(pickled: bytes, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy with `pickled` as the pickle of its array."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + pickled


def holding(item: Any, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy of `shape` that holds `item`."""
    array = np.empty(shape, object)
    array[(0,) * len(shape)] = item
    return npy_of(pickle.dumps(array, 4), shape)


def npy_saying(header: str, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text + content


def plain(descr: str, shape: str, content: bytes = b"") -> bytes:
    return npy_saying(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", content)
