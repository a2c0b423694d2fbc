"""Fixtures and options of the benchmarks of single parts. The benchmarks are not part of the tests, and run by name:

    python -m pytest benchmarks                      small sizes, under three minutes
    python -m pytest benchmarks --full               up to 10 GB, 1 TB (sparse), 10 million frames, 10,000 scans
    python -m pytest benchmarks --basetemp=DIR       on the disk of DIR; removes the content of DIR

The assertions are loose, so that they hold on a busy machine: a cost is constant, or proportional to the work.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # before an application is created: no display is needed

from benchmarks.sparse_disk import NoSparseDisk, sparse_disk

FULL_TIMEOUT_S = 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lys_storage benchmarks")
    group.addoption("--full", action="store_true", help="include sizes that take minutes and up to 20 GB of disk")
    group.addoption("--scans", type=int, default=None, help="number of small scans in sequence (500; full: 10,000)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: a size that is only measured with --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        for item in items:
            item.add_marker(pytest.mark.timeout(FULL_TIMEOUT_S))
        return
    big = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=big)
    items[:] = [item for item in items if item not in big]


def pytest_report_header(config: pytest.Config) -> list[str]:
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    sizes = "all sizes" if config.getoption("--full") else "small sizes (--full: all)"
    return [f"benchmarks: {sizes}; {os.cpu_count()} cores, {load}; {platform.platform()}"]


# -- measuring ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    group: str
    name: str
    items: int
    per: str
    seconds: float


_ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., float]:
    """measure(work, setup, teardown, rounds, items, per): the median of the rounds of `work`, in seconds per item.

    `setup` runs before each round and returns the arguments of `work` and `teardown`. Neither is included in the time.
    """

    def run(
        work: Callable[..., Any],
        *,
        setup: Callable[[], tuple[Any, ...]] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 5,
        warmup: int = 1,
        items: int = 1,
        per: str = "frame",
        clock: Callable[[Any], float] | None = None,
    ) -> float:
        """`clock`: gives the seconds from the result of `work`, if only a part of the round counts."""
        seconds: list[float] = []

        def timed(*arguments: Any) -> None:
            begin = time.perf_counter()
            result = work(*arguments)
            seconds.append(time.perf_counter() - begin if clock is None else clock(result))

        benchmark.group = request.module.GROUP
        benchmark.extra_info.update(items=items, per=per)
        extra = {} if teardown is None else {"teardown": teardown}
        benchmark.pedantic(
            timed, setup=None if setup is None else lambda: (setup(), {}), rounds=rounds, warmup_rounds=warmup, **extra
        )
        kept = seconds[warmup:] or seconds
        each = statistics.median(kept) / items
        benchmark.extra_info.update(seconds_an_item=each)
        row = Row(benchmark.group, request.node.name.removeprefix("test_"), items, per, each)
        request.config.stash.setdefault(_ROWS, []).append(row)
        return each

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the cost of one item (frame, scan, checksum) of each benchmark."""
    rows = config.stash.get(_ROWS, [])
    group = None
    for row in rows:
        if row.group != group:
            terminalreporter.section(f"{row.group}: medians")
            group = row.group
        terminalreporter.write_line(f"{_seconds(row.seconds):>12} per {row.per:<8} {row.items:>12,} x  {row.name}")


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


# -- folders and disks -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, which is removed after the benchmark: some benchmarks write gigabytes into it."""
    where = tmp_path / "disk"
    where.mkdir()
    yield where
    shutil.rmtree(where, ignore_errors=True)


@pytest.fixture(scope="session")
def terabytes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a sparse disk of 2 TB. Skips the benchmark if the machine cannot make one."""
    try:
        with sparse_disk(tmp_path_factory.mktemp("terabytes"), 2 << 40) as disk:
            yield disk
    except NoSparseDisk as reason:
        pytest.skip(f"no sparse disk of 2 TB: {reason}")


@pytest.fixture
def needs_space(folder: Path) -> Callable[[int], None]:
    """Skip the benchmark unless the disk has so many free bytes and a third more."""

    def check(size_bytes: int) -> None:
        free = shutil.disk_usage(folder).free
        if free < size_bytes * 4 // 3:
            pytest.skip(f"needs {size_bytes * 4 // 3:,} bytes of disk, {free:,} are free")

    return check


@pytest.fixture
def make_storage(qapp: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    """Makes DataStorages in the folder, and closes them after the benchmark."""
    from lys_storage import DataStorage

    made: list[Any] = []

    def make(**properties: Any) -> Any:
        made.append(DataStorage(**{"base": str(folder), "folder": "scans", "name": "scan", **properties}))
        return made[-1]

    yield make
    for storage in made:
        storage.close()
    qapp.processEvents()
