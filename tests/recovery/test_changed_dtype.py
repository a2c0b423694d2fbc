"""A process that dies while the dtype changes can leave the new journal beside the old scan file: the new dtype counts."""

from __future__ import annotations

from pathlib import Path

import pytest

import lys_storage
from tests.helpers import load_export


@pytest.mark.parametrize(("before", "after"), [("u4", "u2"), ("u2", "u4"), ("f8", "c16")])
def test_frames_of_the_new_dtype_survive_a_second_death(tmp_path: Path, before: str, after: str) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (3, 5), before, grid_ndim=1, fill_value=7, flush_interval_s=None)
    old = scan.part_path.read_bytes()
    scan.change_dtype(after, 7)
    part = scan.part_path
    scan.suspend()
    part.write_bytes(old)
    scan = lys_storage.resume(tmp_path / "a.npz", flush_interval_s=None)
    scan[1] = [1, 2, 3, 4, 5]
    scan.suspend()  # as after a death: the scan file has no tail
    (found,) = lys_storage.recover(tmp_path)
    assert found.path == tmp_path / "a.npz", found.message
    export = load_export(found.path)
    assert export.data.dtype == after
    assert export.data.tolist() == [[7] * 5, [1, 2, 3, 4, 5], [7] * 5]
