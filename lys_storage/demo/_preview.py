"""Draws a wave: one frame, the map of a virtual detector over the grid, the mean.

Needs matplotlib, which is loaded when a picture is drawn. Needs no display, and does not change the state of pyplot.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lys_storage.format import axis_label

from ._glance import Frames, Glance, expect_scattered_reads, glance

if TYPE_CHECKING:
    from lys_storage.reading import StoredWave

_MARK = "#38c8f0"
_LINE = "#1f5f8b"


class Dimension(NamedTuple):
    """One dimension of the data, for a picture: its label, and its coordinates."""

    label: str
    values: npt.NDArray[Any]

    def extent(self, step: int) -> tuple[float, float]:
        """The outer edges of the pixels, of which every `step`-th is shown."""
        shown = self.values[::step].astype(float)
        half = (shown[-1] - shown[0]) / (2 * (len(shown) - 1)) if len(shown) > 1 else 0.5
        return float(shown[0] - half), float(shown[-1] + half)

    def at(self, position: int) -> str:
        """ "delay = 1.2 ps" """
        name, _, unit = self.label.partition(" (")
        return f"{name} = {self.values[position]:.4g} {unit.rstrip(')')}".rstrip()


def write_preview(wave: StoredWave, path: str | os.PathLike[str]) -> Path:
    """Draw `wave` into a PNG file at `path`. ImportError if matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    grid_ndim = len(wave.info.get("grid_shape", wave.shape[:-2]))
    region = [slice(*ends) for ends in wave.note.get("Virtual detector", ())]
    expect_scattered_reads(wave.data)
    frames = Frames(wave.data, grid_ndim, wave.info.get("missing", ()))
    seen = glance(frames, region)
    dimensions = _dimensions(wave)
    grid, frame = dimensions[:grid_ndim], dimensions[grid_ndim:]
    counts = "|signal|" if wave.dtype.kind == "c" else "counts"
    panels: list[Any] = []
    if frame:
        panels.append(lambda ax: _draw_frame(ax, seen, grid, frame, region, counts))
    if grid:
        panels.append(lambda ax: _draw_map(ax, seen, grid, frame, region, counts))
    if len(frame) > 1 or (frame and grid):
        panels.append(lambda ax: _draw_mean(ax, seen, frame, counts))
    figure = Figure(figsize=(5.2 * max(len(panels), 1), 4.6), dpi=110, layout=ConstrainedLayoutEngine(wspace=0.06))
    FigureCanvasAgg(figure)
    written = wave.info.get("frames_written", math.prod(wave.shape[:grid_ndim]))
    expected = math.prod(wave.shape[:grid_ndim])
    came = f"{written:,} of {expected:,} frames" if written != expected else f"{expected:,} frame{'s'[: expected > 1]}"
    figure.suptitle(f"{wave.path.name}    {' × '.join(map(str, wave.shape)) or 'one number'} {wave.dtype}, {came}")
    for k, draw in enumerate(panels or [lambda ax: _draw_number(ax, seen)]):
        draw(figure.add_subplot(1, max(len(panels), 1), k + 1))
    figure.savefig(path, format="png")
    return Path(path)


def _dimensions(wave: StoredWave) -> list[Dimension]:
    # A storage has no axis names: its labels are in the note.
    labels = [str(label) for label in wave.note.get("Axes", ())]
    found = []
    for k, length in enumerate(wave.shape):
        label = axis_label(wave.axis_names[k], wave.units[k], k)
        if wave.axis_names[k] is None and len(labels) == len(wave.shape):
            label = labels[k]
        axis = np.asarray(wave.axes[k]) if k < len(wave.axes) and wave.axes[k] is not None else np.zeros(0)
        found.append(Dimension(label, axis if axis.shape == (length,) else np.arange(length)))
    return found


def _draw_frame(
    ax: Any, seen: Glance, grid: list[Dimension], frame: list[Dimension], region: Sequence[slice], counts: str
) -> None:
    where = [d.at(i) for d, i in zip(grid, seen.frame_index, strict=True)]
    where += [d.at(len(d.values) // 2) for d in frame[:-2]]
    ax.set_title("one frame" + (f"\n{', '.join(where)}" if where else ""), fontsize=10)
    if seen.frame.ndim == 1:
        _line(ax, frame[-1], seen.frame, seen.frame_steps[-1])
        ax.set_ylabel(counts)
        if region:
            low, high = _edges(frame[-1], region[-1])
            ax.axvspan(low, high, color=_MARK, alpha=0.25, lw=0, label="virtual detector")
            ax.legend(loc="upper right", fontsize=8, frameon=False)
        return
    _image(ax, seen.frame, frame[-2:], seen.frame_steps, f"{counts}, square-root scale", power=0.5)
    if region:
        from matplotlib.patches import Rectangle

        (y0, y1), (x0, x1) = (_edges(d, part) for d, part in zip(frame[-2:], region[-2:], strict=True))
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=_MARK, lw=1.6))
        ax.annotate("virtual\ndetector", (x1, y1), color=_MARK, fontsize=8, xytext=(3, 2), textcoords="offset points")


def _draw_map(
    ax: Any, seen: Glance, grid: list[Dimension], frame: list[Dimension], region: Sequence[slice], counts: str
) -> None:
    what = "every frame's value" if not frame else "sum over the virtual detector" if region else "sum of each frame"
    where = [d.at(i) for d, i in zip(grid, seen.map_index, strict=False)]
    if any(step > 1 for step in seen.map_steps):
        where.append(f"every {' × '.join(map(str, seen.map_steps))}-th point")
    ax.set_title(what + (f"\n{', '.join(where)}" if where else ""), fontsize=10)
    if seen.map.ndim == 1:
        _line(ax, grid[-1], seen.map, seen.map_steps[-1])
        ax.set_ylabel(counts)
    else:
        _image(ax, seen.map, grid[-2:], seen.map_steps, counts, cmap="viridis")


def _draw_mean(ax: Any, seen: Glance, frame: list[Dimension], counts: str) -> None:
    title = f"mean of {seen.mean_count} frames" if seen.mean_count > 1 else "this frame"
    ax.set_ylabel(counts)
    if seen.mean.ndim == 1:
        ax.set_title(title, fontsize=10)
        _line(ax, frame[-1], seen.mean, seen.frame_steps[-1])
        return
    y, x = (d.values[::step].astype(float) for d, step in zip(frame[-2:], seen.frame_steps[-2:], strict=True))
    if "1/Å" not in frame[-1].label or len(x) < 8 or len(y) < 8:
        ax.set_title(f"{title}, summed along {frame[-2].label}", fontsize=10)
        _line(ax, frame[-1], seen.mean.sum(axis=0), seen.frame_steps[-1])
        return
    radius = np.hypot(y[:, None], x)
    bins = np.linspace(0, min(y[-1], x[-1]), max(min(len(x), len(y)) // 2, 4))
    total, _ = np.histogram(radius, bins, weights=seen.mean)
    pixels, _ = np.histogram(radius, bins)
    ax.set_title(f"{title}, averaged around the beam", fontsize=10)
    profile = total / np.maximum(pixels, 1)
    ax.plot((bins[1:] + bins[:-1]) / 2, profile, color=_LINE, lw=1.4)
    if np.any(profile > 0):
        ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel("|k| (1/Å)")
    ax.margins(x=0)


def _draw_number(ax: Any, seen: Glance) -> None:
    ax.text(0.5, 0.5, f"{seen.frame[()]:.6g}", ha="center", va="center", fontsize=28, color=_LINE)
    ax.set_axis_off()


def _line(ax: Any, dimension: Dimension, values: npt.NDArray[Any], step: int) -> None:
    few = "." if len(values) <= 64 else None
    ax.plot(dimension.values[::step], values, color=_LINE, lw=1.2, marker=few)
    ax.set_xlabel(dimension.label)
    ax.margins(x=0.01)


def _image(
    ax: Any,
    values: npt.NDArray[Any],
    dimensions: Sequence[Dimension],
    steps: Sequence[int],
    label: str,
    *,
    power: float = 1.0,
    cmap: str = "magma",
) -> None:
    from matplotlib.colors import PowerNorm

    y, x = dimensions
    (bottom, top), (left, right) = y.extent(steps[-2]), x.extent(steps[-1])
    finite = values[np.isfinite(values)].astype(float)
    low, high = (
        (np.percentile(finite, [0.5, 99.9]) if power != 1 else (finite.min(), finite.max())) if finite.size else (0, 1)
    )
    norm = PowerNorm(power, vmin=low, vmax=high if high > low else low + 1)
    shape = abs((right - left) / (top - bottom))
    same = x.label.rpartition("(")[2] == y.label.rpartition("(")[2] and 0.25 < shape < 4
    picture = ax.imshow(
        values.astype(float),
        origin="lower",
        extent=(left, right, bottom, top),
        aspect="equal" if same else "auto",
        norm=norm,
        cmap=cmap,
        interpolation="nearest",
    )
    ax.set_xlabel(x.label)
    ax.set_ylabel(y.label)
    ax.figure.colorbar(picture, ax=ax, label=label, shrink=0.85)


def _edges(dimension: Dimension, part: slice) -> tuple[float, float]:
    """The outer edges of these pixels of a dimension."""
    low, high = dimension.extent(1)
    step = (high - low) / len(dimension.values)
    return low + part.start * step, low + part.stop * step
