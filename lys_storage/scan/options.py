"""Checks the options that `create` and `resume` take, before a file is touched."""

from __future__ import annotations

import threading
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import ScanShapeError


def check_options(
    *,
    flush_interval_s: Any = 1.0,
    incomplete: Any = "fill",
    casting: Any = "same_value",
    on_error: Any = None,
    burst_bytes: Any = None,
    cached_bytes: Any = None,
) -> dict[str, Any]:
    """The options of `create` that Scan takes, each in its own type. Raises ScanShapeError if one of them is not allowed."""
    check_incomplete(incomplete)
    _check_choice("casting", casting, "same_value", "unsafe")
    if on_error is not None and not callable(on_error):
        raise ScanShapeError(f"on_error is {on_error!r}, expected a function that takes the error, or None")
    return {
        "flush_interval_s": _check_flush_interval(flush_interval_s),
        "incomplete": incomplete,
        "casting": casting,
        "on_error": on_error,
        "burst_bytes": _check_bytes("burst_bytes", burst_bytes),
        "cached_bytes": _check_bytes("cached_bytes", cached_bytes),
    }


def check_incomplete(incomplete: Any) -> None:
    """Raise ScanShapeError if it is neither "fill" nor "trim"."""
    _check_choice("incomplete", incomplete, "fill", "trim")


def _check_bytes(name: str, value: Any) -> int | None:
    is_whole = isinstance(value, Integral) and not isinstance(value, bool | np.timedelta64)
    if value is None or (is_whole and value >= 0):
        return None if value is None else int(value)
    raise ScanShapeError(
        f"{name} is {value!r}, expected a whole number of bytes, 0 or more, or None (a part of the memory)"
    )


def _check_flush_interval(seconds: Any) -> float | None:
    """`seconds` as a float, or None. Raises ScanShapeError if a thread cannot wait that long."""
    if seconds is None:
        return None
    is_number = isinstance(seconds, Real) and not isinstance(seconds, bool | np.timedelta64)
    if not is_number or not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ScanShapeError(
            f"flush_interval_s is {seconds!r}, expected a number of seconds, 0 (after each write) or None (only at the end)"
        )
    return float(seconds)


def _check_choice(name: str, value: Any, *choices: str) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ScanShapeError(f"{name} is {value!r}, expected {' or '.join(f'{choice!r}' for choice in choices)}")
