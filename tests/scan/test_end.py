"""How a scan ends: saved, discarded, dropped, or by an exception; and what it refuses afterwards."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan, ScanClosedError
from lys_storage.format import quoted
from lys_storage.store import FrameTable
from tests.fixtures import Faults
from tests.helpers import DEADLINE_S, assert_same_array, files, load_export
from tests.scan.scans import IN_PROGRESS, begin, without_accelerator

# -- close -------------------------------------------------------------------------------------------------------------


def test_leaving_the_block_saves_the_scan(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        scan[...] = np.ones((2, 3))
        assert (scan.closed, files(tmp_path)) == (False, IN_PROGRESS)
    assert (scan.closed, files(tmp_path)) == (True, {"data.npz"})


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    assert scan.close() == scan.close() == scan.path == tmp_path / "data.npz"
    scan.suspend()
    with scan:
        pass
    assert files(tmp_path) == {"data.npz"}


def test_the_report_says_what_became_of_the_scan(tmp_path: Path) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[0] = np.zeros(3)
    assert scan.report is None
    path = scan.close()
    report = scan.report
    assert report is not None
    assert (report.path, report.frames_written, report.frames_expected) == (path, 1, 2)
    assert (report.size_bytes, report.renumbered) == (path.stat().st_size, False)
    assert report.seconds > 0
    assert report.sync_seconds > 0


def test_close_tells_how_far_the_fill_has_come(tmp_path: Path) -> None:
    """Writing a nonzero fill value reports its progress."""
    scan, told = begin(tmp_path, (3, 3_000_000), "u1", fill_value=1, grid_ndim=1), []
    scan[1] = np.zeros(3_000_000, "u1")
    scan.close(on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (6_000_000, 6_000_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


CLOSED: list[Any] = [
    pytest.param(lambda s: s.write(0, np.zeros(3)), id="write"),
    pytest.param(lambda s: s.write(0, [0, 0, 0]), id="write a list"),
    pytest.param(lambda s: s.update({0: np.zeros(3)}), id="update"),
    pytest.param(lambda s: s.flush(), id="flush"),
    pytest.param(lambda s: s.array, id="array"),
    pytest.param(lambda s: s.read(0), id="read"),
    pytest.param(lambda s: s.written, id="written"),
    pytest.param(lambda s: list(s.missing()), id="missing"),
    pytest.param(lambda s: setattr(s, "axes", None), id="set axes"),
    pytest.param(lambda s: setattr(s, "note", {}), id="set note"),
    pytest.param(lambda s: s.change_dtype("f4"), id="change the dtype"),
    pytest.param(lambda s: s.discard(), id="discard"),
]


@pytest.mark.parametrize("deed", CLOSED)
@pytest.mark.parametrize("end", ["close", "suspend"])
def test_a_scan_that_has_ended_refuses_and_says_so(tmp_path: Path, deed: Callable[[Scan], Any], end: str) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[1] = np.ones(3)
    getattr(scan, end)()
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(ScanClosedError) as caught:
        deed(scan)
    assert isinstance(caught.value, RuntimeError)
    assert "data.npz" in str(caught.value)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_after_sealing_frames_are_refused_and_it_can_still_be_looked_at(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    scan.seal()
    with pytest.raises(ScanClosedError, match="accepts no more frames"):
        scan[1] = np.ones(3)
    assert (scan.frames_written, scan.written.tolist(), scan.read(0).tolist()) == (1, [True, False], [1.0] * 3)
    scan.note["late"] = True
    scan.axes = [[7.0, 8.0]]
    export = load_export(scan.close())
    assert (export.note, export.axes[0].tolist()) == ({"late": True}, [7.0, 8.0])


def test_a_map_that_is_kept_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A map must not hold a copy of the descriptor, which would keep the lock."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 3), "u2", grid_ndim=1)
    scan[0] = np.ones(3, "u2")
    kept = scan.array
    scan.suspend()
    lys_storage.resume(scan.path).close()
    assert kept[0].tolist() == [1, 1, 1]


def test_the_map_that_was_handed_out_shows_the_data_after_the_end(tmp_path: Path) -> None:
    """A viewer that holds it still shows the data."""
    scan = begin(tmp_path)
    view = scan.array
    scan[0] = np.ones(3)
    scan.close()
    assert view[0].tolist() == [1.0] * 3
    del view


def test_a_discarded_scan_leaves_nothing_and_its_name_is_free(tmp_path: Path) -> None:
    begin(tmp_path).discard()
    assert files(tmp_path) == set()
    begin(tmp_path).close()


def test_a_scan_with_frames_is_not_discarded(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.raises(
        ScanClosedError, match=r"has 1 of 2 frames, and only .* can be discarded: export it with close\(\)"
    ):
        scan.discard()
    assert load_export(scan.close()).data[0].tolist() == [1.0] * 3


def test_a_scan_that_is_dropped_warns_and_is_kept(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.warns(ResourceWarning, match=r"a scan was not closed\. .*data\.npz'\) continues it"):
        del scan
    for thread in threading.enumerate():
        if thread.name.startswith("lys_storage"):
            thread.join(DEADLINE_S)  # the background threads hold the lock until they end
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert scan.written.tolist() == [True, False]


# -- by an exception ---------------------------------------------------------------------------------------------------


def test_an_exception_keeps_the_scan_and_says_how_to_go_on(tmp_path: Path) -> None:
    """The exception is raised unchanged, with a note that names how to continue."""
    with pytest.raises(ZeroDivisionError) as caught, begin(tmp_path, grid_ndim=1, note={"a": 1}) as scan:  # noqa: PT012
        scan[0] = np.ones(3)
        scan.note["b"] = 2
        raise ZeroDivisionError
    (said,) = caught.value.__notes__
    assert said == (
        "The scan is kept in progress: 1 of 2 frames. "
        f"lys_storage.resume({str(tmp_path / 'data.npz')!r}) continues it; "
        f"lys-storage recover {quoted(tmp_path)} exports it."
    )
    assert files(tmp_path) == IN_PROGRESS
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert (list(scan.missing()), scan.note) == ([(1,)], {"a": 1, "b": 2})
        scan[1] = np.zeros(3)
    assert load_export(scan.path).data.tolist() == [[1.0] * 3, [0.0] * 3]


def test_an_exception_after_the_scan_has_been_closed_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, begin(tmp_path) as scan:  # noqa: PT012
        scan.close()
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")
    assert files(tmp_path) == {"data.npz"}


@pytest.mark.parametrize("name", ["sync", "read", "write"])
def test_an_exception_is_not_hidden_by_a_disk_that_fails_while_the_scan_is_kept(
    tmp_path: Path, faults: Faults, name: str
) -> None:
    """The exception of the user's code is raised. The frames are kept."""
    with pytest.raises(BaseException) as caught, begin(tmp_path) as scan:  # noqa: PT012
        scan[0] = np.ones(3)
        scan.note["x"] = 1
        faults.fail(name, 1, 5)
        raise ZeroDivisionError
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, ZeroDivisionError):
        error = error.__context__
    assert isinstance(error, ZeroDivisionError)
    faults.off()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert scan.written.tolist() == [True, False]


# -- while a write returns ---------------------------------------------------------------------------------------------


def test_a_scan_that_is_closed_while_its_first_write_returns_starts_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_accelerator(monkeypatch)  # the test patches write_one
    scan = lys_storage.create(tmp_path / "data.npz", (1, 8), "u1", grid_ndim=1, flush_interval_s=0.001)
    write_one = FrameTable.write_one

    def write(table: FrameTable, *args: Any) -> bool:
        done = write_one(table, *args)
        closer = threading.Thread(target=scan.close)
        closer.start()
        closer.join(DEADLINE_S)
        assert scan.closed
        return done

    monkeypatch.setattr(FrameTable, "write_one", write)
    scan[0] = np.arange(8, dtype="u1")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lys_storage")] == []
    assert_same_array(load_export(scan.path).data, np.arange(8, dtype="u1")[None])


def test_a_scan_that_another_thread_closes_while_the_interpreter_exits_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The save thread of a storage does this. The last flush comes too late, and does nothing."""
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    flush = scan._store.flush

    def close_first() -> None:
        monkeypatch.undo()
        scan.close()
        flush()

    monkeypatch.setattr(scan._store, "flush", close_first)
    scan._workers.drop(weakref.ref(scan))
    assert caplog.records == []
    assert scan.report is not None
