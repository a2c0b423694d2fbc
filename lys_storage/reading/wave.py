"""Opens exports: `open_wave` and `StoredWave`.

Never writes, and never unpickles a file unless the caller asks for it with `allow_pickle`.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ..array_like import ArrayLike, Facts, keys_in_words, one_index
from ..callbacks import Progress
from ..disk import File, read_fortran_selection, read_selection
from ..errors import BadFileError, ScanClosedError, os_error
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
from .no_export import BAD_FILE_ERRORS, NotAnExportError, as_path, describe_members, naming_the_file, open_export
from .stream import FileStream, open_stream
from .zip_check import check_member_size, check_members, check_structure, find_member, member_start

log = logging.getLogger("lys_storage")

_STEP = 1 << 20
_ADVICE = "read takes ints, slices and '...'; wave.data[index] takes masks and lists as well"


@dataclass(frozen=True)
class _Data:
    """The array of an archive. `offset`: of its first element in the file; None if it is compressed."""

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
    """An export, opened for reading by `open_wave`. Use it in a `with` block, or call `close()`.

    `data` is the whole array. `wave[index]` and `wave.read(index)` read a part of it. `np.asarray(wave)` is `wave.data`.
    All of them read the file that was opened, even if another file takes its name later.

    Attributes:
        path: The path that was opened.
        note: A dict.
        note_error: The error of the note, or None. UnsafeFileError: a value that is not plain data is given as a text.
            BadFileError: the note cannot be read, and `note` is {}.
        info: The content of `acquisition.json`; {} if the file has none.
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
        """The name of each dimension; None if the file has none."""
        return list(decode_labels(self.info.get("axis_names"), len(self.shape)))

    @property
    def units(self) -> list[str | None]:
        """The unit of each dimension; None if the file has none."""
        return list(decode_labels(self.info.get("units"), len(self.shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._stored.dtype

    @property
    def stored_axes(self) -> Axes:
        """The axes in the file; None for a dimension with index coordinates, for which `axes` allocates an array."""
        return self._axes[: len(self.shape)]

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One array of coordinates for each dimension. Index coordinates are 0, 1, 2, ..."""
        return with_coordinates(self._axes, self.shape)

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The whole array, read-only, of `shape` and `dtype`. It is mapped or decompressed at the first access.

        It is an np.memmap; if the file is compressed (lys writes such files) or the array empty, an array in memory. Raises
        StorageOSError if the system refuses the map (`read` needs none), BadFileError if the compressed data are damaged, and
        ScanClosedError after `close()`.
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
            with naming_the_file(self.path), open_stream(self._file) as whole, zipfile.ZipFile(whole) as archive:
                return _decompress(archive, stored)
        try:
            return np.memmap(FileStream(self._file), stored.dtype, "r", stored.offset, stored.shape, stored.order)  # type: ignore[call-overload,no-any-return,unused-ignore]
        except (OSError, ValueError, OverflowError) as error:
            reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
            raise os_error("map", self.path, reason, "wave.read(index) reads without a map") from error

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of the part that `index` selects, as an array of `dtype`; 0-dimensional if that is one element.

        `index`: ints, slices, Ellipsis, or a tuple of them; by default the whole array. Raises FrameIndexError if it is out
        of range, or has a mask or a list, and ScanClosedError after `close()`. A disk error raises StorageOSError here; an
        access through the memory map `data` would kill the process.
        """
        one_index("wave.read", index, more)
        self._raise_if_closed()
        stored, selection = self._stored, select(index, self.shape, _ADVICE)
        if stored.offset is None or stored.size_bytes == 0:
            return np.array(self.data[index], self.dtype)
        read = read_fortran_selection if stored.order == "F" else read_selection
        return read(self._file, stored.offset, self.shape, self.dtype, selection)

    def __getitem__(self, index: Any) -> Any:
        """As `read`, but one element is a numpy scalar."""
        return self.read(index)[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        return self.data

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise ScanClosedError(f"{self.path} is closed; open it again with open_wave")

    def verify(self, *, on_progress: Progress | None = None) -> list[str]:
        """Read every byte of the file. A text for each fault; an empty list: the file is sound.

        `on_progress(done, total)`: bytes.
        """
        self._raise_if_closed()
        return list(check_members(self._file, on_progress))

    def close(self) -> None:
        """Close the file. Arrays that `data` returned before remain valid. A second call does nothing."""
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
    """Open an export (a .npz with an array `data`) for reading. Without `verify` this does not read the array.

    Args:
        path: The name of the export. A leading `~` is the home folder.
        allow_pickle: Unpickle all objects in the axes and the note. This can execute code from the file. If False, an object
            of the note that is not plain data is given as a text such as `<decimal.Decimal('1')>`.
        verify: Read the whole file, and compare each member with its CRC-32.

    A note that cannot be read does not prevent opening: it is given as {}, and a warning is logged.

    Raises StorageOSError if the file cannot be opened or read; BadFileError if it is not an export, or is damaged;
    UnsafeFileError if the axes hold objects other than plain data and numpy arrays, and `allow_pickle` is False.
    """
    where = as_path(path)
    file = open_export(where)
    try:
        with naming_the_file(where, file):
            wave = _open(where, file, allow_pickle)
            for what in check_members(file) if verify else ():
                raise BadFileError(what)
        return wave
    except BaseException:
        file.close()
        raise


def _open(where: Path, file: File, allow_pickle: bool) -> StoredWave:
    with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
        check_structure(archive, file.size)
        data = find_member(archive, "data")
        if data is None:
            raise NotAnExportError(describe_members(archive.namelist()))
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


def _read_note(wave: StoredWave, archive: zipfile.ZipFile, member: zipfile.ZipInfo, allow_pickle: bool) -> None:
    """A note that cannot be read does not prevent access to the data."""
    try:
        wave.note, wave.note_error = decode_note_with_texts(archive.read(member), allow_pickle)
    except BAD_FILE_ERRORS as error:
        what = f"note.npy cannot be read: {type(error).__name__}: {error}"
        # A new exception: the traceback of this one would keep the wave, and all that was read, in memory.
        wave.note_error = type(error)(str(error)) if isinstance(error, BadFileError) else BadFileError(what)
        log.warning("%s: %s; the note is given as empty, the data are not affected", wave.path, wave.note_error)


def _check_header(file: File, wave: StoredWave) -> None:
    """Raise BadFileError if the .npy header has changed: a flipped bit can turn "<f8" into ">f8".

    This reads no data: the CRC-32 of the member follows from that of the header and that of the array, which
    `acquisition.json` holds.
    """
    stored = wave._stored
    array_crc, offset, size = wave.info.get("array_crc32"), stored.offset, stored.size_bytes
    if type(array_crc) is not int or offset is None or size == 0:
        return
    header = file.read_at(stored.header_size, offset - stored.header_size)
    if combine(crc32(header), array_crc & 0xFFFFFFFF, size) != stored.member.CRC:
        raise BadFileError("the header of data.npy does not match its checksum")


def _find_array(archive: zipfile.ZipFile, file: File, member: zipfile.ZipInfo) -> _Data:
    """The header of the array, and the place of its elements. Raises BadFileError if the member has another size than that."""
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
        raise NotAnExportError(
            f"{member.filename} holds Python objects, expected numbers or text; numpy.load(..., allow_pickle=True) reads "
            "them, which can execute code from the file"
        )
    needed = header_size + data.size_bytes
    if needed != member.file_size or (is_stored and start + needed > file.size):
        raise BadFileError(
            f"{member.filename} has {member.file_size} bytes, expected {needed} for shape {shape} of {dtype}"
        )
    return data


def _decompress(archive: zipfile.ZipFile, stored: _Data) -> np.ndarray[Any, Any]:
    array = np.empty(stored.shape, stored.dtype, stored.order)
    view, at = array.reshape(-1, order=stored.order).view(np.uint8).data, 0
    with archive.open(stored.member) as stream:
        stream.read(stored.header_size)
        while piece := stream.read(_STEP):  # up to the end: there zipfile compares the CRC-32
            view[at : at + len(piece)] = piece
            at += len(piece)
    if at != len(view):
        raise BadFileError(f"{stored.member.filename} is truncated: {at} bytes, expected {len(view)}")
    return array
