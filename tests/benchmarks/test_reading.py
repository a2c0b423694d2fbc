"""The benchmark of reading: what it measures is compared with what was written, and judged by round. Linux."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import _cluster, _reading_child, reading
from benchmarks._readers import READERS, Data, RawMap, Reader
from tests.helpers import some

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc")

TINY = Data("R1", (5, 4), (8, 6), "uint16")
INSTALLED = [name for name, reader in READERS.items() if not reader.missing()]


def spec(name: str, folder: Path, cold: bool = False) -> dict[str, Any]:
    data = {"name": "tiny", "grid": [5, 4], "frame": [8, 6], "dtype": "uint16"}
    return {"reader": name, "data": data, "folder": str(folder), "seed": 1, "cold": cold}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "DATA", {"R1": TINY})


# -- one measurement ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("name", [name for name in INSTALLED if name != "lys"])
def test_a_reader_gives_each_frame_and_the_mean(name: str, cold: bool, tmp_path: Path) -> None:
    """The child fails if they differ from what was written."""
    READERS[name](TINY, tmp_path).write()
    reader = READERS[name](TINY, tmp_path)
    reader.load_packages()
    frame, mean = reader.open()
    pool = TINY.pool()
    for i in range(5):
        for j in range(4):
            found = frame(i, j)
            assert isinstance(found, np.ndarray)
            assert np.array_equal(found, TINY.expected(pool, i, j))
            assert found.flags.writeable, "a frame is a copy"
    assert mean() == pytest.approx(float(np.mean([frames for _, frames in TINY.rows()])))
    del frame, mean
    reader.close()
    result = _reading_child.measure(spec(name, tmp_path, cold))
    assert min(result[key] for key in ("first_ms", "random_ms", "mean_ms")) > 0


@pytest.mark.skipif("lys" not in INSTALLED, reason="lys is not installed (numpy < 2)")
def test_lys_runs_in_its_own_process(tmp_path: Path) -> None:
    READERS["lys"](TINY, tmp_path).write()
    assert "failed" not in (result := reading.run("lys", TINY, tmp_path, 0, False)), result


def test_a_reader_that_gives_wrong_data_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(RawMap):
        def open(self) -> Any:
            frame, mean = super().open()
            return (lambda i, j: frame(i, j) + (i > 0)), mean

    class WrongMean(RawMap):
        def open(self) -> Any:
            frame, mean = super().open()
            return frame, lambda: mean() + 1

    RawMap(TINY, tmp_path).write()
    for reader, words in ((Wrong, "differs"), (WrongMean, "the mean is")):
        monkeypatch.setitem(READERS, "raw", reader)
        with pytest.raises(RuntimeError, match=words):
            _reading_child.measure(spec("raw", tmp_path))


def test_a_reader_that_fails_says_why_and_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(name: str, *args: Any) -> dict[str, Any]:
        ran.append(name)
        return {"failed": "why [so]"} if name == "map" else made_up(1.0)

    monkeypatch.setattr(reading, "run", run)
    played = reading.play(["raw", "raw-again", "map"], TINY, tmp_path, rounds=3, seed=0, tell=lambda text: None)
    assert (ran.count("map"), ran.count("raw")) == (1, 6)
    goal = next(reading.frame_goals(TINY, played, 0))
    assert (goal.met, "it failed" in goal.measured) == (None, True)


def test_each_round_has_each_reader_once_in_an_order_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[str]] = []
    names = ["raw", "raw-again", "map", "index", "read", "numpy"]
    flat: list[tuple[str, bool]] = []
    monkeypatch.setattr(reading, "run", lambda name, data, folder, seed, cold: flat.append((name, cold)) or made_up(1))
    reading.play(names, TINY, tmp_path, rounds=4, seed=0, tell=lambda text: None)
    orders = [[name for name, _ in flat[k : k + 6]] for k in range(0, len(flat), 6)]
    assert [sorted(order) for order in orders] == [sorted(names)] * 8
    assert len({tuple(order) for order in orders}) > 1
    assert [cold for _, cold in flat[::6]] == [False, True] * 4


# -- figures and goals -------------------------------------------------------------------------------------------------


def made_up(random_ms: float) -> dict[str, Any]:
    return {"first_ms": 1.0, "random_ms": random_ms, "mean_ms": 3.0, "anon_bytes": 5 << 20}


def a_round(raw: float, ours: float, again: float | None = None) -> dict[str, Any]:
    return {
        "raw": made_up(raw),
        "raw-again": made_up(raw if again is None else again),
        "map": made_up(ours),
        "index": made_up(2.5 * raw),
    }


def test_goals_are_judged_by_the_median_of_the_ratios_of_each_round() -> None:
    rounds = [a_round(1, 1), a_round(10, 11.5), a_round(2, 2.1)]
    played = {False: rounds, True: rounds[:1]}
    goals = list(reading.frame_goals(TINY, played, seed=0))
    assert [(goal.wanted, goal.met) for goal in goals] == [
        ("<= 1.1", True),
        ("<= 1.1", True),
        ("<= 2.0", False),
        ("<= 2.0", False),
    ]
    assert goals[0].measured.startswith("1.05 [")
    assert goals[0].measured.endswith("; 3 of 3 rounds count")


def test_rounds_in_which_the_two_maps_disagree_do_not_count() -> None:
    played = {False: [a_round(1, 1.05), a_round(1, 9, again=1.2)], True: [a_round(1, 9, again=0.5)]}
    warm, cold = list(reading.frame_goals(TINY, played, seed=0))[:2]
    assert (warm.met, warm.measured) == (True, "1.05; 1 of 2 rounds count")
    assert (cold.met, "the two runs of np.memmap disagree" in cold.measured) == (None, True)
    assert reading.ratio(played[True], "map", "random_ms", 0).median == 9 / 0.75


def test_the_graph_of_a_mean_is_measured_and_the_array_is_below_the_goal(tmp_path: Path) -> None:
    pytest.importorskip("dask.array")
    pytest.importorskip("cloudpickle")
    goals = list(reading.graph_goals(tmp_path))
    assert [goal.met for goal in goals] == [True, True]
    assert "with mean()" in goals[0].measured
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_a_run_prints_its_tables_and_keeps_its_figures(tmp_path: Path) -> None:
    """Real processes, with few readers."""
    kept = tmp_path / "kept.json"
    arguments = ["--dir", str(tmp_path / "disk"), "--rounds", "1", "--reader", "numpy", "--json", str(kept)]
    result = CliRunner().invoke(reading.main, arguments)
    assert result.exit_code == 0, result.output
    for words in (
        "R1, warm: 5x4 frames of 8x6 uint16",
        "R1, cold: ",
        "numpy.load",
        "lys_storage, by index",
        "to np.memmap",
    ):
        assert words in result.output
    found = json.loads(kept.read_text())
    assert set(found["data"]["R1"]) == {"warm", "cold"}
    assert set(found["data"]["R1"]["warm"][0]) == {"raw", "raw-again", "map", "index", "numpy"}
    assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.usefixtures("tiny")
def test_readers_that_are_not_installed_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent(Reader):
        name, title, needs = "absent", "absent", ("not_installed",)

    monkeypatch.setitem(READERS, "absent", Absent)
    monkeypatch.setattr(reading, "run", lambda *args: made_up(1.0))
    monkeypatch.setattr(reading, "graph_goals", lambda folder: ())
    result = CliRunner().invoke(reading.main, ["--dir", str(tmp_path), "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "not_installed" in result.output


# -- dask.distributed ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_each_worker_opens_each_file_once_and_the_mean_is_right(tmp_path: Path) -> None:
    """Real workers, in processes of their own; one file in 16 chunks of 64 MiB, then three. A worker may get no chunk."""
    pytest.importorskip("distributed", reason="pip install distributed is needed")
    paths = _cluster.hollow_exports(tmp_path, 3, 1 << 30)
    one = _cluster.run_in_a_cgroup(paths[:1], None)
    assert (one["size_bytes"], one["chunks"]) == (1 << 30, 16)
    assert max(one["opened"]) == 1
    assert one["graph_bytes"] < 10_000
    three = _cluster.run_in_a_cgroup(paths, None)
    assert (three["size_bytes"], three["chunks"]) == (3 << 30, 48)
    assert max(three["opened"]) <= 3


def test_the_cluster_is_judged_by_memory_and_openings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"seconds": 1.0, "chunks": 2, "shipped_bytes": 5, "graph_bytes": 5, "cache_bytes": 0}
    answers: Iterator[Any] = iter(
        [
            found | {"anon_bytes": 999, "opened": [1, 1]},
            found | {"anon_bytes": 999, "opened": [3, 4]},
            PermissionError(13, "Permission denied"),
            RuntimeError("killed"),
        ]
    )

    def run(paths: Any, limit_bytes: int) -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(_cluster, "run_in_a_cgroup", run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    goals = []
    for _ in range(2):
        goals += reading.cluster_goals(tmp_path, lambda text: None, 4 << 20, 1000)
    assert [goal.met for goal in goals] == [True, False, None, False]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (goal,) = reading.cluster_goals(tmp_path, lambda text: None, 4 << 20, 1000)
    assert (goal.met, "distributed is not installed" in goal.measured) == (None, True)


@pytest.mark.timeout(600)
def test_a_child_of_the_cluster_that_fails_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="pip install distributed is needed")
    np.savez(tmp_path / "a.npz", data=some((2, 3), "i4"))
    with pytest.raises(RuntimeError, match="the mean is"):
        _cluster.run_in_a_cgroup([tmp_path / "a.npz"], None)


def test_memory_of_both_versions_of_cgroups_is_seen(tmp_path: Path) -> None:
    for text in ("anon 5\nfile 7\nkernel 1\n", "cache 1\nrss 2\ntotal_rss 5\ntotal_cache 7\n"):
        (tmp_path / "memory.stat").write_text(text)
        assert _cluster._used(tmp_path) == (5, 7)


@contextlib.contextmanager
def cgroup(limit_bytes: int) -> Iterator[Path]:
    from benchmarks._machine_goals import memory_cgroup

    try:
        with memory_cgroup(limit_bytes) as group:
            yield group
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")


@pytest.mark.timeout(600)
def test_a_cluster_stays_in_a_cgroup_that_is_smaller_than_the_export(tmp_path: Path) -> None:
    """2 GiB with holes in 1 GiB of memory, for the client, the scheduler and two workers: the kernel kills what needs more."""
    pytest.importorskip("distributed", reason="pip install distributed is needed")
    if os.geteuid() != 0:
        pytest.skip("making a cgroup needs root")
    with cgroup(1 << 30):
        pass
    (path,) = _cluster.hollow_exports(tmp_path, 1, 2 << 30)
    found = _cluster.run_in_a_cgroup([path], 1 << 30)
    assert max(found["opened"]) == 1
    assert 0 < found["anon_bytes"] < 1 << 30
