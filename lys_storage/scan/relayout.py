"""A scan that is laid out anew: another grid, or, while nothing has come, another dtype."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from ..disk import File, ensure_free_space, remove_file, replace_file
from ..errors import ScanShapeError
from ..format import Description, layout_of, plan_data_member
from ..journal import ABSENT, WRITING, WRITTEN, Journal
from ..store import Checksummer, ScanStore
from .frame_input import check_fill

_STEP = 1 << 16


def refine_marks(old: Journal, new: Journal, file: File) -> None:
    """Carry marks over to a finer grid: every new frame has the mark of the old one that it is a part of.

    Checksums are taken anew, from the file: what was promised by the old ones is by these before they take their place.
    """
    new.epoch = old.epoch
    times = new.description.frames // old.description.frames
    for at in range(0, old.description.frames, _STEP):
        marks = np.minimum(old.mark_array[at : at + _STEP], WRITTEN)
        edges = [0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), len(marks)]
        for begin, stop in pairwise(edges):
            if marks[begin] != ABSENT:
                new.set_marks((at + begin) * times, (at + stop) * times, int(marks[begin]))
    Checksummer(file, new).take_checksums((0, new.description.frames))


def refine(part: ScanStore, depth: int) -> None:
    """Make `depth` dimensions the grid: a new journal, its checksums from the file, takes the old one's place."""
    part.file.refuse_unless_at_path()
    with part.held_still():
        part.flush()  # the redo file has its records by the old layout's epoch
        old = part.journal
        new = old.successor(replace(part.description, grid_ndim=depth), lambda j: refine_marks(old, j, part.file))
        new.take_place(old)
        part.go_on_with(new)  # first: a sync that fails must not leave us with a journal that has no name
        part.have_names()
        part.sync_names()


def change_dtype(part: ScanStore, dtype: np.dtype[Any], fill: Any) -> None:
    """Lay the scan out for `dtype`. Raises ScanShapeError where a frame has come.

    1. a new scan file and a new journal are written beside the old ones; its marks say that what is in the file is no
    data; 2. the journal takes its place; 3. the scan file takes its place: maps of the old one stay what they were;
    4. marks ABSENT.
    """
    with part.held_still():
        if part.frames_written:
            raise ScanShapeError("the dtype of a scan can change only before its first frame")
        old = part.description
        new = replace(old, dtype=dtype, fill=check_fill(fill, dtype))
        began = datetime.fromisoformat(old.started).timestamp()
        layout = plan_data_member(old.shape, dtype, began, frame_bytes=new.frame_bytes)
        new = replace(new, array_offset=layout.array_offset)
        ensure_free_space(part.path.parent, layout.array_size - layout_of(old).array_size, part.path)
        part.file.refuse_unless_at_path()
        beside = part.path.with_name(part.path.name + ".new")
        remove_file(beside)  # left by a crash in the middle of this; it never counted
        file = File.create(beside)
        try:
            file.try_lock()
            for at, head in layout.heads():
                file.write_at(head, at)
            file.set_size(layout.array_end)
            file.sync()  # under the scan's name, an empty file would be taken for one that was only just begun
            journal = part.journal.successor(new, lambda j: j.set_marks(0, j.description.frames, WRITING))
            journal.take_place(part.journal)
            try:
                replace_file(beside, part.path)
            except BaseException:
                _go_back_to(part, old, journal)
                raise
            file.path = part.path
            journal.set_marks(0, new.frames, ABSENT)
        except BaseException:
            file.close()
            remove_file(beside)
            raise
        part.go_on_with(journal, file)
        part.have_names()
        part.sync_names()


def _go_back_to(part: ScanStore, old: Description, journal: Journal) -> None:
    """`journal` has taken the place of the scan's, and the scan file is still the old one: so is its description."""
    try:
        back = journal.successor(old, lambda j: None)
        back.take_place(journal)
    except BaseException:
        part.refuse("another dtype could be given to its journal and not to its file; suspend() and resume it")
        raise
    finally:
        journal.close()
    part.go_on_with(back)
