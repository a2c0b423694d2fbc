"""The first line of a tool gives the versions of the machine, and never stops the tool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment
from tools.durability.environment import commit_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tools are for Linux")

SHORT_RUNS = {
    "crash_storm.py": ["--kills", "1", "--frame-bytes", "1000"],
    "power_cut.py": ["--cuts", "0", "--fs", "ext4"],
    "interrupt_storm.py": ["--call", "seal"],
    "power_cut_model.py": ["--cuts", "1", "--only", "a new folder"],
}


@pytest.fixture
def path_without_git(tmp_path: Path) -> str:
    """A PATH with every program but git."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if not program.name.startswith("git") and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    return str(programs)


@pytest.mark.parametrize("tool", SHORT_RUNS)
def test_a_tool_runs_where_git_is_not_installed(tool: str, path_without_git: str, tmp_path: Path) -> None:
    """Only the commit is missing in its first line."""
    command = [sys.executable, str(ROOT / "tools" / tool), *SHORT_RUNS[tool], "--dir", str(tmp_path)]
    environment = {**child_environment(tmp_path), "PATH": path_without_git}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr, done.stderr
    cannot_be_measured = tool == "power_cut.py" and done.returncode == 2 and "not measured" in done.stdout
    assert done.returncode == 0 or cannot_be_measured, done.stdout + done.stderr
    assert "lys_storage" in done.stdout.splitlines()[0]
    assert tool != "power_cut.py" or "lys_storage (no git) in" in done.stdout.splitlines()[0]


def test_a_commit_is_told_only_where_git_knows_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing git nor a folder outside a repository is an error."""
    assert commit_of(tmp_path) == "(no git)"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(ROOT) == "(no git)"
