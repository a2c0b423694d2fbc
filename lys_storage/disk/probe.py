"""Probes whether a disk or a network share has the properties that the promises of this package need.

The probes use files in a temporary folder. They never touch other files, and leave none behind.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import LysStorageError, NameTakenError, os_error
from .file import File
from .folder import sync_folder
from .lock import Lock
from .numbering import claim_number
from .publishing import publish_new
from .speed import Speed, measure_speed

_PROBE_BYTES = 64 << 20
_OTHER_PROCESS = "import sys; from pathlib import Path; from lys_storage.disk import File; " + (
    "print(File.open(Path(sys.argv[1]), writable=True).try_lock().name)"
)


@dataclass(frozen=True)
class Finding:
    """The result of one probe: what was tried, whether it holds, what was seen, and the advice if it does not hold.

    `speed` is what the disk sustains, in the finding of that probe only.
    """

    what: str
    holds: bool
    seen: str
    follows: str
    speed: Speed | None = None


def check_disk(folder: Path, before_speed: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """Run each probe in a temporary folder inside `folder`. Raises StorageOSError if that cannot be made.

    `before_speed` is called before the last probe, which takes some seconds.

    `folder` itself is never made: a misspelt name would test the wrong disk. A probe that raises an error does not hold; the
    error is what was seen.
    """
    if not folder.is_dir():
        code = errno.ENOTDIR if folder.exists() else errno.ENOENT
        raise os_error(
            "look for the folder", folder, OSError(code, os.strerror(code)), "check its name, or make it first"
        )
    try:
        work = tempfile.TemporaryDirectory(prefix=".lys_storage_check_", dir=folder)
    except OSError as error:
        raise os_error("make a folder", folder, error) from error
    with work:
        for what, probe, follows in _PROBES:
            begin = time.perf_counter()
            try:
                holds, seen = probe(Path(work.name))
            except (LysStorageError, OSError) as error:
                holds, seen = False, str(error)
            yield Finding(
                what, holds, seen or f"{1e3 * (time.perf_counter() - begin):.1f} ms", "" if holds else follows
            )
        before_speed()
        yield _speed(Path(work.name))


def _speed(work: Path) -> Finding:
    what = "sustained write speed"
    try:
        speed = measure_speed(work)
    except (LysStorageError, OSError) as error:
        return Finding(what, False, str(error), "it is not known how fast a scan can be")
    return Finding(what, True, str(speed), "", speed)


def _numbers(work: Path) -> tuple[bool, str]:
    numbers: list[int] = []

    def claim() -> None:
        for _ in range(10):
            number, file = claim_number(work, "claim")
            numbers.append(number)
            file.close()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    each = 1e3 * (time.perf_counter() - begin) / 80
    return len(set(numbers)) == 80, f"{len(set(numbers))} of 80, {each:.1f} ms each"


def _locks(work: Path) -> tuple[bool, str]:
    file = File.create(work / "lock")
    try:
        mine = file.try_lock()
        if mine is Lock.UNSUPPORTED:
            return False, "not supported by this file system"
        command = [sys.executable, "-c", _OTHER_PROCESS, str(file.path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        file.close()
    other = result.stdout.strip()
    holds = mine is Lock.TAKEN and other == Lock.BUSY.name
    return holds, "" if holds else f"the other process got {other or result.stderr}"


def _preallocates(work: Path) -> tuple[bool, str]:
    file = File.create(work / "claim")
    try:
        begin = time.perf_counter()
        is_supported = file.preallocate(0, _PROBE_BYTES)
        seconds = time.perf_counter() - begin
    finally:
        file.close()
    return (
        is_supported,
        f"{1e3 * seconds * (1 << 30) / _PROBE_BYTES:.1f} ms a GiB"
        if is_supported
        else "not supported by this file system",
    )


def _publishes(work: Path) -> tuple[bool, str]:
    for name, content in (("old", b"old"), ("new", b"new")):
        file = File.create(work / name)
        file.write_at(content, 0)
        file.close()
    try:
        publish_new(work / "new", work / "old")
    except NameTakenError:
        publish_new(work / "new", work / "third")
        return (work / "old").read_bytes() == b"old" and (work / "third").read_bytes() == b"new", ""
    return False, "the existing file was replaced"


def _maps(work: Path) -> tuple[bool, str]:
    file = File.create(work / "map")
    try:
        file.set_size(mmap.PAGESIZE)
        view = file.map(mmap.PAGESIZE, writable=True)
        file.write_at(b"written", 100)
        seen = view[100:107] == b"written"
        view[200:206] = b"stored"
        seen = seen and file.read_at(6, 200) == b"stored"
        view.close()
    finally:
        file.close()
    return seen, ""


def _syncs(work: Path) -> tuple[bool, str]:
    file = File.create(work / "sync")
    try:
        times = []
        for k in range(10):
            file.write_at(bytes(4096), 4096 * k)
            begin = time.perf_counter()
            file.sync()
            times.append(time.perf_counter() - begin)
        sync_folder(work)
    finally:
        file.close()
    return True, f"{1e3 * sorted(times)[5]:.2f} ms for 4 KiB (median of 10)"


_PROBES: tuple[tuple[str, Callable[[Path], tuple[bool, str]], str], ...] = (
    ("8 threads that claim numbers get different ones", _numbers, "let only one process write to a folder"),
    ("a writer's lock keeps another process out", _locks, "recover only while no scan is running"),
    ("space is preallocated", _preallocates, "a full disk raises an exception during a scan, not before it"),
    ("publishing a file never replaces another", _publishes, "a file of the same name could be lost"),
    ("a memory map shows what was written", _maps, "a live view of a scan can show old frames"),
    ("files and folders are synced", _syncs, "frames can be lost in a power cut"),
)
"""What is tried, the probe, and the advice if it does not hold."""
