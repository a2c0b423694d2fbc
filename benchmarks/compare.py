#!/usr/bin/env python
"""Compare the write speeds of lys_storage, the limit and other packages ("peers") in one run.

The limit is `os.pwrite` of each frame into a preallocated file. It runs twice in each round. If the two runs disagree, the
round does not count and is repeated. Each candidate runs in a separate process, on freshly warmed memory, in an order that
is shuffled for each round. Ratios are to the limit of the same round. Peers that are not installed are left out;
`pip install --group bench` (pip 25.1 or later) installs them. All files are in a new folder below DIR, which is removed
at the end.

\b
W1   2048 frames of 256x256 float64          W3b  W3 with 64 frames per call
W2   512 frames of 1024x1024 uint16          W5a  W1 in random order
W3   65,536 frames of 64x64 uint16           W5b  W3 in random order
W4   a minute or more at 0.5 and 0.9 of the disk's sync rate, a sync each second: stalls of the limit and ours
W6   twice the dirty limit of the page cache
W7   4 GiB in a memory cgroup of 1 GiB, frames of 8 KiB to 8 MiB, to the fastest bare loop (--sustained, as root); with it
     three scans at once, 8 GiB in 256 MiB, and a detector at 0.9 of the limit

\b
python benchmarks/compare.py --quick                      within a minute; exit code 1 if ours is far above its goal
python benchmarks/compare.py --dir /data --plots plots    all except --lys and --machine, on the disk of /data
python benchmarks/compare.py --workload W1 --candidate ours --candidate map --rounds 5
python benchmarks/compare.py --from a.json --from b.json --plots plots    tables and plots of stored runs, combined
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.status import Status

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _environment, _goals, _machine_goals, _paced, _scale_goals, _sustained, _table
from benchmarks._candidates import CANDIDATES, NEED_NO_INSTALL, PEERS
from benchmarks._lys_way import add_lys_way
from benchmarks._outcome import Outcome
from benchmarks._rounds import Plan, play
from benchmarks._workloads import FIXED, NAMES, QUICK, Workload, beyond_the_cache, workload_from

QUICK_S = 40.0
QUICK_ROUNDS = 5
QUICK_TRIES = 6
LONG_ROUNDS = 5
CHOICES = [name for name, candidate in CANDIDATES.items() if candidate.kind not in ("limit", "lys")]
PIPED_WIDTH = 180


def workload_of(name: str, folder: Path) -> Workload:
    if name == "W6":
        return beyond_the_cache(_environment.dirty_limit_bytes(), _environment.room_bytes(folder))
    return FIXED[name]


class Comparison:
    """One run of this program: the candidates, the results so far, and the console."""

    def __init__(self, console: Console, candidates: list[str], plan: Plan) -> None:
        self.console, self.plan = console, plan
        self.ours = [name for name in candidates if CANDIDATES[name].kind == "ours"]
        self.peers = [name for name in candidates if name in PEERS]
        self.outcomes: dict[str, Outcome] = {}
        self.paced: list[Outcome] = []
        self.goals: list[_goals.Goal] = []

    def tell(self, status: Status, text: str) -> None:
        """Print progress: one line that is replaced on a terminal, else a new line each time."""
        if self.console.is_terminal:
            status.update(text)
        else:
            self.console.print(f"[{time.strftime('%H:%M:%S')}] {text}", style="dim", markup=False, highlight=False)

    def measure(self, workload: Workload, plan: Plan, *, lys: bool) -> None:
        """Play the rounds of one workload, and print its tables."""
        everybody = [*self.ours, *self.peers]
        skipped = {name: why for name in everybody if (why := CANDIDATES[name].cannot(workload))}
        ours, peers = ([n for n in names if n not in skipped] for names in (self.ours, self.peers))
        if workload.batch > 1:
            peers = []  # they have no call for many frames by index
        with self.console.status("") as status:
            rounds = play(workload, ours, peers, plan, lambda text: self.tell(status, text))
            outcome = self.outcomes[workload.name] = Outcome(workload, rounds, plan.seed)
            if lys and workload.name in _goals.AGAINST_LYS:
                add_lys_way(outcome, plan, lambda text: self.tell(status, text))
        self.console.print(_table.time_table(outcome, skipped))
        self.console.print(_table.detail_table(outcome, skipped))

    def measure_paced(self, plan: Plan, seconds: float) -> None:
        with self.console.status("") as status:
            self.paced = _paced.play_paced(self.ours, plan, lambda text: self.tell(status, text), seconds)
        for outcome in self.paced:
            self.console.print(_paced.paced_table(outcome))

    def far_outside(self, name: str, plan: Plan, bound: float) -> str:
        """Why ours is far above its goal, also after repeated measurements; "" if it is not."""
        for left in reversed(range(QUICK_TRIES)):
            fault = _goals.far_outside(self.outcomes[name], bound)
            if not fault:
                return ""
            self.console.print(
                f"FAR ABOVE THE GOAL: {fault}{'; measuring again' if left else ''}", style="bold red", highlight=False
            )
            if left:
                self.measure(self.outcomes[name].workload, replace(plan, rounds=1, retries=1), lys=False)
        return fault

    def judge(self, *, machine: bool) -> None:
        self.goals = list(_goals.goals(self.outcomes, self.paced))
        if machine:
            with self.console.status("") as status:
                for goals in _machine_goals.machine_goals, _scale_goals.scale_goals:
                    self.goals += goals(self.plan, lambda text: self.tell(status, text))
        self.console.print(_goals.goals_table(self.goals))

    def take(self, stored: dict[str, Any]) -> None:
        """Add the results of another run, in the form of raw(). The rounds of a workload are joined."""
        for name, one in stored["workloads"].items():
            known_rounds = self.outcomes[name].rounds if name in self.outcomes else []
            outcome = Outcome(workload_from(one["workload"]), [*known_rounds, *one["rounds"]], stored["seed"])
            if any("paced" in run for played in outcome.rounds for run in played["runs"].values()):
                self.paced.append(outcome)
            else:
                self.outcomes[name] = outcome
        known = {goal.what for goal in self.goals}
        for goal in stored["goals"]:
            if goal["what"] in (*_machine_goals.WHAT, *_scale_goals.WHAT) and goal["what"] not in known:
                self.goals.append(_goals.Goal(**goal))

    def show(self) -> None:
        """Print the tables and the goals of the added results."""
        for outcome in self.outcomes.values():
            self.console.print(_table.time_table(outcome, {}))
            self.console.print(_table.detail_table(outcome, {}))
        for outcome in self.paced:
            self.console.print(_paced.paced_table(outcome))
        self.goals = [*_goals.goals(self.outcomes, self.paced), *self.goals]
        self.console.print(_goals.goals_table(self.goals))

    def raw(self) -> dict[str, Any]:
        """All results, for JSON."""
        outcomes = [*self.outcomes.values(), *self.paced]
        return {
            "workloads": {o.workload.name: {"workload": asdict(o.workload), "rounds": o.rounds} for o in outcomes},
            "goals": [asdict(goal) for goal in self.goals],
            "seed": self.plan.seed,
        }


def shown_again(console: Console, stored: Sequence[Path]) -> tuple[dict[str, Any], Comparison]:
    """Show the results of stored runs together, with the environment of the first one. Returns both."""
    runs = [json.loads(path.read_text()) for path in stored]
    console.print(_environment.one_line(runs[0]["environment"]), soft_wrap=True, highlight=False)
    comparison = Comparison(console, [], Plan(0, 0, 0, runs[0]["seed"], Path()))
    for run in runs:
        comparison.take(run)
    comparison.show()
    return runs[0]["environment"], comparison


def keep(
    comparison: Comparison, environment: dict[str, Any], json_path: Path | None, plots: Path | None = None
) -> None:
    """Write the results as JSON and as plots, if a path for them is given."""
    if json_path is not None:
        json_path.write_text(json.dumps({"environment": environment, **comparison.raw()}, indent=1))
    if plots is not None:
        from benchmarks import _plots

        for path in _plots.draw(plots, comparison.outcomes, comparison.paced):
            comparison.console.print(f"written: {path}")


def measure_sustained(comparison: Comparison, sizes: Sequence[str], plan: Plan) -> None:
    """Play W7, and print its table and its goals."""
    with comparison.console.status("") as status:
        found = _sustained.Measurements(plan, lambda text: comparison.tell(status, text))
        found.play(sizes or list(_sustained.FRAMES))
    comparison.console.print(_sustained.sustained_table(found.sizes))
    comparison.console.print(_goals.goals_table(list(_sustained.sustained_goals(found))))


def _names(names: tuple[str, ...], quick: bool) -> tuple[str, ...]:
    if quick and not set(names) <= set(QUICK):
        raise click.UsageError(f"--quick supports only {', '.join(QUICK)}")
    return names or (tuple(QUICK) if quick else NAMES)


_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--quick", is_flag=True, help="Small W1, W2, W3, without peers that need an install; see --bound.")
@click.option(
    "--bound",
    default=3.0,
    show_default=True,
    help="--quick exits with 1 if ours takes more than this many times its goal.",
)
@click.option(
    "--workload",
    "names",
    multiple=True,
    type=click.Choice(NAMES),
    help="Run only these; may be repeated. [default: all]",
)
@click.option(
    "--candidate", "candidates", multiple=True, type=click.Choice(CHOICES), help="Run only these and the limit."
)
@click.option(
    "--rounds", default=15, show_default=True, help=f"Rounds that count, with the limit and ours; W6: {LONG_ROUNDS}."
)
@click.option("--peer-rounds", default=3, show_default=True, help="Number of first rounds that include the peers.")
@click.option("--paced-rounds", default=3, show_default=True, help="Rounds of W4 at each pace.")
@click.option("--paced-seconds", default=_paced.SECONDS, show_default=True, help="Minimum time of one run of W4.")
@click.option("--lys", is_flag=True, help="Run lys_instr's way once on W1, W2, W3: some minutes and 2 GiB of memory.")
@click.option("--machine", is_flag=True, help="Measure import time, CPU at 100 MB/s, large sizes.")
@click.option("--sustained", is_flag=True, help="Run W7 and nothing else; writes 4 GiB at a time.")
@click.option(
    "--size", "sizes", multiple=True, type=click.Choice(list(_sustained.FRAMES)), help="Frames of W7. [default: all]"
)
@click.option("--dir", "folder", default=".", show_default=True, type=_DIRECTORY, help="Folder on the measured disk.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path),
    help="JSON file for all raw results; written after each workload.",
)
@click.option("--plots", type=_DIRECTORY, help="Folder for plots.")
@click.option(
    "--from",
    "stored",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Measure nothing; show the results in a --json file. May be repeated.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the noise, the orders and the intervals.")
def main(
    quick: bool,
    bound: float,
    names: tuple[str, ...],
    candidates: tuple[str, ...],
    rounds: int,
    peer_rounds: int,
    paced_rounds: int,
    paced_seconds: float,
    lys: bool,
    machine: bool,
    sustained: bool,
    sizes: tuple[str, ...],
    folder: Path,
    json_path: Path | None,
    plots: Path | None,
    stored: tuple[Path, ...],
    seed: int,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    if stored:
        environment, comparison = shown_again(console, stored)
        keep(comparison, environment, json_path, plots)
        return
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment.environment(folder)
    console.print(_environment.one_line(environment), soft_wrap=True, highlight=False)
    chosen = list(candidates or CHOICES)
    names = _names(names, quick)
    if quick:
        chosen = [name for name in chosen if name in NEED_NO_INSTALL]
        rounds = peer_rounds = min(rounds, QUICK_ROUNDS)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".compare_", dir=folder) as work:
        plan = Plan(rounds, peer_rounds, rounds, seed, Path(work))
        comparison = Comparison(console, chosen, plan)
        if sustained:
            measure_sustained(comparison, sizes, replace(plan, rounds=min(rounds, LONG_ROUNDS)))
            return
        for k, name in enumerate(names):
            if name == "W4":
                comparison.measure_paced(replace(plan, rounds=paced_rounds, retries=paced_rounds), paced_seconds)
                keep(comparison, environment, json_path)
                continue
            its_plan = plan
            if quick:
                its_plan = replace(plan, until=began + QUICK_S * (k + 1) / len(names))
            elif name == "W6":
                count = min(rounds, LONG_ROUNDS)
                its_plan = replace(plan, rounds=count, retries=count, peer_rounds=min(peer_rounds, 1))
            comparison.measure(QUICK[name] if quick else workload_of(name, folder), its_plan, lys=lys)
            keep(comparison, environment, json_path)  # an interrupted run keeps these results
        if quick:
            far = [fault for name in names if (fault := comparison.far_outside(name, plan, bound))]
        else:
            comparison.judge(machine=machine)
    keep(comparison, environment, json_path, plots)
    if quick:
        sys.exit(1 if far else 0)


if __name__ == "__main__":
    main()
