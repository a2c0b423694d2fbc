"""A real disk fails to write pages in mid-scan, and heals: no frame is wrong, and none is lost. See failing_disk.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.faults.failing_disk import CASES
from tests.faults.namespace import run_in_a_mount_namespace

CODE = "import sys, pathlib, tests.faults.failing_disk as it; it.main(sys.argv[1], pathlib.Path(sys.argv[2]))"


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
@pytest.mark.parametrize("case", CASES)
def test_pages_that_the_disk_did_not_take_are_written_again(tmp_path: Path, case: str) -> None:
    done = run_in_a_mount_namespace(tmp_path, CODE, case, str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failed"], "the disk did not fail"
    if case == "frames, seen by the write-behind":
        assert told["faults"]["wait"], told
    elif case != "frames, seen by both":
        assert told["faults"]["sync"], told
    assert (told["wrong"], told["missing"]) == (0, 0), told
