#!/usr/bin/env python
"""How fast frames get to the disk: the limit, lys_storage, and what else a user would pick, measured in one run.

The limit is `os.pwrite` of each frame into a file whose space is claimed. It runs twice in each round; where the two
disagree, the round says nothing and is played again. Everybody runs in a process of its own, on memory that was warmed
right before, in an order that is shuffled anew each round; ratios are to the limit of the same round. Peers that are not
installed are left out: `pip install -e '.[bench]'` installs them. It writes below DIR only, and removes it again.

\b
    python benchmarks/compare.py --quick                  a minute; what .ci/run does
    python benchmarks/compare.py --dir /data              everything, on the disk of /data: some hours
    python benchmarks/compare.py --workload W1 --candidate ours --candidate map --rounds 5
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _environment, _table
from benchmarks._candidates import AGAIN, CANDIDATES, LIMIT, NEED_NO_INSTALL, PEERS
from benchmarks._outcome import Outcome
from benchmarks._rounds import Plan, play
from benchmarks._workloads import FIXED, NAMES, QUICK, Workload, beyond_the_cache

QUICK_S = 45.0
LONG_ROUNDS = 5


def workload_of(name: str, folder: Path) -> Workload:
    if name == "W6":
        return beyond_the_cache(_environment.dirty_limit_bytes(), _environment.room_bytes(folder))
    return FIXED[name]


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--quick", is_flag=True, help="Small W1, W2, W3 without peers, in a minute; exit 1 where ours is far outside."
)
@click.option("--workload", "workloads", multiple=True, type=click.Choice(NAMES), help="Only these. [default: all]")
@click.option(
    "--candidate", "candidates", multiple=True, type=click.Choice(list(CANDIDATES)), help="Only these, and the limit."
)
@click.option("--rounds", default=15, show_default=True, help="Rounds that count, with the limit and ours.")
@click.option("--peer-rounds", default=3, show_default=True, help="How many of them with the peers.")
@click.option(
    "--dir",
    "folder",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="On the disk to be measured.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Everything that was measured, raw.")
@click.option("--seed", default=0, show_default=True, help="Of the noise, the orders and the intervals.")
def main(
    quick: bool,
    workloads: tuple[str, ...],
    candidates: tuple[str, ...],
    rounds: int,
    peer_rounds: int,
    folder: Path,
    json_path: Path | None,
    seed: int,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment.environment(folder)
    console.print(_environment.one_line(environment), soft_wrap=True, highlight=False)
    chosen = [name for name in candidates or CANDIDATES if name not in (LIMIT, AGAIN)]
    if quick:
        rounds, peer_rounds, chosen = min(rounds, 5), min(rounds, 5), [c for c in chosen if c in NEED_NO_INSTALL]
    outcomes: dict[str, Outcome] = {}
    began = time.monotonic()
    names = list(workloads or (QUICK if quick else NAMES))
    names = [name for name in names if name != "W4"]
    with tempfile.TemporaryDirectory(prefix=".compare_", dir=folder) as work:
        for k, name in enumerate(names):
            workload = QUICK[name] if quick else workload_of(name, folder)
            skipped = {c: why for c in chosen if (why := CANDIDATES[c].cannot(workload))}
            ours = [c for c in chosen if CANDIDATES[c].kind == "ours" and c not in skipped]
            peers = [c for c in chosen if c in PEERS and c not in skipped and (name != "W3b" or candidates)]
            count = min(rounds, LONG_ROUNDS) if name == "W6" else rounds
            until = began + QUICK_S * (k + 1) / len(names) if quick else float("inf")
            plan = Plan(count, peer_rounds, count, seed, Path(work), until)
            with console.status("") as status:
                played = play(workload, ours, peers, plan, status.update)
            outcomes[name] = Outcome(workload, played, seed)
            console.print(_table.time_table(outcomes[name], skipped))
            console.print(_table.detail_table(outcomes[name], skipped))
    if json_path is not None:
        raw: dict[str, Any] = {"environment": environment, "seed": seed}
        raw["workloads"] = {name: {"title": o.workload.title, "rounds": o.rounds} for name, o in outcomes.items()}
        json_path.write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    main()
