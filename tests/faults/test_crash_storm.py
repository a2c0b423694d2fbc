"""A short crash storm; `tools/crash_storm.py --kills 1000` is the long one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the storm forks, and reads /proc")


def storm(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "crash_storm.py"), "--dir", str(folder), *options]
    return subprocess.run(command, env=child_environment(folder), capture_output=True, text=True, timeout=100)


def test_no_acknowledged_frame_is_lost_in_forty_kills(tmp_path: Path) -> None:
    """SIGKILL comes at random moments and durable steps, also during a recovery or a resume: every frame is there."""
    done = storm(tmp_path, "--kills", "40", "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.match(r"40 kills in \d+ scans, .* compared, 0 lost; 0 other faults$", last), done.stdout


def test_a_storm_leaves_nothing_behind(tmp_path: Path) -> None:
    """It writes below the given folder, and removes its files."""
    storm(tmp_path, "--kills", "3")
    assert list(tmp_path.iterdir()) == []


def test_a_storm_sees_a_frame_that_is_lost(tmp_path: Path) -> None:
    """A storage that loses an acknowledged frame fails: the storm exits with 1 and names the frame."""
    source = (
        "import sys; sys.argv[0] = 'crash_storm.py'; sys.path.insert(0, sys.argv.pop(1))\n"
        "from lys_storage.store import FrameTable, ScanStore\n"
        "real_write, real_write_one = ScanStore.write, FrameTable.write_one\n"
        "def write(store, layout, first, count, chunks):\n"
        "    if first % 2 or count > 1: return real_write(store, layout, first, count, chunks)\n"
        "def write_one(table, layout, number, frame):\n"
        "    return real_write_one(table, layout, number, frame) if number % 2 else True\n"
        "ScanStore.write, FrameTable.write_one = write, write_one\n"
        "FrameTable.write_fast = FrameTable.write_item_fast = None\n"
        "import crash_storm; crash_storm.main()\n"
    )
    command = [sys.executable, "-c", source, str(ROOT / "tools"), "--dir", str(tmp_path), "--kills", "12"]
    done = subprocess.run(command, env=child_environment(tmp_path), capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^12 kills: [1-9]\d* of \d+ frames lost", done.stdout, re.MULTILINE), done.stdout
    assert "FAULT life 0:" in done.stdout
