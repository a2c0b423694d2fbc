"""Ctrl-C at any point of a poll or a loop loses no frame, and leaves nothing locked."""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import press_ctrl_c, takes_ctrl_c

FOLDERS = tuple(str(Path("lys_storage", name)) for name in ("live", "reading", "journal"))


@contextmanager
def interrupted_at(n: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at the `n`-th line that is run in the packages of a follower. Gives [lines left].

    If that is the line of a `with`, at the next one: Python comes to it again between the block and `__exit__`, where CPython
    delivers no signal.
    """
    left, raised = [n], False

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal raised
        if not any(folder in frame.f_code.co_filename for folder in FOLDERS):
            return None
        if event == "line":
            left[0] -= 1
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if left[0] <= 0 and not raised and not line.lstrip().startswith("with "):
                raised = True
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield left
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("is_closed", [False, True], ids=["a scan in progress", "its end"])
def test_a_poll_that_is_interrupted_anywhere(tmp_path: Path, is_closed: bool) -> None:
    """The next one tells what it has not told. A frame may be told twice."""
    n, done = 0, False
    while not done:
        n += 7
        path = tmp_path / f"{n}.npz"
        scan = lys_storage.create(path, (6, 3), "u2", grid_ndim=1, flush_interval_s=None)
        scan[0] = np.ones(3, "u2")
        follower = lys_storage.follow(path)
        assert follower.poll() == [(0,)]
        scan[2:5] = np.ones((3, 3), "u2")
        scan[0] = np.full(3, 2, "u2")
        scan[2] = np.full(3, 3, "u2")
        if is_closed:
            scan.close()
        with interrupted_at(n) as left:
            try:
                found = list(follower.poll())
                done = left[0] > 0
            except KeyboardInterrupt:
                found = list(follower.since(1))
                follower._polled = follower.events
        found += follower.poll()
        assert {(2,), (3,), (4,)} <= set(found), n
        assert (follower.frames_written, follower.state) == (4, "finished" if is_closed else "running")
        assert [int(follower.read(i)[0]) for i in (0, 2, 3)] == [2, 3, 1]
        follower.close()
        if not is_closed:
            scan.close()
    assert n > 100


LOOP = """
import lys_storage
try:
    with lys_storage.follow("a.npz", poll_interval_s=0.001) as follower:
        follower.changed.connect(lambda index: None)
        for index in follower:
            print(index, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def test_ctrl_c_ends_a_loop_at_once(tmp_path: Path, start_child: Callable[..., subprocess.Popen[str]]) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (6, 3), "u2", grid_ndim=1)
    scan[1] = np.ones(3, "u2")
    child = start_child(takes_ctrl_c(LOOP, tmp_path))
    assert child.stdout is not None
    assert child.stdout.readline() == "(1,)\n"
    press_ctrl_c(child, tmp_path)
    out, _ = child.communicate(timeout=20)
    assert (out, child.returncode) == ("stopped\n", 0)
    scan.close()


def test_a_follower_that_is_dropped_closes_its_files(tmp_path: Path) -> None:
    """The fixture that looks for open files fails otherwise."""
    scan = lys_storage.create(tmp_path / "a.npz", (6, 3), "u2", grid_ndim=1)
    assert lys_storage.follow(tmp_path / "a.npz").poll() == []
    scan.close()
