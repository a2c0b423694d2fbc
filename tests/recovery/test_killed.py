"""After SIGKILL at any moment each acknowledged frame is there, bit for bit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import files, load_export
from tests.killing import every_death, moments

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FRAME = 3000


def value(frame: int, version: int) -> int:
    """The value of every byte of a version of a frame in the scenarios below."""
    return 20 * frame + version + 1


LIFE = """
def scenario(arm, say):
    arm()
    scan = lys_storage.create("data.npz", (3, 4, 3000), "u1", fill_value=255, flush_interval_s=interval, note={"a": 1})
    say("begun")

    def write(index, frames, version):
        say(f"try {version} " + " ".join(map(str, frames)))
        values = np.repeat(np.array([20 * k + version + 1 for k in frames], "u1"), 3000)
        scan[index] = values.reshape(len(frames), 3000) if len(frames) > 1 else values
        say(f"done {version} " + " ".join(map(str, frames)))

    write((1, 1), [5], 0)
    write((0,), range(4), 0)
    write((0,), range(4), 1)
    scan.flush()
    write((1, 1), [5], 1)
    scan.note["b"] = 2
    scan.axes = [[1.5, 2.5, 3.5]]
    write((2,), range(8, 12), 0)
    scan.suspend()
    scan = lys_storage.resume("data.npz", flush_interval_s=interval)
    write((1, 0), [4], 0)
    say("try 0 6 7")
    scan.update({(1, 2): np.full(3000, 121, "u1"), (1, 3): np.full(3000, 141, "u1")})
    say("done 0 6 7")
    write((2, 3), [11], 1)
    scan.close()
"""


def assert_told_the_truth(folder: Path, said: list[str]) -> None:
    """Each frame of the export is a version that was tried, and not older than the last acknowledged one."""
    acknowledged, tried = dict.fromkeys(range(12), -1), {k: {-1} for k in range(12)}
    for line in said:
        word, *numbers = line.split()
        if word in ("try", "done"):
            version, *frames = map(int, numbers)
            for k in frames:
                tried[k].add(version)
                if word == "done":
                    acknowledged[k] = version
    export = load_export(folder / "data.npz")
    data = export.data.reshape(12, FRAME)
    points = 12 // export.info["frames_expected"]  # of a frame: before the first index the grid is unknown
    missing = {k for first, stop in export.info["missing"] for k in range(first * points, stop * points)}
    for k in range(12):
        allowed = {v for v in tried[k] if v >= acknowledged[k]}
        values = set(data[k].tolist())
        assert len(values) == 1, f"frame {k} is torn: {values}"
        versions = {v for v in allowed if (255 if v < 0 else value(k, v)) in values}
        assert versions, f"frame {k} is {values}, acknowledged {acknowledged[k]}, tried {tried[k]}"
        assert (k in missing) == (versions == {-1})


@posix
@pytest.mark.parametrize(
    ("moment", "interval"),
    [("before", None), ("after", None), ("half", 0)],
    ids=["before an operation", "after one", "within a write, flushed at each"],
)
def test_killed_at_any_moment_of_its_life_a_scan_has_every_frame_that_was_acknowledged(
    tmp_path: Path, run_child: Any, moment: str, interval: float | None
) -> None:
    """A rewritten frame is the old or the new version. The scan is flushed, suspended and resumed meanwhile."""
    for folder, said in every_death(run_child, tmp_path, moment, f"interval = {interval}\n" + LIFE):
        lys_storage.recover(folder)
        if "begun" in said:
            assert_told_the_truth(folder, said)
            assert files(folder) == {"data.npz"}
            assert load_export(folder / "data.npz").note in ({"a": 1}, {"a": 1, "b": 2})


@posix
@moments
def test_a_recovery_that_is_killed_anywhere_can_be_run_again(tmp_path: Path, run_child: Any, moment: str) -> None:
    """The scan to recover is one whose process died while it rewrote a frame."""
    scenario = """
def die_in_a_rewrite():
    scan = lys_storage.create("data.npz", (4, 1000), "u1", fill_value=9, grid_ndim=1, flush_interval_s=None)
    for i, value in ((0, 1), (1, 2), (1, 3)):
        scan[i] = np.full(1000, value, "u1")
    scan.flush()
    scan[2] = np.full(1000, 5, "u1")
    whole = SYSTEM.pwrite

    def half(fd, data, at):
        if at != 4096:
            return whole(fd, data, at)
        whole(fd, bytes(500), at)
        die()

    SYSTEM.pwrite = half
    scan[0] = np.full(1000, 4, "u1")

def scenario(arm, say):
    pid = os.fork()
    if pid == 0:
        try:
            die_in_a_rewrite()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it was not killed"
    with open("data.npz.part", "rb") as file:
        assert os.pread(file.fileno(), 501, 4096) == bytes(500) + b"\\1", "no frame was torn"
    arm()
    lys_storage.recover(".", verify=False)
"""
    for folder, _ in every_death(run_child, tmp_path, moment, scenario):
        lys_storage.recover(folder)
        assert files(folder) == {"data.npz"}
        assert load_export(folder / "data.npz").data[:, ::999].tolist() == [[4, 4], [3, 3], [5, 5], [9, 9]]


def kill_when(child: subprocess.Popen[str], enough: Callable[[list[str]], bool]) -> list[str]:
    """Kill the child once its output is `enough`. Return all its output."""
    assert child.stdout is not None
    said: list[str] = []
    while not enough(said):
        line = child.stdout.readline()
        assert line, "the child ended by itself"
        said.append(line.strip())
    child.kill()
    said += [line.strip() for line in child.stdout.read().splitlines() if line]
    child.wait()
    return said


@pytest.mark.parametrize("interval", ["None", "0.005"], ids=["never flushed", "flushed all the time"])
def test_frames_that_were_acknowledged_before_sigkill_are_there(
    tmp_path: Path, start_child: Any, interval: str
) -> None:
    """SIGKILL comes while frames, checksums and syncs are in progress."""
    child = start_child(f"""
import numpy as np, lys_storage
scan = lys_storage.create("data.npz", (3000, 20_000), "u2", flush_interval_s={interval})
for k in range(3000):
    scan[k] = np.full(20_000, k + 1, "u2")
    print(k, flush=True)
""")
    said = kill_when(child, lambda said: len(said) > 200)
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written in (len(said), len(said) + 1)
    data = load_export(tmp_path / "data.npz").data
    last = result.frames_written
    assert data[:last].tolist() == [[k + 1] * 20_000 for k in range(last)]
    assert not data[last:].any()


@pytest.mark.parametrize("size", [64, 400_000], ids=["small frames", "larger ones"])
def test_a_frame_killed_while_it_is_rewritten_is_the_old_one_or_the_new_one(
    tmp_path: Path, start_child: Any, size: int
) -> None:
    """It is never a mixture, and not older than the last acknowledged version."""
    for attempt in range(4):
        name = f"{attempt}.npz"
        child = start_child(f"""
import itertools, numpy as np, lys_storage
scan = lys_storage.create("{name}", (3, {size}), "u4", flush_interval_s={(None, 0.001)[attempt % 2]})
for k in itertools.count():
    scan[1] = np.full({size}, k + 1, "u4")
    print(k + 1, flush=True)
""")
        said = kill_when(child, lambda said, enough=20 + 7 * attempt: len(said) >= enough)  # type: ignore[misc]
        (result,) = lys_storage.recover(tmp_path)
        assert (result.path, result.frames_written) == (tmp_path / name, 1)
        data = load_export(tmp_path / name).data
        assert len(set(data[1].tolist())) == 1
        assert data[1, 0] in (int(said[-1]), int(said[-1]) + 1)
        assert not data[[0, 2]].any()
    assert files(tmp_path) == {f"{attempt}.npz" for attempt in range(4)}


def test_a_scan_whose_writer_died_can_be_resumed(tmp_path: Path, start_child: Any) -> None:
    child = start_child("""
import numpy as np, lys_storage, time
scan = lys_storage.create("data.npz", (4, 10), "u1", grid_ndim=1, note={"a": 1})
scan[2] = np.full(10, 7, "u1")
print("written", flush=True)
input()
""")
    assert child.stdout.readline().strip() == "written"
    with pytest.raises(lys_storage.ScanInUseError):
        lys_storage.resume(tmp_path / "data.npz")
    (left_alone,) = lys_storage.recover(tmp_path)
    assert (left_alone.path, left_alone.running) == (None, True)
    child.kill()
    child.wait()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert (list(scan.missing()), scan.note) == ([(0,), (1,), (3,)], {"a": 1})
        for (i,) in list(scan.missing()):
            scan[i] = np.full(10, i, "u1")
    assert load_export(tmp_path / "data.npz").data[:, 0].tolist() == [0, 1, 7, 3]
