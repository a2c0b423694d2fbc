"""Axes and note of a scan: what is accepted, what is stored, until when they can be changed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import AxisLengthError, ScanClosedError
from tests.helpers import assert_same_array, assert_same_axes, files, load_export
from tests.scan.scans import begin

# -- axes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        pytest.param(None, [[0.0, 1.0], [0.0, 1.0, 2.0]], id="none at all"),
        pytest.param([], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="an empty list"),
        pytest.param([None, None], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="None for each"),
        pytest.param([None, [5.0, 6.0, 7.0]], [[0.0, 1.0], [5.0, 6.0, 7.0]], id="None for one"),
        pytest.param([[8.0, 9.0]], [[8.0, 9.0], [0.0, 1.0, 2.0]], id="the last one left out"),
        pytest.param([range(2), (1.5, 2.5, 3.5)], [[0, 1], [1.5, 2.5, 3.5]], id="a range and a tuple"),
        pytest.param(
            (np.array([1, 2], "i2"), np.zeros(3, "f4")), [np.array([1, 2], "i2"), np.zeros(3, "f4")], id="arrays"
        ),
        pytest.param([["a", "b"], None], [["a", "b"], [0.0, 1.0, 2.0]], id="text"),
    ],
)
@pytest.mark.parametrize("when", ["at the beginning", "later"])
def test_axes_that_are_missing_become_index_coordinates(tmp_path: Path, axes: Any, expected: Any, when: str) -> None:
    """As lys does it: floats 0.0, 1.0, ... for what is None or was left out."""
    with begin(tmp_path, axes=axes if when == "at the beginning" else None) as scan:
        if when == "later":
            scan.axes = axes
        assert_same_axes(scan.axes, expected)
    assert_same_axes(load_export(scan.path).axes, expected)


def test_axes_may_come_from_a_generator(tmp_path: Path) -> None:
    with begin(tmp_path, axes=(np.arange(n) + 0.5 for n in (2, 3))) as scan:
        assert_same_axes(scan.axes, [[0.5, 1.5], [0.5, 1.5, 2.5]])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        pytest.param([[0, 1, 2], None], "axis 0 has 3 points, dimension 0 of shape (2, 3) has 2", id="too long"),
        pytest.param([None, [0]], "axis 1 has 1 points, dimension 1 of shape (2, 3) has 3", id="too short"),
        pytest.param([None, None, [0]], "3 axes for the 2 dimensions of shape (2, 3)", id="too many"),
        pytest.param([None, []], "axis 1 has 0 points, dimension 1 of shape (2, 3) has 3", id="empty"),
    ],
)
def test_an_axis_that_does_not_fit_is_a_value_error_and_the_axes_stay(tmp_path: Path, axes: Any, message: str) -> None:
    """lys itself pads or cuts it silently."""
    with pytest.raises(AxisLengthError) as caught:
        begin(tmp_path, axes=axes)
    assert (str(caught.value), isinstance(caught.value, ValueError)) == (message, True)
    assert files(tmp_path) == set()
    with begin(tmp_path, axes=[[5.0, 6.0]]) as scan:
        with pytest.raises(AxisLengthError):
            scan.axes = axes
        assert_same_axes(scan.axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])


def test_axes_can_be_changed_as_often_as_one_likes_until_the_end(tmp_path: Path) -> None:
    """From short to long and back: the places in the journal are used in turns."""
    with begin(tmp_path, (500,)) as scan:
        for k in range(20):
            scan.axes = [np.arange(500.0) * k if k % 2 else ["a long text " * k] * 500]
        scan.axes = [np.linspace(0, 1, 500)]
    assert_same_axes(load_export(scan.path).axes, [np.linspace(0, 1, 500)])
    with pytest.raises(ScanClosedError):
        scan.axes = [np.zeros(500)]


def test_what_the_axes_were_made_of_may_be_changed_afterwards(tmp_path: Path) -> None:
    axis = np.array([1.0, 2.0])
    with begin(tmp_path, axes=[axis]) as scan:
        axis[:] = 9
        scan.axes.clear()
        assert_same_axes(scan.axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])


# -- note --------------------------------------------------------------------------------------------------------------


def test_what_is_in_the_note_when_the_scan_is_saved_counts(tmp_path: Path) -> None:
    """Set as a whole or changed in place, before or after frames; the dict that was given is the one that counts."""
    given: dict[str, Any] = {"a": 1}
    with begin(tmp_path, note=given) as scan:
        given["b"] = [2]
        scan.note["c"] = np.arange(3)
        scan[...] = np.zeros((2, 3))
        given["b"].append("late")
    note = load_export(scan.path).note
    assert_same_array(note.pop("c"), np.arange(3))
    assert note == {"a": 1, "b": [2, "late"]}


def test_a_note_can_be_replaced(tmp_path: Path) -> None:
    with begin(tmp_path, note={"a": 1}) as scan:
        scan.note = {"温度": "µm"}
        assert scan.note == {"温度": "µm"}
    assert load_export(scan.path).note == {"温度": "µm"}


def test_without_a_note_it_is_an_empty_dict(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        assert scan.note == {}
    assert load_export(scan.path).note == {}


def test_what_cannot_be_pickled_is_replaced_by_its_repr_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data never go down for bad metadata."""
    lock = threading.Lock()
    with begin(tmp_path, note={"lock": lock, "good": 1}) as scan:
        assert "'lock' cannot be pickled" in caplog.text
    assert load_export(scan.path).note == {"lock": repr(lock), "good": 1}
    assert caplog.records[0].levelno == logging.WARNING


def test_a_note_that_becomes_unpicklable_while_the_scan_runs_does_not_keep_it_from_being_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        scan.note["f"] = lambda: None
        scan[...] = np.ones((2, 3))
    export = load_export(scan.path)
    assert (list(export.note), export.data.tolist()) == (["f"], [[1.0] * 3] * 2)
    assert export.note["f"].startswith("<function")


def test_a_note_that_outgrows_its_place_is_still_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        for k in range(8):
            scan.note = {"text": "x" * 10**k}
    assert len(load_export(scan.path).note["text"]) == 10**7
