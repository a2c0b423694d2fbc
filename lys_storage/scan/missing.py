"""The grid indices of missing frames, from one bit for each frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..format import Grid

_STEP = 1 << 13
"""Bytes of these bits that are unpacked together."""


def missing_indices(bits: bytes, grid: Grid) -> Iterator[tuple[int, ...]]:
    for at in range(0, len(bits), _STEP):
        part = np.unpackbits(np.frombuffer(bits, np.uint8, min(_STEP, len(bits) - at), at))
        for frame in np.flatnonzero(part).tolist():
            yield grid.index_of(8 * at + frame)
