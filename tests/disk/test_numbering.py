"""Numbers: the smallest free one, never a taken one, at a cost that does not depend on the size of the folder."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan
from lys_storage.disk import claim_number, claim_path, free_number
from lys_storage.disk import numbering as numbering_module
from lys_storage.disk.numbering import LOCK_NAME, LOCK_WAIT_S
from lys_storage.scan import begin_scan
from tests.helpers import files, in_threads, make_link
from tests.systems import not_on_windows

FOREVER_S = 1000.0
"""Whoever waits so long is ended by the time limit of the test."""


def reserve(folder: Path, name: str = "data") -> Scan:
    return begin_scan(folder, name, (2,), "u1", numbered=True, replace_existing=False, flush_interval_s=None)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without cached numbers, like a new process."""
    monkeypatch.setattr(numbering_module, "_known", {})


class Clock:
    """The clock of `numbering_module`: a directory scan takes `scan_s`, reading the clock `tick_s`, all else 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.tick_s, self.scan_s = 0.0, 0.0, 0.01
        self.scans = 0
        self._scandir = os.scandir
        monkeypatch.setattr(numbering_module, "time", SimpleNamespace(monotonic=self.monotonic, time=time.time))
        monkeypatch.setattr(os, "scandir", self.scandir)

    def monotonic(self) -> float:
        self.now += self.tick_s
        return self.now

    def scandir(self, path: Any) -> Any:
        self.scans += 1
        self.now += self.scan_s
        return self._scandir(path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# -- which one ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "free"),
    [
        pytest.param([], 0, id="an empty folder"),
        pytest.param(["data_0.npz"], 1, id="one export"),
        pytest.param(["data_0.npz", "data_1.npz", "data_3.npz"], 2, id="a gap"),
        pytest.param(["data_1.npz"], 0, id="a gap at the beginning"),
        pytest.param(["data_0.npz.part"], 1, id="a scan in progress"),
        pytest.param(
            ["data_0.npz.part", "data_0.npz.part.journal", "data_1.npz"], 2, id="a scan in progress, an export"
        ),
        pytest.param([f"data_{n}.npz" for n in range(1200)], 1200, id="many"),
        pytest.param(
            ["data_00.npz", "data_01.npz", "data_+0.npz", "data_-0.npz", "data_ 0.npz"], 0, id="no such numbers"
        ),
        pytest.param(["data_0.npz.bak", "xdata_0.npz", "data_0_npz", "data_0.np"], 0, id="other names"),
        pytest.param(
            ["data_0.NPZ"],
            0,
            id="upper case",
            marks=not_on_windows("names that differ in upper case alone are the same"),
        ),
        pytest.param(["data.npz", "data_.npz", "data_x.npz", "data_1e3.npz", "data_0x0.npz"], 0, id="no numbers"),
        pytest.param(["data_٠.npz", "data_０.npz", "data_².npz"], 0, id="digits of other scripts"),
        pytest.param(["data_99999999999999999999999.npz"], 0, id="a huge number"),
        pytest.param(["data_0.npz.part.redo", "data_0.npz.part.journal.new"], 0, id="what is without meaning"),
        pytest.param(["data_1_0.npz", "data_1.npz"], 0, id="another name that begins alike"),
    ],
)
def test_the_smallest_number_that_neither_an_export_nor_a_scan_has(tmp_path: Path, there: list[str], free: int) -> None:
    """Names are compared literally, not by the value of their number."""
    touch(tmp_path, *there)
    before = sorted(os.listdir(tmp_path))
    assert free_number(tmp_path, "data") == free
    assert sorted(os.listdir(tmp_path)) == before, "it asks and changes nothing"


def test_a_folder_that_is_not_there_has_all_numbers_free_and_is_not_made(tmp_path: Path) -> None:
    assert free_number(tmp_path / "new", "data") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("a.b", "y_[2]", "(x)", "a+b", "$^", "温度 µ", "data_1", "a b", "{0}", ".."),
        *(pytest.param(name, marks=not_on_windows("no name has these")) for name in ("(x|y)*", "a+b?", "\\d")),
    ],
)
def test_a_name_is_taken_literally(tmp_path: Path, name: str) -> None:
    """No character of it is a pattern."""
    touch(tmp_path, "axb_0.npz", "y_2_0.npz", "x_0.npz", "aab_0.npz", "1_0.npz")
    assert free_number(tmp_path, name) == 0
    touch(tmp_path, f"{name}_0.npz", f"{name}_1.npz.part")
    numbering_module._known.clear()
    assert free_number(tmp_path, name) == 2


def test_scans_take_numbers_in_order_and_keep_them(tmp_path: Path) -> None:
    scans = [reserve(tmp_path) for _ in range(3)]
    assert [scan.number for scan in scans] == [0, 1, 2]
    assert [scan.path.name for scan in scans] == ["data_0.npz", "data_1.npz", "data_2.npz"]
    assert free_number(tmp_path, "data") == 3
    scans[1].close()
    assert free_number(tmp_path, "data") == 3
    scans[0].discard()
    scans[2].suspend()
    with reserve(tmp_path) as scan:
        assert scan.number in (0, 3), "a gap may be found at the next directory scan only"
    numbering_module._known.clear()
    assert free_number(tmp_path, "data") == (3 if scan.number == 0 else 0)


def test_a_number_that_somebody_else_takes_between_is_never_given(tmp_path: Path) -> None:
    """An outdated hint costs one look, and no file."""
    for n in range(40):
        assert free_number(tmp_path, "data") == n
        touch(tmp_path, f"data_{n}.npz" if n % 2 else f"data_{n}.npz.part")


def test_a_gap_that_somebody_else_makes_is_found_in_time(tmp_path: Path, clock: Clock) -> None:
    """The next directory scan finds it. The scans are at least 20 times the duration of the last one apart."""
    touch(tmp_path, *(f"data_{n}.npz" for n in range(10)))
    assert free_number(tmp_path, "data") == 10
    (tmp_path / "data_4.npz").unlink()
    clock.now += 19 * clock.scan_s
    assert free_number(tmp_path, "data") == 10
    clock.now += 1.01 * clock.scan_s
    assert free_number(tmp_path, "data") == 4
    assert clock.scans == 2


def test_an_orphaned_journal_or_a_dangling_link_takes_its_number_too(tmp_path: Path) -> None:
    """Nothing with such a name is overwritten."""
    touch(tmp_path, "data_0.npz.part.journal")
    make_link(tmp_path / "data_1.npz", tmp_path / "nowhere")
    with reserve(tmp_path) as scan:
        assert scan.number == 2


def test_each_name_and_each_folder_counts_for_itself(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for name in ("x", "y", "x_0"):
            with reserve(tmp_path / folder, name) as scan:
                assert scan.number == 0
    assert len(files(tmp_path)) == 6


def test_a_folder_that_is_emptied_begins_at_zero_again(tmp_path: Path) -> None:
    with reserve(tmp_path / "a"):
        pass
    (tmp_path / "a" / "data_0.npz").unlink()
    numbering_module._known.clear()
    assert free_number(tmp_path / "a", "data") == 0


# -- across threads and processes --------------------------------------------------------------------------------------


def test_threads_never_get_the_same_number(tmp_path: Path) -> None:
    numbers: list[int | None] = []

    def claim() -> None:
        for _ in range(25):
            with reserve(tmp_path) as scan:
                numbers.append(scan.number)

    in_threads(*[claim] * 4)
    assert sorted(n for n in numbers if n is not None) == list(range(100))


@pytest.mark.timeout(600)  # Wine takes 100 s
def test_eight_processes_that_reserve_200_files_each_get_1600_numbers(tmp_path: Path, start_child: Any) -> None:
    """All use one name in one folder at the same time. The numbers are the smallest ones, without a gap."""
    children = [
        start_child("""
import os, sys
from pathlib import Path
from lys_storage.scan import begin_scan
print("ready", flush=True)
input()
numbers = []
for _ in range(200):
    scan = begin_scan(Path("run"), "data", (2,), "u1", numbered=True, replace_existing=False, preallocate=False)
    numbers.append(scan.number)
    scan._store.close()  # as if it had died: what it claimed stays claimed
    scan._lifecycle.state = "suspended"
print(*numbers, flush=True)
""")
        for _ in range(8)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    numbers = [int(n) for child in children for n in child.stdout.readline().split()]
    assert len(numbers) == 1600
    assert sorted(numbers) == list(range(1600))
    assert files(tmp_path / "run") == {f"data_{n}.npz.part{end}" for n in range(1600) for end in ("", ".journal")}


# -- the lock is only for order ----------------------------------------------------------------------------------------


def test_a_lock_that_another_process_holds_delays_a_claim_by_two_seconds_at_most(
    tmp_path: Path, start_child: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its holder may be stopped in a debugger. Here the wait is 0.1 s, and the holder never releases the lock."""
    assert LOCK_WAIT_S == 2.0
    monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", 0.1)
    caplog.set_level(logging.INFO, "lys_storage")
    child = start_child(f"""
import filelock
with filelock.FileLock({LOCK_NAME!r}):
    print("held", flush=True)
    input()
""")
    assert child.stdout.readline() == "held\n"
    begin = time.monotonic()
    with reserve(tmp_path) as scan:
        assert scan.number == 0
    assert time.monotonic() - begin >= 0.1
    assert caplog.text.count("continuing with exclusive create only") == 1
    assert child.poll() is None, "it holds the lock still"


def test_a_lock_file_that_cannot_be_made_or_opened_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example on a share without locks. The exclusive create decides; nothing waits for a lock."""
    monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", FOREVER_S)
    (tmp_path / LOCK_NAME).mkdir()
    with reserve(tmp_path) as one, reserve(tmp_path) as two:
        assert (one.number, two.number) == (0, 1)


# -- a name without number ---------------------------------------------------------------------------------------------


def test_a_claim_is_an_exclusive_create_and_then_a_look_for_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "data.npz"
    file = claim_path(final)
    with pytest.raises(lys_storage.NameTakenError):
        claim_path(final)
    file.close()
    (tmp_path / "data.npz.part").unlink()
    final.touch()
    with pytest.raises(lys_storage.NameTakenError):
        claim_path(final)
    assert files(tmp_path) == {"data.npz"}


def test_a_claim_with_an_id_of_its_own_meets_nobody(tmp_path: Path) -> None:
    (tmp_path / "data.npz").touch()
    claimed = [claim_path(tmp_path / "data.npz", unique=True) for _ in range(5)]
    assert len(files(tmp_path)) == 6
    for file in claimed:
        file.close()


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_a_number_costs_the_same_in_a_full_folder_as_in_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """There are a few directory scans in total, and no look at a name for each number."""
    full, empty = tmp_path / "full", tmp_path / "empty"
    for folder in (full, empty):
        folder.mkdir()
    for n in range(2000):
        os.close(os.open(full / f"data_{n}.npz", os.O_CREAT | os.O_WRONLY))
    looks = 0
    lexists = os.path.lexists

    def look(path: Any) -> bool:
        nonlocal looks
        looks += 1
        return lexists(path)

    monkeypatch.setattr(os.path, "lexists", look)

    def costs(folder: Path) -> tuple[int, int]:
        """Looks at a name, and directory scans, of 200 queries and 100 claims in 50 ms."""
        nonlocal looks
        looks = clock.scans = 0
        begin = clock.now
        for _ in range(100):
            free_number(folder, "data")
            free_number(folder, "data")
            _, file = claim_number(folder, "data")
            file.close()
            clock.now += 0.0005
        assert clock.now - begin < 0.1
        return looks, clock.scans

    looked, scanned = costs(empty)
    assert looked <= 1000
    assert scanned == 1
    assert costs(full) == (looked, scanned)
    assert free_number(full, "data") == 2100


def test_asking_looks_at_the_folder_only_now_and_then(tmp_path: Path, clock: Clock) -> None:
    """Directory scans take at most a twentieth of the time, whatever the duration of one."""
    touch(tmp_path, *(f"data_{n}.npz" for n in range(500)))
    clock.tick_s = 0.001
    for _ in range(1000):
        assert free_number(tmp_path, "data") == 500
    assert clock.now == pytest.approx(1.0, rel=0.1)
    assert 2 <= clock.scans <= clock.now / (20 * clock.scan_s) + 1


def test_numbers_are_arrays_of_bytes_not_of_what_a_name_claims(tmp_path: Path) -> None:
    """A file with a huge number costs no memory."""
    touch(tmp_path, f"data_{10**12}.npz", "data_0.npz")
    assert free_number(tmp_path, "data") == 1
    assert np.sum([len(taken.used) for taken in numbering_module._known.values()]) < 10_000
