"""Ctrl-C while the layout changes, and at the end of a scan: the next call completes the step and releases the lock.

`tools/interrupt_storm.py` interrupts every public call at every point. The tests here cover the steps that this needs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanClosedError
from lys_storage.disk import File
from lys_storage.export import finalization
from lys_storage.scan import Scan, begin_scan, creation
from lys_storage.scan.space import ScanSpace
from lys_storage.store import ScanStore
from tests.helpers import files, load_export
from tests.systems import not_on_windows
from tools.durability.interrupts.points import Interrupts

SHAPE = (3, 4, 8)

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # an interrupt in a __del__


def begun(folder: Path, grid_ndim: int | None = 2, **options: Any) -> Scan:
    return lys_storage.create(folder / "a.npz", SHAPE, "u2", grid_ndim=grid_ndim, flush_interval_s=None, **options)


def frame(k: int, dtype: Any = "u2") -> Any:
    return np.full(8, k + 1, dtype)


def is_free(part: Path) -> bool:
    """Whether nobody holds the lock of a scan file."""
    file = File.open(part, writable=True)
    try:
        return file.try_lock()
    finally:
        file.close()


def at_each_point(call: Callable[[], object], begin: Callable[[], None]) -> Iterator[BaseException]:
    """Interrupt `call` at its first point, then at its second, and so on. `begin` runs before each call."""
    at, reached = 0, True
    while reached:
        at, interrupts = at + 1, Interrupts((at + 1,))
        begin()
        try:
            interrupts.run(call)
        except KeyboardInterrupt as error:
            yield error
        reached = bool(interrupts.where)
    assert at > 5, "it was hardly interrupted"


# -- another layout ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["dtype", "grid"])
def test_an_interrupt_while_the_layout_is_swapped_leaves_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Memory and disk agree, or the error says to suspend and resume. Later frames are in the export."""
    real, at, reached, refused = ScanStore.switch_journal, 0, True, 0
    while reached:
        at, interrupts = at + 1, Interrupts((at + 1,))
        folder = tmp_path / str(at)
        scan = begun(folder, 2 if what == "dtype" else None)
        with monkeypatch.context() as patch:
            patch.setattr(ScanStore, "switch_journal", lambda *args: interrupts.run(lambda: real(*args)))  # noqa: B023
            with suppress(KeyboardInterrupt):
                scan.change_dtype("f4") if what == "dtype" else scan.write((0, 0), frame(0))
        reached = bool(interrupts.where)
        try:
            scan[1, 1] = frame(5, scan.dtype)
        except ScanClosedError:
            refused += 1
            with pytest.raises(ScanClosedError, match=r"suspend\(\) and resume it"):
                scan[1, 1] = frame(5, scan.dtype)
            with pytest.raises(ScanClosedError, match=r"suspend\(\) and resume it"):
                scan.close()
            scan.suspend()
            scan = lys_storage.resume(scan.path, flush_interval_s=None)
            scan[1, 1] = frame(5, scan.dtype)
        assert scan.read((1, 1)).tolist() == frame(5).tolist()
        export = load_export(scan.close())
        assert export.data.dtype == scan.dtype
        assert export.data[1, 1].tolist() == frame(5).tolist()
        assert files(folder) == {"a.npz"}
    assert refused > 0
    assert at > 20, "it was hardly interrupted"


# -- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a name of its own", "a number that was taken", "a file that it replaces", "cut"])
@pytest.mark.parametrize("end", ["close", "suspend"])
def test_a_close_that_was_interrupted_past_the_rename_is_ended_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, end: str
) -> None:
    """Only the scan file shows that the export has its name already."""
    if kind == "a number that was taken":
        scan = begin_scan(tmp_path, "a", SHAPE, "u2", numbered=True, replace_existing=False, grid_ndim=2)
        (tmp_path / "a_0.npz").write_bytes(b"of somebody else")
    else:
        if kind == "a file that it replaces":
            (tmp_path / "a.npz").write_bytes(b"of somebody else")
        scan = begun(
            tmp_path, overwrite=kind == "a file that it replaces", incomplete="trim" if kind == "cut" else "fill"
        )
    scan[0, 0] = frame(0)
    real = finalization.publish

    def interrupted(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finalization, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan.close()
    name = "a_1.npz" if kind == "a number that was taken" else "a.npz"
    if end == "close":
        assert scan.close() == scan.path == tmp_path / name
        assert scan.report is not None
        assert (scan.report.frames_written, scan.report.frames_expected) == (1, 1 if kind == "cut" else 12)
    else:
        scan.suspend()
        (found,) = lys_storage.recover(tmp_path)
        assert found.cleaned_up
    assert load_export(tmp_path / name).data[0, 0].tolist() == frame(0).tolist()
    assert {each for each in files(tmp_path) if each != "a_0.npz"} == {name}


@not_on_windows("a traceback can keep a view of the journal, and a file that is mapped is not removed")
@pytest.mark.parametrize("end", ["suspend", "discard"])
def test_an_end_that_was_interrupted_is_ended_by_suspend(tmp_path: Path, end: str) -> None:
    """At each point `suspend` releases the lock. A scan whose discard was interrupted leaves no file."""
    scan: Scan

    def begin() -> None:
        nonlocal scan
        scan = begun(tmp_path)
        if end == "suspend":
            scan[0, 0] = frame(0)

    for _ in at_each_point(lambda: getattr(scan, end)(), begin):
        scan.suspend()
        assert not scan.part_path.exists() or is_free(scan.part_path)
        for found in lys_storage.recover(tmp_path):
            assert found.path is not None or found.cleaned_up, found.message
        (tmp_path / "a.npz").unlink(missing_ok=True)
        assert files(tmp_path) == set()
    lys_storage.recover(tmp_path)


def test_an_interrupted_repr_leaves_the_scan_unlocked(tmp_path: Path) -> None:
    scan, lock_was_free = begun(tmp_path, note={"a": 1}), []

    def take_lock() -> None:
        lock_was_free.append(scan._lifecycle.lock.acquire(blocking=False))
        if lock_was_free[-1]:
            scan._lifecycle.lock.release()

    for _ in at_each_point(lambda: scan._repr_html_(), lambda: None):
        thread = threading.Thread(target=take_lock)
        thread.start()
        thread.join()
        assert lock_was_free[-1]
    scan.discard()


@pytest.mark.parametrize("how", ["suspend", "close"])
def test_what_is_released_is_released_again_where_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    scan = begun(tmp_path)

    def interrupted(store: ScanStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScanStore, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            getattr(scan, how)()
    assert scan._store.file.fd >= 0
    getattr(scan, how)()
    assert scan._store.file.fd == -1


@pytest.mark.parametrize("step", [(ScanSpace, "preallocate"), (Scan, "__init__")], ids=["the space", "the scan"])
@pytest.mark.parametrize("again", [None, "set_size", "remove_file"])
def test_a_create_that_was_interrupted_lets_the_lock_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str], again: str | None
) -> None:
    """The lock is free while the traceback is alive. Recovery removes or exports what a second interrupt leaves."""

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, interrupted)
        if again == "set_size":
            real = File.set_size
            patch.setattr(File, "set_size", lambda file, size: real(file, size) if size else interrupted())
        elif again == "remove_file":
            patch.setattr(creation, "remove_file", interrupted)
        try:
            begun(tmp_path)
        except KeyboardInterrupt:
            patch.undo()
            assert all(is_free(part) for part in tmp_path.glob("*.part"))
            for found in lys_storage.recover(tmp_path):
                assert found.path is not None or found.cleaned_up, found.message
    assert files(tmp_path) <= {"a.npz"}
    assert (files(tmp_path) == {"a.npz"}) == (again == "set_size")


@pytest.mark.parametrize("call", ["recover", "resume"])
@pytest.mark.parametrize(
    "step",
    [(ScanStore, "__init__"), (Scan, "__init__"), (Scan, "frames_written")],
    ids=["the store", "the scan", "behind it"],
)
def test_a_recovery_that_was_interrupted_lets_the_lock_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str], call: str
) -> None:
    """The lock is free while the traceback is alive. A second recovery succeeds."""
    scan = begun(tmp_path)
    scan[0, 0] = frame(0)
    scan.suspend()

    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, property(interrupted) if step[1] == "frames_written" else interrupted)
        try:
            lys_storage.recover(tmp_path) if call == "recover" else lys_storage.resume(tmp_path / "a.npz").suspend()
        except KeyboardInterrupt:
            patch.undo()
            assert is_free(scan.part_path)
    lys_storage.recover(tmp_path)
    assert files(tmp_path) == {"a.npz"}
    assert load_export(tmp_path / "a.npz").data[0, 0].tolist() == frame(0).tolist()
