"""The options of a scan that `create` and `resume` take. Each is checked before a file is touched."""

from __future__ import annotations

import threading
from numbers import Real
from typing import Any

import numpy as np

from ..errors import ScanShapeError


def check_options(flush_interval_s: Any, partial: Any, casting: Any) -> float | None:
    """`flush_interval_s` as a float, or None. Raises ScanShapeError where one of them is not what `create` says."""
    _check_choice("partial", partial, "fill", "trim")
    _check_choice("casting", casting, "same_value", "unsafe")
    return _check_flush_interval(flush_interval_s)


def _check_flush_interval(seconds: Any) -> float | None:
    """`seconds` as a float, or None. Raises ScanShapeError where a thread cannot wait that long."""
    if seconds is None:
        return None
    is_number = isinstance(seconds, Real) and not isinstance(seconds, bool | np.timedelta64)
    if not is_number or not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ScanShapeError(
            f"a flush interval is a number of seconds, 0 (after each write) or None (at the end only), not {seconds!r}"
        )
    return float(seconds)


def _check_choice(name: str, value: Any, *choices: str) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ScanShapeError(f"{name} is {' or '.join(f'{choice!r}' for choice in choices)}, not {value!r}")
