#!/usr/bin/env python
"""Compare how fast lys_storage, numpy, lys, h5py and zarr read the same data, and measure dask on an export.

Each reader runs in a separate process, in an order that is shuffled for each round. Random frames are copied. Ratios are to
np.memmap of the same array in the same round, which runs twice; a goal is judged by the rounds in which the two agree within
10 %. "Warm": the file is in the page cache; "cold": it was dropped from there, and
comes from the disk, or from a cache of the host. lys_storage reads a frame in three ways: by map (wave.data[i, j]), by index
(wave[i, j]) and by read (wave.read((i, j))). Readers that are not installed are left out. All files are in a new folder
below DIR, which is removed at the end. Linux.

\b
R1   32x32 frames of 256x256 float64, 512 MiB
R2   128x128 frames of 64x64 uint16, 128 MiB
R3   16x16 frames of 1024x1024 uint16, 512 MiB

\b
python benchmarks/reading.py --dir /data
python benchmarks/reading.py --dir /data --data R2 --reader index --reader h5py --rounds 9
sudo python benchmarks/reading.py --dir /data --cluster     8 GiB, and 3 x 8 GiB, by dask.distributed in 1 GiB of memory
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lys_storage
from benchmarks import _cluster, _environment
from benchmarks._figures import Ratio, apart, ratio_of
from benchmarks._goals import Goal, goals_table
from benchmarks._measured import run_child
from benchmarks._readers import READERS, Data, Ours
from benchmarks._table import shown

CHILD = Path(__file__).with_name("_reading_child.py")
DATA = {
    data.name: data
    for data in (
        Data("R1", (32, 32), (256, 256), "float64"),
        Data("R2", (128, 128), (64, 64), "uint16"),
        Data("R3", (16, 16), (1024, 1024), "uint16"),
    )
}
LIMITS = ("raw", "raw-again")
MOST_APART = 0.1
GOALS = {"map": 1.1, "index": 2.0}
GRAPH_BYTES = 10_000
GIB = 1 << 30
TIMEOUT_S = 600.0
PIPED_WIDTH = 160

Run = dict[str, Any]
Rounds = dict[bool, list[dict[str, Run]]]
"""For cold and warm (by `cold`), the rounds: the run of each reader."""


def run(name: str, data: Data, folder: Path, seed: int, cold: bool) -> Run:
    """One measurement in a new process. {"failed": why} if it fails."""
    spec = {"reader": name, "data": asdict(data), "folder": str(folder), "seed": seed, "cold": cold}
    result, sampler = run_child(CHILD, spec, TIMEOUT_S)
    if "failed" in result:
        return result
    seen = [anon - result["start_bytes"] for at, anon, _ in sampler.samples if result["began"] <= at <= result["ended"]]
    result["anon_bytes"] = max([result["anon_bytes"], *seen])
    return result


def play(names: Sequence[str], data: Data, folder: Path, rounds: int, seed: int, tell: Callable[[str], None]) -> Rounds:
    """Write the files, and run each reader once in each round, warm and cold. A reader that failed is not run again."""
    made: set[str] = set()
    for name in names:
        if READERS[name].file not in made:
            tell(f"{data.name}: writing {READERS[name].file}")
            READERS[name](data, folder).write()
            made.add(READERS[name].file)
    os.sync()  # pages that are not on the disk yet stay in the cache
    rng, failed = random.Random(f"{seed} {data.name}"), set[str]()
    result: Rounds = {False: [], True: []}
    for k in range(rounds):
        for cold in (False, True):
            order = [name for name in names if name not in failed]
            rng.shuffle(order)
            runs = {}
            for name in order:
                tell(f"{data.name} round {k + 1} of {rounds}, {'cold' if cold else 'warm'}: {name}")
                runs[name] = run(name, data, folder, seed + k, cold)
                if "failed" in runs[name]:
                    failed.add(name)
            result[cold].append(runs)
    return result


# -- figures -----------------------------------------------------------------------------------------------------------


def good_runs(rounds: Sequence[dict[str, Run]], name: str) -> list[Run]:
    return [runs[name] for runs in rounds if name in runs and "failed" not in runs[name]]


def limit_of(runs: dict[str, Run], key: str) -> float | None:
    """The mean of a time of the two runs of np.memmap in a round."""
    found = [run[key] for name in LIMITS for run in good_runs([runs], name)]
    return statistics.mean(found) if found else None


def ratio(rounds: Sequence[dict[str, Run]], name: str, key: str, seed: int) -> Ratio | None:
    """The ratios of a time to that of np.memmap in the same round."""
    pairs = [(run[key], limit_of(runs, key)) for runs in rounds for run in good_runs([runs], name)]
    return ratio_of([time / limit for time, limit in pairs if limit], seed) if pairs else None


def that_count(rounds: Sequence[dict[str, Run]], key: str) -> list[dict[str, Run]]:
    """The rounds in which the two runs of np.memmap agree."""
    both = [(runs, [run[key] for name in LIMITS for run in good_runs([runs], name)]) for runs in rounds]
    return [runs for runs, times in both if len(times) == len(LIMITS) and apart(*times) <= MOST_APART]


def table_of(data: Data, played: Rounds, cold: bool, seed: int) -> Table:
    """Medians over the rounds; ratios with an interval of 95 %. RssAnon: the largest of all rounds, also of the other table."""
    words = f"{data.grid[0]}x{data.grid[1]} frames of {data.frame[0]}x{data.frame[1]} {data.dtype}"
    how = "cold" if cold else "warm"
    title = f"{data.name}, {how}: {words}, {data.size_bytes >> 20} MiB; rounds: {len(played[cold])}"
    table = Table(title=title, title_justify="left")
    table.add_column("reader", no_wrap=True)
    for name in ("first frame ms", "200 frames ms", "x memmap (95 %)", "mean ms", "RssAnon MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, reader in READERS.items():
        runs = good_runs(played[cold], name)
        failed = [runs[name]["failed"] for runs in played[cold] if "failed" in runs.get(name, {})]
        if not runs:
            if failed:
                table.add_row(reader.title, escape(failed[0]), style="red")
            continue
        first, frames, mean = (
            statistics.median(run[key] for run in runs) for key in ("first_ms", "random_ms", "mean_ms")
        )
        anon = max(run["anon_bytes"] for each in played.values() for run in good_runs(each, name))
        found = escape(shown(ratio(played[cold], name, "random_ms", seed)))
        row = (f"{first:.2f}", f"{frames:.2f}", found, f"{mean:.0f}", f"{anon / 2**20:.0f}")
        table.add_row(reader.title, *row, style="bold" if issubclass(reader, Ours) else "")
    return table


def frame_goals(data: Data, played: Rounds, seed: int) -> Iterator[Goal]:
    """Random frames to np.memmap, warm and cold, by the rounds that count."""
    for name, most in GOALS.items():
        for cold in (False, True):
            what = f"{data.name}: 200 random frames, {READERS[name].title}, {'cold' if cold else 'warm'}, to np.memmap"
            rounds = that_count(played[cold], "random_ms")
            found = ratio(rounds, name, "random_ms", seed)
            counted = f"{len(rounds)} of {len(played[cold])} rounds count"
            if found is None:
                why = "it failed" if rounds else "the two runs of np.memmap disagree"
                yield Goal.unmeasured(what, f"<= {most}", f"not judged: {why}; {counted}")
            else:
                yield Goal(what, f"<= {most}", f"{shown(found)}; {counted}", found.median <= most)


def graph_goals(folder: Path) -> Iterator[Goal]:
    """What dask sends for the array of an export: of 8 GiB, and as if it had 1 TB in a grid of two dimensions."""
    what, wanted = "graph of an array by to_dask", f"< {GRAPH_BYTES:,} bytes"
    try:
        import cloudpickle
        import dask.array  # noqa: F401
    except ImportError as error:
        yield Goal.unmeasured(what, wanted, f"not measured: {error}")
        return
    from lys_storage.reading.dask_array import as_dask_array
    from lys_storage.reading.source import ExportSource

    (path,) = _cluster.hollow_exports(folder, 1, 8 * GIB)
    with lys_storage.open_wave(path) as wave:
        identity, lazy = wave._stored.identity, wave.to_dask()
    large = ExportSource(path, identity, (1000, 1000, 1000, 500), lazy.dtype)
    arrays = {"8 GiB": lazy, "1 TB, 1000x1000 frames": as_dask_array(large, (1, 64, 1000, 500))}
    for name, array in arrays.items():
        size = len(cloudpickle.dumps(array.__dask_graph__()))
        mean = len(cloudpickle.dumps(array.mean().__dask_graph__())) if name == "8 GiB" else None
        more = "" if mean is None else f"; {mean:,} with mean()"
        yield Goal(f"{what}: {name}", wanted, f"{size:,} bytes{more}", size < GRAPH_BYTES)
    path.unlink()


def cluster_goals(
    folder: Path, tell: Callable[[str], None], size_bytes: int = 8 * GIB, limit_bytes: int = GIB
) -> Iterator[Goal]:
    """The mean of one export, and of three as one array, on a LocalCluster in a memory cgroup."""
    if importlib.util.find_spec("distributed") is None:
        yield Goal.unmeasured("mean on a LocalCluster", "", "not measured: distributed is not installed")
        return
    paths = _cluster.hollow_exports(folder, 3, size_bytes)
    for some in (paths[:1], paths):
        what = f"mean of {len(some)} x {size_bytes / GIB:g} GiB on a LocalCluster of {_cluster.WORKERS} workers"
        wanted = f"in {limit_bytes / GIB:g} GiB, each file opened once a worker"
        tell(what)
        try:
            found = _cluster.run_in_a_cgroup(some, limit_bytes)
        except OSError as error:
            yield Goal.unmeasured(what, wanted, f"not measured: cannot create a cgroup ({error.strerror})")
            continue
        except RuntimeError as error:
            yield Goal(what, wanted, f"failed: {error}", met=False)
            continue
        measured = (
            f"{found['seconds']:.1f} s, {found['anon_bytes'] >> 20} MiB anonymous, {found['chunks']} chunks, "
            f"{found['shipped_bytes']:,} bytes of graph, {max(found['opened'])} openings a worker"
        )
        met = found["anon_bytes"] < limit_bytes and max(found["opened"]) <= len(some)
        yield Goal(what, wanted, measured, met)
    for path in paths:
        path.unlink()


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--data", "data_names", multiple=True, type=click.Choice(list(DATA)), help="Only these; may be repeated.")
@click.option(
    "--reader",
    "readers",
    multiple=True,
    type=click.Choice(list(READERS)),
    help="Only these, and np.memmap. [default: all]",
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Rounds, each warm and cold.")
@click.option("--cluster", is_flag=True, help="Only dask on a LocalCluster, in a cgroup of 1 GiB; as root.")
@click.option(
    "--dir",
    "folder",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder on the measured disk.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="JSON file for all raw results.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order and of the frames that are read.")
def main(
    data_names: tuple[str, ...],
    readers: tuple[str, ...],
    rounds: int,
    cluster: bool,
    folder: Path,
    json_path: Path | None,
    seed: int,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment.environment(folder)
    console.print(_environment.one_line(environment), soft_wrap=True, highlight=False)
    goals, raw = [], {}
    with tempfile.TemporaryDirectory(prefix=".reading_", dir=folder) as work, console.status("") as status:

        def tell(text: str) -> None:
            if console.is_terminal:
                status.update(text)

        if cluster:
            goals += list(cluster_goals(Path(work), tell))
        for name in () if cluster else data_names or DATA:
            own = Path(work, name)
            own.mkdir()
            chosen = [n for n in READERS if not readers or n in readers or n in (*LIMITS, *GOALS)]
            absent = {n: package for n in chosen if (package := READERS[n].missing())}
            names = [n for n in chosen if n not in absent]
            played = play(names, DATA[name], own, rounds, seed, tell)
            for cold in (False, True):
                console.print(table_of(DATA[name], played, cold, seed))
            if absent:
                console.print("not installed: " + ", ".join(absent.values()), style="dim")
            goals += list(frame_goals(DATA[name], played, seed))
            raw[name] = {"cold" if cold else "warm": found for cold, found in played.items()}
            shutil.rmtree(own)
        if not cluster:
            goals += list(graph_goals(Path(work)))
    console.print(goals_table(goals))
    if json_path is not None:
        kept = {"environment": environment, "data": raw, "goals": [asdict(goal) for goal in goals], "seed": seed}
        json_path.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
