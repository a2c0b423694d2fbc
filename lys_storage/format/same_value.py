"""Whether a cast to another dtype keeps each value of an array. Pure functions of arrays: never changes one.

A value is kept if the result is the same number, time or text, NaN and NaT included. A cast to a floating dtype may round;
a finite value that becomes infinite is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

_NUMBERS = "biufc"


def is_masked(values: Any) -> bool:
    """Whether `values`, an array or nested lists of arrays, has a masked element. numpy.asarray would drop the mask."""
    if _makes_an_array(type(values)):
        values = np.asanyarray(values)
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ascontiguousarray(np.ma.getmaskarray(values))  # type: ignore[no-untyped-call,unused-ignore]
        return bool(mask.view(np.bool_).any())  # the mask of a structured array has the same fields
    if isinstance(values, list | tuple):
        kinds = set(map(type, values))
        if any(issubclass(kind, list | tuple | np.ma.MaskedArray) or _makes_an_array(kind) for kind in kinds):
            return any(map(is_masked, values))
    return False


def _makes_an_array(kind: type) -> bool:
    """Whether numpy calls `__array__` of a value of this type; its result may be masked."""
    return hasattr(kind, "__array__") and not issubclass(kind, np.ndarray | np.generic)


@lru_cache(64)
def has_same_fields(given: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    """Whether the fields have the same names in the same order: numpy assigns them by position only."""
    if given.names is None or stored.names is None or given.names != stored.names:
        return given.names is None and stored.names is None
    return all(has_same_fields(given[name].base, stored[name].base) for name in given.names)


def first_changed(given: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> int | None:
    """The C-order number of the first element of `given` whose value changed in `kept`, a cast of it; None if none did."""
    with np.errstate(all="ignore"):
        changed = _changed(given, kept).reshape(-1)
    return int(changed.argmax()) if changed.any() else None


@lru_cache(64)
def quick_check(given: np.dtype[Any], stored: np.dtype[Any]) -> Callable[[Any, Any], bool] | None:
    """A function of an array and its cast, much cheaper than a write; None if the cast always keeps every value.

    It returns True if all values are kept. If it returns False, first_changed decides.
    """
    if _keeps_all(given, stored):
        return None
    if given.kind in "iu" and stored.kind in "iu":
        low, high = int(np.iinfo(stored).min), int(np.iinfo(stored).max)
        if given.kind == "u":
            return lambda values, _: bool(values.item(values.argmax()) <= high)
        return lambda values, _: bool(low <= values.item(values.argmin()) and values.item(values.argmax()) <= high)
    if stored.kind == "f":
        return lambda _, kept: b"\0" not in np.isfinite(kept).tobytes()
    if stored.kind == "c":  # real and imaginary parts, as floats
        real = np.zeros(0, stored).real.dtype
        return lambda _, kept: b"\0" not in np.isfinite(kept.reshape(-1).view(real)).tobytes()
    return lambda values, kept: False


def _keeps_all(given: np.dtype[Any], stored: np.dtype[Any]) -> bool:
    if np.can_cast(given, stored, "equiv"):
        return True
    if given.kind not in _NUMBERS or stored.kind not in _NUMBERS:
        return False
    whole = given.kind in "biu" and stored.kind in "fc"  # only float16 is too small for some integers
    return np.can_cast(given, stored, "safe") or (whole and stored.itemsize > 2)


def _changed(given: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each element of `given`, whether its value in `kept` differs."""
    if kept.dtype.names is not None:
        parts = [_changed(given[name], kept[name]) for name in kept.dtype.names]
        every = [part.reshape(*given.shape, -1).any(axis=-1) for part in parts]
        return np.asarray(np.logical_or.reduce(every))
    kind = kept.dtype.kind
    if kind in "iu" and given.dtype.kind in "biuf":
        return _changed_whole(given, kept.dtype)
    if kind == "c" or given.dtype.kind == "c":
        parts = [_became_infinite(given.real, kept.real), _became_infinite(given.imag, kept.imag)]
        return np.logical_or(*parts)
    if kind == "f":
        return _became_infinite(given, kept)
    if kind in "mM":
        if given.dtype.kind in "SU":  # compare as times: numpy 1 writes past the end of a short text
            given = given.astype(f"{kind}8")  # in the unit of the text
        back = kept.astype(given.dtype)
        if given.dtype.kind in "mM":
            return np.asarray((back != given) & ~(np.isnat(given) & np.isnat(kept)))
        return np.asarray((back != given) | (np.isnat(kept) & (given.dtype.kind in "iu")))
    if given.dtype.kind == "T":  # text of any length, of numpy 2
        return np.asarray(kept.astype(object) != given.astype(object))
    if kind in "SU":
        return np.asarray(kept != given.astype(kind))  # not truncated
    if kind == "V":
        return _cut_bytes(given, kept.dtype.itemsize)
    return np.asarray(kept != given)


def _changed_whole(given: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """_changed for numbers that become integers."""
    limits = np.iinfo(dtype)
    if given.dtype.kind == "f":  # limits.max itself is rounded up in a float
        exact = given.astype(np.promote_types(given.dtype, np.float64))
        fits = (exact >= float(limits.min)) & (exact < float(limits.max + 1)) & (exact == np.trunc(exact))
        return np.asarray(~fits)
    own = np.iinfo(given.dtype) if given.dtype.kind in "iu" else None
    changed = np.zeros(given.shape, bool)
    if own is not None and own.min < limits.min:
        changed |= given < given.dtype.type(limits.min)
    if own is not None and own.max > limits.max:
        changed |= given > given.dtype.type(limits.max)
    return changed


def _became_infinite(given: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(np.isinf(kept) & np.isfinite(given))


def _cut_bytes(given: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """For each element, whether it has non-zero bytes after its first `size` bytes."""
    content = np.ascontiguousarray(given).reshape(-1).view(np.uint8).reshape(*given.shape, -1)
    return np.asarray(content[..., size:].any(axis=-1))
