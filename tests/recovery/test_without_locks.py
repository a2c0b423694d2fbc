"""On a file system without locks nobody can tell whether a scan is being written: it is taken over only on request."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage.cli import main
from lys_storage.journal import Journal
from lys_storage.recovery import find_interrupted, list_scans
from tests.helpers import files, interrupt, load_export, take_locks_away

CODES = ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL"]


@pytest.fixture(params=["", *CODES], ids=lambda code: code or "on any system")
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    take_locks_away(monkeypatch, request.param)


@pytest.fixture
def writer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "writer", ("microscope-3", 4711), raising=False)


@pytest.mark.usefixtures("no_locks", "writer_is_known")
def test_nothing_is_taken_over_where_nobody_can_tell_whether_it_is_written(tmp_path: Path) -> None:
    """Otherwise the scan of a living process would be exported, and two processes would write it."""
    with lys_storage.create(tmp_path / "data.npz", (3, 2), "u2", grid_ndim=1) as scan:
        scan[0] = np.full(2, 7, "u2")
        for dry_run in (True, False):
            (found,) = lys_storage.recover(tmp_path, dry_run=dry_run)
            assert (found.path, found.state, found.failed) == (None, "unknown", True)
            assert "process 4711 on host microscope-3" in found.message
            assert "--force" in found.message
        with pytest.raises(lys_storage.StorageOSError, match="process 4711 on host microscope-3") as caught:
            lys_storage.resume(tmp_path / "data.npz")
        assert caught.value.errno == errno.ENOLCK
        assert find_interrupted(tmp_path) == []
        (entry,) = list_scans(tmp_path)
        assert (entry.state, entry.problem, entry.frames_written) == ("unknown", False, 1)
        assert lys_storage.verify(tmp_path) == []
        assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}
        scan[1] = np.full(2, 8, "u2")
    assert load_export(tmp_path / "data.npz").data[:, 0].tolist() == [7, 8, 0]


@pytest.mark.usefixtures("no_locks")
def test_with_force_it_is_taken_over(tmp_path: Path) -> None:
    """The user is responsible for the statement that no process writes it."""
    interrupt(tmp_path / "a.npz")
    interrupt(tmp_path / "b.npz")
    for name in ("c.npz.part", "c.npz.part.journal"):
        (tmp_path / name).touch()
    with lys_storage.resume(tmp_path / "a.npz", force=True) as scan:
        assert list(scan.missing()) == [(1,), (3,)]
    assert [result.failed for result in lys_storage.recover(tmp_path)] == [True, True]
    assert files(tmp_path) == {"a.npz", *(f"{name}.npz.part{end}" for name in "bc" for end in ("", ".journal"))}
    assert [result.failed for result in lys_storage.recover(tmp_path, force=True)] == [False, False]
    assert files(tmp_path) == {"a.npz", "b.npz"}


@pytest.mark.usefixtures("no_locks", "writer_is_known")
def test_the_command_says_first_who_wrote_it(tmp_path: Path) -> None:
    """Without --force the exit code is 1. With --force the writer is printed before anything changes."""
    part = interrupt(tmp_path / "a.npz")
    refused = CliRunner().invoke(main, ["recover", str(tmp_path)])
    assert refused.exit_code == 1
    assert "process 4711 on host microscope-3" in refused.stdout
    assert CliRunner().invoke(main, ["recover", "--dry-run", str(tmp_path)]).exit_code == 1
    assert CliRunner().invoke(main, ["resume", str(part)]).exit_code == 1
    forced = CliRunner().invoke(main, ["recover", "--force", str(tmp_path)])
    assert forced.exit_code == 0
    assert "process 4711 on host microscope-3" in forced.stderr
    assert forced.stdout == f"{tmp_path / 'a.npz'}: exported with 2 of 4 frames\n"
