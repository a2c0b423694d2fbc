"""A short interrupt storm; `tools/interrupt_storm.py --twice` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lys_storage.store import FrameTable, ScanStore
from tests.conftest import ROOT, child_environment
from tools.durability.interrupts import storm as storm_module
from tools.durability.interrupts.calls import CALLS
from tools.durability.interrupts.points import Interrupts
from tools.durability.interrupts.storm import storm

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the storm forks")


@pytest.mark.parametrize("call", CALLS)
def test_an_interrupt_loses_no_frame_and_keeps_nobody_waiting(tmp_path: Path, call: str) -> None:
    """The points are random, and some are interrupted twice in a row: see tools/durability/interrupts."""
    tally = storm(call, tmp_path, twice=True, seed="7", most=4)
    assert (tally.faults, tally.trials) == ([], 8)


def test_the_points_are_those_where_cpython_looks_for_signals() -> None:
    """They are where a function begins, after a compiled call, and where a loop jumps back, in this package only."""
    filename = ScanStore.flush.__code__.co_filename
    source = (
        "def called(): return 1\ndef f(lock):\n with lock:\n  len('')\n with lock:\n  called()\n for i in 'ab': i\n"
    )
    names: dict[str, object] = {}
    exec(compile(source, filename, "exec"), names)
    function, lock, where = names["f"], _Lock(), []
    at = 0
    while True:
        at, interrupts = at + 1, Interrupts((at + 1,))
        try:
            interrupts.run(lambda: function(lock))  # type: ignore[operator]
            break
        except KeyboardInterrupt:
            where += [words.partition(":")[2] for words in interrupts.where]
    assert where == ["2 f", "4 f", "1 called", "7 f", "7 f"]


class _Lock:
    """Its methods are not in the package."""

    def __enter__(self) -> None: ...

    def __exit__(self, *args: object) -> None: ...


def test_a_storm_sees_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody ends an interrupted write, the end of the scan waits forever."""
    monkeypatch.setattr(FrameTable, "_settle", lambda table: None)
    monkeypatch.setattr(storm_module, "HANGS_AFTER_S", 0.5)
    tally = storm("rewrite", tmp_path, twice=False, seed="7", most=2)
    assert tally.hangs > 0
    assert "most recent call first" in "".join(tally.faults)


def test_a_storm_sees_a_lock_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScanStore, "close", lambda store: None)
    with pytest.raises(RuntimeError, match="is held"):
        storm("suspend", tmp_path, twice=False, seed="7", most=2)


def test_the_tool_prints_a_table_and_tells_by_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "interrupt_storm.py"), "--dir", str(tmp_path), "--call", "seal"]
    done = subprocess.run(command, env=child_environment(tmp_path), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(": 0 hangs, 0 wrong")
    assert list(tmp_path.iterdir()) == [], "it removes what it has written"
