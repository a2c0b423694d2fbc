"""Reading by the names of the dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import CoordinateError, FrameIndexError, ScanClosedError, StoredWave
from lys_storage.disk import File
from tests.helpers import assert_same_array, some

DATA = some((4, 5, 2, 3), "i4")


@pytest.fixture
def wave(tmp_path: Path) -> Iterator[StoredWave]:
    """Axes: y descends, x ascends, row has index coordinates and no name, the last one has names."""
    axes: dict[str, Any] = {
        "axes": [[4.0, 3, 2, 1.5], np.linspace(0, 1, 5), None, ["a", "b", "c"]],
        "axis_names": ["y", "x", None, "two words"],
        "units": ["mm", "mm", "pixel", None],
    }
    with lys_storage.create(tmp_path / "data.npz", DATA.shape, DATA.dtype, grid_ndim=2, **axes) as scan:
        scan[...] = DATA
    with lys_storage.open_wave(scan.path) as wave:
        yield wave


def test_dimensions_have_their_names_or_their_numbers(wave: StoredWave) -> None:
    assert wave.dims == ("y", "x", "axis_2", "two words")


def test_isel_takes_positions_by_name(wave: StoredWave) -> None:
    assert_same_array(wave.isel(y=1, axis_2=slice(0, 1)), DATA[1, :, :1])
    assert_same_array(wave.isel({"two words": -1}, x=slice(None, None, -1)), DATA[:, ::-1, :, -1])
    assert_same_array(wave.isel(), DATA)
    assert_same_array(wave.isel(y=0, x=0, axis_2=0, **{"two words": 0}), DATA[0, 0, 0, 0])
    assert wave.isel(y=0).flags.writeable


def test_sel_takes_coordinates_by_name(wave: StoredWave) -> None:
    assert_same_array(wave.sel(y=1.5, x=slice(0.25, 0.8)), DATA[3, 1:4])
    assert_same_array(wave.sel(y=slice(3, 1.5)), DATA[1:])
    assert_same_array(wave.sel({"two words": "b"}, axis_2=1.0), DATA[:, :, 1, 1])
    assert_same_array(wave.sel(y=2.4, x=0.9, method="nearest"), DATA[2, 4])
    assert_same_array(wave.sel(y=2.1, method="nearest", tolerance=0.2), DATA[2])
    assert_same_array(wave.sel(), DATA)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"z": 1}, "there is no dimension 'z'; the dimensions are y, x, axis_2, two words"),
        ({"y": 2.4}, "y has no coordinate 2.4; the nearest are 2.0 (position 2) and 3.0 (position 1)"),
        ({"y": slice(1, 3)}, "the coordinates of y descend: slice(3, 1), not slice(1, 3)"),
        ({"axis_2": 2}, "axis_2 has no coordinate 2; the nearest is 1.0 (position 1)"),
        ({"y": 2, "method": "ffill"}, "method is 'ffill', expected None (exact) or \"nearest\""),
        ({"y": 2, "tolerance": 1}, 'tolerance is used with method="nearest" only'),
    ],
)
def test_what_is_not_there_is_a_key_error_of_the_family(wave: StoredWave, options: Any, said: str) -> None:
    with pytest.raises(CoordinateError) as caught:
        wave.sel(**options)
    assert str(caught.value).startswith(said)


def test_isel_refuses_what_read_refuses(wave: StoredWave) -> None:
    with pytest.raises(CoordinateError, match="there is no dimension 'z'"):
        wave.isel(z=1)
    with pytest.raises(CoordinateError, match="3 names no dimension: pass dimension=value"):
        wave.isel(3)  # type: ignore[arg-type]
    with pytest.raises(FrameIndexError, match="out of range"):
        wave.isel(y=4)
    with pytest.raises(FrameIndexError, match="not an int"):
        wave.isel(y=[0, 1])
    wave.close()
    for read in (wave.isel, wave.sel):
        with pytest.raises(ScanClosedError, match="open_wave"):
            read(y=2)


def test_sel_reads_the_selected_frames_only(wave: StoredWave, monkeypatch: pytest.MonkeyPatch) -> None:
    read_into, sizes = File.read_into, []

    def count(file: File, buffer: Any, offset: int) -> int:
        sizes.append(len(buffer))
        return read_into(file, buffer, offset)

    monkeypatch.setattr(File, "read_into", count)
    wave.sel(y=3, x=slice(0.25, 0.8))
    assert sizes == [3 * DATA[0, 0].nbytes]


def test_repr_has_a_line_for_each_axis_that_is_more_than_an_index(wave: StoredWave, tmp_path: Path) -> None:
    assert repr(wave).splitlines() == [
        f"<StoredWave {wave.path} (4, 5, 2, 3) int32",
        "  y: 4.0 ... 1.5 mm (4 points)",
        "  x: 0.0 ... 1.0 mm (5 points)",
        "  axis_2: 0.0 ... 1.0 pixel (2 points)",
        "  two words: a ... c (3 points)>",
    ]
    np.savez(tmp_path / "plain.npz", data=np.zeros((2, 3)))
    with lys_storage.open_wave(tmp_path / "plain.npz") as plain:
        assert repr(plain) == f"<StoredWave {plain.path} (2, 3) float64>"
