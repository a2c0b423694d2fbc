"""Runs all trials of a call in child processes. The watchdog kills a child that hangs, and the hang is counted."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from lys_storage.disk.systems import SYSTEM
from tools.durability.interrupts.trials import Outcome, run_trial

HANGS_AFTER_S = 3.0
NEXT_POINTS = 8
"""The number of points after the first interrupt at which the second one is raised."""


@dataclass
class Tally:
    """The results of one call. `points`: in a call without interrupts; `trials`: the number of interrupted calls."""

    call: str
    points: int = 0
    trials: int = 0
    hangs: int = 0
    wrong: int = 0
    faults: list[str] = field(default_factory=list)


def storm(call: str, folder: Path, *, twice: bool, seed: str, most: int | None = None) -> Tally:
    """Interrupt `call` at every point, or at `most` points drawn by `seed`. `twice`: also again while that one unwinds."""
    tally = Tally(call)
    (counted,) = _run(call, folder, [()], "close", seed)[:1]
    if counted is None:
        raise RuntimeError(f"{call} hangs without an interrupt")
    if counted.faults:
        raise RuntimeError(f"{call} fails without an interrupt: {counted.faults}")
    tally.points = counted.seen
    plan: list[tuple[int, ...]] = [(n,) for n in range(1, tally.points + 1)]
    if twice:
        plan += [(n, n + k) for (n,) in plan for k in range(1, NEXT_POINTS + 1)]
    if most is not None and most < len(plan):
        plan = sorted(random.Random(f"{seed}:{call}").sample(plan, most))
    for end in ("suspend", "close"):
        for at, outcome in zip(plan, _run(call, folder, plan, end, seed), strict=True):
            _take(tally, at, end, outcome)
    return tally


def _take(tally: Tally, at: tuple[int, ...], end: str, outcome: Outcome | str | None) -> None:
    tally.trials += 1
    what = f"{tally.call} at {','.join(map(str, at))}, then {end}"
    if outcome is None or isinstance(outcome, str):
        tally.hangs += 1
        tally.faults.append(f"{what}: hangs\n{outcome or ''}")
    elif outcome.faults:
        tally.wrong += 1
        tally.faults += [f"{what} ({' and '.join(outcome.where)}): {fault}" for fault in outcome.faults]


def _run(call: str, folder: Path, plan: list[tuple[int, ...]], end: str, seed: str) -> list[Outcome | str | None]:
    """The outcome of each trial; a text if it hung or ended its process."""
    outcomes: list[Outcome | str | None] = []
    while len(outcomes) < len(plan):
        for outcome in _batch(call, folder, plan[len(outcomes) :], end, seed):
            outcomes.append(outcome)
    return outcomes


def _batch(call: str, folder: Path, plan: list[tuple[int, ...]], end: str, seed: str) -> Iterator[Outcome | str]:
    """Run trials in one child, until all are done or one hangs."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    told = folder / "stacks"
    child = context.Process(target=_child, args=(call, folder, plan, end, seed, theirs, told))
    child.start()
    theirs.close()
    count = 0
    try:
        while count < len(plan):
            yield ours.recv()
            count += 1
    except EOFError:
        child.join()
        yield f"exit code {child.exitcode}\n{told.read_text() if told.exists() else ''}"
    finally:
        ours.close()
        child.join()


def _child(
    call: str, folder: Path, plan: list[tuple[int, ...]], end: str, seed: str, told: Connection, stacks: Path
) -> None:
    SYSTEM.sync = SYSTEM.sync_folder = lambda what: None  # type: ignore[method-assign,assignment]  # no power is cut
    sys.unraisablehook = lambda told: None  # an interrupt in a __del__ cannot be caught
    with stacks.open("w") as log:
        for at in plan:
            faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True, file=log)
            place = folder / "trial"
            shutil.rmtree(place, ignore_errors=True)  # also the folder of a trial that hung
            told.send(run_trial(call, place, at, end, seed))
        faulthandler.cancel_dump_traceback_later()
        os._exit(0)  # this ends threads that a trial has left running
