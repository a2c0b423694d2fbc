"""Processes that write a scan while a test follows it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

BEGIN = """
import sys
import numpy as np
import lys_storage
full = lambda shape, value: np.full(shape, value, "u2")
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Writer:
    """A child process that runs each line it is given: `scan` is its scan. It starts in the folder of the test."""

    def __init__(self, start: Callable[..., subprocess.Popen[str]]) -> None:
        self.process = start(BEGIN)

    def do(self, line: str) -> None:
        """Run one line, and wait until it has run. `full(shape, value)` is an array of uint16."""
        self.begin(line)
        self.wait()

    def begin(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def wait(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n", "the writer has ended"

    def create(self, shape: tuple[int, ...], dtype: str = "u2", **options: object) -> None:
        given = "".join(f", {name}={value!r}" for name, value in {"grid_ndim": 1, **options}.items())
        self.do(f"scan = lys_storage.create('a.npz', {shape!r}, {dtype!r}{given})")

    def write(self, *frames: int) -> None:
        """Fill frame i of a grid of one dimension with i + 1."""
        self.do(f"for i in {frames!r}: scan[i] = np.full(scan.frame_shape, i + 1, scan.dtype)")

    def kill(self) -> None:
        self.process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self.process.wait()


PART = Path("a.npz.part")
