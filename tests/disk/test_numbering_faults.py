"""Numbers under stress: 64 processes, lys_instr, a stopped lock holder, other users, clocks, forks."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Scan
from lys_storage.disk import File, free_number
from lys_storage.disk import numbering as numbering_module
from lys_storage.disk.numbering import LOCK_NAME
from lys_storage.disk.systems import SYSTEM
from lys_storage.export import publish as publish_module
from lys_storage.scan import begin_scan
from tests.faults.operations import BECOME_NOBODY, _open_to_all  # noqa: F401  a fixture
from tests.helpers import DEADLINE_S, files, in_threads, load_export, make_link
from tests.systems import not_on_windows

FOREVER_S = 1000.0
"""Whoever waits so long is ended by the time limit of the test."""

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
users = not_on_windows("a process cannot become another user, and files have no modes")


def reserve(folder: Path, name: str = "data") -> Scan:
    return begin_scan(folder, name, (2,), "u1", numbered=True, replace_existing=False, flush_interval_s=None)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without cached numbers, like a new process."""
    monkeypatch.setattr(numbering_module, "_known", {})


# -- all at once -------------------------------------------------------------------------------------------------------

MANY = """
import json, os, sys
from pathlib import Path
import filelock, numpy as np
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan

processes, each = int(sys.argv[1]), int(sys.argv[2])
SYSTEM.sync = SYSTEM.sync_folder = lambda what: None  # no power is cut here
folder = Path("run")
folder.mkdir()
go, said = os.pipe(), os.pipe()
for k in range(processes):
    if os.fork():
        continue
    status = 1
    try:
        os.close(go[1])
        os.read(go[0], 1)  # until it is closed
        numbers = []
        for turn in range(each):
            scan = begin_scan(folder, "data", (2,), "i4", numbered=True, replace_existing=False, preallocate=False)
            numbers.append(scan.number)
            scan[...] = np.array([k, turn], "i4")
            if turn % 2 == 0:
                scan.close()  # the others are in progress when their process ends
        os.write(said[1], json.dumps([k, numbers]).encode() + b"\\n")
        status = 0
    finally:
        os._exit(status)
os.close(go[1])
os.close(said[1])
for k in range(processes):
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
with os.fdopen(said[0]) as stream:
    print(json.dumps(dict(json.loads(line) for line in stream)))
"""


@posix
def test_64_processes_that_claim_at_once_get_128_numbers_and_none_is_lost(
    tmp_path: Path, run_child: Callable[..., Any]
) -> None:
    """They are different, without a gap. The file of each number has the content of its process, saved or recovered."""
    child = run_child(MANY, 64, 2)
    assert child.code == 0, child.err
    taken = {int(k): numbers for k, numbers in json.loads(child.out).items()}
    assert sorted(n for numbers in taken.values() for n in numbers) == list(range(128))
    results = lys_storage.recover(tmp_path / "run")
    assert len(results) == 64
    assert files(tmp_path / "run") == {f"data_{n}.npz" for n in range(128)}
    for k, numbers in taken.items():
        for turn, n in enumerate(numbers):
            assert np.load(tmp_path / "run" / f"data_{n}.npz")["data"].tolist() == [k, turn]
    assert lys_storage.verify(tmp_path / "run") == []


def lys_instr_saves(folder: Path, name: str = "data") -> Path:
    """Save as lys_instr does: under the smallest number without a file, ignoring scans in progress.

    lys_instr would replace a file that appears meanwhile. Here it is an exclusive create, which keeps both files.
    """
    for n in itertools.count():
        path = folder / f"{name}_{n}.npz"
        if path.exists():
            continue
        try:
            with path.open("xb") as stream:
                np.savez_compressed(stream, data=np.full(3, 7.0))
        except FileExistsError:
            continue
        return path
    raise AssertionError


def assert_is_lys_instrs(path: Path) -> None:
    with np.load(path) as members:
        assert (members.files, members["data"].tolist()) == (["data"], [7.0, 7.0, 7.0])


def test_threads_and_lys_instr_in_one_folder_never_replace_each_others_files(tmp_path: Path) -> None:
    """Each scan ends under a number of its own, and reports it if its first number was taken."""
    ours: list[tuple[Path, int | None, bool, int]] = []
    theirs: list[Path] = []

    def scans(k: int) -> Callable[[], None]:
        def run() -> None:
            for turn in range(6):
                with reserve(tmp_path) as scan:
                    first = scan.number
                    scan[...] = np.array([k, turn], "u1")
                assert scan.report is not None
                ours.append((scan.path, first, scan.report.renumbered, 10 * k + turn))

        return run

    def instr() -> None:
        for _ in range(12):
            theirs.append(lys_instr_saves(tmp_path))

    in_threads(*[scans(k) for k in range(4)], instr)
    assert files(tmp_path) == {path.name for path, *_ in ours} | {path.name for path in theirs}
    assert len(files(tmp_path)) == 4 * 6 + 12
    for path, first, renumbered, value in ours:
        assert load_export(path).data.tolist() == list(divmod(value, 10))
        assert renumbered == (path.name != f"data_{first}.npz")
    for path in theirs:
        assert_is_lys_instrs(path)


# -- lys_instr's own naming --------------------------------------------------------------------------------------------


def test_a_file_of_lys_instr_that_comes_within_a_claim_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears between the exclusive create and the look at the final name. The number is released again."""
    real = File.try_lock
    come: list[Path] = []

    def try_lock(file: File) -> bool:
        if len(come) < 2:
            come.append(lys_instr_saves(tmp_path))
        return real(file)

    monkeypatch.setattr(File, "try_lock", try_lock)
    with reserve(tmp_path) as scan:
        assert scan.number == 2
        assert files(tmp_path) == {"data_0.npz", "data_1.npz", "data_2.npz.part", "data_2.npz.part.journal"}
    assert scan.report is not None
    assert (scan.report.path.name, scan.report.renumbered) == ("data_2.npz", False)
    assert files(tmp_path) == {"data_0.npz", "data_1.npz", "data_2.npz"}
    for path in come:
        assert_is_lys_instrs(path)
    assert lys_storage.verify(tmp_path / "data_2.npz") == []


@pytest.mark.parametrize("by_link", [False, True], ids=["by a rename that refuses", "by a link"])
def test_a_file_of_lys_instr_that_comes_right_before_the_publishing_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_link: bool
) -> None:
    """The next numbers are taken in the same way. The scan gets the first number that stays free."""
    if by_link:
        monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
    real = publish_module.publish_new
    come: list[Path] = []

    def publish_new(old: Path, new: Path, **how: bool) -> None:
        if len(come) < 3:
            come.append(lys_instr_saves(tmp_path))
        real(old, new, **how)

    scan = reserve(tmp_path)
    scan[...] = np.array([1, 2], "u1")
    monkeypatch.setattr(publish_module, "publish_new", publish_new)
    scan.close()
    assert [path.name for path in come] == ["data_0.npz", "data_1.npz", "data_2.npz"]
    assert scan.report is not None
    assert (scan.report.path.name, scan.report.renumbered) == ("data_3.npz", True)
    assert files(tmp_path) == {f"data_{n}.npz" for n in range(4)}
    for path in come:
        assert_is_lys_instrs(path)
    assert load_export(scan.path).data.tolist() == [1, 2]
    assert lys_storage.verify(scan.path) == []


# -- claims at any moment of another scan ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param((SYSTEM, "open_file"), id="before each open"),
        pytest.param((SYSTEM, "pwrite"), id="before each write"),
        pytest.param((SYSTEM, "set_size"), id="before each change of a size"),
        pytest.param((File, "try_lock"), id="between create and lock"),
        pytest.param((SYSTEM, "rename_new"), id="right before the publishing"),
        pytest.param((SYSTEM, "sync_folder"), id="between the publishing and the end"),
        pytest.param((SYSTEM, "remove"), id="before the journal goes"),
    ],
)
def test_a_claim_in_any_moment_of_anothers_life_never_gets_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: tuple[Any, str]
) -> None:
    """The number is taken from the exclusive create until the export exists, also for claims that skip the lock."""
    monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", 0.0)
    real, others = getattr(*operation), []

    def call(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is threading.main_thread() and len(others) < 12:
            in_threads(lambda: others.append(reserve(tmp_path)))
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(*operation, call)
        scan = reserve(tmp_path)
        scan[...] = np.array([1, 2], "u1")
        scan.close()
    assert others != []
    numbers = [other.number for other in others]
    assert scan.path.name not in {f"data_{n}.npz" for n in numbers}
    assert len(set(numbers)) == len(numbers)
    for other in others:
        other.close()
    assert files(tmp_path) == {scan.path.name} | {other.path.name for other in others}
    assert load_export(scan.path).data.tolist() == [1, 2]
    assert lys_storage.verify(tmp_path) == []


def test_a_claim_that_another_process_looks_at_just_then_keeps_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ls` and the search for interrupted scans briefly lock the file to check for a writer."""
    real, looks = File.try_lock, []

    def try_lock(file: File) -> bool:
        if not looks:
            looker = File.open(file.path, writable=True)
            looks.append(looker)
            assert real(looker)
            assert not real(file)
            return False
        looks[0].close()
        return real(file)

    monkeypatch.setattr(numbering_module, "_LOCK_RETRY_S", FOREVER_S)
    monkeypatch.setattr(File, "try_lock", try_lock)
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1"):
        pass
    assert files(tmp_path) == {"data.npz"}


# -- the lock file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda path: path.touch(), id="empty"),
        pytest.param(lambda path: path.write_text("4194303\n"), id="of a process that is dead"),
        pytest.param(lambda path: path.write_bytes(os.urandom(5000)), id="of rubbish"),
        pytest.param(lambda path: (path.touch(), os.utime(path, (0, 0))), id="of 1970"),
        pytest.param(lambda path: (path.touch(), os.utime(path, (4e9, 4e9))), id="of the future"),
        pytest.param(lambda path: make_link(path, path.parent / "nowhere"), id="a link to nowhere"),
        pytest.param(
            lambda path: os.mkfifo(path), id="a pipe", marks=not_on_windows("no named pipe is a file in a folder")
        ),
    ],
)
def test_a_stale_lock_file_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Path], Any]
) -> None:
    """The operating system's lock counts. It was released when its process died, so that no claim waits."""
    monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", FOREVER_S)
    leave(tmp_path / LOCK_NAME)
    with reserve(tmp_path) as one, reserve(tmp_path) as two:
        assert (one.number, two.number) == (0, 1)
    assert lys_storage.verify(tmp_path) == []


UNWRITABLE = """
import os, sys
from pathlib import Path
import filelock, numpy as np
from lys_storage.disk import File
from lys_storage.disk import file as file_module
from lys_storage.disk import numbering as numbering_module
from lys_storage.disk import publish_new
from lys_storage.scan import begin_scan
exec(sys.argv[2])
numbering_module.LOCK_WAIT_S = float(sys.argv[3])
for n in range(3):
    with begin_scan(Path(sys.argv[1]), "data", (2,), "u1", numbered=True, replace_existing=False) as scan:
        assert scan.number == n, scan.number
"""


@users
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o000])
def test_a_lock_file_of_another_user_that_cannot_be_opened_is_no_hindrance(
    open_to_all: Path, run_child: Callable[..., Any], mode: int
) -> None:
    """The exclusive create decides; nothing waits for the lock."""
    (open_to_all / LOCK_NAME).touch()
    (open_to_all / LOCK_NAME).chmod(mode)
    child = run_child(UNWRITABLE, open_to_all, BECOME_NOBODY, FOREVER_S)
    assert child.code == 0, child.err
    assert files(open_to_all) == {"data_0.npz", "data_1.npz", "data_2.npz"}
    assert lys_storage.verify(open_to_all) == []


STOPPED = """
import os, signal, sys
from pathlib import Path
from lys_storage.disk import File
from lys_storage.disk import file as file_module
from lys_storage.disk import numbering as numbering_module
from lys_storage.disk import publish_new
from lys_storage.scan import begin_scan
real = File.create

def create(path):
    if sys.argv[1] == "before":
        os.kill(os.getpid(), signal.SIGSTOP)
    file = real(path)
    if sys.argv[1] == "after":
        File.create = real
        os.kill(os.getpid(), signal.SIGSTOP)
    File.create = real
    return file

File.create = create
with begin_scan(Path(), "data", (2,), "u1", numbered=True, replace_existing=False) as scan:
    print(scan.number, flush=True)
"""


@not_on_windows("no signal stops a process")
@pytest.mark.parametrize(
    ("moment", "ours", "its"),
    [pytest.param("before", 0, 1, id="before its create"), pytest.param("after", 1, 0, id="after its create")],
)
def test_a_process_that_is_stopped_in_its_claim_holds_nobody_up(
    tmp_path: Path,
    start_child: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    ours: int,
    its: int,
) -> None:
    """It holds the lock while it is stopped. Another claim waits 2 s (here 0.1 s), and the exclusive create decides.

    After SIGCONT it takes a free number, and releases the lock.
    """
    child = start_child(STOPPED, moment)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    try:
        assert numbering_module.LOCK_WAIT_S == 2.0
        monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", 0.1)
        begin = time.monotonic()
        with reserve(tmp_path) as scan:
            assert scan.number == ours
        assert time.monotonic() - begin >= 0.1
    finally:
        child.send_signal(signal.SIGCONT)
    assert child.stdout is not None
    assert int(child.stdout.readline()) == its
    assert child.wait(DEADLINE_S) == 0
    monkeypatch.setattr(numbering_module, "LOCK_WAIT_S", FOREVER_S)
    with reserve(tmp_path) as scan:
        assert scan.number == 2
    assert files(tmp_path) == {"data_0.npz", "data_1.npz", "data_2.npz"}
    assert lys_storage.verify(tmp_path) == []


# -- group folders -----------------------------------------------------------------------------------------------------

GROUP, USERS = 54321, (54322, 54323)

MEMBER = """
import json, os, sys
from pathlib import Path
import filelock, numpy as np
import lys_storage
from lys_storage.scan import begin_scan
folder, user, group, umask = Path(sys.argv[1]), *map(int, sys.argv[2:])
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.umask(umask)
recovered = {r.part.name: r.path is not None for r in lys_storage.recover(folder)}
numbers = []
for kept in (False, True):
    scan = begin_scan(folder, "data", (2,), "i4", numbered=True, replace_existing=False)
    numbers.append(scan.number)
    scan[...] = np.array([user, kept], "i4")
    scan.suspend() if kept else scan.close()
print(json.dumps([numbers, recovered]))
"""


@users
@pytest.mark.parametrize(
    ("umask", "shared"), [pytest.param(0o022, False, id="umask 022"), pytest.param(0o002, True, id="umask 002")]
)
def test_the_members_of_a_group_number_and_save_in_one_folder(
    open_to_all: Path, run_child: Callable[..., Any], umask: int, shared: bool
) -> None:
    """The mode of the folder is 2775. A user recovers another's scan if its files are writable for the group."""
    folder = open_to_all / "group"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    said = []
    for user in USERS:
        child = run_child(MEMBER, folder, user, GROUP, umask)
        assert child.code == 0, child.err
        said.append(json.loads(child.out))
    assert said == [[[0, 1], {}], [[2, 3], {"data_1.npz.part": shared}]]
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.glob("data_*")}
    first, second = ((user, GROUP) for user in USERS)
    expected = {"data_0.npz": first, "data_2.npz": second}
    expected |= {"data_3.npz.part": second, "data_3.npz.part.journal": second}
    if shared:
        expected |= {"data_1.npz": first}
    else:
        expected |= {"data_1.npz.part": first, "data_1.npz.part.journal": first}
    assert owners == expected
    assert lys_storage.verify(folder) == []
    lys_storage.recover(folder)
    data = [load_export(folder / f"data_{n}.npz").data.tolist() for n in range(4)]
    assert data == [[USERS[0], 0], [USERS[0], 1], [USERS[1], 0], [USERS[1], 1]]


@users
def test_two_users_at_once_never_get_the_same_number(open_to_all: Path, run_child: Callable[..., Any]) -> None:
    """The lock file belongs to one user, and the other user may not open it."""
    folder = open_to_all / "group"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    child = run_child(
        """
import os, sys
from pathlib import Path
import filelock
from lys_storage.scan import begin_scan
go = os.pipe()
children = []
for user in map(int, sys.argv[3:]):
    children.append(os.fork())
    if children[-1]:
        continue
    status = 1
    try:
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(user)
        os.umask(0o022)
        os.close(go[1])
        os.read(go[0], 1)
        for _ in range(40):
            begin_scan(Path(sys.argv[1]), "data", (2,), "u1", numbered=True, replace_existing=False).close()
        status = 0
    finally:
        os._exit(status)
os.close(go[1])
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
        *(folder, GROUP, *USERS),
    )
    assert child.code == 0, child.err
    assert files(folder) == {f"data_{n}.npz" for n in range(80)}
    assert sorted(path.stat().st_uid for path in folder.glob("*.npz")) == [USERS[0]] * 40 + [USERS[1]] * 40


# -- clocks ------------------------------------------------------------------------------------------------------------

CLOCKS = [
    pytest.param([0.0], id="1970"),
    pytest.param([4e9], id="the next century"),
    pytest.param([1.7e9, 1.7e9 - 86_400], id="a day back and forth"),
    pytest.param([0.0, 4e9, 1.7e9], id="anywhere"),
]


@pytest.mark.parametrize("times", CLOCKS)
def test_a_clock_that_jumps_never_gives_a_number_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[float]
) -> None:
    """Files and scans of other programs appear meanwhile."""
    clock = itertools.cycle(times)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for n in range(0, 40, 2):
        assert free_number(tmp_path, "data") == n
        (tmp_path / (f"data_{n}.npz" if n % 4 else f"data_{n}.npz.part")).touch()
        with reserve(tmp_path) as scan:
            assert scan.number == n + 1
    assert lys_storage.verify(*(tmp_path / f"data_{n}.npz" for n in range(1, 40, 2))) == []


@pytest.mark.parametrize("times", CLOCKS)
def test_a_folder_whose_time_of_change_is_any_never_gives_a_number_that_is_taken(
    tmp_path: Path, times: list[float]
) -> None:
    """It can stay the same while files appear, or be in the future: the names are checked nevertheless."""
    clock = itertools.cycle(times)
    for n in range(40):
        assert free_number(tmp_path, "data") == n
        (tmp_path / f"data_{n}.npz").touch()
        stamp = next(clock)
        os.utime(tmp_path, (stamp, stamp))
    (tmp_path / "data_7.npz").unlink()
    os.utime(tmp_path, (times[0], times[0]))
    assert free_number(tmp_path, "data") in (7, 40), "a gap is a hint"
    numbering_module._known.clear()
    assert free_number(tmp_path, "data") == 7


# -- forks -------------------------------------------------------------------------------------------------------------

FORKS = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
import numpy as np
import lys_storage
from lys_storage.scan import begin_scan

def analysis(conn):
    with begin_scan(Path(), "data", (2,), "u1", numbered=True, replace_existing=False) as scan:
        scan[...] = np.array([8, 9], "u1")
    conn.send(scan.number)
    time.sleep(100)  # until it is killed

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    scan = begin_scan(Path(), "data", (2, 3), "u1", numbered=True, replace_existing=False, grid_ndim=1)
    ours, its = context.Pipe()
    child = context.Process(target=analysis, args=(its,))
    child.start()  # before the first frame: no thread of ours runs yet
    scan[0] = np.array([1, 2, 3], "u1")
    print(child.pid, ours.recv(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_a_child_of_the_acquisition_process_keeps_no_lock_of_its_dead_parent(
    tmp_path: Path, start_child: Callable[..., subprocess.Popen[str]]
) -> None:
    """multiprocessing forks the child. It lives on with its own number, and the scan of its parent is recovered."""
    parent = start_child(FORKS)
    assert parent.stdout is not None
    pid, number = map(int, parent.stdout.readline().split())
    try:
        assert parent.wait(DEADLINE_S) == -signal.SIGKILL
        os.kill(pid, 0)
        assert number == 1
        (found,) = lys_storage.recover(tmp_path)
        assert (found.running, found.path) == (False, tmp_path / "data_0.npz")
    finally:
        os.kill(pid, signal.SIGKILL)
    assert load_export(tmp_path / "data_0.npz").data.tolist() == [[1, 2, 3], [0, 0, 0]]
    assert load_export(tmp_path / "data_1.npz").data.tolist() == [8, 9]
    assert files(tmp_path) == {"data_0.npz", "data_1.npz"}
    assert lys_storage.verify(tmp_path) == []


@posix
def test_a_child_that_is_forked_while_a_thread_asks_for_a_number_can_claim(
    tmp_path: Path, run_child: Callable[..., Any]
) -> None:
    """The thread does not exist in the child, and nobody holds its locks there."""
    child = run_child(
        """
import os, signal, threading
from pathlib import Path
from lys_storage.scan import begin_scan
from lys_storage.disk import free_number
import filelock
real, inside, go_on = os.scandir, threading.Event(), threading.Event()

def scandir(path):
    inside.set()
    go_on.wait()
    return real(path)

os.scandir = scandir
thread = threading.Thread(target=free_number, args=(Path(), "data"))
thread.start()
inside.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    os.scandir = real
    begin_scan(Path(), "data", (2,), "u1", numbered=True, replace_existing=False).close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
go_on.set()
thread.join()
"""
    )
    assert (child.code, child.out) == (0, "0\n"), child.err
    assert files(tmp_path) == {"data_0.npz"}
