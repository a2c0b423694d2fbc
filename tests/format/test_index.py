"""The frames that an index names, compared with numpy's indexing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lys_storage import FrameIndexError
from lys_storage.format import Grid, select

shapes = hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)


def by_blocks(array: np.ndarray[Any, Any], index: Any, ndim: int) -> np.ndarray[Any, Any]:
    """`array[index]`, assembled from the blocks of frames that `index` names on a grid of `ndim` dimensions."""
    grid, selection = Grid(array.shape, ndim), select(index, array.shape)
    frames = array.reshape(grid.frames, grid.frame_elements)
    result = np.full(selection.shape, -1, array.dtype)
    for place, first, count in selection.blocks(grid):
        assert 0 <= first < first + count <= grid.frames
        target = result[place]
        result[place] = frames[first : first + count].reshape(target.shape)
    return result


@given(st.data())
def test_an_index_names_what_numpy_names(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    index = data.draw(hnp.basic_indices(shape, max_dims=len(shape), allow_newaxis=False))
    array = np.arange(prod(shape)).reshape(shape)
    selection = select(index, shape)
    ndim = data.draw(st.integers(selection.depth, len(shape)))
    assert np.array_equal(by_blocks(array, index, ndim), array[index])
    assert selection.shape == array[index].shape


@given(st.data())
def test_every_block_lies_in_one_piece_and_none_is_named_twice(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    index = data.draw(hnp.basic_indices(shape, max_dims=len(shape), allow_newaxis=False))
    selection = select(index, shape)
    frames = [k for _, first, n in selection.blocks(Grid(shape, selection.depth)) for k in range(first, first + n)]
    assert len(frames) == len(set(frames))


@given(st.data())
def test_a_frame_number_and_its_index_are_those_of_c_order(data: st.DataObject) -> None:
    shape = data.draw(shapes)
    grid = Grid(shape, data.draw(st.integers(0, len(shape))))
    assert [grid.index_of(k) for k in range(grid.frames)] == list(np.ndindex(grid.grid_shape))
    assert grid.grid_shape + grid.frame_shape == shape


@pytest.mark.parametrize(
    ("index", "depth", "shape"),
    [
        pytest.param((), 0, (3, 4, 5), id="nothing at all is the whole"),
        pytest.param(Ellipsis, 0, (3, 4, 5), id="an Ellipsis is the whole"),
        pytest.param((slice(None), slice(None)), 0, (3, 4, 5), id="whole dimensions are no part of anything"),
        pytest.param((1,), 1, (4, 5), id="one int"),
        pytest.param(1, 1, (4, 5), id="an int by itself"),
        pytest.param(np.int64(-1), 1, (4, 5), id="numpy's int, from the end"),
        pytest.param((np.uint8(2), np.array(3)), 2, (5,), id="unsigned, and a 0-d array"),
        pytest.param((1, slice(0, 4)), 1, (4, 5), id="a slice that spells out the dimension"),
        pytest.param((slice(None), 2), 2, (3, 5), id="a column"),
        pytest.param((Ellipsis, 2), 3, (3, 4), id="the last dimension"),
        pytest.param((2, Ellipsis), 1, (4, 5), id="an Ellipsis that stands for the rest"),
        pytest.param((2, 3, 4, Ellipsis), 3, (), id="an Ellipsis that stands for nothing"),
        pytest.param((slice(2, 2),), 1, (0, 4, 5), id="an empty slice"),
        pytest.param((slice(None, None, -1),), 1, (3, 4, 5), id="backwards"),
        pytest.param((slice(-2, 99),), 1, (2, 4, 5), id="a slice beyond the end is cut as numpy does"),
    ],
)
def test_the_depth_is_how_many_dimensions_are_needed(index: Any, depth: int, shape: tuple[int, ...]) -> None:
    selection = select(index, (3, 4, 5))
    assert (selection.depth, selection.shape) == (depth, shape)


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(3, id="one past the end"),
        pytest.param(-4, id="one before the start"),
        pytest.param((0, 4), id="past the end of the second dimension"),
        pytest.param((0, 0, 0, 0), id="too many"),
        pytest.param((0, 0, 0, Ellipsis, 0), id="too many around an Ellipsis"),
        pytest.param((Ellipsis, Ellipsis), id="two Ellipses"),
        pytest.param(True, id="a bool"),
        pytest.param(np.True_, id="numpy's bool"),
        pytest.param((0, False), id="a bool in second place"),
        pytest.param(1.0, id="a float"),
        pytest.param("0", id="text"),
        pytest.param(None, id="a new axis"),
        pytest.param([0, 1], id="a list"),
        pytest.param(np.array([0, 1]), id="an array of ints"),
        pytest.param((np.array([0, 1]), 0), id="an array of ints in a tuple"),
        pytest.param(np.array([True, False, True]), id="a mask"),
    ],
)
def test_what_names_no_frames_is_an_index_error_that_says_the_index(index: Any) -> None:
    with pytest.raises(FrameIndexError) as caught:
        select(index, (3, 4, 5))
    assert isinstance(caught.value, IndexError)
    assert str(caught.value).startswith("index ")


def test_huge_shapes_cost_nothing() -> None:
    """Frames are computed, without tables."""
    grid = Grid((10**6, 10**6, 10**3), 2)
    (_, first, count), *rest = select((10**6 - 1, -1), grid.shape).blocks(grid)
    assert (first, count, rest) == (10**12 - 1, 1, [])
    assert grid.index_of(10**12 - 1) == (10**6 - 1, 10**6 - 1)
