"""Where the array of a scan file begins: at a page, and a large one as its frames lie in it. Pure arithmetic."""

from __future__ import annotations

PAGE = 4096
"""Bytes; the array of a scan file begins at a multiple of it."""
_ROOMY, _ROOMY_FROM = 1 << 16, 1 << 24
"""An array of 16 MiB and more begins at a multiple of 64 KiB: the kernel keeps frames in larger pieces where they lie so."""
MAX_ALIGNMENT, _ROOM_SHARE = 1 << 21, 256
"""A large one begins as its frames lie in it, by powers of two: at up to 2 MiB, and at a 256th of its size."""


def array_alignment(array_size: int, frame_bytes: int) -> int:
    """What an array's place is to be a multiple of, so that frames lie in the page cache in few large pieces."""
    if array_size < _ROOMY_FROM:
        return PAGE
    most = 1 << (array_size // _ROOM_SHARE).bit_length() - 1
    return max(_ROOMY, min(frame_bytes & -frame_bytes, most, MAX_ALIGNMENT))
