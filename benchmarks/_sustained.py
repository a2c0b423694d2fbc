"""W7: scans larger than the page cache may be, in a memory cgroup; the fastest bare loop of the same round is the limit. Linux.

Each run has a new process and a new cgroup, and its memory is not warmed.
"""

from __future__ import annotations

import ctypes
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from benchmarks._candidates import CANDIDATES
from benchmarks._environment import room_bytes
from benchmarks._figures import ratio_of, with_sync
from benchmarks._goals import Goal
from benchmarks._machine_goals import memory_cgroup
from benchmarks._rounds import Plan, Run, Tell, run
from benchmarks._table import shown
from benchmarks._workloads import Workload

GIB, MIB = 1 << 30, 1 << 20
SCAN_BYTES, MEMORY_BYTES = 4 * GIB, GIB
FRAMES = {
    "8 KiB": ((64, 64), 0.85),
    "64 KiB": ((256, 128), 0.85),
    "512 KiB": ((512, 512), 0.9),
    "2 MiB": ((1024, 1024), 0.9),
    "8 MiB": ((2048, 2048), 0.9),
}
"""The shape of a frame of uint16, and the share of the limit that is wanted."""
BARE = tuple(name for name, candidate in CANDIDATES.items() if candidate.kind == "bare")
PEERS = tuple(name for name, candidate in CANDIDATES.items() if candidate.kind == "calls")
OURS = "ours-script"
AT_ONCE = 3
LITTLE_MEMORY, LITTLE_MEMORY_SCAN = 256 * MIB, 8 * GIB
PACE, PACED_BYTES, PACED_S, PACED_ROUNDS = 0.9, 30 * GIB, 300, 3
MOST_CLEAN = 256 * MIB
HOT_BYTES, HOT_WANTED = GIB, 0.95
_CACHESTAT, _PAGE = 451, 4096
_READER = (
    "import sys, time, os\n"
    "file = open(sys.argv[1], 'rb', buffering=0)\n"
    "while os.getppid() == int(sys.argv[2]):\n"
    "    file.seek(0)\n"
    "    while file.read(1 << 20): pass\n"
    "    time.sleep(0.2)\n"
)


def workload(size: str, scan_bytes: int = SCAN_BYTES) -> Workload:
    shape = FRAMES[size][0]
    return Workload(
        f"W7 {size}", f"{scan_bytes / GIB:g} GiB of {size}", (scan_bytes // (2 * shape[0] * shape[1]),), shape, "uint16"
    )


def rate(result: Run, scan_bytes: int = SCAN_BYTES) -> float:
    """Bytes a second, with finalize and sync."""
    return scan_bytes / with_sync(result)


@dataclass
class Sustained:
    """The rounds of one size of frames: results by candidate, and the largest clean part of ours in the page cache."""

    size: str
    rounds: list[dict[str, Run]] = field(default_factory=list)
    clean_bytes: list[int] = field(default_factory=list)

    def limit(self, runs: dict[str, Run]) -> float:
        return max(rate(runs[name]) for name in BARE if name in runs and "failed" not in runs[name])

    def ratios(self) -> list[float]:
        return [rate(runs[OURS]) / self.limit(runs) for runs in self.rounds]


class Measurements:
    """All of W7. `together`: the ratios of three scans at once; `hot`: the share of a hot file that stays in the page cache;
    `little`: the ratios of a scan in little memory; `paced`: those of the p99.9 of one update at a pace.
    """

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan, self._tell = plan, tell
        self.sizes: list[Sustained] = []
        self.together: list[float] = []
        self.hot: float | None = None
        self.little: list[float] = []
        self.paced: list[float] = []

    def play(self, sizes: Sequence[str]) -> None:
        for size in sizes:
            self.sizes.append(self._play(size))
            if size == "512 KiB":
                self.together = at_once(self.plan, self._tell)
                self.hot = hot_file_stays(self.plan, self._tell)
                self.little = in_little_memory(self.plan, self._tell)
                self.paced = at_a_pace(
                    self.plan, self._tell, statistics.median(map(self.sizes[-1].limit, self.sizes[-1].rounds))
                )

    def _play(self, size: str) -> Sustained:
        """Run each candidate once in each round, in a random order. The peers take part with 512 KiB only."""
        plan, one, rng = self.plan, Sustained(size), random.Random(f"{self.plan.seed} {size}")
        installed = [name for name in PEERS if CANDIDATES[name].installed and size == "512 KiB"]
        for k in range(plan.rounds):
            names = [*BARE, OURS, *(installed if k < plan.peer_rounds else [])]
            rng.shuffle(names)
            runs: dict[str, Run] = {}
            for name in names:
                self._tell(f"W7 {size}, round {k + 1} of {plan.rounds}: {name}")
                with memory_cgroup(MEMORY_BYTES) as group, _watched(plan.folder) as clean:
                    runs[name] = _one(name, workload(size), plan, group)
                if name == OURS:
                    one.clean_bytes.append(max(clean, default=0))
            if "failed" in runs[OURS]:
                raise RuntimeError(f"W7 {size}: {runs[OURS]['failed']}")
            one.rounds.append(runs)
        return one


def _one(name: str, its: Workload, plan: Plan, group: Path | None) -> Run:
    return run(name, its, plan.folder, plan.seed, cgroup=str(group), warm=False, repeats=1)


def _succeeded(result: Run) -> Run:
    if "failed" in result:
        raise RuntimeError(f"W7: {result['failed']}")
    return result


@contextmanager
def _watched(folder: Path) -> Iterator[list[int]]:
    """The clean bytes of the scan files below `folder` in the page cache, each 50 ms."""
    found: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            with suppress(FileNotFoundError):  # a candidate has just removed its folder
                found.extend(_cached(path)[1] for path in folder.rglob("*.part"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _cached(path: Path) -> tuple[int, int]:
    """Bytes of a file in the page cache, and how many of them are clean: cachestat(2), Linux 6.5. (0, 0) if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return 0, 0
    span, stat = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    try:
        if ctypes.CDLL(None, use_errno=True).syscall(_CACHESTAT, fd, span, stat, 0):
            raise OSError(ctypes.get_errno(), "cachestat")
    finally:
        os.close(fd)
    return stat[0] * _PAGE, (stat[0] - stat[1] - stat[2]) * _PAGE


def at_once(plan: Plan, tell: Tell) -> list[float]:
    """Three scans of 512 KiB in three processes and one cgroup, all bytes by the time of the slowest, to the limit alone."""
    ratios, its = [], workload("512 KiB")
    for k in range(plan.rounds):
        tell(f"W7, {AT_ONCE} scans at once, round {k + 1} of {plan.rounds}")
        limits = []
        for name in BARE:
            with memory_cgroup(MEMORY_BYTES) as group:
                limits.append(rate(_one(name, its, plan, group)))
        with memory_cgroup(MEMORY_BYTES) as group, ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(lambda _, group=group: _one(OURS, its, plan, group), range(AT_ONCE)))
        ratios.append(AT_ONCE * SCAN_BYTES / max(with_sync(result) for result in results) / max(limits))
    return ratios


def in_little_memory(plan: Plan, tell: Tell) -> list[float]:
    """For each round: the rate of 8 GiB of 512 KiB in a cgroup of 256 MiB, divided by that of the fastest bare loop in it."""
    ratios, its = [], workload("512 KiB", LITTLE_MEMORY_SCAN)
    for k in range(plan.rounds):
        runs = {}
        for name in (*BARE, OURS) if k % 2 else (OURS, *BARE):
            tell(f"W7, 8 GiB in 256 MiB, round {k + 1} of {plan.rounds}: {name}")
            with memory_cgroup(LITTLE_MEMORY) as group:
                runs[name] = _one(name, its, plan, group)
        ours = rate(_succeeded(runs.pop(OURS)), LITTLE_MEMORY_SCAN)
        ratios.append(ours / max(rate(done, LITTLE_MEMORY_SCAN) for done in runs.values() if "failed" not in done))
    return ratios


def at_a_pace(plan: Plan, tell: Tell, limit: float) -> list[float]:
    """A detector of 512 KiB at 0.9 of `limit`, in bytes a second, for 30 GiB or 5 minutes, or what the disk has room for.

    For each round: the p99.9 of one update, divided by that of the bare loop with drop-behind.
    """
    each = 2 * math.prod(FRAMES["512 KiB"][0])
    size = int(min(PACED_BYTES, PACED_S * PACE * limit, room_bytes(plan.folder)))
    ratios, its = [], workload("512 KiB", size // each * each)
    for k in range(PACED_ROUNDS):
        p999 = {}
        for name in ("drop-behind", OURS) if k % 2 else (OURS, "drop-behind"):
            tell(f"W7, {size / GIB:.0f} GiB at {PACE * limit / 1e9:.2f} GB/s, round {k + 1} of {PACED_ROUNDS}: {name}")
            with memory_cgroup(MEMORY_BYTES) as group:
                paced = run(
                    *(name, its, plan.folder, plan.seed),
                    period_s=each / (PACE * limit),
                    cgroup=str(group),
                    warm=False,
                    repeats=1,
                )
            p999[name] = _succeeded(paced)["latency_us"]["p99.9"]
        ratios.append(p999[OURS] / p999["drop-behind"])
    return ratios


def hot_file_stays(plan: Plan, tell: Tell) -> float:
    """The share of a file of another process that is in the page cache after 4 times the memory of their cgroup was written."""
    tell("W7, a hot file of another process")
    hot = plan.folder / "hot"
    with memory_cgroup(2 * GIB) as group:
        hot.write_bytes(os.urandom(MIB) * (HOT_BYTES // MIB))
        os.sync()
        fd = os.open(hot, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        reader = subprocess.Popen([sys.executable, "-c", _READER, str(hot), str(os.getpid())])
        try:
            (group / "cgroup.procs").write_text(str(reader.pid))
            while _cached(hot)[0] < HOT_BYTES:
                time.sleep(0.05)
            done = _one(OURS, workload("512 KiB", 8 * GIB), plan, group)
            stays = _cached(hot)[0] / HOT_BYTES
        finally:
            reader.kill()
            reader.wait()
    hot.unlink()
    if "failed" in done:
        raise RuntimeError(done["failed"])
    return stays


def sustained_goals(measured: Measurements) -> Iterator[Goal]:
    found, together, hot, seed = measured.sizes, measured.together, measured.hot, measured.plan.seed
    for one in found:
        ratio, wanted = ratio_of(one.ratios(), seed), FRAMES[one.size][1]
        yield Goal(
            f"W7 {one.size}: with sync, to the sustained limit", f">= {wanted:g}", shown(ratio), ratio.median >= wanted
        )
    for one in found:
        peers = {n: [rate(r[OURS]) / rate(r[n]) for r in one.rounds if n in r and "failed" not in r[n]] for n in PEERS}
        known = {name: statistics.median(values) for name, values in peers.items() if values}
        if known:
            worst = min(known, key=lambda name: known[name])
            text = f"{known[worst]:.2f} times {CANDIDATES[worst].title}, the closest of {len(known)}"
            yield Goal(f"W7 {one.size}: peers", ">= 2 times", text, known[worst] >= 2)
    clean = [statistics.median(one.clean_bytes) for one in found if one.clean_bytes]
    if clean:
        yield Goal(
            "W7: clean pages of the scan, the worst size",
            "<= 256 MiB",
            f"{max(clean) / MIB:.0f} MiB",
            max(clean) <= MOST_CLEAN,
        )
    if together:
        ratio = ratio_of(together, seed)
        yield Goal(
            f"W7: {AT_ONCE} scans at once, in all, to the sustained limit",
            ">= 0.85",
            shown(ratio),
            ratio.median >= 0.85,
        )
    if measured.little:
        ratio = ratio_of(measured.little, seed)
        yield Goal("W7: 8 GiB in a cgroup of 256 MiB, to the limit in it", ">= 0.9", shown(ratio), ratio.median >= 0.9)
    if measured.paced:
        ratio = ratio_of(measured.paced, seed)
        what = f"W7: p99.9 of one update at {PACE:g} of the limit, to the bare loop's"
        yield Goal(what, "<= 2", shown(ratio), ratio.median <= 2)
    if hot is not None:
        yield Goal(
            "W7: a hot file of 1 GiB after 4 times the memory",
            ">= 95 % resident",
            f"{100 * hot:.1f} %",
            hot >= HOT_WANTED,
        )


def sustained_table(found: list[Sustained]) -> Table:
    table = Table(
        title=f"W7: {SCAN_BYTES / GIB:g} GiB in a cgroup of {MEMORY_BYTES / GIB:g} GiB, memory not warmed",
        title_justify="left",
    )
    for name in ("frame", "candidate", "rounds", "ingest GB/s", "with sync GB/s", "CPU s a GiB"):
        table.add_column(name, justify="left" if name in ("frame", "candidate") else "right")
    for one in found:
        for name in dict.fromkeys(name for runs in one.rounds for name in runs):
            runs = [r[name] for r in one.rounds if name in r and "failed" not in r[name]]
            if runs:
                ingest = statistics.median(SCAN_BYTES / r["ingest_s"] / 1e9 for r in runs)
                synced = statistics.median(rate(r) / 1e9 for r in runs)
                cpu = statistics.median(r["cpu_s"] for r in runs) / (SCAN_BYTES / GIB)
                table.add_row(
                    one.size, CANDIDATES[name].title, str(len(runs)), f"{ingest:.2f}", f"{synced:.2f}", f"{cpu:.2f}"
                )
    return table
