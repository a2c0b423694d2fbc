"""A disk of terabytes that occupies a few megabytes: XFS (or ext4) in a sparse image on a loop device. Linux, as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_MKFS = (
    ("mkfs.xfs", "-q", "-f", "-K"),
    ("mkfs.ext4", "-q", "-F", "-m", "0", "-T", "largefile4", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"),
)


class NoSparseDisk(Exception):  # noqa: N818  a reason, not an error
    """Why this machine cannot make a sparse disk."""


def _sh(*command: str | Path) -> None:
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        raise NoSparseDisk(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise NoSparseDisk(f"{Path(command[0]).name}: {done.stderr.strip() or done.returncode}")


@contextlib.contextmanager
def sparse_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A mounted filesystem of `size_bytes` below `folder`, until the end of the block. Raises NoSparseDisk."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise NoSparseDisk("mounting an image needs root")
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # mkfs is there, and not every shell has them on its PATH
    found = [(path, *options) for name, *options in _MKFS if (path := shutil.which(name, path=search))]
    if not found:
        raise NoSparseDisk("neither mkfs.xfs nor mkfs.ext4 is installed")
    image, disk = folder / "sparse.image", folder / "sparse"
    disk.mkdir(parents=True)
    try:
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        _sh(*found[0], image)
        _sh("mount", "-o", "loop", image, disk)
        try:
            yield disk
        finally:
            _sh("umount", disk)
    finally:
        image.unlink(missing_ok=True)
        disk.rmdir()
