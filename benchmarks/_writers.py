"""The writers that need no other package: the limit, ours in two ways, a map of preallocated space, and lys_instr's way.

The calls of a writer: `reserve`, then `put` for each frame (or `put_many`), `finalize`, `sync`, `open`. `put` takes the
number of the frame in C order, and the frame. `_child` defines the figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._workloads import Workload

Frame = np.ndarray[Any, Any]
Read = Callable[[int], Frame]


class Writer:
    """Writes one workload into its own, empty `folder`."""

    appends_only = False

    def __init__(self, workload: Workload, folder: Path) -> None:
        self.workload, self.folder = workload, folder
        self.path = folder / "data"
        self.shape = (workload.frames, *workload.frame)
        self.put: Callable[[int, Frame], Any]

    def prepare(self) -> None:
        """Prepare everything that is no part of a scan: imports, the application, the detector."""

    def reserve(self) -> None:
        """Everything before the first frame. Sets `put`."""
        raise NotImplementedError

    def put_many(self, numbers: Sequence[int], frames: Sequence[Frame]) -> None:
        put = self.put
        for number, frame in zip(numbers, frames, strict=True):
            put(number, frame)

    def finalize(self) -> float:
        """Make the result readable, and release it. Returns the seconds of its own sync; 0 if it does not sync."""
        return 0.0

    def sync(self) -> None:
        """Make the result durable by the cheapest call: fdatasync for a file, syncfs for a folder of many files."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def open(self) -> Read:
        """A function that reads a frame by number, as a copy in memory. Here: from a raw map."""
        data = np.memmap(self.path, self.workload.dtype, "r", 0, self.shape)
        return lambda number: np.array(data[number])


class Limit(Writer):
    """`os.pwrite` of each frame into a preallocated file: the lower bound for a writer that stores the frames."""

    def reserve(self) -> None:
        self._fd = fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.posix_fallocate(fd, 0, self.workload.size_bytes)
        pwrite, size = os.pwrite, self.workload.frame_bytes

        def put(number: int, frame: Frame) -> None:
            pwrite(fd, frame, number * size)

        self.put = put

    def sync(self) -> None:
        os.fdatasync(self._fd)
        os.close(self._fd)


class RawMap(Writer):
    """np.memmap of preallocated space. No durability guarantee; a disk error or a lost network share kills the process."""

    def reserve(self) -> None:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.posix_fallocate(fd, 0, self.workload.size_bytes)
        os.close(fd)
        self._map: Any = np.memmap(self.path, self.workload.dtype, "r+", 0, self.shape)
        self.put = self._map.__setitem__

    def finalize(self) -> float:
        del self._map, self.put
        return 0.0


class OursScript(Writer):
    """`scan[index] = frame` on a scan of `lys_storage.create`."""

    def prepare(self) -> None:
        import lys_storage

        self._package = lys_storage
        self.path = self.folder / "data.npz"
        self._indices = list(np.ndindex(*self.workload.grid))

    def reserve(self) -> None:
        w = self.workload
        self._scan = scan = self._package.create(self.path, (*w.grid, *w.frame), w.dtype, grid_ndim=len(w.grid))
        indices = self._indices

        def put(number: int, frame: Frame) -> None:
            scan[indices[number]] = frame

        self.put = put

    def put_many(self, numbers: Sequence[int], frames: Sequence[Frame]) -> None:
        indices = self._indices
        self._scan.update({indices[number]: frame for number, frame in zip(numbers, frames, strict=True)})

    def finalize(self) -> float:
        self._scan.close()
        assert self._scan.report is not None
        return self._scan.report.sync_seconds

    def sync(self) -> None:
        """Nothing to do: `finalize` has synced the export before it gave it its final name."""

    def open(self) -> Read:
        data = self._package.open_wave(self.path).data.reshape(self.shape)  # by number, as the other writers
        return lambda number: np.array(data[number])


class OursStorage(OursScript):
    """`DataStorage.update({index: frame})`, reserved by a detector that becomes busy. The timed call makes the dict."""

    def prepare(self) -> None:
        super().prepare()
        from benchmarks._detector import storage_and_detector

        self._storage, self._detector = storage_and_detector(self.workload, self.folder)

    def reserve(self) -> None:
        self._detector.busyStateChanged.emit(True)
        if not self._storage.saving:
            raise RuntimeError("no scan was created when the detector became busy")
        update, indices = self._storage.update, self._indices

        def put(number: int, frame: Frame) -> None:
            update({indices[number]: frame})

        self.put = put

    def put_many(self, numbers: Sequence[int], frames: Sequence[Frame]) -> None:
        indices = self._indices
        self._storage.update({indices[number]: frame for number, frame in zip(numbers, frames, strict=True)})

    def finalize(self) -> float:
        self._storage.waitForSaved()
        report = self._storage.report
        if report is None:
            raise RuntimeError("the scan was not saved")
        self.path = report.path
        return report.sync_seconds


class LysWay(Writer):
    """As lys_instr 0.1: float64 in memory, a copy into a Wave, and numpy.savez_compressed at the end."""

    def reserve(self) -> None:
        self.path = self.folder / "data.npz"
        self._array = np.full(self.shape, np.nan)
        self.put = self._array.__setitem__

    def finalize(self) -> float:
        np.savez_compressed(self.path, data=np.array(self._array), axes=np.zeros(0), note=np.zeros(0))
        return 0.0

    def open(self) -> Read:
        data = np.load(self.path)["data"]
        return lambda number: data[number].astype(self.workload.dtype)
