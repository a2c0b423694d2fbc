"""How an array is cut into blocks: boxes that are contiguous in the file, and of a bounded size. Pure arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

Box = tuple[slice, ...]
"""One slice for each dimension."""


def block_shape(shape: tuple[int, ...], itemsize: int, limit: int, is_fortran: bool = False) -> tuple[int, ...]:
    """The shape of a block of at most `limit` bytes, or of one element. Blocks of one array have almost the same size.

    Of the slow dimensions a block has one index, of one dimension a part, and of the fast ones all.
    """
    if is_fortran:
        return block_shape(shape[::-1], itemsize, limit)[::-1]
    block, room = [1] * len(shape), max(1, limit // max(1, itemsize))
    for k in reversed(range(len(shape))):
        n = max(1, shape[k])
        pieces = -(-n // room)
        block[k] = -(-n // pieces)
        if pieces > 1:
            break
        room //= n
    return tuple(block)


def boxes(shape: tuple[int, ...], block: tuple[int, ...], is_fortran: bool = False) -> Iterator[Box]:
    """The blocks of an array of `shape`, in the order of the file."""
    if is_fortran:
        for box in boxes(shape[::-1], block[::-1]):
            yield box[::-1]
        return
    cuts = [[slice(at, min(at + step, n)) for at in range(0, n, step)] for n, step in zip(shape, block, strict=True)]
    yield from itertools.product(*cuts)


def lengths(box: Box) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in box)
