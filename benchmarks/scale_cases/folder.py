"""10,000 scans in a folder: list, number, recover all of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

import lys_storage
from benchmarks._scale_goals import seconds_a_claim
from benchmarks.scale_cases._measuring import Figure, Figures, Task, clock, new_scan, timed
from lys_storage.disk import free_number
from lys_storage.recovery import find_interrupted, list_scans

CLAIMS = 300
CHILD_SCANS = 100
INTERRUPTED = "look for interrupted scans", "ls of interrupted scans", "recover all"


def measure(task: Task) -> Figures:
    yield from _exports(task.path, task.options["scans"])
    yield from _many_interrupted(task, task.options["scans"])


def _exports(folder: Path, scans: int) -> Figures:
    export, where, at = _one_export(folder / "one"), folder / "exports", f"{scans:,} exports"
    where.mkdir()
    times = []
    for size in (scans // 4, scans):
        for k in range(len(os.listdir(where)), size):
            shutil.copyfile(export, where / f"data_{k}.npz")
        times.append(_seconds_to_list(where, size) / size)
    yield Figure("ls, per scan", times[1], "s", at)
    yield Figure("ls, per scan, to a quarter of them", times[1] / times[0], "times", at, note="1: linear")
    seconds, number = timed(lambda: free_number(where, "data"))
    assert number == scans
    yield Figure("the first number of a process", seconds, "s", at)
    many, empty = seconds_a_claim(where, CLAIMS), seconds_a_claim(folder / "one", CLAIMS)
    yield Figure("claim a number, amortized", many, "s", at)
    yield Figure("claim a number, to an empty folder", many / empty, "times", at, note="goal: 2")
    shutil.rmtree(where)


def _one_export(where: Path) -> Path:
    scan = new_scan(where, (4, 64, 64), "uint16", 1)
    for k in range(4):
        scan[k] = np.full((64, 64), k, "u2")
    return scan.close()


def _many_interrupted(task: Task, total: int) -> Figures:
    most = total if task.full else min(total, 800)
    sizes, begun = (most // 4, most), 0.0
    times: list[tuple[float, ...]] = []
    for size in sizes:
        where = task.path / f"interrupted_{size}"
        begun = _die_with_scans(where, size) / size
        times.append(_seconds_of_interrupted(where, size))
        shutil.rmtree(where)
    at = f"{most:,} interrupted scans"
    yield Figure("create a scan, write a frame", begun, "s", at, note="without syncs")
    for name, quarter, whole in zip(INTERRUPTED, times[0], times[1], strict=True):
        figure = Figure(name, whole, "s", at, note=f"{whole / most * 1e3:.3g} ms per scan")
        if most != total:
            figure = figure.extrapolate_linearly(
                sizes=sizes, values=(quarter, whole), size=total, to=f"{total:,} scans"
            )
        yield figure
        growth = (whole / sizes[1]) / (quarter / sizes[0])
        yield Figure(f"{name}, per scan, to a quarter of them", growth, "times", at, note="1: linear")


def _seconds_of_interrupted(where: Path, size: int) -> tuple[float, ...]:
    """The seconds of the operations in INTERRUPTED on the `size` scans in `where`. The scans are exports afterwards."""
    seconds, found = timed(lambda: find_interrupted(where))
    assert len(found) == size
    listed = _seconds_to_list(where, size)
    recovered, results = timed(lambda: lys_storage.recover(where))
    assert all(result.path is not None for result in results), [r.message for r in results if r.path is None][:3]
    return seconds, listed, recovered


def _seconds_to_list(where: Path, size: int) -> float:
    seconds, count = timed(lambda: sum(1 for _ in list_scans(where)))
    assert count == size
    return seconds


def _die_with_scans(where: Path, count: int) -> float:
    """Make `count` interrupted scans, whose processes are dead. Returns the seconds that this took."""
    begin = clock()
    for at in range(0, count, CHILD_SCANS):
        child = os.fork()
        if child == 0:
            kept = []
            for _ in range(min(CHILD_SCANS, count - at)):
                scan = new_scan(where, (4, 64, 64), "uint16", 1, flush_interval_s=None)
                scan[0] = np.ones((64, 64), "u2")
                kept.append(scan)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
    return clock() - begin
