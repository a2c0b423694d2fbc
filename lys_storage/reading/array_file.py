"""The array of an export in an open file: found, identified, read, mapped or decompressed.

Never reads the axes or the note: what this module does cannot run code of the file.
"""

from __future__ import annotations

import errno
import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import File, known_available_memory, read_block, read_fortran_selection, read_selection, version
from ..errors import BadFileError, NotEnoughMemoryError, os_error
from ..format import CHUNK_BYTES, MAX_NPY_HEADER, decode_npy_header, select
from .forward import ForwardReader, read_forward
from .no_export import NotAnExportError, describe_members, naming_the_file, open_export
from .stream import FileStream, open_stream
from .zip_check import check_structure, find_member, member_start

_STEP = 1 << 20
_SHORT_HEAD = 4096
_SINCE = (
    "after it was pickled, or after a lazy array was made of it; open_wave reads what is there now, and a copy of the "
    "former file can be put back"
)
_COMPRESSED_ADVICE = "read parts of it by wave[index], or iterate over the wave"
_ADVICE = "read takes ints, slices and '...'; wave.data[index] takes masks and lists as well"


@dataclass(frozen=True)
class ArrayMember:
    """The array of an archive. `offset`: of its first element in the file; None if it is compressed.

    `identity`: of the whole archive, see identity_of().
    """

    member: zipfile.ZipInfo
    header_size: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Any
    offset: int | None
    identity: str

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def place_of(self, index: Any) -> tuple[int, tuple[int, ...]] | None:
        """(offset in the file, shape) of what an int, or a tuple of ints, selects. None: the general way has to tell.

        A small frame would cost several times as much by the general way. None for any other index, for one that is negative or
        out of range, and if the parts of the array are not contiguous in the file.
        """
        if type(index) is not tuple:
            index = (index,)
        steps, offset = self.steps, self.offset
        if steps is None or offset is None or len(index) > len(steps):
            return None
        for i, n, step in zip(index, self.shape, steps):  # noqa: B905  an index can be shorter
            if type(i) is not int:
                if not isinstance(i, np.integer):
                    return None
                i = int(i)
            if not 0 <= i < n:
                return None
            offset += i * step
        return offset, self.shape[len(index) :]

    @cached_property
    def steps(self) -> tuple[int, ...] | None:
        """Bytes from one position to the next, for each dimension. None if parts of the array are not contiguous, or empty."""
        if self.offset is None or self.order != "C" or not self.size_bytes:
            return None
        return tuple(prod(self.shape[k + 1 :]) * self.dtype.itemsize for k in range(len(self.shape)))


class ArrayFile:
    """The array `member` of the open `file`. It belongs to the caller, who closes it."""

    def __init__(self, path: Path, file: File, member: ArrayMember) -> None:
        self.path, self.file, self.member = path, file, member
        self._version: tuple[int, int] | None = None
        self._whole: np.ndarray[Any, Any] | None = None

    @classmethod
    def open(cls, path: Path, identity: str) -> ArrayFile:
        """Open the export at `path`. Raises BadFileError if it is not the one with that `identity`."""
        file = open_export(path)
        try:
            before = version(file.fd, path)
            with naming_the_file(path, file), open_stream(file) as stream, zipfile.ZipFile(stream) as archive:
                array = cls(path, file, find_array(archive, file, identity))
            array._version = before
            return array
        except BaseException:
            file.close()
            raise

    def ensure_unchanged(self) -> None:
        """Raise BadFileError if a process has written to the file after open()."""
        if self._version not in (None, version(self.file.fd, self.path)):
            raise BadFileError(f"{self.path}: a process has written to the file {_SINCE}")

    def whole(self) -> np.ndarray[Any, Any]:
        """The whole array, read-only, mapped or decompressed at the first call. Errors as for StoredWave.data."""
        array = self._whole
        if array is None:
            array = self._load()
            array.flags.writeable = False
            self._whole = array
        return array

    def _load(self) -> np.ndarray[Any, Any]:
        member = self.member
        if member.size_bytes == 0:
            return np.zeros(member.shape, member.dtype)
        if member.offset is None:
            what = f"{self.path}: it is compressed, and its array"
            array = allocate(what, member.shape, member.dtype, member.order, _COMPRESSED_ADVICE)
            with naming_the_file(self.path), open_stream(self.file) as stream, zipfile.ZipFile(stream) as archive:
                return _decompress(archive, member, array)
        try:
            return np.memmap(FileStream(self.file), member.dtype, "r", member.offset, member.shape, member.order)  # type: ignore[call-overload,no-any-return,unused-ignore]
        except (OSError, ValueError, OverflowError) as error:
            reason = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
            raise os_error("map", self.path, reason, "wave.read(index) reads without a map") from error

    def read(self, index: Any) -> np.ndarray[Any, Any]:
        """A copy of the part that `index` selects. Errors as for StoredWave.read."""
        member = self.member
        place = member.place_of(index)
        if place is not None:
            return read_block(self.file, *place, member.dtype)
        selection = select(index, member.shape, _ADVICE)
        if member.offset is None and self._whole is None and not fits_into_memory(member.size_bytes):
            with self.forward() as reader:
                return read_forward(reader, member.shape, member.dtype, member.order, index)
        if member.offset is None or member.size_bytes == 0:
            return np.array(self.whole()[index], member.dtype)
        read = read_fortran_selection if member.order == "F" else read_selection
        return read(self.file, member.offset, member.shape, member.dtype, selection)

    def load(self, advice: str) -> np.ndarray[Any, Any]:
        """A new array of the whole: of a compressed one, too, only one is in memory. Errors as for StoredWave.data.

        `advice`: what to do if it does not fit into memory.
        """
        member = self.member
        ensure_it_fits(f"{self.path}: its array", member.shape, member.dtype, advice)
        if member.offset is None and self._whole is None:
            return self._load()
        return self.read(...)

    def has_rows_to_stream(self) -> bool:
        """Whether rows() uses less memory than whole(), which would keep an array of more than 64 MiB."""
        member = self.member
        return member.offset is None and member.order == "C" and self._whole is None and member.size_bytes > CHUNK_BYTES

    def rows(self) -> Iterator[np.ndarray[Any, Any]]:
        """The entries of the first dimension of a compressed array, one after the other, in one pass over the file.

        Raises BadFileError after the last one if the data do not have their CRC-32.
        """
        member = self.member
        with self.forward() as reader:
            for k in range(member.shape[0]):
                row = np.empty(member.shape[1:], member.dtype)
                reader.read_into(row.reshape(-1).view(np.uint8).data, k * row.nbytes)
                yield row
            reader.finish()

    @contextmanager
    def forward(self) -> Iterator[ForwardReader]:
        """Reads a compressed array from its beginning."""
        with (
            naming_the_file(self.path),
            open_stream(self.file) as stream,
            zipfile.ZipFile(stream) as archive,
            archive.open(self.member.member) as data,
        ):
            yield ForwardReader(data, self.member.header_size)

    def close(self) -> None:
        """Close the file. Arrays that whole() returned remain valid. A second call does nothing."""
        self._whole = None
        self.file.close()


def identity_of(archive: zipfile.ZipFile, size: int) -> str:
    """A text that two archives share only if they have the same content: 32 hex digits.

    It follows from the size of the file, and from the name, size and CRC-32 of each member, which the central directory has.
    Nothing else is read. A copy of the file has the same identity, also on another file system or after it was restored.
    """
    facts = [size, *((info.filename, info.file_size, info.CRC) for info in archive.infolist())]
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def find_array(archive: zipfile.ZipFile, file: File, identity: str | None = None) -> ArrayMember:
    """The array of `archive`, which is `file`, after a check of the structure of the archive.

    Raises BadFileError if the archive is damaged, if it has no array, or if `identity` is given and is not its own.
    """
    size = file.size
    check_structure(archive, size)
    found = identity_of(archive, size)
    if identity not in (None, found):
        raise NotAnExportError(f"is another file now: the export was replaced or changed {_SINCE}")
    data = find_member(archive, "data")
    if data is None:
        raise NotAnExportError(describe_members(archive.namelist()))
    return _describe_array(archive, file, data, found)


def _describe_array(archive: zipfile.ZipFile, file: File, member: zipfile.ZipInfo, identity: str) -> ArrayMember:
    """The header of the array, and the place of its elements. Raises BadFileError if the member has another size than that."""
    is_stored = member.compress_type == zipfile.ZIP_STORED
    start = member_start(file, member) if is_stored else 0
    if is_stored:
        head = _read_head(file, start)
    else:
        with archive.open(member) as stream:
            head = stream.read(MAX_NPY_HEADER + 12)
    shape, dtype, is_fortran, header_size = decode_npy_header(head)
    offset = start + header_size if is_stored else None
    order = "F" if is_fortran and len(shape) > 1 else "C"
    data = ArrayMember(member, header_size, shape, dtype, order, offset, identity)
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


def _read_head(file: File, start: int) -> bytes:
    """The bytes at `start`, with the .npy header there. A long one needs a second read: few are, and a share is slow."""
    head = file.read_at(_SHORT_HEAD, start)
    size = int.from_bytes(head[8 : 10 if head[6:7] == b"\1" else 12], "little")
    return head if size + 12 <= _SHORT_HEAD else file.read_at(MAX_NPY_HEADER + 12, start)


def fits_into_memory(size: int) -> bool:
    """Whether `size` bytes are available, or it is not known."""
    available = known_available_memory()
    return available is None or size <= available


def allocate(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any, advice: str) -> np.ndarray[Any, Any]:
    """An array without values. Raises NotEnoughMemoryError if it is larger than the memory that is available.

    `what` and `advice` are for the message. Linux gives out more memory than it has, and kills the process later.
    """
    ensure_it_fits(what, shape, dtype, advice)
    with suppress(MemoryError):  # the error below says what to do
        return np.empty(shape, dtype, order)
    raise _too_large(what, shape, dtype, advice)


def ensure_it_fits(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], advice: str) -> None:
    """Raise NotEnoughMemoryError if an array is larger than the memory that is available. `what`, `advice`: as for allocate."""
    if not fits_into_memory(prod(shape) * dtype.itemsize):
        raise _too_large(what, shape, dtype, advice)


def _too_large(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], advice: str) -> NotEnoughMemoryError:
    available = known_available_memory()
    known = "" if available is None else f"; {available:,} bytes are available"
    size = prod(shape) * dtype.itemsize
    return NotEnoughMemoryError(f"{what} of shape {shape} of {dtype} needs {size:,} bytes of memory{known}: {advice}")


def _decompress(archive: zipfile.ZipFile, stored: ArrayMember, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Fill `array`."""
    view, at = array.reshape(-1, order=stored.order).view(np.uint8).data, 0
    with archive.open(stored.member) as stream:
        stream.read(stored.header_size)
        while piece := stream.read(_STEP):  # up to the end: there zipfile compares the CRC-32
            view[at : at + len(piece)] = piece
            at += len(piece)
    if at != len(view):
        raise BadFileError(f"{stored.member.filename} is truncated: {at} bytes, expected {len(view)}")
    return array
