"""The scan of the demo without Qt, and the result of a scan with or without it."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from lys_storage.errors import LysStorageError
from lys_storage.export import FinalizeReport
from lys_storage.scan import Scan, create

from ._progress import Meter
from ._simulation import SimulatedMeasurement

NAME = "data"
"""The files are data_0.npz, data_1.npz, ..."""


@dataclass
class Outcome:
    """The result of the acquisition. `path` and `report` are None if nothing was saved."""

    path: Path | None = None
    report: FinalizeReport | None = None
    seconds: float = 0.0
    """From the simulation of the first frame to the storage of the last one."""
    failures: list[str] = field(default_factory=list)


class Interrupt:
    """Ctrl-C as a flag to look at between two frames. Within its with block Ctrl-C raises nothing."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: Any = None

    def is_set(self) -> bool:
        return self._asked.is_set()

    def wait(self, timeout_s: float) -> bool:
        return self._asked.wait(timeout_s)

    def set(self) -> None:
        self._asked.set()

    def __enter__(self) -> Self:
        # Only the main thread may set a signal handler.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, lambda number, frame: self.set())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def acquire_without_qt(
    measurement: SimulatedMeasurement, folder: Path, rate: float | None, console: Console, interrupt: Interrupt
) -> Outcome:
    """Write all frames with `lys_storage.create`. Frames before an interrupt or an error are saved or kept."""
    outcome = Outcome()
    try:
        scan = create(
            folder / NAME,
            measurement.shape,
            measurement.dtype,
            axes=measurement.axes,
            axis_names=measurement.axis_names,
            units=measurement.units,
            note=measurement.note,
            grid_ndim=len(measurement.grid_shape),
            numbered=True,
        )
        start = time.monotonic()
        try:
            with scan, Meter(console, "scanning", measurement.frame_count, measurement.frame_bytes) as meter:
                _take_frames(scan, measurement, rate, interrupt, meter)
                outcome.seconds = time.monotonic() - start
        finally:
            outcome.report = scan.report
            outcome.path = scan.report.path if scan.report else None
    except (LysStorageError, OSError) as error:
        outcome.failures += [str(error), *getattr(error, "__notes__", ())]
    return outcome


def _take_frames(
    scan: Scan, measurement: SimulatedMeasurement, rate: float | None, interrupt: Interrupt, meter: Meter
) -> None:
    buffer = measurement.empty_frame()
    due = time.monotonic()
    for done, index in enumerate(measurement.indices(), 1):
        if rate is not None:
            due += 1 / rate
            interrupt.wait(max(0.0, due - time.monotonic()))
        if interrupt.is_set():
            return
        scan[index] = measurement.frame(index, buffer)
        meter.update(done)
