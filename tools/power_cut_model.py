#!/usr/bin/env python
"""Cut the power of a modelled disk at every operation of a scan, and check every promise on what is left.

    python tools/power_cut_model.py --cuts 10000 --seed 0

lys_storage runs on a real folder (in memory), and tests/faults/disk_model.py records what it does to the disk. At each
recorded point the power is cut: unsynced writes, stores through maps, sizes and names are kept, dropped or torn by
choice. What is left is recovered as on another boot, and compared with what had been promised: frames older than the
last flush are there bit for bit (old or new where a rewrite had begun since), what is in an export was written there or
is listed as missing and holds the fill value, nothing under a final name is bad. A share of the recoveries is cut again.

Syncs fail as well, by the seed, in a scan and in its recovery: some of the pages that a failed one should have written
are lost, though they read as written, and no later sync makes good for it. What it should have made durable is not
promised by it, the program that writes the scan tries again or goes on, and what a later flush promises has to be there.
"""

from __future__ import annotations

import contextlib
import io
import platform
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

import lys_storage
from lys_storage.disk import File
from lys_storage.disk import syscalls as syscalls_module
from lys_storage.format import archive as archive_module
from lys_storage.journal import layout as layout_module
from lys_storage.scan import begin_scan
from tests.faults.disk_model import Book, Disk, Event, Recorder, SyncErrors, read_files, without_syncs, write_files

T = TypeVar("T")
GRID = (3, 4)
CELLS = GRID[0] * GRID[1]
OLDER = {"note": {"older": True}, "shape": (2, 3), "dtype": "u1", "fill": 1}


# -- a scan, and what its frames hold -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """What the scan of one run is. A cell is what an index of the whole grid names."""

    elements: int
    fill: int
    grid_ndim: int = 2
    folder: str = "."

    @property
    def shape(self) -> tuple[int, ...]:
        return (*GRID, self.elements)


@lru_cache(4096)
def content(cell: int, version: int, elements: int) -> bytes:
    """What a cell holds in its n-th version: a mixture of two versions is neither."""
    return np.random.default_rng([cell, version, elements]).bytes(2 * elements)


class World:
    """One run on a recorded folder: scans that are written, killed, resumed, and whose disk loses its power."""

    def __init__(self, base: Path, rng: random.Random, form: Form, errors: SyncErrors | None) -> None:
        self.base, self.rng, self.form, self.errors = base, rng, form, errors
        self.root = base / "0"
        self.root.mkdir()
        self.record: Recorder | None = None
        self.events: list[Event] = []
        self.boots = 0
        self.version = self.note = 0
        self.foreign: dict[str, bytes] = {}
        self._scans: list[lys_storage.Scan] = []
        self._tellers = threading.Lock()  # guards version

    @property
    def rec(self) -> Recorder:
        assert self.record is not None
        return self.record

    @property
    def folder(self) -> Path:
        return self.root / self.form.folder

    def start(self) -> None:
        boot = f"boot {self.boots}"
        syscalls_module.read_boot_id = lambda: boot
        self.record = Recorder(self.root, self.errors)
        self.record.__enter__()

    def stop(self) -> None:
        if self.record is not None:
            record, self.record = self.record, None
            record.__exit__(None, None, None)
            self.events += record.events

    def options(self) -> dict[str, Any]:
        form = self.form
        return {
            "fill": form.fill,
            "grid_ndim": form.grid_ndim,
            "note": {"version": 0},
            "flush_interval_s": None,
        }

    def may_fail(self, action: Callable[[], Any]) -> bool:
        """Do it. False where it failed; it may only because a sync has."""
        before = self.sync_errors
        try:
            action()
        except lys_storage.LysStorageError:
            if self.sync_errors == before:
                raise
            return False
        return True

    @property
    def sync_errors(self) -> int:
        return 0 if self.errors is None else self.errors.count

    def insist(self, action: Callable[[], T]) -> T:
        """Do it until no sync fails."""
        done: list[T] = []
        while not self.may_fail(lambda: done.append(action())):
            continue
        return done[0]

    def create(self, *, overwrite: bool = False, dtype: str = "<u2") -> lys_storage.Scan:
        path, options = self.folder / "data.npz", self.options()
        return self._mine(
            self.insist(lambda: lys_storage.create(path, self.form.shape, dtype, overwrite=overwrite, **options))
        )

    def create_numbered(self) -> lys_storage.Scan:
        names: dict[str, Any] = {"numbered": True, "replace_existing": False, **self.options()}
        return self._mine(self.insist(lambda: begin_scan(self.folder, "data", self.form.shape, "<u2", **names)))

    def _mine(self, scan: lys_storage.Scan) -> lys_storage.Scan:
        self._scans.append(scan)
        return scan

    def let_go(self) -> None:
        """Of what a scenario that failed has left open."""
        for scan in self._scans:
            if not scan.closed:
                self.die(scan)

    def older(self, name: str) -> None:
        """An export that is there before."""
        with lys_storage.create(self.folder / name, **OLDER, flush_interval_s=None) as scan:
            scan[0] = np.ones(3, "u1")

    def take(self, name: str) -> None:
        """Another program, which knows nothing of ours, makes an export of that name."""
        stream = io.BytesIO()
        np.savez_compressed(stream, data=np.arange(7))
        self.foreign[name] = stream.getvalue()
        self.rec.foreign(name, self.foreign[name])

    def write(self, scan: lys_storage.Scan, *cells: int, row: int | None = None) -> None:
        """A new version of the cells, which are one, or a row. Where that fails, it is tried again, or not."""
        given = cells if row is None else tuple(range(row * GRID[1], (row + 1) * GRID[1]))
        with self._tellers:
            self.version += 1
            version = self.version
        elements = self.form.elements
        frames = [np.frombuffer(content(cell, version, elements), "<u2") for cell in given]
        self.rec.mark("begun", version, given)
        index, frame = (divmod(cells[0], GRID[1]), frames[0]) if row is None else (row, np.stack(frames))
        if self.may_fail(lambda: scan.write(index, frame)):
            self.rec.mark("written", version, given)
        elif self.rng.random() < 0.5:
            self.write(scan, *cells, row=row)

    def some(self, scan: lys_storage.Scan, count: int) -> None:
        """So many writes of anything, flushes and notes among them."""
        for _ in range(count):
            what = self.rng.random()
            if what < 0.15:
                self.flush(scan)
            elif what < 0.25:
                self.set_note(scan)
            elif what < 0.35:
                self.write(scan, row=self.rng.randrange(GRID[0]))
            elif what < 0.45:
                scan._part.check()  # as the follower does each so many bytes
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
        """Where it fails, it is tried again, or (unless `insist`) not."""
        self.rec.mark("flush begun")
        if self.may_fail(scan.flush):
            self.rec.mark("flushed")
        elif insist or self.rng.random() < 0.5:
            self.flush(scan, insist=insist)

    def close(self, scan: lys_storage.Scan, **options: Any) -> None:
        """Where it fails, it is tried again, by the same process or another one."""
        self.rec.mark("flush begun")
        if self.may_fail(lambda: scan.close(**options)):
            self.rec.mark("flushed")
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
        """Where it fails, the scan is suspended all the same."""
        self.rec.mark("flush begun")
        if self.may_fail(scan.suspend):
            self.rec.mark("flushed")

    def recover(self) -> None:
        """On this boot, again and again until the scan is exported."""
        while True:
            self.rec.mark("flush begun")
            before = self.sync_errors
            (result,) = lys_storage.recover(self.root)
            if result.path is not None or result.settled:
                self.rec.mark("flushed")
                if result.path is not None:
                    self.rec.mark("saved", result.path.relative_to(self.root).as_posix())
                return
            if self.sync_errors == before:
                raise Broken(f"recover: {result.said}")

    def die(self, scan: lys_storage.Scan) -> None:
        """What SIGKILL leaves: nothing more is done to the files; the kernel has what it has."""
        scan._end_threads()
        part = scan._part
        part.journal.close()
        for file in list(File._open):
            if file.path.is_relative_to(self.base):
                file.close()
        part._closed, scan._state, scan._map = True, "suspended", None

    def die_during(self, scan: lys_storage.Scan, at: int, action: Callable[[], None]) -> None:
        """SIGKILL at the `at`-th operation on the disk of `action`, which writes a frame or flushes; or after it."""
        count = 0

        def hook() -> None:
            nonlocal count
            count += 1
            if count == at:
                raise Killed

        self.rec.hook = hook
        with contextlib.suppress(Killed):
            action()
        self.rec.hook = None
        self.die(scan)

    def resume(self) -> lys_storage.Scan:
        part = next(iter(sorted(self.folder.glob("*.part"))))
        return self._mine(self.insist(lambda: lys_storage.resume(part, flush_interval_s=None)))

    def cut_power(self) -> None:
        """The machine goes down, and comes up again with what is left."""
        left = self.rec.disk.choose(self.rng)
        self.stop()
        self.boots += 1
        self.root = self.base / str(self.boots)
        write_files(self.root, left)
        self.start()

    def resume_after_cut(self) -> lys_storage.Scan:
        """Go on with what is left; what is found is promised from then on."""
        book = book_of(self.events + self.rec.events)
        scan = self.resume()
        found: dict[int, int] = {}
        for cell in np.flatnonzero(np.repeat(scan.written.reshape(-1), CELLS // scan.written.size)).tolist():
            is_there = scan.read(*divmod(cell, GRID[1])).tobytes()
            same = [v for v in book.allowed(cell) if content(cell, v, self.form.elements) == is_there]
            if not same:
                raise Broken(f"resume: cell {cell} is none of the versions {sorted(book.allowed(cell))}")
            found[cell] = same[0]
        if lost := set(book.promised) - set(found):
            raise Broken(f"resume: cells {sorted(lost)} were promised, and are missing")
        if scan.note["version"] not in range(book.note_promised, max(book.notes_begun) + 1):
            raise Broken(f"resume: the note is {scan.note}, version {book.note_promised} was promised")
        self.rec.mark("found", found, scan.note["version"])
        return scan

    def meanwhile(self, at: int, action: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """In the block: another thread does `action` at this thread's `at`-th operation on the disk."""
        return _meanwhile(self.rec, at, action)


@contextlib.contextmanager
def _meanwhile(record: Recorder, at: int, action: Callable[[], None]) -> Iterator[None]:
    me, count, faults = threading.current_thread(), 0, []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            faults.append(error)

    other = threading.Thread(target=run)

    def hook() -> None:
        nonlocal count
        if threading.current_thread() is not me:
            return
        count += 1
        if count == at:
            other.start()
            other.join(0.02)  # where it waits for what this thread holds, this thread goes on

    record.hook = hook
    try:
        yield
    finally:
        record.hook = None
        if other.ident is None:
            other.start()
        other.join()
    if faults:
        raise faults[0]


class Broken(Exception):  # noqa: N818
    """A promise that did not hold."""


class Killed(BaseException):
    """The process is dead: what it did to the disk so far is all that counts."""


# -- scenarios ----------------------------------------------------------------------------------------------------------


def in_order(w: World) -> None:
    scan = w.create()
    for cell in range(CELLS):
        w.write(scan, cell)
        if cell % 4 == 3:
            w.flush(scan)
    w.close(scan)


def in_random_order(w: World) -> None:
    scan = w.create_numbered()
    for cell in w.rng.sample(range(CELLS), CELLS - 2):
        w.write(scan, cell)
        if w.rng.random() < 0.3:
            w.flush(scan)
    w.close(scan)


def rewrites(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    w.write(scan, 5)
    for _ in range(10):
        w.write(scan, w.rng.choice([0, 1, 2, 5]))
        if w.rng.random() < 0.35:
            w.flush(scan)
    w.close(scan)


def rows_over_frames(w: World) -> None:
    scan = w.create_numbered()
    w.write(scan, 1)
    w.write(scan, 6)
    w.flush(scan)
    w.write(scan, row=0)
    w.write(scan, row=1)
    w.flush(scan)
    w.write(scan, row=0)
    w.close(scan)


def a_finer_grid(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    w.write(scan, row=1)
    if w.rng.random() < 0.7:
        w.flush(scan)
    w.write(scan, row=1)
    if w.rng.random() < 0.5:
        w.flush(scan)
    w.write(scan, w.rng.randrange(CELLS))  # makes the grid finer
    w.some(scan, 4)
    w.flush(scan)
    w.write(scan, w.rng.randrange(4))
    w.close(scan)


def notes(w: World) -> None:
    scan = w.create()
    for k in range(7):
        w.set_note(scan)
        if k % 2:
            w.write(scan, k)
        if w.rng.random() < 0.4:
            w.flush(scan)
    w.close(scan)


def in_place_of_an_older_file(w: World) -> None:
    scan = w.create(overwrite=True)
    w.some(scan, 6)
    w.flush(scan)
    w.close(scan)


def a_new_folder(w: World) -> None:
    scan = w.create_numbered()
    w.write(scan, 0)
    w.flush(scan)
    w.write(scan, 1)
    w.close(scan)


def killed_and_recovered(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 10)
    w.die(scan)
    w.recover()


def killed_and_resumed(w: World) -> None:
    scan = w.create()
    w.some(scan, 8)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 6)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 4)
    w.close(scan)


def killed_in_a_write(w: World) -> None:
    scan = w.create()
    w.some(scan, 5)
    for _ in range(3):
        w.flush(scan)
        cell = w.rng.randrange(4)
        actions: list[Callable[[], None]] = [
            partial(w.write, scan, cell),
            partial(w.write, scan, row=0),
            partial(w.flush, scan),
        ]
        w.die_during(scan, w.rng.randint(1, 9), w.rng.choice(actions))
        scan = w.resume()
        w.some(scan, 2)
    w.close(scan)


def suspended_and_resumed(w: World) -> None:
    scan = w.create()
    w.some(scan, 6)
    w.suspend(scan)
    scan = w.resume()
    w.some(scan, 8)
    w.close(scan)


def cut_and_resumed(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 6)
    w.flush(scan, insist=True)
    w.some(scan, 5)
    w.die(scan)
    w.cut_power()
    scan = w.resume_after_cut()
    w.some(scan, 6)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 3)
    w.close(scan)


def a_rewrite_during_a_flush(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    for turn, at in enumerate(w.rng.sample(range(1, 9), 4)):
        if w.rng.random() < 0.8:
            w.flush(scan)
        cell = w.rng.randrange(4)
        for _ in range(w.rng.randrange(4)):
            w.write(scan, cell)
        cells = [w.rng.randrange(4)] if w.rng.random() < 0.5 else [5 + turn] * 2  # the latter have no checksum yet

        def meanwhile(cells: list[int] = cells) -> None:
            for cell in cells:
                w.write(scan, cell)

        with w.meanwhile(at, meanwhile):
            w.flush(scan)
    w.die(scan)


def checks_during_a_flush(w: World) -> None:
    """As the follower does: what comes while the disk is waited for is looked at meanwhile."""
    scan = w.create()
    w.write(scan, row=0)
    for at in w.rng.sample(range(1, 14), 5):
        if w.rng.random() < 0.5:
            w.flush(scan)
        for _ in range(w.rng.randrange(3)):
            w.write(scan, w.rng.randrange(8))
        cells = [(w.rng.randrange(8), w.rng.choice([0, 1, 2, CELLS])) for _ in range(w.rng.randint(1, 4))]

        def meanwhile(cells: list[tuple[int, int]] = cells) -> None:
            for cell, some in cells:
                w.write(scan, cell)
                if some:
                    scan._part.check_some(some * scan._part.frame_bytes)

        with w.meanwhile(at, meanwhile):
            w.flush(scan)
    w.die(scan)


def a_flush_during_a_rewrite(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    for at in w.rng.sample(range(1, 9), 5):
        if w.rng.random() < 0.8:
            w.flush(scan)
        if w.rng.random() < 0.4:
            w.write(scan, w.rng.randrange(4))
        with w.meanwhile(at, lambda: w.flush(scan)):
            w.write(scan, w.rng.choice([0, 1, 2, 3, 7]))
    w.die(scan)


def another_dtype(w: World) -> None:
    scan = w.create(dtype="<u4")
    if w.rng.random() < 0.7:
        w.flush(scan)
    w.insist(lambda: scan.change_dtype("<u2", w.form.fill))
    w.some(scan, 4)
    w.flush(scan)
    w.some(scan, 3)
    w.close(scan)


def trimmed(w: World) -> None:
    scan = w.create_numbered()
    for cell in range(w.rng.randint(0, CELLS - 1)):
        w.write(scan, cell)
        if w.rng.random() < 0.3:
            w.flush(scan)
    w.close(scan, trim=True)


def a_number_that_is_taken_meanwhile(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 3)
    w.flush(scan)
    w.some(scan, 2)
    w.take("data_0.npz")
    w.some(scan, 2)
    w.close(scan)


@dataclass(frozen=True)
class Scenario:
    run: Callable[[World], None]
    older: str | None = None
    replaces: bool = False
    coarse: bool = False
    folder: str = "."

    @property
    def name(self) -> str:
        return self.run.__name__.replace("_", " ")


SCENARIOS = [
    Scenario(in_order),
    Scenario(in_random_order, older="data_0.npz"),
    Scenario(rewrites),
    Scenario(rows_over_frames),
    Scenario(a_finer_grid, coarse=True),
    Scenario(notes),
    Scenario(in_place_of_an_older_file, older="data.npz", replaces=True),
    Scenario(a_new_folder, folder="new/run"),
    Scenario(killed_and_recovered, older="data_0.npz"),
    Scenario(killed_and_resumed),
    Scenario(killed_in_a_write),
    Scenario(suspended_and_resumed),
    Scenario(cut_and_resumed),
    Scenario(another_dtype),
    Scenario(trimmed),
    Scenario(a_number_that_is_taken_meanwhile),
    Scenario(a_rewrite_during_a_flush),
    Scenario(checks_during_a_flush),
    Scenario(a_flush_during_a_rewrite),
]


# -- cutting, recovering, checking --------------------------------------------------------------------------------------


def book_of(events: list[Event]) -> Book:
    book = Book()
    for event in events:
        book.apply(event)
    return book


@dataclass
class Run:
    """The record of one scenario, from which any number of cuts can be made."""

    scenario: Scenario
    seed: str
    form: Form
    events: list[Event]
    older: dict[str, bytes]
    sync_errors: int

    @property
    def points(self) -> list[int]:
        """Where a cut can be: before each event that changes the disk, and at the end."""
        return [k for k, event in enumerate(self.events) if event[0] not in ("mark", "disk")] + [len(self.events)]


def record(scenario: Scenario, seed: str, base: Path, *, sync_errors: bool) -> Run:
    """Run a scenario once. Raises Broken where it finds a promise broken itself."""
    errors = SyncErrors(random.Random(f"{seed} sync errors")) if sync_errors else None
    rng = random.Random(seed)
    form = Form(rng.choice([250, 256, 1100]), rng.choice([0, 0xABCD]), 1 if scenario.coarse else 2, scenario.folder)
    real = syscalls_module.boot_id
    world = World(base, rng, form, errors)
    try:
        if scenario.older is not None:
            world.older(scenario.older)
        older = {name: data for name, data in read_files(world.root).items() if isinstance(data, bytes)}
        world.start()
        scenario.run(world)
    finally:
        world.stop()
        world.let_go()
        syscalls_module.read_boot_id = real
    return Run(scenario, seed, form, world.events, older | world.foreign, world.sync_errors)


@dataclass
class Outcome:
    faults: list[str] = field(default_factory=list)
    frames: int = 0
    missing: int = 0
    sync_errors: int = 0


def cut(
    run: Run, disk: Disk, book: Book, seed: str, base: Path, *, any_names: bool, again: bool, sync_errors: bool
) -> Outcome:
    """Cut the power at a point of a run, recover what is left, and check every promise; `again`: cut the recovery too."""
    rng = random.Random(seed)
    left = disk.choose(rng, any_names=any_names)
    folder = base / "left"
    write_files(folder, left)
    outcome = Outcome()
    real = syscalls_module.boot_id
    try:
        if again:
            errors = SyncErrors(random.Random(f"{seed} sync errors"))
            recorder = Recorder(folder, errors if sync_errors else None)
            syscalls_module.read_boot_id = lambda: "another boot"
            with recorder:
                before = -1
                while errors.count > before:  # who is told that it failed runs it again
                    before = errors.count
                    lys_storage.recover(folder)
            outcome.sync_errors = errors.count
            half = Disk()
            points = [k for k, event in enumerate(recorder.events) if event[0] not in ("mark", "disk")] or [1]
            for event in recorder.events[: rng.choice(points)]:
                half.apply(event)
            shutil.rmtree(folder)
            folder = base / "left again"
            write_files(folder, half.choose(rng, any_names=any_names))
        syscalls_module.read_boot_id = lambda: "yet another boot"
        outcome.faults += check_exports(folder)
        with without_syncs():
            results = lys_storage.recover(folder)
        said = [f"{r.part.name}: {r.said}" for r in results]
        older = {name: data for name, data in run.older.items() if name in left}
        check(run, book, folder, older, outcome, strict=not any_names)
        if outcome.faults:
            outcome.faults.append(f"recover said: {said}")
    except Exception:
        outcome.faults.append(traceback.format_exc())
    finally:
        syscalls_module.read_boot_id = real
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def check_exports(folder: Path) -> list[str]:
    faults = []
    for path in folder.rglob("*.npz"):
        try:
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    faults.append(f"{path.name}: member {bad} is bad")
        except Exception as error:
            faults.append(f"{path.name}: {error!r}")
    return faults


def check(run: Run, book: Book, folder: Path, older: dict[str, bytes], outcome: Outcome, *, strict: bool) -> None:
    """Compare what was recovered with what was promised. Not `strict`: names that are left over are no fault."""
    faults = outcome.faults
    faults += check_exports(folder)
    files = read_files(folder)
    exports = [name for name in files if name.endswith(".npz")]
    ours = [name for name in exports if files[name] not in older.values()]
    for name, data in older.items():
        if name not in files or (files[name] != data and not run.scenario.replaces):
            faults.append(f"{name} was there before, and is gone or another")
    if strict and (book.flushed or ours):
        left = [name for name, data in files.items() if data is not None and not name.endswith(".npz")]
        if left:
            faults.append(f"left behind: {left}")
        faults += [f"verify: {problem}" for problem in lys_storage.verify(folder)]
    if book.saved is not None and book.saved not in ours:
        faults.append(f"{book.saved} was saved, and is not there; {exports} are")
    if not ours:
        if book.flushed:
            faults.append(f"a scan with {len(book.promised)} promised frames is gone")
        return
    if len(ours) > 1:
        faults.append(f"exports {ours}, one expected")
        return
    with lys_storage.open_wave(folder / ours[0]) as wave:
        data, info, note = np.array(wave.data), wave.info, wave.note
    if not book.note_promised <= note["version"] <= max(book.notes_begun):
        faults.append(f"note {note['version']}, promised {book.note_promised}, begun {max(book.notes_begun)}")
    if data.shape != run.form.shape and "trimmed_from" not in info:
        faults.append(f"shape {data.shape}, expected {run.form.shape}")
        return
    cells = data.shape[0] * data.shape[1]  # trimmed, it is a prefix
    if cut_off := [cell for cell in book.promised if cell >= cells]:
        faults.append(f"cells {cut_off} were promised, and trimmed away: {data.shape}")
    per_frame = cells // info["frames_expected"]
    missing = {c for a, b in info["missing"] for c in range(a * per_frame, b * per_frame)}
    for cell, frame in enumerate(data.reshape(cells, -1)):
        outcome.frames += 1
        outcome.missing += cell in missing
        if cell in missing:
            if cell in book.promised:
                faults.append(f"cell {cell} is missing, version {book.promised[cell]} was promised")
            if not (frame == run.form.fill).all():
                faults.append(f"cell {cell} is missing, and does not hold the fill value")
        elif not any(frame.tobytes() == content(cell, v, run.form.elements) for v in book.allowed(cell)):
            is_other = [v for v in book.begun.get(cell, []) if frame.tobytes() == content(cell, v, run.form.elements)]
            what = f"version {is_other[0]}" if is_other else "torn, or nothing that was written"
            faults.append(f"cell {cell} is {what}; allowed are {sorted(book.allowed(cell))}")


@dataclass
class Tally:
    cuts: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    sync_errors: Counter[str] = field(default_factory=Counter)
    again: int = 0
    frames: int = 0
    missing: int = 0
    faults: list[str] = field(default_factory=list)


def cut_everywhere(
    scenario: Scenario,
    seed: str,
    base: Path,
    tally: Tally,
    *,
    choices: int,
    most: int,
    any_names: bool = False,
    sync_errors: bool = False,
) -> None:
    """Record a scenario, and cut it `choices` times at each of its points, or at `most` of them."""
    with _on_a_kind_of_disk(random.Random(f"{seed} kind")):
        _cut_everywhere(scenario, seed, base, tally, choices, most, any_names, sync_errors)


@contextlib.contextmanager
def _on_a_kind_of_disk(rng: random.Random) -> Iterator[None]:
    """Blocks of frames that are small enough for these scans, or none; marks in a map, or written as on copy on write; a
    member of zeros before the array, as large scans have it, or none."""
    before = layout_module._MOST_IN_BLOCK, File.keeps_its_place, archive_module._MAX_EXTRA
    in_block, by_map, padded = rng.choice([2, 4, 4096]), rng.random() < 0.7, rng.random() < 0.5
    layout_module._MOST_IN_BLOCK = in_block
    if padded:
        archive_module._MAX_EXTRA = 100
    File.keeps_its_place = lambda self: by_map  # type: ignore[method-assign]
    try:
        yield
    finally:
        layout_module._MOST_IN_BLOCK, File.keeps_its_place, archive_module._MAX_EXTRA = before  # type: ignore[method-assign]


def _cut_everywhere(
    scenario: Scenario,
    seed: str,
    base: Path,
    tally: Tally,
    choices: int,
    most: int,
    any_names: bool,
    sync_errors: bool,
) -> None:
    home = Path(tempfile.mkdtemp(dir=base))
    try:
        run = record(scenario, seed, home, sync_errors=sync_errors)
    except Exception as error:
        tally.broken[scenario.name] += 1
        tally.faults.append(
            f"{scenario.name}, run {seed}: {error if isinstance(error, Broken) else traceback.format_exc()}"
        )
        return
    finally:
        shutil.rmtree(home)
    rng = random.Random(f"{seed} cuts")
    points = run.points
    chosen = set(points if most >= choices * len(points) else rng.sample(points, max(1, most // choices)))
    tally.points[scenario.name] += len(chosen)
    tally.sync_errors[scenario.name] += run.sync_errors
    disk, book = Disk(), Book()
    for k, event in enumerate([*run.events, ("mark", "the end")]):
        for n in range(choices if k in chosen else 0):
            at = Path(tempfile.mkdtemp(dir=base))
            again = rng.random() < 0.25
            how = {"any_names": any_names, "again": again, "sync_errors": sync_errors}
            outcome = cut(run, disk, book, f"{seed} {k} {n}", at, **how)
            shutil.rmtree(at)
            tally.cuts[scenario.name] += 1
            tally.again += again
            tally.frames += outcome.frames
            tally.missing += outcome.missing
            tally.sync_errors[scenario.name] += outcome.sync_errors
            tally.broken[scenario.name] += bool(outcome.faults)
            where = f"{scenario.name}, run {seed}, cut {n} before event {k} {_short(event)}{', twice' if again else ''}"
            if outcome.faults:
                tally.faults.append(f"{where}:" + "".join(f"\n    {fault}" for fault in outcome.faults[:4]))
        disk.apply(event)
        book.apply(event)


def _short(event: Event) -> str:
    return " ".join(str(part) if not isinstance(part, bytes | list) else f"<{len(part)}>" for part in event)[:60]


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--cuts", default=10_000, show_default=True, help="How many times the power is cut, at least.")
@click.option("--seed", default=0, show_default=True, help="The same cuts for the same seed.")
@click.option("--only", default="", help="Scenarios whose name contains this.")
@click.option("--any-names", is_flag=True, help="Creates, renames and removes survive in any order, not in theirs.")
@click.option(
    "--sync-errors/--no-sync-errors", default=True, show_default=True, help="Whether syncs fail, by the seed."
)
@click.option("--dir", "where", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Default: memory.")
def main(cuts: int, seed: int, only: str, any_names: bool, sync_errors: bool, where: Path | None) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    if where is None and Path("/dev/shm").is_dir():
        where = Path("/dev/shm")
    out.print(
        f"lys_storage at {Path(lys_storage.__file__).parent}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"Linux {platform.release()}; the disk is modelled, sectors of 512 bytes, seed {seed}"
    )
    scenarios = [s for s in SCENARIOS if only in s.name]
    how: dict[str, Any] = {"choices": 2, "most": 10_000, "any_names": any_names, "sync_errors": sync_errors}
    tally, begin, said, n = Tally(), time.monotonic(), time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="power_cut_model_", dir=where) as name:
        while tally.cuts.total() < cuts:
            for scenario in scenarios:
                cut_everywhere(scenario, f"{seed}:{n}", Path(name), tally, **how)
                if time.monotonic() - said > 5:
                    said = time.monotonic()
                    out.print(f"{tally.cuts.total():,} of {cuts:,} cuts, {len(tally.faults)} promises broken")
            n += 1
            if not tally.cuts:
                break
    table = Table("scenario", "points", "cuts", "sync errors", "with a promise broken")
    columns = (tally.points, tally.cuts, tally.sync_errors, tally.broken)
    for scenario in scenarios:
        table.add_row(scenario.name, *(f"{c[scenario.name]:,}" for c in columns))
    out.print(table)
    for fault in tally.faults[:: max(1, len(tally.faults) // 20)]:
        out.print(f"BROKEN {fault}")
    out.print(
        f"{tally.cuts.total():,} cuts at {tally.points.total():,} points of {n} runs of each scenario, of which {tally.again:,} "
        f"with the recovery cut too, {tally.sync_errors.total():,} sync errors, {time.monotonic() - begin:.0f} s: "
        f"{tally.frames:,} frames compared, {tally.missing:,} missing as they may be, "
        f"{tally.broken.total()} cuts with a promise broken"
    )
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
