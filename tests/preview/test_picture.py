"""The picture: what its axes show, in which place, and that no file stops it. Warnings are errors here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.preview import draw, png_bytes, survey
from tests.helpers import some
from tests.preview.sources import opened, write_scan
from tests.systems import IS_WINDOWS

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'lys_storage[plot]'")

NAMES = {"axis_names": ["y", "x", "row", "column"], "units": ["mm", "µm", "pixel", "pixel"]}
AXES = [np.linspace(0, 3, 4), np.linspace(8, 0, 5), None, None]


def figure_of(path: Path, number: int | None = None, *, log: bool = False, **options: Any) -> Any:
    with opened(path) as source:
        return draw(source, survey(source, number, **options), log=log)


def pixels_of(figure: Any) -> np.ndarray:
    """The picture as an array of (rows, columns, RGB) between 0 and 1."""
    from matplotlib.image import imread

    return np.asarray(imread(io.BytesIO(png_bytes(figure)), format="png"))[..., :3]


def panels(figure: Any) -> list[Any]:
    """The axes with data, without colour bars."""
    return list(figure.axes)


def region(figure: Any, ax: Any, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """The pixels between two points, in coordinates of the data."""
    pixels = pixels_of(figure)
    (left, bottom), (right, top) = ax.transData.transform([(x[0], y[0]), (x[1], y[1])])
    height = len(pixels)
    return pixels[round(height - top) : round(height - bottom), round(left) : round(right)]


def is_hatched(pixels: np.ndarray) -> bool:
    """White, with grey lines: no colour."""
    flat = pixels.reshape(-1, 3)
    is_grey = np.ptp(flat, axis=1) < 0.02
    return bool(is_grey.all() and (flat.mean(axis=1) > 0.98).mean() > 0.3 and (flat.mean(axis=1) < 0.9).any())


def has_colour(pixels: np.ndarray) -> bool:
    return bool((np.ptp(pixels.reshape(-1, 3), axis=1) > 0.1).all())


# -- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [True, False], ids=["export", "interrupted"])
def test_the_missing_part_of_a_map_is_hatched_and_the_rest_has_colours(tmp_path: Path, close: bool) -> None:
    """Rows 2 and 3 of the grid are missing; the axis x descends."""
    data = np.arange(4 * 5)[:, None, None] + np.ones((20, 6, 7))
    path = write_scan(
        *(tmp_path / "a.npz", data.reshape(4, 5, 6, 7), 2), missing=range(10, 20), close=close, axes=AXES, **NAMES
    )
    figure = figure_of(path, 0)
    frame, shown = panels(figure)
    assert is_hatched(region(figure, shown, (-0.8, 8.8), (1.6, 3.4)))
    assert has_colour(region(figure, shown, (-0.8, 5.0), (-0.4, 1.4)))
    assert (shown.get_xlim(), shown.get_ylim()) == ((-1.0, 9.0), (-0.5, 3.5))
    assert (shown.get_xlabel(), shown.get_ylabel()) == ("x (µm)", "y (mm)")
    assert (frame.get_xlabel(), frame.get_ylabel()) == ("column (pixel)", "row (pixel)")
    assert "hatched: not written" in shown.get_title()
    title = figure.get_suptitle()
    assert title.startswith("a.npz\n4 × 5 × 6 × 7, float64; " if close else "a.npz.part\n")
    assert title.endswith("10 of 20 frames written")
    assert ("interrupted scan" in title) is not close


def test_a_map_is_in_its_place_whatever_the_direction_of_the_axes(tmp_path: Path) -> None:
    """The brightest frame is [0, 1]: x = 6, because x descends from 8 in steps of 2."""
    data = np.zeros((4, 5, 3, 3))
    data[0, 1] = 9
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 2, axes=AXES, **NAMES), 19)
    _, shown = panels(figure)
    bright = region(figure, shown, (5.2, 6.8), (-0.4, 0.4))
    dark = region(figure, shown, (1.2, 2.8), (-0.4, 0.4))
    assert bright.mean(axis=(0, 1))[0] > 0.9, "yellow"
    assert dark.mean(axis=(0, 1))[0] < 0.4, "violet"
    (ring, _) = shown.lines
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (0.0, 3.0)


def test_cells_of_an_axis_that_is_not_uniform_have_its_widths(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 3, 3))
    data[:, 4] = 9
    axes = [None, np.array([1.0, 2, 4, 8, 16]), None, None]
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 2, axes=axes), 0)
    _, shown = panels(figure)
    assert shown.get_xlim() == (0.5, 20.0)
    assert region(figure, shown, (12.4, 19.8), (0.6, 3.4)).mean(axis=(0, 1))[0] > 0.9
    assert region(figure, shown, (4.0, 11.6), (0.6, 3.4)).mean(axis=(0, 1))[0] < 0.4


def test_a_map_of_one_dimension_is_a_line_with_gaps(tmp_path: Path) -> None:
    data = np.arange(6)[:, None] + np.zeros((6, 4))
    axes = [np.arange(6) * 10.0, np.linspace(0, 1, 4)]
    labels = {"axis_names": ["delay", "energy"], "units": ["ps", "eV"]}
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 1, missing={2, 3}, axes=axes, **labels))
    frame, shown = panels(figure)
    line = shown.lines[0]
    assert line.get_xdata().tolist() == [0, 10, 20, 30, 40, 50]
    assert np.array_equal(line.get_ydata(), [0, 1, np.nan, np.nan, 4, 5], equal_nan=True)
    assert is_hatched(region(figure, shown, (16, 34), (0.2, 4.8)))
    assert (shown.get_xlabel(), frame.get_xlabel(), frame.get_ylabel()) == ("delay (ps)", "energy (eV)", "value")
    assert shown.get_ylabel() == "mean of value"


def test_of_a_grid_of_more_dimensions_the_title_tells_which_part_is_shown(tmp_path: Path) -> None:
    axes = [np.array([0.5, 1.5]), None, None, None, None]
    labels = {"axis_names": ["delay", None, None, None, None], "units": ["ps", None, None, None, None]}
    figure = figure_of(write_scan(tmp_path / "a.npz", some((2, 3, 4, 5, 6), "u1"), 3, axes=axes, **labels), 2 * 12 - 1)
    frame, shown = panels(figure)
    assert shown.get_title().splitlines()[:2] == ["mean of each frame", "delay = 1.5 ps"]
    assert frame.get_title().splitlines() == ["frame [1, 2, 3]", "delay = 1.5 ps, axis 1 = 2, axis 2 = 3"]


def test_what_was_left_out_is_in_the_title(tmp_path: Path) -> None:
    data = some((30, 40, 64, 64), "f4")
    data[0, 0, 0, 0] = np.nan
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 2), limit_bytes=1 << 18)
    _, shown = panels(figure)
    assert shown.get_title().splitlines()[0] == "mean of each frame (finite pixels only)"
    assert "frame" in shown.get_title().splitlines()[1]
    assert shown.get_title().splitlines()[1].startswith("every ")


# -- the frame ---------------------------------------------------------------------------------------------------------


def test_one_outlier_does_not_set_the_colours_of_a_frame(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(100, 1, (1, 100, 100))
    data[0, 5, 5], data[0, 7, 7], data[0, 8, 8] = 1e9, np.nan, -np.inf
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 1))
    frame = panels(figure)[0]
    low, high = frame.images[-1].get_clim()
    assert 90 < low < 99
    assert 101 < high < 110


def test_pixels_that_are_not_finite_are_grey(tmp_path: Path) -> None:
    data = np.arange(24.0).reshape(4, 6)
    data[1, 2] = np.nan
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 0))
    (frame,) = panels(figure)
    inside = region(figure, frame, (1.6, 2.4), (0.6, 1.4))
    assert np.allclose(inside, 0xB0 / 255, atol=0.01)
    assert frame.get_title() == "grey: not finite"


@pytest.mark.parametrize(
    "data", [np.full((3, 4, 5), 7, "u2"), np.zeros((3, 4, 5)), np.full((3, 4, 5), -1e300)], ids=str
)
@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
def test_a_constant_frame_has_a_picture(tmp_path: Path, data: np.ndarray, log: bool) -> None:
    """Also with a logarithmic scale, although there may be no positive value."""
    figure = figure_of(write_scan(tmp_path / "a.npz", data, 1), log=log)
    frame, _ = panels(figure)
    low, high = frame.images[-1].get_clim()
    assert low < data[0, 0, 0] < high
    assert pixels_of(figure).std() > 0


def test_the_logarithmic_scale_is_for_colours_and_lines(tmp_path: Path) -> None:
    data = np.geomspace(1, 1e6, 60).reshape(3, 4, 5)
    frame, shown = panels(figure_of(write_scan(tmp_path / "a.npz", data, 1), log=True))
    assert type(frame.images[-1].norm).__name__ == "LogNorm"
    assert shown.get_yscale() == "log"
    assert shown.get_ylabel() == "mean of value, logarithmic"
    frame, shown = panels(figure_of(tmp_path / "a.npz"))
    assert type(frame.images[-1].norm).__name__ == "Normalize"
    assert shown.get_yscale() == "linear"


KINDS = {
    "a number": ((), 0, "f8", 1),
    "numbers along a line": ((30,), 1, "f8", 1),
    "a map of numbers": ((10, 12), 2, "u4", 1),
    "one spectrum": ((50,), 0, "f4", 1),
    "a map of spectra": ((6, 7, 50), 2, "f4", 2),
    "one image": ((30, 40), 0, "?", 1),
    "images along a line": ((12, 30, 40), 1, "c8", 2),
    "maps of stacks": ((2, 3, 4, 3, 5, 6), 3, ">i2", 2),
    "one pixel": ((1, 1, 1, 1), 2, "f2", 2),
    "times": ((3, 4, 5), 1, "M8[s]", 2),
    "time differences": ((3, 4, 5), 1, "m8[10us]", 2),
    "long doubles": ((3, 4, 5), 1, "g", 2),
    "structures": ((3, 4, 5), 1, [("a", "f4"), ("b", "i4")], 2),
}


@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
@pytest.mark.parametrize(("shape", "grid_ndim", "dtype", "count"), KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_scan_has_a_picture(
    tmp_path: Path, shape: tuple, grid_ndim: int, dtype: Any, count: int, log: bool
) -> None:
    """One panel for the frame, and one for the map, where there are these. The picture is not empty."""
    figure = figure_of(write_scan(tmp_path / "a.npz", some(shape, dtype), grid_ndim), log=log)
    assert len(panels(figure)) == count
    pixels = pixels_of(figure)
    assert (pixels < 0.99).any(axis=2).mean() > 0.005
    assert pixels.shape[:2] == (572, {1: 765, 2: 1276}[count])


def test_names_of_any_characters_are_drawn(tmp_path: Path) -> None:
    """A dollar sign begins no formula. Characters that no font has are boxes. Control characters are escaped."""
    name = "T$_2 試料 {1[31m" if IS_WINDOWS else "T$_2 試料 \\frac{1\x1b[31m\n"
    labels = {"axis_names": ["$y$", "a_b^c $", "試", "${"], "units": ["$", "1/Å", "\\alpha$", "%"]}
    path = write_scan(tmp_path / f"{name}{'x' * 80}.npz", some((2, 3, 4, 5), "u1"), 2, **labels)
    figure = figure_of(path)
    frame, shown = panels(figure)
    assert frame.get_xlabel() == "${ (%)"
    assert shown.get_ylabel() == "$y$ ($)"
    first = figure.get_suptitle().splitlines()[0]
    assert first.startswith(name.replace("\x1b", "\\x1b").replace("\n", "\\n"))
    assert len(first) <= 90
    assert pixels_of(figure).std() > 0


def test_no_text_overlaps_another_or_leaves_the_picture(tmp_path: Path) -> None:
    """With long names, all dimensions, missing frames and sampling."""
    labels = {"axis_names": [f"a rather long name of axis {k}" for k in range(5)], "units": ["mm"] * 5}
    path = write_scan(tmp_path / "a.npz", some((3, 20, 30, 64, 64), "f4"), 3, missing=range(1500, 1600), **labels)
    figure = figure_of(path, limit_bytes=1 << 18)
    png_bytes(figure)  # lays it out
    renderer = figure.canvas.get_renderer()
    texts = [figure._suptitle, *(ax.title for ax in panels(figure))]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_pyplot_and_its_state_are_not_used(tmp_path: Path, run_child: Any) -> None:
    write_scan(tmp_path / "a.npz", some((3, 4, 5), "u1"), 1)
    child = run_child("""
import sys, pathlib
import lys_storage.preview as preview
print("matplotlib" in sys.modules)
import matplotlib
before = matplotlib.rcParams.copy()
source = preview.open_source(pathlib.Path("a.npz"))
preview.png_bytes(preview.draw(source, preview.survey(source)))
print("matplotlib.pyplot" in sys.modules, matplotlib.rcParams.copy() == before)
source.close()
""")
    assert (child.out.split(), child.err) == (["False", "False", "True"], "")


def test_the_demo_and_the_preview_draw_with_the_same_functions() -> None:
    """There is one function for images, and one for lines."""
    from lys_storage.demo import _preview

    assert _preview.draw_image is lys_storage.preview.draw_image
    assert _preview.draw_line is lys_storage.preview.draw_line
