"""Members of an .npz whose pickle or header is the test's."""

from __future__ import annotations

import io
import pickle
import struct
from typing import Any

import numpy as np


class Call:
    """Pickles as a call of `function` with `arguments`, which whoever unpickles it is to make."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


def npy_of(pickled: bytes, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy whose array is `pickled`."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + pickled


def holding(item: Any, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy of `shape` with `item` in it."""
    array = np.empty(shape, object)
    array[(0,) * len(shape)] = item
    return npy_of(pickle.dumps(array, 4), shape)


def npy_saying(header: str, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text + content


def plain(descr: str, shape: str, content: bytes = b"") -> bytes:
    return npy_saying(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", content)
