"""The seam to the accelerator `_hotpath.c`: the state of the frame table that several threads share, in C or in Python.

Without the compiled part the behaviour is identical: nothing outside this module and the C file depends on which one is in
use, but for three methods that are None then. Two store one frame as FrameTable.write_one does, without the interpreter:

    write_fast(index, frame), write_item_fast({index: frame}) -> NOT_STORED, STORED or STORED_WAKE

NOT_STORED: no side effects; use the general path. Returned when the frame or the index is not eligible for the fast path, the
frame has arrived before, another write is in flight, the scan accepts no frames, or the system refused the write (the general
path meets the error again). STORED_WAKE: stored, and the background threads want to know (`wake_at_bytes`), or it was the
last frame. The third takes checksums:

    checksum_run(first, stop, state, crc32's address, offset, size, table, buffer) -> True, False or bytes

True: the states of the run went from WRITTEN by way of CHECKSUMMING to `state`, and the CRC-32 of its units of `size` bytes
from `offset` on are in `table`. False: they are not all WRITTEN, and nothing was done. Bytes: they are CHECKSUMMING, and these
are the checksums, but one frame was touched meanwhile; fewer checksums where the next unit could not be read.

The compiled part is not used where the environment says LYS_STORAGE_PURE=1, nor where it was not built. It takes CPython with
its lock, 64 bits, and a system with pwrite.
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
    """What the threads of one scan share. `lock` guards all of it; `changed` is its condition.

    `in_flight`: the spans that are being written; `aborted`: those that failed, see FrameTable.settle. `dirty`: a span that
    covers all frames without a checksum, but for those of FrameTable.dirty_backlog and `taken`; `dirty_bytes` of frames came
    since it was last taken. `wake_at_bytes`: from so many of them on the background threads want to know. `waiting`: how many
    threads wait for `changed`.
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

    def assign(self, values: dict[str, Any]) -> None:
        """Set attributes, all of them in one compiled call: no interrupt comes in between."""
        self.__dict__.update(values)

    write_fast: Callable[[Any, Any], int] | None = None
    write_item_fast: Callable[[Mapping[Any, Any]], int] | None = None
    checksum_run: Callable[..., bool | bytes] | None = None


ReadChecksums = Callable[[int, int, int, int, Any, Any, memoryview], int]
read_checksums: ReadChecksums | None = None
"""read_checksums(crc32's address, fd, offset, size, numbers, sums, buffer) -> how many: without the interpreter's lock."""

_WANTED = os.environ.get("LYS_STORAGE_PURE", "0") in ("", "0")
_FITS = hasattr(os, "pwrite") and sys.maxsize > 1 << 32 and sys.implementation.name == "cpython"
_HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()  # the C code counts on the interpreter's lock

if not TYPE_CHECKING and _WANTED and _FITS and _HAS_GIL:
    try:
        _hotpath = importlib.import_module("._hotpath", __package__)
        TableState, read_checksums = _hotpath.TableState, _hotpath.read_checksums
    except ImportError:
        pass  # there was no compiler: Python does the same

COMPILED = TableState.write_fast is not None
