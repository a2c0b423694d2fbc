"""Counts the durable steps of a process, which are calls into `lys_storage.disk`, and kills it at one of them.

A `Kill` without a phase comes from the parent. `Steps` then only counts.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lys_storage.disk import File, make_folder, publish_new, remove_file, replace_file, sync_folder
from lys_storage.disk.systems import SYSTEM
from tools.durability.internals import replace_everywhere

ANY = "any"
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows os.kill() with SIGTERM is TerminateProcess
DEADLINE_S = 60.0
_MOST_STEPS = {"reserve": 16, "write": 16, "rewrite": 40, "refine": 20, "note": 8, "flush": 12}
_MOST_STEPS |= {"dtype": 24, "trim": 16, "save": 16, "suspend": 8, "resume": 10, "recover": 26}
_PHASES = {
    "write": ["reserve", "write", "rewrite", "refine", "dtype", "note", "flush", "save", "trim", "suspend"],
    "resume": ["resume", "resume", "write", "rewrite", "save", "flush"],
    "recover": ["recover"],
}


@dataclass
class Kill:
    """When a child dies: at the n-th step of a phase, which it counts itself, or by its parent, `delay_s` seconds after
    its first `messages` messages."""

    phase: str = ""
    step: int = 0
    where: str = "before"
    messages: int = 0
    delay_s: float = 0.0

    @property
    def at_step(self) -> bool:
        return bool(self.phase)


def draw_kill(rng: random.Random, role: str) -> Kill:
    how, where = rng.random(), rng.choice(["before", "middle", "after"])
    if how < 0.4:
        phase = rng.choice(_PHASES[role])
        return Kill(phase, 1 + int(_MOST_STEPS[phase] * rng.random() ** 1.5), where)
    if how < 0.7:
        return Kill(ANY, rng.randint(1, 24 if role == "recover" else 60), where)
    if role == "recover":
        return Kill(messages=0, delay_s=rng.uniform(0, 0.004))
    return Kill(messages=rng.randint(0, 20), delay_s=rng.choice([0.0, rng.uniform(0, 0.002)]))


class Steps:
    """Replaces the durable steps of `lys_storage.disk` for the rest of the process. `phase`: the current operation."""

    METHODS = ("__init__", "write_at", "set_size", "preallocate", "punch_hole", "sync", "map", "try_lock", "close")
    FUNCTIONS = (make_folder, sync_folder, remove_file, replace_file, publish_new)

    def __init__(self, kill: Kill, tell: Callable[..., None]) -> None:
        self.kill, self._tell = kill, tell
        self.phase = "reserve"
        self._counts: Counter[str] = Counter()
        for name in self.METHODS:
            setattr(File, name, self._wrap(getattr(File, name), name, method=True))
        for function in self.FUNCTIONS:
            replace_everywhere(function, self._wrap(function, function.__name__, method=False))

    def _wrap(self, real: Callable[..., Any], name: str, *, method: bool) -> Callable[..., Any]:
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
                SYSTEM.pwrite(args[0].fd, view[: len(view) // 2], args[2])
                self._die(f"{step}, in the middle")
            if self.kill.where == "middle" and name == "publish_new" and not os.path.lexists(args[1]):
                SYSTEM.link(*args)  # without rename_new(), publish_new links and removes
                self._die(f"{step}, in the middle")
            real(*args, **options)
            self._die(f"{step}, after")

        return call

    def _die(self, step: str) -> NoReturn:
        self._tell("step", step)
        os.kill(os.getpid(), KILL)
        time.sleep(DEADLINE_S)
        raise AssertionError("SIGKILL did not end this process")


def _kind(path: Path) -> str:
    for suffix in (".journal.new", ".journal", ".redo", ".lock", ".part.new", ".part", ".npz"):
        if path.name.endswith(suffix):
            return suffix
    return "folder"
