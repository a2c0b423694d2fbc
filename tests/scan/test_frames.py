"""Valid frames: of exactly one shape, cast by same_kind, copied before the call returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, FrameShapeError, FrameTypeError
from lys_storage.scan.frame_input import SLAB_BYTES
from tests.helpers import assert_same_array, some
from tests.scan.scans import begin, saved

# -- valid frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "index", "frame", "left_over"),
    [
        pytest.param((3, 4), 0, np.zeros(3), (4,), id="too short"),
        pytest.param((3, 4), 0, np.zeros(5), (4,), id="too long"),
        pytest.param((3, 4), 0, np.zeros(1), (4,), id="numpy would broadcast it"),
        pytest.param((3, 4), 0, np.zeros((1, 4)), (4,), id="a leading 1, which numpy drops"),
        pytest.param((3, 4), 0, np.array(7.0), (4,), id="an array of shape () for a row"),
        pytest.param((3, 4), (), np.zeros(12), (3, 4), id="flat"),
        pytest.param((3, 4), (), np.zeros((4, 3)), (3, 4), id="transposed"),
        pytest.param((3, 4), (0, 0), np.zeros(1), (), id="an array of one for a scalar"),
        pytest.param((3, 4), (slice(0, 2), 1), np.zeros((2, 1)), (2,), id="a column that keeps its dimension"),
        pytest.param((3, 4), 0, [1.0, 2.0], (4,), id="a list too short"),
        pytest.param((3, 4), 0, [], (4,), id="an empty list"),
    ],
)
def test_a_frame_of_another_shape_is_a_value_error_with_both_shapes(
    tmp_path: Path, shape: Any, index: Any, frame: Any, left_over: tuple[int, ...]
) -> None:
    """Arrays are not broadcast, because a wrong frame would be stored silently."""
    with begin(tmp_path, shape) as scan:
        with pytest.raises(FrameShapeError) as caught:
            scan[index] = frame
        assert isinstance(caught.value, ValueError)
        assert str(np.shape(frame)) in str(caught.value)
        assert str(left_over) in str(caught.value)
        assert scan.frames_written == 0


def test_a_ragged_list_is_a_value_error(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 2)) as scan, pytest.raises(FrameShapeError):
        scan[...] = [[1, 2], [3]]


@pytest.mark.parametrize(
    ("dtype", "frame", "expected"),
    [
        pytest.param("f8", [1, 2], [1, 2], id="whole numbers in floats"),
        pytest.param("f8", (0.5, 2), [0.5, 2], id="a tuple"),
        pytest.param("u1", [0, 255], [0, 255], id="numbers that the integer dtype holds"),
        pytest.param("u2", [1.0, 2.0], [1, 2], id="floats that are whole numbers"),
        pytest.param("c16", [1, 2j], [1, 2j], id="complex"),
        pytest.param("?", [True, False], [True, False], id="bools"),
        pytest.param("f4", [True, False], [1, 0], id="bools in floats"),
        pytest.param("f8", range(2), [0, 1], id="a range"),
        pytest.param("U3", ["ab", "abc"], ["ab", "abc"], id="text"),
    ],
)
def test_a_frame_may_be_a_list(tmp_path: Path, dtype: Any, frame: Any, expected: Any) -> None:
    scan = begin(tmp_path, (1, 2), dtype)
    scan[0] = frame
    assert_same_array(saved(scan), np.array([expected], dtype))


@pytest.mark.parametrize(
    "value",
    [3, 3.0, True, np.float32(3), np.array(3), np.uint8(3)],
    ids=["int", "float", "bool", "numpy scalar", "0-d array", "unsigned"],
)
def test_a_frame_may_be_a_scalar_where_nothing_is_left_over(tmp_path: Path, value: Any) -> None:
    scan = begin(tmp_path, (2,))
    scan[1] = value
    assert_same_array(saved(scan), np.array([np.nan, float(value)]))


def test_a_scan_may_have_no_dimensions_at_all(tmp_path: Path) -> None:
    scan = begin(tmp_path, ())
    assert (scan.complete, scan.frames_expected, list(scan.missing())) == (False, 1, [()])
    scan[()] = 7
    assert (scan.complete, scan.read()[()], list(scan.missing())) == (True, 7.0, [])
    assert_same_array(saved(scan), np.array(7.0))


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        pytest.param("f8", "c16", id="complex in floats"),
        pytest.param("i4", "f8", id="floats in integers"),
        pytest.param("u2", "i4", id="signed in unsigned"),
        pytest.param("u1", "i1", id="signed in unsigned of one size"),
        pytest.param("?", "u1", id="numbers in bools"),
        pytest.param("f8", "U3", id="text in numbers"),
        pytest.param("f8", "M8[s]", id="times in numbers"),
        pytest.param("f8", "O", id="objects"),
        pytest.param([("a", "f8")], "f8", id="plain in structured"),
    ],
)
def test_a_cast_beyond_same_kind_is_a_type_error_and_stores_nothing(tmp_path: Path, stored: Any, given: Any) -> None:
    with begin(tmp_path, (2, 2), stored) as scan:
        with pytest.raises(FrameTypeError) as caught:
            scan[0] = np.zeros(2, given)
        assert isinstance(caught.value, TypeError)
        assert scan.frames_written == 0


@pytest.mark.parametrize(
    ("stored", "frame"),
    [
        pytest.param("u1", [0, 256], id="too big"),
        pytest.param("u1", [0, -1], id="below zero"),
        pytest.param("i4", [0.5, 1], id="a fraction"),
        pytest.param("f8", ["a", "b"], id="text"),
        pytest.param("f8", [None, 1], id="None"),
        pytest.param("i8", [2**63, 0], id="beyond 64 bits"),
    ],
)
def test_a_list_that_the_dtype_cannot_hold_is_a_type_error(tmp_path: Path, stored: Any, frame: Any) -> None:
    """numpy would wrap 256 to 0, and truncate 0.5 to 0."""
    with begin(tmp_path, (2, 2), stored) as scan:
        with pytest.raises(FrameTypeError):
            scan[0] = frame
        assert scan.frames_written == 0


@pytest.mark.parametrize(
    ("stored", "given"),
    [("f4", "f8"), ("f8", "f4"), ("f8", "u2"), ("i2", "i8"), ("c8", "f8"), ("f8", "?"), (">f8", "<f8"), ("<u2", ">u2")],
)
def test_a_cast_by_same_kind_is_that_of_numpy(tmp_path: Path, stored: str, given: str) -> None:
    frames = some((2, 7), given)
    scan = begin(tmp_path, (2, 7), stored)
    scan[...] = frames
    assert_same_array(saved(scan), frames.astype(stored))


BIG = (3, 2 * SLAB_BYTES // 8 + 5)


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        pytest.param(BIG, lambda a: a.astype("f4"), id="long rows are cast piece by piece"),
        pytest.param((BIG[1], 3), lambda a: a.astype("f4"), id="many short rows are cast piece by piece"),
        pytest.param(BIG, np.asfortranarray, id="Fortran order"),
        pytest.param(BIG, lambda a: a[::-1], id="backwards"),
        pytest.param(BIG, lambda a: np.repeat(a, 2, axis=1)[:, ::2], id="every second element"),
        pytest.param(BIG, lambda a: a.T.copy().T, id="transposed"),
        pytest.param(BIG, lambda a: np.broadcast_to(a[:1], a.shape), id="broadcast by the sender"),
        pytest.param((3, 1, 5), lambda a: a.astype(">f8"), id="the other byte order"),
        pytest.param((BIG[1] * 2,), lambda a: a.astype("f4"), id="one dimension"),
    ],
)
def test_frames_that_lie_elsewise_in_memory_are_stored_in_c_order(
    tmp_path: Path, shape: Any, make: Callable[[Any], Any]
) -> None:
    """They are copied in pieces of about 1 MiB: here several pieces, the last one partial."""
    frame = make(some((1, *shape), "f8")[0])
    scan = begin(tmp_path, (2, *shape))
    scan[1] = frame
    data = saved(scan)
    assert_same_array(data[1], np.ascontiguousarray(frame, dtype="f8"))
    assert bool(np.isnan(data[0]).all())


def test_a_subclass_of_an_array_is_its_numbers(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 2))
    scan[0] = np.ma.masked_array([1.0, 2.0], mask=[0, 0])
    scan[1] = np.arange(2.0).view(np.recarray)
    assert_same_array(saved(scan), np.array([[1.0, 2.0], [0.0, 1.0]]))


def test_the_sender_may_reuse_its_buffer_once_the_call_returns(tmp_path: Path) -> None:
    """A camera reuses one buffer for every frame."""
    scan, buffer = begin(tmp_path, (20, 1000), "u2"), np.empty(1000, "u2")
    for i in range(20):
        buffer[:] = i
        scan[i] = buffer
        buffer[:] = 999
    assert_same_array(saved(scan), np.repeat(np.arange(20, dtype="u2"), 1000).reshape(20, 1000))


# -- bad frames --------------------------------------------------------------------------------------------------------

BAD = [
    pytest.param(1, np.zeros(4), FrameShapeError, id="of a wrong shape"),
    pytest.param(1, np.zeros(3, "c16"), FrameTypeError, id="of a wrong dtype"),
    pytest.param(2, np.zeros(3), FrameIndexError, id="out of range"),
    pytest.param(-3, np.zeros(3), FrameIndexError, id="out of range from the end"),
    pytest.param((1, 0, 0), 1.0, FrameIndexError, id="of too long an index"),
    pytest.param((1, 3), 1.0, FrameIndexError, id="out of range in the second place"),
    pytest.param([0, 1], np.zeros((2, 3)), FrameIndexError, id="named by a list"),
    pytest.param(np.array([True, False]), np.zeros((1, 3)), FrameIndexError, id="named by a mask"),
    pytest.param("1", np.zeros(3), FrameIndexError, id="named by text"),
    pytest.param((1, 2), np.zeros(1), FrameShapeError, id="that would have refined the grid"),
]


@pytest.mark.parametrize(("index", "frame", "kind"), BAD)
@pytest.mark.parametrize("before", [False, True], ids=["on an empty scan", "over a frame"])
def test_of_a_bad_frame_nothing_is_stored_and_the_scan_goes_on(
    tmp_path: Path, index: Any, frame: Any, kind: type[Exception], before: bool
) -> None:
    scan, expected = begin(tmp_path, (2, 3), fill_value=0), np.zeros((2, 3))
    if before:
        scan[1] = expected[1] = [7.0, 8.0, 9.0]
    with pytest.raises(kind):
        scan[index] = frame
    assert (scan.frames_written, scan.grid_shape) == ((1, (2,)) if before else (0, ()))
    assert_same_array(scan.array, expected)
    scan[0] = expected[0] = [1.0, 2.0, 3.0]
    assert_same_array(saved(scan), expected)


def test_a_list_of_complex_numbers_is_no_frame_of_a_real_scan(tmp_path: Path) -> None:
    """The error is FrameTypeError, not numpy's warning, nor its exception if warnings are errors."""
    with (
        lys_storage.create(tmp_path / "data.npz", (2, 2), "f8", fill_value=0) as scan,
        pytest.raises(lys_storage.FrameTypeError),
    ):
        scan[0] = [1 + 2j, 1]
