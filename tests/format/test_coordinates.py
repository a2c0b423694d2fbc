"""Where a coordinate is on an axis."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest

from lys_storage import CoordinateError
from lys_storage.format import dimension_names, find_coordinate, find_range

UP, DOWN, MIXED = np.array([0.0, 1, 2.5, 4]), np.array([4.0, 2.5, 1, 0]), np.array([1.0, 4, 0, 2.5])
DAYS = np.array(["2024-01-01", "2024-01-03", "2024-01-04"], "M8[D]")
TEXTS = np.array(["b", "a", "c"])


def at(axis: Any, label: Any, method: str | None = None, tolerance: Any = None, n: int = 4) -> int:
    return find_coordinate("x", axis, n if axis is None else len(axis), label, method, tolerance)


def between(axis: Any, labels: slice, n: int = 4) -> list[int]:
    length = n if axis is None else len(axis)
    return list(range(length))[find_range("x", axis, length, labels)]


@pytest.mark.parametrize(
    "axis",
    [
        UP,
        DOWN,
        MIXED,
        np.array([7.0]),
        np.array(["a"]),
        np.array([1j]),
        UP.astype("i8") * 2,
        TEXTS,
        DAYS,
        np.array([1 + 1j, 0j]),
    ],
)
def test_each_coordinate_is_found_at_its_position(axis: Any) -> None:
    assert [at(axis, point) for point in axis] == list(range(len(axis)))
    assert [at(axis, point) for point in axis.tolist()] == list(range(len(axis)))


def test_index_coordinates_take_no_memory() -> None:
    assert at(None, 10**11 - 1, n=10**12) == 10**11 - 1
    assert at(None, 2.6, "nearest", n=10**12) == 3
    assert find_range("x", None, 10**12, slice(1.5, 10.0)) == slice(2, 11, None)


def test_a_float32_axis_has_the_coordinate_that_was_typed() -> None:
    axis = np.array([0.1, 0.2], "f4")
    assert at(axis, 0.2) == 1


@pytest.mark.parametrize(
    "label", ["2024-01-03", datetime.date(2024, 1, 3), np.datetime64("2024-01-03T00:00"), datetime.datetime(2024, 1, 3)]
)
def test_a_time_can_be_given_in_each_form(label: Any) -> None:
    assert at(DAYS, label) == 1
    assert at(DAYS - DAYS[0], datetime.timedelta(days=2)) == 1


def test_a_time_is_not_rounded_to_the_unit_of_the_axis() -> None:
    with pytest.raises(
        CoordinateError, match=r"the nearest are 2024-01-03 \(position 1\) and 2024-01-04 \(position 2\)"
    ):
        at(DAYS, "2024-01-03T10:00")


@pytest.mark.parametrize(
    ("axis", "label", "position"),
    [
        *((UP, 1.2, 1), (UP, 2.4, 2), (UP, -7, 0), (UP, 99, 3), (UP, 0.5, 1), (UP, 2.5, 2)),
        *((DOWN, 1.2, 2), (DOWN, 2.4, 1), (DOWN, -7, 3), (DOWN, 99, 0), (DOWN, 0.5, 2)),
        *((None, 1.4, 1), (None, 1.5, 2), (None, 9, 3), (DAYS, "2024-01-02", 1), (MIXED, 4, 1)),
    ],
)
def test_the_nearest_is_that_of_pandas_also_between_two_that_are_equally_near(
    axis: Any, label: Any, position: int
) -> None:
    assert at(axis, label, "nearest") == position


@pytest.mark.parametrize(
    ("axis", "labels", "positions"),
    [
        pytest.param(UP, slice(1, 2.5), [1, 2], id="both ends are included"),
        pytest.param(UP, slice(0.5, 3), [1, 2], id="ends between coordinates"),
        pytest.param(UP, slice(1.1, 1.2), [], id="nothing between"),
        pytest.param(UP, slice(None, 1), [0, 1], id="from the beginning"),
        pytest.param(UP, slice(2.5, None), [2, 3], id="to the end"),
        pytest.param(UP, slice(0, 4, 2), [0, 2], id="a step is of positions"),
        pytest.param(DOWN, slice(2.5, 1), [1, 2], id="descending, both ends included"),
        pytest.param(DOWN, slice(3, 0.5), [1, 2], id="descending, ends between coordinates"),
        pytest.param(DOWN, slice(None, 1), [0, 1, 2], id="descending, from the beginning"),
        pytest.param(DOWN, slice(1, None), [2, 3], id="descending, to the end"),
        pytest.param(np.array([0.0, 1, 1, 2]), slice(1, 2), [1, 2, 3], id="a coordinate that is there twice"),
        pytest.param(None, slice(1, 2), [1, 2], id="index coordinates"),
        pytest.param(DAYS, slice("2024-01-02", "2024-01-04"), [1, 2], id="times"),
        pytest.param(np.array(["a", "c", "d"]), slice("b", "c"), [1], id="texts"),
        pytest.param(MIXED, slice(None, None, 2), [0, 2], id="no order, everything"),
        pytest.param(np.zeros(0), slice(1, 2), [], id="no coordinates"),
    ],
)
def test_a_range_has_both_ends_in_the_order_of_the_axis(axis: Any, labels: slice, positions: list[int]) -> None:
    assert between(axis, labels) == positions


@pytest.mark.parametrize("axis", [UP, DOWN, np.array([0.0, 1, 1, 2]), np.array([7.0])])
def test_ranges_are_those_of_pandas(axis: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas comes with the extra xarray")
    index = pandas.Index(axis)
    ends = [None, -1.0, 0.0, 0.3, 1.0, 2.5, 3.0, 7.0, 9.0]
    sign = -1 if axis[0] > axis[-1] else 1
    pairs = [(a, b) for a in ends for b in ends if a is None or b is None or sign * a <= sign * b]
    for start, stop in pairs:
        expected = list(range(len(axis)))[index.slice_indexer(start, stop)]
        assert between(axis, slice(start, stop)) == expected, (start, stop)


@pytest.mark.parametrize(
    ("axis", "label", "said"),
    [
        pytest.param(
            *(UP, 1.2),
            'x has no coordinate 1.2; the nearest are 1.0 (position 1) and 2.5 (position 2); method="nearest" takes the '
            "nearest one",
            id="between two",
        ),
        pytest.param(
            *(
                DOWN,
                9,
                'x has no coordinate 9; the nearest is 4.0 (position 0); method="nearest" takes the nearest one',
            ),
            id="beyond the end",
        ),
        pytest.param(MIXED, 1.2, "x has no coordinate 1.2; the nearest is 1.0 (position 0)", id="no order"),
        pytest.param(TEXTS, "z", "x has no coordinate 'z'; its coordinates are 'b', 'a', 'c'", id="texts"),
        pytest.param(np.zeros(0), 1, "x has no coordinate 1; it has no coordinates", id="an empty axis"),
        pytest.param(UP, np.nan, "x has no coordinate nan; its coordinates are 0.0, 1.0, 2.5 ...", id="NaN"),
        pytest.param(UP, "a", "x='a' is not a number, as its coordinates are", id="text for a number"),
        pytest.param(TEXTS, 1, "x=1 is not a text, as its coordinates are", id="a number for a text"),
        pytest.param(DAYS, 1, "x=1 is not a time, as its coordinates are", id="a number for a time"),
        pytest.param(DAYS, "soon", "x='soon' is not a time: ", id="no time"),
        pytest.param(
            UP, [1, 2], "x=[1, 2] is not one coordinate, nor a slice of them: wave.to_xarray().sel", id="list"
        ),
        pytest.param(UP, None, "x=None is not a number, as its coordinates are", id="None"),
        pytest.param(
            np.array([0, 1, 1, 1]), 1, "x has the coordinate 1 3 times, at 1, 2 ...: choose one by isel", id="repeated"
        ),
        pytest.param(np.zeros((4, 2)), 0, "the axis of x has the shape (4, 2), expected (4,)", id="two dimensions"),
        pytest.param(
            np.array([{}, {}]), 0, "x has coordinates of dtype object, which cannot be compared", id="objects"
        ),
    ],
)
def test_a_coordinate_that_is_not_there_is_an_error_that_says_the_nearest(axis: Any, label: Any, said: str) -> None:
    with pytest.raises(CoordinateError) as caught:
        at(axis, label)
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value, KeyError)


def test_what_has_no_nearest_is_an_error() -> None:
    for axis, label in [(MIXED, 1.2), (TEXTS, "z"), (np.array([0j, 1j]), 3j)]:
        with pytest.raises(CoordinateError, match="have no order in which one is nearest"):
            at(axis, label, "nearest")
    assert at(UP, 1.2, "nearest", 0.25) == 1
    with pytest.raises(CoordinateError, match=r"x has no coordinate within 0\.1 of 1\.2; the nearest are 1\.0"):
        at(UP, 1.2, "nearest", 0.1)


@pytest.mark.parametrize(
    ("axis", "labels", "said"),
    [
        (UP, slice(3, 1), "the coordinates of x ascend: slice(1, 3), not slice(3, 1), is a range of them"),
        (DOWN, slice(1, 3), "the coordinates of x descend: slice(3, 1), not slice(1, 3), is a range of them"),
        (MIXED, slice(1, 3), "the coordinates of x neither ascend nor descend"),
        (np.array([0, np.nan, 2]), slice(0, 1), "the coordinates of x neither ascend nor descend"),
        (UP, slice(0, 4, -1), "the step of x is -1, expected a whole number of positions, at least 1"),
        (UP, slice(0, 4, 0.5), "the step of x is 0.5, expected a whole number of positions, at least 1"),
        (UP, slice("a", None), "x='a' is not a number"),
    ],
)
def test_a_range_that_is_none_is_an_error(axis: Any, labels: slice, said: str) -> None:
    with pytest.raises(CoordinateError) as caught:
        between(axis, labels)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([None, None], ("axis_0", "axis_1")),
        (["y", None, "x"], ("y", "axis_1", "x")),
        (["axis_1", None], ("axis_1", "axis_1_")),
        (["y", "y"], ("y", "axis_1")),
        ([None, "axis_0"], ("axis_0_", "axis_0")),
        ([], ()),
    ],
)
def test_each_dimension_has_a_name_of_its_own(names: list[str | None], expected: tuple[str, ...]) -> None:
    assert dimension_names(names, len(names)) == expected
