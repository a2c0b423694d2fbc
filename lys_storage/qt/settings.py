"""The writable properties of a storage: the path of a scan, and how it is stored. A change applies to the next scan."""

from __future__ import annotations

import os
import threading
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import free_number, user_path
from ..format import check_dtype, export_name, export_stem
from .acquisition import ScanOptions, is_detector_dtype
from .signals import StorageSignals


def _check_path(name: str, value: Any) -> str:
    """`value` as text that a file system accepts as a part of a path. `name`: of the property."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}: give text or a pathlib.Path")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} {text!r} cannot be encoded as a file name: {error.reason}; give another one"
        ) from None
    if b"\0" in encoded:
        raise ValueError(f"{name} {text!r} contains a null character, which no file system accepts: remove it")
    return str(text)


def _check_bool(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}: give True or False")
    return bool(value)


def _check_bytes(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}, of type {type(value).__name__}: give a whole number of bytes, or None")
    if value < 0:
        raise ValueError(f"{name} is {value!r}, expected a number of bytes from 0 on, or None")
    return int(value)


class Settings(StorageSignals):
    """The writable properties of `DataStorage`, and the file name that they make.

    A value of a wrong type is refused when it is set. An empty name, and one that the file system refuses, are refused when a
    scan is reserved: a text field may set them while it is edited.
    """

    def __init__(self) -> None:
        super().__init__()
        self._base, self._folder, self._name = ".", "folder", "data"
        self._numbered = self._enabled = True
        self._dtype: Any = None
        self._flush_interval_s: float | None = 1.0
        self._incomplete = "fill"
        self._burst_bytes: int | None = None
        self._cached_bytes: int | None = None

    @property
    def base(self) -> str:
        """The folder that contains `folder`. A leading `~` is the home folder. Default "."."""
        return self._base

    @base.setter
    def base(self, value: str | os.PathLike[str]) -> None:
        self._base = _check_path("base", value)
        self._emit("_folderChanged")

    @property
    def folder(self) -> str:
        """The folder of the data, below `base`. Default "folder"."""
        return self._folder

    @folder.setter
    def folder(self, value: str | os.PathLike[str]) -> None:
        self._folder = _check_path("folder", value)
        self._emit("_folderChanged")

    @property
    def name(self) -> str:
        """The name of the file, without number and ".npz". A "/" in it makes folders. Default "data"."""
        return self._name

    @name.setter
    def name(self, value: str | os.PathLike[str]) -> None:
        self._name = _check_path("name", value)

    @property
    def numbered(self) -> bool:
        """Whether each scan gets its own number; if not, a file of the same name is replaced. Default True."""
        return self._numbered

    @numbered.setter
    def numbered(self, value: bool) -> None:
        self._numbered = _check_bool("numbered", value)

    @property
    def enabled(self) -> bool:
        """Whether scans are stored; read when a scan is reserved. Default True."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = _check_bool("enabled", value)

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
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"flushInterval is {value!r}, of type {type(value).__name__}: give seconds, or None")
            if not 0 <= value <= threading.TIMEOUT_MAX:
                raise ValueError(f"flushInterval is {value!r}, expected a number of seconds from 0 on, or None")
            value = float(value)
        self._flush_interval_s = value

    @property
    def incomplete(self) -> str:
        """How an incomplete scan is saved: "fill" (default), or "trim": cut to the part of the grid that has frames."""
        return self._incomplete

    @incomplete.setter
    def incomplete(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(f'incomplete is {value!r}, of type {type(value).__name__}: give "fill" or "trim"')
        if value not in ("fill", "trim"):
            raise ValueError(f'incomplete is "fill" or "trim", not {value!r}')
        self._incomplete = value

    @property
    def burstBytes(self) -> int | None:
        """How many bytes the detector may be ahead of the disk (Linux). None (default): as in create."""
        return self._burst_bytes

    @burstBytes.setter
    def burstBytes(self, value: int | None) -> None:
        self._burst_bytes = _check_bytes("burstBytes", value)

    @property
    def cachedBytes(self) -> int | None:
        """How many bytes of the newest frames stay in memory, for a live view (Linux). None (default): as in create."""
        return self._cached_bytes

    @cachedBytes.setter
    def cachedBytes(self, value: int | None) -> None:
        self._cached_bytes = _check_bytes("cachedBytes", value)

    @property
    def _data_folder(self) -> Path:
        """`folder` below `base`."""
        return user_path(self._base) / self._folder

    def _folder_and_stem(self) -> tuple[Path, str]:
        """The folder and the stem of the file that the properties name now."""
        whole = self._data_folder / export_name(self._name)
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
            incomplete=self._incomplete,
            burst_bytes=self._burst_bytes,
            cached_bytes=self._cached_bytes,
        )

    def getNumber(self) -> int | None:
        """The smallest number that neither an export nor a scan in progress has, or None if not `numbered`.

        The number is not claimed: another process may claim it first.
        """
        return free_number(*self._folder_and_stem()) if self._numbered else None
