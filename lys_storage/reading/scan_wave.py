"""A scan in progress as `open_wave` opens it: reading by index, of what is written at that moment.

Never changes a file, and never maps one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

import numpy as np

from ..array_like import Facts, one_index
from ..callbacks import Progress
from ..errors import BadFileError, MissingFrameError
from ..format import select, shown_index
from .array_file import ArrayMember, ensure_it_fits
from .forward import as_slice
from .scan_in_progress import ScanInProgress
from .source import ExportSource
from .wave import StoredWave

_ADVICE = "reading takes ints, slices and '...'"
_PIECE_BYTES = 1 << 22
Array = np.ndarray[Any, Any]


class ScanWave(StoredWave):
    """A scan in progress, opened for reading. Each read gives what is written at that moment; `info` is {}.

    `wave[index]`, `data` and `np.asarray` raise MissingFrameError if they need a frame that is missing. `read` gives the fill
    value instead. After the end of the scan, and after a change of its dtype or its grid, it reads the files that were opened.
    """

    _is_always_copied = True

    def __init__(self, path: Path, scan: ScanInProgress, allow_pickle: bool = False) -> None:
        d = scan.description
        member = ArrayMember(zipfile.ZipInfo("data.npy"), 0, d.shape, d.dtype, "C", d.array_offset, "")
        super().__init__(path, scan.file, member, allow_pickle)
        self._scan = scan
        self._axes, self.note, self.note_error = scan.read_metadata(allow_pickle)

    @property
    def axis_names(self) -> list[str | None]:
        return list(self._scan.names_and_units[0])

    @property
    def units(self) -> list[str | None]:
        return list(self._scan.names_and_units[1])

    @property
    def grid_ndim(self) -> int:
        return self._scan.grid.ndim

    @property
    def data(self) -> Array:
        """A copy of the whole array, read-only. It is not mapped: the file changes. Raises NotEnoughMemoryError, too."""
        array = self._load("read parts of it by wave[index]")
        array.flags.writeable = False
        return array

    def _load(self, advice: str) -> Array:
        self._raise_if_closed()
        ensure_it_fits(f"{self.path}: a copy of its array", self.shape, self.dtype, advice)
        return self._read(..., fill=False)

    def read(self, index: Any = ..., *more: Any) -> Array:
        one_index("wave.read", index, more)
        return self._read(index, fill=True)

    def __getitem__(self, index: Any) -> Any:
        return self._read(index, fill=False)[()]

    def _read(self, index: Any, *, fill: bool) -> Array:
        return self._while_open(lambda: read_part(self._scan, index, fill=fill))

    @property
    def is_complete(self) -> bool:
        """Whether each frame has been written. Raises ScanClosedError after `close()`."""
        return bool(self.written.all())

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The frames that have been written at this moment: an array of bool of the shape of the grid."""
        return self._while_open(self._scan.written).reshape(self.grid_shape)

    def verify(self, *, on_progress: Progress | None = None) -> NoReturn:
        raise self._is_in_progress("lys-storage verify compares its frames with their checksums")

    def _source(self) -> ExportSource:
        raise self._is_in_progress("a lazy array would change while it is computed")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise self._is_in_progress("it cannot be pickled: pass its path")

    def _is_in_progress(self, why: str) -> BadFileError:
        self._raise_if_closed()
        text = (
            f"is a scan in progress, and not an export yet; {why}; wave[index] and lys_storage.follow read its frames"
        )
        return BadFileError(f"{self.path} {text}")

    def close(self) -> None:
        super().close()
        self._scan.close()

    def _facts(self) -> Facts:
        def frames() -> str | None:
            if self._is_closed:
                return None
            written = self._scan.written()
            return f"{np.count_nonzero(written)} of {len(written)} written"

        return {**super()._facts(), "frames": frames}


def read_part(scan: ScanInProgress, index: Any, *, fill: bool) -> Array:
    """A copy of the part of the array that `index` selects. Missing frames hold the fill value, or raise MissingFrameError.

    Each frame is one version of it. Parts of frames are read as whole frames.
    """
    d, grid = scan.description, scan.grid
    selection = select(index, d.shape, _ADVICE)
    result = np.empty(selection.shape, d.dtype)
    if not result.size:
        return result
    inner = tuple(e if isinstance(e, int) else as_slice(e) for e in selection.entries[grid.ndim :])
    step = max(1, _PIECE_BYTES // d.frame_bytes)
    filled = np.frombuffer(d.fill, d.dtype)[0]
    for place, first, count in selection.blocks(grid):
        rows = result[(*place, ...)].reshape(count, -1)
        for at in range(0, count, step):
            stop = min(count, at + step)
            frames, present = scan.read_frames(first + at, first + stop)
            rows[at:stop] = _parts(frames, grid.frame_shape, inner)
            if present.all():
                continue
            if not fill:
                missing = grid.index_of(first + at + int((~present).argmax()))
                why = "" if scan.is_trusted() else ", or has no matching checksum, which comes 40 ms later"
                raise MissingFrameError(
                    f"index {shown_index(index)} needs frame {missing} of {scan.path}, which has not been written{why}; "
                    "read(index) gives the fill value for it"
                )
            rows[at:stop][~present] = filled
    return result


def _parts(frames: Array, shape: tuple[int, ...], inner: tuple[int | slice, ...]) -> Array:
    """What `inner` selects of each of `frames` (a row for each) of `shape`: a row for each, too."""
    if not inner:
        return frames
    if len(frames) == 1:  # alone: a frame can have as many dimensions as numpy has
        return frames.reshape(shape)[inner].reshape(1, -1)
    return frames.reshape(-1, *shape)[(slice(None), *inner)].reshape(len(frames), -1)
