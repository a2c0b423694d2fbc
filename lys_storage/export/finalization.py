"""From a scan in progress to its export. The array is neither read nor copied: its checksum follows from the frames'."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import Progress
from ..disk import File, sync_folder
from ..format import (
    ALLOW_PICKLE_NPY,
    INFO_FORMAT,
    INFO_MEMBER,
    INFO_VERSION,
    DataLayout,
    Description,
    encode_npy_header,
    encode_tail,
    layout_of,
    tail_reserve,
)
from ..store import ScanStore
from .array_crc import array_crc32
from .fill import fill_missing
from .publish import publish
from .trim import trim_axes, trimmed

_MAX_RANGES = 10_000
_ZEROS_STEP = 1 << 18
_KEEP_RESERVE_RATIO = 256
"""In a file of so many times what was claimed for the tail, the rest of that is kept: to give it back can take until all that
is being written has been (where freed blocks are discarded at once)."""


@dataclass(frozen=True)
class FinalizeReport:
    """How an export came about. `seconds` is without the sync; `renumbered` where its own number had been taken."""

    path: Path
    seconds: float
    sync_seconds: float
    frames_written: int
    frames_expected: int
    size_bytes: int
    renumbered: bool


def finalize(
    part: ScanStore, progress: Progress | None = None, *, trim: bool = False, recovering: bool = False
) -> FinalizeReport:
    """Turn `part`, which takes no more frames, into its export.

    1. the checksums that are still to be taken; 2. the fill value where frames never came; 3. the checksum of the whole;
    4. the tail behind the array; 5. the header, with the checksum; 6. sync of the file; 7. its final name, in one step;
    8. sync of the folder; 9. redo file and journal are removed. Killed anywhere, it can be run again from what is on
    disk; failed anywhere, it can be called again. `trim` cuts it to the part of the grid that has frames. `recovering`
    replaces nothing. Nobody else flushes meanwhile: a frame that a sync was found to have lost would be in the checksum.
    """
    with part.syncing:
        return _finalize(part, progress, trim, recovering)


def _finalize(part: ScanStore, progress: Progress | None, trim: bool, recovering: bool) -> FinalizeReport:
    begin = time.perf_counter()
    description = part.description
    if trim and not part.complete:
        cut = trimmed(description, part.last_frame())
        description = cut if layout_of(cut).array_offset == description.array_offset else description
    sync_seconds = 0.0
    if part.published is None:
        sync_seconds = _complete_file(part, description, progress)
        part.file.refuse_unless_at_path()
        part.file.close_for_rename()
        part.published = publish(part.path, description, recovering=recovering)
    folder_from = time.perf_counter()
    sync_folder(part.published.parent)
    sync_seconds += time.perf_counter() - folder_from
    part.remove_companions()
    return FinalizeReport(
        path=part.published,
        seconds=time.perf_counter() - begin - sync_seconds,
        sync_seconds=sync_seconds,
        frames_written=part.frames_written,
        frames_expected=description.frames,
        size_bytes=part.published.stat().st_size,
        renumbered=part.published.name != description.final,
    )


def _complete_file(part: ScanStore, description: Description, progress: Progress | None) -> float:
    """Steps 1 to 6; how long the sync took, in seconds. `description` may have fewer frames than the scan."""
    layout, frames = layout_of(description), description.frames
    part.check(all_frames=True)
    if frames < part.frames:
        part.split_blocks(frames - 1, frames)
    missing = list(itertools.islice(part.missing(frames), _MAX_RANGES + 1))
    part.no_longer_zero(frames)
    fill_missing(part, frames, progress)
    array_crc = array_crc32(part, frames)
    member_crc = layout.member_crc(array_crc)
    axes, note = part.journal.read_metadata()
    if description.shape != part.description.shape:
        axes = trim_axes(axes, part.description.shape, description.shape)
    members = [("axes.npy", axes), ("note.npy", note), ("allow_pickle.npy", ALLOW_PICKLE_NPY)]
    members.append((INFO_MEMBER, _describe(part, description, missing, array_crc)))
    if len(missing) > _MAX_RANGES:
        members.append(("missing.npy", _missing_npy(part, frames)))
    started = datetime.fromisoformat(description.started).timestamp()
    tail = encode_tail(layout, member_crc, members, started)
    at = layout.array_end
    for piece in tail:  # into the room that was claimed for it, which a cut before would give away
        part.file.write_at(piece, at)
        at += len(piece)
    if part.file.size > at or at < _KEEP_RESERVE_RATIO * tail_reserve(part.frames):
        part.file.set_size(at)  # what is left of the room is given back, and with it what an earlier attempt wrote
    zero_before_head(part.file, layout)
    for at, head in layout.heads(member_crc):
        part.file.write_at(head, at)
    begin = time.perf_counter()
    part.sync_file()
    return time.perf_counter() - begin


def zero_before_head(file: File, layout: DataLayout) -> None:
    """What is before `data.npy` is zeros, as its member says: the head of an older layout may lie there, or rot."""
    first = len(layout.padding)
    if not first:
        return
    for at in range(first, layout.head_offset, _ZEROS_STEP):
        size = min(_ZEROS_STEP, layout.head_offset - at)
        found = file.read_at(size, at)
        if found.count(0) < size:
            file.write_at(bytes(size), at)


def _missing_npy(part: ScanStore, frames: int) -> bytes:
    """A .npy of one bit a frame, as numpy.packbits packs them: 1 is missing."""
    return encode_npy_header((-(-frames // 8),), np.dtype(np.uint8)) + part.missing_bits(frames)


def _describe(part: ScanStore, d: Description, missing: list[tuple[int, int]], array_crc: int) -> bytes:
    info: dict[str, Any] = {
        "format": INFO_FORMAT,
        "version": INFO_VERSION,
        "software": d.software,
        "scan_id": d.scan_id,
        "started": d.started,
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "grid_shape": d.shape[: d.grid_ndim],
        "frames_expected": d.frames,
        "frames_written": part.frames_written,
        "missing": missing[:_MAX_RANGES],
        "missing_complete": len(missing) <= _MAX_RANGES,
        "array_crc32": array_crc,
    }
    if d.shape != part.description.shape:
        info["trimmed_from"] = part.description.shape
    return json.dumps(info, indent=1).encode()
