"""Who writes without a foreign package: the limit, ours in its two ways, a map on claimed space, and lys's own way.

A writer's life: `reserve`, then `put` for each frame (or `put_many`), `finalize`, `sync`, `open`. `put` is called with
the number of the frame in C order and the frame. What each of them is timed for is said in `_child`.
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
    """Writes one workload into `folder`, which is its own and empty."""

    appends_only = False

    def __init__(self, workload: Workload, folder: Path) -> None:
        self.workload, self.folder = workload, folder
        self.path = folder / "data"
        self.shape = (workload.frames, *workload.frame)
        self.put: Callable[[int, Frame], Any]

    def prepare(self) -> None:
        """Whatever is no part of a scan: imports, an application, what the detector is."""

    def reserve(self) -> None:
        """Everything before the first frame. Sets `put`."""
        raise NotImplementedError

    def put_many(self, numbers: Sequence[int], frames: Sequence[Frame]) -> None:
        put = self.put
        for number, frame in zip(numbers, frames, strict=True):
            put(number, frame)

    def finalize(self) -> float:
        """Make the result readable, and let it go. Seconds of it that were a sync, where it syncs by itself."""
        return 0.0

    def sync(self) -> None:
        """Make the result durable: a file by fdatasync, a folder of many by syncfs, which is the cheapest way there is."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def open(self) -> Read:
        """Frames of the result by number; each read is a copy in memory. Here: a raw map."""
        data = np.memmap(self.path, self.workload.dtype, "r", 0, self.shape)
        return lambda number: np.array(data[number])


class Limit(Writer):
    """`os.pwrite` of each frame into a file whose space is claimed. Nothing that keeps the frames can be faster."""

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
    """np.memmap on claimed space. Promises nothing; a full disk or a lost share kills the process."""

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
    """`scan[index] = frame` on what `lys_storage.create` gives."""

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
        """finalize has done it: a name is given to nothing that is not durable."""

    def open(self) -> Read:
        data = self._package.open_wave(self.path).data.reshape(self.shape)  # by number, as everybody
        return lambda number: np.array(data[number])


class OursStorage(OursScript):
    """`DataStorage.update({index: frame})`, reserved by a detector that gets busy. The dict is made in the timed call."""

    def prepare(self) -> None:
        super().prepare()
        from benchmarks._detector import storage_and_detector

        self._storage, self._detector = storage_and_detector(self.workload, self.folder)

    def reserve(self) -> None:
        self._detector.busyStateChanged.emit(True)
        if not self._storage.saving:
            raise RuntimeError("nothing was reserved when the detector got busy")
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
    """What lys_instr 0.1 does: float64 in memory, a copy of it into a Wave, and numpy.savez_compressed at the end."""

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
