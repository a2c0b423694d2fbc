"""Run a program that is killed at one disk operation, then at a later one, and so on until it completes.

One child process runs the scenario repeatedly, each time in a fork and in a new folder (1, 3, 5, ...). SIGKILL comes
immediately before or after an operation (together these cover each gap between two operations once), or within a
write of which half is done (`half`: at each write, 1, 2, 3, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEADLY = """
import os, signal, sys, traceback
import numpy as np
import lys_storage
from lys_storage.disk.systems import SYSTEM

moment, left = sys.argv[1], 1 << 60
whole_write = SYSTEM.pwrite

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def make_deadly(owner, name):
    real = getattr(owner, name)

    def call(*args, **options):
        global left
        if moment == "half" and name not in ("pwrite", "pwritev"):
            return real(*args, **options)
        left -= 1
        if left == 0 and moment == "half":
            data = memoryview(b"".join(args[1]) if name == "pwritev" else args[1]).cast("B")
            whole_write(args[0], data[: len(data) // 2], args[2])
        if left == 0 and moment != "after":
            die()
        try:
            return real(*args, **options)
        finally:
            if left == 0:
                die()

    setattr(owner, name, call)

for name in (
    "open_file", "open_folder", "pwrite", "pwritev", "set_size", "sync", "sync_folder", "replace", "remove", "link",
    "preallocate", "punch_hole", "rename_new",
):
    make_deadly(SYSTEM, name)
make_deadly(os, "mkdir")

def run(scenario):
    global left
    for n in range(1, 1000, 1 if moment == "half" else 2):
        os.mkdir(str(n))
        said = os.open(f"{n}.message", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(str(n))

                def arm():
                    global left
                    left = n

                scenario(arm, lambda text: os.write(said, f"{text}\\n".encode()))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(said)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            print(n, flush=True)
            os._exit(os.WEXITSTATUS(status))
"""

moments = pytest.mark.parametrize("moment", ["before", "after", "half"])


def every_death(
    run_child: Callable[..., Any], folder: Path, moment: str, scenario: str
) -> Iterator[tuple[Path, list[str]]]:
    """(folder, lines said before the end) of each run of `scenario(arm, say)`; the last run completes."""
    child = run_child(DEADLY + scenario + "\nrun(scenario)\n", moment)
    assert child.code == 0, child.err
    last = int(child.out.split()[-1])
    assert last > 1, "it was never killed"
    for n in range(1, last + 1, 1 if moment == "half" else 2):
        yield folder / str(n), (folder / f"{n}.message").read_text().splitlines()
