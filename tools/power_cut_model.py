#!/usr/bin/env python
"""Cut the power of a modelled disk at every operation of a scan, recover, and check every promise.

    python tools/power_cut_model.py --cuts 10000 --seed 0

lys_storage runs on a real folder (in memory), and every change that it makes is recorded. At each recorded point the
power is cut: unsynced writes, stores through maps, sizes and names are kept, dropped or torn, by a seeded choice. The
remaining files are recovered as on another boot, and compared with the promises. Cells older than the last flush survive
bit for bit (the old or the new version if a rewrite has begun since). Each cell of an export holds a version that was
written there, or is listed as missing and holds the fill value. No file under a final name is bad. One recovery in four is
cut too.

Syncs also fail, by the seed, in a scan and in its recovery. Some of the pages of a failed sync are lost: they read as
written, but no later sync writes them. A failed sync promises nothing. The program that writes the scan tries again or
continues, and the promises of a later flush must hold.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.durability.environment import versions
from tools.durability.model.cuts import Tally, cut_everywhere
from tools.durability.model.scenarios import SCENARIOS, Scenario

FAULTS_TOLD = 20


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--cuts", default=10_000, show_default=True, help="Minimum number of power cuts.")
@click.option("--seed", default=0, show_default=True, help="Seed. The same seed gives the same cuts.")
@click.option("--only", default="", help="Run only scenarios whose name contains this text.")
@click.option("--any-names", is_flag=True, help="Unsynced creates, renames and removes survive in any order.")
@click.option(
    "--sync-errors/--no-sync-errors", default=True, show_default=True, help="Whether some syncs fail, by the seed."
)
@click.option(
    "--dir",
    "where",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder for the files. Default: in memory.",
)
def main(cuts: int, seed: int, only: str, any_names: bool, sync_errors: bool, where: Path | None) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    if where is None and Path("/dev/shm").is_dir():
        where = Path("/dev/shm")
    out.print(f"{versions()}; the disk is modelled, sectors of 512 bytes, seed {seed}")
    scenarios = [s for s in SCENARIOS if only in s.name]
    manner: dict[str, Any] = {"choices": 2, "most": 10_000, "any_names": any_names, "sync_errors": sync_errors}
    tally, begin, said, n = Tally(), time.monotonic(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="power_cut_model_", dir=where) as name:
        while tally.cuts.total() < cuts:
            for scenario in scenarios:
                cut_everywhere(scenario, f"{seed}:{n}", Path(name), tally, **manner)
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    out.print(f"{tally.cuts.total():,} of {cuts:,} cuts, {len(tally.faults)} promises broken")
            n += 1
            if not tally.cuts:
                break
    report(out, scenarios, tally, runs=n, seconds=time.monotonic() - begin)
    sys.exit(1 if tally.faults else 0)


def report(out: Console, scenarios: list[Scenario], tally: Tally, *, runs: int, seconds: float) -> None:
    table = Table("scenario", "points", "cuts", "sync errors", "with a promise broken")
    columns = (tally.points, tally.cuts, tally.sync_errors, tally.broken)
    for scenario in scenarios:
        table.add_row(scenario.name, *(f"{c[scenario.name]:,}" for c in columns))
    out.print(table)
    for fault in tally.faults[:: max(1, len(tally.faults) // FAULTS_TOLD)]:
        out.print(f"BROKEN {fault}")
    out.print(
        f"{tally.cuts.total():,} cuts at {tally.points.total():,} points of {runs} runs of each scenario, of which "
        f"{tally.again:,} with the recovery cut too, {tally.sync_errors.total():,} sync errors, {seconds:.0f} s: "
        f"{tally.frames:,} frames compared, {tally.missing:,} listed as missing, "
        f"{tally.broken.total()} cuts with a promise broken"
    )


if __name__ == "__main__":
    main()
