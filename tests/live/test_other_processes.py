"""A follower goes on when the writer dies, is resumed, changes the layout, ends, or removes the scan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, LysStorageError, MissingFrameError
from lys_storage.live import tracker as tracker_module
from lys_storage.scan.relayout import change_dtype, refine
from tests.helpers import copies_are_trusted, interrupt, wait_until
from tests.live.writers import Writer
from tests.systems import not_on_windows

Follow = Callable[..., lys_storage.Follower]


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "_STATE_S", 0.0)
    monkeypatch.setattr(tracker_module, "_GRACE_S", 0.1)


def test_kill_resume_and_finalize(writer: Writer, start_child: Any, follow: Follow) -> None:
    writer.create((6, 100))
    follower, states, seen = follow(), [], []
    follower.state_changed.connect(states.append)
    writer.write(0, 1, 2)
    writer.kill()
    assert wait_until(lambda: states == ["running", "interrupted"])
    assert set(follower.read(1).tolist()) == {2}
    second = Writer(start_child)
    second.do("scan = lys_storage.resume('a.npz'); scan[4] = full(100, 5)")
    assert wait_until(lambda: states[2:] == ["running"])
    second.begin("scan[0] = full(100, 77); scan.close()")
    seen = list(follower)
    second.wait()
    assert wait_until(lambda: states[2:] == ["running", "finished"])
    assert set(seen[:3]) | set(seen[3:]) == {(0,), (1,), (2,), (4,)}
    assert set(follower.read(0).tolist()) == {77}
    assert follower.written.tolist() == [True, True, True, False, True, False]


def test_recover_exports_the_scan_that_is_followed(tmp_path: Path, writer: Writer, follow: Follow) -> None:
    writer.create((6, 100))
    writer.write(0, 3)
    writer.kill()
    follower = follow()
    assert (follower.poll(), follower.state) == ([(0,), (3,)], "interrupted")
    lys_storage.create(tmp_path / "other.npz", (2,)).close()
    (tmp_path / "other.npz").rename(tmp_path / "a.npz")
    lys_storage.recover(tmp_path)
    assert (follower.poll(), follower.state) == ([], "finished")
    assert (follower.path.name, set(follower.read(3).tolist())) == ("a.recovered_0.npz", {4})


def test_a_trimmed_export_is_shorter(writer: Writer, follow: Follow) -> None:
    writer.create((6, 4, 10), grid_ndim=2, incomplete="trim")
    writer.do("scan[0] = full((4, 10), 1); scan[1, 2] = full(10, 7)")
    follower = follow()
    assert follower.poll() == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2)]
    writer.do("scan[1, 0] = full(10, 8); scan.close()")
    assert (follower.poll(), follower.state, follower.shape) == ([(1, 0)], "finished", (2, 4, 10))
    assert follower.written.tolist() == [[True] * 4, [True, False, True, False]]
    assert follower.read((1, 2)).tolist() == [7] * 10


def test_a_scan_of_one_line_is_trimmed_in_both_dimensions(writer: Writer, follow: Follow) -> None:
    writer.create((6, 4, 10), grid_ndim=2, incomplete="trim")
    follower = follow()
    writer.do("scan[0, 1] = full(10, 7); scan.close()")
    assert (follower.poll(), follower.shape, follower.newest) == ([(0, 1)], (1, 2, 10), (0, 1))


def test_the_first_index_makes_the_grid(writer: Writer, follow: Follow) -> None:
    """Before it the whole array is one frame. The journal is replaced."""
    writer.create((3, 4, 5), grid_ndim=None)
    follower = follow()
    assert (follower.poll(), follower.grid_shape) == ([], ())
    writer.do("scan[1, 2] = full(5, 9)")
    assert (follower.poll(), follower.grid_shape, follower.frame_shape) == ([(1, 2)], (3, 4), (5,))
    assert follower.read((1, 2)).tolist() == [9] * 5


def test_a_finer_grid(tmp_path: Path, follow: Follow) -> None:
    """Frames that were told are not told again. Their events keep the index that they had."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 4, 5), "u2", grid_ndim=1)
    scan[0] = np.full((4, 5), 3, "u2")
    follower = follow()
    assert (follower.poll(), follower.grid_shape) == ([(0,)], (3,))
    refine(scan._store, 2)
    scan[1, 2] = np.full(5, 9, "u2")
    assert (follower.read((1, 2)).tolist(), follower.read(0).tolist()) == ([9] * 5, [[3] * 5] * 4)
    assert follower.poll() == [(1, 2)]
    assert (follower.grid_shape, follower.frames_written) == ((3, 4), 5)
    assert (follower.since(0), follower.since(1)) == ([(0,), (1, 2)], [(1, 2)])
    scan.close()
    assert (follower.poll(), follower.state) == ([], "finished")


def test_a_grid_that_became_finer_just_before_the_end(tmp_path: Path, follow: Follow) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (3, 4, 5), "u2", grid_ndim=1)
    scan[0] = np.full((4, 5), 3, "u2")
    follower = follow()
    assert follower.poll() == [(0,)]
    refine(scan._store, 2)
    scan[1, 2] = np.full(5, 9, "u2")
    scan.close()
    assert (follower.poll(), follower.written.sum(), follower.grid_shape) == ([(1, 2)], 5, (3, 4))


def test_another_dtype_before_the_first_frame(tmp_path: Path, follow: Follow) -> None:
    """Scan file and journal are replaced."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 5), "f8", grid_ndim=1)
    follower = follow()
    assert (follower.poll(), follower.dtype) == ([], "f8")
    change_dtype(scan._store, np.dtype("u2"), None)
    scan[1] = np.arange(5, dtype="u2")
    assert (follower.read(1).tolist(), follower.dtype) == ([0, 1, 2, 3, 4], "u2")
    assert follower.poll() == [(1,)]
    scan.close()


def test_a_scan_that_is_discarded_is_removed(writer: Writer, follow: Follow) -> None:
    writer.create((3, 5))
    follower = follow()
    writer.begin("scan.discard()")
    assert (list(follower), follower.state) == ([], "removed")
    writer.wait()
    with pytest.raises(LysStorageError, match='has the state "removed": there is nothing to read'):
        follower.read(0)


def test_another_scan_of_the_same_name_is_not_followed(writer: Writer, follow: Follow) -> None:
    writer.create((3, 5))
    follower = follow()
    writer.do("scan.discard()")
    writer.create((3, 5))
    writer.write(1)
    assert (follower.poll(), follower.state) == ([], "removed")


def test_a_numbered_scan_whose_number_was_taken_is_found_by_its_file(
    tmp_path: Path, writer: Writer, follow: Follow
) -> None:
    writer.do("scan = lys_storage.create('a.npz', (2, 3), 'u2', grid_ndim=1, numbered=True)")
    writer.do("scan[0] = [1, 2, 3]")
    follower = follow("a_0.npz")
    assert follower.poll() == [(0,)]
    (tmp_path / "a_0.npz").write_bytes(b"taken")
    writer.do("scan[1] = [4, 5, 6]; scan.close()")
    assert (follower.poll(), follower.state, follower.path.name) == ([(1,)], "finished", "a_1.npz")


@not_on_windows("a file that its writer has mapped cannot be removed")
def test_a_journal_that_is_removed_is_an_error_in_words(tmp_path: Path, writer: Writer, follow: Follow) -> None:
    writer.create((3, 5))
    follower = follow()
    (tmp_path / "a.npz.part.journal").unlink()
    states: list[str] = []
    follower.state_changed.connect(states.append)
    assert wait_until(lambda: states[-1:] == ["failed"])
    text = (
        r"its journal a\.npz\.part\.journal is missing, so that nothing tells which frames it has; put the journal back"
    )
    assert follower.error is not None
    with pytest.raises(BadFileError, match=text):
        raise follower.error
    with pytest.raises(BadFileError, match=text):
        for _ in follower:
            pass


def test_a_damaged_journal_is_an_error(tmp_path: Path, follow: Follow) -> None:
    part = interrupt(tmp_path / "a.npz")
    journal = part.with_name(part.name + ".journal")
    raw = bytearray(journal.read_bytes())
    raw[20] ^= 1
    journal.write_bytes(raw)
    with pytest.raises(BadFileError, match="its head is damaged"):
        follow()
    journal.write_bytes(raw[:30])
    with pytest.raises(BadFileError, match="30 bytes"):
        follow()
    journal.write_bytes(b"")
    with pytest.raises(BadFileError, match="is empty"):
        follow()


def test_a_scan_file_that_is_truncated_has_no_frames_there(tmp_path: Path, follow: Follow) -> None:
    part = interrupt(tmp_path / "a.npz")
    follower = follow()
    os.truncate(part, 4096 + 7)
    assert follower.read(0).tolist() == [1, 1, 1]
    with pytest.raises(LysStorageError, match=r"frame \(2,\)"):
        follower.read(2)


def test_a_folder_that_is_renamed_is_followed(tmp_path: Path, writer: Writer) -> None:
    (tmp_path / "before").mkdir()
    writer.do("scan = lys_storage.create('before/a.npz', (3, 2), 'u2', grid_ndim=1); scan[0] = [1, 2]")
    with lys_storage.follow(tmp_path / "before" / "a.npz") as follower:
        assert follower.poll() == [(0,)]
        (tmp_path / "before").rename(tmp_path / "after")
        writer.do("scan[2] = [3, 4]")
        assert (follower.poll(), follower.state) == ([(2,)], "running")
        writer.do("scan[1] = [5, 6]; scan.close()")
        assert follower.poll() == [(1,)]
        assert (follower.path, follower.state) == (tmp_path / "after" / "a.npz", "finished")


def test_of_a_copy_only_frames_that_match_their_checksum_are_there(tmp_path: Path) -> None:
    """Its states are those of another file, and can be of another moment."""
    scan = lys_storage.create(tmp_path / "a.npz", (4, 1 << 18), "u2", grid_ndim=1)
    for i in range(3):
        scan[i] = np.full(1 << 18, i + 1, "u2")
    scan.flush()
    scan[3] = np.full(1 << 18, 4, "u2")
    damaged_at = scan._store.description.array_offset + (2 << 19) + 100
    scan.suspend()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("a.npz.part", "a.npz.part.journal"):
        shutil.copy(tmp_path / name, copy / name)
    with open(copy / "a.npz.part", "r+b") as stream:
        stream.seek(damaged_at)
        stream.write(b"x")
    with lys_storage.follow(copy / "a.npz") as follower:
        assert follower.state == "interrupted"
        assert follower.poll() == [(0,), (1,), (2,), (3,)]
        assert [set(follower.read(i).tolist()) for i in (0, 1, 3)] == [{1}, {2}, {4}]
        with pytest.raises(MissingFrameError, match=r"frame \(2,\) .* has not been written"):
            follower.read(2)
    with copies_are_trusted(), lys_storage.follow(copy / "a.npz") as follower:
        assert len(follower.poll()) == 4


def test_small_frames_of_a_copy_match_the_checksum_of_their_block(tmp_path: Path, small_blocks: None) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (16, 5), "u2", grid_ndim=1)
    scan[:] = np.arange(80, dtype="u2").reshape(16, 5)
    scan.flush()
    scan.suspend()
    (tmp_path / "copy").mkdir()
    for name in ("a.npz.part", "a.npz.part.journal"):
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    part = tmp_path / "copy" / "a.npz.part"
    raw = bytearray(part.read_bytes())
    raw[4096 + 11] ^= 1
    part.write_bytes(raw)
    with lys_storage.follow(part) as follower:
        assert follower.read(8).tolist() == [40, 41, 42, 43, 44]
        for index in (0, 1, 7):
            with pytest.raises(LysStorageError, match="has not been written"):
                follower.read(index)


def test_frames_that_the_scan_has_lost_are_not_written_any_more(tmp_path: Path, follow: Follow) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1)
    scan[0] = scan[1] = np.ones(3, "u2")
    follower = follow()
    assert follower.poll() == [(0,), (1,)]
    scan._store.table.states.invalidate(1, 2)
    assert (follower.poll(), follower.written.tolist()) == ([], [True, False, False, False])
    scan._store.table.states.end_write(1, 2)
    assert (follower.poll(), follower.frames_written) == ([(1,)], 2)
    scan.close()


def test_an_export_with_a_damaged_directory_is_an_error(tmp_path: Path, writer: Writer, follow: Follow) -> None:
    writer.create((3, 2))
    follower = follow()
    writer.do("scan.close()")
    with open(tmp_path / "a.npz", "r+b") as stream:
        stream.truncate(5000)
    with pytest.raises(BadFileError):
        follower.poll()
