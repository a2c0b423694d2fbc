"""Fixtures of the tests of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

import lys_storage
from tests.helpers import some


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of 4 x 5 frames of 2 x 3."""
    with lys_storage.create(tmp_path / "data.npz", (4, 5, 2, 3), "i4", axes=[[1.5, 2, 3, 4]], note={"a": [1]}) as scan:
        scan[...] = some((4, 5, 2, 3), "i4")
    return scan.path
