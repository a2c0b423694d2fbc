#!/usr/bin/env python
"""A storm of SIGKILLs over scans that are being written: what was acknowledged has to be there, bit for bit.

    python tools/crash_storm.py --kills 1000 --seed 0 --dir /where/the/data/go

Each life is one scan: a child process begins it, writes and rewrites frames in random order, flushes, saves it; further
children resume or recover it. Every child is killed, either by this process at a random moment, or by itself before,
in the middle of, or after the n-th durable step (an operation of lys_storage.core._fs) of a phase. A child tells over a
pipe what it begins to write and what has been acknowledged. After each kill a copy of the folder is recovered, as on
the same boot, and every acknowledged frame is compared; a frame killed while it is rewritten is the old or the new one.
It writes in a new folder below DIR only, which is removed at the end.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # children are forked: no thread may run in this process

import json
import platform
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import lys_storage
from lys_storage.disk import File
from lys_storage.disk import file as file_module
from lys_storage.disk import syscalls as syscalls_module
from lys_storage.scan import begin_scan

Cell = int
OLD = "old.npz"
DEADLINE_S = 60.0
_SIZES = (1000, 4096, 65_536, 1 << 20)
ANY = "any"
_MOST_STEPS = {"reserve": 16, "write": 16, "rewrite": 40, "refine": 20, "note": 8, "flush": 12}
_MOST_STEPS |= {"save": 16, "suspend": 8, "resume": 10, "recover": 26}

# -- what a scan is, and what its frames hold ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """One scan of the storm. A cell is what an index of the whole grid names."""

    folder: Path
    seed: str
    kind: str  # "unnumbered", "numbered", "replace"
    grid: tuple[int, int]
    frame_bytes: int
    fill: int
    coarse: bool  # the first index names a row: a later one makes the grid finer
    flush_interval_s: float | None

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid, self.frame_bytes // 2)

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]


def draw_life(folder: Path, seed: str, frame_bytes: int) -> Life:
    rng = random.Random(seed)
    size = frame_bytes or rng.choice(_SIZES)
    return Life(
        folder=folder,
        seed=seed,
        kind=rng.choice(["unnumbered", "numbered", "replace"]),
        grid=(rng.randint(2, 5), rng.randint(3, 7)),
        frame_bytes=size,
        fill=rng.choice([0, 0xABCD]),
        coarse=rng.random() < 0.3,
        flush_interval_s=rng.choice([None, None, 0, 0.002, 0.02]),
    )


def content(life: Life, cell: Cell, version: int) -> np.ndarray[Any, Any]:
    """What a cell holds in its n-th version: a mixture of two versions is neither."""
    seed = np.random.SeedSequence([cell, version, life.frame_bytes])
    return np.random.default_rng(seed).integers(0, 1 << 16, life.frame_bytes // 2, np.uint16)


# -- in the child -------------------------------------------------------------------------------------------------------


@dataclass
class Kill:
    """When a child dies: at the n-th step of a phase, which it counts itself, or by this process, so many messages and
    seconds from its beginning."""

    phase: str = ""
    step: int = 0
    where: str = "before"
    messages: int = 0
    delay_s: float = 0.0

    @property
    def at_step(self) -> bool:
        return bool(self.phase)


class Steps:
    """Counts the durable steps of each phase, and kills this process at one of them."""

    METHODS = ("__init__", "write_at", "set_size", "claim", "punch_hole", "sync", "map", "try_lock", "close")
    FUNCTIONS = ("make_folder", "sync_folder", "remove", "replace", "publish_new")

    def __init__(self, kill: Kill, tell: Callable[..., None]) -> None:
        self.kill, self._tell = kill, tell
        self.phase = "reserve"
        self._counts: Counter[str] = Counter()
        for name in self.METHODS:
            setattr(File, name, self._wrap(getattr(File, name), name, True))
        for name in self.FUNCTIONS:
            if hasattr(file_module, name):
                setattr(file_module, name, self._wrap(getattr(file_module, name), name, False))

    def _wrap(self, real: Callable[..., Any], name: str, method: bool) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            phase, wanted = self.phase, self.kill.phase
            self._counts.update((phase, ANY))
            if wanted not in (phase, ANY) or self._counts[wanted] != self.kill.step:
                return real(*args, **options)
            path = args[1] if name == "__init__" else args[0].path if method else args[0]
            step = f"{phase}: {'open' if name == '__init__' else name} {_kind(Path(path))}"
            if self.kill.where == "before":
                self._die(f"{step}, before")
            if self.kill.where == "middle" and name == "write_at":
                view = memoryview(args[1]).cast("B")
                os.pwrite(args[0].fd, view[: len(view) // 2], args[2])
                self._die(f"{step}, in the middle")
            if self.kill.where == "middle" and name == "publish_new" and not os.path.lexists(args[1]):
                os.link(*args)  # where the system has no rename that refuses, it is a link and an unlink
                self._die(f"{step}, in the middle")
            real(*args, **options)
            self._die(f"{step}, after")
            return None

        return call

    def _die(self, step: str) -> None:
        self._tell("step", step)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(DEADLINE_S)


def _kind(path: Path) -> str:
    for suffix in (".journal.new", ".journal", ".redo", ".part.new", ".part", ".npz"):
        if path.name.endswith(suffix):
            return suffix
    return "folder"


class Child:
    """A process that writes, resumes or recovers a scan, and tells what it does."""

    def __init__(self, life: Life, role: str, kill: Kill, book: Book, seed: str, pipe: int) -> None:
        self.life, self.role, self.pipe = life, role, pipe
        self.rng = random.Random(seed)
        self.version = book.last_version
        self.written = {cell for cell in range(life.cells) if book.acked.get(cell)}
        self.note = book.notes[-1] if book.notes else 0
        self.coarse = life.coarse and not book.refined
        self.boot = book.boot
        self.steps = Steps(kill, self.tell)

    def tell(self, *words: Any) -> None:
        os.write(self.pipe, (json.dumps(words) + "\n").encode())

    def run(self) -> None:
        boot = f"boot {self.boot}"
        syscalls_module.read_boot_id = lambda: boot
        if self.role == "recover":
            self.steps.phase = "recover"
            lys_storage.recover(self.life.folder)
            return
        scan = self.begin() if self.role == "write" else self.resume()
        self.frames(scan)
        self.end(scan)

    def begin(self) -> lys_storage.Scan:
        life = self.life
        common: dict[str, Any] = {
            "fill": life.fill,
            "note": {"version": 0},
            "flush_interval_s": life.flush_interval_s,
            "grid_ndim": 1 if life.coarse else 2,
        }
        if life.kind == "numbered":
            given = {"numbered": True, "replace_existing": False, **common}
            scan = begin_scan(life.folder, "data", life.shape, "u2", **given)
        else:
            path = life.folder / ("data.npz" if life.kind == "unnumbered" else OLD)
            scan = lys_storage.create(path, life.shape, "u2", overwrite=life.kind == "replace", **common)
        self.tell("reserved", scan.part_path.name)
        return scan

    def resume(self) -> lys_storage.Scan:
        self.steps.phase = "resume"
        part = next(iter(sorted(self.life.folder.glob("*.part"))))
        scan = lys_storage.resume(part, flush_interval_s=self.life.flush_interval_s)
        self.tell("resumed", scan.frames_written)
        return scan

    def frames(self, scan: lys_storage.Scan) -> None:
        rng, life = self.rng, self.life
        if self.written and rng.random() < 0.3:
            todo = []  # rewrites only
        else:
            todo = [c for c in range(life.cells) if c not in self.written]
            if rng.random() < 0.6:
                rng.shuffle(todo)
            if rng.random() < 0.4:
                todo = todo[: rng.randint(0, len(todo))]
        while todo or rng.random() < 0.9:
            what = rng.random()
            if what < 0.1:
                self.steps.phase = "flush"
                scan.flush()
            elif what < 0.17:
                self.steps.phase = "note"
                self.note += 1
                self.tell("note begun", self.note)
                scan.note = {"version": self.note, "long": "x" * rng.choice([0, 9000])}
                self.tell("note", self.note)
            elif what < 0.35 and self.written:
                self.rewrite(scan, rng.sample(sorted(self.written), 1))
            elif what < 0.42:
                row = rng.randrange(life.grid[0])  # a whole row: some of its cells may be rewritten by that
                self.write(scan, [row * life.grid[1] + k for k in range(life.grid[1])], row=row)
            elif todo:
                cells, todo = todo[:1], todo[1:]
                self.write(scan, cells)
            elif not self.written:
                return

    def rewrite(self, scan: lys_storage.Scan, cells: list[Cell]) -> None:
        self.write(scan, cells)

    def write(self, scan: lys_storage.Scan, cells: list[Cell], row: int | None = None) -> None:
        life, (_, nx) = self.life, self.life.grid
        refines = self.coarse and row is None
        self.steps.phase = "refine" if refines else "rewrite" if self.written & set(cells) else "write"
        self.coarse = self.coarse and row is not None
        self.version += 1
        frames = np.stack([content(life, cell, self.version) for cell in cells])
        self.tell("begun", self.version, cells)
        if row is not None:
            scan[row] = frames
        else:
            scan[divmod(cells[0], nx)] = frames[0]
        frames[:] = 0  # the sender may use its buffer again
        self.written |= set(cells)
        self.tell("written", self.version, cells)
        if refines:
            self.tell("refined")

    def end(self, scan: lys_storage.Scan) -> None:
        how = self.rng.random()
        if how < 0.6:
            self.steps.phase = "save"
            self.tell("saved", scan.close().name)
        elif how < 0.8:
            self.steps.phase = "suspend"
            scan.suspend()
            self.tell("suspended")


def run_child(life: Life, role: str, kill: Kill, book: Book, seed: str) -> Iterator[list[Any]]:
    """Fork a child, and yield what it tells; it is dead when this ends."""
    sys.stdout.flush()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(reads)
            it = Child(life, role, kill, book, seed, writes)
            it.run()
            it.tell("ended", f"{role}: after all of it")
            code = 0
        except BaseException:
            it.tell("failed", traceback.format_exc())
        finally:
            os.kill(os.getpid(), signal.SIGKILL) if code == 0 else os._exit(code)
    os.close(writes)
    data, told, begin, alive = b"", 0, time.monotonic(), True
    try:
        while True:
            due = not kill.at_step and told >= kill.messages
            if alive and (due or time.monotonic() - begin > DEADLINE_S):
                time.sleep(kill.delay_s if due else 0)
                os.kill(child, signal.SIGKILL)
                alive = False
                if not due:
                    yield ["failed", f"the child hung for {DEADLINE_S} s"]
            if not select.select([reads], [], [], DEADLINE_S / 10)[0]:
                continue
            piece = os.read(reads, 1 << 16)
            if not piece:
                break
            *lines, data = (data + piece).split(b"\n")
            for line in lines:
                told += 1
                yield json.loads(line)
    finally:
        os.close(reads)
        if alive:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# -- what was promised --------------------------------------------------------------------------------------------------


@dataclass
class Book:
    """What the children of one life have told: what may be there, and what has to be."""

    reserved: str | None = None
    saved: str | None = None
    suspended: bool = False
    refined: bool = False
    boot: int = 0
    last_version: int = 0
    acked: dict[Cell, int] = field(default_factory=dict)
    begun: dict[Cell, list[int]] = field(default_factory=dict)
    notes: list[int] = field(default_factory=list)  # the last acknowledged, and those begun after it
    acknowledgements: int = 0
    step: str = ""
    faults: list[str] = field(default_factory=list)

    def take(self, words: list[Any]) -> None:
        what, rest = words[0], words[1:]
        if what == "reserved":
            self.reserved, self.notes = rest[0], [0]
        elif what == "begun":
            self.last_version = rest[0]
            for cell in rest[1]:
                self.begun.setdefault(cell, []).append(rest[0])
        elif what == "written":
            for cell in rest[1]:
                self.acked[cell], self.begun[cell] = rest[0], []
                self.acknowledgements += 1
        elif what == "note begun":
            self.notes.append(rest[0])
        elif what == "note":
            self.notes = [rest[0]]
        elif what == "refined":
            self.refined = True
        elif what == "saved":
            self.saved = rest[0]
        elif what == "suspended":
            self.suspended = True
        elif what in ("step", "ended"):
            self.step = rest[0]
        elif what == "failed":
            self.faults.append(rest[0])

    def allowed(self, cell: Cell) -> set[int]:
        return set(self.begun.get(cell, [])) | ({self.acked[cell]} if cell in self.acked else set())


def old_export(life: Life) -> bytes | None:
    """What a scan without a number replaces; a numbered one finds its first number taken."""
    if life.kind == "unnumbered":
        return None
    name = OLD if life.kind == "replace" else "data_0.npz"
    np.savez(life.folder / name, data=np.arange(7))
    return (life.folder / name).read_bytes()


def bad_exports(folder: Path) -> list[str]:
    """A file under a final name is complete and valid, at any moment."""
    faults = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with zipfile.ZipFile(path) as archive:
                if bad := archive.testzip():
                    faults.append(f"{path.name}: member {bad} is bad")
        except Exception as error:
            faults.append(f"{path.name} is bad: {error!r}")
    return faults


def copy_folder(folder: Path, copy: Path) -> None:
    """With the second names of files as such."""
    copy.mkdir()
    first: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        inode = path.stat().st_ino
        if inode in first:
            (copy / path.name).hardlink_to(first[inode])
        else:
            shutil.copyfile(path, copy / path.name)
            first[inode] = copy / path.name


def check(life: Life, folder: Path, book: Book, old: bytes | None) -> tuple[list[str], int]:
    """What of the promises does not hold in `folder`, which has been recovered; and how many frames are lost."""
    faults, lost = bad_exports(folder), 0
    exports = sorted(folder.glob("*.npz"))
    left = [p.name for p in folder.iterdir() if p.suffix != ".npz" and not p.name.startswith(".")]
    if left:
        faults.append(f"left behind: {', '.join(sorted(left))}")
    faults += [f"verify: {problem}" for problem in lys_storage.verify(folder)]
    if old is not None:
        name = OLD if life.kind == "replace" else "data_0.npz"
        if not (folder / name).exists():
            faults.append(f"{name}, which was there before, is gone")
        elif life.kind == "numbered" and (folder / name).read_bytes() != old:
            faults.append(f"{name}, which was there before, is another now")
    ours = [path for path in exports if old is None or path.read_bytes() != old]
    if book.reserved is None and not ours:
        return faults, 0
    if len(ours) != 1:
        return [*faults, f"{len(ours)} exports, one expected"], len(book.acked)
    if book.saved is not None and ours[0].name != book.saved:
        faults.append(f"saved as {book.saved}, found as {ours[0].name}")
    try:
        with lys_storage.open_wave(ours[0]) as wave:
            data, note, info = np.array(wave.data), wave.note, wave.info
    except lys_storage.LysStorageError as error:
        return [*faults, f"cannot be opened: {error}"], len(book.acked)
    if data.shape != life.shape or (book.notes and note.get("version") not in book.notes):
        faults.append(f"shape {data.shape}, expected {life.shape}; note {note}, expected version of {book.notes}")
    flat = data.reshape(life.cells, -1)
    per_frame = life.cells // info["frames_expected"]
    missing = {c for a, b in info["missing"] for c in range(a * per_frame, b * per_frame)}
    for cell in range(life.cells):
        allowed = book.allowed(cell)
        if cell in missing:
            if cell in book.acked:
                lost += 1
                faults.append(f"frame {cell} is missing, version {book.acked[cell]} was acknowledged")
            elif not (flat[cell] == life.fill).all():
                faults.append(f"frame {cell} is missing, and does not hold the fill value")
        elif not any(np.array_equal(flat[cell], content(life, cell, version)) for version in allowed):
            if per_frame > 1 and not allowed and (flat[cell] == 0).all():
                continue
            lost += cell in book.acked
            faults.append(f"frame {cell} is none of the versions {sorted(allowed)}")
    return faults, lost


# -- the storm ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    kills: int = 0
    lives: int = 0
    by_step: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: int = 0
    checked: int = 0
    faults: list[str] = field(default_factory=list)


def draw_kill(rng: random.Random, role: str) -> Kill:
    how, where = rng.random(), rng.choice(["before", "middle", "after"])
    if how < 0.4:
        phases = {"write": ["reserve", "write", "rewrite", "refine", "note", "flush", "save", "save", "suspend"]}
        phases["resume"] = ["resume", "resume", "write", "rewrite", "save", "flush"]
        phase = rng.choice(phases.get(role, ["recover"]))
        return Kill(phase, 1 + int(_MOST_STEPS[phase] * rng.random() ** 1.5), where)
    if how < 0.7:
        return Kill(ANY, rng.randint(1, 24 if role == "recover" else 60), where)
    if role == "recover":
        return Kill(messages=0, delay_s=rng.uniform(0, 0.004))
    return Kill(messages=rng.randint(0, 20), delay_s=rng.choice([0.0, rng.uniform(0, 0.002)]))


def live(life: Life, rng: random.Random, tally: Tally, wanted: int) -> None:
    """One scan from its beginning to its export, through up to five kills."""
    life.folder.mkdir()
    old, book = old_export(life), Book()
    role, rounds = "write", rng.randint(1, 5)
    for turn in range(rounds):
        kill, before = draw_kill(rng, role), len(book.faults)
        book.step, book.suspended = "", False
        for words in run_child(life, role, kill, book, f"{life.seed}/{turn}"):
            book.take(words)
        tally.kills += 1
        tally.by_step[book.step or f"{role}: a random moment"] += 1
        what = f"life {life.seed}, turn {turn} ({role}, {kill})"
        tally.faults += [f"{what}: {fault}" for fault in book.faults[before:]]
        look(life, book, old, tally, what)
        going_on = any(life.folder.glob("*.part"))
        if not going_on or tally.kills >= wanted:
            break
        if book.suspended and rng.random() < 0.5:
            book.boot += 1  # the machine was shut down in order: nothing is lost by that
        role = rng.choice(["resume", "resume", "recover"])
        if book.reserved is None or any(part.stat().st_nlink > 1 for part in life.folder.glob("*.part")):
            role = "recover"  # nothing to go on with: it was only just begun, or has its final name already
    tally.acknowledged += book.acknowledgements
    tally.lives += 1
    shutil.rmtree(life.folder)


def look(life: Life, book: Book, old: bytes | None, tally: Tally, what: str) -> None:
    """Recover a copy of the folder, on the boot that the child was killed on, and compare it with the book."""
    if book.saved is not None and not (life.folder / book.saved).exists():
        tally.faults.append(f"{what}: {book.saved} was saved, and is not there")
    tally.faults += [f"{what}: before it is recovered, {fault}" for fault in bad_exports(life.folder)]
    copy = life.folder.with_name("copy")
    copy_folder(life.folder, copy)
    real = syscalls_module.boot_id
    syscalls_module.read_boot_id = lambda: f"boot {book.boot}"
    try:
        told = lys_storage.recover(copy)
        faults, lost = check(life, copy, book, old)
        faults = [f"{fault}; recover said: {[r.said for r in told]}" for fault in faults]
    except Exception:
        faults, lost = [traceback.format_exc()], len(book.acked)
    finally:
        syscalls_module.read_boot_id = real
    shutil.rmtree(copy)
    tally.checked += len(book.acked)
    tally.lost += lost
    tally.faults += [f"{what}: {fault}" for fault in faults]


def environment(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    under = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
    system = max(under, key=lambda m: len(m[1]))[2] if under else "?"
    return (
        f"lys_storage at {Path(lys_storage.__file__).parent}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"Linux {platform.release()}, {os.cpu_count()} cores, {system} at {folder}"
    )


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--kills", default=1000, show_default=True, help="How many child processes are killed.")
@click.option(
    "--seed", default=0, show_default=True, help="The storm is the same for the same seed, but for its timing."
)
@click.option(
    "--dir", "where", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Default: a new one."
)
@click.option("--frame-bytes", default=0, help="Size of a frame, even; default: from 1,000 to 1 MiB, mixed.")
@click.option("--life", "only", default=-1, help="This one only, as a fault names it.")
def main(kills: int, seed: int, where: Path | None, frame_bytes: int, only: int) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    tally, begin, said = Tally(), time.monotonic(), 0.0
    with tempfile.TemporaryDirectory(prefix="crash_storm_", dir=where) as name:
        out.print(environment(Path(name)))
        n = max(0, only)
        while tally.kills < kills:
            life = draw_life(Path(name) / f"life_{n}", f"{seed}:{n}", frame_bytes)
            live(life, random.Random(f"{seed}:{n}:storm"), tally, kills)
            n += 1
            if time.monotonic() - said > 5:
                said = time.monotonic()
                out.print(
                    f"{tally.kills} of {kills} kills, {tally.acknowledged:,} frames acknowledged, {tally.lost} lost"
                )
            if only >= 0:
                break
    table = Table("kills", "at", title="kills by step")
    for step, count in sorted(tally.by_step.items(), key=lambda item: item[0]):
        table.add_row(str(count), step)
    out.print(table)
    for fault in tally.faults[:40]:
        out.print(f"FAULT {fault}")
    out.print(
        f"{tally.kills} kills in {tally.lives} scans, {time.monotonic() - begin:.0f} s: "
        f"{tally.acknowledged:,} frames acknowledged, {tally.checked:,} compared, {tally.lost} lost; "
        f"{len(tally.faults)} other faults"
        if tally.lost == 0
        else f"{tally.kills} kills: {tally.lost} of {tally.checked:,} frames lost; {len(tally.faults)} faults in all"
    )
    sys.exit(1 if tally.lost or tally.faults else 0)


if __name__ == "__main__":
    main()
