"""Runs one measurement in a new process, whose memory is sampled from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._memory import Sampler


def run_child(program: Path, spec: dict[str, Any], timeout_s: float) -> tuple[dict[str, Any], Sampler]:
    """The result that `program` prints as the JSON of its last line, and the samples of its memory.

    {"failed": why} if it fails or takes too long, with its "stderr".
    """
    process = subprocess.Popen(
        [sys.executable, str(program), json.dumps(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "OPENBLAS_NUM_THREADS": "1"},
    )
    sampler = Sampler(process.pid)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {timeout_s:.0f} s"}, sampler
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        sampler.stop()
    if process.returncode:
        lines = err.strip().splitlines() or [f"ended with {process.returncode}"]
        return {"failed": lines[-1], "stderr": err}, sampler
    return json.loads(out.splitlines()[-1]), sampler
