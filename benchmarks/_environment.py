"""The environment of a run: the machine, the disk, and the versions of the packages. Linux."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import _memory
from benchmarks._candidates import PACKAGES

ROOM_USED = 0.6
_VM = Path("/proc/sys/vm")


def filesystem(folder: Path) -> str:
    """The type of the filesystem that `folder` is on, from the deepest mount point above it."""
    place, best, kind = str(folder.resolve()), "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, behind = line.partition(" - ")
        mount = fields.split()[4]
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, behind.split()[0]
    return kind


def dirty_limit_bytes() -> int:
    """The dirty bytes of the page cache at which writers must wait: vm.dirty_bytes, or dirty_ratio of available memory."""
    limit = int((_VM / "dirty_bytes").read_text())
    return limit or int((_VM / "dirty_ratio").read_text()) * _memory.available() // 100


def room_bytes(folder: Path) -> int:
    """The bytes of free disk space that the benchmarks may use."""
    return int(ROOM_USED * shutil.disk_usage(folder).free)


def versions() -> dict[str, str | None]:
    """The version of each candidate's package; None if it is not installed."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def environment(folder: Path) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "memory_bytes": memory,
        "filesystem": filesystem(folder),
        "free_bytes": shutil.disk_usage(folder).free,
        "dirty_limit_bytes": dirty_limit_bytes(),
        "dirty": {name: int((_VM / name).read_text()) for name in ("dirty_ratio", "dirty_background_ratio")},
        "versions": versions(),
    }


def one_line(found: dict[str, Any]) -> str:
    """The environment as one line, the first of the output."""
    packages = ", ".join(f"{name} {number or 'not installed'}" for name, number in found["versions"].items())
    return (
        f"{found['system']}; Python {found['python']}; {found['cores']} cores, load {found['load']:.1f}; "
        f"{found['memory_bytes'] / 2**30:.1f} GiB; {found['filesystem']}, {found['free_bytes'] / 2**30:.0f} GiB free; "
        f"dirty limit {found['dirty_limit_bytes'] / 2**30:.1f} GiB "
        f"(ratios {found['dirty']['dirty_background_ratio']}/{found['dirty']['dirty_ratio']} %); {packages}"
    )
