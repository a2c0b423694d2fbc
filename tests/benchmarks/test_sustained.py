"""W7: each ratio is to the fastest bare loop of the same round, and the goals compare the medians."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import _sustained
from benchmarks._rounds import Plan
from benchmarks._sustained import BARE, GIB, OURS, SCAN_BYTES, Measurements, Sustained, sustained_goals


def took(seconds: float) -> dict[str, Any]:
    return {"ingest_s": seconds / 2, "finalize_s": seconds / 4, "sync_s": seconds / 4, "latency_us": {"p99.9": seconds}}


def the_plan(folder: Path) -> Plan:
    return Plan(folder=folder, rounds=3, peer_rounds=1, seed=0, retries=0)


@pytest.mark.parametrize(("seconds", "met"), [(2.2, True), (2.3, False)])
def test_ours_is_compared_with_the_fastest_bare_loop_of_its_round(tmp_path: Path, seconds: float, met: bool) -> None:
    """The loops take 2, 3, 4 and 5 s, each of them once the fastest."""
    measured = Measurements(the_plan(tmp_path), lambda text: None)
    one = Sustained("512 KiB", clean_bytes=[100 << 20])
    for k in range(3):
        loops = {name: took(2.0 + (at + k) % len(BARE)) for at, name in enumerate(BARE)}
        one.rounds.append({**loops, OURS: took(seconds)})
    measured.sizes.append(one)
    goals = {goal.what: goal for goal in sustained_goals(measured)}
    assert goals["W7 512 KiB: with sync, to the sustained limit"].met == met
    assert one.ratios() == pytest.approx([2 / seconds] * 3)


def test_a_scan_in_little_memory_and_a_detector_are_compared_in_a_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    limits: list[int] = []

    class Group:
        def __init__(self, limit: int) -> None:
            limits.append(limit)

        def __enter__(self) -> Path:
            return tmp_path

        def __exit__(self, *error: object) -> None:
            pass

    def run(name: str, its: Any, folder: Path, seed: int, **more: Any) -> dict[str, Any]:
        asked.append({"name": name, "bytes": its.size_bytes, **more})
        return {"failed": "no such flag"} if name == "dontcache" else took(4.0 if name == OURS else 2.0)

    monkeypatch.setattr(_sustained, "memory_cgroup", Group)
    monkeypatch.setattr(_sustained, "run", run)
    monkeypatch.setattr(_sustained, "room_bytes", lambda folder: 6 * GIB)
    plan = the_plan(tmp_path)
    assert _sustained.in_little_memory(plan, lambda text: None) == [0.5] * 3
    assert {one["bytes"] for one in asked} == {8 * GIB}
    assert set(limits) == {256 << 20}
    asked.clear()
    assert _sustained.at_a_pace(plan, lambda text: None, limit=1e9) == [2.0] * 3
    assert {one["bytes"] for one in asked} == {6 * GIB}, "as much as the disk has room for"
    assert {round(one["period_s"], 9) for one in asked} == {round((1 << 19) / 0.9e9, 9)}
    assert SCAN_BYTES == 4 * GIB
