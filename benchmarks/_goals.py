"""The goals, and whether the run has met them. A goal that the run could not judge says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmarks._candidates import CANDIDATES, LIMIT
from benchmarks._figures import median_of, with_sync, without_sync
from benchmarks._outcome import Outcome
from benchmarks._paced import p999
from benchmarks._table import shown

INGEST = {"W1": 1.15, "W2": 1.1, "W3": 1.8, "W3b": 1.2}
OURS = "ours"
AGAINST_CALLS = ("W1", "W2", "W3", "W5a", "W5b")
AGAINST_MAPS = {"W1": 1.0, "W2": 1.0, "W3": 1.5}
AGAINST_LYS = {"W1": 10, "W2": 100, "W3": 100}
MIB = 1 << 20


@dataclass(frozen=True)
class Goal:
    """`met`: None if the run could not judge the goal. `measured`: the figure, or why there is none."""

    what: str
    wanted: str
    measured: str
    met: bool | None

    @staticmethod
    def unmeasured(what: str, wanted: str, why: str = "not measured") -> Goal:
        return Goal(what, wanted, why, None)


def goals(outcomes: Mapping[str, Outcome], paced: Sequence[Outcome]) -> Iterator[Goal]:
    """Judge each goal by these outcomes."""
    for name, most in INGEST.items():
        yield _ratio(outcomes.get(name), f"{name}: ingest, DataStorage to limit", most, lambda o: o.ratio(OURS))
    for name in ("W1", "W2", "W3", "W6"):
        what = f"{name}: ingest, finalize and sync, to the limit with sync"
        yield _ratio(outcomes.get(name), what, 1.1, lambda o: o.ratio_with_sync(OURS))
    for name in AGAINST_CALLS:
        for how, seconds in (("without sync", without_sync), ("with sync", with_sync)):
            yield _ahead(outcomes.get(name), f"{name}: peers that write by calls, {how}", "calls", 1.0, seconds)
    for name, most in AGAINST_MAPS.items():
        yield _ahead(outcomes.get(name), f"{name}: raw maps", "map", most, without_sync)
    for name, times in AGAINST_LYS.items():
        yield _against_lys(outcomes.get(name), name, times)
    for outcome in paced:
        what = f"{outcome.workload.name}: p99.9 of one update, to the limit's at that pace"
        yield _ratio(outcome, what, 2.0, lambda o: o.ratio(OURS, p999))
    if not paced:
        yield Goal.unmeasured("W4: p99.9 of one update, to the limit's at that pace", "<= 2")
    yield from _of_single_runs(outcomes, paced)


def _unjudged(outcome: Outcome | None) -> str:
    if outcome is None or not outcome.runs(OURS):
        return "not measured"
    return "the two runs of the limit strayed apart in every round" if outcome.says_nothing else ""


def _ratio(outcome: Outcome | None, what: str, most: float, of: Callable[[Outcome], Any]) -> Goal:
    why = _unjudged(outcome)
    if outcome is None or why:
        return Goal.unmeasured(what, f"<= {most:g}", why)
    ratio = of(outcome)
    return Goal(what, f"<= {most:g}", shown(ratio), ratio.median <= most)


def _ahead(outcome: Outcome | None, what: str, kind: str, most: float, seconds: Callable[[Any], float]) -> Goal:
    """Compare with each candidate of a kind. The text names the closest one."""
    wanted = "ahead of each" if most == 1 else f"<= {most:g} of each"
    why = _unjudged(outcome)
    if outcome is None or why:
        return Goal.unmeasured(what, wanted, why)
    names = [name for name, c in CANDIDATES.items() if c.kind == kind]
    ratios = {name: ratio for name in names if (ratio := outcome.against(OURS, name, seconds)) is not None}
    if not ratios:
        return Goal.unmeasured(what, wanted, "no such peer was run")
    worst = max(ratios, key=lambda name: ratios[name].median)
    measured = f"{shown(ratios[worst])} of {CANDIDATES[worst].title}, the closest of {len(ratios)}"
    return Goal(what, wanted, measured, ratios[worst].median <= most)


def _against_lys(outcome: Outcome | None, name: str, times: int) -> Goal:
    what, wanted = f"{name}: lys_instr's way, ingest and finalize", f">= {times} times"
    ratio = outcome.against("lys", OURS, without_sync) if outcome is not None else None
    if outcome is None or ratio is None:
        return Goal.unmeasured(what, wanted)
    scaled = outcome.runs("lys")[0]["scaled_by"]
    text = f"{ratio.median:,.0f} times" + (f" (measured on 1/{scaled} of the frames)" if scaled > 1 else "")
    return Goal(what, wanted, text, ratio.median >= times)


def _of_single_runs(outcomes: Mapping[str, Outcome], paced: Sequence[Outcome]) -> Iterator[Goal]:
    """The goals in milliseconds and bytes, and those of reading. They do not need limit runs that agree on ingest."""
    measured = {name: o for name, o in outcomes.items() if o.runs(OURS)}
    what, wanted = "W1: finalize of 1 GiB in 2048 frames, without sync", "< 10 ms"
    if "W1" in measured:
        finalize_ms = 1e3 * median_of(measured["W1"].runs(OURS), "finalize_s")
        yield Goal(what, wanted, f"{finalize_ms:.1f} ms", finalize_ms < 10)
    else:
        yield Goal.unmeasured(what, wanted)
    over = {name: 1e3 * _median_over(o, "reserve_s") for name, o in measured.items()}
    what, wanted = "reserve, above the file system's own claim", "<= 5 ms"
    yield _worst(what, wanted, over, 5.0, "ms")
    everything = [*measured.items(), *((o.workload.name, o) for o in paced if o.runs(OURS))]
    anon = {name: max(run["anon_bytes"] for run in o.runs(OURS)) / MIB for name, o in everything}
    yield _worst("anonymous memory above the import", "<= 16 MiB", anon, 16.0, "MiB")
    for key in ("cold_ms", "warm_ms"):
        what = f"open_wave: 200 random frames, {key[:4]}, to a raw map of the limit's file"
        ratios = {name: o.ratio(OURS, lambda run, key=key: run[key]).median for name, o in measured.items()}  # type: ignore[union-attr,misc]
        yield _worst(what, "<= 1.1", ratios, 1.1, "")


def _median_over(outcome: Outcome, key: str) -> float:
    """The median over the rounds of ours minus the limit's value in the same round."""
    both = [r["runs"] for r in outcome.counting if "failed" not in r["runs"].get(OURS, {"failed": ""})]
    return median_of([{key: runs[OURS][key] - runs[LIMIT][key]} for runs in both], key)


def _worst(what: str, wanted: str, values: Mapping[str, float], most: float, unit: str) -> Goal:
    if not values:
        return Goal.unmeasured(what, wanted)
    name = max(values, key=lambda key: values[key])
    return Goal(what, wanted, f"{values[name]:.2f} {unit}".rstrip() + f" on {name}, the worst", values[name] <= most)


def far_outside(outcome: Outcome, bound: float) -> str:
    """Why ours takes more than `bound` times its goal; "" if it does not.

    Compares the fastest run of ours with the fastest run of the limit, over all rounds. A virtual machine that returns
    free memory to its host makes some runs many times slower, also those of the limit, but hardly ever all of them.
    """
    name = outcome.workload.name
    ours, limit = (outcome.fastest(of) for of in (OURS, LIMIT))
    if ours is None or limit is None:
        return f"{name}: ours was not measured: {outcome.failure(OURS) or 'it was not run'}"
    if ours <= bound * INGEST[name] * limit:
        return ""
    return f"{name}: {ours / limit:.2f} times the limit in the fastest run of each, goal {INGEST[name]}"


def goals_table(found: Sequence[Goal]) -> Table:
    table = Table(title="Goals", title_justify="left")
    for name in ("", "goal", "wanted", "measured"):
        table.add_column(name)
    for goal in found:
        mark = {True: "met", False: "NOT MET", None: "-"}[goal.met]
        style = {True: "green", False: "red", None: "dim"}[goal.met]
        table.add_row(mark, goal.what, goal.wanted, goal.measured, style=style)
    return table
