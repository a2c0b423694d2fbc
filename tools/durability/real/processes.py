"""Child processes of the experiment, which report facts as lines of JSON.

A child ends with its block, at the latest with this program.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def tell(fact: Any) -> None:
    """Write one line to stdout in one write, so that a killed process leaves whole lines."""
    os.write(1, json.dumps(fact).encode() + b"\n")


def command_of(*arguments: str | Path) -> list[str]:
    """The command of a role (see `__main__.py`). -P: a module in the current folder must not hide one of this package."""
    return [sys.executable, "-P", "-m", "tools.durability.real", *map(str, arguments)]


def environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Child:
    """A process that runs a role."""

    def __init__(self, *arguments: str | Path, log: Path) -> None:
        self._log = open(log, "wb")  # noqa: SIM115  closed with the process
        self.process = subprocess.Popen(
            command_of(*arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self.out = self.process.stdin, self.process.stdout

    def order(self, **what: Any) -> None:
        self._in.write(json.dumps(what).encode() + b"\n")
        self._in.flush()

    def answers(self, timeout_s: float) -> dict[str, Any] | None:
        ready, _, _ = select.select([self.out], [], [], timeout_s)
        if not ready:
            return None
        line = self.out.readline()
        if not line:
            raise RuntimeError(f"the disk ended: {Path(self._log.name).read_text()[-2000:]}")
        return dict(json.loads(line))

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._in.close()
        self.out.close()
        self._log.close()


class Reader(threading.Thread):
    """Reads a child's pipe, so that the child never waits for its reader."""

    def __init__(self, child: Child) -> None:
        super().__init__(daemon=True)
        self._child = child
        self.lines: list[str] = []
        self.first = threading.Event()

    def run(self) -> None:
        for line in self._child.out:
            self.lines.append(line.decode())
            self.first.set()
        self.first.set()
