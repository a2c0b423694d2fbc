"""The fill value where frames never came."""

from __future__ import annotations

from ..callbacks import Progress
from ..journal import WRITING
from ..store import ScanStore

_FILL_CHUNK = 1 << 22
_HOLE_MIN = 1 << 20


def fill_missing(store: ScanStore, frames: int, on_progress: Progress | None = None) -> None:
    """Put the fill value where frames never came. Zeros cost nothing: what has not been written reads as zeros.

    A frame whose first write was cut off has bytes of it in the file; these go too.
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
