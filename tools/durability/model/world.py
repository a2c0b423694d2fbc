"""One run on a recorded folder: scans are written, killed and resumed, and the disk fails.

A scenario calls its methods. Every method records for the ledger which writes and flushes were begun and completed. All
choices come from the run's random generator.
"""

from __future__ import annotations

import contextlib
import io
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import lys_storage
from tools.durability.files import write_files
from tools.durability.frames import find_version, make_frame
from tools.durability.internals import abandon, begin_scan, set_boot_id, take_checksums, write_behind
from tools.durability.ledger import Ledger
from tools.durability.model.disk import Event
from tools.durability.model.hooks import killed_at, meanwhile
from tools.durability.model.recorder import Recorder
from tools.durability.model.sync_errors import SyncErrors
from tools.durability.oracle import Expected

T = TypeVar("T")
GRID = (3, 4)
CELLS = GRID[0] * GRID[1]
DTYPE = "<u2"
FIRST_DTYPE = "<u4"  # for a scan whose dtype is changed
FLUSH = 0  # only one thread flushes at a time
EARLIER: dict[str, Any] = {"note": {"older": True}, "shape": (2, 3), "dtype": "u1", "fill_value": 1}


class Broken(Exception):  # noqa: N818
    """A promise did not hold."""


@dataclass(frozen=True)
class ScanShape:
    """The properties of the scan of one run."""

    elements: int
    fill: int
    grid_ndim: int | None = 2
    folder: str = "."

    @property
    def shape(self) -> tuple[int, ...]:
        return (*GRID, self.elements)

    def expected(self, *, may_be_trimmed: bool) -> Expected:
        """How the scan was created. A scan of `FIRST_DTYPE` holds no frame before its dtype is changed."""
        fills = {np.dtype(dtype): np.asarray(self.fill, dtype).tobytes() for dtype in (DTYPE, FIRST_DTYPE)}
        return Expected(self.shape, len(GRID), fills, may_be_trimmed=may_be_trimmed)


def ledger_of(events: list[Event]) -> Ledger:
    ledger = Ledger()
    for event in events:
        take_event(ledger, event)
    return ledger


def take_event(ledger: Ledger, event: Event) -> None:
    """Pass a mark to the ledger; ignore other events."""
    if event[0] == "mark" and event[1] != "end of the record":
        ledger.take(*event[1:])


class World:
    """A folder whose changes are recorded, with the scans in it."""

    def __init__(self, base: Path, rng: random.Random, form: ScanShape, errors: SyncErrors | None) -> None:
        self.base, self.rng, self.form, self.errors = base, rng, form, errors
        self.root = base / "0"
        self.root.mkdir()
        self.record: Recorder | None = None
        self.events: list[Event] = []
        self.boots = 0
        self.version = self.note = 0
        self.foreign: dict[str, bytes] = {}
        self._scans: list[lys_storage.Scan] = []
        self._drops = random.Random(f"drops {rng.getstate()[1][:4]}")  # its own: the other choices stay as they were
        self._behind: dict[lys_storage.Scan, Callable[[], None]] = {}
        self._version_lock = threading.Lock()  # guards version

    # -- the record -------------------------------------------------------------------------------------------------

    @property
    def rec(self) -> Recorder:
        assert self.record is not None
        return self.record

    @property
    def folder(self) -> Path:
        return self.root / self.form.folder

    def start(self) -> None:
        set_boot_id(f"boot {self.boots}")
        self.record = Recorder(self.root, self.errors)
        self.record.__enter__()

    def stop(self) -> None:
        if self.record is not None:
            record, self.record = self.record, None
            record.__exit__(None, None, None)
            self.events += record.events

    # -- syncs that fail --------------------------------------------------------------------------------------------

    @property
    def sync_errors(self) -> int:
        return 0 if self.errors is None else self.errors.count

    def may_fail(self, action: Callable[[], Any]) -> bool:
        """Run `action`. Returns False if it failed because of a failed sync. Raises any other error of it."""
        before = self.sync_errors
        try:
            action()
        except lys_storage.LysStorageError:
            if self.sync_errors == before:
                raise
            return False
        return True

    def insist(self, action: Callable[[], T]) -> T:
        """Repeat `action` until no sync fails."""
        done: list[T] = []
        while not self.may_fail(lambda: done.append(action())):
            continue
        return done[0]

    # -- scans ------------------------------------------------------------------------------------------------------

    def _options(self) -> dict[str, Any]:
        form = self.form
        return {
            "fill_value": form.fill,
            "grid_ndim": form.grid_ndim,
            "note": {"version": 0},
            "flush_interval_s": None,
        }

    def create(self, *, overwrite: bool = False, dtype: str = DTYPE) -> lys_storage.Scan:
        path, options = self.folder / "data.npz", self._options()
        return self._mine(
            self.insist(lambda: lys_storage.create(path, self.form.shape, dtype, overwrite=overwrite, **options))
        )

    def create_numbered(self) -> lys_storage.Scan:
        names: dict[str, Any] = {"numbered": True, "replace_existing": False, **self._options()}
        return self._mine(self.insist(lambda: begin_scan(self.folder, "data", self.form.shape, DTYPE, **names)))

    def resume(self) -> lys_storage.Scan:
        part = next(iter(sorted(self.folder.glob("*.part"))))
        return self._mine(self.insist(lambda: lys_storage.resume(part, flush_interval_s=None)))

    def _mine(self, scan: lys_storage.Scan) -> lys_storage.Scan:
        self._scans.append(scan)
        if self._drops.random() < 0.6:
            self._behind[scan] = write_behind(scan, self._drops.choice([0, 3, 5]))
        return scan

    def work_behind(self, scan: lys_storage.Scan) -> None:
        """Sometimes checksums are taken, pages are written back and dropped."""
        if scan in self._behind and self._drops.random() < 0.5:
            self.may_fail(lambda: take_checksums(scan))
            try:
                self._behind[scan]()
            except lys_storage.LysStorageError:
                if not self.sync_errors:  # else its descriptor may report one of an earlier sync
                    raise

    def release(self) -> None:
        """Abandon the scans that a failed scenario has left open."""
        for scan in self._scans:
            if not scan.closed:
                self.die(scan)

    def earlier_export(self, name: str) -> None:
        """Make an export that exists before the scan."""
        with lys_storage.create(self.folder / name, **EARLIER, flush_interval_s=None) as scan:
            scan[0] = np.ones(3, "u1")

    def foreign_export(self, name: str) -> None:
        """Another program creates an export of that name."""
        stream = io.BytesIO()
        np.savez_compressed(stream, data=np.arange(7))
        self.foreign[name] = stream.getvalue()
        self.rec.foreign(name, self.foreign[name])

    # -- operations of a program on a scan --------------------------------------------------------------------------

    def write(self, scan: lys_storage.Scan, *cells: int, row: int | None = None) -> None:
        """Write a new version of a cell or of a row. A failed write is sometimes repeated."""
        given = cells if row is None else tuple(range(row * GRID[1], (row + 1) * GRID[1]))
        with self._version_lock:
            self.version += 1
            version = self.version
        size = 2 * self.form.elements
        frames = [np.frombuffer(make_frame(0, cell, version, size), DTYPE) for cell in given]
        self.rec.mark("begun", version, given)
        index, frame = (divmod(cells[0], GRID[1]), frames[0]) if row is None else (row, np.stack(frames))
        if self.may_fail(lambda: scan.write(index, frame)):
            self.rec.mark("written", version, given)
            self.work_behind(scan)
        elif self.rng.random() < 0.5:
            self.write(scan, *cells, row=row)

    def some(self, scan: lys_storage.Scan, count: int) -> None:
        """Run `count` random operations: writes of cells and rows, flushes, notes, checksums."""
        for _ in range(count):
            what = self.rng.random()
            if what < 0.15:
                self.flush(scan)
            elif what < 0.25:
                self.set_note(scan)
            elif what < 0.35:
                self.write(scan, row=self.rng.randrange(GRID[0]))
            elif what < 0.45:
                take_checksums(scan)
            else:
                self.write(scan, self.rng.randrange(CELLS))

    def set_note(self, scan: lys_storage.Scan) -> None:
        self.note += 1
        self.rec.mark("note begun", self.note)
        note = {"version": self.note, "long": "x" * self.rng.choice([0, 600, 9000])}
        axes = [np.arange(n) * 0.5 + self.note for n in scan.shape] if self.rng.random() < 0.3 else None

        def set_both() -> None:
            scan.note = note
            if axes is not None:
                scan.axes = axes

        if self.may_fail(set_both):
            self.rec.mark("note", self.note)

    def flush(self, scan: lys_storage.Scan, *, insist: bool = False) -> None:
        """Flush the scan. A failed flush is repeated sometimes, with `insist` always."""
        self.rec.mark("flush begun", FLUSH)
        if self.may_fail(scan.flush):
            self.rec.mark("flushed", FLUSH)
        elif insist or self.rng.random() < 0.5:
            self.flush(scan, insist=insist)

    def close(self, scan: lys_storage.Scan, **options: Any) -> None:
        """Close the scan. A failed close is repeated, by the same process or by another one."""
        self.rec.mark("flush begun", FLUSH)
        if self.may_fail(lambda: scan.close(**options)):
            self.rec.mark("flushed", FLUSH)
            self.rec.mark("saved", scan.path.relative_to(self.root).as_posix())
            return
        how = self.rng.choice(["again", "again", "suspend", "die", "recover"])
        if how == "again":
            self.close(scan, **options)
            return
        self.suspend(scan) if how == "suspend" else self.die(scan)
        if how == "recover" or not any(self.folder.glob("*.part")):
            self.recover()
        else:
            self.close(self.resume(), **options)

    def suspend(self, scan: lys_storage.Scan) -> None:
        """Suspend the scan. It is suspended even if a sync fails."""
        self.rec.mark("flush begun", FLUSH)
        if self.may_fail(scan.suspend):
            self.rec.mark("flushed", FLUSH)

    def recover(self) -> None:
        """Recover on this boot, and repeat it until the scan is exported or cleaned up."""
        while True:
            self.rec.mark("flush begun", FLUSH)
            before = self.sync_errors
            (result,) = lys_storage.recover(self.root)
            if result.path is not None or result.cleaned_up:
                self.rec.mark("flushed", FLUSH)
                if result.path is not None:
                    self.rec.mark("saved", result.path.relative_to(self.root).as_posix())
                return
            if self.sync_errors == before:
                raise Broken(f"recover: {result.message}")

    # -- crashes ----------------------------------------------------------------------------------------------------

    def die(self, scan: lys_storage.Scan) -> None:
        """SIGKILL, 100 ms after the last frame: the kernel has every write, and each frame has its checksum.

        Frames without a checksum would be lost if the next process sees a failed sync.
        """
        with contextlib.suppress(lys_storage.LysStorageError):
            take_checksums(scan)
        abandon(scan, self.base)

    def die_during(self, scan: lys_storage.Scan, at: int, action: Callable[[], None]) -> None:
        """SIGKILL at the `at`-th disk operation of `action`, which writes a frame or flushes, or after `action`."""
        with killed_at(self.rec, at):
            action()
        abandon(scan, self.base)

    def cut_power(self) -> None:
        """Cut the power, and boot again with the remaining files."""
        left = self.rec.disk.choose(self.rng)
        self.stop()
        self.boots += 1
        self.root = self.base / str(self.boots)
        write_files(self.root, left)
        self.start()

    def resume_after_cut(self) -> lys_storage.Scan:
        """Resume the scan from the remaining files. The versions in it are promised from then on."""
        ledger = ledger_of(self.events + self.rec.events)
        scan = self.resume()
        found: dict[int, int] = {}
        for cell in np.flatnonzero(np.repeat(scan.written.reshape(-1), CELLS // scan.written.size)).tolist():
            allowed = ledger.allowed(cell)
            version = find_version(scan.read(divmod(cell, GRID[1])).tobytes(), 0, cell, allowed)
            if version is None:
                raise Broken(f"resume: cell {cell} is none of the versions {sorted(allowed)}")
            found[cell] = version
        if lost := set(ledger.promised()) - set(found):
            raise Broken(f"resume: cells {sorted(lost)} were promised, but are missing")
        if scan.note["version"] not in ledger.allowed_notes():
            raise Broken(f"resume: the note is {scan.note}, allowed versions: {sorted(ledger.allowed_notes())}")
        self.rec.mark("found", found, scan.note["version"])
        return scan

    def meanwhile(self, at: int, action: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """In the block, another thread runs `action` at this thread's `at`-th operation on the disk."""
        return meanwhile(self.rec, at, action)
