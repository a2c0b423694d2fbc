"""Checks the file of the demo: simulates every frame again, and compares."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console

from lys_storage.errors import install_command
from lys_storage.reading import open_wave

from ._acquire import Interrupt
from ._glance import Frames
from ._memory import available_bytes
from ._progress import Meter, rate_text
from ._simulation import SimulatedMeasurement

_LOAD_UNASKED_BYTES = 256 << 20
_LYS_TIMEOUT_S = 900


class Finding(NamedTuple):
    """The result of a check: whether it passed (None: it was not tried), and a text."""

    well: bool | None
    text: str


def identical(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Whether two arrays have the same dtype, shape and bits; a NaN equals itself."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    left, right = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (first, second))
    return bool(np.array_equal(left, right))


def check_frames(path: Path, measurement: SimulatedMeasurement, console: Console, interrupt: Interrupt) -> Finding:
    """Compare each written frame with the same frame simulated again, bit for bit, read by `open_wave`."""
    with open_wave(path) as wave:
        if wave.shape != measurement.shape or wave.dtype != measurement.dtype:
            return Finding(False, f"holds {wave.shape} {wave.dtype}, expected {measurement.shape} {measurement.dtype}")
        frames = Frames(wave.data, len(measurement.grid_shape), wave.info.get("missing", ()))
        buffer = measurement.empty_frame()
        wrong: list[tuple[int, ...]] = []
        compared = 0
        start = time.monotonic()
        with Meter(console, "checking", measurement.frame_count, measurement.frame_bytes) as meter:
            for done, index in enumerate(measurement.indices(), 1):
                if interrupt.is_set():
                    return Finding(None, f"interrupted after {compared:,} frames, {len(wrong):,} of them wrong")
                if frames.came(index):
                    compared += 1
                    if not identical(wave.read(index), measurement.frame(index, buffer)):
                        wrong.append(index)
                meter.update(done)
        if wrong:
            return Finding(
                False, f"{len(wrong):,} of {compared:,} frames DIFFER from what was measured, first {wrong[:5]}"
            )
    speed = rate_text(compared / max(time.monotonic() - start, 1e-9), measurement.frame_bytes)
    return Finding(True, f"{compared:,} frames, each identical bit for bit ({speed})")


def check_with_lys(path: Path, measurement: SimulatedMeasurement) -> Finding:
    """Load the file with `lys.Wave`, in a child process, and compare some frames, the axes and the note.

    lys makes a QApplication, and ends the process if that fails: this must not end the demo.
    """
    if importlib.util.find_spec("lys") is None:
        return Finding(None, f"not tried: lys is not installed{_how_to_get_lys(sys.version_info[:2])}")
    size, free = path.stat().st_size, available_bytes()
    if size > (_LOAD_UNASKED_BYTES if free is None else free // 4):
        limit = "256 MiB (free memory unknown)" if free is None else f"a quarter of the {free / 2**30:.1f} GiB free"
        return Finding(None, f"not tried: lys.Wave would load all {size / 2**30:.1f} GiB, which is more than {limit}")
    spec = {
        "path": str(path.resolve()),
        "grid_shape": measurement.grid_shape,
        "frame_shape": measurement.frame_shape,
        "dtype": measurement.dtype.str,
        "seed": measurement.seed,
    }
    command = [sys.executable, "-m", "lys_storage.demo._with_lys", json.dumps(spec)]
    here = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"QT_QPA_PLATFORM": "offscreen", **os.environ, "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory() as folder:  # lys writes its settings to the working directory
        try:
            child = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_LYS_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Finding(False, f"lys.Wave did not load the file within {_LYS_TIMEOUT_S} s")
    return _child_finding(child.stdout, child.stderr, child.returncode)


def _how_to_get_lys(python: tuple[int, int]) -> str:
    """What follows "lys is not installed" on this version of Python."""
    if python < (3, 13):
        return f": {install_command('lys')} (with numpy 1.26)"
    return f"; it needs numpy < 2, which Python {python[0]}.{python[1]} does not have: use Python 3.11 or 3.12 for it"


def _child_finding(output: str, complaint: str, code: int) -> Finding:
    """The result in the last line of JSON that the child has printed."""
    last: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            last = json.loads(line)
    if "well" in last:
        return Finding(last["well"], str(last["text"]))
    reason = (complaint.strip().splitlines() or [f"its process ended with code {code}"])[-1]
    if last.get("imported"):
        return Finding(False, f"lys.Wave could not load the file: {reason}")
    return Finding(None, f"not tried: lys cannot be imported here: {reason}")
