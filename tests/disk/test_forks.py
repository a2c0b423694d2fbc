"""Objects of the parent in a forked child: each registered one is notified, and files are closed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lys_storage

PACKAGE = Path(lys_storage.__file__).parent
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FORKING = """
import gc, os, sys
from pathlib import Path
from lys_storage.disk import File, call_in_forked_child, fork_generation, register_for_forks

class Thing:
    def __init__(self, name):
        self.name = name
        register_for_forks(self)

    def after_fork_in_child(self):
        told.append(self.name)

told = []
{before}
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
{after}
sys.stdout.flush()
if pid == 0:
    os._exit(0)
"""


def run(run_child: Callable[..., Any], before: str, after: str) -> list[str]:
    """The output of the child, and then that of its parent."""
    done = run_child(FORKING.format(before=before, after=after))
    assert done.code == 0, done.err
    return done.out.splitlines()


@posix
def test_what_is_registered_is_told_in_the_child_and_only_there(run_child: Callable[..., Any]) -> None:
    before = "a, b = Thing('a'), Thing('b'); call_in_forked_child(lambda: told.append('function'))"
    out = run(run_child, before, "print('parent' if pid else 'child', sorted(told))")
    assert out == ["child ['a', 'b', 'function']", "parent []"]


@posix
def test_what_is_gone_is_not_kept_alive_to_be_told(run_child: Callable[..., Any]) -> None:
    before = "a, b = Thing('a'), Thing('b'); del a; gc.collect()"
    assert run(run_child, before, "print('parent' if pid else 'child', told)") == ["child ['b']", "parent []"]


@posix
def test_a_child_of_a_child_is_a_child_too(run_child: Callable[..., Any]) -> None:
    after = (
        "print('parent' if pid else 'child', fork_generation(), flush=True)\n"
        "if pid == 0:\n"
        "    grandchild = os.fork()\n"
        "    if grandchild == 0: print('grandchild', fork_generation(), told, flush=True); os._exit(0)\n"
        "    os.waitpid(grandchild, 0)\n"
    )
    assert run(run_child, "a = Thing('a')", after) == ["child 1", "grandchild 2 ['a', 'a']", "parent 0"]


@posix
def test_a_file_is_closed_in_the_child_and_stays_open_in_its_parent(run_child: Callable[..., Any]) -> None:
    """Otherwise a child could write into its parent's scan, or keep the lock of a dead writer."""
    before = "file = File.create(Path('file')); fd = file.fd; assert file.try_lock()"
    after = (
        "def is_open():\n"
        "    try: os.fstat(fd); return True\n"
        "    except OSError: return False\n"
        "print('parent' if pid else 'child', file.fd >= 0, is_open())\n"
    )
    assert run(run_child, before, after) == ["child False False", "parent True True"]


def test_nothing_else_registers_for_forks_or_asks_which_process_this_is() -> None:
    """The exception is lys_storage.qt, which reads its process id."""
    asks = re.compile(r"\bgetpid\b|\bregister_at_fork\b")
    found = {p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py") if asks.search(p.read_text("utf-8"))}
    assert {name for name in found if not name.startswith("qt/")} == {"disk/forks.py"}


@posix
def test_one_object_that_fails_in_the_child_does_not_keep_the_others_from_their_turn(
    run_child: Callable[..., Any],
) -> None:
    source = """
import os
from lys_storage.disk import register_for_forks

told = []

class Thing:
    def __init__(self, fails):
        self.fails = fails
        register_for_forks(self)

    def after_fork_in_child(self):
        told.append(self.fails)
        if self.fails:
            raise OSError(9, "Bad file descriptor")

things = [Thing(k % 2 == 0) for k in range(6)]
pid = os.fork()
if pid == 0:
    os._exit(len(told))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = run_child(source)
    assert (result.code, result.out) == (0, "6\n"), result.err
