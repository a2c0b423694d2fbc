"""Writes the fill value of missing frames."""

from __future__ import annotations

from ..callbacks import Progress
from ..disk import rewrite_range
from ..journal import WRITING
from ..store import ScanStore

_FILL_CHUNK = 1 << 22
_HOLE_MIN = 1 << 20


def fill_missing(store: ScanStore, frames: int, on_progress: Progress | None = None) -> None:
    """Write the fill value of missing frames. A zero fill needs no I/O: bytes that were never written read as zeros.

    Bytes of a frame whose first write was interrupted are overwritten too. `on_progress(done, total)`: bytes.
    """
    description, states, size = store.description, store.journal.states, store.description.frame_bytes
    zero = not any(description.fill)
    total = sum(stop - first for first, stop in states.missing(frames)) * size
    pattern = memoryview(description.fill * max(1, min(_FILL_CHUNK, total) // len(description.fill)))
    done = 0
    for first, stop in states.missing(frames):
        begin, end = description.array_offset + first * size, description.array_offset + stop * size
        cut_off = bool((states.array[first:stop] == WRITING).any())
        hole = zero and (end - begin >= _HOLE_MIN or cut_off)
        if zero and (not hole or store.file.punch_hole(begin, end - begin)):
            done += end - begin
            continue
        if zero and not cut_off:
            done += end - begin
            continue
        for at in range(begin, end, len(pattern)):
            store.file.write_at(pattern[: end - at], at)
            done += min(len(pattern), end - at)
            if on_progress is not None:
                on_progress(done, total)
        if store.sync_has_failed:
            rewrite_range(store.file, begin, end - begin)
