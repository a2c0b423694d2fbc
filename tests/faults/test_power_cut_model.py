"""A power cut at every operation of a scan, on a modelled disk; `tools/power_cut_model.py --cuts 10000` does more."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lys_storage import StorageOSError
from lys_storage.disk import File
from lys_storage.disk import file as file_module
from lys_storage.disk import lock as lock_module
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import Journal
from lys_storage.store.syncer import Syncer
from tests.conftest import ROOT, child_environment
from tools.durability.files import read_files
from tools.durability.model.cuts import Tally, cut_everywhere
from tools.durability.model.disk import Disk
from tools.durability.model.recorder import CALLS, Recorder
from tools.durability.model.scenarios import (
    SCENARIOS,
    Scenario,
    in_order,
    in_random_order,
    rewrites,
    suspended_and_resumed,
)
from tools.durability.model.sync_errors import SyncErrors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is recorded are Linux's system calls")

MANY = 200


def states(events: list[tuple[Any, ...]], *, any_names: bool = False) -> set[tuple[tuple[str, Any], ...]]:
    """The states that a power cut after `events` can leave."""
    disk = Disk()
    for event in events:
        disk.apply(event)
    rng = random.Random(0)
    return {tuple(sorted(disk.choose(rng, any_names=any_names).items())) for _ in range(MANY)}


# -- guarantees --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_power_cut_at_any_point_breaks_no_promise(scenario: Scenario, tmp_path: Path) -> None:
    """Frames older than the last flush are there bit for bit. Nothing torn or absent is taken for data."""
    tally = Tally()
    cut_everywhere(scenario, "test", tmp_path, tally, choices=1, most=50)
    assert tally.faults == []
    assert tally.cuts.total() > 30
    assert tally.frames > 100


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_syncs_that_fail_break_no_promise(scenario: Scenario, tmp_path: Path) -> None:
    """Frames that a failed sync lost are not durable after a later successful one, in this process or the next."""
    tally = Tally()
    for turn in range(2):
        cut_everywhere(scenario, f"errors {turn}", tmp_path, tally, choices=1, most=25, sync_errors=True)
    assert tally.faults == []
    assert tally.cuts.total() == 50
    assert tally.frames > 200
    assert tally.sync_errors.total() > 0


def test_no_promise_needs_names_to_survive_in_their_order(tmp_path: Path) -> None:
    """Creates, renames and removes without a sync survive in any order. No guarantee depends on it."""
    tally = Tally()
    for k, scenario in enumerate(SCENARIOS):
        cut_everywhere(scenario, f"names {k}", tmp_path, tally, choices=1, most=6, any_names=True)
    assert tally.faults == []
    assert tally.cuts == {scenario.name: 6 for scenario in SCENARIOS}


def test_the_tool_ends_with_0_where_no_promise_broke(tmp_path: Path) -> None:
    """Its last line gives the number of cuts, of points, and of cuts that broke a guarantee."""
    command = [sys.executable, str(ROOT / "tools" / "power_cut_model.py"), "--cuts", "30", "--only", "in order"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path)], env=child_environment(tmp_path), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" 0 cuts with a promise broken")
    assert list(tmp_path.iterdir()) == []


# -- the model detects faults ------------------------------------------------------------------------------------------


def assert_a_cut_broke_a_promise(tally: Tally) -> None:
    """A cut broke a guarantee; the program did not fail before it, nor did the tool."""
    assert tally.cuts.total() > 0
    assert any("promised" in fault and "Traceback" not in fault for fault in tally.faults), tally.faults


def _nothing(*args: Any, **options: Any) -> None:
    return None


def _publishes_first(old: Path, new: Path) -> bool:
    return False  # publish by a link and an unlink, which is valid, too


@pytest.mark.parametrize(
    ("owner", "name", "scenario"),
    [
        pytest.param(File, "sync", in_order, id="the files are never synced"),
        pytest.param(Journal, "sync", in_order, id="the journal is never synced"),
        pytest.param(Recorder, "_sync_folder", in_random_order, id="the folder is never synced"),
    ],
)
def test_the_model_sees_a_sync_that_is_missing(
    owner: Any, name: str, scenario: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sync is needed: a program without it fails."""
    monkeypatch.setattr(owner, name, _nothing)
    tally = Tally()
    cut_everywhere(Scenario(scenario), "test", tmp_path, tally, choices=2, most=100)
    assert_a_cut_broke_a_promise(tally)


@pytest.mark.parametrize(
    ("owner", "scenario"),
    [
        pytest.param(Syncer, in_order, id="the frames are not rewritten"),
        pytest.param(Journal, suspended_and_resumed, id="the journal is not rewritten"),
    ],
)
def test_the_model_sees_a_failed_sync_that_is_forgotten(
    owner: type, scenario: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sync succeeds, but the data that the first one lost were not written again."""
    monkeypatch.setattr(owner, "_rewrite", _nothing)
    tally = Tally()
    for turn in range(24):
        cut_everywhere(Scenario(scenario), f"errors {turn}", tmp_path, tally, choices=1, most=40, sync_errors=True)
        if tally.faults:
            break
    assert_a_cut_broke_a_promise(tally)


def test_the_model_sees_a_rewrite_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the redo log a rewrite tears a durable frame."""
    from lys_storage.journal import RedoLog

    monkeypatch.setattr(RedoLog, "create", classmethod(lambda cls, scan_file, key: _Forgetful()))
    tally = Tally()
    cut_everywhere(Scenario(rewrites), "test", tmp_path, tally, choices=2, most=160)
    assert any("is missing, version" in fault for fault in tally.faults), tally.faults


class _Forgetful:
    """A redo log that is never on disk."""

    def __init__(self) -> None:
        self.end = 0
        self.file = self
        self.sync_failed = False
        self._chunks: dict[int, list[tuple[int, bytes]]] = {}

    def append(self, offset: int, size: int, chunks: Any, epoch: int) -> Any:
        from lys_storage.journal import RedoRecord

        record = RedoRecord(offset, size, self.end)
        self._chunks[self.end] = [(at, bytes(memoryview(data).cast("B"))) for at, data in chunks]
        self.end += 64
        return record

    def apply(self, record: Any, file: Any) -> None:
        for at, data in self._chunks[record.at]:
            file.write_at(data, record.offset + at)

    def reset(self) -> None:
        self.end = 0

    def sync(self, **options: Any) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_scan_published_by_link_and_unlink_keeps_its_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an exclusive rename a file briefly has two names, which breaks no guarantee."""
    monkeypatch.setattr(SYSTEM, "rename_new", _publishes_first)
    tally = Tally()
    cut_everywhere(Scenario(in_order), "test", tmp_path, tally, choices=1, most=200)
    assert tally.faults == []
    assert tally.cuts.total() > 30


# -- the model itself ---------------------------------------------------------------------------------------------------


def failed_sync(seed: int) -> list[tuple[Any, ...]]:
    """Two pages are written, and the sync fails."""
    return [("disk", {"a": b"1" * 8192}), ("write", 0, 0, b"2" * 8192), ("sync failed", 0, seed)]


def pages(events: list[tuple[Any, ...]]) -> set[str]:
    """What the two pages may hold after a cut: 1, 2, or x for a mixture."""
    contents = [dict(state)["a"] for state in states(events)]
    letters = {b"1" * 4096: "1", b"2" * 4096: "2"}
    return {letters.get(c[:4096], "x") + letters.get(c[4096:], "x") for c in contents}


def test_a_sync_that_succeeds_does_not_make_good_for_one_that_failed() -> None:
    """Pages that a failed sync has lost read as written. After a cut they are old or torn, whatever follows."""
    seen = set()
    for seed in range(50):
        events = [*failed_sync(seed), ("sync", 0)]
        disk = Disk()
        for event in events:
            disk.apply(event)
        assert bytes(disk.inodes[0].now) == b"2" * 8192
        (left,) = pages(events)  # durable, old or new
        seen.add(left)
    assert {"11", "12", "21"} <= seen


def test_a_lost_page_is_written_where_something_in_it_is_written_again() -> None:
    """A write, or a store of the present bytes, makes the whole page dirty."""
    for seed in range(50):
        again = [("write", 0, 100, b"2"), ("stores", 0, [(4096, b"2" * 512)]), ("sync", 0)]
        assert pages([*failed_sync(seed), *again]) == {"22"}


def test_what_a_failed_sync_has_not_lost_is_written_or_dirty_still() -> None:
    """The next sync at the latest makes the other pages durable."""
    for seed in range(50):
        disk = Disk()
        for event in failed_sync(seed):
            disk.apply(event)
        lost = disk.inodes[0].lost
        assert lost
        disk.apply(("sync", 0))
        for page in {0, 1} - lost:
            assert disk.inodes[0].durable[page * 4096 : (page + 1) * 4096] == b"2" * 4096


def test_names_are_not_lost_by_a_sync_of_their_folder_that_fails() -> None:
    """The next successful sync makes them durable."""
    failed = [("disk", {}), ("create", "a", 0), ("sync folder failed", ".")]
    assert states(failed) == {(), (("a", b""),)}
    assert states([*failed, ("sync folder", ".")]) == {(("a", b""),)}


def test_stores_of_what_is_there_already_are_recorded_where_a_page_was_lost(tmp_path: Path) -> None:
    """dirty_all changes no byte. It repairs a failed sync of the journal."""
    record = Recorder(tmp_path, _OnceFailing())
    with record:
        file = File.create(tmp_path / "a")
        file.set_size(8192)
        file.sync()
        mapped = file.map(8192, writable=True)
        mapped[:] = b"7" * 8192
        with pytest.raises(StorageOSError):
            file.sync()
        file.sync()
        lost_for_good = bytes(record.disk.inodes[0].durable)
        mapped[:] = mapped[:]
        file.sync()
        mapped.close()
        file.close()
    assert lost_for_good != b"7" * 8192
    assert record.disk.inodes[0].durable == b"7" * 8192


class _OnceFailing(SyncErrors):
    """The second sync fails."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self._calls = 0

    def draw(self, name: str | None, *, folder: bool) -> tuple[int, int] | None:
        self._calls += 1
        return (5, 0) if self._calls == 2 else None


def test_what_was_synced_is_always_there() -> None:
    """After a sync of the file and of its folder, every choice has the file."""
    events = [("disk", {}), ("create", "a", 0), ("write", 0, 0, b"new"), ("sync", 0), ("sync folder", ".")]
    assert states(events) == {(("a", b"new"),)}


def test_a_name_is_lost_without_a_sync_of_its_folder() -> None:
    """A sync of the file does not make its name durable."""
    assert states([("disk", {}), ("create", "a", 0), ("write", 0, 0, b"new"), ("sync", 0)]) == {(), (("a", b"new"),)}


def test_an_unsynced_write_is_kept_dropped_or_torn_at_sectors() -> None:
    """Each sector is old or new by itself."""
    events = [("disk", {"a": b"1" * 1024}), ("write", 0, 0, b"2" * 1024)]
    halves = [(x + y).encode() for x in ("1" * 512, "2" * 512) for y in ("1" * 512, "2" * 512)]
    assert states(events) == {(("a", half),) for half in halves}


def test_a_sector_is_in_a_state_that_it_has_had() -> None:
    """The second of two writes in one sector never survives alone, because the kernel writes whole sectors."""
    events = [("disk", {"a": b"......"}), ("write", 0, 0, b"1"), ("write", 0, 3, b"2")]
    assert states(events) == {(("a", content),) for content in (b"......", b"1.....", b"1..2..")}


def test_a_file_may_be_longer_than_what_was_written_of_it() -> None:
    """The size can survive without the bytes, which are then zeros."""
    left = states([("disk", {"a": b""}), ("write", 0, 0, b"x" * 600)])
    assert (("a", bytes(600)),) in left
    assert (("a", b""),) in left


def test_names_survive_in_their_order_or_in_any() -> None:
    """`any_names` models a disk that guarantees less than ext4."""
    events = [("disk", {"a": b"1"}), ("rename", "a", "b"), ("create", "c", 1)]
    b, c = ("b", b"1"), ("c", b"")
    assert states(events) == {(("a", b"1"),), (b,), (b, c)}
    assert states(events, any_names=True) == {(("a", b"1"),), (b,), (b, c), (("a", b"1"), c)}


def test_stores_through_a_map_are_recorded(tmp_path: Path) -> None:
    """A change in a mapped file is a write that is recorded at the next disk operation."""
    record = Recorder(tmp_path)
    with record:
        file = File.create(tmp_path / "a")
        file.set_size(2048)
        file.sync()
        mapped = file.map(2048, writable=True)
        mapped[600] = 7
        file.write_at(b"x", 0)
        mapped.close()
        file.close()
    stored = [event for event in record.events if event[0] == "stores"]
    assert stored == [("stores", 0, [(512, bytes(88) + b"\7" + bytes(423))])]
    assert bytes(record.disk.inodes[0].now) == read_files(tmp_path)["a"] == b"x" + bytes(599) + b"\7" + bytes(1447)


def test_everything_is_as_before_after_a_record(tmp_path: Path) -> None:
    """The recorder restores what it has changed."""
    places = [(file_module, "os"), (lock_module, "os"), (file_module, "mmap"), (os, "mkdir")]
    places += [(SYSTEM, name) for name in CALLS]
    before = [getattr(*place) for place in places]
    with Recorder(tmp_path):
        assert all(getattr(*place) != real for place, real in zip(places, before, strict=True))
    assert [getattr(*place) for place in places] == before
