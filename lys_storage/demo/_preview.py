"""Draws a wave: one frame, the map of a virtual detector over the grid, the mean.

Needs matplotlib, which is loaded when a picture is drawn. Needs no display, and does not change the state of pyplot.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lys_storage.preview import (
    LINE,
    MARK,
    PLAIN,
    Dimension,
    color_limits,
    dimensions_of,
    draw_image,
    draw_line,
    new_figure,
    png_bytes,
)

from ._glance import Frames, Glance, expect_scattered_reads, glance

if TYPE_CHECKING:
    from lys_storage.reading import StoredWave


def write_preview(wave: StoredWave, path: str | os.PathLike[str]) -> Path:
    """Draw `wave` into a PNG file at `path`. ImportError if matplotlib is not installed."""
    grid_ndim = len(wave.info.get("grid_shape", wave.shape[:-2]))
    region = [slice(*ends) for ends in wave.note.get("Virtual detector", ())]
    expect_scattered_reads(wave.data)
    frames = Frames(wave.data, grid_ndim, wave.info.get("missing", ()))
    seen = glance(frames, region)
    dimensions = dimensions_of(wave.shape, wave.stored_axes, wave.axis_names, wave.units, wave.note)
    grid, frame = dimensions[:grid_ndim], dimensions[grid_ndim:]
    counts = "|signal|" if wave.dtype.kind == "c" else "counts"
    panels: list[Any] = []
    if frame:
        panels.append(lambda ax: _draw_frame(ax, seen, grid, frame, region, counts))
    if grid:
        panels.append(lambda ax: _draw_map(ax, seen, grid, frame, region, counts))
    if len(frame) > 1 or (frame and grid):
        panels.append(lambda ax: _draw_mean(ax, seen, frame, counts))
    figure = new_figure(5.2 * max(len(panels), 1), 4.6)
    written = wave.info.get("frames_written", math.prod(wave.shape[:grid_ndim]))
    expected = math.prod(wave.shape[:grid_ndim])
    came = f"{written:,} of {expected:,} frames" if written != expected else f"{expected:,} frame{'s'[: expected > 1]}"
    figure.suptitle(
        f"{wave.path.name}    {' × '.join(map(str, wave.shape)) or 'one number'} {wave.dtype}, {came}", **PLAIN
    )
    for k, draw in enumerate(panels or [lambda ax: _draw_number(ax, seen)]):
        draw(figure.add_subplot(1, max(len(panels), 1), k + 1))
    Path(path).write_bytes(png_bytes(figure))
    return Path(path)


def _draw_frame(
    ax: Any, seen: Glance, grid: list[Dimension], frame: list[Dimension], region: Sequence[slice], counts: str
) -> None:
    where = [d.at(i) for d, i in zip(grid, seen.frame_index, strict=True)]
    where += [d.at(d.length // 2) for d in frame[:-2]]
    ax.set_title("one frame" + (f"\n{', '.join(where)}" if where else ""), fontsize=10)
    if seen.frame.ndim == 1:
        draw_line(ax, frame[-1], seen.frame, seen.frame_steps[-1], counts)
        if region:
            low, high = _edges(frame[-1], region[-1])
            ax.axvspan(low, high, color=MARK, alpha=0.25, lw=0, label="virtual detector")
            ax.legend(loc="upper right", fontsize=8, frameon=False)
        return
    from matplotlib.colors import PowerNorm

    values = seen.frame.astype(float)
    norm = PowerNorm(0.5, *color_limits(values, percent=(0.5, 99.9)))
    label = f"{counts}, square-root scale"
    draw_image(ax, values, frame[-2:], seen.frame_steps[-2:], label, norm=norm, cmap="magma")
    if region:
        from matplotlib.patches import Rectangle

        (y0, y1), (x0, x1) = (_edges(d, part) for d, part in zip(frame[-2:], region[-2:], strict=True))
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=MARK, lw=1.6))
        ax.annotate("virtual\ndetector", (x1, y1), color=MARK, fontsize=8, xytext=(3, 2), textcoords="offset points")


def _draw_map(
    ax: Any, seen: Glance, grid: list[Dimension], frame: list[Dimension], region: Sequence[slice], counts: str
) -> None:
    what = "every frame's value" if not frame else "sum over the virtual detector" if region else "sum of each frame"
    where = [d.at(i) for d, i in zip(grid, seen.map_index, strict=False)]
    if any(step > 1 for step in seen.map_steps):
        where.append(f"every {' × '.join(map(str, seen.map_steps))}-th point")
    ax.set_title(what + (f"\n{', '.join(where)}" if where else ""), fontsize=10)
    missing = np.isnan(seen.map)
    if seen.map.ndim == 1:
        draw_line(ax, grid[-1], seen.map, seen.map_steps[-1], counts, missing=missing)
        return
    from matplotlib.colors import Normalize

    norm = Normalize(*color_limits(seen.map, percent=(0, 100)))
    draw_image(ax, seen.map, grid[-2:], seen.map_steps, counts, norm=norm, cmap="viridis", missing=missing)


def _draw_mean(ax: Any, seen: Glance, frame: list[Dimension], counts: str) -> None:
    title = f"mean of {seen.mean_count} frames" if seen.mean_count > 1 else "this frame"
    if seen.mean.ndim == 1:
        ax.set_title(title, fontsize=10)
        draw_line(ax, frame[-1], seen.mean, seen.frame_steps[-1], counts)
        return
    y, x = (d.centres(step) for d, step in zip(frame[-2:], seen.frame_steps[-2:], strict=True))
    if "1/Å" not in frame[-1].label or len(x) < 8 or len(y) < 8:
        ax.set_title(f"{title}, summed along {frame[-2].label}", fontsize=10)
        draw_line(ax, frame[-1], seen.mean.sum(axis=0), seen.frame_steps[-1], counts)
        return
    radius = np.hypot(y[:, None], x)
    bins = np.linspace(0, min(y[-1], x[-1]), max(min(len(x), len(y)) // 2, 4))
    total, _ = np.histogram(radius, bins, weights=seen.mean)
    pixels, _ = np.histogram(radius, bins)
    ax.set_title(f"{title}, averaged around the beam", fontsize=10)
    profile = total / np.maximum(pixels, 1)
    ax.plot((bins[1:] + bins[:-1]) / 2, profile, color=LINE, lw=1.4)
    if np.any(profile > 0):
        ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel("|k| (1/Å)")
    ax.set_ylabel(counts)
    ax.margins(x=0)


def _draw_number(ax: Any, seen: Glance) -> None:
    ax.text(0.5, 0.5, f"{seen.frame[()]:.6g}", ha="center", va="center", fontsize=28, color=LINE)
    ax.set_axis_off()


def _edges(dimension: Dimension, part: slice) -> tuple[float, float]:
    """The outer edges of these pixels of a dimension."""
    edges = dimension.edges()
    return float(edges[part.start]), float(edges[part.stop])
