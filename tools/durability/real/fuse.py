"""Serves a `Disk` as a file over /dev/fuse: every write and every flush of the kernel passes through it.

It implements the kernel's FUSE protocol, version 7.31 (include/uapi/linux/fuse.h), and makes no choices.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import struct
import sys
from pathlib import Path

from tools.durability.real.processes import tell
from tools.durability.real.system import MiB, die_with_parent, mount
from tools.durability.real.write_cache import Disk, Write

_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTR = struct.Struct("<QII QQQQQQ IIIIIIIIII")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_RANGE = struct.Struct("<QQII")
_FALLOCATE = struct.Struct("<QQQII")
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC, _FLUSH, _INIT = 3, 4, 14, 15, 16, 18, 20, 25, 26
_FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET, _FALLOCATE_OP = 2, 36, 38, 42, 43
_MAX_PAGES_FLAG, _BIG_WRITES_FLAG = 1 << 22, 1 << 5
_MAX_WRITE = 1 << 20


def answer(disk: Disk, opcode: int, body: memoryview) -> bytes | int | None:
    """The reply to one request: its bytes, an errno, or None if the request has no reply."""
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
            return errno.EOPNOTSUPP
        for at in range(offset, offset + size, MiB):
            disk.write(Write(at, min(MiB, offset + size - at), None))
        return b""
    if opcode in (_FLUSH, _RELEASE, _DESTROY):
        return b""
    if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
        return None
    return errno.ENOSYS


def serve(folder: Path) -> None:
    """Serve the disk at `folder`/disk until stdin ends. The parent sends orders on stdin, one JSON object per line."""
    die_with_parent()
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    mount("power_cut", folder / "disk", "fuse", f"fd={fuse},rootmode=100000,user_id=0,group_id=0")
    disk = Disk(folder)
    buffer = bytearray(_MAX_WRITE + 8192)
    tell({"mounted": True})
    told = False
    while True:
        ready, _, _ = select.select([fuse, 0], [], [])
        if 0 in ready and not _obey(disk):
            return
        if fuse in ready:
            _serve_one(disk, fuse, buffer)
        if disk.stopped_ns is not None and not told:
            told = True
            tell({"stopped_ns": disk.stopped_ns, "pending": len(disk.pending)})


def _serve_one(disk: Disk, fuse: int, buffer: bytearray) -> None:
    try:
        size = os.readv(fuse, [buffer])
    except OSError:
        return  # the request was withdrawn, or the mount is gone
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
        tell(disk.cut(order["cut"], order["sector"]))
    return True
