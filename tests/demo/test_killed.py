"""The demo is killed half-way, as a user may try it: recover exports its frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lys_storage
from lys_storage.recovery import list_scans
from tests.conftest import child_environment
from tests.extras import needs_qt
from tests.helpers import wait_until

ENOUGH = 200
COMMAND = ["demo", "--shape", "64,64", "--frame", "64,64", "--rate", "500"]


def frames_on_disk(folder: Path) -> int:
    return sum(entry.frames_written or 0 for entry in list_scans(folder))


@needs_qt
def test_a_demo_that_is_killed_keeps_its_frames(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    command = [sys.executable, "-m", "lys_storage", *COMMAND, str(folder)]
    child = subprocess.Popen(
        command, env=child_environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert wait_until(lambda: frames_on_disk(folder) >= ENOUGH)
    finally:
        child.kill()  # on Windows TerminateProcess
        child.wait()
    seen = frames_on_disk(folder)
    (result,) = lys_storage.recover(folder)
    assert result.path == folder / "data_0.npz"
    assert ENOUGH <= seen <= result.frames_written < 4096
    assert lys_storage.verify(folder) == []
    with lys_storage.open_wave(result.path) as wave:
        assert int(wave.written.sum()) == result.frames_written
        assert wave.read((0, 5)).any()
