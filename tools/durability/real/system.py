"""System calls and programs of Linux: mount, mount namespaces, sync_file_range.

After `enter_own_mounts`, no other process sees its mounts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
MiB = 1 << 20
_MS_REC, _MS_PRIVATE, _CLONE_NEWNS, _MNT_DETACH, _PR_SET_PDEATHSIG = 0x4000, 1 << 18, 0x20000, 2, 1
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def mount(source: str, target: Path, kind: str, options: str = "", flags: int = 0) -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), flags, options.encode())


def unmount(target: Path) -> None:
    """Detach the mount on `target`, if there is one."""
    with contextlib.suppress(OSError):
        _call("umount2", os.fsencode(target), _MNT_DETACH)


def enter_own_mounts() -> None:
    """Enter a new mount namespace: only this process and its children see later mounts, which end with them."""
    _call("unshare", _CLONE_NEWNS)
    mount("none", Path("/"), "", flags=_MS_REC | _MS_PRIVATE)


def die_with_parent() -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def begin_write_back(fd: int, offset: int, size: int) -> None:
    """Let the kernel send dirty pages to the disk, without a flush."""
    assert _libc is not None
    _libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def run(*command: str | Path) -> str:
    """Run a program, and return its output. Raises RuntimeError with its message if it fails or does not exist."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=DEADLINE_S)
    except FileNotFoundError as error:
        raise RuntimeError(f"no {command[0]}") from error
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def copy_image(image: Path, copy: Path) -> None:
    run("cp", "--sparse=always", image, copy)


def why_not() -> str | None:
    """Why no cut is possible on this machine; None if it is. Then this process has entered its own mount namespace."""
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
    for program in ("mount", "umount", "findmnt", "cp", "sync"):
        if shutil.which(program) is None:
            return f"no {program}"
    try:
        enter_own_mounts()
    except OSError as error:
        return f"cannot create a mount namespace: {error.strerror}"
    return None
