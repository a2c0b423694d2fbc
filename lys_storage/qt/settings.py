"""The properties of a storage: where its scans go, and how they are stored. A change applies to the next scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import free_number
from ..format import check_dtype, export_name, export_stem
from .acquisition import ScanOptions, is_detector_dtype
from .signals import StorageSignals


class Settings(StorageSignals):
    """The writable properties of `DataStorage`, and the file name that they make."""

    def __init__(self) -> None:
        super().__init__()
        self._base, self._folder, self._name = ".", "folder", "data"
        self._numbered = self._enabled = True
        self._dtype: Any = None
        self._flush_interval_s: float | None = 1.0
        self._partial = "fill"

    @property
    def base(self) -> str:
        """The folder that contains `folder`. Default "."."""
        return self._base

    @base.setter
    def base(self, value: str | os.PathLike[str]) -> None:
        self._base = os.fspath(value)
        self._emit("_folderChanged")

    @property
    def folder(self) -> str:
        """The folder of the data, below `base`. Default "folder"."""
        return self._folder

    @folder.setter
    def folder(self, value: str | os.PathLike[str]) -> None:
        self._folder = os.fspath(value)
        self._emit("_folderChanged")

    @property
    def name(self) -> str:
        """The name of the file, without number and ".npz". A "/" in it makes folders. Default "data"."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def numbered(self) -> bool:
        """Whether each scan gets its own number; if not, a file of the same name is replaced. Default True."""
        return self._numbered

    @numbered.setter
    def numbered(self, value: bool) -> None:
        self._numbered = bool(value)

    @property
    def enabled(self) -> bool:
        """Whether scans are stored; read when a scan is reserved. Default True."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = bool(value)

    @property
    def dtype(self) -> Any:
        """The dtype that scans are stored with: a numpy dtype (default float64), or "detector": that of the first frame."""
        return np.dtype(np.float64) if self._dtype is None else self._dtype

    @dtype.setter
    def dtype(self, value: Any) -> None:
        self._dtype = value if value is None or is_detector_dtype(value) else check_dtype(value)

    @property
    def flushInterval(self) -> float | None:
        """Seconds after which a frame survives a power cut (default 1; 0: at once; None: when the scan is saved)."""
        return self._flush_interval_s

    @flushInterval.setter
    def flushInterval(self, value: float | None) -> None:
        if value is not None and not value >= 0:
            raise ValueError(f"flushInterval {value!r} is no number of seconds")
        self._flush_interval_s = value

    @property
    def partial(self) -> str:
        """How an incomplete scan is saved: "fill" (default), or "trim": cut to the part of the grid that has frames."""
        return self._partial

    @partial.setter
    def partial(self, value: str) -> None:
        if value not in ("fill", "trim"):
            raise ValueError(f'partial is "fill" or "trim", not {value!r}')
        self._partial = value

    def _folder_and_stem(self) -> tuple[Path, str]:
        """The folder and the stem of the file that the properties name now."""
        whole = Path(self._base, self._folder, export_name(self._name))
        return whole.parent, export_stem(whole.name)

    def _scan_options(self, dtype: Any = None) -> ScanOptions:
        """The properties as they are now, for the next scan; `dtype` (None: the property) replaces the property `dtype`."""
        folder, stem = self._folder_and_stem()
        return ScanOptions(
            folder=folder,
            stem=stem,
            numbered=self._numbered,
            dtype=self._dtype if dtype is None else dtype,
            flush_interval_s=self._flush_interval_s,
            partial=self._partial,
        )

    def getNumber(self) -> int | None:
        """The smallest number that neither an export nor a scan in progress has, or None if not `numbered`.

        It claims nothing: another process can take the number first.
        """
        return free_number(*self._folder_and_stem()) if self._numbered else None
