"""A scan `data.npz`, its export, and the names of its files while it is in progress."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan
from lys_storage.store import FrameTable
from tests.helpers import load_export

IN_PROGRESS = {"data.npz.part", "data.npz.part.journal"}


def begin(tmp_path: Path, shape: Any = (2, 3), dtype: Any = "f8", **options: Any) -> Scan:
    """A scan `data.npz` that is flushed only at its end."""
    return lys_storage.create(tmp_path / "data.npz", shape, dtype, **{"flush_interval_s": None, **options})


def saved(scan: Scan) -> np.ndarray[Any, Any]:
    return load_export(scan.close()).data


def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the frames of later scans with FrameTable.write_one, which a test can patch."""
    monkeypatch.setattr(FrameTable, "write_fast", None)
    monkeypatch.setattr(FrameTable, "write_item_fast", None)
