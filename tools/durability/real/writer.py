"""The program that writes real scans on the disk until it is killed, and the program that recovers them.

Each fact is a line on stdout: [time in ns of the monotonic clock, scan, what, ...]. A write is reported before it begins
("begun") and after it returns ("written"). `real/told.py` reads the lines.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from tools.durability.frames import make_frame
from tools.durability.internals import begin_scan, report_flushes, scan_id, set_boot_id
from tools.durability.real.processes import tell
from tools.durability.real.system import MiB, die_with_parent

LARGEST_SCAN = 24 * MiB
NOT_RESERVED = -1


def tell_of(scan: int, what: str, *rest: Any) -> None:
    tell([time.monotonic_ns(), scan, what, *rest])


@dataclass(frozen=True)
class Plan:
    """The properties of a scan, and how it is written. `rows_until`: frames below it are written a row at a time."""

    number: int
    grid_shape: tuple[int, ...]
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    numbered: bool
    interval_s: float
    fill: int | None
    grid_is_known: bool
    rows_until: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid_shape, *self.frame_shape)

    @property
    def frames(self) -> int:
        return int(np.prod(self.grid_shape))

    @property
    def row(self) -> int:
        return int(np.prod(self.grid_shape[1:]))

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.frame_shape)) * self.dtype.itemsize

    def index(self, frame: int) -> tuple[int, ...]:
        return tuple(int(k) for k in np.unravel_index(frame, self.grid_shape))


def draw_plan(number: int, chance: random.Random, budget: int) -> Plan:
    dtype = np.dtype(chance.choice(["u1", "<u2", "<f4", "<f8"]))
    frame_shape = chance.choice([(16, 8), (25, 30), (64, 64), (40, 100), (128, 256), (300, 400)])
    grid_shape: tuple[int, ...] = chance.choice([(30,), (6, 8), (10, 12), (4, 3, 5)])
    if chance.random() < 0.05:
        grid_shape, frame_shape = (3,), (700, 900)  # larger than one read or write step
    size = int(np.prod(frame_shape)) * dtype.itemsize
    while int(np.prod(grid_shape)) * size > min(budget, LARGEST_SCAN) and grid_shape[0] > 1:
        grid_shape = (max(1, grid_shape[0] // 2), *grid_shape[1:])
    numbered = chance.random() < 0.6
    interval = chance.choice([0.1, 0.1, 0.15, 0.15, 0.2, 0.2, 0.2, 0.0 if size < 20_000 else 0.1])
    fill = chance.choice([None, None, 7])
    known = chance.random() < 0.5
    by_rows = known and chance.random() < 0.4  # the second half is written frame by frame
    rows_until = int(np.prod(grid_shape[1:])) * (grid_shape[0] // 2) if by_rows else 0
    return Plan(number, grid_shape, frame_shape, dtype, numbered, interval, fill, known, rows_until)


def write_scans(folder: Path, seed: str, budget: int, interval_s: float | None) -> None:
    """Write scans of about `budget` bytes in all, and wait for the kill. `interval_s`: flush interval; None: drawn."""
    die_with_parent()
    chance = random.Random(seed)
    numbers: dict[str, int] = {}
    flushes = itertools.count()

    def on_flush(name: str) -> Callable[[], None]:
        number, flush = numbers.get(name, NOT_RESERVED), next(flushes)
        tell_of(number, "flush begun", flush)
        return lambda: tell_of(number, "flushed", flush)

    report_flushes(on_flush)
    used = 0
    for number in itertools.count():
        plan = draw_plan(number, chance, budget - used)
        plan = plan if interval_s is None else replace(plan, interval_s=interval_s)
        used += plan.frames * plan.frame_bytes
        _write_scan(folder, plan, chance, numbers)
        if used >= budget:
            break
    tell_of(NOT_RESERVED, "full")
    signal.pause()


def _write_scan(folder: Path, plan: Plan, chance: random.Random, numbers: dict[str, int]) -> None:
    number = plan.number
    described = {"shape": plan.shape, "grid_ndim": len(plan.grid_shape), "dtype": plan.dtype.str}
    tell_of(number, "scan begun", described)
    scan = _begin(folder, plan)
    numbers[scan_id(scan)] = number
    tell_of(
        number, "reserved", {"path": str(scan.path), "fill": scan.fill_value.tobytes().hex(), "numbered": plan.numbered}
    )
    try:
        _write_frames(scan, plan, chance)
        if chance.random() < 0.75:
            tell_of(number, "close begun")
            tell_of(number, "saved", Path(os.path.relpath(scan.close(), folder)).as_posix())
        else:
            scan.suspend()
    except lys_storage.LysStorageError as error:
        tell_of(number, "failed", f"{type(error).__name__}: {error}")
        with contextlib.suppress(lys_storage.LysStorageError):
            scan.suspend()


def _begin(folder: Path, plan: Plan) -> Any:
    return begin_scan(
        folder / f"day_{plan.number % 3}",
        "data" if plan.numbered else "same",
        plan.shape,
        plan.dtype,
        numbered=plan.numbered,
        replace_existing=not plan.numbered,
        fill_value=plan.fill,
        axes=[np.arange(n, dtype=float) for n in plan.shape],
        note={"scan": plan.number, "version": 0},
        grid_ndim=len(plan.grid_shape) if plan.grid_is_known else None,
        flush_interval_s=plan.interval_s,
        on_error=lambda error: tell_of(plan.number, "failed", str(error)),
    )


def _write_frames(scan: Any, plan: Plan, chance: random.Random) -> None:
    """Write the frames, by one thread or shared by two."""
    order = list(range(plan.frames))
    if chance.random() < 0.4 and not plan.rows_until:
        chance.shuffle(order)
    order = order[: plan.frames if chance.random() < 0.6 else chance.randrange(plan.frames + 1)]
    threads = 2 if chance.random() < 0.25 and not plan.rows_until else 1
    rewrites, pause_s = chance.choice([0.0, 0.0, 0.05, 0.3, 0.6]), chance.choice([0.0, 0.0005, 0.002, 0.006])
    versions = itertools.count(1)
    with ThreadPoolExecutor(threads) as pool:
        running = []
        for k in range(threads):
            dice = random.Random(chance.random())
            job = _WriterThread(scan, plan, versions, dice, rewrites=rewrites, pause_s=pause_s, alone=threads == 1)
            running.append(pool.submit(job.run, order[k::threads]))
        for thread in running:
            thread.result()


class _WriterThread:
    """`alone`: no other thread writes this scan, so rows and metadata may be written too."""

    def __init__(
        self,
        scan: Any,
        plan: Plan,
        versions: Iterator[int],
        chance: random.Random,
        *,
        rewrites: float,
        pause_s: float,
        alone: bool,
    ) -> None:
        self.scan, self.plan, self.versions, self.chance = scan, plan, versions, chance
        self.rewrites, self.pause_s, self.alone = rewrites, pause_s, alone

    def run(self, order: list[int]) -> None:
        plan, chance, row = self.plan, self.chance, self.plan.row
        done: list[int] = []
        for frame in order:
            begins_row = frame % row == 0
            if frame < plan.rows_until:
                if begins_row:
                    self._write_row(frame)
                    time.sleep(self.pause_s * row)
                continue
            if self.alone and begins_row and row > 1 and done and chance.random() < 0.3:
                self._write_row(frame)
            else:
                self._write([frame], plan.index(frame))
            done.append(frame)
            while chance.random() < self.rewrites:
                again = chance.choice(done[-3:] if chance.random() < 0.5 else done)
                self._write([again], plan.index(again))
            if self.alone and chance.random() < 0.01:
                self._change_note()
            if chance.random() < 0.005:
                self.scan.flush()
            if self.pause_s:
                time.sleep(self.pause_s * chance.random() * 2)

    def _write_row(self, frame: int) -> None:
        self._write(list(range(frame, frame + self.plan.row)), self.plan.index(frame)[:1])

    def _write(self, frames: list[int], index: tuple[int, ...]) -> None:
        plan, version = self.plan, next(self.versions)
        data = b"".join(make_frame(plan.number, frame, version, plan.frame_bytes) for frame in frames)
        array = np.frombuffer(data, plan.dtype).reshape(*plan.grid_shape[len(index) :], *plan.frame_shape)
        tell_of(plan.number, "begun", version, frames)
        self.scan.write(index, array)
        tell_of(plan.number, "written", version, frames)

    def _change_note(self) -> None:
        number, version = self.plan.number, int(self.scan.note["version"]) + 1
        tell_of(number, "note begun", version)
        self.scan.note = {"scan": number, "version": version, "text": "x" * self.chance.choice([0, 100, 5000])}
        tell_of(number, "note", version)


def recover_all(folder: Path, verify: bool, same_boot: bool) -> None:
    """Recover `folder`, as after a reboot, or (`same_boot`) as on a machine that kept running."""
    die_with_parent()
    if not same_boot:
        set_boot_id("the boot after the power cut")
    tell(["begins"])
    for result in lys_storage.recover(folder, verify=verify):
        tell([str(result.part), None if result.path is None else str(result.path), result.message])
