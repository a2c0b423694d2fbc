"""Frames on their way out of a scan in progress: read from its file, and never a frame that has not come.

Which frames have come is asked before their bytes are read: what comes meanwhile is missing still.
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
    """What `index` names, with the fill value where no frame has come; without `fill`, MissingFrameError there."""
    table = store.table
    while True:
        layout, states, file, d = table.layout, table.states, table.file, table.description
        if layout is table.layout:  # the others are of it: a change of the layout is one step
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
                    f"index {shown_index(index)} needs frame {layout.grid.index_of(at)}, which has not come "
                    f"({table.frames_written} of {table.frames} frames have). scan.read(index) gives the fill value for it; "
                    "scan.written tells which frames have come"
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
