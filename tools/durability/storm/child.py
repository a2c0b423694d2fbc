"""A process that creates, resumes or recovers a scan, reports its actions over a pipe, and is killed.

It is forked, or started as a new Python process where the system has no fork.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

import lys_storage
from tools.durability.internals import begin_scan, set_boot_id
from tools.durability.storm.life import DTYPE, FIRST_DTYPE, REPLACED, Life, Told
from tools.durability.storm.steps import DEADLINE_S, KILL, Kill, Steps


class Child:
    """Runs in the forked process. It reports each write when it begins, and again when it is acknowledged."""

    def __init__(self, life: Life, role: str, kill: Kill, told: Told, seed: str, pipe: int) -> None:
        self.life, self.role, self.pipe = life, role, pipe
        self.rng = random.Random(seed)
        self.version = told.ledger.last_version
        self.written = set(told.ledger.acknowledged_cells())
        self.note = max(told.ledger.note.begun)
        self.tells_grid = not life.grid_is_known and not told.refined
        self.boot = told.boot
        self.steps = Steps(kill, self.tell)

    def tell(self, *words: Any) -> None:
        os.write(self.pipe, (json.dumps(words) + "\n").encode())

    def run(self) -> None:
        set_boot_id(f"boot {self.boot}")
        if self.role == "recover":
            self.steps.phase = "recover"
            lys_storage.recover(self.life.folder)
            return
        scan = self.begin() if self.role == "write" else self.resume()
        if scan.dtype != DTYPE:
            self.steps.phase = "dtype"
            scan.change_dtype(DTYPE, self.life.fill)
        self.frames(scan)
        self.end(scan)

    def begin(self) -> lys_storage.Scan:
        life = self.life
        common: dict[str, Any] = {
            "fill_value": life.fill,
            "note": {"version": 0},
            "flush_interval_s": life.flush_interval_s,
            "grid_ndim": 2 if life.grid_is_known else None,
        }
        dtype = FIRST_DTYPE if life.changes_dtype else DTYPE
        if life.kind == "numbered":
            given = {"numbered": True, "replace_existing": False, **common}
            scan = begin_scan(life.folder, "data", life.shape, dtype, **given)
        else:
            path = life.folder / ("data.npz" if life.kind == "unnumbered" else REPLACED)
            scan = lys_storage.create(path, life.shape, dtype, overwrite=life.kind == "replace", **common)
        self.tell("reserved")
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
                self.set_note(scan)
            elif what < 0.2 and self.written:
                self.copy(scan)
            elif what < 0.35 and self.written:
                self.write(scan, rng.sample(sorted(self.written), 1))
            elif what < 0.42 and not self.tells_grid:
                row = rng.randrange(life.grid[0])  # a whole row: it may rewrite some of the cells
                self.write(scan, [row * life.grid[1] + k for k in range(life.grid[1])], row=row)
            elif todo:
                cells, todo = todo[:1], todo[1:]
                self.write(scan, cells)
            elif not self.written:
                return

    def copy(self, scan: lys_storage.Scan) -> None:
        """Copy the files as cp or a backup does: one after the other, in any order, while frames are written."""
        copy = self.life.copies / str(self.version)
        if copy.exists():
            return
        copy.mkdir(parents=True)
        files = [path for path in scan.part_path.parent.glob(f"{scan.part_path.name}*") if path.suffix != ".new"]
        for path in self.rng.sample(files, len(files)):
            shutil.copyfile(path, copy / path.name)
            self.write(scan, [self.rng.randrange(self.life.cells) for _ in range(1)])
        self.tell("copied", str(copy))

    def set_note(self, scan: lys_storage.Scan) -> None:
        self.steps.phase = "note"
        self.note += 1
        self.tell("note begun", self.note)
        scan.note = {"version": self.note, "long": "x" * self.rng.choice([0, 9000])}
        self.tell("note", self.note)

    def write(self, scan: lys_storage.Scan, cells: list[int], row: int | None = None) -> None:
        life, (_, nx) = self.life, self.life.grid
        refines, self.tells_grid = self.tells_grid, False
        self.steps.phase = "refine" if refines else "rewrite" if self.written & set(cells) else "write"
        self.version += 1
        frames = np.stack([life.frame(cell, self.version) for cell in cells])
        self.tell("begun", self.version, cells)
        if row is not None:
            scan[row] = frames
        else:
            scan[divmod(cells[0], nx)] = frames[0]
        frames[:] = 0  # a caller may reuse its buffer
        self.written |= set(cells)
        self.tell("written", self.version, cells)
        if refines:
            self.tell("refined")

    def end(self, scan: lys_storage.Scan) -> None:
        how = self.rng.random()
        if how < 0.6:
            self.steps.phase, incomplete = ("trim", "trim") if how < 0.15 else ("save", "fill")
            self.tell("saved", scan.close(incomplete=incomplete).name)
        elif how < 0.8:
            self.steps.phase = "suspend"
            scan.suspend()
            self.tell("suspended")


class _Process:
    """A child, and what it reports. `pieces`: bytes, and None at the end of the pipe."""

    def __init__(self, spec: tuple[Any, ...]) -> None:
        self._started: subprocess.Popen[bytes] | None = None
        if hasattr(os, "fork"):
            sys.stdout.flush()
            self._pipe, writes = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._pipe)
                _be_child(*spec, writes)
            os.close(writes)
        else:
            command = [sys.executable, "-m", "tools.durability.storm.child"]
            self._started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._started.stdin is not None
            assert self._started.stdout is not None
            self._started.stdin.write(pickle.dumps(spec))
            self._started.stdin.close()
            self._pipe, self.pid = self._started.stdout.fileno(), self._started.pid
        self.pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while piece := os.read(self._pipe, 1 << 16):
            self.pieces.put(piece)
        self.pieces.put(b"")

    def kill(self) -> None:
        if self._started is not None:
            self._started.kill()
        else:
            os.kill(self.pid, KILL)

    def end(self) -> None:
        """Wait for the process, which was killed or has ended."""
        self._reader.join()
        if self._started is not None:
            self._started.wait()
            self._started.__exit__(None, None, None)
        else:
            os.waitpid(self.pid, 0)
            os.close(self._pipe)


def run_child(life: Life, role: str, kill: Kill, told: Told, seed: str) -> Iterator[list[Any]]:
    """Start a child, and yield its reports. The child is dead when the generator ends."""
    process = _Process((life, role, kill, told, seed))
    data, messages, begin, alive = b"", 0, time.monotonic(), True
    try:
        while True:
            due = not kill.at_step and messages >= kill.messages
            if alive and (due or time.monotonic() - begin > DEADLINE_S):
                time.sleep(kill.delay_s if due else 0)
                process.kill()
                alive = False
                if not due:
                    yield ["failed", f"the child hung for {DEADLINE_S} s"]
            try:
                piece = process.pieces.get(timeout=DEADLINE_S / 10)
            except queue.Empty:
                continue
            if not piece:
                break
            *lines, data = (data + piece).split(b"\n")
            for line in lines:
                messages += 1
                yield json.loads(line)
    finally:
        if alive:
            process.kill()
        process.end()


def _be_child(life: Life, role: str, kill: Kill, told: Told, seed: str, pipe: int) -> None:
    """Run the child, and never return: a child that ends normally is killed too."""
    code = 70
    try:
        child = Child(life, role, kill, told, seed, pipe)
        child.run()
        child.tell("ended", f"{role}: after all of it")
        code = 0
    except BaseException:
        os.write(pipe, (json.dumps(["failed", traceback.format_exc()]) + "\n").encode())
    finally:
        os.kill(os.getpid(), KILL) if code == 0 else os._exit(code)


if __name__ == "__main__":
    _be_child(*pickle.load(sys.stdin.buffer), 1)
