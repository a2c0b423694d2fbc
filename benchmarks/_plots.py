"""Plots of a run: ratios to the limit, latencies of the slowest calls, and W4 over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks._candidates import AGAIN, CANDIDATES, LIMIT
from benchmarks._figures import TAIL_LEVELS
from benchmarks._goals import INGEST
from benchmarks._outcome import Outcome

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"limit": "0.55", "ours": "#c1121f", "calls": "#5b8db8", "map": "#7fb069", "lys": "#b8a15b"}
KINDS = {
    "limit": "the limit",
    "ours": "lys_storage",
    "calls": "peers that write by calls",
    "map": "raw maps",
    "lys": "lys_instr's way, saved",
}
TICKS = (0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50, 100, 300, 1000, 3000)
_LINES = ("-", "--", ":", "-.")
_STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 130}


def draw(folder: Path, outcomes: Mapping[str, Outcome], paced: Sequence[Outcome]) -> list[Path]:
    """Draw the plots that the outcomes allow into `folder`. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.rc_context(_STYLE):
        if outcomes:
            drawn += [_ratios(folder / "ratios.png", outcomes), _tails(folder / "latency.png", outcomes)]
        if paced:
            drawn.append(_over_time(folder / "w4.png", paced))
    return drawn


def _grid(count: int, width: float, height: float, columns: int) -> tuple[Any, list[Any]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for axis in flat[count:]:
        axis.set_visible(False)
    return figure, flat[:count]


def _note(outcome: Outcome) -> str:
    return " (limit unsteady)" if outcome.says_nothing else ""


def _ratios(path: Path, outcomes: Mapping[str, Outcome]) -> Path:
    """Ingest as a multiple of the limit of the same round. lys_instr's way includes its save, which stores the data."""
    most = max(sum(bool(o.runs(name)) for name in CANDIDATES) for o in outcomes.values())
    figure, axes = _grid(len(outcomes), 5.2, 1.1 + 0.24 * most, 2)
    for axis, (name, outcome) in zip(axes, outcomes.items(), strict=True):
        ratios = {}
        for candidate in CANDIDATES.values():
            of = outcome.ratio_without_sync if candidate.kind == "lys" else outcome.ratio
            if candidate.name != LIMIT and (ratio := of(candidate.name)) is not None:
                ratios[candidate] = ratio
        ranked = sorted(ratios, key=lambda c: -ratios[c].median)
        for row, candidate in enumerate(ranked):
            ratio, colour = ratios[candidate], COLOURS[candidate.kind]
            axis.plot([1, ratio.median], [row, row], color=colour, lw=7, solid_capstyle="butt")
            axis.plot([ratio.low, ratio.high], [row, row], color="black", lw=0.9)
            text = f"{ratio.median:,.{2 if ratio.median < 5 else 1 if ratio.median < 20 else 0}f}"
            axis.annotate(
                text,
                xy=(max(ratio.high, 1), row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
        axis.axvline(1, color="0.3", lw=1)
        if name in INGEST:
            axis.axvline(INGEST[name], color=COLOURS["ours"], lw=0.9, ls="--")
            axis.annotate(
                f"goal {INGEST[name]:g}",
                xy=(INGEST[name], 1.0),
                xytext=(2, 1),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=COLOURS["ours"],
                fontsize=7,
            )
        axis.set_xscale("log")
        axis.set_xlim(min(0.8, *(r.low for r in ratios.values())), 1.6 * max(2.0, *(r.high for r in ratios.values())))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        low, high = axis.get_xlim()
        axis.set_xticks([tick for tick in TICKS if low <= tick <= high])
        axis.set_yticks(range(len(ranked)), [c.title for c in ranked])
        axis.set_ylim(-0.6, len(ranked) - 0.4)
        for label, candidate in zip(axis.get_yticklabels(), ranked, strict=True):
            label.set_fontweight("bold" if candidate.kind == "ours" else "normal")
        axis.set_title(f"{name}: {outcome.workload.title}{_note(outcome)}", loc="left", pad=14, fontsize=9)
    kinds = dict.fromkeys(CANDIDATES[c].kind for o in outcomes.values() for c in CANDIDATES if o.runs(c))
    handles = [plt.Line2D([], [], color=COLOURS[kind], lw=7, label=KINDS[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle("Time to ingest, as a multiple of the limit's (log scale; black: 95 % interval)")
    return _saved(figure, path)


def _tails(path: Path, outcomes: Mapping[str, Outcome]) -> Path:
    """The share of the calls that take longer than x: the median over the rounds of the latency of each share."""
    figure, axes = _grid(len(outcomes), 5.2, 3.2, 2)
    levels = np.asarray(TAIL_LEVELS)
    for axis, (name, outcome) in zip(axes, outcomes.items(), strict=True):
        calls = outcome.workload.frames // outcome.workload.batch
        told = levels >= 1 / calls
        seen: dict[str, int] = {}
        for candidate in CANDIDATES.values():
            runs = outcome.runs(candidate.name)
            if not runs or candidate.name == AGAIN:
                continue
            nth = seen[candidate.kind] = seen.get(candidate.kind, -1) + 1
            tail = np.median([run["tail_us"] for run in runs], axis=0)
            ours = candidate.kind == "ours"
            shade = max(0.35, 1 - 0.1 * nth) if not ours else 1.0
            axis.plot(
                tail[told],
                levels[told],
                linestyle=_LINES[nth % len(_LINES)],
                color=COLOURS[candidate.kind],
                alpha=shade,
                lw=1.8 if ours or candidate.kind == "limit" else 1.0,
                zorder=3 if ours else 2,
                label=candidate.title,
            )
        axis.set(xscale="log", yscale="log", xlabel="latency of one call, us", ylabel="share of calls that take longer")
        low, high = axis.get_xlim()
        if high < 100 * low:
            axis.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axis.grid(alpha=0.25)
        axis.set_title(f"{name}: {outcome.workload.title}{_note(outcome)}", loc="left", fontsize=9)
    labels: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            labels.setdefault(label, handle)
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle("Latency of one call")
    return _saved(figure, path)


def _over_time(path: Path, paced: Sequence[Outcome]) -> Path:
    """The slowest and the median call of each second, in the last round that counts."""
    figure, axes = _grid(len(paced), 9.0, 2.8, 1)
    for axis, outcome in zip(axes, paced, strict=True):
        for name, candidate in CANDIDATES.items():
            runs = outcome.runs(name)
            if not runs or name == AGAIN:
                continue
            colour, nth = COLOURS[candidate.kind], name.endswith("script")
            for key, width in (("worst_ms", 1.6), ("median_ms", 0.8)):
                values = [np.nan if v is None else v for v in runs[-1]["paced"][key]]
                label = f"{candidate.title}: {'slowest call' if key == 'worst_ms' else 'median'} of each second"
                axis.plot(
                    values, _LINES[nth], color=colour, lw=width, alpha=1 if key == "worst_ms" else 0.6, label=label
                )
        axis.set(yscale="log", xlabel="seconds", ylabel="ms a call")
        axis.grid(alpha=0.25)
        axis.set_title(f"{outcome.workload.name}: {outcome.workload.title}{_note(outcome)}", loc="left", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return _saved(figure, path)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path)
    plt.close(figure)
    return path
