"""How much memory this process can use for the page cache, without displacing what others need. Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes: MemAvailable of the machine, or what its memory cgroups leave to this process, if that is less.

    None if neither can be read.
    """
    return min([*_available_on_the_machine(), *_left_in_cgroups()], default=None)


def _available_on_the_machine() -> Iterator[int]:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass  # no /proc


def _left_in_cgroups() -> Iterator[int]:
    """Of each cgroup of this process: its limit, minus what is used and is not page cache. Both versions of cgroups."""
    for folder, limit_name, used in _cgroups():
        try:
            limit = int((folder / limit_name).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            yield max(0, limit - sum(int(stat.get(name, 0)) for name in used))
        except (OSError, ValueError):
            continue  # no limit ("max"), or not readable


def _cgroups() -> Iterator[tuple[Path, str, tuple[str, ...]]]:
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = _MOUNTED, ("memory.max", ("anon", "kernel"))
        elif "memory" in controllers.split(","):
            root, names = _MOUNTED / "memory", ("memory.limit_in_bytes", ("total_rss", "total_kernel_stack"))
        else:
            continue
        inner = Path(path.lstrip("/"))
        for part in (inner, *inner.parents):
            yield root / part, *names
