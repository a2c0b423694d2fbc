#!/usr/bin/env python
"""What happens when a scan, or a folder, gets very large: measured where this machine can, extrapolated where it cannot.

\b
    python benchmarks/scale.py                      a few minutes
    python benchmarks/scale.py --full               the whole size wherever the machine has it; half an hour
    python benchmarks/scale.py --only rate --only scalars --dir /data

\b
frames    10 million frames of 16 bytes: journal, ingest, a flush, finalize, open, recover
gaps      as many, of which every other hundred never comes
bytes     a scan of 2 TB: on a sparse disk, where its space is really claimed; else without a claim
folder    10,000 scans in a folder: list, number, recover all of them
scalars   10^8 points, each an index of its own: in parts, and extrapolated
rate      20,000 small frames a second through DataStorage: is it kept up with, and at what cost

Each case is a process of its own. "memory" is the anonymous memory (RssAnon) above what it was after the imports,
looked at from outside every 50 ms (the goal is 16 MiB); "mapped" is the same for pages of mapped files (RssFile). An
extrapolation names its model. Files are made in a new folder below DIR only, which is removed.
"""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before an application is made: no display is needed

import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lys_storage
from benchmarks._memory import Sampler, on_disk, resident
from benchmarks._scale_goals import seconds_a_claim
from benchmarks.sparse_disk import NoSparseDisk, sparse_disk
from lys_storage.disk import free_number
from lys_storage.format import journal_path
from lys_storage.recovery import find_interrupted, list_scans
from lys_storage.scan import begin_scan

clock = time.perf_counter


@dataclass(frozen=True)
class Figure:
    """One row: `value` in `unit` as measured; what it comes to at the case's whole size, by `model`; or why there is none."""

    name: str
    value: float | None = None
    unit: str = ""
    at: str = ""
    extrapolated: float | None = None
    to: str = ""
    model: str = ""
    note: str = ""


@dataclass(frozen=True)
class Task:
    """What a case's process is given."""

    case: str
    folder: str
    full: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.folder)


Figures = Iterator[Figure]


def linear(small: tuple[int, float], large: tuple[int, float], to: int) -> tuple[float, str]:
    """a + b n through two measurements, at n = `to`; and the model in words."""
    (n0, t0), (n1, t1) = small, large
    slope = (t1 - t0) / (n1 - n0)
    return t1 + slope * (to - n1), f"linear, from {n0:,} and {n1:,}"


def new_scan(folder: Path, shape: tuple[int, ...], dtype: str, grid_ndim: int, **options: Any) -> lys_storage.Scan:
    return begin_scan(
        *(folder, "data", shape, dtype),
        **{"numbered": True, "replace_existing": False, "fill": 0, "grid_ndim": grid_ndim, **options},
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = clock()
    result = work()
    return clock() - begin, result


# -- frames ------------------------------------------------------------------------------------------------------------

ROW = 1000
CLAIMS = 300


def frames(task: Task) -> Figures:
    total = task.options["frames"]
    row = np.tile(np.arange(8, dtype="u2"), (ROW, 1))
    yield from _complete(task, total, row)
    yield from _all_over(task.path, total)
    yield from _interrupted(task, total, row)


def _complete(task: Task, total: int, row: Any) -> Figures:
    """All of them come, the first ones one by one."""
    singly = min(total, 10_000_000 if task.full else 500_000)
    at, rows, first_rows = f"{total:,} frames", total // ROW, singly // ROW
    seconds, scan = timed(lambda: new_scan(task.path, (rows, ROW, 8), "uint16", 2))
    yield Figure("reserve", seconds, "s", at)
    journal = journal_path(scan.part_path).stat().st_size
    yield Figure("journal", journal, "bytes", at)
    yield Figure("journal a frame", journal / total, "bytes", at)

    frame, write = row[0], scan.write
    tenths: list[float] = []
    for part in range(10):
        begin = clock()
        for i in range(first_rows * part // 10, first_rows * (part + 1) // 10):
            for j in range(ROW):
                write((i, j), frame)
        tenths.append((clock() - begin) / (singly / 10))
    each, where = sum(tenths) / 10, f"{singly:,} frames of {total:,}"
    known = (each * total, f"{total:,} frames", "constant a frame, see the next row") if singly < total else ()
    yield Figure("ingest, one by one", each, "s/frame", where, *known)
    yield Figure("ingest, last tenth to first", tenths[-1] / tenths[0], "times", where, note="1: nothing grows")
    if rows > first_rows:
        seconds, _ = timed(lambda: [write((i,), row) for i in range(first_rows, rows)])
        yield Figure("ingest, by rows of 1,000", seconds / (total - singly), "s/frame", f"{total - singly:,} frames")
    seconds, _ = timed(scan.flush)
    yield Figure("the last flush", seconds, "s", at, note="with the checksums that the follower had not taken yet")
    scan.close()
    report = scan.report
    assert report is not None
    yield Figure("finalize", report.seconds, "s", at, note="without sync")
    yield Figure("finalize a frame", report.seconds / total, "s/frame", at, note="goal: under a microsecond")
    yield Figure("sync at the end", report.sync_seconds, "s", at)
    seconds, wave = timed(lambda: lys_storage.open_wave(scan.path))
    wave.close()
    yield Figure("open_wave", seconds, "s", at)
    scan.path.unlink()


def _all_over(folder: Path, total: int) -> Figures:
    """Frames in random order: what a flush costs where they are all over the table."""
    scan = new_scan(folder, (total, 8), "uint16", 1, flush_interval_s=None)
    picks, frame = np.random.default_rng(0), np.arange(8, dtype="u2")
    checks, syncs = [], []
    for _ in range(5):
        for k in picks.integers(0, total, 1000).tolist():
            scan.write((k,), frame)
        checks.append(timed(scan._part.check)[0])
        syncs.append(timed(scan.flush)[0])
    at = f"1,000 frames all over {total:,}"
    yield Figure("check, random order", sorted(checks)[2], "s", at, note="goes with the range, not with what is new")
    yield Figure("flush after it, random order", sorted(syncs)[2], "s", at, note="a page of the tables a frame")
    scan.suspend()
    for path in folder.iterdir():
        path.unlink()


def _interrupted(task: Task, total: int, row: Any) -> Figures:
    scan = new_scan(task.path, (total // ROW, ROW, 8), "uint16", 2)
    for i in range(total // ROW - 1):
        scan.write((i,), row)
    scan.suspend()
    part, at = scan.part_path, f"{total:,} frames"
    seconds, _ = timed(lambda: list(list_scans(part)))
    yield Figure("ls of the interrupted scan", seconds, "s", at)
    seconds, again = timed(lambda: lys_storage.resume(part))
    yield Figure("resume", seconds, "s", at)
    seconds, count = timed(lambda: sum(1 for _ in again.missing()))
    yield Figure("missing()", seconds, "s", f"{count:,} missing of {total:,}")
    again.suspend()
    seconds, (found,) = timed(lambda: lys_storage.recover(part))
    assert found.frames_written == total - ROW, found.said
    yield Figure("recover", seconds, "s", at, note="with its syncs")
    yield Figure("recover a frame", seconds / total, "s/frame", at)
    assert found.path is not None
    found.path.unlink()
    sizes = (total // 20, total // 10)
    times = []
    for size in sizes:
        scan = new_scan(task.path, (size // ROW, ROW, 8), "uint16", 2)
        for i in range(size // ROW):
            scan.write((i,), row)
        scan.suspend()
        seconds, (found,) = timed(lambda part=scan.part_path: lys_storage.recover(part, verify=True))  # type: ignore[misc]
        assert found.path is not None, found.said
        found.path.unlink()
        times.append(seconds)
    there, model = linear((sizes[0], times[0]), (sizes[1], times[1]), total)
    yield Figure("recover after a power cut", times[1], "s", f"{sizes[1]:,} frames", there, at, model)


def gaps(task: Task) -> Figures:
    """Every other row of 100 frames never comes: more runs of missing frames than acquisition.json takes."""
    total, width = task.options["frames"], 100
    at = f"{total:,} frames in {total // width // 2:,} runs"
    scan = new_scan(task.path, (total // width, width, 8), "uint16", 2)
    row = np.ones((width, 8), "u2")
    for i in range(0, total // width, 2):
        scan.write((i,), row)
    scan.flush()
    scan.close()
    report = scan.report
    assert report is not None
    yield Figure("finalize a frame", report.seconds / total, "s/frame", at, note="fill 0; without sync")
    seconds, wave = timed(lambda: lys_storage.open_wave(scan.path))
    wave.close()
    yield Figure("open_wave", seconds, "s", at)


# -- bytes -------------------------------------------------------------------------------------------------------------

FRAME_BYTES = 1 << 20


def two_terabytes(task: Task) -> Figures:
    total, came = task.options["bytes"] // FRAME_BYTES, 2000 if task.full else 500
    claimed = task.options["claimed"]
    at = f"{total * FRAME_BYTES / 1e12:.3g} TB"
    if not claimed:
        yield Figure("a claim of the space", note=f"not measured: {task.options['why_not']}")
    shape = (total, 1024, 512)
    seconds, scan = timed(lambda: new_scan(task.path, shape, "uint16", 1, claim_space=claimed))
    yield Figure("reserve", seconds, "s", at, note="the claim goes on behind it" if claimed else "without a claim")
    yield Figure("journal", journal_path(scan.part_path).stat().st_size, "bytes", at)
    noise = np.random.default_rng(0).integers(0, 1 << 16, (4, 1024, 512), "u2")
    places = np.random.default_rng(1).choice(total, came, replace=False).tolist()
    each = np.zeros(came)
    begin = clock()
    for k, place in enumerate(places):
        before = clock()
        scan.write((place,), noise[k % 4])
        each[k] = clock() - before
        if scan._claim is not None and k == came // 2:
            claim = scan._claim._thread
            if claim is not None:
                claim.join()
                yield Figure("all of it is claimed after", clock() - begin, "s", at, note="frames came meanwhile")
    where = f"{came:,} frames of 1 MiB all over"
    yield Figure("ingest, random order", float(np.median(each)), "s/frame", where, note="median")
    yield Figure("ingest, random order, worst", float(each.max()), "s/frame", where)
    seconds, _ = timed(scan.flush)
    yield Figure("flush", seconds, "s", where)
    part = scan.part_path
    scan.suspend()
    seconds, _ = timed(lambda: list(list_scans(part)))
    yield Figure("ls of the interrupted scan", seconds, "s", at)
    seconds, (found,) = timed(lambda: lys_storage.recover(part))
    yield Figure("recover", seconds, "s", at, note="holes where nothing came; with its syncs")
    assert found.path is not None, found.said
    assert found.frames_written == came
    seconds, wave = timed(lambda: lys_storage.open_wave(found.path))
    yield Figure("open_wave", seconds, "s", at)
    seconds, _ = timed(lambda: [wave.data[place].sum() for place in places[:200]])
    yield Figure("random frames, warm", seconds / 200, "s/frame", at)
    assert np.array_equal(wave.data[places[-1]], noise[(came - 1) % 4])
    wave.close()
    yield Figure("space on disk", on_disk(task.path), "bytes", where)
    found.path.unlink()


# -- folder ------------------------------------------------------------------------------------------------------------


def folder(task: Task) -> Figures:
    scans = task.options["scans"]
    first = new_scan(task.path / "one", (4, 64, 64), "uint16", 1)
    for k in range(4):
        first[k] = np.full((64, 64), k, "u2")
    export = first.close()
    where = task.path / "exports"
    where.mkdir()
    times = []
    sizes = (scans // 4, scans)
    for size in sizes:
        for k in range(len(os.listdir(where)), size):
            shutil.copyfile(export, where / f"data_{k}.npz")
        seconds, count = timed(lambda: sum(1 for _ in list_scans(where)))
        assert count == size
        times.append(seconds / size)
    yield Figure("ls, a scan", times[1], "s", f"{scans:,} exports")
    yield Figure(
        "ls, a scan, to that of a quarter", times[1] / times[0], "times", f"{scans:,} exports", note="1: linear"
    )
    seconds, number = timed(lambda: free_number(where, "data"))
    assert number == scans
    yield Figure("the first number of a process", seconds, "s", f"{scans:,} exports")
    many, empty = seconds_a_claim(where, CLAIMS), seconds_a_claim(task.path / "one", CLAIMS)
    yield Figure("a number, amortized", many, "s", f"{scans:,} exports")
    yield Figure("a number, to an empty folder", many / empty, "times", f"{scans:,} exports", note="goal: 2")
    shutil.rmtree(where)
    yield from _many_interrupted(task)


def _many_interrupted(task: Task) -> Figures:
    total = task.options["scans"]
    most = total if task.full else min(total, 800)
    sizes, times, begun = (most // 4, most), [], 0.0
    for size in sizes:
        where = task.path / f"interrupted_{size}"
        begun = _die_with_scans(where, size) / size
        seconds, found = timed(lambda where=where: find_interrupted(where))  # type: ignore[misc]
        assert len(found) == size
        listed, count = timed(lambda where=where: sum(1 for _ in list_scans(where)))  # type: ignore[misc]
        assert count == size
        recovered, results = timed(lambda where=where: lys_storage.recover(where))  # type: ignore[misc]
        assert all(result.path is not None for result in results), [r.said for r in results if r.path is None][:3]
        times.append((seconds, listed, recovered))
        shutil.rmtree(where)
    at, to = f"{most:,} interrupted scans", f"{total:,} scans" if most != total else ""
    yield Figure("begin a scan, write a frame", begun, "s", at, note="without syncs")
    for k, name in enumerate(("look for interrupted scans", "ls of interrupted scans", "recover all")):
        there, model = linear((sizes[0], times[0][k]), (sizes[1], times[1][k]), total)
        known = (there, to, model) if to else ()
        yield Figure(name, times[1][k], "s", at, *known, note=f"{times[1][k] / most * 1e3:.3g} ms a scan")
        growth = (times[1][k] / sizes[1]) / (times[0][k] / sizes[0])
        yield Figure(f"{name}, a scan, to that of a quarter", growth, "times", at, note="1: linear")


def _die_with_scans(where: Path, count: int) -> float:
    """Leave `count` scans in progress, of processes that are dead. Seconds that making them took."""
    begin = clock()
    for at in range(0, count, 100):
        child = os.fork()
        if child == 0:
            kept = []
            for _ in range(min(100, count - at)):
                scan = new_scan(where, (4, 64, 64), "uint16", 1, flush_interval_s=None)
                scan[0] = np.ones((64, 64), "u2")
                kept.append(scan)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
    return clock() - begin


# -- through DataStorage -----------------------------------------------------------------------------------------------


def storage_in(folder: Path) -> Any:
    from lys_storage.qt._binding import QtCore

    global _application
    _application = QtCore.QCoreApplication.instance() or QtCore.QCoreApplication([])
    return lys_storage.DataStorage(base=str(folder), folder="scans", name="scan")


_application: Any = None

SCALARS: dict[str, Callable[[int], Any]] = {
    "Python floats": float,
    "0-d arrays": lambda k: np.array(k, "f8"),
}


def scalars(task: Task) -> Figures:
    total = task.options["scalars"]
    sizes = (1_000_000, 10_000_000) if task.full else (50_000, 300_000)
    to = f"{total:,} points"
    storage = storage_in(task.path)
    for name, value in SCALARS.items():
        ingest, end = [], []
        for size in sizes:
            storage.reserve((size,), dtype="float64")
            update = storage.update
            begin = clock()
            for k in range(size):
                update({(k,): value(k)})
            ingest.append(clock() - begin)
            assert storage.waitForSaved(3600)
            end.append(storage.report.seconds)
            storage.report.path.unlink()
        at = f"{sizes[1]:,} {name}"
        there, model = linear((sizes[0], ingest[0]), (sizes[1], ingest[1]), total)
        yield Figure("ingest", ingest[1], "s", at, there, to, model, f"{ingest[1] / sizes[1] * 1e6:.1f} us a point")
        there, model = linear((sizes[0], end[0]), (sizes[1], end[1]), total)
        yield Figure("finalize", end[1], "s", at, there, to, model, "without sync")
    storage.close()
    whole = total if task.full else total // 10
    side = round(whole**0.5)
    seconds, scan = timed(lambda: new_scan(task.path, (side, side), "float64", 2))
    at = f"{side * side:,} points"
    yield Figure("reserve", seconds, "s", at)
    yield Figure(
        "journal", journal_path(scan.part_path).stat().st_size, "bytes", at, 5.0 * total, to, "5 bytes a point"
    )
    row = np.arange(side, dtype="f8")

    def fill() -> None:
        for i in range(side):
            scan.write((i,), row)

    seconds, _ = timed(fill)
    yield Figure("ingest, by rows", seconds / side**2, "s/frame", at, seconds / side**2 * total, to, "constant a point")
    seconds, _ = timed(scan.flush)
    yield Figure("the last flush", seconds, "s", at)
    scan.close()
    assert scan.report is not None
    each = scan.report.seconds / side**2
    yield Figure("finalize a point", each, "s/frame", at, each * total, to, "constant a point")


def rate(task: Task) -> Figures:
    per_second, seconds = task.options["rate"], 60 if task.full else 10
    count = per_second * seconds
    pool = np.random.default_rng(0).integers(0, 1 << 16, (64, 32, 32), "u2")
    updates, latency, late = [pool[k] for k in range(64)], np.ones(count), np.ones(count)
    at = f"{per_second:,} frames of 2 KiB a second, {seconds} s"

    def paced(update: Callable[[dict[Any, Any]], Any]) -> tuple[float, float]:
        """(seconds, CPU seconds of all threads)"""
        cpu, begin = time.process_time(), clock()
        for k in range(count):
            due = begin + k / per_second
            now = clock()
            if now < due:
                time.sleep(due - now)
                now = clock()
            late[k] = now - due
            update({(k,): updates[k % 64]})
            latency[k] = clock() - now
        return clock() - begin, time.process_time() - cpu

    wall, idle = paced(lambda data: None)
    alone = {"median": float(np.median(late)), "worst": float(late.max())}
    storage = storage_in(task.path)
    storage.reserve((count + 1, 32, 32), dtype="uint16")
    storage.update({(count,): pool[0]})
    wall, cpu = paced(storage.update)
    kept = wall < seconds * 1.01 and float(late[-per_second:].min()) < 0.01
    yield Figure("kept up with", 1.0 if kept else 0.0, "yes/no", at, note=f"took {wall:.2f} s")
    for name, value in (("median", 50), ("p99", 99), ("p99.9", 99.9), ("max", 100)):
        yield Figure(f"one update, {name}", float(np.percentile(latency, value)), "s", at)
    backlog = float(late.max()) * per_second
    yield Figure(
        "furthest behind", float(late.max()), "s", at, note=f"{backlog:.0f} frames; {alone['worst'] * 1e3:.1f} ms alone"
    )
    yield Figure(
        "CPU of one core", (cpu - idle) / wall, "share", at, note=f"above the pacing itself ({idle / wall:.2f})"
    )
    yield Figure("CPU a frame", (cpu - idle) / count, "s/frame", at, note="all threads: writer, follower")
    assert storage.waitForSaved(600)
    yield Figure("finalize", storage.report.seconds, "s", at, note="without sync")
    storage.close()


CASES: dict[str, Callable[[Task], Figures]] = {
    "frames": frames,
    "gaps": gaps,
    "bytes": two_terabytes,
    "folder": folder,
    "scalars": scalars,
    "rate": rate,
}

# -- a process for each ------------------------------------------------------------------------------------------------


def child(text: str) -> None:
    """Do the task in `text`; one line of JSON a figure."""
    task = Task(**json.loads(text))
    if task.case in ("scalars", "rate"):
        storage_in(task.path).close()  # Qt is loaded: it is no part of a scan's memory
    anon, file = resident()
    print(json.dumps({"anon": anon, "file": file, "at": time.monotonic()}), flush=True)
    for figure in CASES[task.case](task):
        print(json.dumps(asdict(figure)), flush=True)


def run(task: Task) -> Iterator[Figure]:
    """The figures of a case as they come, and last its memory. Raises CalledProcessError where it ended in an error."""
    command = [sys.executable, __file__, "--child", json.dumps(asdict(task))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    base = json.loads(process.stdout.readline() or "{}")
    sampler = Sampler(process.pid)
    told: list[tuple[float, str]] = []
    try:
        for line in process.stdout:
            figure = Figure(**json.loads(line))
            told.append((time.monotonic(), figure.name))
            yield figure
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, task.case)
    finally:
        sampler.stop()
        process.kill()
        process.wait()
    seen = [sample for sample in sampler.samples if sample[0] > base["at"]]
    for k, name in ((1, "memory"), (2, "mapped")) if seen else ():
        peak = max(seen, key=lambda sample, k=k: sample[k])  # type: ignore[misc]
        during = next((what for at, what in told if at >= peak[0]), "the end")
        yield Figure(f"{name}, at most", peak[k] - base["anon" if k == 1 else "file"], "bytes", f"during: {during}")


def measure(task: Task) -> Iterator[Figure]:
    with ExitStack() as stack:
        if task.case == "bytes":
            try:
                disk = stack.enter_context(sparse_disk(task.path, task.options["bytes"] * 5 // 4))
                task.options.update(claimed=True)
                task = Task(task.case, str(disk), task.full, task.options)
            except NoSparseDisk as reason:
                task.options.update(claimed=False, why_not=f"no sparse disk here: {reason}")
        yield from run(task)


# -- telling -----------------------------------------------------------------------------------------------------------


def shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "yes/no":
        return "yes" if value else "NO"
    if unit == "bytes":
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if abs(value) >= size:
                return f"{value / size:,.3g} {name}"
        return f"{value:,.3g} B"
    if unit in ("s", "s/frame"):
        per = " a frame" if unit == "s/frame" else ""
        if value >= 7200:
            return f"{value / 3600:.1f} h{per}"
        for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
            if value >= size:
                return f"{value / size:.3g} {name}{per}"
        return f"{value * 1e9:.3g} ns{per}"
    return f"{value:.3g} {unit}".removesuffix(" share")


def environment(folder: Path) -> dict[str, Any]:
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "free": shutil.disk_usage(folder).free,
    }


@click.command(help=__doc__, context_settings={"max_content_width": 120})
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="These cases only; may be given again.")
@click.option("--full", is_flag=True, help="The whole size wherever the machine has it; up to 10 GB, half an hour.")
@click.option(
    *("--dir", "where"),
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the files go (a temporary folder).",
)
@click.option("--frames", default=10_000_000, show_default=True, help="Frames of the cases frames and gaps.")
@click.option("--bytes", "size", default=2 * 10**12, show_default=True, help="Size of the scan of the case bytes.")
@click.option("--scans", default=10_000, show_default=True, help="Scans in the folder of the case folder.")
@click.option("--scalars", "points", default=10**8, show_default=True, help="Points that scalars extrapolates to.")
@click.option("--rate", "per_second", default=20_000, show_default=True, help="Frames a second of the case rate.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
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
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 170)
    told, failed = environment(base), []
    console.print(", ".join(f"{key} {value}" for key, value in told.items()), highlight=False)
    results: dict[str, list[dict[str, Any]]] = {}
    try:
        for case in only or CASES:
            task = Task(case, str(base / case), full, dict(options))
            task.path.mkdir()
            table = Table("", "measured", "at", "extrapolated", "to, by the model", "", title=case, box=SIMPLE)
            begin, results[case] = clock(), []
            try:
                for figure in measure(task):
                    results[case].append(asdict(figure))
                    by = f"{figure.to}: {figure.model}" if figure.model else ""
                    measured = shown(figure.value, figure.unit)
                    there = shown(figure.extrapolated, figure.unit.removesuffix("/frame"))
                    table.add_row(figure.name, measured, figure.at, there, by, figure.note)
            except (subprocess.CalledProcessError, OSError) as error:
                failed.append(case)
                table.add_row("FAILED", "", "", "", "", str(error))
            shutil.rmtree(task.path, ignore_errors=True)
            table.caption = f"{clock() - begin:.0f} s"
            console.print(table)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if as_json:
        print(json.dumps({"environment": told, "full": full, "options": options, "results": results}, indent=1))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
