"""The interface to the accelerator `_hotpath.pyx`: the state of the frame table that threads share, in Cython or in Python.

Without the accelerator the behaviour is identical, and three methods are None. Two of them store one frame, as
FrameTable.write_one does:

    write_fast(index, frame), write_item_fast({index: frame}) -> NOT_STORED, STORED or STORED_WAKE

NOT_STORED: no side effects; use the general path. Returned when the frame or the index is not eligible for the fast path, the
frame is already written, another write is in flight, the scan accepts no frames, or the write failed (the general path tries
again and raises the error). STORED_WAKE: stored; wake the background threads, as `wake_at_bytes` is reached or it was the last
frame. The third method computes checksums:

    checksum_run(first, stop, state, crc32's address, offset, size, table, buffer) -> True, False or bytes

True: the states of the run changed from WRITTEN through CHECKSUMMING to `state`, and `table` holds the CRC-32 of its units of
`size` bytes from `offset` on. False: not all are WRITTEN; nothing was changed. Bytes: the checksums, which are not stored; the
states are CHECKSUMMING. A frame was changed meanwhile, or the unit after the last of them could not be read.

The accelerator is not used if LYS_STORAGE_PURE=1 is set, or if it was not built. It needs CPython with the GIL, 64 bits, and a
system with pwrite.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..disk import File
from ..journal import Span

NOT_STORED, STORED, STORED_WAKE = range(3)


class TableState:
    """The state that the threads of one scan share. `lock` guards all of it; `changed` is its condition.

    `in_flight`: the spans that are being written. `aborted`: those that failed, see FrameTable.settle. `dirty`: a span that
    covers all frames without a checksum, except those of FrameTable.dirty_backlog and `taken`. `dirty_bytes`: bytes written
    since `dirty` was last taken. `wake_at_bytes`: wake the background threads at so many. `waiting`: how many threads wait for
    `changed`. `prepare_frames`: the first frame of each run of so many is written with zeros for the others, in Python;
    0: none is.
    """

    file: File
    state_bytes: Any
    accepting_layout: Any
    in_flight: list[Span]
    aborted: list[Span]
    dirty: Span
    lock: threading.Lock
    changed: threading.Condition
    array_offset: int
    frame_bytes: int
    frames: int
    frames_written = 0
    dirty_bytes = 0
    wake_at_bytes = 0
    waiting = 0
    prepare_frames = 0

    def assign(self, values: dict[str, Any]) -> None:
        """Set all these attributes in one compiled call: no interrupt can come in between."""
        self.__dict__.update(values)

    write_fast: Callable[[Any, Any], int] | None = None
    write_item_fast: Callable[[Mapping[Any, Any]], int] | None = None
    checksum_run: Callable[..., bool | bytes] | None = None


ReadChecksums = Callable[[int, int, int, int, Any, Any, memoryview], int]
read_checksums: ReadChecksums | None = None
"""read_checksums(crc32's address, fd, offset, size, numbers, sums, buffer) -> how many, computed without the GIL."""

_WANTED = os.environ.get("LYS_STORAGE_PURE", "0") in ("", "0")
_FITS = hasattr(os, "pwrite") and sys.maxsize > 1 << 32 and sys.implementation.name == "cpython"
_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()  # without it, it has not been tried

if not TYPE_CHECKING and _WANTED and _FITS and _HAS_GIL:
    try:
        _hotpath = importlib.import_module("._hotpath", __package__)
        TableState, read_checksums = _hotpath.TableState, _hotpath.read_checksums
    except ImportError:
        pass  # it was not built: the Python code does the same

COMPILED = TableState.write_fast is not None


def path_of_frames() -> str:
    """Which code stores frames, and why, for people: "compiled", or "Python" with the reason."""
    if COMPILED:
        return "compiled"
    if not _WANTED:
        return "Python; LYS_STORAGE_PURE is set"
    if not _FITS or not _HAS_GIL:
        return "Python; the compiled part does not support this Python or this system"
    return "Python; the compiled part was not built"
