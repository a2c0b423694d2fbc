"""The candidates of the comparison of reading. Each opens the same data, gives one frame as an array of its own, and the mean.

A file is written once, by `write`, and read by all that need it. The times do not include that, nor the import of packages.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import lys_storage

POOL = 16
Frame = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Data:
    """Noise: frame (i, j) of the grid is number (i * columns + j) % POOL of a pool."""

    name: str
    grid: tuple[int, int]
    frame: tuple[int, int]
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid, *self.frame)

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def pool(self) -> list[Frame]:
        random = np.random.default_rng(0)
        return [random.integers(0, 1 << 16, self.frame).astype(self.dtype) for _ in range(POOL)]

    def expected(self, pool: list[Frame], i: int, j: int) -> Frame:
        return pool[(i * self.grid[1] + j) % POOL]

    def mean(self, pool: list[Frame]) -> float:
        means, frames = [float(frame.mean(dtype="f8")) for frame in pool], self.grid[0] * self.grid[1]
        return math.fsum(means[k % POOL] for k in range(frames)) / frames

    def rows(self) -> Any:
        """(i, the frames of row i)."""
        pool = self.pool()
        for i in range(self.grid[0]):
            yield i, np.stack([self.expected(pool, i, j) for j in range(self.grid[1])])


class Reader:
    """`needs`: packages. `file`: the name below the folder of the data. `open` returns (frame of (i, j), mean of the array)."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    file: ClassVar[str] = "data.npz"

    def __init__(self, data: Data, folder: Path) -> None:
        self.data, self.path = data, folder / self.file
        self.close: Callable[[], Any] = lambda: None

    @classmethod
    def missing(cls) -> str:
        """The package that is not installed, or ""."""
        return next((name for name in cls.needs if importlib.util.find_spec(name) is None), "")

    def write(self) -> None:
        with lys_storage.create(self.path, self.data.shape, self.data.dtype, grid_ndim=2) as scan:
            for i, frames in self.data.rows():
                scan[i] = frames

    def load_packages(self) -> None:
        for name in self.needs:
            importlib.import_module(name)

    def open(self) -> tuple[Callable[[int, int], Frame], Callable[[], float]]:
        raise NotImplementedError

    def by_rows(self, row: Callable[[int], Any]) -> float:
        """The mean, with one row of the grid in memory."""
        sums = [float(np.asarray(row(i)).sum(dtype="f8")) for i in range(self.data.grid[0])]
        return sum(sums) / (self.data.size_bytes // np.dtype(self.data.dtype).itemsize)


class RawMap(Reader):
    name, title = "raw", "np.memmap of the array"

    def open(self) -> Any:
        with lys_storage.open_wave(self.path) as wave:  # where the array begins
            offset = wave.array_offset
        array = np.memmap(self.path, self.data.dtype, "r", offset or 0, self.data.shape)
        return lambda i, j: np.array(array[i, j]), lambda: float(array.mean(dtype="f8"))


class RawMapAgain(RawMap):
    name, title = "raw-again", "the same again"


class Ours(Reader):
    def open(self) -> Any:
        wave = lys_storage.open_wave(self.path)
        self.close = wave.close
        return self.calls(wave)

    def calls(self, wave: lys_storage.StoredWave) -> Any:
        raise NotImplementedError


class OursMap(Ours):
    name, title = "map", "lys_storage, by map"

    def calls(self, wave: lys_storage.StoredWave) -> Any:
        return lambda i, j: np.array(wave.data[i, j]), lambda: float(wave.data.mean(dtype="f8"))


class OursIndex(Ours):
    name, title = "index", "lys_storage, by index"

    def calls(self, wave: lys_storage.StoredWave) -> Any:
        return lambda i, j: wave[i, j], lambda: self.by_rows(lambda i: wave[i])


class OursRead(Ours):
    name, title = "read", "lys_storage, by read"

    def calls(self, wave: lys_storage.StoredWave) -> Any:
        return lambda i, j: wave.read((i, j)), lambda: self.by_rows(wave.read)


class OursDask(Ours):
    name, title, needs = "dask", "lys_storage, to_dask", ("dask.array",)

    @classmethod
    def missing(cls) -> str:
        return "" if importlib.util.find_spec("dask") else "dask"

    def calls(self, wave: lys_storage.StoredWave) -> Any:
        lazy, frames = wave.to_dask(), wave.to_dask((1, 1, *self.data.frame))
        return (
            lambda i, j: frames[i, j].compute(scheduler="synchronous"),
            lambda: float(lazy.mean(dtype="f8").compute(scheduler="threads")),
        )


class NumpyLoad(Reader):
    name, title = "numpy", "numpy.load"

    def open(self) -> Any:
        with np.load(self.path) as members:
            array = members["data"]
        return lambda i, j: np.array(array[i, j]), lambda: float(array.mean(dtype="f8"))


class LysWave(Reader):
    name, title, needs = "lys", "lys.Wave", ("lys",)

    def load_packages(self) -> None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        with contextlib.suppress(lys_storage.BindingError):
            importlib.import_module("lys_storage.qt")  # prepares lys for Qt 6
        super().load_packages()

    def open(self) -> Any:
        import lys

        array = lys.Wave(str(self.path)).data
        return lambda i, j: np.array(array[i, j]), lambda: float(array.mean(dtype="f8"))


class H5(Reader):
    name, title, needs, file = "h5py", "h5py, contiguous", ("h5py",), "data.h5"
    chunks: ClassVar[bool] = False

    def write(self) -> None:
        import h5py

        with h5py.File(self.path, "w") as file:
            chunks = (1, 1, *self.data.frame) if self.chunks else None
            dataset = file.create_dataset("data", self.data.shape, self.data.dtype, chunks=chunks)
            for i, frames in self.data.rows():
                dataset[i] = frames

    def open(self) -> Any:
        import h5py

        file = h5py.File(self.path, "r")
        self.close, dataset = file.close, file["data"]
        return lambda i, j: dataset[i, j], lambda: self.by_rows(lambda i: dataset[i])


class H5Chunks(H5):
    name, title, file = "h5py-chunks", "h5py, chunk = frame", "chunks.h5"
    chunks = True


class Zarr(Reader):
    name, title, needs, file = "zarr", "zarr 3, chunk = frame, not compressed", ("zarr",), "data.zarr"

    def write(self) -> None:
        import zarr

        array = zarr.create_array(
            self.path,
            shape=self.data.shape,
            dtype=self.data.dtype,
            chunks=(1, 1, *self.data.frame),
            compressors=None,
            filters=None,
        )
        for i, frames in self.data.rows():
            array[i] = frames

    def open(self) -> Any:
        import zarr

        array = zarr.open_array(self.path, mode="r")
        return lambda i, j: array[i, j], lambda: self.by_rows(lambda i: array[i])


READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (
        RawMap,
        RawMapAgain,
        OursMap,
        OursIndex,
        OursRead,
        OursDask,
        NumpyLoad,
        LysWave,
        H5,
        H5Chunks,
        Zarr,
    )
}
