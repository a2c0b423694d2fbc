"""Reads frames of a scan in progress from its file. Never gives bytes of a missing frame.

The states are read before the bytes: a frame that is written in between is still treated as missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..disk import read_selection
from ..errors import MissingFrameError
from ..format import select, shown_index
from ..journal import TABLE_STEP, WRITTEN, FrameStates
from ..store import ScanStore

_ADVICE = "reading takes ints, slices and '...'; scan.array[index] takes masks and lists as well"


def read_frames(store: ScanStore, index: Any, *, fill: bool) -> np.ndarray[Any, Any]:
    """The part that `index` selects. Missing frames hold the fill value; without `fill` they raise MissingFrameError."""
    table = store.table
    while True:
        layout, states, file, d = table.layout, table.states, table.file, table.description
        if layout is table.layout:  # so the others belong to it: the layout changes in one step
            break
    selection = select(index, d.shape, _ADVICE)
    missing = []
    if 0 not in selection.shape:
        for place, first, count in selection.blocks(layout.grid):
            at = _first_missing(states, first, first + count)
            if at is None:
                continue
            if not fill:
                raise MissingFrameError(
                    f"index {shown_index(index)} needs frame {layout.grid.index_of(at)}, which has not been written "
                    f"({table.frames_written} of {table.frames} frames have). scan.read(index) gives the fill value for it; "
                    "scan.written shows the frames that have been written"
                )
            missing.append((place, states.array[first : first + count] < WRITTEN))
    result = read_selection(file, d.array_offset, d.shape, d.dtype, selection)
    for place, absent in missing:
        block = result[(*place, ...)]
        block.reshape(len(absent), block.size // len(absent))[absent] = np.frombuffer(d.fill, d.dtype)[0]
    return result


def _first_missing(states: FrameStates, first: int, stop: int) -> int | None:
    if stop - first == 1:
        return None if states.is_data(first) else first
    for at in range(first, stop, TABLE_STEP):
        absent = states.array[at : min(at + TABLE_STEP, stop)] < WRITTEN
        if absent.any():
            return at + int(absent.argmax())
    return None
