"""Goals for the import time, and for the CPU time left at a detector's rate. And memory cgroups."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks._environment import room_bytes
from benchmarks._goals import Goal
from benchmarks._rounds import Plan, Tell, run
from benchmarks._workloads import paced

ROOT = Path(__file__).resolve().parents[1]
IMPORTS = 11
IMPORT_MS = 150
DETECTOR_BYTES_S = 100e6
DETECTOR_S = 20.0
CPU_ROUNDS = 3
CPU_WANTED = ">= 90 % idle"
FULL_CACHE = 1 << 29
WHAT = IMPORT, CPU, CPU_FULL = (
    "import lys_storage, beyond numpy",
    "CPU left at 100 MB/s, of one core",
    "the same, in a page cache that is full (a cgroup of 512 MiB)",
)
_IMPORT = "import numpy, time; t = time.perf_counter(); import lys_storage; print(time.perf_counter() - t)"
_CGROUPS = Path("/sys/fs/cgroup")


def machine_goals(plan: Plan, tell: Tell) -> Iterator[Goal]:
    yield _import_goal(tell)
    yield from _cpu_goals(plan, tell)


def _import_goal(tell: Tell) -> Goal:
    """The median over new processes that have imported numpy. The first, which may compile bytecode, does not count."""
    tell("import lys_storage")
    seconds = [
        float(
            subprocess.run([sys.executable, "-c", _IMPORT], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        )
        for _ in range(IMPORTS + 1)
    ]
    median_ms = 1e3 * statistics.median(seconds[1:])
    return Goal(IMPORT, f"< {IMPORT_MS} ms", f"{median_ms:.0f} ms", median_ms < IMPORT_MS)


def _cpu_goals(plan: Plan, tell: Tell) -> Iterator[Goal]:
    """CPU time of all threads of the process, relative to wall time, with W1's frames at 100 MB/s. Includes the cost of
    sleeping until the next frame. Measured in free memory and with a full page cache, as in a long acquisition."""
    yield _cpu_goal(plan, tell, CPU, contextlib.nullcontext)
    try:
        yield _cpu_goal(plan, tell, CPU_FULL, lambda: memory_cgroup(FULL_CACHE))
    except OSError as error:
        yield Goal.unmeasured(CPU_FULL, CPU_WANTED, f"not measured: cannot create a cgroup ({error.strerror})")


def _cpu_goal(plan: Plan, tell: Tell, what: str, memory: Callable[[], AbstractContextManager[Path | None]]) -> Goal:
    workload = paced(DETECTOR_BYTES_S, DETECTOR_S, room_bytes(plan.folder))
    period_s = workload.frame_bytes / DETECTOR_BYTES_S
    busy: dict[str, list[float]] = {"limit": [], "ours": []}
    for k in range(CPU_ROUNDS):
        for name in ("limit", "ours") if k % 2 == 0 else ("ours", "limit"):
            tell(f"{what}: round {k + 1} of {CPU_ROUNDS}: {name}")
            with memory() as group:
                cgroup = None if group is None else str(group)
                result = run(name, workload, plan.folder, plan.seed, period_s=period_s, synced=True, cgroup=cgroup)
            if "failed" in result:
                return Goal.unmeasured(what, CPU_WANTED, f"{name} failed: {result['failed']}")
            busy[name].append(result["cpu_ingest_s"] / result["ingest_s"])
    idle = {name: 1 - statistics.median(shares) for name, shares in busy.items()}
    measured = f"{100 * idle['ours']:.1f} % idle (the limit: {100 * idle['limit']:.1f} %)"
    return Goal(what, CPU_WANTED, measured, idle["ours"] >= 0.9)


@contextmanager
def memory_cgroup(limit_bytes: int) -> Iterator[Path]:
    """A cgroup (v2, else v1) with a limit on memory including page cache. Raises OSError without permission."""
    unified = _CGROUPS / "cgroup.controllers"
    second = unified.exists() and "memory" in unified.read_text().split()
    parent, limit = (_CGROUPS, "memory.max") if second else (_CGROUPS / "memory", "memory.limit_in_bytes")
    group = parent / f"lys_storage_compare_{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(limit_bytes))
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove the group. It can stay busy for a moment after its process has ended."""
    for _ in range(50):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)
