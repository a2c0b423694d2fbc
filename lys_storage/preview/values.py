"""Elements of any dtype as real numbers that a picture can show, and their sums. Pure arithmetic."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.intp]]
Reals = np.ndarray[Any, np.dtype[np.float64]]
_EXACT = np.dtype(np.int64)


class Sums(NamedTuple):
    """Of each row: the sum of its finite elements, and how many these are."""

    totals: Reals
    counts: np.ndarray[Any, np.dtype[np.int64]]

    def means(self) -> Reals:
        """NaN for a row without finite elements."""
        result = np.full(self.totals.shape, np.nan)
        np.divide(self.totals, self.counts, out=result, where=self.counts > 0)
        return result


def field_of(dtype: np.dtype[Any]) -> tuple[str, ...] | None:
    """The names that lead to the numbers that are shown: () for a plain dtype, the first field of a structured one.

    None if it has no numbers: text, bytes, and fields that are arrays.
    """
    if dtype.names is not None:
        if not dtype.names:
            return None
        inner = field_of(dtype[dtype.names[0]])
        return None if inner is None else (dtype.names[0], *inner)
    return () if dtype.kind in "biufcmM" and dtype.subdtype is None else None


def quantity(dtype: np.dtype[Any]) -> str:
    """What the numbers are, for the label of a colour bar."""
    names = field_of(dtype) or ()
    for name in names:
        dtype = dtype[name]
    field = f"field {'.'.join(names)}: " if names else ""
    if dtype.kind == "c":
        return f"{field}|value|"
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        step = unit if count == 1 else f"{count} {unit}"
        return f"{field}time ({step})" if dtype.kind == "m" else f"{field}time ({step} since 1970-01-01)"
    return f"{field}value"


def as_reals(values: Array, field: tuple[str, ...]) -> Array:
    """`values` as real numbers: complex ones as magnitudes, times as ticks of their unit; NaT is NaN."""
    for name in field:
        values = values[name]
    if values.dtype.kind in "mM":
        ticks = values.view(values.dtype.str.replace("M8", "i8").replace("m8", "i8").partition("[")[0])
        return np.where(np.isnat(values), np.nan, ticks.astype(np.float64))
    if values.dtype.kind == "c":
        with np.errstate(over="ignore", invalid="ignore"):
            return np.abs(values.astype(np.complex128))
    return values


def sum_rows(values: Array, field: tuple[str, ...]) -> Sums:
    """The sums of the rows of a 2-D array of any dtype. NaN and infinities are left out."""
    reals = as_reals(values, field)
    count = np.full(len(reals), reals.shape[1], np.int64)
    if reals.dtype.kind in "biu" and reals.dtype.itemsize < 8:
        return Sums(reals.sum(axis=1, dtype=_EXACT).astype(np.float64), count)
    with np.errstate(over="ignore", invalid="ignore"):
        totals = reals.sum(axis=1, dtype=np.float64)
        if not np.isfinite(totals).all():
            wide = reals.astype(np.float64)
            finite = np.isfinite(wide)
            totals, count = np.where(finite, wide, 0.0).sum(axis=1), finite.sum(axis=1)
    return Sums(totals, count)
