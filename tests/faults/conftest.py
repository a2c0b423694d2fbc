"""Fixtures of the fault tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.operations import Disk, _open_to_all  # noqa: F401  a fixture


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the scans. It does not exist yet."""
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def checksums_come_when_the_test_expects_them(no_early_checksums: None) -> None:
    pass
