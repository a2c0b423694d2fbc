"""Small frames share a checksum, a block of them each; what is promised of one frame is promised all the same."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.core import _follower, _fs, _journal
from lys_storage.core._checks import Checks
from lys_storage.core._create import begin_scan
from lys_storage.core._follower import kick_bytes
from lys_storage.core._journal import ABSENT, BLOCK_CHECKED, CHECKED, COMING, REWRITING, WRITTEN, frames_in_block
from lys_storage.core._redo import Redo
from lys_storage.core._scan import Scan
from tests.core.helpers import DEADLINE_S, wait_until

FRAMES, PER_BLOCK, SIZE = 26, 8, 6


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_journal, "_MOST_IN_BLOCK", PER_BLOCK)


@pytest.fixture(params=["stored through a map", "written"], autouse=True)
def marks_are(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test twice: with marks in a map, and as a copy-on-write filesystem needs them."""
    monkeypatch.setattr(_fs.File, "keeps_its_place", lambda self: request.param != "written")
    return str(request.param)


def frame(k: int, version: int = 0) -> Any:
    return np.random.default_rng((k, version)).integers(1, 255, SIZE, dtype="u1")


def begin(folder: Path, frames: Any = range(FRAMES), **options: Any) -> Scan:
    scan = begin_scan(
        *(folder, "a", (FRAMES, SIZE), "u1"),
        **{"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": None, **options},
    )
    for k in frames:
        scan[k] = frame(k)
    return scan


def marks(scan: Scan) -> list[int]:
    return scan._part.journal.mark_array.tolist()


def on_another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fs, "boot_id", lambda: "another")


def assert_is(path: Path, expected: dict[int, Any]) -> None:
    """The export holds these frames, and zeros elsewhere; every checksum in it is right."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        assert {k for k in range(len(wave.data)) if wave.data[k].any()} == set(expected)
        for k, value in expected.items():
            assert np.array_equal(wave.data[k], value), k
        assert wave.info["array_crc32"] == zlib.crc32(np.ascontiguousarray(wave.data))
    assert lys_storage.verify(path.parent) == []


def spoil(scan_file: Path, scan: Scan, k: int, byte: int = 0xFF) -> None:
    with open(scan_file, "r+b") as file:
        file.seek(scan._part.description.array_offset + k * SIZE)
        old = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old ^ byte]))


@pytest.mark.parametrize(
    ("size", "count"),
    [(1, 4096), (8, 4096), (64, 4096), (65, 2048), (8192, 32), (1 << 17, 2), ((1 << 17) + 1, 1), (1 << 30, 1)],
)
def test_a_block_is_of_so_many_frames(size: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power of two, 4096 at most, of 256 KiB at most; large frames stand alone."""
    monkeypatch.setattr(_journal, "_MOST_IN_BLOCK", 4096)
    assert frames_in_block(size) == count


def test_whole_blocks_share_a_checksum_and_the_rest_have_their_own(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    assert marks(scan) == [BLOCK_CHECKED] * 24 + [CHECKED] * 2
    sums = scan._part.journal.block_checksums.tolist()
    assert sums == [zlib.crc32(b"".join(frame(k).tobytes() for k in range(b, b + 8))) for b in (0, 8, 16)]
    assert_is(scan.close(), {k: frame(k) for k in range(FRAMES)})


def test_a_block_with_a_frame_that_is_missing_has_checksums_of_frames(tmp_path: Path) -> None:
    there = [k for k in range(FRAMES) if k != 11]
    scan = begin(tmp_path, there)
    scan.flush()
    expected = [BLOCK_CHECKED] * 8 + [CHECKED] * 8 + [BLOCK_CHECKED] * 8 + [CHECKED] * 2
    expected[11] = ABSENT
    assert marks(scan) == expected
    scan[11] = frame(11)
    scan.flush()
    assert marks(scan)[8:16] == [CHECKED] * 8
    assert_is(scan.close(), {k: frame(k) for k in range(FRAMES)})


def test_before_a_flush_frames_of_unfinished_blocks_wait_for_the_others(tmp_path: Path) -> None:
    """Their checksums would be calls for nothing."""
    scan = begin(tmp_path, range(11))
    scan._part.check_some(scan._part.fresh_bytes)
    assert marks(scan)[:12] == [BLOCK_CHECKED] * 8 + [WRITTEN] * 3 + [ABSENT]
    assert scan._part.fresh == (8, 11)
    for k in range(11, 16):
        scan[k] = frame(k)
    scan._part.check_some(scan._part.fresh_bytes)
    assert marks(scan)[8:16] == [BLOCK_CHECKED] * 8
    assert_is(scan.close(), {k: frame(k) for k in range(16)})


def test_a_frame_that_is_rewritten_leaves_its_block_first(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan[10] = frame(10, 1)
    assert marks(scan)[8:16] == [CHECKED, CHECKED, WRITTEN] + [CHECKED] * 5
    own = scan._part.journal.checksums[8:16].tolist()
    assert own == [zlib.crc32(frame(k).tobytes()) for k in range(8, 16)]  # of 10: the version that is promised
    assert_is(scan.close(), {k: frame(k, int(k == 10)) for k in range(FRAMES)})


def test_a_rewrite_makes_the_other_frames_of_its_block_durable_before_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cut the record may be on disk and put in place; the block's checksum is worth nothing then."""
    scan, order = begin(tmp_path), []
    scan.flush()
    sync, write = _fs.File.sync, _fs.File.write_at
    journal = scan._part.journal.path.name

    def noted_sync(self: _fs.File) -> None:
        order.append(f"sync {self.path.name.removeprefix('a.npz.part')}")
        sync(self)

    def noted_write(self: _fs.File, data: Any, offset: int) -> None:
        if self.path.name != journal:
            order.append(f"write {self.path.name.removeprefix('a.npz.part')}")
        write(self, data, offset)

    monkeypatch.setattr(_fs.File, "sync", noted_sync)
    monkeypatch.setattr(_fs.File, "write_at", noted_write)
    scan[10] = frame(10, 1)
    steps = list(dict.fromkeys(order))
    assert steps == ["sync .journal", "write .redo", "sync .redo", "write "]
    scan.close()


def test_after_a_power_cut_a_block_whose_bytes_are_there_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum counts, whatever the marks say: they may have reached the disk in any order."""
    scan = begin(tmp_path)
    scan.flush()
    scan._part.journal.put_marks(0, np.array([0, 1, 2, 3, 4, 5, 6, 7] * 3 + [3, 3], np.uint8))
    scan.suspend()
    on_another_boot(monkeypatch)
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert marks(again) == [BLOCK_CHECKED] * 24 + [CHECKED] * 2
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES)})


def test_after_a_power_cut_a_torn_block_is_missing_but_for_frames_with_a_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan[17] = frame(17, 1)  # block 2 has checksums of frames from here on
    scan.suspend()
    for k in (3, 20):
        spoil(tmp_path / "a.npz.part", scan, k)
    on_another_boot(monkeypatch)
    lys_storage.recover(tmp_path)
    there = [*range(8, 20), *range(21, FRAMES)]
    assert_is(tmp_path / "a.npz", {k: frame(k, int(k == 17)) for k in there})


def test_after_the_death_of_a_process_a_rotten_mark_in_a_sound_block_is_mended(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan._part.journal.marks[9] = 200
    scan.suspend()
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert marks(again)[8:16] == [BLOCK_CHECKED] * 8


def test_a_rotten_mark_in_a_block_that_is_not_what_it_was_costs_the_block(tmp_path: Path) -> None:
    """One of its frames is wrong, and nobody can tell which: torn bytes are never passed off as data."""
    scan = begin(tmp_path)
    scan.flush()
    scan._part.journal.marks[9] = 200
    scan.suspend()
    spoil(tmp_path / "a.npz.part", scan, 12)
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert marks(again)[8:16] == [COMING] * 8
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES) if k not in range(8, 16)})


@pytest.mark.parametrize(
    ("left", "now"),
    [
        pytest.param([6, 6, 6, 5, 5, 5, 5, 5], [2] * 8, id="while it got its checksum"),
        pytest.param([3, 3, 6, 6, 6, 6, 6, 6], [3, 3, 2, 2, 2, 2, 2, 2], id="while it was taken apart"),
        pytest.param([3, 3, 4, 3, 3, 3, 3, 3], [3, 3, 1, 3, 3, 3, 3, 3], id="in a rewrite whose record is lost"),
    ],
)
def test_a_block_of_which_a_part_is_marked_is_data(tmp_path: Path, left: list[int], now: list[int]) -> None:
    """A process that dies in the middle of storing eight marks leaves some of them."""
    assert left.count(REWRITING) == now.count(COMING)
    scan = begin(tmp_path)
    scan.flush()
    scan._part.journal.put_checksums(8, np.array([zlib.crc32(frame(k).tobytes()) for k in range(8, 16)], np.uint32))
    scan._part.journal.put_marks(8, np.array(left, np.uint8))
    _die(scan)
    with lys_storage.resume(tmp_path / "a.npz", flush_interval_s=None) as again:
        assert marks(again)[8:16] == now
    there = {k: frame(k) for k in range(FRAMES) if not 8 <= k < 16 or now[k - 8] != COMING}
    assert_is(tmp_path / "a.npz", there)


def _die(scan: Scan) -> None:
    """What SIGKILL leaves of it."""
    scan._end_threads()
    scan._part.refuse("dead")
    scan._part.close()
    scan._state = "suspended"


def test_verify_finds_the_block_that_is_not_what_it_was(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.suspend()
    assert lys_storage.verify(tmp_path) == []
    spoil(tmp_path / "a.npz.part", scan, 12)
    spoil(tmp_path / "a.npz.part", scan, 25)
    assert [problem.what for problem in lys_storage.verify(tmp_path)] == [
        "frames 25 are not what their checksums say",
        "of frames 8 to 15 some are not what their common checksum says",
    ]


@pytest.mark.parametrize("last", [0, 6, 7, 8, 12, 16, 24])
def test_a_trim_may_cut_a_block(tmp_path: Path, last: int) -> None:
    """What is kept of it gets checksums of its own."""
    scan = begin(tmp_path, range(last + 1))
    scan.flush()
    for k in range(last + 1, 8):  # the rest of the first block had come, and is cut off by a lie of the marks
        scan._part.journal.marks[k] = ABSENT
    path = scan.close(trim=True)
    with lys_storage.open_wave(path) as wave:
        assert wave.shape == (last + 1, SIZE)
    assert_is(path, {k: frame(k) for k in range(last + 1)})


def test_a_cut_within_a_block_that_shares_a_checksum_takes_it_apart(tmp_path: Path) -> None:
    """A grid of two dimensions is cut to the lines that were begun: here 2 x 5 of 4 x 5, in blocks of 8."""
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 2, "flush_interval_s": None}
    scan = begin_scan(tmp_path, "a", (4, 5, SIZE), "u1", **options)
    for k in range(16):
        scan[divmod(k, 5)] = frame(k)
    scan.flush()
    assert marks(scan)[:16] == [BLOCK_CHECKED] * 16
    scan._part.journal.set_marks(10, 20, ABSENT)
    scan._part.frames_written = 10
    path = scan.close(trim=True)
    with lys_storage.open_wave(path) as wave:
        assert wave.shape == (2, 5, SIZE)
        assert np.array_equal(wave.data.reshape(10, SIZE), [frame(k) for k in range(10)])
    assert lys_storage.verify(tmp_path) == []


def test_a_finer_grid_keeps_what_blocks_hold(tmp_path: Path) -> None:
    scan = begin(tmp_path, range(17))
    scan.flush()
    scan[20, 1] = 77
    assert marks(scan)[: 17 * SIZE] == [BLOCK_CHECKED] * 96 + [CHECKED] * 6
    only = np.zeros(SIZE, "u1")
    only[1] = 77
    assert_is(scan.close(), {**{k: frame(k) for k in range(17)}, 20: only})


@pytest.mark.parametrize("lost", [False, True], ids=["the bytes are still there", "they are gone"])
def test_after_a_failed_sync_a_block_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """As a whole; where its bytes are no longer those that came, all of it is missing, and the error says so."""
    scan = begin(tmp_path)
    real, failing = _fs.File.sync, True

    def sync(self: _fs.File) -> None:
        if failing and self.path.name.endswith(".part"):
            raise lys_storage.StorageOSError(5, "injected", str(self.path))
        real(self)

    monkeypatch.setattr(_fs.File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="injected"):
        scan.flush()
    failing = False
    if lost:
        spoil(tmp_path / "a.npz.part", scan, 12)
        with pytest.raises(lys_storage.StorageOSError, match="8 frames were lost"):
            scan.flush()
    scan.flush()
    there = [k for k in range(FRAMES) if not (lost and 8 <= k < 16)]
    assert scan.frames_written == len(there)
    assert_is(scan.close(), {k: frame(k) for k in there})


def test_a_failed_sync_is_not_forgotten_by_the_death_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes the scan over writes everything again before a sync of his counts."""
    scan = begin(tmp_path)
    real, written = _fs.File.sync, []

    def failing(self: _fs.File) -> None:
        raise lys_storage.StorageOSError(5, "injected", str(self.path))

    monkeypatch.setattr(_fs.File, "sync", failing)
    with pytest.raises(lys_storage.StorageOSError, match="injected"):
        scan.flush()
    _die(scan)
    monkeypatch.setattr(_fs.File, "sync", real)
    write = _fs.File.write_at

    def noted(self: _fs.File, data: Any, offset: int) -> None:
        if self.path.name == "a.npz.part":
            written.append((offset, len(data)))
        write(self, data, offset)

    monkeypatch.setattr(_fs.File, "write_at", noted)
    lys_storage.recover(tmp_path)
    offset = scan._part.description.array_offset
    array = sorted(w for w in written if offset <= w[0] < offset + FRAMES * SIZE)
    assert array == [(offset, FRAMES * SIZE)]
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES)})


@pytest.mark.parametrize("size", [1 << 20, 1 << 14], ids=["frames that stand alone", "frames in blocks"])
def test_checksums_are_taken_behind_the_writer_long_before_the_end(tmp_path: Path, size: int) -> None:
    """What is left for the end to do is a few frames, however many have come: without a flush as well."""
    frames = 3 * kick_bytes(size) // size
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": None}
    scan = begin_scan(tmp_path, "a", (frames, size), "u1", **options)
    value = np.ones(size, "u1")
    for k in range(frames):
        scan[k] = value

    def checked_bytes() -> int:
        return int(np.isin(scan._part.journal.mark_array, (CHECKED, BLOCK_CHECKED)).sum()) * size

    assert wait_until(lambda: checked_bytes() >= kick_bytes(size))
    scan.close()


def test_what_a_failed_sync_has_lost_is_missing_for_who_takes_the_scan_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has let go of pages that it could not write: what has a checksum is asked for it, once."""
    scan = begin(tmp_path)
    real = _fs.File.sync

    def failing(self: _fs.File) -> None:
        raise lys_storage.StorageOSError(5, "injected", str(self.path))

    monkeypatch.setattr(_fs.File, "sync", failing)
    with pytest.raises(lys_storage.StorageOSError, match="injected"):
        scan.flush()
    _die(scan)
    monkeypatch.setattr(_fs.File, "sync", real)
    for k in (12, 25):
        spoil(tmp_path / "a.npz.part", scan, k)
    (result,) = lys_storage.recover(tmp_path)
    there = [*range(8), *range(16, 25)]
    assert (result.path, result.frames_written) == (tmp_path / "a.npz", len(there))
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in there})


@pytest.mark.usefixtures("python_sums")
def test_a_rewrite_that_begins_while_its_block_gets_a_checksum_keeps_it_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked, and found no block to leave: a block that were made behind it would hold a frame that changes."""
    scan, real_sums, real_append = begin(tmp_path), Checks.sums, Redo.append
    looked, go_on = threading.Event(), threading.Event()

    def append(*args: Any) -> Any:
        looked.set()
        assert go_on.wait(DEADLINE_S)
        return real_append(*args)

    def sums(checks: Checks, numbers: Any, size: int) -> Any:
        result = real_sums(checks, numbers, size)
        if size == 8 * SIZE and not looked.is_set():
            writer.start()
            assert looked.wait(DEADLINE_S)
        return result

    writer = threading.Thread(target=lambda: scan.write(10, frame(10, 1)))
    monkeypatch.setattr(Redo, "append", append)
    monkeypatch.setattr(Checks, "sums", sums)
    scan._part.check()
    assert marks(scan)[:24] == [BLOCK_CHECKED] * 8 + [CHECKED] * 8 + [BLOCK_CHECKED] * 8
    go_on.set()
    writer.join(DEADLINE_S)
    scan.flush()
    assert marks(scan)[8:16] == [CHECKED] * 8
    assert_is(scan.close(), {k: frame(k, int(k == 10)) for k in range(FRAMES)})


def test_frames_that_are_rewritten_again_and_again_beside_checks_end_in_a_sound_export(tmp_path: Path) -> None:
    """By two threads, while a third takes checksums: at the end each frame is one of its versions, and whole."""
    scan, stop = begin(tmp_path), threading.Event()
    faults: list[BaseException] = []
    turns: Counter[Any] = Counter()

    def guarded(work: Any) -> Any:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
                    turns[work] += 1
            except BaseException as error:
                faults.append(error)

        return run

    def rewrite(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return lambda: scan.write(int(rng.integers(FRAMES)), np.full(SIZE, rng.integers(1, 255), "u1"))

    threads = [threading.Thread(target=guarded(work)) for work in (rewrite(1), rewrite(2), scan._part.check)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: faults or (len(turns) == 3 and min(turns.values()) >= 500))
    stop.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert faults == []
    path = scan.close()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        assert all(len(set(row.tolist())) == 1 or np.array_equal(row, frame(k)) for k, row in enumerate(wave.data))
    assert lys_storage.verify(tmp_path) == []


def began(tmp_path: Path, frames: int, size: int) -> Scan:
    """A scan of frames that stand alone or in blocks, whose follower never looks by itself."""
    scan = lys_storage.create(tmp_path / "a.npz", (frames, size), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(frames):
        scan._part.tell_at = 1 << 62
        scan._put_one = scan.put_only = None
        scan._part.put_frame(scan._part.form, k, np.full(size, k + 1, "u1"))
    return scan


@pytest.mark.parametrize(("size", "step"), [(1 << 18, 4), (1 << 15, 16)], ids=["frames that stand alone", "in blocks"])
def test_what_came_last_is_checked_first_and_the_rest_when_nothing_is_new(tmp_path: Path, size: int, step: int) -> None:
    frames, some = 10 * step, step * size
    scan = began(tmp_path, frames, size)
    part, done = scan._part, (CHECKED, BLOCK_CHECKED)
    spans = []
    for _ in range(10):
        span, came = part.check_some(some)
        assert came == (span[1] - span[0]) * size
        spans.append(span)
        assert [mark in done for mark in marks(scan)] == [any(a <= k < b for a, b in spans) for k in range(frames)]
    assert spans == [(frames - (k + 1) * step, frames - k * step) for k in range(9)] + [(0, step)]
    assert part.check_some(some) == ((0, 0), 0)
    assert (part.older, part.fresh, part.fresh_bytes) == ([], (0, 0), 0)
    assert_is(scan.close(), {k: np.full(size, k + 1, "u1") for k in range(frames)})


def test_what_waits_for_its_checksums_is_promised_by_the_next_flush(tmp_path: Path) -> None:
    scan = began(tmp_path, 24, 1 << 18)
    part = scan._part
    assert part.check_some(8 << 18) == ((16, 24), 8 << 18)
    assert part.older == [(0, 16)]
    scan.flush()
    assert (part.older, marks(scan)) == ([], [CHECKED] * 24)
    scan.close()


def test_a_check_that_fails_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = began(tmp_path, 24, 1 << 18)
    part = scan._part
    with monkeypatch.context() as patch:
        patch.setattr(part, "take_checksums", lambda *args, **more: 1 / 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                part.check_some(8 << 18)
            part.fresh_bytes = 24 << 18
        with pytest.raises(ZeroDivisionError):
            scan.flush()
    scan.flush()
    assert marks(scan) == [CHECKED] * 24
    scan.close()


def test_frames_that_come_far_apart_are_not_taken_apart_by_their_numbers(tmp_path: Path) -> None:
    size = 1 << 18
    scan = lys_storage.create(tmp_path / "a.npz", (100, size), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(0, 100, 3):
        scan._part.tell_at = 1 << 62
        scan._part.put_frame(scan._part.form, k, np.full(size, k, "u1"))
    assert scan._part.check_some(8 * size) == ((0, 100), 34 * size)
    assert marks(scan) == [CHECKED if k % 3 == 0 else ABSENT for k in range(100)]
    scan.close()


def test_a_frame_larger_than_what_is_checked_at_once_is_checked(tmp_path: Path) -> None:
    scan = began(tmp_path, 3, 1 << 20)
    assert [scan._part.check_some(1000)[0] for _ in range(4)] == [(2, 3), (1, 2), (0, 1), (0, 0)]
    scan.close()


def test_an_interrupt_between_taking_over_what_is_new_and_looking_at_it_leaves_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = began(tmp_path, 24, 1 << 18)
    part = scan._part
    part.check_some(8 << 18)
    real = part._take_fresh

    def interrupted() -> Any:
        real()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(part, "_take_fresh", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.flush()
    assert part.older == []
    scan.flush()
    assert marks(scan) == [CHECKED] * 24
    scan.close()


def test_an_interrupt_while_the_follower_is_told_has_it_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (8, 100), "u1", grid_ndim=1, flush_interval_s=60.0)
    scan[0] = np.ones(100, "u1")
    part, follower = scan._part, scan._follower
    assert follower is not None
    assert part.tell_at == kick_bytes(100)
    part.tell_at, follower._to_disk.knows = 0, False  # as after a flush

    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(follower._to_disk._wake, "set", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan[1] = np.ones(100, "u1")
    assert (part.tell_at, follower._to_disk.knows) == (0, False)
    scan[2] = np.ones(100, "u1")
    assert (part.tell_at, follower._to_disk.knows) == (kick_bytes(100), True)
    scan.close()


@pytest.mark.parametrize("interval", [None, 60.0])
def test_a_follower_that_cannot_go_on_rests_before_it_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float | None
) -> None:
    """For AGAIN_S (a rest takes no time here, and the disk is mended in the third)."""
    done: list[Any] = []
    monkeypatch.setattr(_follower, "AGAIN_S", 12.5)
    scan = lys_storage.create(tmp_path / "a.npz", (24, 1 << 18), "u1", grid_ndim=1, flush_interval_s=interval)
    scan._failed = lambda error: done.append("told")
    part = scan._part
    failing = threading.Event()
    failing.set()
    real = part.settle_rewrites

    def settle() -> None:
        if failing.is_set():
            assert scan._follower is not None
            monkeypatch.setattr(scan._follower._ended, "wait", rest)
            raise lys_storage.StorageOSError(5, "it cannot be put in its place", "x")
        real()

    def rest(seconds: float) -> None:
        done.append(seconds)
        if done.count(seconds) == 3:
            failing.clear()

    monkeypatch.setattr(part, "settle_rewrites", settle)
    part.older.append((0, 8))
    part.tell_at = 1 << 62
    for k in range(24):
        scan[k] = np.ones(1 << 18, "u1")
    scan._frames_came(part)
    assert wait_until(lambda: marks(scan)[:8] == [CHECKED] * 8)
    assert done == ["told", 12.5] * 3
    scan.close()
