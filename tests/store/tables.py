"""Helpers for a frame table without a scan, which the fixture `table` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage.disk import File, sync_folder
from lys_storage.store import FrameTable
from lys_storage.store import syncer as syncer_module

FRAMES, SIZE = 20, 16


def frame(k: int, version: int = 0) -> Any:
    return np.full(SIZE, 1 + k + 100 * version, "u1")


def put(table: FrameTable, *numbers: int) -> None:
    for k in numbers:
        assert table.write_one(table.layout, k, frame(k))


def states(table: FrameTable) -> list[int]:
    return table.states.array.tolist()


def assert_holds(table: FrameTable, first: int, *frames: Any) -> None:
    """The file has these frames from `first` on."""
    size = len(frames) * SIZE
    assert table.file.read_at(size, table.offset_of(first)) == b"".join(each.tobytes() for each in frames)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record each later sync, ("sync", suffix) or ("sync", "folder"), and each ("write", suffix, offset, size).

    Writes of the journal are left out.
    """
    calls: list[tuple[Any, ...]] = []
    sync, write_at = File.sync, File.write_at

    def noted_sync(file: File) -> None:
        calls.append(("sync", _suffix(file.path)))
        sync(file)

    def noted_write_at(file: File, data: Any, offset: int) -> None:
        if _suffix(file.path) != ".journal":
            calls.append(("write", _suffix(file.path), offset, len(data)))
        write_at(file, data, offset)

    def noted_sync_folder(folder: Path) -> None:
        calls.append(("sync", "folder"))
        sync_folder(folder)

    monkeypatch.setattr(syncer_module, "sync_folder", noted_sync_folder)
    monkeypatch.setattr(File, "sync", noted_sync)
    monkeypatch.setattr(File, "write_at", noted_write_at)
    return calls


def _suffix(path: Path) -> str:
    return path.name.rpartition(".")[1] + path.name.rpartition(".")[2]
