"""A process that dies while the dtype changes can leave the new journal beside the old scan file: the new dtype counts."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import File
from tests.helpers import load_export


def half_changed(folder: Path, before: str, after: str) -> None:
    scan = lys_storage.create(folder / "a.npz", (3, 5), before, grid_ndim=1, fill_value=7, flush_interval_s=None)
    old = scan.part_path.read_bytes()
    scan.change_dtype(after, 7)
    scan.suspend()
    scan.part_path.write_bytes(old)


def assert_takes_a_frame_and_dies(folder: Path, dtype: str) -> None:
    scan = lys_storage.resume(folder / "a.npz", flush_interval_s=None)
    scan[1] = [1, 2, 3, 4, 5]
    scan.suspend()  # as after a death: the scan file has no tail
    (found,) = lys_storage.recover(folder)
    assert found.path == folder / "a.npz", found.message
    export = load_export(found.path)
    assert export.data.dtype == dtype
    assert export.data.tolist() == [[7] * 5, [1, 2, 3, 4, 5], [7] * 5]


@pytest.mark.parametrize(("before", "after"), [("u4", "u2"), ("u2", "u4"), ("f8", "c16")])
def test_frames_of_the_new_dtype_survive_a_second_death(tmp_path: Path, before: str, after: str) -> None:
    half_changed(tmp_path, before, after)
    assert_takes_a_frame_and_dies(tmp_path, after)


@pytest.mark.parametrize("call", ["write_at", "set_size", "sync"])
def test_a_takeover_that_fails_at_the_head_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    half_changed(tmp_path, "u2", "u4")
    real = getattr(File, call)

    def failing(file: File, *args: Any) -> None:
        if file.path.suffix == ".part":
            raise StorageOSError(errno.EIO, "injected", str(file.path))
        real(file, *args)

    with monkeypatch.context() as patch:
        patch.setattr(File, call, failing)
        with pytest.raises(StorageOSError, match="injected"):
            lys_storage.resume(tmp_path / "a.npz")
    assert_takes_a_frame_and_dies(tmp_path, "u4")
