"""The commands of lys-storage report the results of the functions."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import lys_storage
from lys_storage.format import recover_command
from tests.helpers import interrupt


def test_the_commands_say_what_the_functions_do(tmp_path: Path) -> None:
    """They exit with 1 if there is a problem, and name the file."""
    from click.testing import CliRunner

    from lys_storage.cli import main

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(words))
        return result.exit_code, result.output

    folder, export = str(tmp_path), tmp_path / "data.npz"
    interrupt(tmp_path / "data.npz")
    code, text = run("ls", folder)
    assert code == 0
    assert "interrupted" in text
    assert "2 of 4" in text
    assert text.endswith(f"\n{recover_command(folder)} exports the interrupted scans\n")
    assert run("recover", "--dry-run", folder) == (0, f"{export}.part: would be exported, 2 of 4 frames\n")
    assert run("recover", folder) == (0, f"{export}: exported with 2 of 4 frames\n")
    assert run("verify", folder) == (0, f"{export}: sound\n")
    assert run("recover", folder) == (0, f"{tmp_path}: no interrupted scans here\n")
    assert "interrupted" not in run("ls", folder)[1]
    code, text = run("info", f"{tmp_path}/data.npz")
    assert code == 0
    assert "[[1, 2], [3, 4]]" in text
    with open(tmp_path / "data.npz", "r+b") as file:
        file.seek(5000)
        file.write(b"x")
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        broken = archive.testzip()
    assert run("verify", folder)[0] == (1 if broken else 0)
    assert run("verify", "--json", f"{tmp_path}/nothing")[0] == 2


def test_check_disk_tries_everything_and_leaves_nothing(tmp_path: Path) -> None:
    """A local disk passes every test. If a lock does not exclude, the check fails and names the consequence."""
    from lys_storage.disk import check_disk
    from lys_storage.disk import probe as probe_module

    findings = list(check_disk(tmp_path))
    assert [finding.what for finding in findings if not finding.holds] == []
    assert len(findings) == 7
    assert list(tmp_path.iterdir()) == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_module, "_OTHER_PROCESS", "print(True)")
        failed = [finding for finding in check_disk(tmp_path) if not finding.holds]
    assert ("a writer's lock keeps another process out", "recover only while no scan is running") in [
        (finding.what, finding.follows) for finding in failed
    ]


def test_the_resume_command_tells_how_to_go_on(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lys_storage.cli import main

    interrupt(tmp_path / "data.npz")
    result = CliRunner().invoke(main, ["resume", str(tmp_path / "data.npz")])
    assert result.exit_code == 0
    assert "2 of 4 frames are stored" in result.output
    assert "(1,), (3,)" in result.output
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert list(scan.missing()) == [(1,), (3,)]
