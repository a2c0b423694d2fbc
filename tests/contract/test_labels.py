"""The contract: each kind of file has the same axes, names, units and note, and tells which frames were written."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lys_storage import CoordinateError, FrameIndexError
from tests.contract.conftest import Held
from tests.contract.kinds import differs
from tests.helpers import assert_same_array, assert_same_axes

NAMELESS = "dimensions have no names and no units"
BARE = "there are no axes and no note"


def test_axes_with_index_coordinates(held: Held) -> None:
    what = held.what
    given = what.axes if what.axes and not differs(held.kind, BARE) else [None] * what.data.ndim
    expected = [np.arange(n).astype(float) if a is None else a for a, n in zip(given, what.data.shape, strict=True)]
    assert_same_axes([axis.astype(float) for axis in held.wave.axes], expected)
    if held.kind.name != "lys":  # it stores index coordinates, as ints
        assert_same_axes(held.wave.axes, expected)
    for stored, axis in zip(held.wave.stored_axes, held.wave.axes, strict=False):
        assert stored is None or np.array_equal(stored, axis)


def test_names_units_and_dims(held: Held) -> None:
    ndim = held.what.data.ndim
    is_named = bool(held.what.names) and not differs(held.kind, NAMELESS)
    names = held.what.names if is_named else [None] * ndim
    units = list(held.what.units) if is_named else [None] * ndim
    if is_named and differs(held.kind, "the first dimension has no unit"):
        units[0] = None
    assert (held.wave.axis_names, held.wave.units) == (names, units)
    assert held.wave.dims == tuple(name or f"axis_{k}" for k, name in enumerate(names))


def test_the_lists_are_copies(labelled: Held) -> None:
    wave = labelled.wave
    before = (list(wave.axis_names), list(wave.units), len(wave.stored_axes))
    for each in (wave.axis_names, wave.units, wave.stored_axes, wave.axes):
        each.clear()
    assert (wave.axis_names, wave.units, len(wave.stored_axes)) == before


def test_note(held: Held) -> None:
    expected = {} if differs(held.kind, BARE) else held.what.note
    assert held.wave.note == expected
    assert type(held.wave.note) is dict


def grid_ndim(held: Held) -> int:
    if differs(held.kind, "the grid is all but the last two dimensions"):
        return max(0, held.what.data.ndim - 2)
    return held.what.grid_ndim


def test_grid_and_written(held: Held) -> None:
    wave, ndim = held.wave, grid_ndim(held)
    assert (wave.grid_ndim, wave.grid_shape) == (ndim, held.what.data.shape[:ndim])
    expected = held.what.there if held.lacks_frames else np.ones(wave.grid_shape, bool)
    assert_same_array(wave.written, expected)
    assert wave.is_complete == bool(expected.all())
    wave.written[...] = False
    assert_same_array(wave.written, expected)  # it was a copy


def test_isel(held: Held) -> None:
    data, dims = held.what.data, held.wave.dims
    assert_same_array(held.wave.isel(), data)
    for k in range(data.ndim):
        for entry in (slice(None, None, -1), slice(1, 2), *([-1] if data.size else [])):
            index = (slice(None),) * k + (entry,)
            assert_same_array(held.wave.isel({dims[k]: entry}), np.asarray(data[index], data.dtype))
        with pytest.raises(FrameIndexError, match="out of range"):
            held.wave.isel({dims[k]: data.shape[k]})
        with pytest.raises(FrameIndexError, match="not an int"):
            held.wave.isel({dims[k]: [0]})
    with pytest.raises(CoordinateError, match="there is no dimension 'nobody'"):
        held.wave.isel(nobody=0)


def test_sel_by_index_coordinates(held: Held) -> None:
    data, dims = held.what.data, held.wave.dims
    assert_same_array(held.wave.sel(), data)
    for k in range(data.ndim):
        axis = held.wave.axes[k]
        for at in range(data.shape[k]):
            expected = np.take(data, at, k)
            assert_same_array(held.wave.sel({dims[k]: axis[at]}), np.asarray(expected, data.dtype))
        if len(axis):
            assert_same_array(held.wave.sel({dims[k]: slice(axis[0], axis[-1])}), data)
        with pytest.raises(CoordinateError, match="has no coordinate 0.125" if len(axis) else "has no coordinate"):
            held.wave.sel({dims[k]: 0.125})
    with pytest.raises(CoordinateError, match="there is no dimension 'nobody'"):
        held.wave.sel(nobody=0)


def test_sel_by_coordinate(labelled: Held) -> None:
    data, wave, (y, x, *_) = labelled.what.data, labelled.wave, labelled.wave.dims
    if differs(labelled.kind, BARE):
        assert_same_array(wave.sel({y: 2.0, x: 1.0}), data[2, 1])
        return
    assert_same_array(wave.sel({y: 3.0, x: slice(-1, 0)}), data[1, :2])
    assert_same_array(wave.sel({y: slice(3.5, 1)}), data[1:3])
    assert_same_array(wave.sel({y: 0.6, x: 1.4}, method="nearest"), data[3, 2])
    for wrong in ({y: 3.1}, {y: slice(1, 3)}):
        with pytest.raises(CoordinateError):
            wave.sel(wrong)


def test_repr(held: Held) -> None:
    wave, data = held.wave, held.what.data
    assert repr(wave).startswith(f"<{type(wave).__name__} ")
    assert f"{data.shape} {data.dtype}" in repr(wave)
    lines = repr(wave).splitlines()[1:]
    if held.what.names and not differs(held.kind, NAMELESS):
        assert [line.split(":")[0].strip() for line in lines] == ["y", "x", "energy"]
    assert ("  x: -1.0 ... 1.5 (3 points)" in lines) == ("x" in wave.dims)


def test_the_table_in_a_notebook(held: Held) -> None:
    table = ElementTree.fromstring(held.wave._repr_html_())
    rows: dict[Any, Any] = {row[0].text: row[1].text for row in table[1:]}
    assert (table[0].text, rows["shape"], rows["dtype"]) == (
        type(held.wave).__name__,
        str(held.what.data.shape),
        str(held.what.data.dtype),
    )
    assert rows["state"] == "open, read-only"
    assert rows.get("note") == (", ".join(held.wave.note) or None)
    written, frames = int(held.wave.written.sum()), held.what.frames
    tells = not held.kind.is_foreign and not held.kind.is_stack
    assert rows.get("frames") == (f"{written} of {frames} written" if tells else None)
