"""A disk that is mounted read-only: a snapshot, a backup, a write-protected stick."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage.cli import main
from tests.helpers import files, interrupt


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with an interrupted scan and an export, and a second, read-only mount of it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("it takes root to mount")
    folder, mounted = tmp_path / "run", tmp_path / "mounted"
    interrupt(folder / "a.npz")
    with lys_storage.create(folder / "b.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    mounted.mkdir()
    for words in (["--bind", folder, mounted], ["-o", "remount,bind,ro", mounted]):
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, check=False)
        if done.returncode:
            subprocess.run(["umount", str(mounted)], capture_output=True, check=False)
            pytest.skip(f"nothing can be mounted here: {done.stderr!r}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_what_is_on_it_is_looked_at_as_elsewhere(read_only: Path) -> None:
    """Only an export is refused. A dry run says so, too."""

    def call(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(word) for word in words])
        return result.exit_code, result.stdout

    code, text = call("ls", read_only)
    assert (code, text.count("\ninterrupted"), text.count("finalized")) == (0, 1, 1)
    assert call("verify", read_only) == (0, f"{read_only}/a.npz.part: sound\n{read_only}/b.npz: sound\n")
    assert call("info", read_only / "a.npz.part")[0] == 0
    code, text = call("recover", "--dry-run", read_only)
    assert (code, text) == (1, f"cannot be exported: this user may not write {read_only}/a.npz.part\n")
    code, text = call("recover", read_only)
    assert (code, text) == (
        1,
        f"{read_only}/a.npz.part: open: Read-only file system; mount it writable, or choose another folder\n",
    )
    (found,) = lys_storage.recover(read_only)
    assert (found.state, found.failed) == ("interrupted", True)
    assert call("check-disk", read_only)[0] == 1
    assert files(read_only) == {"a.npz.part", "a.npz.part.journal", "b.npz"}
