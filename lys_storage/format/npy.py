"""The .npy header, and the dtypes and shapes that a scan can have: pure encode and decode.

.npy: NEP 1 / numpy.lib.format, versions 1.0, 2.0, 3.0. Never allocates memory by a size from a header.
"""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Mapping, Set
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from ..errors import BadFileError, ScanShapeError

MAX_NPY_HEADER = 1 << 18
_MAX_EMPTY = 1 << 20
_TEXT_OR_LONG = re.compile(r"""('[^']*'|"[^"]*")|(?<=[0-9])L\b""")
"""A quoted text, which is kept, or the L of a number, which is removed."""
LITERAL_ERRORS = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError)
"""What ast.literal_eval and numpy's dtypes raise for invalid text."""


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as a numpy dtype. Raises ScanShapeError if a scan cannot have it: objects, sub-arrays, empty dtypes."""
    try:
        result: np.dtype[Any] = np.dtype(dtype)
    except Exception as error:  # numpy raises five types of exceptions
        raise ScanShapeError(
            f"{dtype!r} is not a numpy dtype ({error}): give one, such as 'float64' or 'uint16'"
        ) from None
    if result.hasobject or result.subdtype is not None or result.itemsize <= 0 or result.kind == "T":
        raise ScanShapeError(
            f"dtype {result} cannot be stored: give one without Python objects or sub-arrays, whose elements have a fixed, "
            "non-zero size in bytes, such as 'float64'"
        )
    try:
        described = npy_format.descr_to_dtype(npy_format.dtype_to_descr(result))
    except (TypeError, ValueError) as error:
        raise ScanShapeError(f"dtype {result} cannot be stored in a .npy file ({error}): give a simpler one") from error
    if described != result:
        raise ScanShapeError(
            f"dtype {result} cannot be stored in a .npy file, which would keep {described}: give that one"
        )
    return result


def check_shape(shape: Any, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """`shape` as a tuple of ints. Raises ScanShapeError if one is below 1, or numpy cannot address the array."""
    try:
        if isinstance(shape, str | bytes | bytearray | Mapping | Set):
            raise TypeError("text and unordered types have no dimensions")
        dims = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    except TypeError:
        raise ScanShapeError(f"{shape!r} is not a shape: give a tuple of integers, such as (10, 256, 256)") from None
    if any(isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in dims):
        raise ScanShapeError(f"shape {tuple(dims)} is invalid: give an integer of at least 1 for each dimension")
    dims = tuple(int(n) for n in dims)
    if len(dims) > 32 or int(np.prod(dims, dtype=object)) * dtype.itemsize > 1 << 62:
        raise ScanShapeError(f"shape {dims} of {dtype} is too large: give at most 32 dimensions and 2**62 bytes")
    return dims


def encode_npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Magic and header of a C-ordered .npy array, a multiple of 64 bytes. Version 1.0 if that can hold it."""
    text = f"{{'descr': {npy_format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    try:
        body, version = text.encode("latin1"), 1
    except UnicodeEncodeError:
        body, version = text.encode("utf8"), 3
    prefix = 12 if version == 3 else 10
    padded = -(-(prefix + len(body) + 1) // 64) * 64
    if version == 1 and padded - prefix > 0xFFFF:
        version, prefix = 2, 12
        padded = -(-(prefix + len(body) + 1) // 64) * 64
    size = padded - prefix
    length = struct.pack("<H" if version == 1 else "<I", size)
    return b"\x93NUMPY" + bytes([version, 0]) + length + body.ljust(size - 1) + b"\n"


def _literal(text: str) -> Any:
    """The value of a header's text. Python 2 wrote long numbers as 2L."""
    try:
        return ast.literal_eval(text)
    except SyntaxError:
        return ast.literal_eval(_TEXT_OR_LONG.sub(lambda found: found[1] or "", text))


def decode_npy_header(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """(shape, dtype, whether in Fortran order, bytes of the header) of a .npy that begins with `head`.

    Raises BadFileError if `head` is not a .npy header, or is truncated.
    """
    if head[:6] != b"\x93NUMPY" or len(head) < 12 or head[6] not in (1, 2, 3):
        raise BadFileError("not a .npy header")
    prefix = 10 if head[6] == 1 else 12
    size = int.from_bytes(head[8:prefix], "little")
    if size > MAX_NPY_HEADER or len(head) < prefix + size:
        raise BadFileError(f".npy header of {size} bytes is truncated, or longer than {MAX_NPY_HEADER} bytes")
    try:
        fields = _literal(head[prefix : prefix + size].decode("utf8" if head[6] == 3 else "latin1").strip())
        dtype: np.dtype[Any] = npy_format.descr_to_dtype(fields["descr"])
        shape, fortran = fields["shape"], fields["fortran_order"]
        if (
            not isinstance(shape, tuple)
            or len(shape) > 64
            or any(type(n) is not int or not 0 <= n < 1 << 62 for n in shape)
        ):
            raise ValueError("invalid shape")
        if prod(shape) * dtype.itemsize == 0 and max(shape, default=0) > _MAX_EMPTY:
            raise ValueError(f"shape {shape} is too large for elements of zero bytes")
    except (*LITERAL_ERRORS, SyntaxError, RecursionError, MemoryError) as error:
        raise BadFileError(f".npy header cannot be read: {error}") from error
    return shape, dtype, bool(fortran), prefix + size
