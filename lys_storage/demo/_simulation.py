"""A simulated measurement: frames of any shape and dtype on a grid of any dimension, simulated faster than a disk writes.

The random numbers are drawn once, at the start. A frame is composed of precomputed pieces: a noisy background, readout
noise, and noisy reflections at the positions that the sample (`_sample`) gives. The choice of pieces depends on the seed and
the index only, so that any frame can be simulated again, bit for bit, with the same numpy.

Never keeps a frame, and uses neither files nor Qt.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._pieces import Pieces
from ._sample import Point, Sample, reflections

_MASK = (1 << 64) - 1
_GRID_AXES = [("scan x", "µm", 0.05), ("scan y", "µm", 0.05), ("delay", "ps", 0.2), ("temperature", "K", 5.0)]
_GOLDEN = 0x9E3779B97F4A7C15


class SimulatedMeasurement:
    """A scan of `grid_shape` that gives a frame of `frame_shape` and `dtype` at each index.

    Raises TypeError if `dtype` is not integer, floating or complex, ValueError if a length is not positive.
    """

    def __init__(
        self,
        grid_shape: Sequence[int] = (32, 32),
        frame_shape: Sequence[int] = (128, 128),
        dtype: npt.DTypeLike = "uint16",
        seed: int = 0,
    ) -> None:
        self.grid_shape = tuple(grid_shape)
        self.frame_shape = tuple(frame_shape)
        self.shape = self.grid_shape + self.frame_shape
        self.dtype = np.dtype(dtype)
        self.seed = seed
        if self.dtype.kind not in "uifc":
            raise TypeError(f"a detector's frames are integer, floating or complex numbers, not {self.dtype}")
        if any(n < 1 for n in self.shape):
            raise ValueError(f"every length must be at least 1: grid {self.grid_shape}, frame {self.frame_shape}")
        self._sample = Sample(self.grid_shape, seed)
        self._pieces = Pieces(self.frame_shape, self.dtype, seed)
        found = reflections(len(self.frame_shape))
        self._centres, self._along, self._across = (
            np.array(part).reshape(len(found), len(self.frame_shape)) * np.array(self.frame_shape)
            for part in ([r.centre for r in found], [r.along for r in found], [r.across for r in found])
        )
        # Reflections of the same brightness: strength, domain, their numbers.
        alike = sorted({(r.strength, r.domain) for r in found})
        self._groups = [
            (strength, domain, [k for k, r in enumerate(found) if (r.strength, r.domain) == (strength, domain)])
            for strength, domain in alike
        ]

    @property
    def frame_count(self) -> int:
        """How many frames the whole scan has."""
        return math.prod(self.grid_shape)

    @property
    def frame_bytes(self) -> int:
        """The size of one frame."""
        return math.prod(self.frame_shape) * self.dtype.itemsize

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Every index of the grid, in the order in which the scan visits them (the last one fastest)."""
        return itertools.product(*(range(n) for n in self.grid_shape))

    def empty_frame(self) -> npt.NDArray[Any]:
        """A buffer that fits `frame`."""
        return np.empty(self.frame_shape, self.dtype)

    def frame(self, index: Sequence[int], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """The frame at a grid index, in `out` (C-contiguous, as `empty_frame` makes it) or in a new array."""
        frame = self.empty_frame() if out is None else out
        point = self._sample.at(index)
        chance = self._chance(index)
        if not self.frame_shape:
            self._pieces.number_into(frame, 0.2 * point.thickness + 0.8 * point.domains[0], chance)
            return frame
        self._pieces.background_into(frame, chance)
        self._reflections_into(frame, point, chance)
        return frame

    def _chance(self, index: Sequence[int]) -> int:
        """64 pseudo-random bits from the seed and the index (the finalizer of SplitMix64)."""
        flat = 0
        for i, n in zip(index, self.grid_shape, strict=True):
            flat = flat * n + i
        bits = ((flat + 1) * _GOLDEN + self.seed) & _MASK
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
        return bits ^ (bits >> 31)

    def _reflections_into(self, frame: npt.NDArray[Any], point: Point, chance: int) -> None:
        pieces, width = self._pieces, point.width
        add = pieces.patch_into
        middle = self._centres + point.strain * self._along + point.rotation * self._across
        whole = pieces.regions(middle, width)
        halves = [whole]
        if point.split > 0.3:
            halves = [pieces.regions(middle + side * point.split * self._across, width) for side in (1, -1)]
        phase = cmath.rect(1.0, 2.0 * point.strain) if self.dtype.kind == "c" else None
        for strength, domain, members in self._groups:
            brightness = strength * point.thickness
            sides = [whole]
            if domain >= 0:
                sides = halves
                brightness *= point.domains[domain] / len(halves)
                if brightness < 0.02:
                    continue
            patches = pieces.patches(brightness, width)
            for regions in sides:
                for k in members:
                    add(frame, regions[k], patches[chance % len(patches)], phase)
                    chance >>= 2

    @property
    def virtual_detector(self) -> tuple[slice, ...]:
        """The part of a frame to sum up for a map of the first domain (all of a 0-d frame)."""
        for _, domain, members in self._groups:
            if domain == 0:
                reach = [max(2.0, 0.035 * n) for n in self.frame_shape]
                return tuple(
                    slice(max(0, min(int(c - r), n - 1)), min(n, int(c + r) + 1))
                    for c, r, n in zip(self._centres[members[0]].tolist(), reach, self.frame_shape, strict=True)
                )
        return ()

    @property
    def axis_names(self) -> list[str | None]:
        return [name for name, _, _ in (*self._grid_axes(), *self._frame_axes())]

    @property
    def units(self) -> list[str | None]:
        return [unit for _, unit, _ in (*self._grid_axes(), *self._frame_axes())]

    @property
    def labels(self) -> list[str]:
        """Name and unit of each dimension of the data, as "scan x (µm)"."""
        return [f"{name} ({unit})" for name, unit, _ in (*self._grid_axes(), *self._frame_axes())]

    @property
    def axes(self) -> list[npt.NDArray[np.float64]]:
        """The coordinates along each dimension of the data, in the units of `labels`."""
        grid = [step * np.arange(n) for (_, _, step), n in zip(self._grid_axes(), self.grid_shape, strict=True)]
        frame = []
        for (_, unit, span), n in zip(self._frame_axes(), self.frame_shape, strict=True):
            start = -span / 2 if unit == "1/Å" else 1.0
            frame.append(start + span / n * np.arange(n))
        return grid + frame

    def _grid_axes(self) -> list[tuple[str, str, float]]:
        """Name, unit and step of each grid dimension."""
        names = list(_GRID_AXES)
        names += [(f"repetition {k}", "1", 1.0) for k in range(len(self.grid_shape) - len(names))]
        return names[: len(self.grid_shape)][::-1]

    def _frame_axes(self) -> list[tuple[str, str, float]]:
        """Name, unit and span of each frame dimension."""
        names = [("energy", "eV", 3.0)]
        if len(self.frame_shape) > 1:
            names = [("kx", "1/Å", 4.0), ("ky", "1/Å", 4.0), ("energy", "eV", 3.0)]
        names += [(f"channel {k}", "1", 1.0) for k in range(len(self.frame_shape) - len(names))]
        return names[: len(self.frame_shape)][::-1]

    @property
    def note(self) -> dict[str, Any]:
        """The tag of the scan, as a laboratory would write it: str, int and list only."""
        return {
            "Sample": "simulated layered crystal with three domains",
            "Beam": "80 keV electrons, simulated",
            "Axes": self.labels,
            "Virtual detector": [[part.start, part.stop] for part in self.virtual_detector],
            "Seed": self.seed,
        }
