"""Alignment of the array in a scan file: to a page, and of a large array to the size of its frames.

Pure arithmetic. Never changes the array offset of an existing file: its journal holds that.
"""

from __future__ import annotations

PAGE = 4096
"""Bytes. Every array begins at a multiple of it."""
_LARGE_ARRAY, _LARGE_ALIGNMENT = 1 << 24, 1 << 16
"""An array of 16 MiB or more begins at a multiple of 64 KiB: the kernel then caches its frames in larger pieces."""
MAX_ALIGNMENT, _MAX_PADDING_RATIO = 1 << 21, 256
"""The alignment of a large array is at most 2 MiB, and at most a 256th of its size. This limits the padding."""


def array_alignment(array_size: int, frame_bytes: int) -> int:
    """The alignment of an array in bytes, a power of two. The page cache then holds each frame in few large pieces."""
    if array_size < _LARGE_ARRAY:
        return PAGE
    limit = 1 << (array_size // _MAX_PADDING_RATIO).bit_length() - 1
    return max(_LARGE_ALIGNMENT, min(frame_bytes & -frame_bytes, limit, MAX_ALIGNMENT))
