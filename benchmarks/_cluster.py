#!/usr/bin/env python
"""The mean of a large export on a LocalCluster of dask, in a memory cgroup: `_cluster.py SPEC` is the child process.

The exports have holes, so that 8 GiB take no space on the disk. The client, the scheduler and the workers are all in the
cgroup, with the page cache that they fill. SPEC and the last line of output are JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lys_storage
from benchmarks._constrained import join_cgroup
from benchmarks._machine_goals import ROOT, memory_cgroup
from benchmarks._memory import SAMPLE_EVERY_S
from lys_storage.scan import begin_scan

FRAME = (1024, 1024)
WORKERS = 2
TIMEOUT_S = 600.0


def hollow_exports(folder: Path, count: int, size_bytes: int) -> list[Path]:
    """Exports of uint16 with one frame of ones, the first; the others are missing, and holes."""
    grid = max(1, size_bytes // (2 * FRAME[0] * FRAME[1]))
    paths = []
    for k in range(count):
        scan = begin_scan(
            folder,
            f"hollow_{k}",
            shape=(grid, *FRAME),
            dtype="uint16",
            numbered=False,
            replace_existing=True,
            grid_ndim=1,
            preallocate=False,
        )
        scan[0] = np.ones(FRAME, "u2")
        paths.append(scan.close())
    return paths


def run_in_a_cgroup(paths: Sequence[Path], limit_bytes: int | None) -> dict[str, Any]:
    """The result of main(), with `anon_bytes` and `cache_bytes`, the most of each that the cgroup had. No limit: no cgroup.

    Raises OSError if no cgroup can be made, RuntimeError if the child fails: the kernel kills it if it needs more.
    """
    with ExitStack() as stack:
        group = None if limit_bytes is None else stack.enter_context(memory_cgroup(limit_bytes))
        spec = {"paths": [str(path) for path in paths], "cgroup": None if group is None else str(group)}
        child = subprocess.Popen(
            [sys.executable, __file__, json.dumps(spec)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        out, err, most = _watched(child, group)
    if child.returncode:
        raise RuntimeError((err.strip().splitlines() or [f"ended with {child.returncode}"])[-1])
    return {**json.loads(out.splitlines()[-1]), "anon_bytes": most[0], "cache_bytes": most[1]}


def _watched(child: subprocess.Popen[str], group: Path | None) -> tuple[str, str, tuple[int, int]]:
    """What the child prints, and the most memory of the cgroup: (anonymous, page cache)."""
    end, most = time.monotonic() + TIMEOUT_S, (0, 0)
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return *child.communicate(timeout=SAMPLE_EVERY_S), most
            if time.monotonic() > end:
                raise RuntimeError(f"took more than {TIMEOUT_S:.0f} s")
            if group is not None:
                most = tuple(map(max, most, _used(group)))
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


def _used(group: Path) -> tuple[int, int]:
    """(anonymous, page cache) of a cgroup of either version, in bytes."""
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(stat.get("anon", stat.get("total_rss", 0))), int(stat.get("file", stat.get("total_cache", 0)))


def opened_files(dask_worker: Any = None) -> int:
    """In a worker: how many times an export was opened."""
    return len(_opened)


_opened: list[str] = []


def count_openings() -> None:
    """In a worker: count each opening of an export from now on."""
    from lys_storage.reading import source

    real = source.ArrayFile.open

    def open_(path: Path, identity: str) -> Any:
        _opened.append(str(path))
        return real(path, identity)

    source.ArrayFile.open = open_  # type: ignore[method-assign, assignment]


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """The mean by dask.distributed: of one export, or of several as one array."""
    join_cgroup(spec["cgroup"])
    import cloudpickle
    import dask
    from distributed import Client, LocalCluster

    from benchmarks import _cluster as in_worker  # by its name: functions of __main__ would be pickled with their state

    dask.config.set({"distributed.worker.memory.terminate": False, "distributed.worker.memory.pause": False})
    paths = spec["paths"]
    with lys_storage.open_wave(paths[0]) if len(paths) == 1 else lys_storage.open_waves(paths) as wave:
        lazy, size = wave.to_dask(), wave.nbytes
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, memory_limit=0, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.run(in_worker.count_openings)
        begin = time.perf_counter()
        total = lazy.mean(dtype="f8")
        found = float(client.compute(total, sync=True))
        seconds = time.perf_counter() - begin
        opened = client.run(in_worker.opened_files)
    expected = FRAME[0] * FRAME[1] * len(paths) / lazy.size
    if abs(found - expected) > 1e-9 * expected:
        raise RuntimeError(f"the mean is {found}, expected {expected}")
    return {
        "seconds": seconds,
        "size_bytes": size,
        "chunks": lazy.npartitions,
        "opened": sorted(opened.values()),
        "graph_bytes": len(cloudpickle.dumps(lazy.__dask_graph__())),
        "shipped_bytes": len(cloudpickle.dumps(total.__dask_graph__())),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
