"""SIGKILL and power cuts: what was acknowledged is there bit for bit, and what is torn is never passed off as data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.core import _fs
from lys_storage.core._part import Part
from tests.core.helpers import assert_same_array, files, load_export, some, wait_until
from tests.core.killing import every_death, moments

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
FRAME = 3000


def value(frame: int, version: int) -> int:
    """What every byte of a version of a frame is in the scenarios below."""
    return 20 * frame + version + 1


# -- the death of the process ------------------------------------------------------------------------------------------

LIFE = """
def scenario(arm, say):
    arm()
    scan = lys_storage.create("data.npz", (3, 4, 3000), "u1", fill=255, flush_interval_s=interval, note={"a": 1})
    say("begun")

    def write(index, frames, version):
        say(f"try {version} " + " ".join(map(str, frames)))
        values = np.repeat(np.array([20 * k + version + 1 for k in frames], "u1"), 3000)
        scan[index] = values.reshape(len(frames), 3000) if len(frames) > 1 else values
        say(f"done {version} " + " ".join(map(str, frames)))

    write((0,), range(4), 0)
    write((1, 1), [5], 0)
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
    """Each frame of the export is a version that was tried, and not older than the last that was acknowledged."""
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
    points = 12 // export.info["frames_expected"]  # to a frame, before the grid was refined
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
    """First writes, rewrites, refinement, flushes, axes and note, an interruption, the end: the old one or the new one."""
    for folder, said in every_death(run_child, tmp_path, moment, f"interval = {interval}\n" + LIFE):
        lys_storage.recover(folder)
        if "begun" in said:
            assert_told_the_truth(folder, said)
            assert files(folder) == {"data.npz"}
            assert load_export(folder / "data.npz").note in ({"a": 1}, {"a": 1, "b": 2})


@posix
@moments
def test_a_recovery_that_is_killed_anywhere_can_be_run_again(tmp_path: Path, run_child: Any, moment: str) -> None:
    """As after the death of the process with a rewrite under way, and as after a power cut."""
    scenario = """
def scenario(arm, say):
    scan = lys_storage.create("data.npz", (4, 1000), "u1", fill=9, grid_ndim=1, flush_interval_s=None)
    for i, value in ((0, 1), (1, 2), (1, 3)):
        scan[i] = np.full(1000, value, "u1")
    scan.flush()
    scan[0] = np.full(1000, 4, "u1")
    scan[2] = np.full(1000, 5, "u1")
    scan._part.journal.marks[0] = 4  # REWRITING, as if it had been killed there
    scan._part.file.write_at(bytes(500), scan._part.description.array_offset)
    scan._part.close()
    scan._state = "suspended"
    if scan._follower is not None:
        scan._follower.stop()
    arm()
    lys_storage.recover(".", verify=False)
"""
    for folder, _ in every_death(run_child, tmp_path, moment, scenario):
        lys_storage.recover(folder)
        assert files(folder) == {"data.npz"}
        assert load_export(folder / "data.npz").data[:, ::999].tolist() == [[4, 4], [3, 3], [5, 5], [9, 9]]


def kill_when(child: subprocess.Popen[str], enough: Callable[[list[str]], bool]) -> list[str]:
    """What the child said until `enough` of it had come and it was killed."""
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
    """At whatever moment it comes: while frames, checksums, and syncs are under way."""
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
    """Never a mixture, and not older than what was acknowledged."""
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


def test_a_dead_writers_scan_can_be_gone_on_with(tmp_path: Path, start_child: Any) -> None:
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


# -- a power cut -------------------------------------------------------------------------------------------------------


def cut_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the machine has been started anew."""
    monkeypatch.setattr(_fs, "boot_id", lambda: "after the cut")


def spoil(scan: lys_storage.Scan, frame: int, content: bytes) -> None:
    """Bytes of a frame in the file of a scan that has been let go are others than were written."""
    description = scan._part.description
    with scan.part_path.open("r+b") as stream:
        stream.seek(description.array_offset + frame * description.frame_bytes)
        stream.write(content)


def flushed_scan(tmp_path: Path, **options: Any) -> tuple[lys_storage.Scan, np.ndarray[Any, Any]]:
    scan = lys_storage.create(
        tmp_path / "data.npz", (6, 1000), "u2", **{"fill": 9, "grid_ndim": 1, "flush_interval_s": None, **options}
    )
    frames = some((6, 1000), "u2")
    for k in range(5):
        scan[k] = frames[k]
    return scan, frames


@pytest.mark.parametrize(
    ("frame", "content", "missing"),
    [
        pytest.param(0, b"", [5], id="nothing is torn"),
        pytest.param(0, b"\xff", [0, 5], id="one byte of the first"),
        pytest.param(4, b"\xff" * 2000, [4, 5], id="all of the last"),
        pytest.param(2, bytes(2000), [2, 5], id="zeros, as the kernel leaves them"),
        pytest.param(1, b"\xff" * 3000, [1, 2, 5], id="two of them"),
        pytest.param(5, b"\xff" * 2000, [5], id="one that never came"),
    ],
)
def test_after_a_power_cut_a_frame_is_data_only_where_its_bytes_are_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: int, content: bytes, missing: list[int]
) -> None:
    """What is torn is reported as missing, and holds the fill."""
    scan, expected = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, frame, content)
    cut_power(monkeypatch)
    (result,) = lys_storage.recover(tmp_path)
    assert (result.frames_written, result.frames_expected) == (6 - len(missing), 6)
    expected[missing] = 9
    export = load_export(tmp_path / "data.npz")
    assert_same_array(export.data, expected)
    assert [k for a, b in export.info["missing"] for k in range(a, b)] == missing


def test_after_a_power_cut_marks_without_bytes_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may write the journal first: every mark WRITTEN, no byte of the frames, no checksum."""
    scan, _ = flushed_scan(tmp_path)
    for k in range(6):
        spoil(scan, k, bytes(2000))
    scan._part.journal.put_marks(0, np.array([2, 3, 2, 3, 4, 5], np.uint8))
    scan._part.close()
    scan._state = "suspended"
    cut_power(monkeypatch)
    follower = scan._follower
    assert follower is not None
    follower.stop()
    (result,) = lys_storage.recover(tmp_path)
    assert (result.frames_written, result.path) == (0, tmp_path / "data.npz")
    assert_same_array(load_export(tmp_path / "data.npz").data, np.full((6, 1000), 9, "u2"))


def test_after_the_death_of_the_process_bytes_are_not_checked_and_verify_checks_them(tmp_path: Path) -> None:
    """On a share that other machines write too, one asks for it."""
    for verify, written in ((False, 5), (True, 4)):
        folder = tmp_path / str(verify)
        scan, _ = flushed_scan(folder)
        scan.suspend()
        spoil(scan, 1, b"\xff")
        (result,) = lys_storage.recover(folder, verify=verify)
        assert result.frames_written == written


def test_where_the_machine_names_no_boot_every_byte_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fs, "boot_id", lambda: "")
    scan, _ = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, 1, b"\xff")
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written == 4


@pytest.mark.parametrize("redo_too", [False, True], ids=["its redo record is whole", "its redo record is torn as well"])
def test_after_a_power_cut_a_rewrite_is_the_new_version_or_the_old_one_or_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redo_too: bool
) -> None:
    """Of a flushed frame the new version is in the redo file before its place is touched: torn in its place, it is mended."""
    scan, expected = flushed_scan(tmp_path)
    scan.flush()
    scan[1] = np.full(1000, 777, "u2")
    offset = scan._part.description.array_offset + 1 * 2000
    scan._part.file.write_at(b"\xee" * 1000, offset)
    follower = scan._follower
    assert follower is not None
    follower.stop()
    scan._part.close()
    scan._state = "suspended"
    if redo_too:
        redo = tmp_path / "data.npz.part.redo"
        redo.write_bytes(redo.read_bytes()[:1000])
    cut_power(monkeypatch)
    lys_storage.recover(tmp_path)
    expected[1], expected[5] = (9 if redo_too else 777), 9
    assert_same_array(load_export(tmp_path / "data.npz").data, expected)
    assert files(tmp_path) == {"data.npz"}


def test_what_a_scan_was_resumed_with_after_a_power_cut_is_flushed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing frames can be taken again, and the next cut finds everything checked."""
    scan, expected = flushed_scan(tmp_path)
    scan.suspend()
    spoil(scan, 3, b"\xff")
    cut_power(monkeypatch)
    scan = lys_storage.resume(tmp_path / "data.npz", flush_interval_s=None)
    assert list(scan.missing()) == [(3,), (5,)]
    scan[3], scan[5] = expected[3], expected[5]
    scan.suspend()
    monkeypatch.setattr(_fs, "boot_id", lambda: "after the second cut")
    (result,) = lys_storage.recover(tmp_path)
    assert result.frames_written == 6
    assert_same_array(load_export(tmp_path / "data.npz").data, expected)


def test_a_frame_older_than_the_flush_window_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan flushes by itself: after that, a copy of what was synced is enough."""
    flushed: list[int] = []  # frames that were there when a flush that has succeeded began
    real = Part.flush

    def flush(part: Any) -> None:
        there = part.frames_written
        real(part)
        flushed.append(there)

    monkeypatch.setattr(Part, "flush", flush)
    scan, expected = flushed_scan(tmp_path / "a", flush_interval_s=0.05)
    assert wait_until(lambda: 5 in flushed)
    (tmp_path / "b").mkdir()
    scan[5] = expected[5]
    assert wait_until(lambda: 6 in flushed)
    for name in files(tmp_path / "a"):
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    scan.close()
    cut_power(monkeypatch)
    (result,) = lys_storage.recover(tmp_path / "b")
    assert result.frames_written == 6
    assert_same_array(load_export(tmp_path / "b" / "data.npz").data, expected)
