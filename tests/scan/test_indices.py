"""Indices of ints, slices and Ellipsis: the grid that they make, the frames that they name, and which are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, FrameShapeError, FrameTypeError, ScanShapeError
from lys_storage.scan import begin_scan
from tests.helpers import assert_same_array, files, some
from tests.scan.scans import begin, saved

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
        pytest.param([(1, 0), (0,), (1, 1), (1, 2), (1, 3), (2,)], id="a point, a row, points, a row"),
        pytest.param([(0, 0), (0, 1), (0, 2), (0, 3), (1,), (2,)], id="points, then rows"),
        pytest.param([(0, 0, k) for k in range(5)] + [(0, 1), (0, 2), (0, 3), (1,), (2,)], id="elements, points, rows"),
        pytest.param([(-3,), (-1,), (np.int64(-2),)], id="from the end, and numpy's ints"),
        pytest.param(
            [(np.uint8(0),), (np.array(1),), (np.int16(2), ...)], id="unsigned, 0-d arrays, an Ellipsis behind"
        ),
        pytest.param([(slice(None), j) for j in range(4)], id="columns"),
        pytest.param([(..., k) for k in range(5)], id="the last dimension, element by element"),
        pytest.param([slice(1, None), slice(0, 1)], id="slices of rows"),
        pytest.param([(1, slice(0, 2)), slice(None, None, -2), (1, slice(2, 9))], id="backwards, and within a row"),
        pytest.param([(slice(0, 2), 1), (slice(0, 2), slice(None, None, 2)), (..., 3, slice(None)), 2], id="mixed"),
        pytest.param([slice(0, 0), ()], id="an empty slice names nothing"),
    ],
)
def test_any_index_of_ints_slices_and_ellipsis_stores_what_numpy_would(tmp_path: Path, indices: list[Any]) -> None:
    """`scan[index] = frame` equals `array[index] = frame`, also if the indices of one scan have different lengths."""
    scan, expected = begin(tmp_path, WHOLE.shape, "i4", fill_value=-1), np.full(WHOLE.shape, -1, "i4")
    for index in indices:
        scan[index] = WHOLE[index]
        expected[index] = WHOLE[index]
        assert_same_array(scan.array, np.where(expected == -1, 0, expected).astype("i4"))
    assert_same_array(saved(scan), expected)


def test_the_first_index_says_what_a_frame_is(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4, 5)) as scan:
        scan[1] = np.zeros((4, 5))
        assert (scan.grid_shape, scan.frame_shape, scan.frames_written, scan.frames_expected) == ((3,), (4, 5), 1, 3)


@pytest.mark.parametrize(
    ("options", "first", "index"),
    [
        pytest.param({}, 1, (2, 3), id="frames have come"),
        pytest.param({}, 1, (1, 3), id="within a frame that has come"),
        pytest.param({}, ..., 1, id="the whole has come"),
        pytest.param({"grid_ndim": 1}, None, (2, 3), id="the grid was said"),
        pytest.param({"grid_ndim": 0}, None, 2, id="the grid was said to be one frame"),
        pytest.param({"grid_ndim": 2}, (0, 0), (0, 0, 4), id="one element of a frame"),
        pytest.param({"grid_ndim": 1}, None, (..., 2), id="one element of each frame"),
        pytest.param({"grid_ndim": 1}, None, (slice(0, 2), slice(0, 2)), id="a part of some frames"),
    ],
)
def test_an_index_that_names_a_part_of_a_frame_is_refused_and_the_grid_stays(
    tmp_path: Path, options: Any, first: Any, index: Any
) -> None:
    """Otherwise each pixel would silently become a frame: a journal of 40 million frames."""
    scan = begin(tmp_path, (3, 4, 5), fill_value=0, **options)
    expected = np.zeros((3, 4, 5))
    if first is not None:
        scan[first] = expected[first] = np.ones(expected[first].shape)
    grid, came = scan.grid_shape, scan.frames_written
    with pytest.raises(FrameIndexError, match=r"a part of a frame: the grid is .*grid_ndim"):
        scan[index] = np.full(expected[index].shape, 9.0)
    assert (scan.grid_shape, scan.frames_written) == (grid, came)
    assert_same_array(saved(scan), expected)


def test_a_frame_that_is_refused_tells_no_grid(tmp_path: Path) -> None:
    """Neither does an empty slice, which names no frame."""
    with begin(tmp_path, (3, 4, 5), "u1") as scan:
        for index, bad in (((0, 0), np.full(5, 256, "u2")), ((0, 0), np.zeros(4, "u1")), ((0, 0), np.zeros(5))):
            with pytest.raises((FrameTypeError, FrameShapeError)):
                scan[index] = bad
        scan[0, 0:0] = np.zeros((0, 5), "u1")
        assert (scan.grid_shape, scan.frames_written) == ((), 0)
        scan[1] = np.ones((4, 5), "u1")
        assert (scan.grid_shape, scan.frames_written) == ((3,), 1)


def test_a_shorter_index_covers_many_frames_and_leaves_the_grid(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4, 5)) as scan:
        scan[0, 0] = np.zeros(5)
        scan[1] = np.zeros((4, 5))
        assert (scan.grid_shape, scan.frames_written) == ((3, 4), 5)


def test_the_grid_can_be_said_beforehand(tmp_path: Path) -> None:
    """Points stay the unit if a row is written first."""
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
    with pytest.raises(ScanShapeError, match=f"grid_ndim is {ndim}, expected 0 to 3"):
        begin(tmp_path, (3, 4, 5), grid_ndim=ndim)
    assert files(tmp_path) == set()


def test_a_first_index_that_makes_more_frames_than_a_journal_holds_is_refused_and_the_scan_goes_on(
    tmp_path: Path,
) -> None:
    scan = begin_scan(
        *(tmp_path, "data", (1 << 16, 1 << 16, 4), "u1"), numbered=False, replace_existing=False, preallocate=False
    )
    with pytest.raises(ScanShapeError, match="4,294,967,296 frames"):
        scan[1, 2] = np.ones(4, "u1")
    scan[1] = np.full((1 << 16, 4), 2, "u1")
    assert (scan.frames_written, scan.grid_shape, scan.read((1, -1)).tolist()) == (1, (1 << 16,), [2] * 4)
    scan.suspend()


# -- complete ----------------------------------------------------------------------------------------------------------


def test_complete_means_that_every_element_has_been_written_not_that_a_count_is_reached(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 2), grid_ndim=2) as scan:
        for _ in range(5):
            scan[0] = np.zeros(2)
        assert not scan.complete
        scan[1, 0] = 0.0
        assert (scan.complete, list(scan.missing())) == (False, [(1, 1)])
        scan[1, 1] = 0.0
        assert (scan.complete, list(scan.missing()), scan.written.all()) == (True, [], True)


def test_frames_of_zeros_are_frames(tmp_path: Path) -> None:
    """Whether a frame is written is never inferred from its content."""
    scan = begin(tmp_path, (3, 2))
    scan[1] = np.zeros(2)
    assert scan.written.tolist() == [False, True, False]
    assert_same_array(saved(scan), np.array([[np.nan] * 2, [0.0] * 2, [np.nan] * 2]))
