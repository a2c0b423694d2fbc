"""Fixtures of the tests of scans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scan.background import SlowDisk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.let_go.set()
