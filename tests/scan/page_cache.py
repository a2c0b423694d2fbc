"""How many pages of a file are in the page cache: cachestat(2), Linux 6.5."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

_CACHESTAT = 451
_PAGE = 4096


class Cached(NamedTuple):
    """Bytes: `all` that are in the page cache, `dirty` of them not yet written back."""

    all: int
    dirty: int


def cached(path: Path) -> Cached:
    """Skips the test on a system that does not tell."""
    span, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    fd = os.open(path, os.O_RDONLY)
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
        if call(_CACHESTAT, fd, span, found, 0):
            assert ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
            pytest.skip("cachestat(2) is not there: the page cache cannot be looked at")
    finally:
        os.close(fd)
    return Cached(found[0] * _PAGE, (found[1] + found[2]) * _PAGE)
