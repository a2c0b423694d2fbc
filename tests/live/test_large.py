"""Ten million frames, and a scan that is killed while it is followed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.live import tracker as tracker_module
from tests.helpers import wait_until
from tests.live.writers import Writer

Follow = Callable[..., lys_storage.Follower]
MANY = 10_000_000


def test_ten_million_frames(tmp_path: Path, follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of an iteration reads a part of the states. A frame anywhere is found within ten looks."""
    scan = lys_storage.create(tmp_path / "a.npz", (MANY, 2), "u1", grid_ndim=1, flush_interval_s=None)
    follower = follow()
    read, sizes = File.read_into, []

    def counting(self: File, buffer: Any, offset: int) -> int:
        sizes.append(len(buffer))
        return read(self, buffer, offset)

    monkeypatch.setattr(File, "read_into", counting)
    for frame in (5_000_000, 9_999_999, 0):
        scan[frame] = np.ones(2, "u1")
        for _ in range(10):
            sizes.clear()
            follower._look(whole=False)
            assert sum(sizes) < 2 << 20
            if follower.newest == (frame,):
                break
        assert follower.newest == (frame,)
        scan[frame + (1 if frame < MANY - 1 else -1)] = np.ones(2, "u1")
        follower._look(whole=False)  # a neighbour is found at once
        assert follower.events % 2 == 0
    scan[1_000_000:3_000_000] = np.ones((2_000_000, 2), "u1")
    found = follower.poll()
    assert (len(found), found[-1], follower.frames_written) == (2_000_006, (2_999_999,), 2_000_006)
    assert follower.data.read((slice(2_999_990, 3_000_010), 0)).tolist() == [1] * 10 + [0] * 10
    assert int(follower.written.sum()) == 2_000_006
    scan.suspend()


@pytest.mark.parametrize("seed", range(4))
def test_kill_in_the_middle_of_a_scan_at_full_speed(
    writer: Writer, start_child: Any, follow: Follow, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What was told can be read, before and after the kill, the resume and the export; at the end each frame was told once."""
    monkeypatch.setattr(tracker_module, "_STATE_S", 0.0)
    frames, size = 2000, (1, 100, 5000, 40_000)[seed]
    loop = "for i in scan.missing(): scan[i] = np.full(scan.frame_shape, i[0] + 1, scan.dtype)"
    writer.create((frames, size), "u4")
    follower, seen = follow(), []

    def check(index: tuple[int, ...]) -> None:
        frame = follower.read(index)
        assert (frame == index[0] + 1).all(), index
        seen.append(index)

    writer.begin(loop)
    told = iter(follower)
    for _ in range(100 + 200 * seed):
        check(next(told))
    writer.kill()
    assert wait_until(lambda: follower.poll() is not None and follower.state in ("interrupted", "finished"))
    for index in np.argwhere(follower.written)[::37]:
        assert (follower.read(tuple(index)) == index[0] + 1).all()
    second = Writer(start_child)
    second.begin(f"scan = lys_storage.resume('a.npz'); exec({loop!r}); scan.close()")
    end = time.monotonic() + 60
    for index in told:
        check(index)
        assert time.monotonic() < end
    second.wait()
    assert follower.state == "finished"
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) == frames
