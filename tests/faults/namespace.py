"""Runs a child in a mount namespace of its own: what it mounts disappears with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment

NOT_HERE = 77
"""The exit code of a child that cannot mount what it needs."""


def run_in_a_mount_namespace(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python `code`. Skips the test if there is no such namespace here, or if the child ends with NOT_HERE."""
    command = ["unshare", "--mount", sys.executable, "-c", code, *arguments]
    environment = {**child_environment(folder), "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if done.returncode == NOT_HERE or "unshare failed" in done.stderr:
        pytest.skip(done.stdout + done.stderr)
    return done
