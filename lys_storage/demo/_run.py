"""Runs `lys-storage demo`: scan, save, check, draw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from lys_storage.errors import BindingError, install_command
from lys_storage.reading import open_wave

from ._acquire import Interrupt, Outcome, acquire_without_qt
from ._check import Finding, check_frames, check_with_lys
from ._memory import PeakMemory
from ._progress import rate_text
from ._simulation import SimulatedMeasurement

FINE, PROBLEMS, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True)
class Demo:
    """The options of the command line."""

    grid_shape: tuple[int, ...]
    frame_shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    folder: Path
    rate: float | None
    """Frames a second; None: as fast as they are stored."""
    seed: int


def run(demo: Demo, console: Console | None = None) -> int:
    """Scan, save, check, draw. Returns 0: success; 1: problems; 130: interrupted, and the frames so far are saved."""
    console = console or Console(markup=False, emoji=False)
    folder = demo.folder.absolute()
    measurement = SimulatedMeasurement(demo.grid_shape, demo.frame_shape, demo.dtype, demo.seed)
    total = measurement.frame_count * measurement.frame_bytes
    _say(
        console,
        f"simulated scan: grid {_lengths(demo.grid_shape)}, frames {_lengths(demo.frame_shape)} {demo.dtype}; "
        f"{measurement.frame_count:,} frames, {size_text(total)}, folder {folder}",
    )
    with Interrupt() as interrupt, PeakMemory() as memory:
        outcome = _acquire(measurement, folder, demo.rate, console, interrupt)
        memory.sample()
        _tell(console, outcome, measurement, memory)
        if outcome.path is None or outcome.report is None:
            _say(console, "nothing was saved", "bold red")
            return PROBLEMS
        if interrupt.is_set():
            _say(console, f"interrupted: the frames so far are saved in {outcome.path}", "yellow")
            return INTERRUPTED
        findings = [check_frames(outcome.path, measurement, console, interrupt)]
        _row(console, "check", findings[0])
        if not interrupt.is_set():
            findings.append(_draw(outcome.path))
            _row(console, "preview", findings[1])
    _say_row(console, "memory, peak", f"{_memory_text(memory)}, check and preview included")
    if interrupt.is_set():
        return INTERRUPTED
    findings.append(check_with_lys(outcome.path, measurement))
    _row(console, "lys.Wave", findings[-1])
    complete = outcome.report.frames_written == outcome.report.frames_expected
    well = complete and not outcome.failures and all(finding.well is not False for finding in findings)
    _say(console, "all is well" if well else "problems found: see above", "bold green" if well else "bold red")
    return FINE if well else PROBLEMS


def _acquire(
    measurement: SimulatedMeasurement, folder: Path, rate: float | None, console: Console, interrupt: Interrupt
) -> Outcome:
    try:
        from ._acquire_qt import acquire_with_qt
    except BindingError as reason:
        _say(console, f"Qt cannot be used: {reason}", "yellow")
        _say(console, "the same scan runs without Qt", "yellow")
        return acquire_without_qt(measurement, folder, rate, console, interrupt)
    return acquire_with_qt(measurement, folder, rate, console, interrupt)


def _draw(path: Path) -> Finding:
    start = time.monotonic()
    try:
        from ._preview import write_preview

        with open_wave(path) as wave:
            picture = write_preview(wave, path.with_suffix(".png"))
    except ModuleNotFoundError as reason:
        return Finding(None, f"not drawn: {reason.name} is not installed: {install_command('plot')}")
    return Finding(True, f"{picture} ({time.monotonic() - start:.1f} s)")


def _tell(console: Console, outcome: Outcome, measurement: SimulatedMeasurement, memory: PeakMemory) -> None:
    for failure in outcome.failures:
        _say_row(console, "FAILED", failure, "bold red")
    report = outcome.report
    if report is None:
        return
    speed = report.frames_written / max(outcome.seconds, 1e-9)
    missing = report.frames_expected - report.frames_written
    kept = f"; {missing:,} are missing and hold the fill value" if missing else ""
    _say_row(console, "file", str(report.path))
    _say_row(console, "size", f"{size_text(report.size_bytes)} ({report.size_bytes:,} bytes)")
    _say_row(console, "frames", f"{report.frames_written:,} of {report.frames_expected:,}{kept}")
    _say_row(console, "ingest", f"{rate_text(speed, measurement.frame_bytes)}, in {outcome.seconds:.2f} s")
    finalizing = f"{1e3 * report.seconds:.1f} ms, and {1e3 * report.sync_seconds:.1f} ms for the sync"
    _say_row(console, "finalizing", finalizing)
    _say_row(console, "memory, peak", f"{_memory_text(memory)}, while scanning and saving")


def _memory_text(memory: PeakMemory) -> str:
    if memory.peak_bytes is None:
        return "not measured (only on Linux)"
    return f"{memory.peak_bytes / 2**20:.0f} MiB anonymous (RssAnon)"


def _row(console: Console, label: str, finding: Finding) -> None:
    _say_row(console, label, finding.text, "bold red" if finding.well is False else "")


def _say_row(console: Console, label: str, text: str, style: str = "") -> None:
    # No wrapping: a path must stay in one piece, also in a log.
    console.print(Text.assemble((f"  {label:<14}", "bold"), (text, style)), soft_wrap=True)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)


def _lengths(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "of one point"


def size_text(size_bytes: float) -> str:
    """ "8.00 GiB" """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.{0 if unit == 'bytes' else 2}f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.2f} TiB"
