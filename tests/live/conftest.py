"""Fixtures of the tests that follow a scan."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lys_storage
from tests.live.writers import Writer


@pytest.fixture
def writer(start_child: Callable[..., subprocess.Popen[str]]) -> Writer:
    """Another process that writes `a.npz` in tmp_path."""
    return Writer(start_child)


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Callable[..., lys_storage.Follower]]:
    """Followers of `a.npz` in tmp_path, which are closed after the test."""
    made: list[lys_storage.Follower] = []

    def begin(name: str = "a.npz", **options: Any) -> lys_storage.Follower:
        made.append(lys_storage.follow(tmp_path / name, poll_interval_s=0.002, **options))
        return made[-1]

    yield begin
    for follower in made:
        follower.close()
