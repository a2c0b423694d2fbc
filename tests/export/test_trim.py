"""A scan that ended early is trimmed to the lines that were begun."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.export import finalization as finalization_module
from tests.helpers import assert_same_array, load_export, raising
from tests.store.one_block import FRAMES, assert_export, begun


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        (0, (1, 1, 2)),
        (2, (1, 2, 2)),
        (4, (1, 4, 2)),
        (5, (2, 4, 2)),
        (12, (3, 4, 2)),
    ],
    ids=["nothing came", "a part of the first line", "the first line", "a line and one frame", "everything"],
)
@pytest.mark.parametrize("fill", [0, 5], ids=["fill of zeros", "another fill"])
def test_a_trimmed_scan_is_cut_to_the_lines_that_were_begun(
    tmp_path: Path, frames: int, kept: tuple[int, ...], fill: int
) -> None:
    """Lines are counted in raster order. Axes are cut too, and acquisition.json names the original shape."""
    axes = [np.arange(3) * 2.0, np.arange(4) * 3.0, np.arange(2) * 4.0]
    with lys_storage.create(
        tmp_path / "data.npz", (3, 4, 2), "i4", axes=axes, fill_value=fill, grid_ndim=2, incomplete="trim"
    ) as scan:
        expected = np.full((12, 2), fill, "i4")
        for k in range(frames):
            scan[divmod(k, 4)] = expected[k] = [k, -k]
    export = load_export(scan.path)
    assert_same_array(export.data, expected.reshape(3, 4, 2)[tuple(map(slice, kept))])
    assert [axis.tolist() for axis in export.axes] == [a[:n].tolist() for a, n in zip(axes, kept, strict=True)]
    assert export.info.get("trimmed_from") == (None if kept == (3, 4, 2) else [3, 4, 2])
    assert lys_storage.verify(scan.path) == []


def test_frames_that_never_came_hold_nothing_of_a_trimmed_save_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail of the failed export is after the cut. Saving the whole scan later must overwrite it."""
    scan = begun(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(finalization_module, "publish", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.close(incomplete="trim")
    scan.suspend()
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert list(again.missing()) == [(k,) for k in range(3, FRAMES)]
    assert_export(tmp_path / "a.npz", dict.fromkeys(range(3), 0))
