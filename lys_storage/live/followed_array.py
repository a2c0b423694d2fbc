"""The array of a followed scan: what has been written so far, read by index. Never maps a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..array_like import ArrayLike, Facts, keys_in_words, one_index
from ..errors import MissingFrameError
from ..format import select, shown_index
from ..reading import ScanInProgress, StoredWave, read_part

if TYPE_CHECKING:
    from .view import FollowerView

_ADVICE = "reading takes ints, slices and '...'"
Array = np.ndarray[Any, Any]


class FollowedArray(ArrayLike):
    """`Follower.data`: `data[index]` and `data.read(index)` read a part of the array as it is at this moment.

    Each frame is one version of it, never a mixture. Two frames may be of different moments. After the scan has ended the
    export is read.
    """

    _whole = "follower.data.read()"
    _is_always_copied = True

    def __init__(self, follower: FollowerView) -> None:
        self._follower = follower

    @property
    def shape(self) -> tuple[int, ...]:
        return self._follower.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._follower.dtype

    def read(self, index: Any = ..., *more: Any) -> Array:
        """A copy of the part that `index` selects, as an array of `dtype`. Missing frames hold the fill value.

        `index`: ints, slices, Ellipsis, or a tuple of them; by default the whole array. It may select parts of frames, which
        are read as whole frames. Raises FrameIndexError if it is out of range, or has a mask or a list.
        """
        one_index("data.read", index, more)
        return self._follower._with_source(lambda source: _read(source, index, fill=True))

    def __getitem__(self, index: Any) -> Any:
        """As `read`, but one element is a numpy scalar. Raises MissingFrameError if a frame is missing."""
        return self._follower._with_source(lambda source: _read(source, index, fill=False))[()]

    def _as_array(self) -> Array:
        array: Array = self._follower._with_source(lambda source: _read(source, ..., fill=False))
        array.flags.writeable = False
        return array

    def _facts(self) -> Facts:
        follower = self._follower
        return {
            "path": lambda: follower.path,
            "shape": lambda: self.shape,
            "dtype": lambda: self.dtype,
            "frames": lambda: f"{follower.frames_written} of {follower.frames_expected} written",
            "state": lambda: follower.state,
            "note": lambda: keys_in_words(follower.note),
        }

    def __repr__(self) -> str:
        return f"<FollowedArray {self.shape} {self.dtype} of {self._follower!r}>"


def _read(source: ScanInProgress | StoredWave, index: Any, *, fill: bool) -> Array:
    if isinstance(source, ScanInProgress):
        return read_part(source, index, fill=fill)
    if not fill and not source.is_complete:
        _raise_if_missing(source, index)
    return source.read(index)


def _raise_if_missing(wave: StoredWave, index: Any) -> None:
    ndim = len(wave.grid_shape)
    entries = select(index, wave.shape, _ADVICE).entries[:ndim]
    where = tuple(e if isinstance(e, int) else np.arange(e.start, e.stop, e.step) for e in entries)
    if not wave.written[np.ix_(*(np.atleast_1d(e) for e in where))].all():
        raise MissingFrameError(
            f"index {shown_index(index)} needs a frame that is missing in {wave.path}; data.read(index) gives its fill value"
        )
