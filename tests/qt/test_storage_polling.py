"""A viewer that polls a storage while a scan ends: each read returns at once, and none raises."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanClosedError
from tests.helpers import assert_same_array
from tests.qt.detector import in_another_thread, process_events
from tests.qt.helpers import wait_saved

LOOKS = ("array", "written", "report", "saving", "_arr", "_paths", "_threads")
MOST_S = 0.25


def look(storage: Any) -> dict[str, Any]:
    """What a viewer reads. Each read is quick."""
    seen = {}
    for name in LOOKS:
        began = time.perf_counter()
        seen[name] = getattr(storage, name)
        assert time.perf_counter() - began < MOST_S, name
    return seen


@pytest.mark.parametrize("looked_before", [False, True])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_viewer_polls_from_the_scan_to_its_export(storage: Any, disk: Any, looked_before: bool, frames: int) -> None:
    """It gets the map and the states while the scan runs, and None from its end on, while the syncs are delayed."""
    storage.reserve((3, 4), axes=[])
    if looked_before:
        assert look(storage)["array"].shape == (3, 4)
    storage.update({(k,): np.full(4, k + 1.0) for k in range(min(frames, 2))})
    seen = look(storage)
    assert seen["array"][0].tolist() == [1.0] * 4
    assert seen["written"].shape == (3,)
    assert (seen["saving"], len(seen["_paths"]), seen["_threads"]) == (True, 1, [])
    disk.hold()
    if frames == 3:
        in_another_thread(storage.update, {(2,): np.ones(4)})  # the last frame is written in the acquisition thread
    else:
        storage.save([])
    assert disk.waited.wait(20)
    for _ in range(20):
        process_events()
        seen = look(storage)
        assert (seen["array"], seen["_arr"], seen["written"], seen["report"]) == (None, None, None, None)
        assert (seen["saving"], seen["_paths"], len(seen["_threads"])) == (True, [], 1)
    disk.release()
    wait_saved(storage)
    seen = look(storage)
    assert (seen["array"], seen["saving"], seen["_threads"]) == (None, False, [])
    assert seen["report"].frames_written == frames


class _EndsBetween:
    """Saves of a storage whose running scan ends right after it was read."""

    def __init__(self, saves: Any, disk: Any) -> None:
        self._saves, self._disk = saves, disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._saves, name)

    @property
    def running(self) -> Any:
        acquisition = self._saves.running
        if acquisition is not None:
            self._saves.finish(acquisition, None, keep_empty=True)
            assert self._disk.waited.wait(20)
            if self._disk.is_free.is_set():
                assert self._saves._save_thread.wait_idle(20)
        return acquisition


@pytest.mark.parametrize("looked_before", [False, True])
@pytest.mark.parametrize("released", [False, True], ids=["the export is under way", "the export is there"])
@pytest.mark.parametrize("name", ["array", "written", "_arr", "_paths"])
def test_a_scan_that_ends_between_the_question_and_the_answer(
    storage: Any, disk: Any, name: str, released: bool, looked_before: bool
) -> None:
    """Another thread ends it. The result is the map or None, at once."""
    storage.reserve((3, 4))
    storage.update({(0,): np.ones(4)})
    if looked_before:
        assert storage.array.shape == (3, 4)
    disk.hold()
    if released:
        disk.waited.set()
        disk.release()
    saves, storage._saves = storage._saves, _EndsBetween(storage._saves, disk)
    try:
        seen = look_at(storage, name)
    finally:
        storage._saves = saves
        disk.release()
    if released and name != "_paths":
        assert seen is None
    elif name in ("array", "_arr"):
        assert seen[0].tolist() == [1.0] * 4
    wait_saved(storage)


def look_at(storage: Any, name: str) -> Any:
    """Read without the time limit, because the test ends the scan meanwhile. A read that waits for the export hangs."""
    seen: list[Any] = []
    in_another_thread(lambda: seen.append(getattr(storage, name)))
    return seen[0]


def test_the_array_of_a_scan_does_not_wait_for_an_export_in_another_thread(tmp_path: Path, disk: Any) -> None:
    """This holds in scripts, too. The map ends with the scan."""
    for looked_before in (False, True):
        scan = lys_storage.create(tmp_path / f"{looked_before}.npz", (3, 4), grid_ndim=1, flush_interval_s=None)
        scan[0] = np.ones(4)
        if looked_before:
            assert scan.array.shape == (3, 4)
        disk.hold()
        closer = _Closer(scan)
        assert disk.waited.wait(20)
        began = time.perf_counter()
        assert_same_array(scan.array[0], np.ones(4))
        assert time.perf_counter() - began < MOST_S
        disk.release()
        closer.join()
        with pytest.raises(ScanClosedError, match="open_wave"):
            scan.array  # noqa: B018


class _Closer:
    def __init__(self, scan: Any) -> None:
        self._thread = threading.Thread(target=scan.close)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()
