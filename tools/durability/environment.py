"""The versions, the machine and the filesystem that a tool prints before its results.

A missing program or file that only describes the machine is no error.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import numpy as np

import lys_storage


def versions() -> str:
    where = Path(lys_storage.__file__).parent
    return f"lys_storage at {where}, Python {platform.python_version()}, numpy {np.__version__}, Linux {platform.release()}"


def filesystem_of(folder: Path) -> str:
    """The type of the filesystem that holds `folder`; "?" if /proc/mounts does not say."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "?"
    under = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
    return max(under, key=lambda m: len(m[1]))[2] if under else "?"


def commit_of(folder: Path) -> str:
    """The commit that is checked out in `folder`; "(no git)" if git is not installed or finds no commit."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "(no git)"
    return done.stdout.strip() or "(no git)"


def machine_and_commit() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    where = Path(lys_storage.__file__).parents[1]
    parts = [f"Linux {platform.release()}", f"{platform.python_implementation()} {platform.python_version()}"]
    parts += [f"numpy {np.__version__}", f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    return f"{', '.join(parts)}; lys_storage {commit_of(where)} in {where}"
