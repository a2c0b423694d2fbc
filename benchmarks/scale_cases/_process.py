"""Runs each case in a process, and measures its memory from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks._memory import Sampler, resident
from benchmarks.scale_cases import CASES
from benchmarks.scale_cases._measuring import Figure, Figures, Task

PROGRAM = Path(__file__).resolve().parents[1] / "scale.py"


def child(text: str) -> None:
    """Run the task in `text`. Prints one line of JSON per figure."""
    task = Task(**json.loads(text))
    case = CASES[task.case]
    case.load(task)
    anon, file = resident()
    print(json.dumps({"anon": anon, "file": file, "at": time.monotonic()}), flush=True)
    for figure in case.measure(task):
        print(json.dumps(asdict(figure)), flush=True)


def measure(task: Task) -> Figures:
    """The figures of a case, each as soon as it is measured, and then its memory. Raises CalledProcessError if it fails."""
    with CASES[task.case].place(task) as placed:
        yield from _run(placed)


def _run(task: Task) -> Figures:
    command = [sys.executable, str(PROGRAM), "--child", json.dumps(asdict(task))]
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
    yield from _peaks(sampler, base, told)


def _peaks(sampler: Sampler, base: dict[str, float], told: list[tuple[float, str]]) -> Figures:
    """The peak memory above `base`, and the figure that was measured at that time."""
    seen = [sample for sample in sampler.samples if sample[0] > base["at"]]
    if not seen:
        return
    for name, column, before in ("memory", 1, base["anon"]), ("mapped", 2, base["file"]):
        samples = [(sample[column], sample[0]) for sample in seen]
        most, when = max(samples, key=lambda sample: sample[0])
        during = next((what for at, what in told if at >= when), "the end")
        yield Figure(f"{name}, peak", most - before, "bytes", f"during: {during}")
