"""Draws lines and images on axes of matplotlib. Needs no display, and does not change the state of pyplot.

matplotlib is loaded when a picture is drawn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np

from ..errors import install_command
from .axes import Dimension
from .source import PreviewError
from .values import Flags, Reals

LINE = "#1f5f8b"
MARK = "#38c8f0"
HATCH = {"hatch": "////", "edgecolor": "#8a8a8a", "facecolor": "white"}
"""Missing frames."""
NOT_FINITE = "#b0b0b0"
PLAIN: dict[str, Any] = {"parse_math": False}
"""Text of the user: a "$" in it is a character."""
_MANY = 2000
"""Values: one in a thousand of fewer is none."""
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "IPAexGothic",
    "Yu Gothic",
    "Hiragino Sans",
    "Arial Unicode MS",
)


def ensure_matplotlib() -> None:
    """Raise PreviewError, which names the command that installs it, if matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401  only to see whether it is there
    except ModuleNotFoundError as error:
        raise PreviewError(f"{str(error.name).partition('.')[0]} is not installed: {install_command('plot')}") from None


def new_figure(width: float, height: float) -> Any:
    """A figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), dpi=110, layout=ConstrainedLayoutEngine(wspace=0.06))
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Any) -> bytes:
    """The figure as a PNG file. Characters that no installed font has are drawn as boxes."""
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    known = {entry.name for entry in fontManager.ttflist}
    fonts = [name for name in _FONTS if name in known]
    for text in figure.findobj(Text):
        text.set_fontfamily(fonts or ["sans-serif"])
    stream = BytesIO()
    with _missing_glyphs_allowed():
        figure.savefig(stream, format="png", metadata={"Software": "lys_storage"})
    return stream.getvalue()


@contextmanager
def _missing_glyphs_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def color_limits(
    values: Reals, *, log: bool = False, percent: tuple[float, float] = (0.1, 99.9)
) -> tuple[float, float]:
    """Limits that few of many values exceed, and none of few values. `log`: of the positive values."""
    shown = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not shown.size:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = (float(limit) for limit in np.percentile(shown, percent if shown.size >= _MANY else (0, 100)))
    if high - low > 1e-12 * max(abs(low), abs(high)):
        return low, high
    if log:
        return low / 2, low * 2
    margin = max(0.5, abs(low) / 20) if low else 0.5
    return low - margin, low + margin


def can_be_log(values: Reals) -> bool:
    return bool(np.any(values[np.isfinite(values)] > 0))


def draw_line(
    ax: Any,
    dimension: Dimension,
    values: Reals,
    step: int,
    label: str,
    *,
    missing: Flags | None = None,
    log: bool = False,
) -> None:
    """Values along a dimension. Where they are `missing`, the background is hatched."""
    centres = dimension.centres(step)
    isolated = len(values) <= 64 or (missing is not None and bool(missing.any()))
    ax.plot(centres, values, color=LINE, lw=1.2, marker="." if isolated else None)
    if missing is not None:
        edges = dimension.edges(step)
        padded = np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8))
        for first, stop in zip(np.flatnonzero(padded > 0), np.flatnonzero(padded < 0), strict=True):
            ax.axvspan(edges[first], edges[stop], lw=0, zorder=0, **HATCH)
    ends = dimension.edges(step)[[0, -1]]
    ax.set_xlim(min(ends), max(ends))
    if log and can_be_log(values):
        ax.set_yscale("log", nonpositive="mask")
        label += ", logarithmic"
    ax.set_xlabel(dimension.label, **PLAIN)
    ax.set_ylabel(label, **PLAIN)
    for axis in (ax.xaxis, ax.yaxis):
        _without_offset(axis.get_major_formatter())


def draw_image(
    ax: Any,
    values: Reals,
    dimensions: Sequence[Dimension],
    steps: Sequence[int],
    label: str,
    *,
    norm: Any,
    cmap: str,
    missing: Flags | None = None,
    extend: str = "neither",
) -> None:
    """Values over two dimensions, as cells with the coordinates of the dimensions, ascending to the right and upwards.

    Cells that are `missing` show the hatched background; other values that are not finite are grey.
    """
    y, x = (dimension.edges(step) for dimension, step in zip(dimensions, steps, strict=True))
    absent = np.zeros(values.shape, bool) if missing is None else missing
    if x[0] > x[-1]:
        x, values, absent = x[::-1], values[:, ::-1], absent[:, ::-1]
    if y[0] > y[-1]:
        y, values, absent = y[::-1], values[::-1], absent[::-1]
    ax.patch.set(**HATCH, lw=0)
    undefined = ~np.isfinite(values) & ~absent
    if undefined.any():
        from matplotlib.colors import ListedColormap

        _cells(ax, x, y, np.where(undefined, 0.0, np.nan), cmap=ListedColormap([NOT_FINITE]))
    picture = _cells(ax, x, y, values, norm=norm, cmap=cmap)
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(y[0], y[-1])
    shape = abs((x[-1] - x[0]) / (y[-1] - y[0]))
    same = dimensions[1].unit == dimensions[0].unit and 0.25 < shape < 4
    ax.set_aspect("equal" if same else "auto")
    ax.set_xlabel(dimensions[1].label, **PLAIN)
    ax.set_ylabel(dimensions[0].label, **PLAIN)
    # An inset is as high as the image, also where its aspect is equal.
    bar = ax.figure.colorbar(picture, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)), extend=extend)
    bar.set_label(label, **PLAIN)
    _without_offset(bar.formatter)


def _without_offset(formatter: Any) -> None:
    """Print 99.98 at a tick, not -0.02 with "+1e2" at the end of the scale. Only formatters of linear scales have offsets."""
    if hasattr(formatter, "set_useOffset"):
        formatter.set_useOffset(False)


def _cells(ax: Any, x: Reals, y: Reals, values: Any, **options: Any) -> Any:
    if _is_uniform(x) and _is_uniform(y):
        extent = (x[0], x[-1], y[0], y[-1])
        return ax.imshow(values, origin="lower", extent=extent, interpolation="nearest", aspect="auto", **options)
    return ax.pcolorfast(x, y, values, **options)


def _is_uniform(edges: Reals) -> bool:
    steps = np.diff(edges)
    return bool(np.allclose(steps, steps[0], rtol=1e-3, atol=0))
