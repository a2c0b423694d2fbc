"""The fill value: what missing frames hold, and which values a dtype accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanShapeError
from tests.helpers import MakesAnArray, assert_same_array, files, load_export, some
from tests.scan.scans import begin


@pytest.mark.parametrize(
    ("dtype", "fill", "stored"),
    [
        pytest.param("f8", None, np.nan, id="NaN for floats"),
        pytest.param(">f4", None, np.nan, id="NaN for floats of the other byte order"),
        pytest.param("f2", None, np.nan, id="NaN for half floats"),
        pytest.param("c16", None, np.nan, id="NaN for complex"),
        pytest.param("i4", None, 0, id="0 for integers"),
        pytest.param("u2", None, 0, id="0 for unsigned integers"),
        pytest.param("?", None, False, id="False for bools"),
        pytest.param("U3", None, "", id="no text for text"),
        pytest.param("M8[s]", None, np.datetime64(0, "s"), id="the epoch for times"),
        pytest.param("M8[s]", "2020-01-01", np.datetime64("2020-01-01", "s"), id="the text of a time"),
        pytest.param("M8[s]", b"2020-01-01", np.datetime64("2020-01-01", "s"), id="the bytes of a time"),
        pytest.param("m8[s]", "5", np.timedelta64(5, "s"), id="the text of a duration"),
        pytest.param("m8[s]", "+50", np.timedelta64(50, "s"), id="the text of a duration, with a sign"),
        pytest.param("M8[s]", "NaT", np.datetime64("NaT", "s"), id="the text of no time"),
        pytest.param("f8", -1.5, -1.5, id="a float"),
        pytest.param("f8", 3, 3.0, id="a whole number in floats"),
        pytest.param("f4", 0.1, np.float32(0.1), id="rounded to the float"),
        pytest.param("f8", np.inf, np.inf, id="infinity"),
        pytest.param("u2", 65535, 65535, id="the biggest"),
        pytest.param("i1", -128, -128, id="the smallest"),
        pytest.param("u2", 7.0, 7, id="a whole float in integers"),
        pytest.param(">i4", 258, 258, id="big-endian"),
        pytest.param("c8", 1 - 2j, 1 - 2j, id="complex"),
        pytest.param("?", True, True, id="True"),
        pytest.param("U3", "abc", "abc", id="text"),
        pytest.param("M8[s]", np.datetime64("NaT", "s"), np.datetime64("NaT", "s"), id="not a time"),
        pytest.param([("a", "f4"), ("b", "u1")], (1.5, 2), (1.5, 2), id="structured"),
    ],
)
def test_frames_that_never_came_hold_the_fill(tmp_path: Path, dtype: Any, fill: Any, stored: Any) -> None:
    """Each dtype has its default. Written frames are unchanged."""
    frame = some((3,), dtype)
    with begin(tmp_path, (4, 3), dtype, fill_value=fill) as scan:
        scan[2] = frame
        assert_same_array(np.array(scan.fill_value, dtype), np.array(stored, dtype))
    expected = np.full((4, 3), np.array(stored, dtype))
    expected[2] = frame
    assert_same_array(load_export(scan.path).data, expected)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        pytest.param("u1", 256, id="too big"),
        pytest.param("u1", -1, id="below zero"),
        pytest.param("i4", 0.5, id="a fraction"),
        pytest.param("i4", np.nan, id="NaN in integers"),
        pytest.param("i8", 2**63, id="beyond 64 bits"),
        pytest.param("f4", 1e39, id="overflow"),
        pytest.param("f8", "x", id="text"),
        pytest.param("f8", [1, 2], id="two elements"),
        pytest.param("u2", np.inf, id="infinity in integers"),
        pytest.param("u2", np.uint32(70000), id="too big, with a dtype of its own"),
        pytest.param("f4", 10**39, id="a whole number that overflows"),
        pytest.param("f2", 70000, id="a whole number that overflows float16"),
        pytest.param("f8", 10**400, id="a whole number that no float holds"),
        pytest.param("c8", complex(np.nan, 1e300), id="an imaginary part that overflows beside a NaN"),
        pytest.param("f8", np.ma.masked, id="masked"),
        pytest.param("f8", MakesAnArray(np.ma.masked), id="masked when numpy asks"),
        pytest.param("M8[D]", "2020-01-01T12:00", id="text of a finer time"),
        pytest.param("U3", np.datetime64("2020-01-01", "D"), id="a time in too short text"),
        pytest.param("U30", np.timedelta64(5, "s"), id="a duration in text"),
        pytest.param("m8[s]", "5 s", id="text of no duration"),
        pytest.param("f8", np.ma.masked_array(1.0, True), id="a masked element"),
        pytest.param([("a", "u2"), ("b", "f4")], (70000, 1.0), id="too big in a field"),
        pytest.param([("a", "u2"), ("b", "f4")], (5, 1e39), id="overflow in a field"),
        pytest.param([("a", "u2"), ("b", "f4")], (5,), id="a field too few"),
        pytest.param([("a", "u2"), ("b", "f4")], np.void((1, 2), [("b", "u2"), ("a", "f4")]), id="other fields"),
    ],
)
def test_a_fill_that_the_dtype_cannot_hold_is_refused(tmp_path: Path, dtype: str, fill: Any) -> None:
    with pytest.raises(ScanShapeError) as caught:
        begin(tmp_path, (2,), dtype, fill_value=fill)
    assert isinstance(caught.value, ValueError)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("fill", [0, 5], ids=["zero", "not zero"])
def test_a_scan_of_which_nothing_came_is_all_fill(tmp_path: Path, fill: int) -> None:
    """This includes scans of more than one piece of fill, and holes."""
    with begin(tmp_path, (3, 2_000_000), "u1", fill_value=fill) as scan:
        pass
    assert_same_array(load_export(scan.path).data, np.full((3, 2_000_000), fill, "u1"))


def test_the_fill_is_written_when_the_scan_ends_not_before(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 2), fill_value=9) as scan:
        scan[0] = np.ones(2)
        assert scan.array.tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.fixture
def leave() -> Iterator[Callable[[lys_storage.Scan], lys_storage.Scan]]:
    """Suspend a scan after the test, whatever its state."""
    made: list[lys_storage.Scan] = []

    def keep(scan: lys_storage.Scan) -> lys_storage.Scan:
        made.append(scan)
        return scan

    yield keep
    for scan in made:
        scan.suspend()


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        pytest.param("f8", 1j, id="complex in float"),
        pytest.param("U2", "abc", id="text too long"),
        pytest.param("S1", b"ab", id="bytes too long"),
        pytest.param("M8[D]", np.datetime64("2020-01-01T05"), id="hours in days"),
    ],
)
def test_a_fill_that_would_be_cut_is_refused(tmp_path: Path, dtype: str, fill: Any, leave: Any) -> None:
    with pytest.raises(lys_storage.ScanShapeError):
        leave(lys_storage.create(tmp_path / "data.npz", (2,), dtype, fill_value=fill))
    assert files(tmp_path) == set()


def test_a_big_whole_number_can_fill_a_float(tmp_path: Path, leave: Any) -> None:
    assert leave(lys_storage.create(tmp_path / "data.npz", (2,), "f8", fill_value=10**20)).fill_value == 1e20
