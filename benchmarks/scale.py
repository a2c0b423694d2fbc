#!/usr/bin/env python
"""Measure very large scans and folders. Sizes that this machine cannot reach are extrapolated.

\b
    python benchmarks/scale.py                      a few minutes
    python benchmarks/scale.py --full               the whole size if the machine has enough resources; half an hour
    python benchmarks/scale.py --only rate --only scalars --dir /data

\b
frames    10 million frames of 16 bytes: journal, ingest, a flush, finalize, open, recover
gaps      as many frames, of which every other hundred is missing
bytes     a scan of 2 TB: preallocated on a sparse disk if there is one, else without preallocation
folder    10,000 scans in a folder: list, number, recover all of them
scalars   10^8 points with one index each: a part of them, and extrapolated
rate      20,000 small frames per second through DataStorage: whether it keeps up, and the cost

Each case runs in a separate process. "memory" is the peak anonymous memory (RssAnon) above that after the imports, sampled
from outside every 50 ms (the goal is 16 MiB). "mapped" is the same for pages of mapped files (RssFile). An extrapolation
names its model. All files are in a new folder below DIR, which is removed at the end.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scale_cases import CASES
from benchmarks.scale_cases._measuring import Figure, Task, clock
from benchmarks.scale_cases._process import child, measure
from benchmarks.scale_cases._table import add_failure, add_figure, new_table

PIPED_WIDTH = 170


def environment(folder: Path) -> dict[str, Any]:
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "free": shutil.disk_usage(folder).free,
    }


def measure_and_print(task: Task, console: Console) -> tuple[list[Figure], bool]:
    """Run a case, print its table, and remove its files. Returns the figures, and whether the case completed."""
    task.path.mkdir()
    table, begin, figures, ended = new_table(task.case), clock(), [], True
    try:
        for figure in measure(task):
            figures.append(figure)
            add_figure(table, figure)
    except (subprocess.CalledProcessError, OSError) as error:
        ended = False
        add_failure(table, error)
    shutil.rmtree(task.path, ignore_errors=True)
    table.caption = f"{clock() - begin:.0f} s"
    console.print(table)
    return figures, ended


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="Run only this case; may be repeated.")
@click.option("--full", is_flag=True, help="Measure the whole size if the machine allows; up to 10 GB, half an hour.")
@click.option(
    "--dir",
    "where",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the files. Default: the system's temporary folder.",
)
@click.option("--frames", default=10_000_000, show_default=True, help="Number of frames in the cases frames and gaps.")
@click.option("--bytes", "size", default=2 * 10**12, show_default=True, help="Size of the scan in the case bytes.")
@click.option("--scans", default=10_000, show_default=True, help="Number of scans in the case folder.")
@click.option("--scalars", "points", default=10**8, show_default=True, help="Points that scalars extrapolates to.")
@click.option("--rate", "per_second", default=20_000, show_default=True, help="Frames per second in the case rate.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document to stdout, and the tables to stderr.")
@click.option("--child", "text", hidden=True)
def main(
    only: tuple[str, ...],
    full: bool,
    where: Path | None,
    frames: int,
    size: int,
    scans: int,
    points: int,
    per_second: int,
    as_json: bool,
    text: str | None,
) -> None:
    if text is not None:
        child(text)
        return
    options = {"frames": frames, "bytes": size, "scans": scans, "scalars": points, "rate": per_second}
    base = Path(tempfile.mkdtemp(prefix="lys_storage_scale_", dir=where))
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    told, failed = environment(base), False
    console.print(", ".join(f"{key} {value}" for key, value in told.items()), highlight=False)
    results: dict[str, list[dict[str, Any]]] = {}
    try:
        for case in only or CASES:
            task = Task(case, folder=str(base / case), full=full, options=options)
            figures, ended = measure_and_print(task, console)
            results[case] = [asdict(figure) for figure in figures]
            failed = failed or not ended
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if as_json:
        print(json.dumps({"environment": told, "full": full, "options": options, "results": results}, indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
