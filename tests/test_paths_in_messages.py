"""Paths in arguments and messages: `~` is expanded, commands can be pasted, each path appears once."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage.cli import main
from lys_storage.format import quoted, recover_command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def interrupted(path: str) -> None:
    scan = lys_storage.create(path, (2, 3), "u1", grid_ndim=1)
    scan[0] = np.ones(3, "u1")
    scan.suspend()


def test_a_tilde_is_the_home_folder_in_each_function(home: Path) -> None:
    interrupted("~/run/a.npz")
    assert (home / "run" / "a.npz.part").exists()
    with lys_storage.resume("~/run/a.npz") as scan:
        scan.suspend()
    (tried,) = lys_storage.recover("~/run", dry_run=True)
    assert tried.part == home / "run" / "a.npz.part"
    lys_storage.recover("~/run/a.npz")
    assert lys_storage.verify("~/run") == []
    with lys_storage.open_wave("~/run/a.npz") as wave:
        assert wave.path == home / "run" / "a.npz"
    with lys_storage.open_wave(b"~/run/a.npz") as wave:
        assert wave.shape == (2, 3)


def test_a_tilde_inside_a_name_is_a_tilde(home: Path) -> None:
    interrupted(str(home / "a~" / "~b.npz"))
    assert (home / "a~" / "~b.npz.part").exists()


def test_a_tilde_is_the_home_folder_in_the_commands(home: Path) -> None:
    """A POSIX shell expands it; the shell of Windows does not."""
    interrupted("~/run/a.npz")
    for words in (
        ["ls", "~/run"],
        ["recover", "~/run"],
        ["verify", "~/run"],
        ["info", "~/run/a.npz"],
        ["check-disk", "~/run"],
    ):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("folder", ["run", "my run", "it's here", 'a "b"', "$HOME;x", "ü"])
def test_a_command_in_a_hint_can_be_pasted(folder: str) -> None:
    if sys.platform != "win32":
        assert shlex.split(recover_command(folder)) == ["lys-storage", "recover", folder]
    else:
        assert quoted(folder) == f'"{folder}"'


def _taken(path: Path) -> Any:
    return lys_storage.create(path, (2,))


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(_taken, id="a scan in progress has the name"),
        pytest.param(lambda path: lys_storage.open_wave(path), id="a scan in progress is opened"),
        pytest.param(lambda path: lys_storage.open_wave(path.parent), id="a folder is opened"),
        pytest.param(lambda path: lys_storage.open_wave(path.with_name("other.npz")), id="nothing is there"),
        pytest.param(lambda path: lys_storage.resume(path.with_name("other.npz")), id="nothing to resume"),
        pytest.param(
            lambda path: lys_storage.open_wave(path.with_name("a.npz.part.journal")), id="a journal is opened"
        ),
    ],
)
def test_a_path_stands_once_in_a_message(tmp_path: Path, attempt: Callable[[Path], Any]) -> None:
    path = tmp_path / "run" / "a.npz"
    interrupted(str(path))
    with pytest.raises(lys_storage.LysStorageError) as caught:
        attempt(path)
    message = str(caught.value).replace("\\\\", "\\")  # the repr of a path on Windows
    name = caught.value.filename if isinstance(caught.value, OSError) else path
    assert message.count(str(name)) == 1, message
