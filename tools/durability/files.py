"""A folder as a value: read it, write it again, and compare exports before and after.

It ignores the lock file of the folder, which means nothing. That of a scan is kept.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lys_storage.disk import LOCK_NAME

Files = dict[str, bytes | str | None]
"""The content of a folder, by path with "/". None is a folder. Text is a hard link to the file of that name."""


def read_files(root: Path) -> Files:
    files: Files = {}
    first: dict[int, str] = {}
    for path in sorted(path for path in root.rglob("*") if path.name != LOCK_NAME):
        name, inode = path.relative_to(root).as_posix(), path.stat().st_ino
        if path.is_dir():
            files[name] = None
        else:
            files[name] = first[inode] if inode in first else path.read_bytes()
            first.setdefault(inode, name)
    return files


def write_files(root: Path, files: Files) -> None:
    root.mkdir()
    for name, content in files.items():
        path = root / name
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.hardlink_to(root / content)
        else:
            path.write_bytes(content)


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def digests_of_exports(folder: Path) -> dict[str, bytes]:
    """A digest of each .npz below `folder`, by path with "/"."""
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in sorted(folder.rglob("*.npz"))}
