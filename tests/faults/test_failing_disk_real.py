"""A real disk fails to write pages in mid-scan, and heals: no frame is wrong, and none is lost. See failing_disk.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment
from tests.faults.failing_disk import NOT_HERE


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
@pytest.mark.parametrize(
    ("case", "seen_by"), [("wait", "wait"), ("sync", "sync"), ("both", "wait"), ("the end", "sync")]
)
def test_pages_that_the_disk_did_not_take_are_written_again(tmp_path: Path, case: str, seen_by: str) -> None:
    code = "import sys, pathlib, tests.faults.failing_disk as it; it.main(sys.argv[1], pathlib.Path(sys.argv[2]))"
    command = ["unshare", "--mount", sys.executable, "-c", code, case, str(tmp_path)]
    environment = {**child_environment(tmp_path), "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if done.returncode == NOT_HERE or "unshare failed" in done.stderr:
        pytest.skip(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failed"], "the disk did not fail"
    assert told["faults"][seen_by] + (case == "both") * told["faults"]["sync"] > 0, told
    assert (told["wrong"], told["missing"]) == (0, 0), told
