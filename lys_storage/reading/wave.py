"""Reading exports: the array as a memory map of the file where it is not compressed, axes and note as plain data.

Never writes, and never runs what a file says unless the caller trusts it.
"""

from __future__ import annotations

import errno
import io
import json
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from ..disk import File, read_selection
from ..errors import BadFileError, LysStorageError, ScanClosedError, os_error
from ..format import (
    DATA_MEMBER,
    INFO_MEMBER,
    MAX_NPY_HEADER,
    Axes,
    combine,
    crc32,
    decode_axes,
    decode_note,
    decode_npy_header,
    with_coordinates,
)
from .zip_check import check_members, check_structure, member_start, read_member

_FIRST_BYTES = 1 << 16
_BAD_FILE_ERRORS = (
    *(zipfile.BadZipFile, ValueError, EOFError, KeyError, IndexError, TypeError, RuntimeError, RecursionError),
    *(MemoryError, OverflowError, SyntaxError, struct.error, zlib.error, lzma.LZMAError, tokenize.TokenError),
)


class StoredWave:
    """An export. `data` is a read-only np.memmap; of a compressed file, as lys writes them, an array in memory.

    `axes`: one array for each dimension; `note`: a dict; `info`: the content of `acquisition.json`, {} where there is none.
    """

    def __init__(self, path: Path, data: np.ndarray[Any, Any], offset: int | None, file: File) -> None:
        self.path = path
        self._data: np.ndarray[Any, Any] | None = data
        self._offset, self._file = offset, file
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype
        self._axes: Axes = []
        self.note: dict[Any, Any] = {}
        self.info: dict[str, Any] = {}

    @property
    def stored_axes(self) -> Axes:
        """The axes in the file; None where a dimension has index coordinates. Unlike `axes` it allocates no coordinates."""
        return self._axes[: len(self.shape)]

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One array of coordinates for each dimension."""
        return with_coordinates(self._axes, self.shape)

    @property
    def data(self) -> np.ndarray[Any, Any]:
        if self._data is None:
            raise ScanClosedError(f"{self.path} is closed")
        return self._data

    def read(self, *index: Any) -> np.ndarray[Any, Any]:
        """A copy of what `index` selects. A disk error raises StorageOSError here; through `data` it kills the process."""
        data = self.data
        if self._offset is None:
            return np.array(data[index])
        return read_selection(self._file, self._offset, self.shape, self.dtype, index)

    def close(self) -> None:
        """Close the file. Arrays that `data` returned before stay valid. A second call does nothing."""
        self._data = None
        self._file.close()

    def __enter__(self) -> StoredWave:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StoredWave {self.path} {self.shape} {self.dtype}>"


def open_wave(path: str | os.PathLike[str], *, trust: bool = False, check: bool = False) -> StoredWave:
    """Open an export. The data are not read, unless with `check`: the time does not depend on their size.

    `check`: read every byte once, and raise BadFileError where a CRC-32 is not that of its member. `trust`: unpickle
    whatever axes and note hold, which can execute code from the file.

    Raises BadFileError where the file is no sound .npz with a `data.npy`, and UnsafeFileError where axes or note hold
    pickles of anything but plain data and numpy arrays, and `trust` is False.
    """
    wave = _open_wave(Path(path), trust)
    if check:
        try:
            for what in check_members(wave.path):
                raise BadFileError(f"{wave.path}: {what}")
        except BaseException:
            wave.close()
            raise
    return wave


def _open_wave(where: Path, trust: bool) -> StoredWave:
    file = File.open(where, writable=False)
    try:
        with open(where, "rb") as stream, zipfile.ZipFile(stream) as archive:
            check_structure(archive, file.size)
            wave = _open_data(where, archive, file)
            names = set(archive.namelist())
            if "axes.npy" in names:
                wave._axes = decode_axes(read_member(archive, "axes.npy"), trust)
            if "note.npy" in names:
                wave.note = decode_note(read_member(archive, "note.npy"), trust)
            if INFO_MEMBER in names:
                info = json.loads(read_member(archive, INFO_MEMBER))
                wave.info = info if isinstance(info, dict) else {}
                _check_header(archive, file, wave)
        return wave
    except BadFileError as error:
        file.close()
        raise type(error)(f"{where}: {error}") from error
    except _BAD_FILE_ERRORS as error:
        file.close()
        if isinstance(error, LysStorageError):
            raise
        raise BadFileError(f"{where} is no sound .npz: {type(error).__name__}: {error}") from error
    except OSError as error:
        file.close()
        if error.errno == errno.EINVAL:  # a seek to before the beginning of the file
            raise BadFileError(f"{where} is no sound .npz: an offset in the archive lies outside the file") from error
        raise error if isinstance(error, LysStorageError) else os_error("read", where, error) from error
    except BaseException:
        file.close()
        raise


def _check_header(archive: zipfile.ZipFile, file: File, wave: StoredWave) -> None:
    """Raise BadFileError where the .npy header has changed: a flipped bit can turn "<f8" into ">f8".

    No data are read: the CRC-32 of the header and that of the array, in `acquisition.json`, give that of the member.
    """
    array_crc, offset = wave.info.get("array_crc32"), wave._offset
    if type(array_crc) is not int or offset is None:
        return
    info, size = archive.getinfo(DATA_MEMBER), prod(wave.shape) * wave.dtype.itemsize
    header = file.read_at(info.file_size - size, offset - (info.file_size - size))
    if combine(crc32(header), array_crc & 0xFFFFFFFF, size) != info.CRC:
        raise BadFileError("the header of data.npy is not what it was")


def _open_data(path: Path, archive: zipfile.ZipFile, file: File) -> StoredWave:
    """The array of `data.npy`: mapped, or in memory where it is compressed."""
    names = archive.namelist()
    if DATA_MEMBER not in names:
        raise BadFileError(f"has no member {DATA_MEMBER}; it holds {', '.join(names[:5]) or 'nothing'}")
    info = archive.getinfo(DATA_MEMBER)
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as member:
            shape, dtype, _, header_size = decode_npy_header(member.read(_FIRST_BYTES))
        if dtype.hasobject or header_size + prod(shape) * dtype.itemsize != info.file_size:
            raise BadFileError(
                f"data.npy has {info.file_size} bytes, which is not what its shape {shape} of {dtype} needs"
            )
        with archive.open(info) as member:
            data = npy_format.read_array(io.BufferedReader(member), allow_pickle=False)  # type: ignore[no-untyped-call,arg-type,unused-ignore]
        data.flags.writeable = False
        return StoredWave(path, data, None, file)
    start = member_start(file, info)
    shape, dtype, fortran, header_size = decode_npy_header(file.read_at(MAX_NPY_HEADER + 12, start))
    offset = start + header_size
    if dtype.hasobject:
        raise BadFileError("data.npy holds Python objects")
    size = prod(shape) * dtype.itemsize
    if header_size + size != info.file_size or offset + size > file.size:
        raise BadFileError(
            f"data.npy has {info.file_size} bytes, its shape {shape} of {dtype} needs {header_size + size}"
        )
    if size == 0 or fortran:
        data = np.zeros(shape, dtype) if size == 0 else np.memmap(path, dtype, "r", offset, shape, order="F")
        data.flags.writeable = False
        return StoredWave(path, data, None, file)
    return StoredWave(path, np.memmap(path, dtype, "r", offset, shape), offset, file)
