"""The members of an export that describe the acquisition, such as `acquisition.json`. Pure encode and check.

Never reads a scan or a clock: shapes, counts, runs and times are passed in. docs/format.md describes the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from .description import Description
from .npy import encode_npy_header

INFO_MEMBER = "acquisition.json"
INFO_FORMAT, INFO_VERSION = "lys_storage acquisition", 3
MISSING_MEMBER = "missing.npy"
WRITTEN_MEMBER = "written.npy"
HDF5_MEMBER = "hdf5.bin"
_MOST_CRC = (1 << 32) - 1
MAX_MISSING_RUNS = 10_000
"""Most runs of missing frames that `acquisition.json` lists. An export with more of them also has `missing.npy`."""


def encode_acquisition(
    description: Description,
    *,
    scan_shape: tuple[int, ...],
    frames_written: int,
    missing: Sequence[tuple[int, int]],
    array_crc: int,
    ended: datetime,
    axes_crc: int | None = None,
    note_crc: int | None = None,
    head_crc: int = _MOST_CRC,
    doubtful: Sequence[tuple[int, int]] = (),
) -> bytes:
    """`acquisition.json` of the export that `description` describes. Its size does not depend on `head_crc`.

    `scan_shape`: the shape of the scan, which may have been cut to that of `description`. `missing`: the runs
    [first, stop) of missing frames in order, at least the first MAX_MISSING_RUNS + 1 of them. `array_crc`: the CRC-32 of
    the array alone. `ended`: when the last frame was written, in UTC. `doubtful`: the runs of doubtful frames that were
    kept, in the form of `missing`. `axes_crc`, `note_crc`: the CRC-32 of `axes.npy` and of `note.npy`, if the members without
    pickles hold the same; else None. `head_crc`: the CRC-32 of all bytes before the array.
    """
    info: dict[str, Any] = {
        "format": INFO_FORMAT,
        "version": INFO_VERSION,
        "software": description.software,
        "scan_id": description.scan_id,
        "started": description.started,
        "ended": ended.isoformat(timespec="milliseconds"),
        "grid_shape": description.shape[: description.grid_ndim],
        "frames_expected": description.frames,
        "frames_written": frames_written,
        "missing": missing[:MAX_MISSING_RUNS],
        "missing_complete": len(missing) <= MAX_MISSING_RUNS,
        "array_crc32": array_crc,
        "axes_crc32": axes_crc,
        "note_crc32": note_crc,
        "array_offset": description.array_offset,
    }
    for name, labels in (("axis_names", description.axis_names), ("units", description.units)):
        if labels:
            info[name] = labels
    if doubtful:
        info["doubtful"], info["doubtful_complete"] = doubtful[:MAX_MISSING_RUNS], len(doubtful) <= MAX_MISSING_RUNS
    if description.shape != scan_shape:
        info["trimmed_from"] = scan_shape
    longest = json.dumps(info | {"head_crc32": _MOST_CRC}, indent=1)
    return json.dumps(info | {"head_crc32": head_crc}, indent=1).ljust(len(longest)).encode()


def encode_missing(bits: bytes, frames: int) -> bytes:
    """`missing.npy` of a grid of `frames`. `bits`: one bit for each frame, 1 for missing, packed as by numpy.packbits."""
    return encode_npy_header((-(-frames // 8),), np.dtype(np.uint8)) + bits


def encode_written(missing_bits: bytes, grid_shape: tuple[int, ...]) -> bytes:
    """`written.npy` of a grid: one bool for each frame. `missing_bits`: as the bits of encode_missing."""
    frames = int(np.prod(grid_shape, dtype=object))
    written = 1 - np.unpackbits(np.frombuffer(missing_bits, np.uint8), count=frames)
    return encode_npy_header(grid_shape, np.dtype(bool)) + written.tobytes()


def check_info(shape: tuple[int, ...], info: dict[str, Any]) -> Iterator[str]:
    """Contradictions in `info`, the content of `acquisition.json`, and between it and the `shape` of the array.

    Content of another format is not checked.
    """
    if info.get("format") != INFO_FORMAT:
        return
    try:
        grid, expected, written = tuple(info["grid_shape"]), info["frames_expected"], info["frames_written"]
        missing = sum(stop - first for first, stop in info["missing"])
        if grid != shape[: len(grid)] or expected != int(np.prod(grid, dtype=object)):
            yield f"{INFO_MEMBER} has a grid {grid} of {expected} frames, which does not fit the array of shape {shape}"
        ends = [0, *(end for run in info["missing"] for end in run), expected]
        if any(type(end) is not int for end in ends) or ends != sorted(ends):
            yield f"{INFO_MEMBER} lists missing frames that do not ascend, or are not in the grid"
        if info["missing_complete"] and written + missing != expected:
            yield f"{INFO_MEMBER} counts {written} frames written and {missing} missing, expected {expected} in all"
    except (KeyError, TypeError, ValueError) as error:
        yield f"{INFO_MEMBER} has a missing or invalid field: {error!r}"
