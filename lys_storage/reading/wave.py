"""Reading exports: the array as a memory map of the file where it is not compressed, axes and note as plain data.

Never writes, and never runs what a file says unless the caller trusts it.
"""

from __future__ import annotations

import errno
import json
import logging
import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..array_like import ArrayLike, Facts, keys_in_words, one_index
from ..disk import File, read_fortran_selection, read_selection
from ..errors import BadFileError, LysStorageError, ScanClosedError, StorageOSError, os_error
from ..format import (
    INFO_MEMBER,
    MAX_NPY_HEADER,
    Axes,
    axes_in_a_line,
    combine,
    crc32,
    decode_axes,
    decode_labels,
    decode_note_with_texts,
    decode_npy_header,
    select,
    with_coordinates,
)
from .no_export import as_path, open_export, why_no_export
from .stream import FileStream, open_stream
from .zip_check import check_member_size, check_members, check_structure, find_member, member_start

log = logging.getLogger("lys_storage")

_STEP = 1 << 20
_ADVICE = "read takes ints, slices and '...'; wave.data[index] takes masks and lists as well"
_BAD_FILE_ERRORS = (
    *(zipfile.BadZipFile, ValueError, EOFError, KeyError, IndexError, TypeError, RuntimeError, RecursionError),
    *(MemoryError, OverflowError, SyntaxError, struct.error, zlib.error, lzma.LZMAError, tokenize.TokenError),
)


@dataclass(frozen=True)
class _Data:
    """The array of an archive. `offset`: where its elements begin in the file, None where they are compressed."""

    member: zipfile.ZipInfo
    header_size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Any
    offset: int | None

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class StoredWave(ArrayLike):
    """An export. `data` is a read-only np.memmap; of a compressed file, as lys writes them, an array in memory.

    `wave[index]` reads as `wave.read(index)` does; `np.asarray(wave)` is `wave.data`.

    `axes`: one array for each dimension; `note`: a dict; `info`: the content of `acquisition.json`, {} where there is none.
    All of it is of the one file that was opened, also where another file gets its name meanwhile.

    `note_error`: what was wrong with the note. UnsafeFileError: a text is in the place of what is no plain data;
    BadFileError: the note cannot be read, and is {}.
    """

    _whole = "wave.data"

    def __init__(self, path: Path, file: File, data: _Data) -> None:
        self.path = path
        self._file, self._stored = file, data
        self._data: np.ndarray[Any, Any] | None = None
        self._is_closed = False
        self._axes: Axes = []
        self.note: dict[Any, Any] = {}
        self.note_error: BadFileError | None = None
        self.info: dict[str, Any] = {}

    @property
    def axis_names(self) -> list[str | None]:
        """The name of each dimension; None where the file has none."""
        return list(decode_labels(self.info.get("axis_names"), len(self.shape)))

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension; None where the file has none."""
        return list(decode_labels(self.info.get("units"), len(self.shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stored.dtype

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
        """The whole array. It is mapped, or taken out of its compression, when it is first asked for.

        Raises StorageOSError where the system refuses the map: `read` needs none.
        """
        self._raise_if_closed()
        data = self._data
        if data is None:
            data = self._load()
            data.flags.writeable = False
            self._data = data
        return data

    def _load(self) -> np.ndarray[Any, Any]:
        stored = self._stored
        if stored.size_bytes == 0:
            return np.zeros(stored.shape, stored.dtype)
        if stored.offset is None:
            with _naming(self.path), open_stream(self._file) as whole, zipfile.ZipFile(whole) as archive:
                return _decompress(archive, stored)
        try:
            return np.memmap(FileStream(self._file), stored.dtype, "r", stored.offset, stored.shape, stored.order)  # type: ignore[call-overload,no-any-return,unused-ignore]
        except (OSError, ValueError, OverflowError) as error:
            reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
            raise os_error("map", self.path, reason, "wave.read(index) reads without a map") from error

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of what `index` names: ints, slices, Ellipsis, or a tuple of them. The default is the whole.

        Always an array of the dtype of the wave, also of one element. Raises FrameIndexError where
        the index is out of range, or has a mask or a list. A disk error raises StorageOSError here; through `data` it kills the
        process.
        """
        one_index("wave.read", index, more)
        self._raise_if_closed()
        stored, selection = self._stored, select(index, self.shape, _ADVICE)
        if stored.offset is None or stored.size_bytes == 0:
            return np.array(self.data[index], self.dtype)
        read = read_fortran_selection if stored.order == "F" else read_selection
        return read(self._file, stored.offset, self.shape, self.dtype, selection)

    def __getitem__(self, index: Any) -> Any:
        """As `read`; one element is a numpy scalar."""
        return self.read(index)[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        return self.data

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise ScanClosedError(f"{self.path} is closed; open_wave opens it again")

    def verify(self, on_progress: Callable[[int], None] = lambda done: None) -> Iterator[str]:
        """What is wrong with the bytes of the file, in words: all of them are read. `on_progress(done)`: bytes so far."""
        return check_members(self._file, on_progress)

    def close(self) -> None:
        """Close the file. Arrays that `data` returned before stay valid. A second call does nothing."""
        self._data, self._is_closed = None, True
        self._file.close()

    def __enter__(self) -> StoredWave:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StoredWave {self.path} {self.shape} {self.dtype}>"

    def _facts(self) -> Facts:
        written, expected = (self.info.get(f"frames_{what}") for what in ("written", "expected"))
        return {
            "path": lambda: self.path,
            "shape": lambda: self.shape,
            "dtype": lambda: self.dtype,
            "frames": lambda: None if written is None else f"{written} of {expected} written",
            "state": lambda: "closed" if self._is_closed else "open, read-only",
            "axes": lambda: axes_in_a_line(self.stored_axes, self.shape, self.axis_names, self.units),
            "note": lambda: keys_in_words(self.note),
        }


def open_wave(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, allow_pickle: bool = False, verify: bool = False
) -> StoredWave:
    """Open an export. The data are not read, unless with `verify`: the time does not depend on their size.

    `verify`: read every byte once, and raise BadFileError where a CRC-32 is not that of its member. `allow_pickle`: unpickle
    whatever axes and note hold, which can execute code from the file. Without it a text such as `<decimal.Decimal('1')>`
    is in the place of what is no plain data in the note; a note that cannot be read is {}, and a warning is logged.

    Raises BadFileError where the file is no sound .npz with an array `data`, and UnsafeFileError where the axes are pickles
    of anything but plain data and numpy arrays, and `allow_pickle` is False.
    """
    where = as_path(path)
    file = open_export(where)
    try:
        with _naming(where, file):
            wave = _open(where, file, allow_pickle)
            for what in wave.verify() if verify else ():
                raise BadFileError(what)
        return wave
    except BaseException:
        file.close()
        raise


@contextmanager
def _naming(path: Path, file: File | None = None) -> Iterator[None]:
    """Errors of the family that name the file, for what zipfile and numpy raise where it is damaged."""
    try:
        yield
    except BadFileError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__
    except _BAD_FILE_ERRORS as error:
        if isinstance(error, LysStorageError):
            raise
        known = why_no_export(path, file.size) if file is not None else None
        if known:
            raise BadFileError(f"{path} {known}") from None
        raise BadFileError(f"{path} is no sound .npz: {type(error).__name__}: {error}") from error
    except StorageOSError:
        raise
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to before the beginning of the file
            raise BadFileError(f"{path} is no sound .npz: an offset in the archive lies outside the file") from error
        raise os_error("read", path, error) from error


def _open(where: Path, file: File, allow_pickle: bool) -> StoredWave:
    with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
        check_structure(archive, file.size)
        data = find_member(archive, "data")
        if data is None:
            raise BadFileError(_foreign(archive.namelist()))
        wave = StoredWave(where, file, _find_array(archive, file, data))
        if (axes := find_member(archive, "axes")) is not None:
            wave._axes = decode_axes(archive.read(check_member_size(axes)), allow_pickle)
        if (note := find_member(archive, "note")) is not None:
            _read_note(wave, archive, check_member_size(note), allow_pickle)
        if INFO_MEMBER in archive.namelist():
            info = json.loads(archive.read(check_member_size(archive.getinfo(INFO_MEMBER))))
            wave.info = info if isinstance(info, dict) else {}
            _check_header(file, wave)
    return wave


def _foreign(names: list[str]) -> str:
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    listed = ", ".join(map(repr, (arrays if len(arrays) == len(names) else names)[:5])) or "nothing"
    advice = "; numpy.load reads its arrays" if arrays else ""
    return f"is no export: it has no array 'data'. It holds {listed}{more}{advice}"


def _read_note(wave: StoredWave, archive: zipfile.ZipFile, member: zipfile.ZipInfo, allow_pickle: bool) -> None:
    """The note alone may be bad: the data are worth more than it."""
    try:
        wave.note, wave.note_error = decode_note_with_texts(archive.read(member), allow_pickle)
    except _BAD_FILE_ERRORS as error:
        what = f"note.npy cannot be read: {type(error).__name__}: {error}"
        # Another exception, without the traceback of this one, which would keep all that was read, and the wave.
        wave.note_error = type(error)(str(error)) if isinstance(error, BadFileError) else BadFileError(what)
        log.warning("%s: %s; its data are read, its note is taken for empty", wave.path, wave.note_error)


def _check_header(file: File, wave: StoredWave) -> None:
    """Raise BadFileError where the .npy header has changed: a flipped bit can turn "<f8" into ">f8".

    No data are read: the CRC-32 of the header and that of the array, in `acquisition.json`, give that of the member.
    """
    stored = wave._stored
    array_crc, offset, size = wave.info.get("array_crc32"), stored.offset, stored.size_bytes
    if type(array_crc) is not int or offset is None or size == 0:
        return
    header = file.read_at(stored.header_size, offset - stored.header_size)
    if combine(crc32(header), array_crc & 0xFFFFFFFF, size) != stored.member.CRC:
        raise BadFileError("the header of data.npy is not what it was")


def _find_array(archive: zipfile.ZipFile, file: File, member: zipfile.ZipInfo) -> _Data:
    """What the header of the array says, and where its elements are. Raises BadFileError where they cannot be there."""
    is_stored = member.compress_type == zipfile.ZIP_STORED
    start = member_start(file, member) if is_stored else 0
    if is_stored:
        head = file.read_at(MAX_NPY_HEADER + 12, start)
    else:
        with archive.open(member) as stream:
            head = stream.read(MAX_NPY_HEADER + 12)
    shape, dtype, is_fortran, header_size = decode_npy_header(head)
    offset = start + header_size if is_stored else None
    data = _Data(member, header_size, shape, dtype, "F" if is_fortran and len(shape) > 1 else "C", offset)
    if dtype.hasobject:
        raise BadFileError(f"{member.filename} holds Python objects")
    needed = header_size + data.size_bytes
    if needed != member.file_size or (is_stored and start + needed > file.size):
        raise BadFileError(
            f"{member.filename} has {member.file_size} bytes, its shape {shape} of {dtype} needs {needed}"
        )
    return data


def _decompress(archive: zipfile.ZipFile, stored: _Data) -> np.ndarray[Any, Any]:
    array = np.empty(stored.shape, stored.dtype, stored.order)
    view, at = array.reshape(-1, order=stored.order).view(np.uint8).data, 0
    with archive.open(stored.member) as stream:
        stream.read(stored.header_size)
        while piece := stream.read(_STEP):  # to the end, where zipfile compares the CRC-32
            view[at : at + len(piece)] = piece
            at += len(piece)
    if at != len(view):
        raise BadFileError(f"{stored.member.filename} is cut short")
    return array
