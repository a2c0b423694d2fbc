"""The README is run as it stands: what a newcomer pastes works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_script_without_qt_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The first block makes a scan and reads it again."""
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    assert "(10, 20, 256, 256)" in capsys.readouterr().out
    assert (tmp_path / "run/data_0.npz").exists()


def test_going_on_with_an_interrupted_scan_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second block fills in what is missing, after the first was interrupted."""
    import lys_storage

    monkeypatch.chdir(tmp_path)
    broken = BLOCKS[0].replace("np.full((256, 256), i + j", "np.full((256, 256 // (i < 5)), i + j")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(broken, "README.md", "exec"), {})
    assert "lys_storage.resume" in caught.value.__notes__[0]
    measure = lambda index: np.full((256, 256), sum(index), "uint16")  # noqa: E731
    exec(compile(BLOCKS[1], "README.md", "exec"), {"lys_storage": lys_storage, "measure": measure})
    with lys_storage.open_wave("run/data_0.npz") as wave:
        assert wave.info["frames_written"] == 200
        assert wave.data[9, 19, 0, 0] == 28


@pytest.mark.parametrize("command", ["lys-storage demo", "pytest"])
def test_the_two_commands_are_one_line_each(command: str) -> None:
    """.ci/run takes them from here."""
    assert len(re.findall(rf"^ {{4}}python3 -m venv .*{command}.*$", README, re.MULTILINE)) == 1
