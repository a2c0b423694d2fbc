"""Gives a file its final name in one step, and replaces no file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import NameTakenError, os_error
from ..format import part_path
from .folder import remove_file, replace_file
from .numbering import claim_path, give_up_claim
from .systems import NO_SUCH_CALL, SYSTEM

_NO_LINKS = NO_SUCH_CALL | {errno.EPERM}


def publish_new(old: Path, new: Path, *, claims: bool = False) -> None:
    """Rename `old` to `new` in one step. Raises NameTakenError if `new` exists: it is never replaced.

    Some file systems have neither a rename that replaces nothing, nor links: exFAT through FUSE, some network shares. There
    `new` is looked up, and then the rename follows, which would replace a file that another program makes in between. Scans
    never do that to each other: only the process that has claimed a name, by an exclusive create of its scan file, publishes
    under it. With `claims` this process has not, unless `old` is that scan file: it claims the name for the rename. A crash
    leaves `old` or `new`, and perhaps the empty scan file of that claim, which recovery removes, or names.
    """
    try:
        if SYSTEM.rename_new(old, new):
            return
        SYSTEM.link(old, new)
    except FileExistsError as error:
        if not _same_file(old, new):  # the same: an earlier call linked it, and failed to remove the old name
            raise NameTakenError(errno.EEXIST, "exists already", os.fspath(new)) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise os_error(f"publish as {new.name}", old, error) from error
        _look_up_and_rename(old, new, claims)
        return
    remove_file(old)


def _look_up_and_rename(old: Path, new: Path, claims: bool) -> None:
    claim = claim_path(new) if claims and old != part_path(new) else None
    try:
        if os.path.lexists(new):
            raise NameTakenError(errno.EEXIST, "exists already", os.fspath(new))
        replace_file(old, new)
    finally:
        if claim is not None:
            give_up_claim(claim)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return SYSTEM.place_of(a) == SYSTEM.place_of(b)
    except OSError:
        return False
