"""Axes and note of a scan in progress: kept in memory as they were given, and in the journal as lys stores them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..format import (
    Axes,
    check_axes,
    check_note,
    decode_axes,
    decode_note,
    encode_axes,
    encode_note,
    unreadable_keys,
    with_coordinates,
)
from ..store import ScanStore

log = logging.getLogger("lys_storage")


def warn_of_note(path: Path, note: Mapping[Any, Any], note_npy: bytes) -> None:
    """Log a warning that names the keys of `note` whose values are not plain data. `note_npy`: the stored note."""
    keys = unreadable_keys(note, note_npy)
    if keys:
        log.warning(
            "%s: note %s is not plain data (numbers, text, times, lists, dicts, numpy arrays): it is stored as a pickle, for "
            "lys; open_wave gives a text instead, or the object with allow_pickle=True",
            *(path, ", ".join(keys)),
        )


class ScanMetadata:
    """Called with the lifecycle lock held. `is_trusted`: this process made axes and note, so that their pickles are loaded."""

    def __init__(self, store: ScanStore, note: dict[Any, Any] | None, *, is_trusted: bool) -> None:
        self._store, self._is_trusted = store, is_trusted
        self._axes: Axes | None = None
        self._note = note

    @property
    def axes_are_read(self) -> bool:
        return self._axes is not None

    @property
    def note_is_read(self) -> bool:
        return self._note is not None

    def axes(self) -> list[np.ndarray[Any, Any]]:
        return with_coordinates(self.stored_axes(), self._store.description.shape)

    def stored_axes(self) -> Axes:
        """None stands for index coordinates."""
        if self._axes is None:
            self._axes = decode_axes(self._store.journal.read_metadata()[0], allow_pickle=self._is_trusted)
        return self._axes

    def check_axes(self, axes: Iterable[Any] | None) -> Axes:
        """Raises AxisLengthError."""
        return check_axes(axes, self._store.description.shape)

    def set_axes(self, checked: Axes) -> None:
        self._store.table.raise_if_between_layouts()
        # None first: an interrupt must not leave other axes in memory than in the journal.
        journal, self._axes = self._store.journal, None
        journal.write_metadata(encode_axes(checked, self._store.description.shape), journal.read_metadata()[1])
        self._axes = checked

    def note(self) -> dict[Any, Any]:
        if self._note is None:
            self._note = decode_note(self._store.journal.read_metadata()[1], allow_pickle=self._is_trusted)
        return self._note

    def set_note(self, note: Mapping[Any, Any] | None) -> None:
        self._store.table.raise_if_between_layouts()
        given = check_note(note)
        self._note = given if isinstance(given, dict) else dict(given)
        self.store_note()

    def store_note(self) -> None:
        """Write the note, if it was read or given, and has changed since it was stored."""
        if self._note is None:
            return
        axes, stored = self._store.journal.read_metadata()
        note = encode_note(self._note)
        if note != stored:
            warn_of_note(self._store.final_path, self._note, note)
            self._store.journal.write_metadata(axes, note)
