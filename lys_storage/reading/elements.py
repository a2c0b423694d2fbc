"""The elements of an export in the order of its file, in pieces: memory use does not depend on the size of the array.

Never maps a file, and never changes one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..disk import read_elements
from ..errors import BadFileError, ScanClosedError
from ..format import MISSING_MEMBER
from .no_export import naming_the_file
from .stream import open_stream
from .wave import StoredWave
from .zip_check import check_member_size, find_member

_PIECE_BYTES = 1 << 20
Array = np.ndarray[Any, Any]


def is_fortran(wave: StoredWave) -> bool:
    """Whether the first dimension is the fastest in the file."""
    return bool(wave._stored.order == "F")


def is_compressed(wave: StoredWave) -> bool:
    """Whether the array can be read only from its beginning."""
    return wave._stored.offset is None


def read_stored(wave: StoredWave, first: int, count: int) -> Array:
    """`count` elements from number `first`, of an array that is not compressed."""
    wave._raise_if_closed()
    offset = wave._stored.offset
    if offset is None:
        raise ScanClosedError(f"{wave.path} is compressed: its elements can be read in order only")
    return read_elements(wave._array.file, offset, wave.dtype, first, count)


def iterate_stored(wave: StoredWave) -> Iterator[tuple[int, Array]]:
    """(number of the first element, elements) of consecutive pieces: all elements, in the order of the file."""
    wave._raise_if_closed()
    step = max(1, _PIECE_BYTES // wave.dtype.itemsize)
    if not is_compressed(wave):
        for at in range(0, wave.size, step):
            yield at, read_stored(wave, at, min(step, wave.size - at))
        return
    with (
        naming_the_file(wave.path),
        open_stream(wave._array.file) as whole,
        zipfile.ZipFile(whole) as archive,
        archive.open(wave._stored.member) as stream,
    ):
        stream.read(wave._stored.header_size)
        for at in range(0, wave.size, step):
            size = min(step, wave.size - at) * wave.dtype.itemsize
            data = stream.read(size)
            if len(data) != size:
                raise BadFileError(f"{wave._stored.member.filename} is truncated")
            yield at, np.frombuffer(data, wave.dtype)
        stream.read(1)  # the end of the member: there zipfile compares the CRC-32


@dataclass(frozen=True)
class MissingFrames:
    """The missing frames of an export: runs [first, stop), ascending, or one bit for each frame."""

    firsts: Array
    stops: Array
    bits: Array | None = None

    def among(self, frames: Array) -> Array:
        """Of each of `frames` (numbers): whether it is missing."""
        if self.bits is not None:
            return np.asarray(self.bits[frames // 8] >> (7 - frames % 8).astype(np.uint8) & 1, bool)
        if not len(self.firsts):
            return np.zeros(len(frames), bool)
        run = np.searchsorted(self.firsts, frames, "right") - 1
        return np.asarray((run >= 0) & (frames < self.stops[run]))


def missing_frames(wave: StoredWave, frames: int) -> MissingFrames:
    """The missing ones of the first `frames` frames, as acquisition.json lists them, or missing.npy if these are many."""
    try:
        runs = np.array(wave.info.get("missing", []) if frames else [], np.int64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadFileError(
            f"{wave.path}: the missing frames in acquisition.json are no list of runs: {error}"
        ) from None
    if not frames or wave.info.get("missing_complete", True):
        return MissingFrames(runs[:, 0], runs[:, 1])
    size = -(-frames // 8)
    with naming_the_file(wave.path), open_stream(wave._array.file) as whole, zipfile.ZipFile(whole) as archive:
        member = find_member(archive, MISSING_MEMBER)
        data = b"" if member is None else archive.read(check_member_size(member))
    if len(data) < size:
        raise BadFileError(f"{wave.path}: {MISSING_MEMBER} is missing, or shorter than {size} bytes")
    return MissingFrames(runs[:, 0], runs[:, 1], np.frombuffer(data, np.uint8)[len(data) - size :])
