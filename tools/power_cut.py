"""Cut the power for real, many times, while scans are being written, and see whether lys_storage kept its promises.

Each cut: a filesystem on a loop device, over a file whose writes and flushes are recorded by a FUSE server of our own
(the kernel's protocol, no library); a child process that writes scans with the real code and tells what it did and
when; at a random moment, the writer still running, the disk stops: what came since its last flush is kept, dropped or
torn, by a seeded choice. What is left is mounted, recovered as on another boot, and read with nothing of lys_storage.

It never mounts anything where another process could see it: all of it is in a mount namespace of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HELP = """Cut the power for real while scans are being written, recover, and check every promise. Linux, as root.

\b
How the cut is made
    ext4, xfs or btrfs on a loop device, over a file in a FUSE filesystem that
    this program serves itself through /dev/fuse. Every write and every flush of
    the loop device passes through it. At the cut, all that came before the last
    flush stays; of what came since, each write is kept, dropped, or torn at
    sector size, by a choice that follows from --seed. The writer is still at it.

\b
Why this way
    Copying the image under the writer is no single moment, and drops nothing
    that the filesystem has sent already. device-mapper (dm-log-writes, dm-flakey)
    and NBD would do, but many kernels have neither; loop and FUSE nearly all.
    A kernel that is simply killed loses only what it has not sent to the disk;
    here the disk's own cache is lost too, in any order.

\b
What a disk may do
    Sectors of 512 bytes are written whole or not at all; on btrfs 4096, because
    its superblock is 4096 bytes, written in place, with a checksum: it takes for
    granted that these are not torn (--sector changes it for all).

\b
Exit code
    0 no promise broken; 1 one was; 2 wrong use, or nothing could be measured.
"""

FILESYSTEMS: dict[str, tuple[list[str], int, int]] = {
    # the command that makes one; the smallest device it takes, in MB; what the filesystem takes to be written whole
    "ext4": (["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"], 64, 512),
    "xfs": (["mkfs.xfs", "-q", "-f", "-K"], 304, 512),
    "btrfs": (["mkfs.btrfs", "-q", "-f", "-K"], 160, 4096),
}
DEADLINE_S = 60.0
MiB = 1 << 20

# -- what differs from a shell: mount(2), unshare(2), prctl(2) ---------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_MS_REC, _MS_PRIVATE, _CLONE_NEWNS, _MNT_DETACH, _PR_SET_PDEATHSIG = 0x4000, 1 << 18, 0x20000, 2, 1
_SYNC_FILE_RANGE_WRITE = 2


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: Path, kind: str, options: str = "", flags: int = 0) -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())


def unmount(target: Path) -> None:
    with contextlib.suppress(OSError):
        _call("umount2", os.fsencode(target), _MNT_DETACH)


def die_with_parent() -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class NotMountedError(RuntimeError):
    """The kernel did not take an image for a filesystem."""


def run(*command: str | Path) -> str:
    """Run a program; RuntimeError with what it said where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


# -- the disk: a file over FUSE that remembers what has not been flushed -----------------------------------------------


@dataclass(frozen=True)
class Write:
    """Bytes that are on their way to the disk; `data` None is `size` zeros."""

    offset: int
    size: int
    data: bytes | None

    def piece(self, begin: int, end: int) -> Write:
        return Write(self.offset + begin, end - begin, None if self.data is None else self.data[begin:end])


MANNERS = {
    # name: how likely each write is kept, dropped, torn
    "all kept": (1.0, 0.0, 0.0),
    "all dropped": (0.0, 1.0, 0.0),
    "any": (0.4, 0.4, 0.2),
    "most kept": (0.85, 0.1, 0.05),
    "most dropped": (0.1, 0.85, 0.05),
    "most torn": (0.1, 0.1, 0.8),
    "first ones kept": (0.0, 0.0, 0.0),
}


def choose(pending: list[Write], chance: random.Random, sector: int) -> tuple[str, Counter[str], list[Write]]:
    """What of the writes since the last flush has reached the disk: the manner, how many of each, and the pieces."""
    manner = chance.choice(list(MANNERS))
    counts: Counter[str] = Counter(kept=0, dropped=0, torn=0)
    pieces: list[Write] = []
    stop = chance.randrange(len(pending) + 1)
    for k, write in enumerate(pending):
        if manner == "first ones kept":
            fate = "kept" if k < stop else "torn" if k == stop else "dropped"
        else:
            fate = chance.choices(("kept", "dropped", "torn"), MANNERS[manner])[0]
        if fate == "torn" and write.size <= sector:
            fate = chance.choice(("kept", "dropped"))
        counts[fate] += 1
        if fate == "kept":
            pieces.append(write)
        elif fate == "torn":
            pieces += tear(write, chance, sector)
    return manner, counts, pieces


def tear(write: Write, chance: random.Random, sector: int) -> Iterator[Write]:
    """The sectors of a write that were in time: the first, the last, all but a few, or any."""
    sectors = -(-write.size // sector)
    cut = chance.randrange(1, sectors)
    how = chance.choice(("first", "last", "but one", "any"))
    for k in range(sectors):
        stays = {"first": k < cut, "last": k >= cut, "but one": k != cut, "any": chance.random() < 0.5}[how]
        if stays:
            yield write.piece(k * sector, min((k + 1) * sector, write.size))


class Disk:
    """`seen` is what the kernel reads; `durable` is what a power cut leaves for sure; between them `pending`."""

    def __init__(self, folder: Path) -> None:
        self.seen = os.open(folder / "seen.img", os.O_RDWR)
        self.durable = os.open(folder / "durable.img", os.O_RDWR)
        self.size = os.fstat(self.seen).st_size
        self.pending: list[Write] = []
        self.writes = self.flushes = 0
        self.stop_at: tuple[int, int] | None = None
        self.stopped_ns: int | None = None

    def stop(self) -> None:
        """The power goes. Whoever writes notices nothing yet: `seen` goes on."""
        if self.stopped_ns is None:
            self.stopped_ns = time.monotonic_ns()

    def write(self, write: Write) -> None:
        _put(self.seen, write)
        if self.stopped_ns is None:
            self.pending.append(write)
            self.writes += 1
            if self.stop_at is not None and self.writes >= self.stop_at[0] and len(self.pending) >= self.stop_at[1]:
                self.stop()

    def flush(self) -> None:
        if self.stopped_ns is None:
            for write in self.pending:
                _put(self.durable, write)
            self.pending.clear()
            self.flushes += 1

    def cut(self, seed: str, sector: int) -> dict[str, Any]:
        """Leave in `durable` what the disk holds after the power cut."""
        manner, counts, pieces = choose(self.pending, random.Random(seed), sector)
        for write in pieces:
            _put(self.durable, write)
        return {"manner": manner, **counts, "writes": self.writes, "flushes": self.flushes}


def _put(fd: int, write: Write) -> None:
    data = bytes(write.size) if write.data is None else write.data
    if os.pwrite(fd, data, write.offset) != write.size:
        raise OSError(5, "short write to an image")


# The kernel's FUSE protocol, version 7.31: include/uapi/linux/fuse.h. The mount point is itself a regular file.
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTR = struct.Struct("<QII QQQQQQ IIIIIIIIII")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_RANGE = struct.Struct("<QQII")
_FALLOCATE = struct.Struct("<QQQII")
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC, _FLUSH, _INIT = 3, 4, 14, 15, 16, 18, 20, 25, 26
_FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET, _FALLOCATE_OP = 2, 36, 38, 42, 43
_MAX_PAGES_FLAG, _BIG_WRITES_FLAG = 1 << 22, 1 << 5
_MAX_WRITE = 1 << 20
_ENOSYS, _EOPNOTSUPP = 38, 95


def answer(disk: Disk, opcode: int, body: memoryview) -> bytes | int | None:
    """The reply to one request: its bytes, an errno, or None where none is expected."""
    if opcode == _WRITE:
        _, offset, size, _ = _RANGE.unpack_from(body)
        disk.write(Write(offset, size, bytes(body[40 : 40 + size])))
        return struct.pack("<II", size, 0)
    if opcode == _READ:
        _, offset, size, _ = _RANGE.unpack_from(body)
        return os.pread(disk.seen, size, offset)
    if opcode == _FSYNC:
        disk.flush()
        return b""
    if opcode in (_GETATTR, _SETATTR):
        times = (0, 0, 0, 0, 0, 0)
        return _ATTR.pack(
            3600, 0, 0, 1, disk.size, disk.size // 512, *times[:3], *times[3:], 0o100600, 1, 0, 0, 0, 4096, 0
        )
    if opcode == _OPEN:
        return struct.pack("<QIi", 1, 0, 0)
    if opcode == _INIT:
        flags = _BIG_WRITES_FLAG | _MAX_PAGES_FLAG
        return _INIT_OUT.pack(7, 31, MiB, flags, 64, 48, _MAX_WRITE, 1, _MAX_WRITE // 4096, 0, 0)
    if opcode == _FALLOCATE_OP:
        _, offset, size, mode, _ = _FALLOCATE.unpack_from(body)
        if not mode & 0x12:  # punch a hole, or zero a range: both read as zeros afterwards
            return _EOPNOTSUPP
        for at in range(offset, offset + size, MiB):
            disk.write(Write(at, min(MiB, offset + size - at), None))
        return b""
    if opcode in (_FLUSH, _RELEASE, _DESTROY):
        return b""
    if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
        return None
    return _ENOSYS


def serve(folder: Path) -> None:
    """Be the disk in `folder`/disk, as its parent says on stdin, until that ends."""
    die_with_parent()
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount("power_cut", folder / "disk", "fuse", f"fd={fuse},rootmode=100000,user_id=0,group_id=0")
    disk = Disk(folder)
    buffer = bytearray(_MAX_WRITE + 8192)
    _tell({"mounted": True})
    told = False
    while True:
        ready, _, _ = select.select([fuse, 0], [], [])
        if 0 in ready and not _obey(disk):
            return
        if fuse in ready:
            _serve_one(disk, fuse, buffer)
        if disk.stopped_ns is not None and not told:
            told = True
            _tell({"stopped_ns": disk.stopped_ns, "pending": len(disk.pending)})


def _serve_one(disk: Disk, fuse: int, buffer: bytearray) -> None:
    try:
        size = os.readv(fuse, [buffer])
    except OSError:
        return  # the request was taken back, or the mount is gone
    _, opcode, unique, *_ = _IN.unpack_from(buffer)
    reply = answer(disk, opcode, memoryview(buffer)[_IN.size : size])
    if reply is None:
        return
    error, data = (0, reply) if isinstance(reply, bytes) else (-reply, b"")
    with contextlib.suppress(FileNotFoundError):
        os.writev(fuse, [_OUT.pack(_OUT.size + len(data), error, unique), data])


def _obey(disk: Disk) -> bool:
    line = sys.stdin.buffer.raw.readline()  # type: ignore[union-attr]
    if not line:
        return False
    order = json.loads(line)
    if "stop_after" in order:
        disk.stop_at = disk.writes + order["stop_after"], order["pending"]
    elif "stop" in order:
        disk.stop()
    elif "cut" in order:
        _tell(disk.cut(order["cut"], order["sector"]))
    return True


def _tell(fact: Any) -> None:
    """One line on stdout, in one write: whole lines are there also when this process is killed."""
    os.write(1, json.dumps(fact).encode() + b"\n")


# -- frames that say what they are -------------------------------------------------------------------------------------

_FRAME_HEAD = struct.Struct("<IIII")


@cache
def _noise() -> bytes:
    return random.Random(1).randbytes(6 * MiB)


def make_frame(scan: int, frame: int, version: int, size: int) -> bytes:
    """`size` bytes that follow from what they are, a CRC-32 of the rest among them; no part of them is zero for long."""
    begin = (scan * 7919 + frame * 613 + version * 104729) % 4096
    body = _noise()[begin : begin + size - _FRAME_HEAD.size]
    return _FRAME_HEAD.pack(scan, frame, version, zlib.crc32(body, frame ^ version << 16)) + body


def version_of(data: bytes, scan: int, frame: int) -> int | None:
    """Which version of this frame `data` is, bit for bit; None where it is none."""
    its_scan, its_frame, version, _ = _FRAME_HEAD.unpack_from(data)
    right = (its_scan, its_frame) == (scan, frame) and data == make_frame(scan, frame, version, len(data))
    return version if right else None


# -- the writer: real scans, and what it says of them ------------------------------------------------------------------


def write_scans(folder: Path, seed: str, budget: int) -> None:
    """Write scans until killed. Each fact is a line on stdout, said before ("b...") and after ("e...") it is so."""
    die_with_parent()
    from lys_storage.store import ScanStore

    chance = random.Random(seed)
    scans: dict[str, int] = {}
    real_flush = ScanStore.flush

    def flush(part: ScanStore) -> None:
        began = time.monotonic_ns()
        real_flush(part)
        _tell(["flush", scans.get(part.description.scan_id, -1), began, time.monotonic_ns()])

    ScanStore.flush = flush  # type: ignore[method-assign,assignment]
    scan, used = 0, 0
    while used < budget:
        used += _write_scan(folder, scan, chance, scans, budget - used)
        scan += 1
    _tell(["full"])
    signal.pause()


def _write_scan(folder: Path, number: int, chance: random.Random, scans: dict[str, int], budget: int) -> int:
    from lys_storage import LysStorageError
    from lys_storage.scan import begin_scan

    dtype = np.dtype(chance.choice(["u1", "<u2", "<f4", "<f8"]))
    frame_shape = chance.choice([(16, 8), (25, 30), (64, 64), (40, 100), (128, 256), (300, 400)])
    grid_shape = chance.choice([(30,), (6, 8), (10, 12), (4, 3, 5)])
    if chance.random() < 0.05:
        grid_shape, frame_shape = (3,), (700, 900)  # larger than what is read or written at once
    size = int(np.prod(frame_shape)) * dtype.itemsize
    frames = int(np.prod(grid_shape))
    while frames * size > min(budget, 24 * MiB) and grid_shape[0] > 1:
        grid_shape = (max(1, grid_shape[0] // 2), *grid_shape[1:])
        frames = int(np.prod(grid_shape))
    numbered = chance.random() < 0.6
    interval = chance.choice([0.1, 0.1, 0.15, 0.15, 0.2, 0.2, 0.2, 0.0 if size < 20_000 else 0.1])
    fill = chance.choice([None, None, 7])
    known = chance.random() < 0.5
    by_rows = not known and chance.random() < 0.4  # and by frames from the middle on: the scan is laid out anew there
    ndim = len(grid_shape)
    plan = {"frame_bytes": size, "grid_ndim": ndim, "dtype": dtype.str, "shape": [*grid_shape, *frame_shape]}
    _tell(["b scan", number, time.monotonic_ns(), plan])
    scan = begin_scan(
        *(folder / f"day_{number % 3}", "data" if numbered else "same", (*grid_shape, *frame_shape), dtype),
        numbered=numbered,
        replace_existing=not numbered,
        fill=fill,
        axes=[np.arange(n, dtype=float) for n in (*grid_shape, *frame_shape)],
        note={"scan": number, "turn": 0},
        grid_ndim=ndim if known else None,
        flush_interval_s=interval,
        failed=lambda error: _tell(["failed", number, str(error)]),
    )
    scans[scan._part.description.scan_id] = number
    fill_hex = scan.fill.tobytes().hex()
    _tell(["e scan", number, time.monotonic_ns(), {"path": str(scan.path), "fill": fill_hex, "number": scan.number}])
    try:
        order = list(range(frames))
        if chance.random() < 0.4 and not by_rows:
            chance.shuffle(order)
        order = order[: frames if chance.random() < 0.6 else chance.randrange(frames + 1)]
        writers = 2 if chance.random() < 0.25 and not by_rows else 1
        manner = (chance.choice([0.0, 0.0, 0.05, 0.3, 0.6]), chance.choice([0.0, 0.0005, 0.002, 0.006]))
        rows_until = frames // grid_shape[0] * (grid_shape[0] // 2) if by_rows else 0
        with ThreadPoolExecutor(writers) as pool:
            threads = []
            for k in range(writers):
                dice = random.Random(chance.random())
                what = scan, number, order[k::writers], plan, manner, dice, rows_until, writers == 1
                threads.append(pool.submit(_write_frames, *what))
            for thread in threads:
                thread.result()
        if chance.random() < 0.75:
            began = time.monotonic_ns()
            _tell(["b close", number, began])
            path = scan.close()
            _tell(["e close", number, time.monotonic_ns(), str(path)])
        else:
            scan.suspend()
    except LysStorageError as error:
        _tell(["failed", number, f"{type(error).__name__}: {error}"])
        with contextlib.suppress(LysStorageError):
            scan.suspend()
    return frames * size


def _write_frames(
    scan: Any,
    number: int,
    order: list[int],
    plan: dict[str, Any],
    manner: tuple[float, float],
    chance: random.Random,
    rows_until: int,
    alone: bool,
) -> None:
    """`order` of frames; those below `rows_until` a row at a time. `alone`: no other thread writes this scan."""
    rewrites, pause_s = manner
    grid_shape, dtype = tuple(plan["shape"][: plan["grid_ndim"]]), np.dtype(plan["dtype"])
    frame_shape = tuple(plan["shape"][plan["grid_ndim"] :])
    versions: dict[int, int] = {}
    done: list[int] = []

    def write(frames: list[int], index: tuple[int, ...]) -> None:
        for frame in frames:
            versions[frame] = versions.get(frame, 0) + 1
        data = b"".join(make_frame(number, f, versions[f], plan["frame_bytes"]) for f in frames)
        array = np.frombuffer(data, dtype).reshape(*grid_shape[len(index) :], *frame_shape)
        _tell(["b frames", number, time.monotonic_ns(), [(f, versions[f]) for f in frames]])
        scan.write(index, array)
        _tell(["e frames", number, time.monotonic_ns(), [(f, versions[f]) for f in frames]])

    row = int(np.prod(grid_shape[1:]))
    for frame in order:
        index = tuple(int(k) for k in np.unravel_index(frame, grid_shape))
        if frame < rows_until:
            if frame % row == 0:
                write(list(range(frame, frame + row)), index[:1])
                time.sleep(pause_s * row)
            continue
        if alone and frame % row == 0 and row > 1 and done and chance.random() < 0.3:
            write(list(range(frame, frame + row)), index[:1])
        else:
            write([frame], index)
        done.append(frame)
        while chance.random() < rewrites:
            again = chance.choice(done[-3:] if chance.random() < 0.5 else done)
            write([again], tuple(int(k) for k in np.unravel_index(again, grid_shape)))
        if alone and chance.random() < 0.01:
            _change_metadata(scan, number, chance)
        if chance.random() < 0.005:
            scan.flush()
        if pause_s:
            time.sleep(pause_s * chance.random() * 2)


def _change_metadata(scan: Any, number: int, chance: random.Random) -> None:
    turn = int(scan.note["turn"]) + 1
    _tell(["b note", number, time.monotonic_ns(), turn])
    scan.note = {"scan": number, "turn": turn, "text": "x" * chance.choice([0, 100, 5000])}
    _tell(["e note", number, time.monotonic_ns(), turn])


def recover_all(folder: Path, verify: bool) -> None:
    """Recover what is in `folder`, as a machine that has been started again."""
    die_with_parent()
    from lys_storage import recover
    from lys_storage.disk import syscalls as syscalls_module

    syscalls_module.read_boot_id = lambda: "the boot after the power cut"
    _tell(["begins"])
    for result in recover(folder, verify=verify):
        _tell([str(result.part), None if result.path is None else str(result.path), result.said])


# -- what the writer had been promised at the moment of the cut --------------------------------------------------------


@dataclass
class Versions:
    """The versions of one thing, in their order: when each began, and when it was acknowledged."""

    began: dict[int, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)

    def last_acknowledged(self, at: int) -> int | None:
        return max((v for v, t in self.ended.items() if t < at), default=None)

    def last_begun(self, at: int) -> int | None:
        return max((v for v, t in self.began.items() if t < at), default=None)


@dataclass
class Told:
    """What the writer told of one scan. Times are those of the monotonic clock, in ns."""

    number: int
    plan: dict[str, Any]
    frames: dict[int, Versions] = field(default_factory=dict)
    note: Versions = field(default_factory=lambda: Versions({0: 0}, {0: 0}))
    safe_from: int = -1  # what was acknowledged before this is promised: the begin of the last flush that ended
    flushes: int = 0
    path: str | None = None
    fill: bytes = b""
    close_began: int | None = None
    saved: str | None = None

    @property
    def is_numbered(self) -> bool:
        return self.path is None or "same" not in Path(self.path).name


def read_told(lines: list[str], cut: int) -> tuple[dict[int, Told], list[str]]:
    """The scans as far as they had come at time `cut`, and what failed in the writer before."""
    scans: dict[int, Told] = {}
    failed = []
    for line in lines:
        if not line.endswith("\n"):
            break
        kind, *rest = json.loads(line)
        if kind == "failed":
            failed.append(f"scan {rest[0]}: {rest[1]}")
        elif kind == "flush":
            number, began, ended = rest
            if ended < cut and number in scans:
                scans[number].flushes += 1
                scans[number].safe_from = max(scans[number].safe_from, began)
        elif kind != "full" and rest[1] < cut:
            _take(scans, kind, *rest)
    return scans, failed


def _take(scans: dict[int, Told], kind: str, number: int, when: int, *rest: Any) -> None:
    if kind == "b scan":
        scans[number] = Told(number, rest[0])
        return
    scan = scans[number]
    if kind == "e scan":
        scan.path, scan.fill = rest[0]["path"], bytes.fromhex(rest[0]["fill"])
    elif kind == "b close":
        scan.close_began = when
    elif kind == "e close":
        scan.saved, scan.safe_from = rest[0], when
    elif kind in ("b note", "e note"):
        (scan.note.began if kind[0] == "b" else scan.note.ended)[rest[0]] = when
    else:
        for frame, version in rest[0]:
            versions = scan.frames.setdefault(frame, Versions())
            (versions.began if kind[0] == "b" else versions.ended)[version] = when


# -- the check: read with nothing of lys_storage -----------------------------------------------------------------------


@dataclass
class Outcome:
    """What one cut, or all of a filesystem, came to."""

    cuts: int = 0
    twice: int = 0
    not_mounted: int = 0
    scans: int = 0
    saved: int = 0
    acknowledged: int = 0
    flushes: int = 0
    promised: int = 0
    lost: int = 0
    passed_off: int = 0
    bad_files: int = 0
    vanished: int = 0
    other: int = 0
    oldest_lost_ns: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def broken(self) -> int:
        return self.lost + self.passed_off + self.bad_files + self.vanished + self.other

    def add(self, other: Outcome) -> None:
        for name, value in vars(other).items():
            if name == "oldest_lost_ns":
                self.oldest_lost_ns = max(self.oldest_lost_ns, value)
            else:
                setattr(self, name, getattr(self, name) + value)


def check(folder: Path, scans: dict[int, Told], cut: int, before: set[Path], result: Outcome) -> None:
    """Compare what is in `folder` after recovery with what was promised; `before` are its exports before recovery."""
    found: dict[int, tuple[Path, dict[str, np.ndarray[Any, Any]], dict[str, Any]]] = {}
    for path in sorted(folder.rglob("*.npz")):
        members = _read_export(path, result)
        if members is not None:
            number = int(members[0]["note"][()]["scan"])
            if number in found:
                result.other += 1
                result.said.append(f"scan {number} is there twice: {found[number][0].name} and {path.name}")
            found[number] = (path, *members)
    for path in before:
        if not path.exists():
            result.vanished += 1
            result.said.append(f"{path.name} was there before recovery, and is gone")
    for number, scan in scans.items():
        promised = sum(v.last_acknowledged(scan.safe_from) is not None for v in scan.frames.values())
        acknowledged = sum(len(v.ended) for v in scan.frames.values())
        result.scans += 1
        result.saved += scan.saved is not None
        result.acknowledged += acknowledged
        result.flushes += scan.flushes
        if number in found:
            result.promised += promised
            _check_scan(scan, *found[number], cut, result)
        elif scan.saved is not None:
            if not _superseded(scan, scans):
                result.promised += promised
                result.vanished += 1
                result.said.append(f"scan {number} was saved as {scan.saved}, and is gone")
        elif not _superseded(scan, scans):
            ages = [cut - when for versions in scan.frames.values() for when in versions.ended.values()]
            result.oldest_lost_ns = max([result.oldest_lost_ns, *ages])
            result.promised += promised
            result.lost += promised
            if promised:
                result.said.append(f"scan {number} ({scan.path}): no export, {promised} frames were promised")


def _superseded(scan: Told, scans: dict[int, Told]) -> bool:
    """Whether its export may have been replaced by that of a later scan of this name."""
    return not scan.is_numbered and any(
        other.number > scan.number and other.path == scan.path and other.close_began is not None
        for other in scans.values()
    )


def _read_export(path: Path, result: Outcome) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            if bad is not None:
                raise ValueError(f"member {bad} is damaged")
            info = json.loads(archive.read("acquisition.json"))
        if shutil.which("unzip"):
            run("unzip", "-tqq", path)
        with np.load(path, allow_pickle=True) as stored:
            members = {name: stored[name] for name in ("data", "axes", "note")}
        members["note"][()]["scan"]
    except Exception as error:
        result.bad_files += 1
        result.said.append(f"{path.name} is bad: {type(error).__name__}: {error}")
        return None
    return members, info


def _check_scan(
    scan: Told, path: Path, members: dict[str, np.ndarray[Any, Any]], info: dict[str, Any], cut: int, result: Outcome
) -> None:
    data, what = members["data"], f"scan {scan.number} ({path.name})"
    shape, size = tuple(scan.plan["shape"]), scan.plan["frame_bytes"]
    if data.shape != shape or data.dtype != np.dtype(scan.plan["dtype"]):
        result.other += 1
        result.said.append(f"{what}: {data.shape} {data.dtype}, expected {shape} {scan.plan['dtype']}")
        return
    turn, axes = int(members["note"][()]["turn"]), members["axes"]
    last, low = scan.note.last_begun(cut), scan.note.last_acknowledged(scan.safe_from) or 0
    if not low <= turn <= (last or 0) or [len(axis) for axis in axes] != list(shape):
        result.other += 1
        result.said.append(f"{what}: note of turn {turn}, promised {low}, begun {last}; axes {[len(a) for a in axes]}")
    frames = int(np.prod(shape[: scan.plan["grid_ndim"]]))
    grid = int(np.prod(info["grid_shape"])) if info["grid_shape"] else 1
    missing = np.zeros(frames, bool)
    for first, stop in info["missing"]:
        missing[first * frames // grid : stop * frames // grid] = True
    raw = data.reshape(frames, -1)
    for frame in range(frames):
        versions = scan.frames.get(frame, Versions())
        promised, begun = versions.last_acknowledged(scan.safe_from), versions.last_begun(cut)
        content = raw[frame].tobytes()
        is_there = None if missing[frame] else version_of(content, scan.number, frame)
        if missing[frame] and content != scan.fill * (size // len(scan.fill)):
            result.passed_off += 1
            result.said.append(f"{what}: frame {frame} is said to be missing, and does not hold the fill value")
        if not missing[frame] and (is_there is None or is_there > (begun or 0)):
            result.passed_off += 1
            result.said.append(f"{what}: frame {frame} is said to be data, and is none of its versions")
        elif promised is not None and (is_there or 0) < promised:
            result.lost += 1
            age = (cut - versions.ended[promised]) / 1e6
            result.said.append(
                f"{what}: frame {frame} is {'missing' if is_there is None else f'version {is_there}'}; version {promised}, "
                f"acknowledged {age:.1f} ms before the cut, was promised ({len(versions.began)} begun)"
            )
        else:
            newer = [t for v, t in versions.ended.items() if v > (is_there or 0)]
            result.oldest_lost_ns = max([result.oldest_lost_ns, *(cut - t for t in newer)])


# -- one cut -----------------------------------------------------------------------------------------------------------


class Bench:
    """The folder in which cuts of one filesystem are made, with a new filesystem of it to copy for each."""

    def __init__(self, folder: Path, kind: str, size_mb: int, sector: int | None) -> None:
        self.folder, self.kind = folder, kind
        command, smallest, its_sector = FILESYSTEMS[kind]
        self.sector = sector or its_sector
        self.size_mb = max(size_mb, smallest)
        folder.mkdir(parents=True, exist_ok=True)
        self.new = folder / "new.img"
        with open(self.new, "wb") as file:
            file.truncate(self.size_mb * MiB)
        run(*command, self.new)
        (folder / "disk").touch()
        (folder / "mnt").mkdir(exist_ok=True)

    def mount(self, image: Path) -> None:
        options = "loop,discard" if self.kind == "ext4" else "loop"
        try:
            run("mount", "-t", self.kind, "-o", options, image, self.folder / "mnt")
        except RuntimeError as error:
            raise NotMountedError(str(error)) from error

    def unmount(self) -> None:
        """Off the loop device, which goes with it; btrfs is told to forget it, or it would meet it again as an older one."""
        device = run("findmnt", "-no", "SOURCE", self.folder / "mnt").strip()
        run("umount", self.folder / "mnt")
        if self.kind == "btrfs":
            with contextlib.suppress(RuntimeError):
                run("btrfs", "device", "scan", "--forget", device)

    def close(self) -> None:
        unmount(self.folder / "mnt")
        unmount(self.folder / "disk")


class Child:
    """A process of ours, of this very file; it does not outlive its block, nor this program."""

    def __init__(self, *arguments: str | Path, log: Path) -> None:
        self._log = open(log, "wb")  # noqa: SIM115  closed with the process
        command = [sys.executable, __file__, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self.out = self.process.stdin, self.process.stdout

    def order(self, **what: Any) -> None:
        self._in.write(json.dumps(what).encode() + b"\n")
        self._in.flush()

    def answers(self, timeout_s: float) -> dict[str, Any] | None:
        ready, _, _ = select.select([self.out], [], [], timeout_s)
        if not ready:
            return None
        line = self.out.readline()
        if not line:
            raise RuntimeError(f"the disk ended: {Path(self._log.name).read_text()[-2000:]}")
        return dict(json.loads(line))

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        self._in.close()
        self.out.close()
        self._log.close()


class Reader(threading.Thread):
    """Reads a child's pipe, so that it never waits for us."""

    def __init__(self, child: Child) -> None:
        super().__init__(daemon=True)
        self._child = child
        self.lines: list[str] = []
        self.first = threading.Event()

    def run(self) -> None:
        for line in self._child.out:
            self.lines.append(line.decode())
            self.first.set()
        self.first.set()


def stir(folder: Path, chance: random.Random) -> None:
    """Have the kernel send some dirty pages to the disk, without a flush, as it does by itself on a busier machine."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        return
    with contextlib.suppress(OSError):  # renamed or removed meanwhile
        fd = os.open(chance.choice(files), os.O_RDONLY)
        try:
            pages = os.fstat(fd).st_size // 4096
            begin = chance.randrange(pages + 1)
            count = chance.choice([1, 4, 64, pages + 1])
            _libc.sync_file_range(
                fd, ctypes.c_int64(begin * 4096), ctypes.c_int64(count * 4096), _SYNC_FILE_RANGE_WRITE
            )
        finally:
            os.close(fd)


@dataclass
class Cut:
    """One power cut: when, how many writes were not flushed then, what became of them, and what the process told."""

    when_ns: int
    pending: int
    choice: dict[str, Any]
    lines: list[str]
    said: str


def cut_while(bench: Bench, seed: str, *command: str | Path) -> Cut:
    """Let this program's `command` work on the disk that `durable.img` holds, cut the power, leave there what is left.

    1. both images alike; 2. the disk and its filesystem; 3. the process; 4. the cut; 5. the process is killed, and all is
    taken down; 6. what had not been flushed is kept, dropped, torn.
    """
    chance, folder = random.Random(f"{seed}/{command[0]}"), bench.folder
    scans_at, said = folder / "mnt" / "scans", folder / f"{command[0]}.log"
    run("cp", "--sparse=always", folder / "durable.img", folder / "seen.img")
    with Child("serve", folder, log=folder / "disk.log") as disk:
        assert disk.answers(DEADLINE_S), "the disk did not come up"
        bench.mount(folder / "disk")
        scans_at.mkdir(exist_ok=True)
        run("sync", "-f", scans_at)
        with Child(*command, log=said) as child:
            reader = Reader(child)
            reader.start()
            if not reader.first.wait(DEADLINE_S):
                raise RuntimeError(f"{command[0]}: nothing came")
            when, pending = _wait_for_the_cut(disk, child, scans_at, chance)
            child.process.kill()
            child.process.wait()
            reader.join()
        bench.unmount()
        unmount(folder / "disk")
        disk.order(cut=seed, sector=bench.sector)
        choice = disk.answers(DEADLINE_S) or {}
    return Cut(when, pending, choice, reader.lines, said.read_text().strip())


def _wait_for_the_cut(disk: Child, child: Child, folder: Path, chance: random.Random) -> tuple[int, int]:
    """The moment of the cut and how many writes had not been flushed: after a time, or at a certain write."""
    ends = time.monotonic() + chance.uniform(0.0, 1.5)
    stirs = chance.choice([0.002, 0.01, 0.05])
    if chance.random() < 0.7:
        disk.order(stop_after=int(10 ** chance.uniform(0.0, 3)), pending=int(10 ** chance.uniform(0, 1.7)))
        ends = time.monotonic() + 2.5
    still = chance.random() < 0.25
    while True:
        left = ends - time.monotonic()
        if left <= 0 or child.process.poll() is not None:
            disk.order(stop=True)
            left = DEADLINE_S
        stopped = disk.answers(min(left, stirs))
        if stopped is not None:
            return stopped["stopped_ns"], stopped["pending"]
        if not still:
            stir(folder, chance)


def cut_once(bench: Bench, seed: str, keep: Path | None) -> Outcome:
    """A new filesystem, scans, a cut; one time in four another cut in the middle of recovery; recovery; the check."""
    chance, folder, left = random.Random(seed), bench.folder, bench.folder / "durable.img"
    result = Outcome(cuts=1)
    run("cp", "--sparse=always", bench.new, left)
    cut = cut_while(bench, seed, "write", folder / "mnt" / "scans", seed, str(bench.size_mb * MiB // 5 * 2))
    result.said.append(f"cut {seed}: {json.dumps(cut.choice)}, {cut.pending} not flushed, at {cut.when_ns}")
    if cut.said:
        result.other += 1
        result.said.append(f"the writer said: {cut.said[-3000:]}")
    scans, failed = read_told(cut.lines, cut.when_ns)
    result.said += [f"writer: {line}" for line in failed]
    if keep is not None:
        run("cp", "--sparse=always", left, folder / "left.img")
    verify = ["--verify"] if chance.random() < 0.25 else []
    try:
        before = set(_look(bench))
        if chance.random() < 0.25:
            result.twice += 1
            again = cut_while(bench, seed, "recover", folder / "mnt" / "scans", *verify)
            result.said.append(f"cut again in recovery: {json.dumps(again.choice)}, {again.pending} not flushed")
            result.said += [f"recovered {line.strip()}" for line in again.lines]
            if again.said:
                result.other += 1
                result.said.append(f"recovery said: {again.said[-3000:]}")
        bench.mount(left)
    except NotMountedError as error:
        result.not_mounted += 1
        result.said.append(f"the filesystem does not mount: {error}")
        return result
    try:
        _recover(folder / "mnt" / "scans", verify, result)
        check(folder / "mnt" / "scans", scans, cut.when_ns, before, result)
    finally:
        bench.unmount()
    if keep is not None and result.broken:
        at = keep / f"{bench.kind}-{seed.replace('/', '-')}"
        at.mkdir(parents=True, exist_ok=True)
        run("cp", "--sparse=always", folder / "left.img", at / "left.img")
        (at / "acknowledged.jsonl").write_text("".join(cut.lines))
    return result


def _look(bench: Bench) -> list[Path]:
    """The exports on what the cut has left. (The filesystem replays its journal for it, as it would at the next boot.)"""
    bench.mount(bench.folder / "durable.img")
    try:
        return list((bench.folder / "mnt" / "scans").rglob("*.npz"))
    finally:
        bench.unmount()


def _recover(folder: Path, verify: list[str], result: Outcome) -> None:
    command = [sys.executable, __file__, "recover", str(folder), *verify]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode or done.stderr:
        result.other += 1
        result.said.append(f"recovery failed: {done.stderr[-3000:]}")
    result.said += [f"recovered {line}" for line in done.stdout.splitlines()]


# -- the program -------------------------------------------------------------------------------------------------------


def why_not() -> str | None:
    """Why no power can be cut here at all; None where it can."""
    if sys.platform != "linux":
        return "not Linux"
    if os.geteuid() != 0:
        return "not root"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            return f"no {device}"
        try:
            os.close(os.open(device, os.O_RDWR))
        except OSError as error:
            return f"{device}: {error.strerror}"
    for program in ("mount", "umount", "findmnt"):
        if shutil.which(program) is None:
            return f"no {program}"
    try:
        _call("unshare", _CLONE_NEWNS)
        mount("none", Path("/"), "", flags=_MS_REC | _MS_PRIVATE)
    except OSError as error:
        return f"no mount namespace of its own: {error.strerror}"
    return None


def why_not_this(kind: str, folder: Path) -> str | None:
    """Why not this filesystem; None where one of it can be made, mounted through the recording disk, and unmounted."""
    program = FILESYSTEMS[kind][0][0]
    if shutil.which(program) is None:
        return f"no {program}: {'apt-get install xfsprogs btrfs-progs' if kind != 'ext4' else 'install e2fsprogs'}"
    try:
        bench = Bench(folder, kind, 0, None)
        try:
            run("cp", "--sparse=always", bench.new, folder / "seen.img")
            run("cp", "--sparse=always", bench.new, folder / "durable.img")
            with Child("serve", folder, log=folder / "disk.log") as disk:
                disk.answers(DEADLINE_S)
                bench.mount(folder / "disk")
                bench.unmount()
        finally:
            bench.close()
            shutil.rmtree(folder, ignore_errors=True)
    except (RuntimeError, OSError) as error:
        return str(error)
    return None


def environment() -> str:
    import lys_storage

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    where = Path(lys_storage.__file__).parents[1]
    commit = subprocess.run(
        ["git", "-C", str(where), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    tools = [f"Linux {platform.release()}", platform.python_implementation() + " " + platform.python_version()]
    tools += [f"numpy {np.__version__}", f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    return f"{', '.join(tools)}; lys_storage {commit.stdout.strip() or '(no git)'} in {where}"


@contextlib.contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """A folder for the images: below `folder`, or a file system in memory of our own. It goes whatever happens."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="power_cut.", dir=folder))
    try:
        if folder is None:
            mount("power_cut", made, "tmpfs", "size=80%,mode=700")
        yield made
    finally:
        if folder is None:
            unmount(made)
        shutil.rmtree(made, ignore_errors=True)


def _first_lines(text: str, limit: int = 20) -> str:
    lines = text.splitlines()
    return "\n".join([*lines[:limit], *([f"  and {len(lines) - limit} lines more"] if len(lines) > limit else [])])


def table_of(results: dict[str, Outcome], left_out: dict[str, str]) -> Table:
    table = Table(
        caption="frames: acknowledged before the cut, promised by a flush that had ended; lost: promised, and not there; passed "
        "off: said to be data, and none; oldest gone: of those that were not promised yet, its age at the cut in s",
        caption_justify="left",
    )
    columns: dict[str, Callable[[Outcome], object]] = {
        "cuts": lambda r: r.cuts,
        "again in recovery": lambda r: r.twice,
        "not mounted": lambda r: r.not_mounted,
        "scans": lambda r: r.scans,
        "saved before": lambda r: r.saved,
        "flushes": lambda r: f"{r.flushes:,}",
        "frames acked": lambda r: f"{r.acknowledged:,}",
        "frames promised": lambda r: f"{r.promised:,}",
        "frames lost": lambda r: r.lost,
        "passed off": lambda r: r.passed_off,
        "bad final files": lambda r: r.bad_files,
        "final files gone": lambda r: r.vanished,
        "other": lambda r: r.other,
        "oldest gone": lambda r: f"{r.oldest_lost_ns / 1e9:.2f}",
    }
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    total = Outcome()
    for kind, result in results.items():
        table.add_row(kind, *(str(value(result)) for value in columns.values()))
        total.add(result)
    if len(results) > 1:
        table.add_row("all", *(str(value(total)) for value in columns.values()), style="bold")
    for kind, reason in left_out.items():
        table.add_row(kind, f"not measured: {reason}")
    return table


@click.group(help=HELP, invoke_without_command=True)
@click.option("--cuts", default=300, show_default=True, help="How many, over all filesystems.")
@click.option(
    "--fs", "kinds", multiple=True, type=click.Choice(list(FILESYSTEMS)), help="May be repeated.  [all three]"
)
@click.option("--seed", default=0, show_default=True, help="Moments, scans, and what is kept follow from it.")
@click.option("--cut", "only", type=int, help="Only the cut of this number, of the run with this seed.")
@click.option("--size-mb", default=320, show_default=True, help="Size of the disk (xfs takes none below 304).")
@click.option("--sector", type=int, help="What a disk writes whole, bytes.  [512; btrfs 4096]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Where the images lie.  [in memory]")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep the disks of cuts that broke a promise in this folder."
)
@click.option("--log", "log_path", type=click.Path(path_type=Path), help="Write what was chosen and found at each cut.")
@click.pass_context
def main(
    context: click.Context,
    cuts: int,
    kinds: tuple[str, ...],
    seed: int,
    only: int | None,
    size_mb: int,
    sector: int | None,
    folder: Path | None,
    keep: Path | None,
    log_path: Path | None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(environment(), highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where mkfs is, and not every shell looks
    keep, log_path = keep and keep.absolute(), log_path and log_path.absolute()
    reason = why_not()
    if reason is not None:
        console.print(f"not measured: {reason}")
        sys.exit(2)
    results: dict[str, Outcome] = {}
    left_out: dict[str, str] = {}
    with _workplace(folder) as work, contextlib.ExitStack() as stack:
        for kind in kinds or FILESYSTEMS:
            why = why_not_this(kind, work / "try")
            if why is not None:
                left_out[kind] = why
                console.print(f"{kind}: not measured: {why}", soft_wrap=True)
        usable = [kind for kind in kinds or FILESYSTEMS if kind not in left_out]
        if not usable:
            sys.exit(2)
        benches = {kind: Bench(work / kind, kind, size_mb, sector) for kind in usable}
        for bench in benches.values():
            stack.callback(bench.close)
        log = stack.enter_context(open(log_path, "w")) if log_path else None
        progress = stack.enter_context(Progress(console=console, transient=True))
        task = progress.add_task("cutting", total=cuts if only is None else 1)
        for number in range(cuts) if only is None else [only]:
            kind = usable[number % len(usable)]
            result = cut_once(benches[kind], f"{seed}/{number}", keep)
            results.setdefault(kind, Outcome()).add(result)
            broken = sum(r.broken for r in results.values())
            progress.update(task, advance=1, description=f"{kind}, {broken} broken")
            text = "\n  ".join([f"{kind} {result.said[0]}", *result.said[1:]]) + "\n"
            if log is not None:
                log.write(text)
                log.flush()
            if result.broken or result.not_mounted:
                console.print(_first_lines(text), style="red", highlight=False, soft_wrap=True, markup=False)
            elif not console.is_terminal and (number + 1) % 50 == 0:
                console.print(f"{number + 1} cuts, {broken} promises broken")
    console.print(table_of(results, left_out))
    sys.exit(1 if any(result.broken for result in results.values()) else 0)


@main.command("serve", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
def _serve_command(folder: Path) -> None:
    serve(folder)


@main.command("write", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("seed")
@click.argument("budget", type=int)
def _write_command(folder: Path, seed: str, budget: int) -> None:
    write_scans(folder, seed, budget)


@main.command("recover", hidden=True)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True)
def _recover_command(folder: Path, verify: bool) -> None:
    recover_all(folder, verify)


if __name__ == "__main__":
    main()
