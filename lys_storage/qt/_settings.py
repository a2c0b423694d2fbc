"""Where the scans of a storage go, and how they are stored: its properties. A change counts from the next scan on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lys_storage.disk import free_number
from lys_storage.format import check_dtype

from ._binding import QtCore


def is_detector(dtype: Any) -> bool:
    """Whether `dtype` stands for that of the first frame."""
    return isinstance(dtype, str) and dtype == "detector"


class Settings(QtCore.QObject):
    """The readable and writable properties of `DataStorage`, and the names that they make."""

    def __init__(self) -> None:
        super().__init__()
        self._base, self._folder, self._name = ".", "folder", "data"
        self._numbered = self._enabled = True
        self._dtype: Any = None
        self._flush_interval_s: float | None = 1.0
        self._partial = "fill"

    def _look_again(self) -> None:
        """The folder is another one."""

    @property
    def base(self) -> str:
        """The folder that everything goes to. Default "."."""
        return self._base

    @base.setter
    def base(self, value: str | os.PathLike[str]) -> None:
        self._base = os.fspath(value)
        self._look_again()

    @property
    def folder(self) -> str:
        """The folder of the data, below `base`. Default "folder"."""
        return self._folder

    @folder.setter
    def folder(self, value: str | os.PathLike[str]) -> None:
        self._folder = os.fspath(value)
        self._look_again()

    @property
    def name(self) -> str:
        """The name of the file, without number and ".npz"; a "/" in it makes folders. Default "data"."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name = value

    @property
    def numbered(self) -> bool:
        """Whether each scan gets a number of its own; where not, a file of the same name is replaced. Default True."""
        return self._numbered

    @numbered.setter
    def numbered(self, value: bool) -> None:
        self._numbered = bool(value)

    @property
    def enabled(self) -> bool:
        """Whether scans are stored; counts when they are reserved. Default True."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        self._enabled = bool(value)

    @property
    def dtype(self) -> Any:
        """The dtype that scans are stored with: a numpy dtype (default float64), or "detector" for the first frame's."""
        return np.dtype(np.float64) if self._dtype is None else self._dtype

    @dtype.setter
    def dtype(self, value: Any) -> None:
        self._dtype = value if value is None or is_detector(value) else check_dtype(value)

    @property
    def flushInterval(self) -> float | None:
        """Seconds after which a frame survives a power cut (default 1; 0: at once; None: when it is saved)."""
        return self._flush_interval_s

    @flushInterval.setter
    def flushInterval(self, value: float | None) -> None:
        if value is not None and not value >= 0:
            raise ValueError(f"flushInterval {value!r} is no number of seconds")
        self._flush_interval_s = value

    @property
    def partial(self) -> str:
        """What becomes of a scan that is not complete: "fill" (default), or "trim": cut to the part that has frames."""
        return self._partial

    @partial.setter
    def partial(self, value: str) -> None:
        if value not in ("fill", "trim"):
            raise ValueError(f'partial is "fill" or "trim", not {value!r}')
        self._partial = value

    def _place(self) -> tuple[Path, str]:
        """The folder and the stem that the properties name now."""
        whole = Path(self._base, self._folder, self._name + ".npz")
        return whole.parent, whole.name.removesuffix(".npz")

    def getNumber(self) -> int | None:
        """The smallest number that neither an export nor a scan in progress has; None where not `numbered`.

        It asks, and changes nothing on disk.
        """
        return free_number(*self._place()) if self._numbered else None
