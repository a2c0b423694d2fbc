"""Frames on their way into a scan: by any index, of exactly one shape, cast by same_kind, from any thread."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, FrameShapeError, FrameTypeError, Scan, ScanShapeError
from lys_storage.core._checks import Checks
from lys_storage.core._create import begin_scan
from lys_storage.core._frame import SLAB_BYTES
from lys_storage.core._journal import ABSENT, CHECKED, WRITTEN
from tests.helpers import DEADLINE_S, assert_same_array, files, in_threads, load_export, some


def begin(tmp_path: Path, shape: Any, dtype: Any = "f8", **options: Any) -> Scan:
    """A scan `data.npz` that is made durable at its end only."""
    return lys_storage.create(tmp_path / "data.npz", shape, dtype, **{"flush_interval_s": None, **options})


def saved(scan: Scan) -> np.ndarray[Any, Any]:
    return load_export(scan.close()).data


# -- indices -----------------------------------------------------------------------------------------------------------

WHOLE = some((3, 4, 5), "i4")


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([()], id="the whole at once"),
        pytest.param([...], id="an Ellipsis"),
        pytest.param([(0,), (1,), (2,)], id="rows"),
        pytest.param([2, 0, 1], id="rows as plain ints, in any order"),
        pytest.param([(i, j) for i in range(3) for j in range(4)], id="points"),
        pytest.param([(0,), (1, 0), (1, 1), (1, 2), (1, 3), (2,)], id="a row, points, a row"),
        pytest.param([(0, 0), (0, 1), (0, 2), (0, 3), (1,), (2,)], id="points, then rows"),
        pytest.param([(0, 0, k) for k in range(5)] + [(0, 1), (0, 2), (0, 3), (1,), (2,)], id="elements, points, rows"),
        pytest.param([(-3,), (-1,), (np.int64(-2),)], id="from the end, and numpy's ints"),
        pytest.param(
            [(np.uint8(0),), (np.array(1),), (np.int16(2), ...)], id="unsigned, 0-d arrays, an Ellipsis behind"
        ),
        pytest.param([(slice(None), j) for j in range(4)], id="columns"),
        pytest.param([(..., k) for k in range(5)], id="the last dimension, element by element"),
        pytest.param([slice(1, None), slice(0, 1)], id="slices of rows"),
        pytest.param([slice(None, None, -2), (1, slice(0, 2)), (1, slice(2, 9))], id="backwards, and within a row"),
        pytest.param([(slice(0, 2), 1), (slice(0, 2), slice(None, None, 2)), (..., 3, slice(None)), 2], id="mixed"),
        pytest.param([slice(0, 0), ()], id="an empty slice names nothing"),
    ],
)
def test_any_index_of_ints_slices_and_ellipsis_stores_what_numpy_would(tmp_path: Path, indices: list[Any]) -> None:
    """`scan[index] = frame` is `array[index] = frame`, whatever lengths of index one scan mixes."""
    scan, expected = begin(tmp_path, WHOLE.shape, "i4", fill=-1), np.full(WHOLE.shape, -1, "i4")
    for index in indices:
        scan[index] = WHOLE[index]
        expected[index] = WHOLE[index]
        assert_same_array(scan.array, np.where(expected == -1, 0, expected).astype("i4"))
    assert_same_array(saved(scan), expected)


def test_the_first_index_says_what_a_frame_is(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4, 5)) as scan:
        scan[1] = np.zeros((4, 5))
        assert (scan.grid_shape, scan.frame_shape, scan.frames_written, scan.frames_expected) == ((3,), (4, 5), 1, 3)


def test_a_longer_index_refines_the_grid_and_keeps_what_has_come(tmp_path: Path) -> None:
    scan = begin(tmp_path, (3, 4, 5), fill=0)
    scan[1] = np.ones((4, 5))
    scan[2, 3] = np.full(5, 2.0)
    assert (scan.grid_shape, scan.frames_written, scan.frames_expected) == ((3, 4), 5, 12)
    assert scan.written.tolist() == [[False] * 4, [True] * 4, [False, False, False, True]]
    scan[0, 0, 4] = 3.0
    assert (scan.grid_shape, scan.frames_written, scan.frames_expected) == ((3, 4, 5), 26, 60)
    expected = np.zeros((3, 4, 5))
    expected[1], expected[2, 3], expected[0, 0, 4] = 1, 2, 3
    assert_same_array(saved(scan), expected)


def test_a_shorter_index_covers_many_frames_and_leaves_the_grid(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4, 5)) as scan:
        scan[0, 0] = np.zeros(5)
        scan[1] = np.zeros((4, 5))
        assert (scan.grid_shape, scan.frames_written) == ((3, 4), 5)


def test_the_grid_can_be_said_beforehand(tmp_path: Path) -> None:
    """Then a row that comes first leaves the points the unit."""
    with begin(tmp_path, (3, 4, 5), grid_ndim=2) as scan:
        scan[0] = np.zeros((4, 5))
        assert (scan.grid_shape, scan.frames_written, scan.frames_expected) == ((3, 4), 4, 12)
        assert list(scan.missing()) == [(i, j) for i in (1, 2) for j in range(4)]


def test_what_is_missing_is_as_of_the_call_whatever_comes_then(tmp_path: Path) -> None:
    scan = lys_storage.create(tmp_path / "data.npz", (3, 30_000, 1), "u1", grid_ndim=2)
    every_third = np.ones((3, 10_000, 1), "u1")
    scan[:, ::3] = every_third
    missing = scan.missing()
    scan[0] = np.ones((30_000, 1), "u1")
    scan.close()
    assert list(missing) == [(i, j) for i in range(3) for j in range(30_000) if j % 3]


@pytest.mark.parametrize("ndim", [-1, 4, 10])
def test_a_grid_of_more_dimensions_than_there_are_is_refused(tmp_path: Path, ndim: int) -> None:
    with pytest.raises(ScanShapeError, match=f"grid_ndim {ndim} for the 3 dimensions"):
        begin(tmp_path, (3, 4, 5), grid_ndim=ndim)
    assert files(tmp_path) == set()


def test_a_refinement_to_more_frames_than_a_journal_holds_is_refused_and_the_scan_goes_on(tmp_path: Path) -> None:
    scan = begin_scan(
        *(tmp_path, "data", (1 << 16, 1 << 16, 4), "u1"), numbered=False, replace_existing=False, claim_space=False
    )
    scan[0] = np.ones((1 << 16, 4), "u1")
    with pytest.raises(ScanShapeError, match="4,294,967,296 frames"):
        scan[1, 2] = np.ones(4, "u1")
    scan[1] = np.full((1 << 16, 4), 2, "u1")
    assert (scan.frames_written, scan.grid_shape, scan.read(1, -1).tolist()) == (2, (1 << 16,), [2] * 4)
    scan.suspend()


# -- what a frame may be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "index", "frame", "left_over"),
    [
        pytest.param((3, 4), 0, np.zeros(3), (4,), id="too short"),
        pytest.param((3, 4), 0, np.zeros(5), (4,), id="too long"),
        pytest.param((3, 4), 0, np.zeros(1), (4,), id="numpy would broadcast it"),
        pytest.param((3, 4), 0, np.zeros((1, 4)), (4,), id="a leading 1, which numpy drops"),
        pytest.param((3, 4), 0, 7.0, (4,), id="a scalar for a row"),
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
    """Nothing is broadcast: a wrong frame would pass silently."""
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
    """numpy would wrap 256 round to 0, and cut 0.5 to 0."""
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
    """Pieces of about 1 MiB: more than one of them, and one that is not full."""
    frame = make(some((1, *shape), "f8")[0])
    scan = begin(tmp_path, (2, *shape))
    scan[1] = frame
    data = saved(scan)
    assert_same_array(data[1], np.ascontiguousarray(frame, dtype="f8"))
    assert bool(np.isnan(data[0]).all())


def test_a_subclass_of_an_array_is_its_numbers(tmp_path: Path) -> None:
    """A mask is none of a file's business: what is under it is stored, as numpy's own assignment does."""
    scan = begin(tmp_path, (2, 2))
    scan[0] = np.ma.masked_array([1.0, 2.0], mask=[0, 1])
    scan[1] = np.arange(2.0).view(np.recarray)
    assert_same_array(saved(scan), np.array([[1.0, 2.0], [0.0, 1.0]]))


def test_the_sender_may_reuse_its_buffer_once_the_call_returns(tmp_path: Path) -> None:
    """A camera does: one buffer for every frame."""
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
    scan, expected = begin(tmp_path, (2, 3), fill=0), np.zeros((2, 3))
    if before:
        scan[1] = expected[1] = [7.0, 8.0, 9.0]
    with pytest.raises(kind):
        scan[index] = frame
    assert (scan.frames_written, scan.grid_shape) == ((1, (2,)) if before else (0, ()))
    assert_same_array(scan.array, expected)
    scan[0] = expected[0] = [1.0, 2.0, 3.0]
    assert_same_array(saved(scan), expected)


def test_update_stores_the_good_frames_and_raises_for_the_bad_ones(tmp_path: Path) -> None:
    scan = begin(tmp_path, (4, 2), fill=0)
    with pytest.raises(FrameShapeError) as caught:
        scan.update({(0,): [1.0, 1.0], (1,): [0.0], (2,): [2.0, 2.0], (9,): [3.0, 3.0], (3,): [4.0, 4.0]})
    assert caught.value.__notes__ == ["1 more frames of this update could not be stored"]
    assert_same_array(saved(scan), np.array([[1.0, 1], [0, 0], [2, 2], [4, 4]]))


def test_an_empty_update_means_nothing(tmp_path: Path) -> None:
    with begin(tmp_path, (2,)) as scan:
        scan.update({})
        assert scan.frames_written == 0


# -- written again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["nothing", "check", "flush"])
def test_of_a_frame_that_comes_twice_the_last_one_counts(tmp_path: Path, between: str) -> None:
    """Its old version may be unchecked, checked, or on the disk: the new one goes through the redo file in each case."""
    scan = begin(tmp_path, (3, 4), "u2")
    scan[1] = np.full(4, 1, "u2")
    if between != "nothing":
        getattr(scan._part, between)()
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}
    scan[1] = np.full(4, 2, "u2")
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal", "data.npz.part.redo"}
    scan[1] = np.full(4, 3, "u2")
    assert (scan.frames_written, scan.complete) == (1, False)
    assert_same_array(saved(scan), np.array([[0] * 4, [3] * 4, [0] * 4], "u2"))
    assert files(tmp_path) == {"data.npz"}


def test_a_row_over_points_of_which_some_have_come_replaces_them_and_counts_each_once(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 3, 2), "u1")
    scan[0, 1] = np.full(2, 1, "u1")
    scan[0] = np.full((3, 2), 2, "u1")
    scan[:, 2] = np.full((2, 2), 3, "u1")
    assert scan.written.tolist() == [[True, True, True], [False, False, True]]
    assert_same_array(saved(scan), np.array([[[2, 2], [2, 2], [3, 3]], [[0, 0], [0, 0], [3, 3]]], "u1"))


def test_a_flush_ends_what_the_redo_file_holds(tmp_path: Path) -> None:
    """Rewriting for days does not fill the disk."""
    with begin(tmp_path, (2, 1000), "u1", grid_ndim=1) as scan:
        redo, sizes = tmp_path / "data.npz.part.redo", []
        for k in range(6):
            scan[0] = np.full(1000, k, "u1")
            if redo.exists():
                sizes.append(redo.stat().st_size)
            scan.flush()
        assert len(set(sizes)) == 1
        assert redo.stat().st_size == 0


# -- complete ----------------------------------------------------------------------------------------------------------


def test_complete_means_that_every_element_has_been_written_not_that_a_count_is_reached(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 2)) as scan:
        for _ in range(5):
            scan[0] = np.zeros(2)
        assert not scan.complete
        scan[1, 0] = 0.0
        assert (scan.complete, list(scan.missing())) == (False, [(1, 1)])
        scan[1, 1] = 0.0
        assert (scan.complete, list(scan.missing()), scan.written.all()) == (True, [], True)


def test_frames_of_zeros_are_frames(tmp_path: Path) -> None:
    """ "Written" is never inferred from content."""
    scan = begin(tmp_path, (3, 2))
    scan[1] = np.zeros(2)
    assert scan.written.tolist() == [False, True, False]
    assert_same_array(saved(scan), np.array([[np.nan] * 2, [0.0] * 2, [np.nan] * 2]))


# -- the fill ----------------------------------------------------------------------------------------------------------


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
    """For each dtype its default; the frames that came are what they were."""
    frame = some((3,), dtype)
    with begin(tmp_path, (4, 3), dtype, fill=fill) as scan:
        scan[2] = frame
        assert_same_array(np.array(scan.fill, dtype), np.array(stored, dtype))
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
    ],
)
def test_a_fill_that_the_dtype_cannot_hold_is_refused(tmp_path: Path, dtype: str, fill: Any) -> None:
    with pytest.raises(ScanShapeError) as caught:
        begin(tmp_path, (2,), dtype, fill=fill)
    assert isinstance(caught.value, ValueError)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("fill", [0, 5], ids=["zero", "not zero"])
def test_a_scan_of_which_nothing_came_is_all_fill(tmp_path: Path, fill: int) -> None:
    """Large ones too: more than one piece of fill, and holes."""
    with begin(tmp_path, (3, 2_000_000), "u1", fill=fill) as scan:
        pass
    assert_same_array(load_export(scan.path).data, np.full((3, 2_000_000), fill, "u1"))


def test_the_fill_is_written_when_the_scan_ends_not_before(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 2), fill=9) as scan:
        scan[0] = np.ones(2)
        assert scan.array.tolist() == [[1, 1], [0, 0], [0, 0]]


# -- what can be begun -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param((2, 0), "f8", id="an empty dimension"),
        pytest.param((-1,), "f8", id="a negative one"),
        pytest.param((2.0,), "f8", id="a float"),
        pytest.param((True,), "f8", id="a bool"),
        pytest.param(None, "f8", id="none"),
        pytest.param("12", "f8", id="text"),
        pytest.param((1 << 40, 1 << 40), "f8", id="more than can be addressed"),
        pytest.param((1,) * 33, "f8", id="more dimensions than numpy has"),
        pytest.param((2,), "O", id="objects"),
        pytest.param((2,), [("a", "O")], id="objects in a field"),
        pytest.param((2,), "V0", id="no bytes"),
        pytest.param((2,), "U", id="text of no length"),
        pytest.param((2,), ("f8", (3,)), id="a sub-array"),
        pytest.param((2,), "no dtype", id="no dtype"),
    ],
)
def test_a_shape_or_dtype_that_no_scan_can_have_is_refused_with_nothing_left_behind(
    tmp_path: Path, shape: Any, dtype: Any
) -> None:
    with pytest.raises(ScanShapeError):
        begin(tmp_path / "new", shape, dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_shape_may_be_one_number_and_of_numpys_ints(tmp_path: Path) -> None:
    assert begin(tmp_path / "a", 3).close() == tmp_path / "a" / "data.npz"
    with begin(tmp_path / "b", np.array([2, 3])) as scan:
        assert scan.shape == (2, 3)
        assert all(type(n) is int for n in scan.shape)


def test_the_folder_is_made_and_npz_is_added_to_the_name(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a" / "b" / "scan.v1", (2,)) as scan:
        assert scan.path == tmp_path / "a" / "b" / "scan.v1.npz"
    assert files(tmp_path) == {"a/b/scan.v1.npz"}


def test_a_path_may_be_text_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lys_storage.create("run/data_0.npz", (2,)):
        pass
    assert files(tmp_path) == {"run/data_0.npz"}


# -- while it runs -----------------------------------------------------------------------------------------------------


def test_the_running_scan_can_be_looked_at_and_not_changed(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 3), "i4") as scan:
        view = scan.array
        assert (view.flags.writeable, view.dtype, view.shape) == (False, np.dtype("i4"), (2, 3))
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0] = 1
        scan[1] = np.array([1, 2, 3], "i4")
        assert view.tolist() == [[0, 0, 0], [1, 2, 3]], "the map shows what comes later"
        assert scan.read(1).tolist() == [1, 2, 3]
        assert scan.read(slice(None), 1).tolist() == [0, 2]
        del view


def test_its_repr_says_where_it_is_and_how_far(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 3), "i4", grid_ndim=1)
    scan[0] = np.zeros(3, "i4")
    assert repr(scan) == f"<Scan {tmp_path}/data.npz (2, 3) int32: 1 of 2 frames, open>".replace("/", os.sep)
    scan.close()
    assert repr(scan).endswith("1 of 2 frames, saved>")


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Different frames, with a follower that checks and flushes behind them."""
    scan, frames = begin(tmp_path, (4, 60, 500), "u2", flush_interval_s=0.01), some((4, 60, 500), "u2")

    def write(i: int) -> Callable[[], object]:
        return lambda: [scan.write((i, j), frames[i, j]) for j in range(60)]

    in_threads(*map(write, range(4)))
    assert scan.complete
    assert_same_array(saved(scan), frames)


def test_threads_that_write_one_frame_take_turns(tmp_path: Path) -> None:
    """Whole frames only: never a mixture of two."""
    scan = begin(tmp_path, (2, 300_000), "u1", flush_interval_s=0.01)

    def write(value: int) -> Callable[[], object]:
        return lambda: [scan.write(0, np.full(300_000, value + k, "u1")) for k in range(0, 60, 3)]

    in_threads(*map(write, range(3)))
    data = saved(scan)
    assert (len(set(data[0].tolist())), scan.report and scan.report.frames_written) == (1, 1)


def test_threads_that_refine_the_grid_while_others_write_lose_nothing(tmp_path: Path) -> None:
    frames = some((6, 8, 10), "u2")
    for attempt in range(5):
        scan = begin(tmp_path / str(attempt), frames.shape, "u2", flush_interval_s=0.001)
        in_threads(
            lambda scan=scan: [scan.write(i, frames[i]) for i in (0, 1)],
            lambda scan=scan: [scan.write((i, j), frames[i, j]) for i in (2, 3) for j in range(8)],
            lambda scan=scan: [scan.write((i, j, slice(None)), frames[i, j]) for i in (4,) for j in range(8)],
            lambda scan=scan: [scan.write((5, j, k), frames[5, j, k]) for j in range(8) for k in range(10)],
        )
        assert scan.complete
        assert_same_array(saved(scan), frames)


@pytest.mark.parametrize("size", [64, 200_000], ids=["small frames", "larger ones"])
def test_a_frame_that_is_rewritten_in_a_loop_while_the_scan_is_closed_never_spoils_the_export(
    tmp_path: Path, size: int
) -> None:
    """Whatever moment it is closed at: zipfile.testzip accepts it (load_export asks), and the frame is one version."""
    for attempt in range(12):
        scan = begin(tmp_path / str(attempt), (3, size), "u1", flush_interval_s=(None, 0.001, 0)[attempt % 3])
        begun = threading.Event()

        def rewrite(scan: Scan, begun: threading.Event, at_least: int) -> None:
            buffer = np.empty(size, "u1")
            with contextlib.suppress(lys_storage.ScanClosedError):
                for k in itertools.count():
                    buffer[:] = 1 + k % 200
                    scan[1] = buffer
                    buffer[:] = 255
                    if k >= at_least:
                        begun.set()

        writer = threading.Thread(target=rewrite, args=(scan, begun, attempt))
        writer.start()
        assert begun.wait(DEADLINE_S)
        data = saved(scan)
        writer.join(DEADLINE_S)
        assert not writer.is_alive()
        assert (data[0].any(), data[2].any(), len(set(data[1].tolist()))) == (False, False, 1)
        assert 1 <= data[1, 0] <= 200


@pytest.mark.usefixtures("python_sums")
def test_a_frame_that_is_rewritten_while_its_checksum_is_taken_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum counts only if the frame was not touched meanwhile; those of its neighbours do."""
    scan, real, taken = begin(tmp_path, (3, 8), "u1"), Checks.sums, []
    scan[0], scan[1] = np.full(8, 1, "u1"), np.full(8, 2, "u1")

    def sums(checks: Checks, numbers: Any, size: int) -> Any:
        result = real(checks, numbers, size)
        if len(result):
            taken.append(len(result))
            if len(taken) == 1:
                scan[1] = np.full(8, 3, "u1")
        return result

    monkeypatch.setattr(Checks, "sums", sums)
    scan._part.check()
    assert scan._part.journal.mark_array.tolist() == [CHECKED, WRITTEN, ABSENT]
    assert saved(scan).tolist() == [[1] * 8, [3] * 8, [0] * 8]
    assert taken == [2, 1]
