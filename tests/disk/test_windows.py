"""What differs on Windows: files that other programs hold, names, sizes, boots. Each test is of a fault that users met."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import SYSTEM, File, Lock, boot_id, publish_new, remove_file, replace_file
from lys_storage.errors import NameTakenError, StorageOSError
from tests.helpers import Finished, files

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="Windows alone")
FRAME = np.arange(64, dtype="u2").reshape(8, 8)


def begin(path: Path, **options: Any) -> lys_storage.Scan:
    return lys_storage.create(path, (4, 8, 8), "u2", **options)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another program has the file open, and shares neither its deletion nor its name. Python's open() is such a program."""
    with open(path, "rb"):
        yield


@contextmanager
def held_for(path: Path, seconds: float) -> Iterator[None]:
    opened = open(path, "rb")  # noqa: SIM115 (the timer closes it)
    timer = threading.Timer(seconds, opened.close)
    timer.start()
    try:
        yield
    finally:
        timer.join()


# -- a file that another program holds --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["replace", "publish", "remove"])
def test_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path: Path, what: str) -> None:
    """By a virus scanner, an indexer, or a program that synchronizes folders."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"new")
    if what == "replace":
        b.write_bytes(b"old")
    with held_for(a, 0.3):
        {"replace": lambda: replace_file(a, b), "publish": lambda: publish_new(a, b), "remove": lambda: remove_file(a)}[
            what
        ]()
    assert files(tmp_path) == (set() if what == "remove" else {"b"})
    assert what == "remove" or b.read_bytes() == b"new"


def test_a_lasting_refusal_is_an_error_after_two_seconds(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"new")
    with held(a):
        begin_s = time.monotonic()
        with pytest.raises(StorageOSError) as error:
            replace_file(a, b)
        assert 1.5 < time.monotonic() - begin_s < 10
    assert error.value.errno == errno.EACCES
    assert files(tmp_path) == {"a"}


def test_a_name_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"new")
    b.write_bytes(b"old")
    begin_s = time.monotonic()
    with pytest.raises(NameTakenError):
        publish_new(a, b)
    assert time.monotonic() - begin_s < 1.5
    assert (a.read_bytes(), b.read_bytes()) == (b"new", b"old")


def test_a_scan_file_that_a_viewer_holds_keeps_its_frames_and_close_can_be_called_again(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    for k in range(4):
        scan[k] = FRAME + k
    with held(scan.part_path), pytest.raises(StorageOSError, match=r"publish as a\.npz"):
        scan.close()
    assert "a.npz.part" in files(tmp_path)
    assert scan.close() == tmp_path / "a.npz"
    assert files(tmp_path) == {"a.npz"}
    assert lys_storage.verify(tmp_path) == []


def test_a_scan_whose_close_failed_at_its_name_can_be_suspended_and_recovered(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    scan[0] = FRAME
    with held(scan.part_path), pytest.raises(StorageOSError):
        scan.close()
    scan.suspend()
    (result,) = lys_storage.recover(tmp_path)
    assert result.path == tmp_path / "a.npz"
    assert (lys_storage.open_wave(result.path)[0] == FRAME).all()


def test_a_journal_that_another_program_holds_does_not_fail_a_complete_export(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = begin(tmp_path / "a.npz", grid_ndim=1)
    scan[0] = FRAME
    journal = tmp_path / "a.npz.part.journal"
    with held(journal):
        assert scan.close() == tmp_path / "a.npz"
    assert "lys-storage recover removes it later" in caplog.text
    lys_storage.recover(tmp_path)
    assert files(tmp_path) == {"a.npz"}


def test_a_scan_that_was_looked_at_can_be_saved(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    scan[0] = FRAME
    view = scan.array
    assert (view[0] == FRAME).all()
    assert scan.close() == tmp_path / "a.npz"
    assert (view[0] == FRAME).all()


def test_a_scan_that_was_looked_at_can_be_discarded(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    assert scan.array.shape == (4, 8, 8)
    scan.discard()
    assert files(tmp_path) == set()


def test_an_export_that_our_own_reader_has_open_can_be_replaced_or_is_refused_at_create(tmp_path: Path) -> None:
    with begin(tmp_path / "a.npz", grid_ndim=1) as scan:
        scan[0] = FRAME
    with held(tmp_path / "a.npz"), pytest.raises(StorageOSError, match=r"replace: .*close the program"):
        begin(tmp_path / "a.npz", overwrite=True)
    assert files(tmp_path) == {"a.npz"}


def test_an_export_with_the_read_only_attribute_is_refused_at_create(tmp_path: Path) -> None:
    with begin(tmp_path / "a.npz", grid_ndim=1) as scan:
        scan[0] = FRAME
    os.chmod(tmp_path / "a.npz", 0o444)
    with pytest.raises(StorageOSError, match="read-only attribute"):
        begin(tmp_path / "a.npz", overwrite=True)
    os.chmod(tmp_path / "a.npz", 0o666)
    with begin(tmp_path / "a.npz", overwrite=True, grid_ndim=1) as scan:
        scan[1] = FRAME
    assert (lys_storage.open_wave(tmp_path / "a.npz")[1] == FRAME).all()


def test_a_reader_of_ours_keeps_nobody_from_renaming_and_removing(tmp_path: Path) -> None:
    file = File.create(tmp_path / "a")
    file.write_at(b"abc", 0)
    replace_file(tmp_path / "a", tmp_path / "b")
    assert file.read_at(3, 0) == b"abc"
    assert file.is_at(tmp_path / "b")
    remove_file(tmp_path / "b")
    assert file.read_at(3, 0) == b"abc"
    file.close()
    assert files(tmp_path) == set()


# -- locks, sizes, boots ----------------------------------------------------------------------------------------------

LOCKS = """
import sys
from pathlib import Path
from lys_storage.disk import SYSTEM, File
file = File.open(Path(sys.argv[1]), writable=True)
print(*[SYSTEM.try_lock(file.fd, shared=shared) for shared in (True, False)])
"""


def test_locks_are_shared_or_exclusive_and_hinder_no_read(tmp_path: Path, run_child: Callable[..., Finished]) -> None:
    file = File.create(tmp_path / "a")
    file.write_at(b"abc", 0)
    assert SYSTEM.try_lock(file.fd, shared=True) is True
    assert run_child(LOCKS, tmp_path / "a").out.split() == ["True", "False"]
    assert SYSTEM.try_lock(file.fd, shared=False) is True
    assert run_child(LOCKS, tmp_path / "a").out.split() == ["False", "False"]
    assert (tmp_path / "a").read_bytes() == b"abc"
    SYSTEM.unlock(file.fd)
    assert run_child(LOCKS, tmp_path / "a").out.split() == ["True", "True"]
    file.close()


def test_a_file_of_a_gibibyte_is_made_at_once(tmp_path: Path) -> None:
    """The C library would write zeros: seconds a GiB."""
    file = File.create(tmp_path / "a")
    begin_s = time.monotonic()
    file.set_size(1 << 30)
    assert time.monotonic() - begin_s < 1
    assert file.size == 1 << 30
    assert file.read_at(4, (1 << 30) - 4) == b"\0\0\0\0"
    file.close()


def test_several_threads_write_at_their_own_offsets(tmp_path: Path) -> None:
    file = File.create(tmp_path / "a")
    size, count = 4096, 200

    def write(thread: int) -> None:
        for k in range(thread, count, 4):
            file.write_at(bytes((k % 251,)) * size, k * size)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_at(size * count, 0) == b"".join(bytes((k % 251,)) * size for k in range(count))
    file.close()


def test_all_processes_of_a_user_see_the_same_boot(run_child: Callable[..., Finished]) -> None:
    assert boot_id().startswith("windows-")
    assert run_child("from lys_storage.disk import boot_id; print(boot_id())").out.strip() == boot_id()


def test_every_frame_whose_write_has_returned_survives_the_end_of_the_process(
    tmp_path: Path, start_child: Callable[..., subprocess.Popen[str]]
) -> None:
    child = start_child(
        "import numpy as np, lys_storage, os, signal\n"
        "scan = lys_storage.create('a.npz', (100, 8, 8), 'u2')\n"
        "for k in range(60):\n"
        "    scan[k] = np.full((8, 8), k, 'u2')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"  # TerminateProcess
    )
    child.wait(60)
    (result,) = lys_storage.recover(tmp_path)
    wave = lys_storage.open_wave(result.path)
    assert [int(wave[k][0, 0]) for k in range(60)] == list(range(60))
    assert int(wave.written.sum()) == 60


def test_a_full_disk_has_the_errno_of_a_full_disk() -> None:
    from lys_storage.disk.systems import windows_files

    assert {windows_files.error("x", code).errno for code in (39, 112)} == {errno.ENOSPC}


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("12:30", "stream"),
        ("com1", "COM1 is a device"),
        ("NUL", "NUL is a device"),
        ("aux.2026", "AUX is a device"),
        ("lpt\u00b9", "is a device"),
        ("what?", "no names with '\\?'"),
        ("a*b", "no names with"),
        ("a|b", "no names with"),
        ("tab\tname", "no names with"),
    ],
)
def test_a_name_that_windows_does_not_have_is_refused_at_create(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(StorageOSError, match=why):
        begin(tmp_path / f"{name}.npz")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("name", ["a.", "a ", "con_1", "nullable", "com", "x.com1"])
def test_a_name_that_only_looks_like_one_is_accepted(tmp_path: Path, name: str) -> None:
    """The suffix ends the name, so that a dot or a blank before it stays."""
    with begin(tmp_path / f"{name}.npz", grid_ndim=1) as scan:
        scan[0] = FRAME
    assert files(tmp_path) == {f"{name}.npz"}


def test_a_path_that_is_too_long_is_refused_at_create_with_its_sidecars_counted(tmp_path: Path) -> None:
    name = "n" * (258 - len(str(tmp_path)) - len(".npz") - 1)
    with pytest.raises(StorageOSError, match="choose a shorter one"):
        begin(tmp_path / f"{name}.npz")
    assert files(tmp_path) == set()


def test_names_that_differ_only_in_case_are_one_name(tmp_path: Path) -> None:
    with begin(tmp_path / "a.npz", grid_ndim=1) as scan:
        scan[0] = FRAME
    with pytest.raises(NameTakenError):
        begin(tmp_path / "A.npz")


# -- output -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp932", "cp1252"])
def test_the_commands_print_every_name_on_every_code_page(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "\u6e2c\u5b9a \u00b5m"
    folder.mkdir()
    with lys_storage.create(folder / "\u6a21\u69d8\u03bc.npz", (2, 2), "u2", grid_ndim=1) as scan:
        scan[0] = [1, 2]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for words in (["ls", folder], ["info", folder / "\u6a21\u69d8\u03bc.npz"]):
        command = [sys.executable, "-m", "lys_storage", *map(str, words)]
        done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
        assert (done.returncode, done.stderr.decode(encoding, "replace")) == (0, ""), words


def test_a_lock_that_is_taken_twice_by_one_file_is_not_busy(tmp_path: Path) -> None:
    file = File.create(tmp_path / "a")
    assert file.try_lock() is Lock.TAKEN
    assert file.try_lock() is Lock.TAKEN
    file.close()


def test_a_name_with_a_nul_is_not_the_name_before_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with pytest.raises(ValueError, match="null character"):
        SYSTEM.open_file(f"{tmp_path}\\a\0b", os.O_RDONLY)
    with pytest.raises(ValueError, match="null character"):
        SYSTEM.remove(Path(f"{tmp_path}\\a\0b"))
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_file_is_not_published_over_another_name_of_itself(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        SYSTEM.rename_new(tmp_path / "a", tmp_path / "b")
    assert files(tmp_path) == {"a", "b"}
