"""What a scan in progress counts, which several threads share: in Python here, in C where that was built.

The compiled State has methods more: two store a frame as Part.put_frame does, without the interpreter:

    put_one(index, frame), put_only({index: frame}) -> NOT_STORED, STORED or TELL

NOT_STORED: nothing was done, and the long way is to be gone: the frame or the index is not of the plain kind, its frame is
there already, somebody else is writing, the scan takes no frames, or the system refused, which the long way meets again.
TELL: it was stored, and the follower wants to know (`tell_at`), or it was the last one. And one that takes checksums:

    check_run(first, stop, mark, crc32's address, offset, size, table, buffer) -> True, False or bytes

The marks of the run go from WRITTEN by way of CHECKING to `mark`, and the CRC-32 of its units of `size` bytes from `offset`
on into `table`: True. False: they are not all WRITTEN, and nothing was done. Bytes: they are CHECKING, and these are the
checksums, but one of them was touched meanwhile; fewer of them, where the next could not be read. It is not used where
the environment says LYS_STORAGE_PURE=1, nor where it was not built; CPython with its lock, 64 bits, and a pwrite only.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..disk import File

NOT_STORED, STORED, STORED_WAKE = range(3)
Span = tuple[int, int]
"""(first, stop) of frame numbers."""


class TableState:
    """`in_flight`: the spans that are being written. `fresh`: a span that has all frames without a checksum, but those that
    came earlier (`older`), of `fresh_bytes` that came since the last check. `tell_at`: from so many of them on the follower is
    to be told."""

    file: File
    marks: Any
    open_form: Any
    in_flight: list[Span]
    fresh: Span
    _lock: threading.Lock
    changed: threading.Condition
    array_offset: int
    frame_bytes: int
    frames: int
    frames_written = 0
    fresh_bytes = 0
    tell_at = 0
    _waiting = 0

    put_one: Callable[[Any, Any], int] | None = None
    put_only: Callable[[Mapping[Any, Any]], int] | None = None
    check_run: Callable[..., bool | bytes] | None = None


ReadSums = Callable[[int, int, int, int, Any, memoryview], int]
read_sums: ReadSums | None = None
_WANTED = os.environ.get("LYS_STORAGE_PURE", "0") in ("", "0")
_FITS = hasattr(os, "pwrite") and sys.maxsize > 1 << 32 and sys.implementation.name == "cpython"
_ONE_AT_A_TIME = getattr(sys, "_is_gil_enabled", lambda: True)()  # it counts on the interpreter's lock


if not TYPE_CHECKING and _WANTED and _FITS and _ONE_AT_A_TIME:
    try:
        _hotpath = importlib.import_module("._hotpath", __package__)
        TableState, read_sums = _hotpath.State, _hotpath.checksums
    except ImportError:
        pass  # there was no compiler: Python does the same


COMPILED = TableState.put_one is not None
