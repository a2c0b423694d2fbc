"""Changes the layout of a scan: a finer grid, or, before the first frame, another dtype."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from ..disk import File, ensure_fits, ensure_free_space, remove_file
from ..errors import ScanShapeError
from ..format import layout_of, plan_data_member, replacement_path, scan_heads, tail_reserve
from ..journal import Journal
from ..store import Checksummer, FrameTable, ScanStore
from .frame_input import check_fill
from .space import set_size_of_scan


def _refine_states(old: Journal, new: Journal, file: File) -> None:
    """Copy states to a finer grid: every new frame gets the state of the old one that it is a part of.

    The new checksums are taken from the file, before the new journal replaces the old one: no data are without a checksum
    that had one.
    """
    new.epoch = old.epoch
    new.states.refine_from(old.states)
    new.durable_frames = new.states.count_written()
    Checksummer(FrameTable(file, new)).checksum((0, new.description.frames))


def refine(store: ScanStore, depth: int) -> None:
    """Make the first `depth` dimensions the grid: a new journal, with checksums from the file, replaces the old one."""
    store.table.ensure_owns_path()
    try:
        with store.layout_lock:
            store.quiesce()
            store.flush()  # the records of the redo log are of the old layout's epoch
            old = store.journal
            description = replace(store.description, grid_ndim=depth)
            new = old.write_replacement(
                description, lambda journal: _refine_states(old, journal, store.file), store.file
            )
            store.switch_journal(new)
            store.sync_new_names()
    finally:
        store.table.accept()


def change_dtype(store: ScanStore, dtype: np.dtype[Any], fill: Any) -> None:
    """Change the layout to that of `dtype`. Raises ScanShapeError if a frame was written.

    1. a new scan file and a new journal are written beside the old ones; its states mark the bytes of
    the file as no data; 2. the journal replaces the old one; 3. the scan file replaces the old one, whose maps stay valid;
    4. states ABSENT.
    """
    try:
        with store.layout_lock:
            store.quiesce()
            if store.frames_written:
                raise ScanShapeError(
                    "the scan has frames: its dtype can change only before its first frame; create another scan"
                )
            _change_dtype(store, dtype, check_fill(fill, dtype))
    finally:
        store.table.accept()


def _change_dtype(store: ScanStore, dtype: np.dtype[Any], fill: bytes) -> None:
    old = store.description
    new = replace(old, dtype=dtype, fill=fill)
    began = datetime.fromisoformat(old.started).timestamp()
    layout = plan_data_member(old.shape, dtype, began, frame_bytes=new.frame_bytes, hdf5=old.hdf5)
    new = replace(new, array_offset=layout.array_offset)
    reserve = tail_reserve(new.frames)
    ensure_fits(store.path, layout.array_end + reserve)
    ensure_free_space(store.path.parent, layout.array_size - layout_of(old).array_size, store.path)
    store.table.ensure_owns_path()
    beside = replacement_path(store.path)
    remove_file(beside)  # left by a crash during this; it holds no data
    file = File.create(beside)
    try:
        file.hold_folder()
        for at, head in scan_heads(new, layout):
            file.write_at(head, at)
        set_size_of_scan(file, layout.array_end, reserve)
        file.sync()  # an empty file with the scan's name would look like a scan that was only just created
        journal = store.journal.write_replacement(new, lambda j: j.states.withhold_all(), file)
        store.switch_journal(journal, file)
    except BaseException:
        if store.file is not file and store.table.successor is None:
            file.close()
            remove_file(beside)
        raise
    store.sync_new_names()
