"""The benchmark runner: its figures, which rounds count, and a tiny run of each candidate that needs no install."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import (
    _environment,
    _figures,
    _goals,
    _machine_goals,
    _memory,
    _outcome,
    _rounds,
    _scale_goals,
    _workloads,
    compare,
)
from benchmarks._candidates import AGAIN, CANDIDATES, LIMIT
from tests.extras import needs_qt

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runner reads /proc, as Linux has it")

TINY = replace(_workloads.W3, name="tiny", grid=(4, 8))


def a_run(ingest_s: float, median: float = 1.0, tail: float = 10.0, sync_s: float = 1.0) -> dict[str, Any]:
    latency = {"median": median, "p99": tail, "p99.9": tail, "max": tail, "calls": 10_000}
    times = {"reserve_s": 0.002, "ingest_s": ingest_s, "finalize_s": 0.0, "sync_s": sync_s, "cpu_s": 0.25 * ingest_s}
    memory = {"anon_bytes": 1 << 20, "file_bytes": 1 << 21, "disk_bytes": TINY.size_bytes}
    return {**times, **memory, "latency_us": latency, "cold_ms": 3.0, "warm_ms": 0.5}


def a_round(stray: str = "", ours: float = 3.0, limit: float = 1.0) -> dict[str, Any]:
    return {"stray": stray, "runs": {LIMIT: a_run(limit), AGAIN: a_run(2.0), "ours": a_run(ours)}}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without pauses. The results of these runs are not used."""
    monkeypatch.setattr(_rounds, "SETTLE_S", 0.0)
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Rounds without a process: a call of the limit takes 1 us, in its second run of a round the given time."""

    def make(*again: float) -> None:
        left = iter(again)

        def run(name: str, *args: Any, **more: Any) -> dict[str, Any]:
            return a_run(1.0, median=next(left) if name == AGAIN else 1.0)

        monkeypatch.setattr(_rounds, "run", run)

    return make


# -- figures -----------------------------------------------------------------------------------------------------------


def test_an_interval_holds_the_median_and_is_the_same_for_the_same_seed():
    ratios = [1.0, 1.1, 1.2, 1.3, 5.0]
    ratio = _figures.ratio_of(ratios, seed=1)
    assert ratio.median == 1.2
    assert ratio.low <= ratio.median <= ratio.high
    assert (ratio.best, ratio.rounds) == (1.0, 5)
    assert _figures.ratio_of(ratios, seed=1) == ratio


def test_one_round_has_no_interval():
    assert _figures.ratio_of([1.5], seed=0) == _figures.Ratio(1.5, 1.5, 1.5, 1, 1.5)


def test_latencies_are_told_in_microseconds():
    nanoseconds = np.arange(1, 1001) * 1000
    figures = _figures.latency_figures(nanoseconds)
    assert figures["median"] == pytest.approx(500.5)
    assert figures["max"] == 1000
    assert _figures.tail(nanoseconds)[0] == 1


@pytest.mark.parametrize(
    ("second", "tails_only", "why"),
    [
        pytest.param(a_run(1.0, 1.04, 14.0), False, "", id="within 5 % and a half"),
        pytest.param(a_run(1.0, 1.06), False, "median", id="medians apart"),
        pytest.param(a_run(1.0, 0.94), False, "median", id="medians apart the other way"),
        pytest.param(a_run(1.0, 1.0, 16.0), False, "p99.9", id="tails apart"),
        pytest.param(a_run(1.0, 2.0), True, "", id="medians apart where only tails count"),
    ],
)
def test_a_round_says_nothing_where_the_limit_strays_from_itself(second: dict[str, Any], tails_only: bool, why: str):
    told = _figures.strays(a_run(1.0), second, tails_only=tails_only)
    assert why in told if why else told == ""


def test_the_slowest_call_or_two_are_no_tail():
    few = [a_run(1.0), a_run(1.0)]
    for run, tail in zip(few, (10.0, 30.0), strict=True):
        run["latency_us"] |= {"calls": 512, "p99.9": tail}
    assert _figures.strays(*few) == ""


# -- outcomes ----------------------------------------------------------------------------------------------------------


def test_ratios_are_to_the_mean_of_the_limits_of_the_same_round():
    outcome = _outcome.Outcome(TINY, [a_round()], seed=0)
    assert outcome.ratio("ours").median == 2.0
    assert outcome.ratio(AGAIN).median == 2.0
    assert outcome.ratio_with_sync("ours").median == 4.0 / 2.5
    assert outcome.against("ours", LIMIT).median == 3.0


def test_a_round_that_says_nothing_does_not_count():
    outcome = _outcome.Outcome(TINY, [a_round("strays", ours=300.0), a_round()], seed=0)
    assert (outcome.dropped, outcome.says_nothing) == (1, False)
    assert outcome.ratio("ours").median == 2.0


def test_where_every_round_says_nothing_all_are_shown_and_no_goal_is_judged():
    outcome = _outcome.Outcome(replace(TINY, name="W1"), [a_round("strays")], seed=0)
    assert outcome.ratio("ours").median == 2.0
    verdict = next(_goals.goals({"W1": outcome}, []))
    assert verdict.met is None
    assert "strayed" in verdict.measured


@pytest.mark.parametrize("spoiled", [{"ours": 300.0}, {"limit": 300.0}])
def test_far_outside_compares_the_fastest_runs_and_so_forgives_what_a_machine_does_to_some(spoiled: dict[str, float]):
    outcome = _outcome.Outcome(replace(TINY, name="W1"), [a_round(ours=3.0), a_round("strays", **spoiled)], seed=0)
    assert _goals.far_outside(outcome, bound=3.0) == ""
    assert "goal 1.15" in _goals.far_outside(outcome, bound=1.0)


@pytest.mark.parametrize(("turns_good", "measured"), [(0, 0), (3, 3), (99, compare.QUICK_TRIES - 1)])
def test_what_is_far_outside_is_measured_again_before_it_counts(
    turns_good: int, measured: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A regression stays; an effect of the machine on some runs does not."""
    plan = _rounds.Plan(rounds=1, peer_rounds=0, retries=0, seed=0, folder=tmp_path)
    comparison = compare.Comparison(Console(file=io.StringIO()), ["ours"], plan)
    workload, played = replace(TINY, name="W1"), []

    def measure(workload: Any, plan: Any = None, lys: bool = False) -> None:
        ours = 3.0 if len(played) >= turns_good else 300.0
        played.append(ours)
        comparison.outcomes["W1"] = _outcome.Outcome(workload, [a_round(ours=ours)], seed=0)

    measure(workload)
    monkeypatch.setattr(comparison, "measure", measure)
    fault = comparison.far_outside("W1", plan, bound=3.0)
    assert (bool(fault), len(played) - 1) == (turns_good == 99, measured)


def test_ours_that_failed_is_far_outside():
    outcome = _outcome.Outcome(replace(TINY, name="W1"), [a_round()], seed=0)
    del outcome.rounds[0]["runs"]["ours"]
    assert "not measured" in _goals.far_outside(outcome, bound=3.0)


# -- workloads ---------------------------------------------------------------------------------------------------------


def test_the_sizes_are_those_of_the_issue():
    assert {name: (w.frames, w.size_bytes) for name, w in _workloads.FIXED.items()} == {
        **dict.fromkeys(("W1", "W5a"), (2048, 1 << 30)),
        "W2": (512, 1 << 30),
        **dict.fromkeys(("W3", "W3b", "W5b"), (65_536, 1 << 29)),
    }


def test_a_random_order_is_everybodys_and_complete():
    order = _workloads.W5A.order(7)
    assert order == _workloads.W5A.order(7) != sorted(order)
    assert sorted(order) == list(range(2048))


def test_what_the_disk_has_no_room_for_is_cut_and_says_so():
    w = _workloads.beyond_the_cache(1 << 30, 1 << 28)
    assert w.size_bytes == 1 << 28
    assert "cut" in w.title
    assert "cut" not in _workloads.beyond_the_cache(1 << 20, 1 << 28).title


# -- tiny runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_qt if name == "ours" else ())
        for name, candidate in CANDIDATES.items()
        if candidate.package in ("numpy", "lys_storage") and name != AGAIN
    ],
)
def test_a_candidate_keeps_what_is_put_into_it(name: str, tmp_path: Path):
    """The child compares the data that it reads back with those that were stored, and fails if they differ."""
    result = _rounds.run(name, TINY, tmp_path, seed=3, warm=name == LIMIT)  # once is enough
    assert "failed" not in result, result
    assert result["ingest_s"] > 0
    assert result["latency_us"]["median"] > 0
    assert list(tmp_path.iterdir()) == []


@needs_qt
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"batch": 8}, id="many frames a call"),
        pytest.param({"shuffled": True}, id="random order"),
    ],
)
def test_a_storage_keeps_every_kind_of_workload(changed: dict[str, Any], tmp_path: Path):
    assert "failed" not in _rounds.run("ours", replace(TINY, **changed), tmp_path, seed=3, warm=False)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", [LIMIT, "ours-script"])
def test_a_pace_is_kept(name: str, tmp_path: Path):
    result = _rounds.run(name, TINY, tmp_path, seed=3, period_s=0.005, synced=True, warm=False)
    assert result["ingest_s"] >= 0.005 * (TINY.frames - 1)
    assert len(result["paced"]["worst_ms"]) >= 1


@pytest.mark.usefixtures("at_once")
def test_a_candidate_that_fails_says_why_and_is_not_run_again(tmp_path: Path):
    plan = _rounds.Plan(rounds=1, peer_rounds=1, retries=2, seed=0, folder=tmp_path)
    appends_nowhere = replace(TINY, dtype="U1")  # noise of this dtype cannot be made: every candidate fails
    with pytest.raises(RuntimeError, match="the limit itself failed"):
        _rounds.play(appends_nowhere, ["ours-script"], [], plan, lambda text: None)


@pytest.mark.usefixtures("at_once")
def test_a_round_is_played_by_everybody_and_once_more_where_it_does_not_count(tmp_path: Path):
    """It uses real processes. The machine decides whether a round counts."""
    plan = _rounds.Plan(rounds=1, peer_rounds=0, retries=1, seed=0, folder=tmp_path)
    rounds = _rounds.play(TINY, ["ours-script"], ["map"], plan, lambda text: None, warm=False)
    assert [set(r["runs"]) for r in rounds] == [{LIMIT, AGAIN, "ours-script"}] * len(rounds)
    assert [bool(r["stray"]) for r in rounds] in ([False], [True, False], [True, True])


@pytest.mark.parametrize(
    ("again", "strayed"),
    [
        pytest.param([1.0], [False], id="the first one counts"),
        pytest.param([2.0, 1.0], [True, False], id="the second one counts"),
        pytest.param([2.0, 2.0], [True, True], id="the retries are used up"),
    ],
)
def test_rounds_end_when_enough_of_them_count_or_the_retries_are_used_up(
    tmp_path: Path, made_up: Callable[..., None], again: list[float], strayed: list[bool]
):
    made_up(*again)
    plan = _rounds.Plan(rounds=1, peer_rounds=0, retries=1, seed=0, folder=tmp_path)
    rounds = _rounds.play(TINY, ["ours-script"], ["map"], plan, lambda text: None)
    assert [bool(r["stray"]) for r in rounds] == strayed
    assert [set(r["runs"]) for r in rounds] == [{LIMIT, AGAIN, "ours-script"}] * len(strayed)


def test_peers_are_played_in_rounds_that_count_only(tmp_path: Path, made_up: Callable[..., None]):
    made_up(2.0, 1.0, 1.0)
    plan = _rounds.Plan(rounds=2, peer_rounds=1, retries=1, seed=0, folder=tmp_path)
    rounds = _rounds.play(TINY, [], ["map"], plan, lambda text: None)
    assert [sorted(r["runs"]) for r in rounds] == [[LIMIT, AGAIN], [LIMIT, AGAIN, "map"], [LIMIT, AGAIN]]


def test_runs_that_were_kept_are_shown_again_together(tmp_path: Path, made_up: Callable[..., None]):
    """They are measured separately, and judged together."""
    plan = _rounds.Plan(rounds=2, peer_rounds=1, retries=1, seed=0, folder=tmp_path)
    paths, told = [], io.StringIO()
    for name, again in ("W3", [1.0, 2.0, 1.0]), ("W5b", [1.0, 1.0]):
        made_up(*again)
        workload = replace(TINY, name=name, shuffled=name == "W5b")
        kept = compare.Comparison(Console(file=told, width=180), ["ours", "map"], plan)
        kept.measure(workload, plan, lys=False)
        kept.goals = [_goals.Goal(_machine_goals.IMPORT, "< 150 ms", f"{name} has it", met=True)]
        paths.append(tmp_path / f"{name}.json")
        compare.keep(kept, _environment.environment(tmp_path), paths[-1], None)
    result = CliRunner().invoke(compare.main, [f"--from={path}" for path in paths])
    assert result.exit_code == 0, result.output
    ours = [line.split("│")[1:] for line in told.getvalue().splitlines() if "lys_storage, DataStorage" in line]
    shown = [line.split("│")[1:] for line in result.output.splitlines()]
    assert len(ours) == 4
    assert [row for row in ours if row not in shown] == []
    assert "W3 has it" in result.output
    assert counting(result.output) == [("W3", "2", "3"), ("W5b", "2", "2")]
    twice = CliRunner().invoke(compare.main, [f"--from={path}" for path in (paths[0], *paths)])
    assert counting(twice.output) == [("W3", "4", "6"), ("W5b", "2", "2")]
    assert "W5b: peers that write by calls, with sync" in result.output


def counting(output: str) -> list[tuple[str, str, str]]:
    """(workload, rounds that count, rounds) of the tables."""
    return re.findall(r"(W\w+): .* (\d) of (\d) rounds count", output)


def test_goals_about_large_numbers_are_judged_by_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {"FILES": 50, "CLAIMS": 5, "FRAMES": 20_000, "TERABYTE": 1 << 32}.items():
        monkeypatch.setattr(_scale_goals, name, value)
    plan, told = _rounds.Plan(rounds=1, peer_rounds=0, retries=0, seed=0, folder=tmp_path), []
    goals = list(_scale_goals.scale_goals(plan, told.append))
    assert [goal.what for goal in goals] == list(_scale_goals.WHAT) == told
    number, finalize, reserve = goals
    for goal, limit in (number, 2), (finalize, 1000), (reserve, 100):
        if goal.met is not None:
            measured = float(goal.measured.split()[0])
            assert measured == limit or goal.met == (measured < limit), "it is told in round figures"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("busy", "met"), [(0.05, True), (0.2, False)])
def test_the_processor_is_judged_in_free_memory_and_in_a_full_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, met: bool
):
    asked: list[tuple[str, bool]] = []

    def run(name: str, *args: Any, cgroup: str | None, **more: Any) -> dict[str, Any]:
        asked.append((name, cgroup is not None))
        return {"cpu_ingest_s": busy if name == "ours" else 0.01, "ingest_s": 1.0}

    @contextlib.contextmanager
    def group(limit_bytes: int) -> Iterator[Path]:
        if not met:
            raise PermissionError(13, "Permission denied")
        yield tmp_path / "group"

    monkeypatch.setattr(_machine_goals, "run", run)
    monkeypatch.setattr(_machine_goals, "memory_cgroup", group)
    plan = _rounds.Plan(rounds=1, peer_rounds=0, retries=0, seed=0, folder=tmp_path)
    free, full = _machine_goals._cpu_goals(plan, lambda text: None)
    assert free == _goals.Goal(
        _machine_goals.CPU, ">= 90 % idle", f"{100 - 100 * busy:.1f} % idle (the limit: 99.0 %)", met
    )
    assert full.met is (True if met else None)
    assert {name for name, in_group in asked if in_group} == ({"limit", "ours"} if met else set())


def test_memory_is_warmed_until_two_passes_take_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_memory, "FRAGMENTS_BYTES", 1 << 20)
    passes = _memory.warm(tmp_path, 1 << 20, 1 << 14)
    assert 2 <= len(passes) <= _memory.WARM_PASSES
    assert list(tmp_path.iterdir()) == []


def test_memory_is_seen_from_outside():
    anon, file = _memory.resident()
    assert anon > 1 << 20
    assert file > 0
