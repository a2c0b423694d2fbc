"""Opens exports: `open_wave` and `StoredWave`.

Never writes, and never unpickles a file unless the caller asks for it with `allow_pickle`.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex, TypeVar

import numpy as np

from ..array_like import Facts, keys_in_words, one_index
from ..callbacks import Progress
from ..disk import File, absolute
from ..errors import BadFileError, ScanClosedError
from ..format import (
    INFO_FORMAT,
    Axes,
    Grid,
    axes_in_a_line,
    check_info,
    combine,
    crc32,
    decode_labels,
    frame_chunks,
    grid_ndim_of,
    is_scan_file,
    journal_path,
    with_coordinates,
)
from .array_file import ArrayFile, ArrayMember, find_array
from .labelled import LabelledArray
from .metadata import check_copies, read_metadata
from .missing import missing_frames
from .no_export import as_path, naming_the_file, open_export
from .scan_in_progress import ScanInProgress
from .source import ExportSource
from .stream import open_stream
from .zip_check import check_members

_Result = TypeVar("_Result")


class StoredWave(LabelledArray):
    """An export, opened for reading by `open_wave`. Use it in a `with` block, or call `close()`.

    `data` is the whole array. `wave[index]` and `wave.read(index)` read a part of it. `np.asarray(wave)` is `wave.data`.
    All of them read the file that was opened, even if another file takes its name later. `isel` and `sel` read by the names
    of the dimensions. `to_dask` and `to_xarray` return lazy arrays.

    A pickle holds the path, and not the data: see `__reduce_ex__`.

    Attributes:
        path: The path that was opened.
        note: A dict.
        note_error: The error of the note, or None. UnsafeFileError: a value that is not plain data is given as a text.
            BadFileError: the note cannot be read, and `note` is {}.
        info: The content of `acquisition.json`; {} if the file has none.
        is_hdf5: Whether HDF5 reads the file as well: the array is then the dataset `/entry/data/data`.
    """

    _whole = "wave.data"

    def __init__(self, path: Path, file: File, member: ArrayMember, allow_pickle: bool = False) -> None:
        self.path = path
        self._full_path = absolute(path)  # now: the working directory can change
        self._array = ArrayFile(path, file, member)
        self._allow_pickle = allow_pickle
        self._is_closed = False
        self._axes: Axes = []
        self.note: dict[Any, Any] = {}
        self.note_error: BadFileError | None = None
        self.info: dict[str, Any] = {}
        self.is_hdf5 = False

    @property
    def _stored(self) -> ArrayMember:
        return self._array.member

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
    def array_offset(self) -> int | None:
        """Where the first element of the array is in the file, in bytes. None if the array is compressed."""
        return self._stored.offset

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
        StorageOSError if the system refuses the map (`read` needs none), BadFileError if the compressed data are damaged,
        NotEnoughMemoryError (a MemoryError) if they do not fit into memory, and ScanClosedError after `close()`.
        """
        return self._while_open(self._array.whole)

    def read(self, index: Any = ..., *more: Any) -> np.ndarray[Any, Any]:
        """A copy of the part that `index` selects, as an array of `dtype`; 0-dimensional if that is one element.

        `index`: ints, slices, Ellipsis, or a tuple of them; by default the whole array. Raises FrameIndexError if it is out
        of range, or has a mask or a list, and ScanClosedError after `close()`. A disk error raises StorageOSError here; an
        access through the memory map `data` would kill the process.

        The first read of a compressed array decompresses all of it, and keeps it in memory. If it does not fit into memory,
        each read decompresses what is before its end, and keeps nothing; its CRC-32 is then not compared.
        """
        one_index("wave.read", index, more)
        return self._while_open(self._array.read, index)

    def __getitem__(self, index: Any) -> Any:
        """As `read`, but one element is a numpy scalar."""
        result = self._while_open(self._array.read, index)
        return result if result.ndim else result[()]

    def __iter__(self) -> Iterator[Any]:
        """`wave[0]`, `wave[1]`, ... along the first dimension.

        A compressed array of more than 64 MiB is read in one pass, and only one entry of it is in memory, unless `data` was
        used before. Its CRC-32 is compared at the end; BadFileError is raised if it is wrong.
        """
        self._raise_if_closed()
        return self._rows() if self.ndim and self._array.has_rows_to_stream() else super().__iter__()

    def _rows(self) -> Iterator[Any]:
        for row in self._array.rows():
            self._raise_if_closed()
            yield row[()]

    def _as_array(self) -> np.ndarray[Any, Any]:
        return self.data

    def _load(self, advice: str) -> np.ndarray[Any, Any]:
        return self._while_open(self._array.load, advice)

    def _while_open(self, read: Callable[..., _Result], *args: Any) -> _Result:
        """What `read` returns. Raises ScanClosedError, also if another thread calls `close()` meanwhile.

        Its result is not used then: the number of the closed descriptor may be that of another file already.
        """
        self._raise_if_closed()
        try:
            return read(*args)
        finally:
            self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise ScanClosedError(f"{self.path} is closed; open it again with open_wave")

    def verify(self, *, on_progress: Progress | None = None) -> list[str]:
        """Read every byte of the file. A text for each fault; an empty list: the file is sound.

        `on_progress(done, total)`: bytes.
        """
        self._raise_if_closed()
        file = self._array.file
        faults = list(check_members(file, on_progress))
        if not faults:
            with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
                faults += check_copies(archive, file, self.info, self.array_offset)
        return faults

    def close(self) -> None:
        """Close the file. Arrays that `data` returned before remain valid. A second call does nothing."""
        self._is_closed = True
        self._array.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """A pickle or a copy holds the path, and what identifies the file. Loading it opens the file again.

        It raises BadFileError if the file was replaced or changed, StorageOSError if it cannot be opened. It unpickles
        objects of the file only if this wave was opened with `allow_pickle`. Changes of `note` and `info` are not kept.
        Raises ScanClosedError after `close()`.
        """
        self._raise_if_closed()
        return _open_again, (str(self._full_path), self._stored.identity, self._allow_pickle)

    def _source(self) -> ExportSource:
        self._raise_if_closed()
        return ExportSource(self._full_path, self._stored.identity, self.shape, self.dtype)

    @property
    def _grid(self) -> Grid:
        return Grid(self.shape, self.grid_ndim)

    @property
    def grid_ndim(self) -> int:
        return grid_ndim_of(self.info, self.shape)

    @property
    def is_complete(self) -> bool:
        """Whether each frame was written, as far as the file tells."""
        return not self._is_ours or self.info.get("frames_written") == self.info.get("frames_expected")

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The frames that were written: an array of bool of the shape of the grid. The others hold the fill value.

        All are True in a file that was not written by lys_storage; its grid is then all but the last two dimensions. Raises
        BadFileError if the lists of missing frames are damaged, ScanClosedError after `close()`.
        """
        self._raise_if_closed()
        for fault in check_info(self.shape, self.info):
            raise BadFileError(f"{self.path}: {fault}; lys-storage verify checks the file")
        grid = self._grid
        if self.is_complete:
            return np.ones(grid.grid_shape, bool)
        written = missing_frames(self, grid.frames).written(grid.frames)
        if np.count_nonzero(written) != self.info["frames_written"]:
            raise BadFileError(f"{self.path}: its missing frames do not fit the number of frames written")
        return written.reshape(grid.grid_shape)

    @property
    def _is_ours(self) -> bool:
        return self.info.get("format") == INFO_FORMAT

    def _frame_chunks(self) -> tuple[int, ...]:
        return frame_chunks(self.shape, self.dtype.itemsize, self.grid_ndim, self._stored.order == "F")

    def __repr__(self) -> str:
        lines = [f"<{type(self).__name__} {self.path} {self.shape} {self.dtype}", *self._axes_in_short()]
        return "\n  ".join(lines) + ">"

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

    The scan file of a scan in progress (.npz.part) is opened, too: `written` then tells which frames have been written so far,
    `read` gives the fill value for the others, and `to_dask`, `to_xarray` and pickles are refused. `follow` tells new frames.

    A note that cannot be read does not prevent opening: it is given as {}, and a warning is logged.

    Raises StorageOSError if the file cannot be opened or read; BadFileError if it is not an export, or is damaged;
    UnsafeFileError if the axes hold objects other than plain data and numpy arrays, and `allow_pickle` is False.
    """
    return _open_path(as_path(path), allow_pickle, verify)


def _open_again(path: str, identity: str, allow_pickle: bool) -> StoredWave:
    """What a pickle of a wave calls. Raises BadFileError, before anything else is read, if the file is another one."""
    return _open_path(Path(path), allow_pickle, identity=identity)


def _open_path(where: Path, allow_pickle: bool, verify: bool = False, identity: str | None = None) -> StoredWave:
    try:
        return _open_file(where, allow_pickle, verify, identity)
    except BadFileError:  # a scan file that is a second name of its export opens, as that
        if identity is not None or not is_scan_file(where.name) or not journal_path(where).exists():
            raise
    from .scan_wave import ScanWave  # imported here: it builds on this module

    scan = ScanInProgress(where)
    try:
        wave = ScanWave(where, scan, allow_pickle)
        if verify:
            wave.verify()
        return wave
    except BaseException:
        scan.close()
        raise


def _open_file(where: Path, allow_pickle: bool, verify: bool, identity: str | None) -> StoredWave:
    file = open_export(where)
    try:
        with naming_the_file(where, file):
            wave = _open(where, file, allow_pickle, identity)
            for what in wave.verify() if verify else ():
                raise BadFileError(what)
        return wave
    except BaseException:
        file.close()
        raise


def _open(where: Path, file: File, allow_pickle: bool, identity: str | None) -> StoredWave:
    with open_stream(file) as whole, zipfile.ZipFile(whole) as archive:
        wave = StoredWave(where, file, find_array(archive, file, identity), allow_pickle)
        found = read_metadata(archive, where, wave.ndim, allow_pickle)
        wave._axes, wave.note, wave.note_error, wave.info, wave.is_hdf5 = found
        check_header(file, wave._stored, wave.info)
    return wave


def check_header(file: File, stored: ArrayMember, info: dict[str, Any]) -> None:
    """Raise BadFileError if the .npy header has changed: a flipped bit can turn "<f8" into ">f8".

    This reads no data: the CRC-32 of the member follows from that of the header and that of the array, which
    `acquisition.json`, whose content is `info`, holds.
    """
    array_crc, offset, size = info.get("array_crc32"), stored.offset, stored.size_bytes
    if type(array_crc) is not int or offset is None or size == 0:
        return
    header = file.read_at(stored.header_size, offset - stored.header_size)
    if combine(crc32(header), array_crc & 0xFFFFFFFF, size) != stored.member.CRC:
        raise BadFileError("the header of data.npy does not match its checksum")
