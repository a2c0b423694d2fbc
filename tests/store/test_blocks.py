"""Small frames share the checksum of a block. The guarantees for a single frame still hold."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.journal import ABSENT, BLOCK_CHECKSUMMED, CHECKSUMMED, REWRITING, WRITING, WRITTEN, RedoLog
from lys_storage.journal import layout as layout_module
from lys_storage.journal.layout import frames_in_block
from lys_storage.scan import begin_scan
from lys_storage.scan.relayout import refine
from lys_storage.store import Checksummer
from tests.helpers import DEADLINE_S, wait_until
from tests.store.small_blocks import (
    FRAMES,
    SIZE,
    assert_is,
    begin,
    begin_without_checksums,
    frame,
    killed,
    on_another_boot,
    spoil,
    states,
    write_states,
)

pytestmark = pytest.mark.usefixtures("small_blocks", "states_are")


@pytest.mark.parametrize(
    ("size", "count"),
    [(1, 4096), (8, 4096), (64, 4096), (65, 2048), (8192, 32), (1 << 17, 2), ((1 << 17) + 1, 1), (1 << 30, 1)],
)
def test_the_size_of_a_frame_decides_how_many_share_a_checksum(
    size: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a power of two, at most 4096 frames and at most 256 KiB. A large frame is not in a block."""
    monkeypatch.setattr(layout_module, "_MOST_IN_BLOCK", 4096)
    assert frames_in_block(size) == count


def test_whole_blocks_share_a_checksum_and_the_rest_have_their_own(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    assert states(scan) == [BLOCK_CHECKSUMMED] * 24 + [CHECKSUMMED] * 2
    sums = scan._store.journal.states.block_checksums.tolist()
    assert sums == [zlib.crc32(b"".join(frame(k).tobytes() for k in range(b, b + 8))) for b in (0, 8, 16)]
    assert_is(scan.close(), {k: frame(k) for k in range(FRAMES)})


def test_a_block_with_a_frame_that_is_missing_has_checksums_of_frames(tmp_path: Path) -> None:
    there = [k for k in range(FRAMES) if k != 11]
    scan = begin(tmp_path, there)
    scan.flush()
    expected = [BLOCK_CHECKSUMMED] * 8 + [CHECKSUMMED] * 8 + [BLOCK_CHECKSUMMED] * 8 + [CHECKSUMMED] * 2
    expected[11] = ABSENT
    assert states(scan) == expected
    scan[11] = frame(11)
    scan.flush()
    assert states(scan)[8:16] == [CHECKSUMMED] * 8
    assert_is(scan.close(), {k: frame(k) for k in range(FRAMES)})


def test_before_a_flush_frames_of_unfinished_blocks_wait_for_the_others(tmp_path: Path) -> None:
    """Their own checksums would be wasted work."""
    scan = begin(tmp_path, range(11))
    scan._store.checksum_batch(scan._store.table.dirty_bytes)
    assert states(scan)[:12] == [BLOCK_CHECKSUMMED] * 8 + [WRITTEN] * 3 + [ABSENT]
    assert scan._store.table.dirty == (8, 11)
    for k in range(11, 16):
        scan[k] = frame(k)
    scan._store.checksum_batch(scan._store.table.dirty_bytes)
    assert states(scan)[8:16] == [BLOCK_CHECKSUMMED] * 8
    assert_is(scan.close(), {k: frame(k) for k in range(16)})


def test_a_frame_that_is_rewritten_leaves_its_block_first(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan[10] = frame(10, 1)
    assert states(scan)[8:16] == [CHECKSUMMED, CHECKSUMMED, WRITTEN] + [CHECKSUMMED] * 5
    own = scan._store.journal.states.checksums[8:16].tolist()
    assert own == [zlib.crc32(frame(k).tobytes()) for k in range(8, 16)]  # of frame 10: the durable version
    assert_is(scan.close(), {k: frame(k, int(k == 10)) for k in range(FRAMES)})


def test_a_rewrite_makes_the_other_frames_of_its_block_durable_before_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the record may be applied. The checksum of the block is then invalid."""
    scan, order = begin(tmp_path), []
    scan.flush()
    sync, write = File.sync, File.write_at
    journal = scan._store.journal.path.name

    def noted_sync(self: File) -> None:
        order.append(f"sync {self.path.name.removeprefix('a.npz.part')}")
        sync(self)

    def noted_write(self: File, data: Any, offset: int) -> None:
        if self.path.name != journal:
            order.append(f"write {self.path.name.removeprefix('a.npz.part')}")
        write(self, data, offset)

    monkeypatch.setattr(File, "sync", noted_sync)
    monkeypatch.setattr(File, "write_at", noted_write)
    scan[10] = frame(10, 1)
    steps = list(dict.fromkeys(order))
    assert steps == ["sync .journal", "write .redo", "sync .redo", "write "]
    scan.close()


def test_after_a_power_cut_a_block_whose_bytes_are_there_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum decides, not its states, which can reach the disk in any order."""
    scan = begin(tmp_path)
    scan.flush()
    scan.suspend()
    write_states(tmp_path / "a.npz.part.journal", 0, [*range(8), *[0, 1, 2, 3, 4, 5, 0, 1] * 2, 3, 3])
    on_another_boot(monkeypatch)
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert states(again) == [BLOCK_CHECKSUMMED] * 24 + [CHECKSUMMED] * 2
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES)})


def test_after_a_power_cut_a_torn_block_is_missing_but_for_frames_with_a_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan[17] = frame(17, 1)  # from here on the frames of block 2 have their own checksums
    scan.suspend()
    for k in (3, 20):
        spoil(tmp_path / "a.npz.part", k)
    on_another_boot(monkeypatch)
    lys_storage.recover(tmp_path)
    there = [*range(8, 20), *range(21, FRAMES)]
    assert_is(tmp_path / "a.npz", {k: frame(k, int(k == 17)) for k in there})


def test_after_the_death_of_a_process_a_rotten_state_in_a_sound_block_is_mended(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.flush()
    scan.suspend()
    write_states(tmp_path / "a.npz.part.journal", 9, [200])
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert states(again)[8:16] == [BLOCK_CHECKSUMMED] * 8


def test_a_rotten_state_in_a_block_that_is_not_what_it_was_costs_the_block(tmp_path: Path) -> None:
    """One of its frames is damaged, and it is unknown which: torn bytes are never taken for data."""
    scan = begin(tmp_path)
    scan.flush()
    scan.suspend()
    write_states(tmp_path / "a.npz.part.journal", 9, [200])
    spoil(tmp_path / "a.npz.part", 12)
    with lys_storage.resume(tmp_path / "a.npz") as again:
        assert states(again)[8:16] == [WRITING] * 8
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES) if k not in range(8, 16)})


@pytest.mark.parametrize(
    ("left", "now"),
    [
        pytest.param([6, 6, 6, 5, 5, 5, 5, 5], [2] * 8, id="while it got its checksum"),
        pytest.param([3, 3, 6, 6, 6, 6, 6, 6], [3, 3, 2, 2, 2, 2, 2, 2], id="while it was split"),
        pytest.param([3, 3, 4, 3, 3, 3, 3, 3], [3, 3, 1, 3, 3, 3, 3, 3], id="in a rewrite whose record is lost"),
    ],
)
def test_a_block_of_which_some_states_were_stored_is_data(tmp_path: Path, left: list[int], now: list[int]) -> None:
    """A process that is killed while it stores eight states leaves some of them."""
    assert left.count(REWRITING) == now.count(WRITING)
    killed(lambda: begin(tmp_path).flush())
    journal = tmp_path / "a.npz.part.journal"
    write_states(journal, 8, left)
    with open(journal, "r+b") as file:
        file.seek(8192 + 4 * 8)  # the table of checksums
        file.write(b"".join(zlib.crc32(frame(k).tobytes()).to_bytes(4, "little") for k in range(8, 16)))
    with lys_storage.resume(tmp_path / "a.npz", flush_interval_s=None) as again:
        assert states(again)[8:16] == now
    there = {k: frame(k) for k in range(FRAMES) if not 8 <= k < 16 or now[k - 8] != WRITING}
    assert_is(tmp_path / "a.npz", there)


def test_verify_finds_the_block_that_is_not_what_it_was(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.suspend()
    assert lys_storage.verify(tmp_path) == []
    spoil(tmp_path / "a.npz.part", 12)
    spoil(tmp_path / "a.npz.part", 25)
    advice = "lys-storage recover --verify exports the scan without such frames"
    assert [problem.what for problem in lys_storage.verify(tmp_path)] == [
        f"frames 25 do not match their checksums: {advice}",
        f"of frames 8 to 15 some do not match their common checksum: {advice}",
    ]


@pytest.mark.parametrize("last", [0, 6, 7, 8, 12, 16, 24])
def test_a_trim_may_cut_a_block(tmp_path: Path, last: int) -> None:
    """The frames that are kept get their own checksums."""
    scan = begin(tmp_path, range(last + 1))
    scan.flush()
    for k in range(last + 1, 8):  # the rest of the first block was written; these states hide it from the trim
        scan._store.journal.states.raw[k] = ABSENT
    path = scan.close(incomplete="trim")
    with lys_storage.open_wave(path) as wave:
        assert wave.shape == (last + 1, SIZE)
    assert_is(path, {k: frame(k) for k in range(last + 1)})


def test_a_cut_within_a_block_that_shares_a_checksum_splits_it(tmp_path: Path) -> None:
    """A grid of two dimensions is cut to the lines that were begun: here 2 x 5 of 4 x 5, in blocks of 8."""
    options: dict[str, Any] = {"numbered": False, "replace_existing": False, "grid_ndim": 2, "flush_interval_s": None}
    scan = begin_scan(tmp_path, "a", (4, 5, SIZE), "u1", **options)
    for k in range(16):
        scan[divmod(k, 5)] = frame(k)
    scan.flush()
    assert states(scan)[:16] == [BLOCK_CHECKSUMMED] * 16
    scan._store.journal.states._set(10, 20, ABSENT)
    scan._store.table.frames_written = 10
    path = scan.close(incomplete="trim")
    with lys_storage.open_wave(path) as wave:
        assert wave.shape == (2, 5, SIZE)
        assert np.array_equal(wave.data.reshape(10, SIZE), [frame(k) for k in range(10)])
    assert lys_storage.verify(tmp_path) == []


def test_a_finer_grid_keeps_what_blocks_hold(tmp_path: Path) -> None:
    scan = begin(tmp_path, range(17))
    scan.flush()
    refine(scan._store, 2)
    scan[20, 1] = 77
    assert states(scan)[: 17 * SIZE] == [BLOCK_CHECKSUMMED] * 96 + [CHECKSUMMED] * 6
    only = np.zeros(SIZE, "u1")
    only[1] = 77
    assert_is(scan.close(), {**{k: frame(k) for k in range(17)}, 20: only})


@pytest.mark.usefixtures("python_sums")
def test_a_rewrite_that_begins_while_its_block_gets_a_checksum_keeps_it_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewrite found no block to split. A block made after that would contain a frame that changes."""
    scan, real_sums, real_append = begin(tmp_path), Checksummer.sums, RedoLog.append
    looked, go_on = threading.Event(), threading.Event()

    def append(*args: Any) -> Any:
        looked.set()
        assert go_on.wait(DEADLINE_S)
        return real_append(*args)

    def sums(self: Checksummer, numbers: Any, size: int) -> Any:
        result = real_sums(self, numbers, size)
        if size == 8 * SIZE and not looked.is_set():
            writer.start()
            assert looked.wait(DEADLINE_S)
        return result

    writer = threading.Thread(target=lambda: scan.write(10, frame(10, 1)))
    monkeypatch.setattr(RedoLog, "append", append)
    monkeypatch.setattr(Checksummer, "sums", sums)
    scan._store.checksum_dirty()
    assert states(scan)[:24] == [BLOCK_CHECKSUMMED] * 8 + [CHECKSUMMED] * 8 + [BLOCK_CHECKSUMMED] * 8
    go_on.set()
    writer.join(DEADLINE_S)
    scan.flush()
    assert states(scan)[8:16] == [CHECKSUMMED] * 8
    assert_is(scan.close(), {k: frame(k, int(k == 10)) for k in range(FRAMES)})


def test_frames_that_are_rewritten_again_and_again_beside_checksums_end_in_a_sound_export(tmp_path: Path) -> None:
    """Two threads rewrite while a third computes checksums. At the end each frame is one whole version."""
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

    threads = [threading.Thread(target=guarded(work)) for work in (rewrite(1), rewrite(2), scan._store.checksum_dirty)]
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


@pytest.mark.parametrize(("size", "step"), [(1 << 18, 4), (1 << 15, 16)], ids=["frames that stand alone", "in blocks"])
def test_what_came_last_gets_its_checksum_first_and_the_rest_when_nothing_is_new(
    tmp_path: Path, size: int, step: int
) -> None:
    frames, some = 10 * step, step * size
    scan = begin_without_checksums(tmp_path, frames, size)
    store, done = scan._store, (CHECKSUMMED, BLOCK_CHECKSUMMED)
    spans = []
    for _ in range(10):
        span, came = store.checksum_batch(some)
        assert came == (span[1] - span[0]) * size
        spans.append(span)
        assert [state in done for state in states(scan)] == [any(a <= k < b for a, b in spans) for k in range(frames)]
    assert spans == [(frames - (k + 1) * step, frames - k * step) for k in range(9)] + [(0, step)]
    assert store.checksum_batch(some) == ((0, 0), 0)
    assert (store.table.dirty_backlog, store.table.dirty, store.table.dirty_bytes) == ([], (0, 0), 0)
    assert_is(scan.close(), {k: np.full(size, k + 1, "u1") for k in range(frames)})


def test_what_waits_for_its_checksums_is_promised_by_the_next_flush(tmp_path: Path) -> None:
    scan = begin_without_checksums(tmp_path, 24, 1 << 18)
    store = scan._store
    assert store.checksum_batch(8 << 18) == ((16, 24), 8 << 18)
    assert store.table.dirty_backlog == [(0, 16)]
    scan.flush()
    assert (store.table.dirty_backlog, states(scan)) == ([], [CHECKSUMMED] * 24)
    scan.close()


def test_checksums_that_fail_leave_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = begin_without_checksums(tmp_path, 24, 1 << 18)
    store = scan._store
    with monkeypatch.context() as patch:
        patch.setattr(store._checksummer, "checksum", lambda *args, **more: 1 / 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                store.checksum_batch(8 << 18)
            store.table.dirty_bytes = 24 << 18
        with pytest.raises(ZeroDivisionError):
            scan.flush()
    scan.flush()
    assert states(scan) == [CHECKSUMMED] * 24
    scan.close()


def test_frames_that_come_far_apart_are_not_cut_into_batches_by_their_numbers(tmp_path: Path) -> None:
    size = 1 << 18
    scan = lys_storage.create(tmp_path / "a.npz", (100, size), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(0, 100, 3):
        scan._store.table.wake_at_bytes = 1 << 62
        scan._store.table.write_one(scan._store.table.layout, k, np.full(size, k, "u1"))
    assert scan._store.checksum_batch(8 * size) == ((0, 100), 34 * size)
    assert states(scan) == [CHECKSUMMED if k % 3 == 0 else ABSENT for k in range(100)]
    scan.close()


def test_a_frame_larger_than_a_batch_gets_its_checksum(tmp_path: Path) -> None:
    scan = begin_without_checksums(tmp_path, 3, 1 << 20)
    assert [scan._store.checksum_batch(1000)[0] for _ in range(4)] == [(2, 3), (1, 2), (0, 1), (0, 0)]
    scan.close()
