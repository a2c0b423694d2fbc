"""Which frames of an export are missing: they were not written, and hold the fill value."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadFileError
from ..format import MISSING_MEMBER
from .no_export import naming_the_file
from .stream import open_stream
from .zip_check import check_member_size, find_member

if TYPE_CHECKING:
    from .wave import StoredWave

Array = np.ndarray[Any, Any]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


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

    def written(self, frames: int) -> Flags:
        """Of each of the first `frames` frames: whether it is not missing."""
        if self.bits is not None:
            return ~np.unpackbits(self.bits, count=frames).astype(bool)
        result = np.ones(frames, bool)
        for first, stop in zip(self.firsts.tolist(), self.stops.tolist(), strict=True):
            result[first:stop] = False
        return result


def missing_frames(wave: StoredWave, frames: int) -> MissingFrames:
    """The missing ones of the first `frames` frames, as acquisition.json lists them, or missing.npy if these are many.

    Raises BadFileError if the lists are damaged.
    """
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
