"""A frame table without a scan: a file and a journal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lys_storage.disk import File
from lys_storage.journal import Journal
from lys_storage.store import FrameTable
from tests.format.descriptions import HERE
from tests.store.tables import FRAMES, SIZE


@pytest.fixture
def table(tmp_path: Path, small_blocks: None, states_are: str) -> Iterator[FrameTable]:
    """20 frames of 16 bytes: two blocks of eight frames, and four frames without a block."""
    description = dataclasses.replace(HERE, shape=(FRAMES, SIZE), dtype=np.dtype("u1"), grid_ndim=1, fill=b"\0")
    file = File.create(tmp_path / "data_3.npz.part")
    file.set_size(description.array_offset + FRAMES * SIZE)
    table = FrameTable(file, Journal.create(tmp_path / "data_3.npz.part.journal", description, (b"", b"")))
    table.checksums_at_once = False  # as in a scan whose states are trusted after the death of its process
    yield table
    table.journal.close()
    table.file.close()


@pytest.fixture(autouse=True)
def checksums_come_when_the_test_expects_them(no_early_checksums: None) -> None:
    pass
