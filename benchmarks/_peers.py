"""The alternatives to lys_storage. Each writes frame by frame as its documentation shows, with its fast options on.

Compression is off, a chunk is a frame, and no peer syncs before the sync phase. Each peer needs its own package.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._writers import Frame, Read, Writer

PENDING_WRITES = 32


class Peer(Writer):
    """A peer that needs `module`. The import is not timed."""

    module = ""

    def prepare(self) -> None:
        self.lib: Any = importlib.import_module(self.module)


class Folder(Peer):
    """A result that is a folder of files."""

    def sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise OSError(ctypes.get_errno(), "syncfs", str(self.path))
        finally:
            os.close(descriptor)


class H5Direct(Peer):
    """h5py, `write_direct_chunk`: without the chunk cache and the type conversion."""

    module = "h5py"
    chunks = True

    def reserve(self) -> None:
        self._file = self.lib.File(self.path, "w", libver="latest")
        chunks = (1, *self.workload.frame) if self.chunks else None
        data = self._file.create_dataset("data", self.shape, self.workload.dtype, chunks=chunks)
        self.put = self._put(data)

    def _put(self, data: Any) -> Callable[[int, Frame], Any]:
        write, rest = data.id.write_direct_chunk, (0,) * len(self.workload.frame)
        return lambda number, frame: write((number, *rest), frame)

    def finalize(self) -> float:
        self._file.close()
        return 0.0

    def open(self) -> Read:
        return self.lib.File(self.path, "r")["data"].__getitem__


class H5Chunked(H5Direct):
    """h5py, `dataset[i] = frame`, one chunk per frame."""

    def _put(self, data: Any) -> Callable[[int, Frame], Any]:
        return data.__setitem__


class H5Contiguous(H5Chunked):
    """h5py, `dataset[i] = frame`, contiguous layout."""

    chunks = False


class Zarr(Folder):
    """zarr 3, `array[i] = frame`, one chunk per frame, without compression."""

    module = "zarr"

    def reserve(self) -> None:
        chunks = (1, *self.workload.frame)
        array = self.lib.create_array(
            str(self.path), shape=self.shape, chunks=chunks, dtype=self.workload.dtype, compressors=None
        )
        self.put = array.__setitem__

    def open(self) -> Read:
        return self.lib.open_array(str(self.path), mode="r").__getitem__


class TensorStore(Folder):
    """tensorstore's zarr3, asynchronous: `put` returns when the frame may be reused, with up to 32 commits pending."""

    module = "tensorstore"

    def _open(self, **options: Any) -> Any:
        context = self.lib.Context({"file_io_sync": False})
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(self.path)}}
        return self.lib.open(spec, context=context, **options).result()

    def reserve(self) -> None:
        layout = self.lib.ChunkLayout(chunk_shape=(1, *self.workload.frame))
        store = self._open(create=True, dtype=np.dtype(self.workload.dtype), shape=self.shape, chunk_layout=layout)
        self._pending: deque[Any] = deque()

        def put(number: int, frame: Frame) -> None:
            future = store[number].write(frame)
            future.copy.result()
            self._pending.append(future)
            if len(self._pending) > PENDING_WRITES:
                self._pending.popleft().result()

        self.put = put

    def finalize(self) -> float:
        while self._pending:
            self._pending.popleft().result()
        return 0.0

    def open(self) -> Read:
        store = self._open(open=True)
        return lambda number: store[number].read().result()


class AcquireZarr(Folder):
    """acquire-zarr, one chunk per frame, written by its own threads. It appends only. zarr reads the result."""

    module = "acquire_zarr"
    appends_only = True

    def reserve(self) -> None:
        az = self.lib
        sizes = zip(("t", "y", "x"), self.shape, (1, *self.workload.frame), strict=True)
        dimensions = [
            az.Dimension(
                name=name,
                kind=az.DimensionType.TIME if name == "t" else az.DimensionType.SPACE,
                array_size_px=size,
                chunk_size_px=chunk,
                shard_size_chunks=1,
            )
            for name, size, chunk in sizes
        ]
        array = az.ArraySettings(dimensions=dimensions, data_type=np.dtype(self.workload.dtype))
        self._stream: Any = az.ZarrStream(az.StreamSettings(store_path=str(self.path), arrays=[array]))
        append = self._stream.append
        self.put = lambda _, frame: append(frame)

    def finalize(self) -> float:
        self._stream.close()
        del self._stream, self.put
        return 0.0

    def open(self) -> Read:
        return importlib.import_module("zarr").open_array(str(self.path), mode="r").__getitem__


class NDTiff(Folder):
    """ndstorage, `put_image`. It supports integers of 8 and 16 bits, so the frames are passed as uint16 views."""

    module = "ndstorage"

    def reserve(self) -> None:
        self._data = data = self.lib.NDTiffDataset(str(self.folder), name="data", summary_metadata={}, writable=True)
        self.path = data.path
        put_image = data.put_image
        self.put = lambda number, frame: put_image({"time": number}, frame.view(np.uint16), {})

    def finalize(self) -> float:
        self._data.finish()
        self._data.close()
        return 0.0

    def open(self) -> Read:
        with contextlib.redirect_stdout(io.StringIO()):
            data = self.lib.NDTiffDataset(str(self.path))
        return lambda number: data.read_image(time=number).view(self.workload.dtype)


class NpyAppend(Peer):
    """npy-append-array, `append(frame[None])`. It appends only."""

    module = "npy_append_array"
    appends_only = True

    def reserve(self) -> None:
        self.path = self.folder / "data.npy"
        self._file: Any = self.lib.NpyAppendArray(str(self.path))
        append = self._file.append
        self.put = lambda _, frame: append(frame[None])

    def finalize(self) -> float:
        self._file.close()
        return 0.0

    def open(self) -> Read:
        data = np.load(self.path, mmap_mode="r")
        return lambda number: np.array(data[number])


class TiffMap(Peer):
    """tifffile.memmap, `map[i] = frame`. A raw map: it gives no durability guarantee."""

    module = "tifffile"

    def reserve(self) -> None:
        self.path = self.folder / "data.tif"
        big = self.workload.size_bytes > 2**31
        self._map: Any = self.lib.memmap(self.path, shape=self.shape, dtype=self.workload.dtype, bigtiff=big)
        self.put = self._map.__setitem__

    def finalize(self) -> float:
        del self._map, self.put
        return 0.0

    def open(self) -> Read:
        data = self.lib.memmap(self.path, mode="r")
        return lambda number: np.array(data[number])
