"""Changes of the layout of a scan: a finer grid, or, before the first frame, another dtype."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from ..disk import File, ensure_free_space, remove_file, replace_file
from ..errors import ScanShapeError
from ..format import Description, layout_of, plan_data_member, replacement_path
from ..journal import Journal
from ..store import Checksummer, FrameTable, ScanStore
from .frame_input import check_fill


def _refine_states(old: Journal, new: Journal, file: File) -> None:
    """Carry states over to a finer grid: every new frame has the state of the old one that it is a part of.

    Checksums are taken from the file: what the old ones vouch for, these do before their journal replaces the old one.
    """
    new.epoch = old.epoch
    new.states.refine_from(old.states)
    Checksummer(FrameTable(file, new)).checksum((0, new.description.frames))


def refine(store: ScanStore, depth: int) -> None:
    """Make `depth` dimensions the grid: a new journal, its checksums from the file, replaces the old one."""
    store.table.ensure_owns_path()
    with store.quiesced():
        store.flush()  # the records of the redo log are of the old layout's epoch
        old = store.journal
        description = replace(store.description, grid_ndim=depth)
        new = old.write_replacement(description, lambda journal: _refine_states(old, journal, store.file), store.file)
        new.replace(old)
        store.switch_journal(new)  # first: a sync that fails must not leave us with a journal that has no name
        store.sync_new_names()


def change_dtype(store: ScanStore, dtype: np.dtype[Any], fill: Any) -> None:
    """Change the layout to that of `dtype`. Raises ScanShapeError where a frame has come.

    1. a new scan file and a new journal are written beside the old ones; its states say that what is in the file is
    not data; 2. the journal takes its place; 3. the scan file takes its place: maps of the old one stay what they were;
    4. states ABSENT.
    """
    with store.quiesced():
        if store.frames_written:
            raise ScanShapeError("the dtype of a scan can change only before its first frame")
        old = store.description
        new = replace(old, dtype=dtype, fill=check_fill(fill, dtype))
        began = datetime.fromisoformat(old.started).timestamp()
        layout = plan_data_member(old.shape, dtype, began, frame_bytes=new.frame_bytes)
        new = replace(new, array_offset=layout.array_offset)
        ensure_free_space(store.path.parent, layout.array_size - layout_of(old).array_size, store.path)
        store.table.ensure_owns_path()
        beside = replacement_path(store.path)
        remove_file(beside)  # left by a crash in the middle of this; nothing was read from it
        file = File.create(beside)
        try:
            file.hold_folder()
            file.try_lock()
            for at, head in layout.heads():
                file.write_at(head, at)
            file.set_size(layout.array_end)
            file.sync()  # under the scan's name, an empty file would be taken for one that was only just begun
            journal = store.journal.write_replacement(new, lambda j: j.states.withhold_all(), file)
            journal.replace(store.journal)
            try:
                replace_file(beside, store.path)
            except BaseException:
                _go_back_to(store, old, journal)
                raise
            file.path = store.path
            journal.states.release_all()
        except BaseException:
            file.close()
            remove_file(beside)
            raise
        store.switch_journal(journal, file)
        store.sync_new_names()


def _go_back_to(store: ScanStore, old: Description, journal: Journal) -> None:
    """`journal` has taken the place of the scan's, and the scan file is still the old one: so is its description."""
    try:
        back = journal.write_replacement(old, lambda j: None, store.file)
        back.replace(journal)
    except BaseException:
        store.stop_accepting("another dtype could be given to its journal and not to its file; suspend() and resume it")
        raise
    finally:
        journal.close()
    store.switch_journal(back)
