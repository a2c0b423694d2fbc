"""A scan that another process writes is followed: its frames are told in four ways, and read."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import (
    BadFileError,
    FollowTimeoutError,
    FrameIndexError,
    MissingFrameError,
    ScanClosedError,
    StorageOSError,
)
from lys_storage.disk.systems import SYSTEM
from tests.helpers import assert_same_array, interrupt, some, wait_until
from tests.live.writers import Writer
from tests.systems import not_on_windows

Follow = Callable[..., lys_storage.Follower]


# -- four ways ---------------------------------------------------------------------------------------------------------


def test_poll_gives_the_frames_that_are_new(writer: Writer, follow: Follow) -> None:
    writer.create((5, 3))
    follower = follow()
    assert (follower.poll(), follower.newest, follower.state) == ([], None, "running")
    writer.write(3)
    assert (follower.poll(), follower.newest, follower.frames_written) == ([(3,)], (3,), 1)
    writer.write(0, 1)
    assert (follower.poll(), follower.newest) == ([(0,), (1,)], (1,))
    assert follower.poll() == []
    assert follower.written.tolist() == [True, True, False, True, False]
    assert (follower.since(0), follower.since(1), follower.since(3)) == ([(3,), (0,), (1,)], [(0,), (1,)], [])
    assert (follower.shape, follower.dtype, follower.grid_shape, follower.frame_shape) == ((5, 3), "u2", (5,), (3,))


def test_a_for_loop_ends_after_the_last_frame_of_the_export(writer: Writer, follow: Follow, tmp_path: Path) -> None:
    writer.create((5, 3))
    writer.write(4)
    follower, seen = follow(), []
    for index in follower:
        seen.append((index, follower.read(index).tolist()))
        if index == (4,):
            writer.write(2)
        if index == (2,):
            writer.do("scan[0] = [7, 8, 9]; scan.close()")
    assert seen == [((4,), [5, 5, 5]), ((2,), [3, 3, 3]), ((0,), [7, 8, 9])]
    assert (follower.state, follower.path) == ("finished", tmp_path / "a.npz")
    assert follower.read(0).tolist() == [7, 8, 9]
    assert list(follower) == [(4,), (2,), (0,)]  # another loop begins with the first event


def test_an_async_for_loop_tells_the_same(writer: Writer, follow: Follow) -> None:
    writer.create((5, 3))
    writer.write(1)

    async def seen() -> list[Any]:
        found = []
        async for index in follow():
            found.append(index)
            writer.do("scan.close()")
        return found

    assert asyncio.run(seen()) == [(1,)]


def test_connected_functions_are_called_in_the_thread_of_the_follower(writer: Writer, follow: Follow) -> None:
    writer.create((5, 3))
    writer.write(1)
    follower = follow()
    seen: list[Any] = []
    states: list[str] = []
    follower.changed.connect(lambda index: seen.append((index, threading.current_thread().name)))
    follower.state_changed.connect(states.append)
    assert wait_until(lambda: len(seen) == 1 and states == ["running"])
    writer.write(2)
    assert wait_until(lambda: len(seen) == 2)
    later: list[Any] = []
    follower.changed.connect(later.append)
    writer.do("scan.close()")
    assert wait_until(lambda: states == ["running", "finished"] and len(later) == 2)
    assert seen == [((1,), "lys_storage follow"), ((2,), "lys_storage follow")]
    assert later == [(1,), (2,)]


def test_a_function_that_raises_stops_neither_the_others_nor_the_follower(
    writer: Writer, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    writer.create((5, 3))
    follower, seen = follow(), []

    def fail(index: Any) -> None:
        raise ValueError("of the user")

    follower.changed.connect(fail)
    follower.changed.connect(seen.append)
    writer.write(1)
    assert wait_until(lambda: seen == [(1,)])
    writer.write(3)
    assert wait_until(lambda: seen == [(1,), (3,)])
    follower.changed.disconnect(fail)
    with pytest.raises(ValueError, match="is not connected"):
        follower.changed.disconnect(fail)
    assert caplog.text.count("ValueError: of the user") == 2


def test_a_function_can_close_the_follower(writer: Writer, follow: Follow) -> None:
    writer.create((5, 3))
    writer.write(0, 1, 2)
    follower, seen = follow(), []

    def once(index: Any) -> None:
        seen.append(index)
        follower.close()

    follower.changed.connect(once)
    assert wait_until(lambda: follower._thread is None)
    assert seen == [(0,)]


def test_only_the_newest_frame_of_a_poll(writer: Writer, follow: Follow) -> None:
    writer.create((9, 3))
    writer.write(0, 1, 2)
    follower = follow(latest_only=True)
    assert follower.poll() == [(2,)]
    writer.write(4, 5)
    assert (follower.poll(), follower.since(0)) == ([(5,)], [(0,), (1,), (2,), (4,), (5,)])
    seen = []
    for index in follower:
        seen.append(index)
        writer.do("scan.close()") if len(seen) == 1 else None
    assert seen == [(5,)]


# -- reading -----------------------------------------------------------------------------------------------------------


def test_data_reads_what_is_there(writer: Writer, follow: Follow) -> None:
    """Missing frames hold the fill value, or are an error, as for a Scan."""
    writer.do("data = np.arange(4 * 5 * 6 * 7, dtype='u2').reshape(4, 5, 6, 7)")
    writer.create((4, 5, 6, 7), grid_ndim=2, fill_value=9)
    writer.do("scan[0] = data[0]; scan[1, :3] = data[1, :3]")
    follower = follow()
    expected = np.full((4, 5, 6, 7), 9, "u2")
    whole = np.arange(expected.size, dtype="u2").reshape(expected.shape)
    expected[0], expected[1, :3] = whole[0], whole[1, :3]
    data = follower.data
    assert (data.shape, data.dtype, data.ndim, len(data)) == ((4, 5, 6, 7), "u2", 4, 4)
    for index in [..., 0, (1, 2), (1, -1), (..., 3), (slice(None, None, 2), slice(3, 0, -1)), (1, slice(0, 4), 2, 1)]:
        assert_same_array(data.read(index), np.array(expected[index]))
    assert data[1, 2, 3, 4] == whole[1, 2, 3, 4]
    assert_same_array(data[0, 1:], whole[0, 1:])
    with pytest.raises(MissingFrameError, match=r"index \(1,\) needs frame \(1, 3\)"):
        data[(1,)]
    with pytest.raises(FrameIndexError, match="mask"):
        data.read(np.ones(4, bool))
    with pytest.raises(MissingFrameError):
        np.asarray(data)
    writer.do("scan[1, 3:] = data[1, 3:]; scan[2:] = data[2:]")
    assert_same_array(np.asarray(data), whole)
    writer.do("scan.close()")
    follower.poll()
    assert_same_array(data.read((1, slice(2))), whole[1, :2])
    assert "finished" in data._repr_html_()


def test_a_missing_frame_of_an_export_is_an_error_too(writer: Writer, follow: Follow) -> None:
    writer.create((4, 3))
    writer.write(1)
    writer.do("scan.close()")
    follower = follow()
    assert (follower.poll(), follower.state, follower.frames_written) == ([(1,)], "finished", 1)
    assert follower.data.read(0).tolist() == [0, 0, 0]
    for read in (follower.read, follower.data.__getitem__):
        assert read(1).tolist() == [2, 2, 2]
        with pytest.raises(MissingFrameError):
            read(0)


def test_read_takes_the_index_of_a_frame(writer: Writer, follow: Follow) -> None:
    writer.create((2, 3, 4), grid_ndim=2)
    writer.do("scan[0] = np.arange(12, dtype='u2').reshape(3, 4); scan[1, 1] = full(4, 1)")
    follower = follow()
    assert follower.read((0, -1)).tolist() == [8, 9, 10, 11]
    assert follower.read((np.int64(1), 1)).tolist() == [1] * 4
    assert follower.read(0).tolist() == np.arange(12).reshape(3, 4).tolist()
    with pytest.raises(MissingFrameError, match=r"frame \(1, 0\) of .*a.npz.part has not been written"):
        follower.read(1)
    for index in [2, (0, 3), (0, 0, 0), (-3, 0), slice(2), (True, 0), 1.5, "a"]:
        with pytest.raises(FrameIndexError):
            follower.read(index)


@pytest.mark.parametrize(
    ("shape", "grid_ndim", "dtype"),
    [
        pytest.param((), 0, "f8", id="one number"),
        pytest.param((3, 4), 0, "u2", id="one frame"),
        pytest.param((1, 4), 1, ">c8", id="a grid of one point"),
        pytest.param((5,), 1, "f4", id="numbers"),
        pytest.param((2, 1, 2), 3, "u1", id="bytes"),
        pytest.param((1,) * 30 + (2, 2), 31, "i4", id="32 dimensions"),
        pytest.param((2, 3), 1, "M8[us]", id="times"),
        pytest.param((2, 3), 1, "?", id="bool"),
        pytest.param((2, 3), 1, "S5", id="text"),
    ],
)
def test_any_shape_and_dtype(
    tmp_path: Path, follow: Follow, shape: tuple[int, ...], grid_ndim: int, dtype: str
) -> None:
    data = some(shape, dtype)
    scan = lys_storage.create(tmp_path / "a.npz", shape, dtype, grid_ndim=grid_ndim)
    follower = follow()
    indices = list(np.ndindex(shape[:grid_ndim]))
    for index in indices:
        scan[index] = data[index]
    assert follower.poll() == indices
    for index in indices:
        assert_same_array(follower.read(index), data[index])
    assert_same_array(follower.data.read(), data)
    scan.close()
    assert (follower.poll(), follower.state, follower.written.all()) == ([], "finished", True)
    assert_same_array(follower.data.read(), data)


def test_the_description_of_the_scan(writer: Writer, follow: Follow) -> None:
    writer.create((2, 3), axes=[[0.5, 1.5], None], axis_names=["x", None], units=["mm", None], note={"sample": "TaS2"})
    follower = follow()
    for _ in range(2):
        assert (follower.axis_names, follower.units, follower.note) == (["x", None], ["mm", None], {"sample": "TaS2"})
        assert follower.stored_axes[0].tolist() == [0.5, 1.5]
        assert follower.frames_expected == 2
        writer.do("scan.close()")
        follower.poll()
    assert repr(follower) == f"<Follower {follower.path}: 0 of 2 frames, finished>"


# -- beginning and end -------------------------------------------------------------------------------------------------


def test_a_scan_that_is_not_there_is_an_error(tmp_path: Path, follow: Follow) -> None:
    with pytest.raises(
        StorageOSError, match="no scan in progress and no export has this name: begin the scan"
    ) as caught:
        follow()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "a.npz"))


def test_a_follower_can_wait_for_the_scan(writer: Writer, follow: Follow) -> None:
    follower = follow(wait=True)
    assert (follower.poll(), follower.state) == ([], "waiting")
    with pytest.raises(ScanClosedError, match='has the state "waiting"'):
        follower.shape  # noqa: B018
    seen = []
    writer.begin("scan = lys_storage.create('a.npz', (3, 2), 'u2', grid_ndim=1); scan[1] = [1, 2]; scan.close()")
    seen = list(follower)
    writer.wait()
    assert (seen, follower.state) == ([(1,)], "finished")


def test_the_timeout_of_an_iteration(writer: Writer, follow: Follow) -> None:
    writer.create((3, 2))
    writer.write(1)
    seen: list[Any] = []
    with pytest.raises(FollowTimeoutError, match=r"no frame of .*a.npz has come for 0.05 s: 1 are written"):
        seen.extend(follow(timeout_s=0.05))
    seen.clear()

    async def run() -> None:
        async for index in follow(timeout_s=0.05):
            seen.append(index)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert seen == [(1,)]


def test_close_ends_an_iteration_in_another_thread(writer: Writer, follow: Follow) -> None:
    writer.create((3, 2))
    follower, seen = follow(), []
    thread = threading.Thread(target=lambda: seen.extend([*follower, "ended"]))
    thread.start()
    writer.write(1)
    assert wait_until(lambda: follower.events == 1)
    follower.close()
    thread.join(10)
    assert seen == [(1,), "ended"]
    with pytest.raises(ScanClosedError, match=r"the follower of .* is closed: call follow again"):
        follower.poll()
    with pytest.raises(ScanClosedError):
        follower.read(1)
    follower.close()


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    interrupt(tmp_path / "a.npz")
    for options in ({"poll_interval_s": 0}, {"timeout_s": -1}):
        with pytest.raises(ValueError, match="expected more than 0 seconds"):
            lys_storage.follow(tmp_path / "a.npz", **options)


@pytest.mark.parametrize("name", ["a.npz", "a.npz.part", "a.npz.part.journal"])
def test_the_names_of_a_scan(tmp_path: Path, follow: Follow, name: str) -> None:
    interrupt(tmp_path / "a.npz")
    follower = follow(name)
    assert (follower.poll(), follower.state, follower.path) == ([(0,), (2,)], "interrupted", tmp_path / "a.npz")


def test_an_export_of_another_program(tmp_path: Path, follow: Follow) -> None:
    """Its last two dimensions are a frame."""
    np.savez_compressed(tmp_path / "a.npz", data=np.arange(24).reshape(2, 3, 4))
    follower = follow()
    assert (list(follower), follower.read(1).tolist()) == ([(0,), (1,)], np.arange(12, 24).reshape(3, 4).tolist())


def test_a_scan_that_will_replace_an_export_is_followed_and_not_the_export(
    tmp_path: Path, writer: Writer, follow: Follow
) -> None:
    lys_storage.create(tmp_path / "a.npz", (2,)).close()
    writer.create((3, 2), overwrite=True)
    writer.write(2)
    follower = follow()
    assert (follower.poll(), follower.state) == ([(2,)], "running")
    writer.do("scan.close()")
    assert (follower.poll(), follower.state, follower.shape) == ([], "finished", (3, 2))


def test_two_scans_of_one_name_are_an_error(tmp_path: Path, follow: Follow) -> None:
    interrupt(tmp_path / "a.npz", overwrite=True)
    interrupt(tmp_path / "a.npz", overwrite=True)
    with pytest.raises(BadFileError, match="has 2 scans in progress"):
        follow()


@pytest.mark.parametrize("name", ["データ \N{SNOWMAN}.npz", "a[1].npz", "a b.npz"])
def test_names_that_are_not_plain(tmp_path: Path, follow: Follow, name: str) -> None:
    scan = lys_storage.create(tmp_path / name, (2, 3), "u2", grid_ndim=1)
    follower = follow(name)
    scan[0] = np.ones(3, "u2")
    scan.close()
    assert (follower.poll(), follower.path) == ([(0,)], tmp_path / name)


@not_on_windows("there is no fork")
def test_a_forked_child_opens_the_files_again(writer: Writer, follow: Follow, tmp_path: Path) -> None:
    writer.create((3, 2))
    writer.write(1)
    follower = follow()
    follower.poll()
    pid = os.fork()
    if pid == 0:
        try:
            said = f"{follower.read(1).tolist()} {list(follower.poll())} {follower.frames_written}"
            (tmp_path / "said").write_text(said)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert (tmp_path / "said").read_text() == "[2, 2] [] 1"
    assert follower.read(1).tolist() == [2, 2]


def test_each_file_is_opened_for_reading_only(
    tmp_path: Path, writer: Writer, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of another user, on a disk that is mounted read-only, can be followed."""
    flags, real = [], SYSTEM.open_file

    def spying_open(path: Any, mode: int) -> int:
        if str(tmp_path) in os.fspath(path):
            flags.append(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
        return real(path, mode)

    monkeypatch.setattr(SYSTEM, "open_file", spying_open)
    writer.create((3, 2))
    writer.write(1)
    follower = follow()
    writer.write(1)
    assert (follower.poll()[0], follower.read(1).tolist()) == ((1,), [2, 2])
    writer.do("scan.close()")
    follower.poll()
    assert follower.state == "finished"
    assert set(flags) == {os.O_RDONLY}


def test_nothing_is_mapped_and_no_lock_is_held(
    tmp_path: Path, writer: Writer, run_child: Callable[..., Any], start_child: Callable[..., subprocess.Popen[str]]
) -> None:
    """A resume in another process is not disturbed by a follower."""
    part = interrupt(tmp_path / "a.npz")
    with lys_storage.follow(part, poll_interval_s=0.001) as follower:
        follower.changed.connect(lambda index: None)
        follower.poll()
        if os.path.exists("/proc/self/maps"):
            assert str(tmp_path) not in Path("/proc/self/maps").read_text()
        for _ in range(3):
            writer.do("scan = lys_storage.resume('a.npz'); scan.suspend()")
        assert follower.read(2).tolist() == [3, 3, 3]
