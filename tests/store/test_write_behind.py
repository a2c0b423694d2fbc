"""What is written back, waited for and dropped, and in which order: the calls of the page cache are recorded."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.scan import Scan
from lys_storage.store import ScanStore
from lys_storage.store import write_behind as write_behind_module
from lys_storage.store.write_behind import WriteBehind

MiB = 1 << 20
FRAME = 2 * MiB


class Cache:
    """A page cache that records its calls, as (what, first MiB, stop MiB) of the array, and fails when it is told to."""

    def __init__(self, store: ScanStore, *, drops: bool = True) -> None:
        self.of, self.drops = store.file, drops
        self.calls: list[tuple[Any, ...]] = []
        self.fails = 0  # the errno of the next call
        self._at = store.table.array_offset

    def _call(self, what: str, offset: int, size: int) -> None:
        if self.fails and what != "drop":
            code, self.fails = self.fails, 0
            raise StorageOSError(code, "write back", "x")
        first, stop = (offset - self._at) / MiB, (offset + size - self._at) / MiB
        self.calls.append((what, first, stop))

    def begin_write_back(self, offset: int, size: int) -> None:
        self._call("begin", offset, size)

    def write_back(self, offset: int, size: int) -> None:
        self._call("wait", offset, size)

    def drop(self, offset: int, size: int) -> None:
        self._call("drop", offset, size)

    def close(self) -> None:
        self.calls.append(("close",))

    def taken(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return calls


def used(
    scan: Scan, monkeypatch: pytest.MonkeyPatch, cached: int = 8, *, drops: bool = True
) -> tuple[WriteBehind, Cache]:
    """The write-behind of a scan, with `cached` MiB that stay, and its cache."""
    cache = Cache(scan._store, drops=drops)
    monkeypatch.setattr(write_behind_module, "open_page_cache", lambda file: cache)
    behind = scan._store.write_behind
    assert behind.use(cached * MiB)
    return behind, cache


def work(behind: WriteBehind) -> None:
    while behind.work():
        pass
    with behind.changed:
        assert not behind.has_work


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scan]:
    """A scan of 64 frames of 2 MiB that has no bytes on the disk, and no threads."""
    scan = lys_storage.create(tmp_path / "a.npz", (64, FRAME), "u1", grid_ndim=1, flush_interval_s=None)
    monkeypatch.setattr(scan._store.table, "array_offset", FRAME)  # that of a larger scan
    yield scan
    scan._store.write_behind.end()
    scan.suspend()


def covered(calls: list[tuple[Any, ...]], what: str) -> list[tuple[float, float]]:
    return [call[1:] for call in calls if call[0] == what]


def test_each_byte_is_begun_then_waited_for_and_dropped_once_enough_newer_ones_have_come(
    scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind, cache = used(scan, monkeypatch)
    for frame in range(20):
        behind.add(frame, frame + 1)
        work(behind)
    calls = cache.taken()
    assert covered(calls, "begin") == covered(calls, "wait") == [(2 * k, 2 * k + 2) for k in range(20)]
    assert covered(calls, "drop") == [(2 * k, 2 * k + 2) for k in range(16)]
    for k in range(16):
        at = [calls.index((what, 2 * k, 2 * k + 2)) for what in ("begin", "wait", "drop")]
        assert at == sorted(at)
    assert behind.pending_bytes == 0


def test_much_is_begun_before_the_oldest_is_waited_for(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind_module, "_AT_ONCE", 32 * MiB)
    behind, cache = used(scan, monkeypatch)
    behind.add(0, 40)
    work(behind)
    calls = cache.taken()
    assert [call[0] for call in calls[:5]] == ["begin"] * 4 + ["wait"]
    assert covered(calls, "begin") == [(8 * k, 8 * k + 8) for k in range(10)]
    assert covered(calls, "drop") == [(8 * k, 8 * k + 8) for k in range(9)]


def test_the_last_part_of_a_folio_waits_for_its_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folio that is still being filled would be written twice, and could not be dropped as a whole."""
    with lys_storage.create(tmp_path / "b.npz", (64, MiB // 2), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        behind, cache = used(scan, monkeypatch, 0)
        offset = scan._store.table.array_offset
        assert offset % (2 * MiB) != 0
        behind.add(0, 8)
        work(behind)
        (begun,) = covered(cache.calls, "begin")
        assert (offset + int(begun[1] * MiB)) % (2 * MiB) == 0
        assert begun[1] < 4
        behind.add(8, 16)
        work(behind)
        assert covered(cache.calls, "begin")[1][0] == begun[1]
        behind.end()


@pytest.mark.parametrize("order", ["forwards", "backwards", "random"])
def test_frames_in_any_order_are_all_dropped_but_the_newest(
    scan: Scan, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    numbers = {"forwards": list(range(64)), "backwards": list(range(63, -1, -1))}.get(order)
    numbers = numbers or [int(k) for k in np.random.default_rng(1).permutation(64)]
    behind, cache = used(scan, monkeypatch)
    for frame in numbers:
        behind.add(frame, frame + 1)
        work(behind)
    dropped = np.zeros(64, int)
    for first, stop in covered(cache.calls, "drop"):
        dropped[round(first / 2) : round(stop / 2)] += 1
    assert dropped.max() == 1
    assert dropped.sum() >= 64 - 4 - 32  # 4 stay for a live view, and up to 32 wait for neighbours
    assert set(np.flatnonzero(dropped == 0)) >= set(numbers[-4:])


def test_where_it_does_not_pay_nothing_is_waited_for_or_dropped(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    behind, cache = used(scan, monkeypatch, drops=False)
    behind.add(0, 40)
    behind.add_scattered(np.arange(41, 64, 2))
    work(behind)
    assert {call[0] for call in cache.calls} == {"begin"}
    assert behind.pending_bytes == 0


# -- what must not be dropped ---------------------------------------------------------------------------------------------


def test_what_was_written_again_is_not_dropped(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new bytes may not be on the disk."""
    behind, cache = used(scan, monkeypatch)
    behind.add(0, 4)
    work(behind)
    behind.begin_overwrite()
    behind.add(4, 40)
    work(behind)
    dropped = covered(cache.calls, "drop")
    assert dropped
    assert min(first for first, _ in dropped) >= 8


def test_after_a_failure_nothing_is_dropped_until_a_sync_has_succeeded(
    scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind, cache = used(scan, monkeypatch)
    behind.add(0, 8)
    work(behind)
    cache.fails = errno.EIO
    behind.add(8, 16)
    with pytest.raises(StorageOSError):
        work(behind)
    cache.taken()
    assert scan._store.journal.file_sync_failed
    behind.add(16, 40)
    work(behind)
    assert cache.taken() == []
    scan.flush()
    assert not scan._store.journal.file_sync_failed
    behind.add(40, 64)
    work(behind)
    assert min(first for first, _ in covered(cache.calls, "drop")) >= 80


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_call_that_the_system_refuses_ends_it_and_is_no_failure(
    scan: Scan, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Otherwise each batch would be followed by a flush, and by a rewrite of everything."""
    behind, cache = used(scan, monkeypatch)
    cache.fails = code
    behind.add(0, 8)
    work(behind)
    behind.add(8, 16)
    work(behind)
    assert (cache.calls, behind.pending_bytes, behind.failures) == ([], 0, 0)
    assert not scan._store.journal.file_sync_failed


def test_without_syncs_the_memory_for_small_runs_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lys_storage.create(tmp_path / "b.npz", (1 << 20, 4096), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        behind, _ = used(scan, monkeypatch, 0)
        for _ in range(200):
            behind.add_scattered(np.arange(0, 2000, 2))
        assert len(behind._scattered) == 64
        behind.end()


def test_a_replaced_file_that_cannot_be_opened_again_ends_it(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread must not search for work for ever."""
    behind, _ = used(scan, monkeypatch)
    behind.add(0, 8)
    scan.change_dtype("i1")
    monkeypatch.setattr(write_behind_module, "open_page_cache", lambda file: None)
    work(behind)
    behind.add(8, 16)
    work(behind)
    assert behind.pending_bytes == 0


def test_during_a_sync_nothing_new_is_begun(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync would wait for it, too."""
    behind, cache = used(scan, monkeypatch)
    behind.add(0, 8)
    behind.sync_begins()
    work(behind)
    assert cache.taken() == []
    behind.sync_ended(good=True)
    work(behind)
    assert covered(cache.calls, "begin") == [(0, 8), (8, 16)]


def test_small_runs_are_dropped_after_a_sync_that_began_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind_module, "_CLEAN_SCATTERED", 0)
    size = 1 << 13
    with lys_storage.create(tmp_path / "b.npz", (4096, size), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        behind, cache = used(scan, monkeypatch, 0)
        behind.add_scattered(np.arange(0, 100, 2))
        behind.sync_begins()
        behind.add_scattered(np.arange(1000, 1100, 2))
        work(behind)
        assert cache.taken() == []
        behind.sync_ended(good=False)
        work(behind)
        assert cache.taken() == []
        behind.sync_begins()
        behind.sync_ended(good=True)
        work(behind)
        dropped = [round(first * MiB / size) for first, _ in covered(cache.taken(), "drop")]
        assert dropped == [*range(0, 100, 2), *range(1000, 1100, 2)]
        behind.end()


def test_a_part_of_a_page_is_not_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour that has no checksum may be in the same page."""
    monkeypatch.setattr(write_behind_module, "_CLEAN_SCATTERED", 0)
    with lys_storage.create(tmp_path / "b.npz", (4096, 3000), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        behind, cache = used(scan, monkeypatch, 0)
        behind.add_scattered(np.array([1, 5, 6, 7]))
        behind.sync_begins()
        behind.sync_ended(good=True)
        work(behind)
        at = scan._store.table.array_offset
        assert at % 4096 == 0
        assert [(first * MiB, stop * MiB) for first, stop in covered(cache.calls, "drop")] == [(16384, 20480)]
        behind.end()


def test_frames_of_a_file_that_was_replaced_are_forgotten(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    behind, cache = used(scan, monkeypatch)
    behind.add(0, 8)
    scan.change_dtype("i1")
    other = Cache(scan._store)
    monkeypatch.setattr(write_behind_module, "open_page_cache", lambda file: other)
    work(behind)
    assert (cache.calls, other.calls, behind.pending_bytes) == ([("close",)], [], 0)


def test_the_checksummer_hands_over_what_has_a_checksum(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    behind, cache = used(scan, monkeypatch)
    store = scan._store
    for number in (0, 1, 2, 5):
        assert store.table.write_one(store.layout, number, np.ones(FRAME, "u1"))
    work(behind)
    assert cache.calls == []
    store.checksum_dirty()
    work(behind)
    assert sorted(covered(cache.calls, "begin")) == [(0, 6), (10, 12)]
