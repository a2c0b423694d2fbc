"""The state of a storage, which can only be read: the running scan, those that are being saved, the latest export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..export import FinalizeReport
from .acquisition import is_detector_dtype
from .binding import is_deleted
from .save_thread import SaveThread
from .saves import Saves
from .settings import Settings


class State(Settings):
    """The read-only properties of `DataStorage`. They return at once, in any thread, while a scan is saved and afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._save_thread = SaveThread()
        self._saves = Saves(self._save_thread)
        self._report: FinalizeReport | None = None

    @property
    def saving(self) -> bool:
        """True from a reservation until the last file is in place, also while a complete scan waits for `save(axes)`."""
        return self._saves.active

    @property
    def array(self) -> np.memmap[Any, Any] | None:
        """The running scan as a read-only map, or None. Frames that are not `written` are zeros."""
        acquisition = self._saves.running
        return None if acquisition is None else acquisition.array

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Which frames of the running scan have been written (bool, of the grid's shape), or None."""
        acquisition = self._saves.running
        return None if acquisition is None else acquisition.written

    @property
    def report(self) -> FinalizeReport | None:
        """The latest export: path, size, frames, seconds with and without sync. None before the first export."""
        return self._report

    @property
    def _arr(self) -> np.memmap[Any, Any] | None:
        return self.array

    @property
    def _paths(self) -> list[str]:
        """The files that are reserved, for lys_instr's panel."""
        acquisition = self._saves.running
        return [] if acquisition is None else [acquisition.path]

    @property
    def _threads(self) -> list[str]:
        """The files that are being saved, for lys_instr's panel."""
        return self._saves.paths

    def __repr__(self) -> str:
        """What the next scan will be, and the state of the running one. It reads nothing from the disk, and never raises."""
        try:
            return f"<{type(self).__name__}: {'; '.join(self._facts())}>"
        except Exception as error:
            return f"<{type(self).__name__}: its state cannot be read ({type(error).__name__})>"

    def _facts(self) -> Iterator[str]:
        if is_deleted(self):
            yield "deleted by Qt"
        elif self._saves.closed:
            yield "closed"
        elif not self._enabled:
            yield "not enabled, stores nothing"
        else:
            folder, stem = self._folder_and_stem()
            dtype = "the dtype of its first frame" if is_detector_dtype(self._dtype) else str(self.dtype)
            yield f'next scan "{folder / stem}{"_<number>" if self._numbered else ""}.npz", {dtype}'
        running = self._saves.running
        if running is not None and running.scan is not None:
            scan = running.scan
            waits = ", waits for save(axes)" if running.awaits_axes else ""
            frames = f"{scan.frames_written} of {scan.frames_expected} frames"
            yield f'running "{running.path}", shape {scan.shape}, {frames}{waits}'
        for path in self._saves.paths:
            yield f'saving "{path}"'
