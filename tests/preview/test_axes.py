"""Coordinates of cells, and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lys_storage.preview import Dimension, dimensions_of


def dimension(axis: Any, name: str | None = "x", unit: str | None = "mm") -> Dimension:
    array = None if axis is None else np.asarray(axis)
    (found,) = dimensions_of((4,), [array], [name], [unit], {})
    return found


def test_edges_are_halfway_between_the_points() -> None:
    assert dimension([0, 1, 2, 3]).edges().tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert dimension([1, 2, 4, 8]).edges().tolist() == [0.5, 1.5, 3, 6, 10]
    assert dimension([8, 4, 2, 1]).edges().tolist() == [10, 6, 3, 1.5, 0.5]
    assert Dimension("x", 1, np.array([3.0])).edges().tolist() == [2.5, 3.5]


def test_cells_of_several_points_end_at_the_edges_of_points() -> None:
    """The last cell can be smaller."""
    for axis in ([0, 1, 2, 3], None):
        assert dimension(axis).edges(3).tolist() == [-0.5, 2.5, 3.5]
        assert dimension(axis).centres(3).tolist() == [1.0, 3.0]
    assert dimension([1, 2, 4, 8]).centres(2).tolist() == [1.5, 6.0]


@pytest.mark.parametrize(
    "axis",
    [
        ["a", "b", "c", "d"],
        [0, 2, 1, 3],
        [1, 1, 1, 1],
        [0, 1, np.nan, 3],
        [0, 1, 2, np.inf],
        [1j, 2j, 3j, 4j],
        [0, 1],
        [[0, 1]] * 4,
    ],
    ids=["text", "not monotonic", "constant", "NaN", "infinity", "complex", "of another length", "of two dimensions"],
)
def test_an_axis_that_gives_no_coordinates_is_numbered(axis: Any) -> None:
    """The label says that these are indices."""
    found = dimension(axis)
    assert (found.label, found.edges().tolist()) == ("x (mm), index", [-0.5, 0.5, 1.5, 2.5, 3.5])


def test_times_are_counted_from_the_first_one() -> None:
    moments = np.array("2026-01-02T03:04:05", "M8[s]") + np.arange(4) * 60
    found = dimension(moments, unit=None)
    assert (found.label, found.centres().tolist()) == ("x, since 2026-01-02T03:04:05 (s)", [0, 60, 120, 180])
    found = dimension(np.arange(4).astype("m8[ms]"), unit=None)
    assert (found.label, found.centres().tolist()) == ("x (ms)", [0, 1, 2, 3])


def test_labels_come_from_names_units_and_the_list_in_the_note() -> None:
    """A DataStorage stores no names. A list of another length labels nothing, and a name is preferred."""
    shape, units = (2, 3), [None, "K"]
    for note, names, expected in (
        ({}, [None, None], ["axis 0", "axis 1 (K)"]),
        ({"Axes": ["delay (ps)", "T (K)"]}, [None, None], ["delay (ps)", "T (K)"]),
        ({"Axes": ["delay (ps)", "T (K)"]}, ["pump", None], ["pump", "T (K)"]),
        ({"Axes": ["delay (ps)"]}, [None, None], ["axis 0", "axis 1 (K)"]),
        ({"Axes": 3}, [None, None], ["axis 0", "axis 1 (K)"]),
    ):
        assert [found.label for found in dimensions_of(shape, [], names, units, note)] == expected
    assert dimension([0, 1, 2, 3], "a\x1b[31m\n", None).label == "a\\x1b[31m\\n"
    assert dimension([0, 0.5, 1, 1.5], "delay", "ps").at(3) == "delay = 1.5 ps"
    assert dimension(None, None, None).at(3) == "axis 0 = 3"
