#!/usr/bin/env python
"""Kill processes with SIGKILL while they write scans, and check that every acknowledged frame survives bit for bit.

    python tools/crash_storm.py --kills 1000 --seed 0 --dir /where/the/data/go

Each life is one scan. A child process creates it, writes and rewrites frames in random order, flushes, and closes it.
Further children resume or recover it. Every child is killed: by this process at a random moment, or by itself before,
during or after the n-th durable step (an operation of lys_storage.disk) of a phase. A child reports over a pipe each
write when it begins and when it is acknowledged. After each kill, a copy of the folder is recovered as on the same boot,
and every acknowledged frame is compared. A frame whose rewrite was killed must hold the old or the new version.
All files are in a new folder below DIR, which is removed at the end.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the children are forked: this process must have no other thread

import random
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.durability.environment import filesystem_of, versions
from tools.durability.storm.life import draw_life
from tools.durability.storm.lives import Tally, live

FAULTS_TOLD = 40


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--kills", default=1000, show_default=True, help="Number of child processes to kill.")
@click.option("--seed", default=0, show_default=True, help="Seed. Runs with the same seed differ only in their timing.")
@click.option(
    "--dir",
    "where",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder for the files. Default: temporary.",
)
@click.option("--frame-bytes", default=0, help="Size of a frame (even). Default: 1,000 bytes to 1 MiB, drawn per scan.")
@click.option("--life", "only", default=-1, help="Run only this life; a FAULT line gives its number.")
def main(kills: int, seed: int, where: Path | None, frame_bytes: int, only: int) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    tally, begin, said = Tally(), time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="crash_storm_", dir=where) as name:
        folder = Path(name)
        out.print(f"{versions()}, {os.cpu_count()} cores, {filesystem_of(folder)} at {folder}")
        n = max(0, only)
        while tally.kills < kills:
            life = draw_life(folder / f"life_{n}", f"{seed}:{n}", frame_bytes)
            live(life, random.Random(f"{seed}:{n}:storm"), tally, kills)
            n += 1
            if time.monotonic() - said > 5:
                said = time.monotonic()
                out.print(
                    f"{tally.kills} of {kills} kills, {tally.acknowledged:,} frames acknowledged, {tally.lost} lost"
                )
            if only >= 0:
                break
    report(out, tally, seconds=time.monotonic() - begin)
    sys.exit(1 if tally.lost or tally.faults else 0)


def report(out: Console, tally: Tally, *, seconds: float) -> None:
    table = Table("kills", "at", title="kills by step")
    for step, count in sorted(tally.by_step.items(), key=lambda item: item[0]):
        table.add_row(str(count), step)
    out.print(table)
    for fault in tally.faults[:FAULTS_TOLD]:
        out.print(f"FAULT {fault}")
    out.print(
        f"{tally.kills} kills in {tally.lives} scans, {seconds:.0f} s: "
        f"{tally.copies} copies made during writes, {tally.copies_exported} of them exported; "
        f"{tally.acknowledged:,} frames acknowledged, {tally.checked:,} compared, {tally.lost} lost; "
        f"{len(tally.faults)} other faults"
        if tally.lost == 0
        else f"{tally.kills} kills: {tally.lost} of {tally.checked:,} frames lost; {len(tally.faults)} faults in all"
    )


if __name__ == "__main__":
    main()
