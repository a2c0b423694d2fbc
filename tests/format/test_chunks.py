"""Chunks of lazy arrays: frames, merged if they are small."""

from __future__ import annotations

from typing import Any

import pytest

from lys_storage.format import CHUNK_BYTES, frame_chunks, grid_ndim_of


@pytest.mark.parametrize(
    ("shape", "itemsize", "grid_ndim", "is_fortran", "chunks"),
    [
        pytest.param((100, 50, 4096, 8192), 2, 2, False, (1, 1, 4096, 8192), id="a frame has the size of a chunk"),
        pytest.param((3, 8192, 8192), 8, 1, False, (1, 8192, 8192), id="a frame is larger"),
        pytest.param((100, 50, 2048, 2048), 2, 2, False, (1, 8, 2048, 2048), id="frames of a row are merged"),
        pytest.param((100, 4, 2048, 2048), 2, 2, False, (2, 4, 2048, 2048), id="rows are merged"),
        pytest.param((100, 5, 2048, 2048), 2, 2, False, (1, 5, 2048, 2048), id="whole rows only"),
        pytest.param((4, 4, 2, 2), 2, 2, False, (4, 4, 2, 2), id="everything is one chunk"),
        pytest.param((1 << 30,), 8, 1, False, (CHUNK_BYTES // 8,), id="frames of one number"),
        pytest.param((5, 5), 8, 0, False, (5, 5), id="no grid"),
        pytest.param((), 8, 0, False, (), id="one number"),
        pytest.param((0, 3), 8, 1, False, (1, 3), id="no frames"),
        pytest.param((3, 0), 8, 1, False, (3, 0), id="empty frames"),
        pytest.param((2048, 2048, 100), 2, 0, True, (2048, 2048, 8), id="Fortran order"),
    ],
)
def test_a_chunk_is_a_frame_or_adjacent_frames(
    shape: Any, itemsize: int, grid_ndim: int, is_fortran: bool, chunks: Any
) -> None:
    assert frame_chunks(shape, itemsize, grid_ndim, is_fortran) == chunks


@pytest.mark.parametrize(
    ("info", "grid_ndim"),
    [
        ({"grid_shape": [4]}, 1),
        ({"grid_shape": [4, 5, 2]}, 3),
        ({"grid_shape": []}, 0),
        ({}, 1),
        ({"grid_shape": [9]}, 1),
        ({"grid_shape": [4, 5, 2, 1]}, 1),
        ({"grid_shape": "4"}, 1),
        ({"grid_shape": [[4]]}, 1),
    ],
)
def test_without_a_grid_in_the_file_the_last_two_dimensions_are_a_frame(info: Any, grid_ndim: int) -> None:
    assert grid_ndim_of(info, (4, 5, 2)) == grid_ndim
    assert grid_ndim_of({}, (4,)) == grid_ndim_of({}, ()) == 0
