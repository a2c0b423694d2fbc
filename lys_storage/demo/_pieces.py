"""The precomputed pieces of simulated frames: backgrounds, readout noise, noisy reflections.

All random numbers of the simulation are drawn here, once. Memory: less than 10 MiB and two frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._sample import WIDTHS

_POOL = 1 << 18
_CHUNK = 1 << 17
_LEVELS = 48
_PATCH_ELEMENTS = 1 << 12
_BUDGET = 2 << 20


class Pieces:
    """Pieces of frames of `frame_shape` and `dtype` (integer, floating or complex), the same for the same seed."""

    def __init__(self, frame_shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> None:
        self._shape = frame_shape
        self._dtype = dtype
        self._rng = np.random.default_rng([seed, 2])
        # An 8-bit integer must hold the background and two overlapping reflections.
        self._narrow = dtype.kind in "iu" and dtype.itemsize == 1
        limit = int(np.iinfo(dtype).max) if self._narrow else 0
        self._peak = 0.4 * limit if self._narrow else 1000.0
        self._room = limit - int(self._peak)
        self._normal = self._rng.standard_normal(1 << 12)
        self._pool = self._readout(_POOL)
        self._backgrounds = self._draw_backgrounds()
        self._reaches, self._patches = self._draw_patches()
        self._lengths = 2 * self._reaches + 1

    def background_into(self, frame: npt.NDArray[Any], chance: int) -> None:
        """Overwrite the frame with a background and readout noise, chosen by the bits of `chance`."""
        flat = frame.reshape(-1)
        background = self._backgrounds[chance % len(self._backgrounds)]
        for start in range(0, flat.size, _CHUNK):
            stop = min(start + _CHUNK, flat.size)
            chance = (chance * 25 + 0x9E3779B1) & 0xFFFFFFFFFFFFFFFF
            offset = (chance >> 24) % (_POOL - (stop - start))
            np.add(background[start:stop], self._pool[offset : offset + stop - start], out=flat[start:stop])

    def regions(self, centres: npt.NDArray[np.float64], width: int) -> list[tuple[slice, ...]]:
        """The region of a frame that a reflection of this width covers, for each row of `centres` (in pixels)."""
        starts = np.rint(centres).astype(int) - self._reaches[width]
        stops = starts + self._lengths[width]
        slices = list(map(slice, starts.ravel().tolist(), stops.ravel().tolist()))
        dims = len(self._shape)
        return [tuple(slices[k : k + dims]) for k in range(0, len(slices), dims)]

    def patches(self, brightness: float, width: int) -> list[npt.NDArray[Any]]:
        """Noisy reflections of this brightness (0 to 1) and width, to choose from."""
        return self._patches[min(int(brightness * _LEVELS), _LEVELS - 1)][width]

    def patch_into(
        self, frame: npt.NDArray[Any], region: tuple[slice, ...], patch: npt.NDArray[Any], phase: complex | None
    ) -> None:
        """Add the part of a reflection that is inside the frame, at a region from `regions`."""
        target = frame[region]
        if target.shape != patch.shape:
            target, patch = self._cropped(frame, region, patch)
        if self._narrow:
            np.minimum(target, self._room, out=target)  # saturate as a detector does, never wrap
        if phase is None:
            target += patch
        else:
            target += (patch * phase).astype(self._dtype)

    def _cropped(
        self, frame: npt.NDArray[Any], region: tuple[slice, ...], patch: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The overlapping parts of the frame and the patch, if the frame's edge cuts the patch."""
        inside, crop = [], []
        for part, n in zip(region, self._shape, strict=True):
            start = min(max(part.start, 0), n)
            stop = max(start, min(part.stop, n))
            inside.append(slice(start, stop))
            crop.append(slice(start - part.start, stop - part.start))
        return frame[tuple(inside)], patch[tuple(crop)]

    def number_into(self, frame: npt.NDArray[Any], brightness: float, chance: int) -> None:
        """Write a 0-d frame: `brightness` (0 to 1) in counts, with counting noise."""
        counts = self._peak * (0.1 + 0.8 * brightness)
        noise = self._normal[chance % len(self._normal)]
        value = max(counts + math.sqrt(counts) * float(noise), 0.0)
        if self._dtype.kind in "iu":
            frame[()] = min(int(value), int(2.5 * self._peak))
        else:
            frame[()] = value * (0.8 + 0.6j) if self._dtype.kind == "c" else value

    def _readout(self, size: int) -> npt.NDArray[Any]:
        """`size` numbers of readout noise; unsigned integers have none below zero."""
        if self._dtype.kind == "u":
            return self._rng.poisson(3.0, size).astype(self._dtype)
        noise = 1.5 * self._rng.standard_normal(size)
        if self._dtype.kind == "i":
            noise = noise.round()
        if self._dtype.kind == "c":
            return (noise + 1.5j * self._rng.standard_normal(size)).astype(self._dtype)
        return noise.astype(self._dtype)

    def _draw_backgrounds(self) -> npt.NDArray[Any]:
        """A few noisy backgrounds: the direct beam and its halo, or the slope of a spectrum."""
        size = math.prod(self._shape)
        count = max(1, min(4, _BUDGET // (size * self._dtype.itemsize)))
        found = np.empty((count, size), self._dtype)
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            where = np.unravel_index(np.arange(start, stop), self._shape) if self._shape else ()
            mean = self._background_mean(where)
            for row in found:
                row[start:stop] = self._counts(mean)
        return found

    def _background_mean(self, where: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        if len(where) < 2:
            slope = where[0] / self._shape[0] if where else np.zeros(1)
            return np.asarray(0.06 * self._peak * np.exp(-1.5 * slope))
        distance = sum((c / n - 0.5) ** 2 for c, n in zip(where[-2:], self._shape[-2:], strict=True))
        halo = 0.05 / (1 + distance / 0.02) ** 1.5
        return np.asarray(self._peak * (halo + 0.5 * np.exp(-distance / 0.0008)))

    def _draw_patches(self) -> tuple[npt.NDArray[np.int_], list[list[list[npt.NDArray[Any]]]]]:
        """How far a reflection reaches from its centre [width], and noisy reflections [level][width][which]."""
        if not self._shape:
            return np.zeros((len(WIDTHS), 0), int), []
        # `most` bounds the widest one in a frame of many dimensions.
        most = (int(_PATCH_ELEMENTS ** (1 / len(self._shape))) - 1) // 2
        sharp = [min(max(0.012 * n, 0.6), most / (3 * WIDTHS[-1])) for n in self._shape]
        reaches = [[math.ceil(3 * wider * s) for s in sharp] for wider in WIDTHS]
        widest = math.prod(2 * r + 1 for r in reaches[-1]) * self._dtype.itemsize
        count = max(1, min(4, _BUDGET // (widest * _LEVELS * len(WIDTHS))))
        shapes = [self._peak_shape(sharp, wider, reach) for wider, reach in zip(WIDTHS, reaches, strict=True)]
        heights = [self._peak * (level + 1) / _LEVELS for level in range(_LEVELS)]
        return np.array(reaches), [
            [[self._counts(height * shape).astype(self._dtype) for _ in range(count)] for shape in shapes]
            for height in heights
        ]

    @staticmethod
    def _peak_shape(sharp: Sequence[float], wider: float, reach: Sequence[int]) -> npt.NDArray[Any]:
        """A Gaussian of standard deviation `wider * sharp` pixels; the wider, the lower."""
        shape = np.full((), 1 / wider)
        for s, r in zip(sharp, reach, strict=True):
            shape = np.multiply.outer(shape, np.exp(-0.5 * (np.arange(-r, r + 1) / (s * wider)) ** 2))
        return np.asarray(shape)

    def _counts(self, mean: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Counts with this mean; for an 8-bit integer at most the peak."""
        counts: npt.NDArray[Any] = np.minimum(self._rng.poisson(mean), int(self._peak) if self._narrow else 1 << 20)
        return counts
