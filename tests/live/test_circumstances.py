"""File systems without locks, files of earlier versions, folders that go away, loops that are cancelled."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError
from lys_storage.disk.systems import SYSTEM
from lys_storage.live import tracker as tracker_module
from tests.helpers import interrupt, take_locks_away, wait_until
from tests.systems import not_under_wine
from tests.test_golden import SCANS, VERSIONS

Follow = Callable[..., lys_storage.Follower]


@pytest.mark.parametrize("version", VERSIONS, ids=[path.name for path in VERSIONS])
@pytest.mark.parametrize("name", SCANS)
def test_scans_of_earlier_versions(tmp_path: Path, version: Path, name: str) -> None:
    """They are copies: a frame without a checksum is not there, nor one that was being rewritten."""
    folder = tmp_path / "copy"
    shutil.copytree(version, folder)
    for path in folder.glob("*.npz"):
        path.unlink()
    expected, missing = SCANS[name]
    with lys_storage.follow(folder / name) as follower:
        told = list(follower.poll())
        assert told
        assert not set(told) & set(missing)
        part = next(folder.glob(f"{name}*.part"))
        for index in told:
            assert follower.read(index).tobytes() == expected[index].tobytes(), index
        with lys_storage.open_wave(part) as wave:
            assert [tuple(index) for index in np.argwhere(wave.written).tolist()] == told


def test_a_file_system_without_locks(tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    take_locks_away(monkeypatch, "")
    scan = lys_storage.create(tmp_path / "a.npz", (3, 2), "u2", grid_ndim=1)
    scan[1] = np.ones(2, "u2")
    follower = follow()
    assert (follower.poll(), follower.state) == ([(1,)], "unknown")
    scan.close()
    assert (follower.poll(), follower.state) == ([], "finished")


@not_under_wine("the name of a removed file stays until it is closed")
def test_a_folder_that_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    interrupt(tmp_path / "run" / "a.npz")
    with lys_storage.follow(tmp_path / "run" / "a.npz") as follower:
        assert follower.poll() == [(0,), (2,)]
        shutil.rmtree(tmp_path / "run")
        assert (follower.poll(), follower.state, list(follower)) == ([], "removed", [(0,), (2,)])
        assert follower.written.tolist() == [True, False, True, False]


def test_an_async_loop_that_is_cancelled_can_be_begun_again(tmp_path: Path, follow: Follow) -> None:
    interrupt(tmp_path / "a.npz")
    follower, seen = follow(), []

    async def run() -> None:
        async for index in follower:
            seen.append(index)

    for _ in range(2):
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(run(), 0.1))
    assert seen == [(0,), (2,)] * 2


def test_two_loops_and_a_function_of_one_follower_each_tell_all(tmp_path: Path, follow: Follow) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (50, 2), "u2", grid_ndim=1)
    follower, seen = follow(), []
    follower.changed.connect(seen.append)
    loops = iter(follower), iter(follower)
    for i in range(50):
        scan[i] = np.ones(2, "u2")
        assert [next(loop) for loop in loops] == [(i,), (i,)]
    assert wait_until(lambda: len(seen) == 50)
    assert follower.poll() == seen
    scan.close()


@pytest.mark.parametrize("size", [1000, 4096, 8192])
def test_a_journal_that_is_cut_while_it_is_followed(tmp_path: Path, follow: Follow, size: int) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (5000, 2), "u2", grid_ndim=1)
    scan[:10] = np.ones((10, 2), "u2")
    scan.suspend()
    follower = follow()
    follower.poll()
    os.truncate(tmp_path / "a.npz.part.journal", size)
    with pytest.raises(BadFileError, match="was truncated while it was read"):
        follower.poll()


@not_under_wine("an open file is not replaced")
def test_a_journal_that_is_replaced_by_a_damaged_one(
    tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_module, "_GRACE_S", 0.0)
    part = interrupt(tmp_path / "a.npz")
    follower = follow()
    (tmp_path / "new").write_bytes(b"noise" * 2000)
    SYSTEM.replace(tmp_path / "new", part.with_name(part.name + ".journal"))
    with pytest.raises(BadFileError, match="does not begin with the magic bytes of a journal"):
        follower.poll()
