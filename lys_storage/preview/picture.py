"""Composes the picture of a preview: the frame on the left, the map of the scan on the right."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import Dimension, dimensions_of, title_text
from .drawing import MARK, PLAIN, can_be_log, color_limits, draw_image, draw_line, new_figure
from .map_reader import Survey
from .source import Source, described
from .values import Flags, Reals, quantity

_WIDTH, _HEIGHT = 5.8, 5.2
_TITLE = {"fontsize": 10, **PLAIN}


def draw(source: Source, survey: Survey, *, log: bool = False) -> Any:
    """The figure, of matplotlib. It has one pair of axes for the frame, and one for the map, unless there is none."""
    dimensions = dimensions_of(source.grid.shape, source.axes, source.names, source.units, source.note)
    grid, frame = dimensions[: source.grid.ndim], dimensions[source.grid.ndim :]
    panels = (survey.frame is not None) + (survey.map is not None)
    figure = new_figure(_WIDTH * max(panels, 1.2), _HEIGHT)
    shape = " × ".join(map(str, source.grid.shape)) or "one number"
    lines = [title_text(source.path.name), f"{shape}, {title_text(str(source.dtype), 60)}; {described(source)}"]
    if not source.is_trusted:
        lines.append("after a restart, a copy or a failed sync: only frames that match their checksum are shown")
    figure.suptitle("\n".join(lines), fontsize=11, **PLAIN)
    if not source.grid.shape:
        _draw_number(figure.add_subplot(), survey)
        return figure
    if survey.frame is not None:
        _draw_frame(figure.add_subplot(1, panels, 1), source, survey, grid, frame, log)
    if survey.map is not None:
        _draw_map(figure.add_subplot(1, panels, panels), source, survey, grid, log)
    return figure


def sampling(survey: Survey) -> list[str]:
    """What the picture leaves out, or averages, in words; nothing if it shows every element."""
    frame = [] if survey.frame is None else [f"frame: {word}" for word in survey.frame.words()]
    return frame + ([] if survey.map is None else [f"map: {word}" for word in survey.map.plan.words()])


def _draw_frame(
    ax: Any, source: Source, survey: Survey, grid: list[Dimension], frame: list[Dimension], log: bool
) -> None:
    shown = survey.frame
    assert shown is not None
    lines = []
    if grid:
        why = f" ({survey.why})" if survey.why else ""
        lines.append(f"frame [{', '.join(map(str, survey.index))}]{why}")
        lines += _wrapped([d.at(i) for d, i in zip(grid, survey.index, strict=True)])
    grey = ["grey: not finite"] if shown.values.ndim == 2 and _has_undefined(shown.values) else []
    lines += _wrapped([d.at(i) for d, i in zip(frame, shown.where, strict=False)] + shown.words() + grey)
    ax.set_title("\n".join(lines), **_TITLE)
    _draw_values(ax, shown.values, frame[-shown.values.ndim :], shown.steps, quantity(source.dtype), log, "magma")


def _has_undefined(values: Reals, missing: Flags | None = None) -> bool:
    undefined = ~np.isfinite(values)
    return bool((undefined if missing is None else undefined & ~missing).any())


def _draw_map(ax: Any, source: Source, survey: Survey, grid: list[Dimension], log: bool) -> None:
    shown = survey.map
    assert shown is not None
    what = "mean of each frame" if source.grid.frame_shape else "value of each frame"
    lines = [what + (" (finite pixels only)" if survey.left_out and source.grid.frame_shape else "")]
    lines += _wrapped([d.at(i) for d, i in zip(grid, shown.outer, strict=False)])
    lines += _wrapped(shown.plan.words())
    absent = "not written" if source.is_trusted else "not written, or of another checksum"
    marks = [f"hatched: {absent}"] if shown.missing.any() else []
    marks += ["grey: not finite"] if shown.means.ndim == 2 and _has_undefined(shown.means, shown.missing) else []
    if survey.frame is not None:
        marks.append(f"{'line' if shown.means.ndim == 1 else 'circle'}: the frame on the left")
    lines += _wrapped(marks)
    ax.set_title("\n".join(lines), **_TITLE)
    inner = grid[-shown.means.ndim :]
    label = quantity(source.dtype) if not source.grid.frame_shape else f"mean of {quantity(source.dtype)}"
    _draw_values(ax, shown.means, inner, shown.plan.steps, label, log, "viridis", shown.missing)
    if survey.frame is None:
        return
    at = [d.value(i) for d, i in zip(inner, survey.index[-shown.means.ndim :], strict=True)]
    if len(at) == 1:
        ax.axvline(at[0], color=MARK, lw=1.2)
    else:
        ax.plot(at[1], at[0], "o", ms=9, mfc="none", mec="white", mew=3.0)
        ax.plot(at[1], at[0], "o", ms=9, mfc="none", mec="#d62728", mew=1.4)


def _draw_values(
    ax: Any,
    values: Reals,
    dimensions: list[Dimension],
    steps: tuple[int, ...],
    label: str,
    log: bool,
    cmap: str,
    missing: Flags | None = None,
) -> None:
    if values.ndim == 1:
        draw_line(ax, dimensions[0], values, steps[0], label, missing=missing, log=log)
        return
    from matplotlib.colors import LogNorm, Normalize

    is_log = log and can_be_log(values)
    low, high = color_limits(values, log=is_log)
    finite = values[np.isfinite(values)]
    below, above = bool((finite < low).any()), bool((finite > high).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
    norm = (LogNorm if is_log else Normalize)(low, high)
    suffix = ", logarithmic" if is_log else ", no positive values for --log" if log else ""
    if log and finite.size and not is_log:
        extend = "neither"
    label += suffix
    draw_image(ax, values, dimensions, steps, label, norm=norm, cmap=cmap, missing=missing, extend=extend)


def _draw_number(ax: Any, survey: Survey) -> None:
    assert survey.frame is not None
    ax.text(0.5, 0.5, f"{survey.frame.values[0]:.6g}", ha="center", va="center", fontsize=28)
    ax.set_axis_off()


def _wrapped(words: list[str], most: int = 60) -> list[str]:
    """`words` with commas between them, in lines of at most about `most` characters."""
    lines: list[str] = []
    for word in map(title_text, words):
        if lines and len(lines[-1]) + len(word) < most:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
