"""A few real power cuts; tools/power_cut.py makes 300 in a long run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment
from tools.durability.real.cuts import MODES


@pytest.mark.timeout(110)
@pytest.mark.parametrize("mode", MODES)
def test_nothing_that_was_promised_is_lost_when_the_power_is_cut(tmp_path: Path, mode: str) -> None:
    """A frame older than the last flush is there, a torn one is not data, a file with a final name is valid.

    This includes a disk that returns under a kernel that kept running, and an orderly restart without a flush.
    """
    tool = str(ROOT / "tools" / "power_cut.py")
    command = [sys.executable, tool, "--fs", "ext4", "--cuts", "3", "--seed", "3", "--mode", mode]
    done = subprocess.run(
        command, cwd=ROOT, env=child_environment(tmp_path), capture_output=True, text=True, timeout=100
    )
    if done.returncode == 2 and "not measured" in done.stdout:
        pytest.skip(done.stdout.partition("not measured: ")[2].strip())
    assert done.returncode == 0, done.stdout + done.stderr
    cells = next(line.split("│") for line in done.stdout.splitlines() if line.startswith("│ ext4"))
    cuts, not_mounted, scans = int(cells[2]), int(cells[4]), int(cells[5])
    assert cuts == 3
    assert scans > 0 or not_mounted == cuts, done.stdout
