"""The next free number in an empty folder, and in folders of 1,000 and 100,000 exports. Nothing is synced."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lys_storage.disk import File, claim_number, free_number, give_back
from lys_storage.disk import numbering as numbering_module

GROUP = "numbering"
FILES = [0, 1000, 100_000]
CLAIMS = 100

by_files = pytest.mark.parametrize("files", FILES, ids=lambda n: f"{n} files")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Path]]:
    """Makes folders with `data_0.npz` to `data_<n - 1>.npz`."""
    base = tmp_path_factory.mktemp("numbering")

    def make(files: int) -> Path:
        folder = base / str(files)
        if not folder.exists():
            folder.mkdir()
            for n in range(files):
                (folder / f"data_{n}.npz").touch()
        return folder

    yield make
    shutil.rmtree(base)


def claim(folder: Path, count: int = CLAIMS, pause: Callable[[], None] = lambda: None) -> list[tuple[int, File]]:
    claimed = []
    for _ in range(count):
        pause()
        claimed.append(claim_number(folder, "data"))
    return claimed


def undo(folder: Path, claimed: list[tuple[int, File]]) -> None:
    for number, file in claimed:
        file.path.unlink()
        file.close()
        give_back(folder, "data", number)


@by_files
def test_claims_one_after_another(measure: Any, folder_of: Any, files: int) -> None:
    """Amortized: the folder has been listed before."""
    folder = folder_of(files)
    rounds: list[list[tuple[int, File]]] = []
    measure(
        lambda: rounds.append(claim(folder)), teardown=lambda: undo(folder, rounds.pop()), items=CLAIMS, per="number"
    )


def test_a_folder_of_100000_costs_as_an_empty_one(measure: Any, folder_of: Any) -> None:
    """Amortized, and measured alternately. The goal is a ratio of 2; the assertion is 4."""
    empty, full = folder_of(0), folder_of(100_000)
    times: dict[Path, list[float]] = {empty: [], full: []}

    def work() -> None:
        for folder, seconds in times.items():
            begin = time.perf_counter()
            claimed = claim(folder)
            seconds.append(time.perf_counter() - begin)
            undo(folder, claimed)

    measure(work, items=2 * CLAIMS, per="number")
    ratio = statistics.median(times[full]) / statistics.median(times[empty])
    assert ratio < 4, f"{ratio:.2f} times the empty folder"


@by_files
def test_a_claim_after_a_pause(measure: Any, folder_of: Any, files: int) -> None:
    """Scans that are far apart in time: the cached listing has expired, and the folder has changed."""
    folder = folder_of(files)

    def forget_when() -> None:
        cache = numbering_module._cache_of(folder, "data")
        cache.next_scan_at, cache.scanned_mtime_ns = 0.0, None

    rounds: list[list[tuple[int, File]]] = []
    measure(
        lambda: rounds.append(claim(folder, 3, forget_when)),
        teardown=lambda: undo(folder, rounds.pop()),
        rounds=3,
        items=3,
        per="number",
    )


@by_files
def test_the_first_look_of_a_process(measure: Any, folder_of: Any, files: int) -> None:
    folder = folder_of(files)
    measure(
        lambda: free_number(folder, "data"), setup=lambda: numbering_module._known.clear() or (), rounds=3, per="look"
    )
    numbering_module._known.clear()


@by_files
def test_the_number_that_a_panel_shows(measure: Any, folder_of: Any, files: int) -> None:
    """Repeated getNumber() of an unchanged folder."""
    folder = folder_of(files)
    measure(lambda: [free_number(folder, "data") for _ in range(100)], items=100, per="look")
