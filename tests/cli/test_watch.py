"""`lys-storage watch`: what it shows, with and without a terminal, and how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import lys_storage
from lys_storage.cli import main, watched
from lys_storage.cli.watched import WatchedFolder, WatchedScan
from lys_storage.recovery import RUNNING
from tests.conftest import child_environment
from tests.helpers import interrupt, press_ctrl_c, takes_ctrl_c
from tests.live.writers import Writer
from tests.systems import not_on_windows, not_under_wine


@pytest.fixture
def writer(start_child: Callable[..., subprocess.Popen[str]]) -> Writer:
    """Another process that writes `a.npz` in tmp_path."""
    return Writer(start_child)


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(main, ["watch", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def test_a_table_of_the_scans_in_progress(tmp_path: Path) -> None:
    """Exports are not listed. Folders below are."""
    lys_storage.create(tmp_path / "done.npz", (2,)).close()
    (tmp_path / "below").mkdir()
    interrupt(tmp_path / "below" / "b.npz")
    with lys_storage.create(tmp_path / "a.npz", (1000, 3), "u2", grid_ndim=1) as scan:
        scan[0] = np.ones(3, "u2")
        result = invoke(tmp_path, "--once")
    assert (result.exit_code, result.stderr) == (0, "")
    head, running, interrupted = rows(result)
    assert head == ["state", "frames", "%", "safe", "rate", "left", "disk", "full", "in", "file"]
    assert (running[:5], running[-1]) == (["running", "1", "of", "1,000", "0.1"], "a.npz.part")
    assert (running[5], running[6][0]) == ("0", "~")
    assert (interrupted[:5], interrupted[-1]) == (
        ["interrupted", "2", "of", "4", "50.0"],
        str(Path("below", "b.npz.part")),
    )


def test_a_folder_without_scans(tmp_path: Path) -> None:
    assert "no scans in progress here" in invoke(tmp_path, "--once").stdout
    result = invoke(tmp_path / "nowhere", "--once")
    assert (result.exit_code, "no folder has this name" in result.stderr) == (2, True)


def test_a_damaged_scan_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz")
    interrupt(tmp_path / "b.npz")
    part.with_name(part.name + ".journal").write_bytes(b"x" * 5000)
    result = CliRunner().invoke(main, ["watch", str(tmp_path), "--once", "--json"])
    first = json.loads(result.stdout)["scans"]
    assert [scan["state"] for scan in first] in (["waiting", "interrupted"], ["damaged", "interrupted"])
    folder = WatchedFolder(tmp_path)
    folder.look()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lys_storage.live.tracker._GRACE_S", 0.0)
        result = invoke(tmp_path, "--once")
    assert result.exit_code == 1
    assert "does not begin with the magic bytes" in " ".join(result.stdout.split())
    assert [row[0] for row in rows(result)[1:3]] == ["damaged", "interrupted"]
    folder.close()


@not_on_windows("no name has a control character")
def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    interrupt(tmp_path / "a\x1b[31m.npz")
    assert "\x1b" not in invoke(tmp_path, "--once").stdout


def test_json_is_a_line_a_look(tmp_path: Path, start_child: Callable[..., Any], writer: Writer) -> None:
    """A child watches until Ctrl-C, and ends with 0."""
    writer.create((4, 3))
    writer.write(0)
    child = start_child(takes_ctrl_c(CHILD, tmp_path), "--json", "--interval", "0.05")
    first = json.loads(child.stdout.readline())
    (scan,) = first["scans"]
    assert (scan["state"], scan["frames_written"], scan["frames_expected"]) == (RUNNING, 1, 4)
    assert (scan["path"], scan["shape"], scan["dtype"]) == ("a.npz.part", [4, 3], "uint16")
    assert scan["free_bytes"] > 0
    writer.write(1, 2)
    while (line := json.loads(child.stdout.readline())["scans"][0])["frames_written"] < 3:
        pass
    assert line["frames_per_second"] > 0
    writer.write(3)
    writer.do("scan.close()")
    while (line := json.loads(child.stdout.readline())["scans"][0])["state"] != "finished":
        pass
    assert (line["path"], line["frames_written"], line["part"]) == ("a.npz", 4, None)
    press_ctrl_c(child, tmp_path)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 0
    assert all(json.loads(line) for line in out.splitlines())


CHILD = """
import sys
from lys_storage.cli import main
main(["watch", ".", *sys.argv[1:]])
"""


@not_on_windows("there are no pseudo-terminals")
@pytest.mark.parametrize("on_terminal", [True, False], ids=["on a terminal", "in a file"])
def test_the_table_is_shown_until_ctrl_c(
    tmp_path: Path, writer: Writer, start_child: Callable[..., Any], on_terminal: bool
) -> None:
    import pty

    writer.create((4, 3))
    writer.write(0)
    source = CHILD.replace("import sys", "import sys, os; os.dup2(int(sys.argv.pop(1)), 1)")
    reading, writing = pty.openpty() if on_terminal else os.pipe()
    os.set_inheritable(writing, True)
    child = subprocess.Popen(
        [sys.executable, "-c", source, str(writing), "--interval", "0.05"],
        cwd=tmp_path,
        env=child_environment(tmp_path) | {"COLUMNS": "120", "TERM": "xterm"},
        pass_fds=[writing],
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    seen = b""
    try:
        while b"3 of 4" not in seen:
            assert select.select([reading], [], [], 20)[0], seen
            seen += os.read(reading, 4096)
            if seen.count(b"1 of 4") == 2:
                writer.write(1, 2)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
        os.close(reading)
    assert (child.returncode, err) == (0, b"")
    assert (b"\x1b[" in seen) == on_terminal


def test_it_ends_when_nobody_reads_its_output(tmp_path: Path, start_child: Callable[..., Any]) -> None:
    interrupt(tmp_path / "a.npz")
    child = start_child(CHILD, "--json", "--interval", "0.05")
    assert json.loads(child.stdout.readline())["scans"]
    child.stdout.close()
    assert child.wait(20) == 0
    child.stdout = None


@not_under_wine("the name of a removed file stays until it is closed")
def test_a_scan_that_is_discarded_leaves_the_table(tmp_path: Path) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1)
    folder = WatchedFolder(tmp_path)
    assert [one.state for one in folder.look()] == [RUNNING]
    scan.discard()
    assert folder.look() == []
    folder.close()


def test_a_scan_that_is_interrupted_and_resumed(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz")
    folder = WatchedFolder(tmp_path)
    assert [(one.state, one.per_s) for one in folder.look()] == [("interrupted", None)]
    scan = lys_storage.resume(part)
    scan[1] = np.ones(3, "u2")
    assert [(one.state, one.frames_written) for one in folder.look()] == [(RUNNING, 3)]
    scan.close()
    assert [(one.state, one.frames_written, one.path.name) for one in folder.look()] == [("finished", 3, "a.npz")]
    again = lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1, overwrite=True)
    assert sorted(one.state for one in folder.look()) == ["finished", RUNNING]
    folder.close()
    again.close()


def test_the_rate_the_time_left_and_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that claimed its space needs none of the free one."""
    now = 1000.0
    monkeypatch.setattr(watched, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(watched, "free_space", lambda folder: 5000)
    scans = [
        WatchedScan(Path("a.npz.part"), RUNNING, frames_expected=100, frame_bytes=100, to_come_bytes=9000, device=1),
        WatchedScan(Path("b.npz.part"), RUNNING, frames_expected=100, frame_bytes=100, to_come_bytes=0, device=1),
        WatchedScan(Path("c.npz.part"), RUNNING, frames_expected=100, frame_bytes=100, to_come_bytes=100, device=2),
    ]
    for seconds in range(0, 100, 10):
        now = 1000.0 + seconds
        for scan in scans:
            scan.frames_written = seconds // 5
            watched._note_rate(scan, "2026-01-01T00:00:00+00:00")
    watched._note_space(scans)
    assert [scan.per_s for scan in scans] == [0.2] * 3
    assert scans[0].left_s == (100 - 18) / 0.2
    assert [scan.full_in_s for scan in scans] == [5000 / (0.2 * 100), 5000 / (0.2 * 100), None]
    now += 60
    watched._note_rate(scans[0], "2026-01-01T00:00:00+00:00")
    watched._note_rate(scans[0], "2026-01-01T00:00:00+00:00")
    assert (scans[0].per_s, scans[0].left_s) == (0, None)


def test_the_frames_that_survive_a_power_cut_are_told(tmp_path: Path) -> None:
    """Those of the last flush. Frames that came after it count with the next one, and all of them after a takeover."""
    with lys_storage.create(tmp_path / "a.npz", (5, 2), "u1", grid_ndim=1, flush_interval_s=None) as scan:

        def safe() -> int:
            result = CliRunner().invoke(main, ["watch", str(tmp_path), "--once", "--json"])
            durable: int = json.loads(result.stdout)["scans"][0]["durable_frames"]
            return durable

        assert safe() == 0
        scan[0] = scan[1] = np.ones(2, "u1")
        assert safe() == 0
        scan.flush()
        assert safe() == 2
        scan[2] = np.ones(2, "u1")
        scan[0] = np.ones(2, "u1")
        assert safe() == 2
        scan.suspend()
    with lys_storage.resume(tmp_path / "a.npz", flush_interval_s=None) as scan:
        assert safe() == 3
        assert "safe" in CliRunner().invoke(main, ["watch", str(tmp_path), "--once"]).stdout
