"""A scan in progress as an array: missing frames are never taken for data; numbers are broadcast, arrays are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, FrameShapeError, FrameTypeError, MissingFrameError, Scan
from lys_storage.scan import frame_reader
from tests.helpers import assert_same_array, some
from tests.scan.scans import begin, saved

# -- missing frames ----------------------------------------------------------------------------------------------------

INDICES = [
    *(0, 2, -1, (1, 2), (0, 1), ..., (), (2, 3, 4), (0, 0, slice(1, 3)), (..., 1), (slice(None), 1), np.s_[::2]),
    *(
        np.s_[::-1, 1:3],
        np.s_[1:, ::-2, ::2],
        np.s_[0:0],
        np.s_[:, :, 2],
        np.s_[1:3, 0, 1],
        (slice(None), slice(1, 2), 0),
    ),
]


@pytest.mark.parametrize("grid_ndim", [0, 1, 2, 3])
@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_read_gives_the_fill_value_and_an_operator_raises_where_a_frame_is_missing(
    tmp_path: Path, grid_ndim: int, index: Any
) -> None:
    """For each depth of grid and index, if all, some or none of the named frames are written."""
    data = some((3, 4, 5), "i4")
    grid = data.shape[:grid_ndim]
    came = np.zeros(grid, bool)
    with begin(tmp_path, data.shape, "i4", fill_value=-9, grid_ndim=grid_ndim) as scan:
        for k, place in enumerate([None, *np.ndindex(grid)][:: 2 if grid_ndim else 1]):
            if place is not None:
                scan[place] = data[place]
                came[place] = True
            whole = np.broadcast_to(came.reshape(grid + (1,) * (3 - grid_ndim)), data.shape)
            if k % 5 == 0 or came.all():
                assert_same_array(scan.read(index), np.where(whole, data, -9).astype("i4")[index])
                if whole[index].all():
                    assert_same_array(scan[index], data[index])
                else:
                    with pytest.raises(MissingFrameError):
                        scan[index]


def test_what_read_gives_is_what_the_export_holds(tmp_path: Path) -> None:
    scan = begin(tmp_path, (3, 2), [("a", "f4"), ("b", "u1")], grid_ndim=1, fill_value=(1.5, 7))
    scan[1] = np.zeros(2, scan.dtype)
    looked = scan.read()
    assert_same_array(saved(scan), looked)


def test_a_frame_of_which_a_write_failed_or_goes_on_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file can hold some of its bytes; they are not data."""
    with begin(tmp_path, (2, 3), "u1", fill_value=9, grid_ndim=1) as scan:
        scan[1] = 5
        scan._store.table.states.begin_write(1, 2)
        assert (scan.read(1).tolist(), scan.array[1].tolist()) == ([9, 9, 9], [5, 5, 5])
        scan._store.table.states.end_write(1, 2)
        assert scan.read(1).tolist() == [5, 5, 5]


def test_a_frame_that_comes_while_others_are_read_is_missing_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of it could have been read before it was written."""
    real = frame_reader.read_selection
    with begin(tmp_path, (2, 3), "u1", fill_value=9, grid_ndim=1) as scan:

        def read(*args: Any) -> Any:
            result = real(*args)
            scan[1] = 5
            return result

        monkeypatch.setattr(frame_reader, "read_selection", read)
        assert scan.read().tolist() == [[9] * 3] * 2
        monkeypatch.undo()
        assert scan.read().tolist() == [[9] * 3, [5] * 3]


def test_a_scan_is_read_while_its_dtype_changes(tmp_path: Path) -> None:
    """Dtype, states and file of one read belong to one layout."""
    with begin(tmp_path, (2, 3), "u1", fill_value=1, grid_ndim=1) as scan:
        assert_same_array(scan.read(0), np.full(3, 1, "u1"))
        scan.change_dtype("f8", fill_value=2)
        assert_same_array(scan.read(0), np.full(3, 2.0))
        scan[1] = 0.5
        assert_same_array(scan.read(), np.array([[2.0] * 3, [0.5] * 3]))


def test_adding_to_a_frame_that_never_came_is_refused_in_words_and_changes_nothing(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4), "u2", grid_ndim=1) as scan:
        scan[0] = np.arange(4, dtype="u2")
        scan[0] += 2
        scan[0] *= np.arange(4, dtype="u2")
        assert scan[0].tolist() == [0, 3, 8, 15]
        with pytest.raises(MissingFrameError) as caught:
            scan[1] += 1
        assert str(caught.value) == (
            "index 1 needs frame (1,), which has not been written (1 of 3 frames have). "
            "scan.read(index) gives the fill value for it; scan.written shows the frames that have been written"
        )
        with pytest.raises(MissingFrameError, match=r"index slice\(None, None, None\) needs frame \(1,\)"):
            scan[:] -= 1
        assert scan.written.tolist() == [True, False, False]


def test_an_element_is_a_numpy_scalar_and_can_be_added_to(tmp_path: Path) -> None:
    """numpy 1 makes an int64 of the sum; it is stored because its value fits."""
    with begin(tmp_path, (2, 2), "u2", grid_ndim=2) as scan:
        scan[0, 1] = 7
        scan[0, 1] += 1
        assert (type(scan[0, 1]), scan[0, 1]) == (np.uint16, 8)
        with pytest.raises(FrameTypeError, match="cannot be stored as uint16, it would become 65535"):
            scan[0, 1] += np.int64(-9)


def test_a_missing_frame_is_no_index_error_so_that_no_iteration_ends_early(tmp_path: Path) -> None:
    """reversed() interprets an IndexError as the end."""
    assert not issubclass(MissingFrameError, IndexError)
    assert issubclass(MissingFrameError, LookupError)
    with begin(tmp_path, (3, 2), grid_ndim=1) as scan:
        scan[0] = 1
        scan[2] = 3
        for frames in (scan, reversed(scan)):
            with pytest.raises(MissingFrameError, match=r"frame \(1,\)"):
                list(frames)


def test_numpy_is_given_the_map_of_a_complete_scan_and_a_refusal_before(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 2), grid_ndim=1) as scan:
        scan[0] = 1
        for take in (np.asarray, np.array, np.sum):
            with pytest.raises(
                MissingFrameError,
                match=r"is not complete: 1 of 2 frames have been written\..*scan\.read\(\) gives the fill value",
            ) as caught:
                take(scan)
            assert str(caught.value).count(str(scan.path)) == 1
        scan[1] = 2
        assert np.asarray(scan).tolist() == [[1, 1], [2, 2]]
        assert np.shares_memory(np.asarray(scan), scan.array)


# -- numbers are broadcast, arrays are not -----------------------------------------------------------------------------


def by_item(scan: Scan, index: Any, value: Any) -> None:
    scan[index] = value


WAYS = pytest.mark.parametrize(
    "write",
    [
        pytest.param(by_item, id="scan[index] ="),
        pytest.param(Scan.write, id="write"),
        pytest.param(lambda scan, index, value: scan.update({index: value}), id="update"),
        pytest.param(lambda scan, index, value: scan.update({index: value, (2, 3): value}), id="update of two"),
    ],
)
Write = Callable[[Scan, Any, Any], None]


@WAYS
@pytest.mark.parametrize(
    "value", [3, 3.0, True, np.uint8(3), np.float32(3), np.int64(3)], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("index", [1, ..., (), (1, 2), (-1, 0)], ids=str)
def test_a_number_fills_all_that_the_index_names(tmp_path: Path, write: Write, value: Any, index: Any) -> None:
    with begin(tmp_path, (3, 4, 5), "f8", grid_ndim=2, fill_value=-1) as scan:
        write(scan, index, value)
        expected = np.zeros((3, 4), bool)
        expected[index] = True
        expected[2, 3] |= scan.written[2, 3]  # "update of two" writes a second frame
        assert np.array_equal(scan.written, expected)
        assert (scan.read()[expected] == value).all()


@pytest.mark.parametrize("index", [(0, slice(None, None, 2)), (slice(None), -1), slice(1, None)], ids=str)
def test_a_number_fills_a_slice(tmp_path: Path, index: Any) -> None:
    with begin(tmp_path, (3, 4, 5), "f8", grid_ndim=2, fill_value=-1) as scan:
        scan[index] = 7
        expected = np.full((3, 4, 5), -1.0)
        expected[index] = 7
        assert_same_array(scan.read(), expected)


def test_a_number_before_the_grid_is_known_tells_it_as_a_frame_does(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4)) as scan:
        scan[1] = 2.5
        assert (scan.grid_shape, scan.read(1).tolist(), scan.frames_written) == ((3,), [2.5] * 4, 1)


def test_a_number_fills_what_is_large_in_pieces_and_overwrites(tmp_path: Path) -> None:
    scan = begin(tmp_path, (4, 1 << 10, 1 << 9), "u2", grid_ndim=1)
    scan[1:3] = 7
    scan[...] = 9
    scan[3] = 2
    data = saved(scan)
    assert (np.unique(data[:3]).tolist(), np.unique(data[3]).tolist()) == ([9], [2])


@WAYS
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        pytest.param("u1", 256, id="too large"),
        pytest.param("u1", -1, id="negative"),
        pytest.param("u2", np.int64(70_000), id="a numpy scalar that would wrap"),
        pytest.param("u2", 1.5, id="a fraction"),
        pytest.param("f8", 1j, id="complex"),
        pytest.param("f4", np.float64(1e39), id="it would be infinite"),
        pytest.param("?", 1, id="a number for a bool"),
        pytest.param("i4", np.datetime64(1, "s"), id="a time"),
        pytest.param("f8", "7", id="text"),
        pytest.param("f8", None, id="None"),
    ],
)
def test_a_number_is_cast_as_a_frame_is(tmp_path: Path, write: Write, dtype: str, value: Any) -> None:
    with begin(tmp_path, (3, 4, 5), dtype, grid_ndim=2) as scan:
        with pytest.raises((FrameTypeError, FrameShapeError)):
            write(scan, 1, value)
        assert not scan.written[1].any()


def test_without_the_check_of_values_a_number_is_cast_by_numpy(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 3), "u1", grid_ndim=1, casting="unsafe") as scan:
        scan[0] = np.uint16(300)
        assert scan.read(0).tolist() == [44] * 3


@WAYS
@pytest.mark.parametrize(
    "frame",
    [np.array(7.0), [7.0], np.ones(1), np.ones((1, 5)), np.ones(5), np.ones((4, 1)), np.ones((3, 4, 5))],
    ids=lambda frame: f"{type(frame).__name__} {np.shape(frame)}",
)
def test_an_array_of_another_shape_fills_nothing(tmp_path: Path, write: Write, frame: Any) -> None:
    """Otherwise a detector frame that has lost its dimensions would be stored silently."""
    with begin(tmp_path, (3, 4, 5), grid_ndim=2) as scan:
        with pytest.raises(FrameShapeError):
            write(scan, 1, frame)
        assert not scan.written[1].any()


def test_a_number_with_an_index_that_names_no_frame_is_an_index_error(tmp_path: Path) -> None:
    with begin(tmp_path, (3, 4, 5), grid_ndim=1) as scan:
        for index in (3, (0, 1), [0, 1], True, np.ones(3, bool)):
            with pytest.raises(FrameIndexError):
                scan[index] = 1
        scan[0:0] = 1
        assert scan.frames_written == 0


def test_resumed_frames_are_read_and_added_to_as_before(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 3), "i8", grid_ndim=1)
    scan[1] = 4
    scan.suspend()
    with lys_storage.resume(scan.path) as scan:
        scan[1] += 1
        assert scan[1].tolist() == [5] * 3
        with pytest.raises(MissingFrameError):
            scan[0] += 1
