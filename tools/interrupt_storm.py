#!/usr/bin/env python
"""Raise a KeyboardInterrupt at every point of each public call where CPython can deliver one.

    python tools/interrupt_storm.py --call close --twice --dir /where/the/data/go

Each trial is one scan. The call is interrupted at one point. With --twice it is interrupted again at each of the next
points, while the first interrupt unwinds. Then another frame is written, and the scan is closed or suspended, while the
traceback is alive. No call may hang. The lock must be free. `recover` must export a scan that is not exported. Every
acknowledged frame must survive bit for bit. All files are in a new folder below DIR, which is removed at the end.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the children are forked: this process must have no other thread

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.durability.environment import filesystem_of, versions
from tools.durability.interrupts.calls import CALLS
from tools.durability.interrupts.storm import Tally, storm

FAULTS_TOLD = 40


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--call", "calls", multiple=True, type=click.Choice(list(CALLS)), help="Call to interrupt. Default: all.")
@click.option("--twice", is_flag=True, help="Interrupt also a second time, at each of the points after the first.")
@click.option("--seed", default="0", show_default=True, help="Seed of the disk properties and of the trials of --most.")
@click.option("--most", type=int, help="Maximum trials per call and ending, drawn by the seed. Default: all.")
@click.option(
    "--dir",
    "where",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder for the files. Default: temporary.",
)
def main(calls: tuple[str, ...], twice: bool, seed: str, most: int | None, where: Path | None) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    begin, tallies = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="interrupt_storm_", dir=where) as name:
        folder = Path(name)
        out.print(f"{versions()}, {os.cpu_count()} cores, {filesystem_of(folder)} at {folder}")
        for call in calls or CALLS:
            tallies.append(storm(call, folder, twice=twice, seed=seed, most=most))
            shutil.rmtree(folder / "trial", ignore_errors=True)
    report(out, tallies, seconds=time.monotonic() - begin)
    sys.exit(1 if any(tally.faults for tally in tallies) else 0)


def report(out: Console, tallies: list[Tally], *, seconds: float) -> None:
    table = Table("call", "points", "trials", "hangs", "wrong")
    for tally in tallies:
        table.add_row(tally.call, *map(str, (tally.points, tally.trials, tally.hangs, tally.wrong)))
    out.print(table)
    for fault in [fault for tally in tallies for fault in tally.faults][:FAULTS_TOLD]:
        out.print(f"FAULT {fault}")
    trials, hangs, wrong = (sum(getattr(tally, what) for tally in tallies) for what in ("trials", "hangs", "wrong"))
    out.print(f"{len(tallies)} calls, {trials} trials, {seconds:.0f} s: {hangs} hangs, {wrong} wrong")


if __name__ == "__main__":
    main()
