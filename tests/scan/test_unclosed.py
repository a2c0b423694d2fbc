"""A program that forgets close() gets a message when it exits, and when it drops the scan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lys_storage
from lys_storage.format import quoted

HEAD = """
import os, sys, numpy as np, lys_storage
def begin(name):
    scan = lys_storage.create(os.path.join("my run", name), (4, 8), "u2", grid_ndim=1)
    scan[0] = np.ones(8, "u2")
    return scan
"""


def output_of(code: str, folder: Path) -> str:
    """The stderr of a program, which must end with exit code 0."""
    child = [sys.executable, "-c", HEAD + code]
    done = subprocess.run(child, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stderr


def warning(path: Path) -> str:
    return (
        "a scan was not closed. The scan is kept in progress: 1 of 4 frames. "
        f"lys_storage.resume({str(path)!r}) continues it; lys-storage recover {quoted(path.parent)} exports it. "
        "Use it in a with block, or call close().\n"
    )


@pytest.mark.parametrize(
    "code",
    ["scan = begin('a')", "begin('a')", "kept = [begin('a')]; sys.exit(0)"],
    ids=["kept", "dropped", "in a list"],
)
def test_a_program_that_forgets_close_is_told_which_scan_and_how_to_go_on(tmp_path: Path, code: str) -> None:
    assert output_of(code, tmp_path) == warning(tmp_path / "my run" / "a.npz")
    (found,) = lys_storage.recover(tmp_path)
    assert (found.failed, found.frames_written) == (False, 1)


def test_each_scan_is_named(tmp_path: Path) -> None:
    said = output_of("a, b, c = begin('a'), begin('b'), begin('c'); b.close()", tmp_path)
    expected = {warning(tmp_path / "my run" / name) for name in ("a.npz", "c.npz")}
    assert set(said.splitlines(keepends=True)) == expected


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("begin('a').close()", id="closed"),
        pytest.param("scan = begin('a'); scan.suspend()", id="suspended"),
        pytest.param("scan = lys_storage.create('a', (2,)); scan.discard()", id="discarded"),
        pytest.param("with begin('a') as scan: pass", id="in a block"),
    ],
)
def test_who_ends_a_scan_is_told_nothing(tmp_path: Path, code: str) -> None:
    assert output_of(code, tmp_path) == ""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_is_not_told_of_its_parents_scan(tmp_path: Path) -> None:
    code = """
scan = begin('a')
if os.fork() == 0:
    sys.exit(0)
os.wait()
scan.close()
"""
    assert output_of(code, tmp_path) == ""
