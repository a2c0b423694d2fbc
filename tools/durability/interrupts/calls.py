"""The public calls that the storm interrupts: for each, its preparation and the call.

`Trial.put` writes the cells of a scan, and records in the ledger each begun and each acknowledged write.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.disk import File
from tools.durability.files import digest
from tools.durability.frames import make_frame
from tools.durability.internals import begin_scan
from tools.durability.ledger import Ledger

ROWS, COLUMNS, ELEMENTS = 3, 4, 32
NAME = "x.npz"
DTYPE, OTHER_DTYPE = np.dtype("<u2"), np.dtype("<f4")
FILL = 0xABCD


@dataclass
class Trial:
    """One scan in a folder of its own, up to the interrupt."""

    folder: Path
    ledger: Ledger = field(default_factory=Ledger.of_killed_process)
    scan: lys_storage.Scan | None = None
    is_required: bool = True
    """Whether an export must exist at the end."""
    earlier: set[bytes] = field(default_factory=set)
    """Digests of the exports of other scans."""

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def create(self, grid_ndim: int | None = 2, **options: Any) -> lys_storage.Scan:
        shape = (ROWS, COLUMNS, ELEMENTS)
        options = {"fill_value": FILL, "note": {"version": 0}, "flush_interval_s": None, **options}
        self.scan = lys_storage.create(self.path, shape, DTYPE, grid_ndim=grid_ndim, **options)
        return self.scan

    def create_numbered(self) -> None:
        shape = (ROWS, COLUMNS, ELEMENTS)
        options = {"fill_value": FILL, "note": {"version": 0}, "grid_ndim": 2, "flush_interval_s": None}
        self.scan = begin_scan(
            self.folder, self.path.stem, shape, DTYPE, numbered=True, replace_existing=False, **options
        )

    def frames(self, version: int, cells: Sequence[int], dtype: np.dtype[Any]) -> list[np.ndarray[Any, Any]]:
        return [np.frombuffer(make_frame(0, cell, version, ELEMENTS * dtype.itemsize), dtype) for cell in cells]

    def put(self, index: Any, *, strided: bool = False) -> None:
        """Write the cell or the row at `index`. A list of indices is written in one update."""
        assert self.scan is not None
        scan = self.scan
        indices = index if isinstance(index, list) else [index]
        cells = [cell for each in indices for cell in cells_of(each)]
        version = self.ledger.last_version + 1
        frames = dict(zip(cells, self.frames(version, cells, scan.dtype), strict=True))
        data = {each: _joined([frames[cell] for cell in cells_of(each)], each, strided) for each in indices}
        self.ledger.take("begun", version, cells)
        if isinstance(index, list):
            scan.update(data)
        else:
            scan[index] = data[index]
        self.ledger.take("written", version, cells)

    def set_note(self) -> None:
        assert self.scan is not None
        self.ledger.take("note begun", 1)
        self.scan.note = {"version": 1}
        self.ledger.take("note", 1)

    def suspended(self) -> None:
        assert self.scan is not None
        self.scan.suspend()
        self.scan = None

    def resume(self) -> None:
        self.scan = lys_storage.resume(self.path, flush_interval_s=None)

    def recover(self) -> None:
        lys_storage.recover(self.folder)

    def discard(self) -> None:
        assert self.scan is not None
        self.is_required = False
        self.scan.discard()


def cells_of(index: Any) -> range:
    if isinstance(index, tuple):
        return range(index[0] * COLUMNS + index[1], index[0] * COLUMNS + index[1] + 1)
    return range(index * COLUMNS, (index + 1) * COLUMNS)


def _joined(frames: list[np.ndarray[Any, Any]], index: Any, strided: bool) -> np.ndarray[Any, Any]:
    """A new array, which the next write does not share. `strided`: not contiguous, unlike the stored bytes."""
    array = np.array(frames if not isinstance(index, tuple) else frames[0])
    return np.repeat(array, 2, axis=-1)[..., ::2] if strided else array


def _begin(trial: Trial, *indices: Any, **options: Any) -> None:
    trial.create(**options)
    for index in indices:
        trial.put(index)


def _begin_durable(trial: Trial) -> None:
    _begin(trial, 0, 1)
    _scan(trial).flush()


def _after_failed_sync(trial: Trial) -> None:
    """Write frames, some with checksums, and let a sync fail."""
    _begin_durable(trial)
    trial.put((1, 2))
    trial.put((2, 0))
    real = File.sync

    def fail(file: File) -> None:
        raise lys_storage.StorageOSError(errno.EIO, os.strerror(errno.EIO), os.fspath(file.path))

    File.sync = fail  # type: ignore[method-assign]
    try:
        with suppress(lys_storage.StorageOSError):
            _scan(trial).flush()
    finally:
        File.sync = real  # type: ignore[method-assign]


def _begin_and_suspend(trial: Trial) -> None:
    _begin(trial, 0, 1, (1, 1))
    trial.suspended()


def _begin_and_export(trial: Trial) -> None:
    _begin(trial, 0, 1, (1, 1))
    _scan(trial).close()
    trial.ledger.take("saved", NAME)
    trial.scan = None


def _begin_replacing(trial: Trial) -> None:
    lys_storage.create(trial.path, (3,), DTYPE).close()
    trial.earlier.add(digest(trial.path.read_bytes()))
    _begin(trial, 0, (1, 1), overwrite=True)


def _scan(trial: Trial) -> lys_storage.Scan:
    assert trial.scan is not None
    return trial.scan


def _set_axes(trial: Trial) -> None:
    _scan(trial).axes = [np.arange(ROWS), None, None]


def _open_wave(trial: Trial) -> None:
    with lys_storage.open_wave(trial.path, verify=True) as wave:
        np.asarray(wave.data[0]).sum()


def _export(trial: Trial, **options: Any) -> None:
    _scan(trial).close(**options)


@dataclass(frozen=True)
class Call:
    """`before` runs without interrupts. `call` is interrupted."""

    before: Callable[[Trial], object]
    call: Callable[[Trial], object]
    may_be_trimmed: bool = False


CALLS: dict[str, Call] = {
    "create": Call(lambda trial: setattr(trial, "is_required", False), lambda trial: trial.create()),
    "create, numbered": Call(lambda trial: setattr(trial, "is_required", False), lambda trial: trial.create_numbered()),
    "write": Call(lambda trial: _begin(trial, (0, 0)), lambda trial: trial.put((0, 1))),
    "write the first frame": Call(lambda trial: _begin(trial, grid_ndim=None), lambda trial: trial.put((0, 1))),
    "write a row, cast": Call(lambda trial: _begin(trial, (0, 0)), lambda trial: trial.put(1, strided=True)),
    "update": Call(_begin, lambda trial: trial.put([(0, 0), (0, 1), (0, 2), (1, 3), (2, 0)])),
    "update, rewriting": Call(_begin_durable, lambda trial: trial.put([(1, 2), (1, 3), (2, 0), (2, 1)])),
    "rewrite": Call(_begin_durable, lambda trial: trial.put((0, 1))),
    "rewrite a row": Call(_begin_durable, lambda trial: trial.put(1)),
    "write, flushing": Call(
        lambda trial: _begin(trial, 0, (1, 0), flush_interval_s=0), lambda trial: trial.put((1, 1))
    ),
    "flush": Call(lambda trial: _begin(trial, 0, 1), lambda trial: _scan(trial).flush()),
    "flush after a rewrite": Call(
        lambda trial: (_begin_durable(trial), trial.put((0, 1))), lambda trial: _scan(trial).flush()
    ),
    "flush after a failed sync": Call(_after_failed_sync, lambda trial: _scan(trial).flush()),
    "change_dtype": Call(_begin, lambda trial: _scan(trial).change_dtype(OTHER_DTYPE)),
    "axes": Call(lambda trial: _begin(trial, 0), _set_axes),
    "note": Call(lambda trial: _begin(trial, 0), lambda trial: trial.set_note()),
    "missing": Call(lambda trial: _begin(trial, 0), lambda trial: list(_scan(trial).missing())),
    "read": Call(lambda trial: _begin(trial, 0), lambda trial: _scan(trial).read((0, slice(None, None, 2)))),
    "array": Call(lambda trial: _begin(trial, 0), lambda trial: _scan(trial).array),
    "seal": Call(lambda trial: _begin(trial, 0), lambda trial: _scan(trial).seal()),
    "close": Call(lambda trial: _begin(trial, 0, 1, (0, 1), (2, 2)), _export),
    "close(trim)": Call(lambda trial: _begin(trial, 0, (1, 1)), lambda trial: _export(trial, incomplete="trim"), True),
    "close, replacing": Call(_begin_replacing, _export),
    "suspend": Call(lambda trial: _begin(trial, 0, 1, (0, 1)), lambda trial: _scan(trial).suspend()),
    "discard": Call(_begin, lambda trial: trial.discard()),
    "resume": Call(_begin_and_suspend, lambda trial: trial.resume()),
    "recover": Call(_begin_and_suspend, lambda trial: trial.recover()),
    "open_wave": Call(_begin_and_export, _open_wave),
}
