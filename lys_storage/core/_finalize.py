"""From a scan in progress to its export. The array is neither read nor copied: its checksum follows from the frames'."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from . import _fs
from ._checksum import combine, crc32_repeated, fold
from ._errors import NameTakenError, StorageOSError
from ._journal import CHECKED, COMING, WRITTEN, Description
from ._layout import CRC_OFFSET, DataLayout, encode_tail, plan_data_member
from ._metadata import ALLOW_PICKLE_NPY, encode_npy
from ._numbering import claim_number, numbered_name
from ._part import Part

Progress = Callable[[int, int], None]
"""progress(done, total) in bytes of fill value written."""

INFO_MEMBER = "acquisition.json"
INFO_FORMAT, INFO_VERSION = "lys_storage acquisition", 1
_MAX_RANGES = 10_000
_STEP = 1 << 16
_FILL_CHUNK = 1 << 22
_HOLE_MIN = 1 << 20


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


def layout_of(description: Description) -> DataLayout:
    started = datetime.fromisoformat(description.started).timestamp()
    return plan_data_member(description.shape, description.dtype, started)


def finalize(part: Part, progress: Progress | None = None) -> FinalizeReport:
    """Turn `part`, which takes no more frames, into its export.

    1. the checksums that are still to be taken; 2. the fill value where frames never came; 3. the checksum of the whole;
    4. the tail behind the array; 5. the header, with the checksum; 6. sync of the file; 7. its final name, in one step;
    8. sync of the folder; 9. redo file and journal are removed. Killed anywhere, it can be run again from what is on disk; failed
    anywhere, it can be called again.
    """
    begin = time.perf_counter()
    sync_seconds = 0.0
    if part.published is None:
        sync_seconds = _complete_file(part, progress)
        part.file.close_for_rename()
        part.published = _publish(part)
    folder_from = time.perf_counter()
    _fs.sync_folder(part.published.parent)
    sync_seconds += time.perf_counter() - folder_from
    part.remove_companions()
    return FinalizeReport(
        path=part.published,
        seconds=time.perf_counter() - begin - sync_seconds,
        sync_seconds=sync_seconds,
        frames_written=part.frames_written,
        frames_expected=part.frames,
        size_bytes=part.published.stat().st_size,
        renumbered=part.published.name != part.description.final,
    )


def _complete_file(part: Part, progress: Progress | None) -> float:
    """Steps 1 to 6; how long the sync took, in seconds."""
    description, layout = part.description, layout_of(part.description)
    part.check(all_frames=True)
    missing = list(_missing(part))
    fill_missing(part, progress)
    member_crc = layout.member_crc(_array_crc(part, layout))
    axes, note = part.journal.read_metadata()
    members = [("axes.npy", axes), ("note.npy", note), ("allow_pickle.npy", ALLOW_PICKLE_NPY)]
    members.append((INFO_MEMBER, _describe(part, missing)))
    if len(missing) > _MAX_RANGES:
        members.append(("missing.npy", encode_npy(np.packbits(part.journal.mark_array < WRITTEN))))
    started = datetime.fromisoformat(description.started).timestamp()
    tail = encode_tail(layout, member_crc, members, started)
    part.file.write_at(tail, layout.array_end)
    part.file.set_size(layout.array_end + len(tail))
    crc = member_crc.to_bytes(4, "little")
    part.file.write_at(layout.head[:CRC_OFFSET] + crc + layout.head[CRC_OFFSET + 4 :], 0)
    begin = time.perf_counter()
    part.file.sync()
    return time.perf_counter() - begin


def _missing(part: Part) -> list[tuple[int, int]]:
    """Runs of missing frames; at most one more than are written out."""
    runs = []
    for run in part.missing():
        runs.append(run)
        if len(runs) > _MAX_RANGES:
            break
    return runs


def fill_missing(part: Part, progress: Progress | None = None) -> None:
    """Put the fill value where frames never came. Zeros cost nothing: what has not been written reads as zeros.

    A frame whose first write was cut off has bytes of it in the file; these go too.
    """
    description, size = part.description, part.frame_bytes
    zero = not any(description.fill)
    total = (part.frames - part.frames_written) * size
    pattern = memoryview(description.fill * max(1, min(_FILL_CHUNK, total) // len(description.fill)))
    done = 0
    for first, stop in part.missing():
        begin, end = description.array_offset + first * size, description.array_offset + stop * size
        marks = part.journal.mark_array[first:stop]
        hole = zero and (end - begin >= _HOLE_MIN or bool((marks == COMING).any()))
        if zero and (not hole or part.file.punch_hole(begin, end - begin)):
            done += end - begin
            continue
        if zero and not (marks == COMING).any():
            done += end - begin
            continue
        for at in range(begin, end, len(pattern)):
            part.file.write_at(pattern[: end - at], at)
            done += min(len(pattern), end - at)
            if progress is not None:
                progress(done, total)


def _array_crc(part: Part, layout: DataLayout) -> int:
    """CRC-32 of the whole array, from the frames' checksums and that of a frame of fill values."""
    size, total = part.frame_bytes, 0
    fill_crc = crc32_repeated(part.description.fill, size // layout.dtype.itemsize)
    for at in range(0, part.frames, _STEP):
        marks = part.journal.mark_array[at : at + _STEP]
        absent = marks < WRITTEN
        if not np.all(absent | (marks == CHECKED)):
            raise StorageOSError(5, "frames without a checksum after all were taken", str(part.path))
        sums = np.where(absent, np.uint32(fill_crc), part.journal.checksums[at : at + _STEP])
        total = combine(total, fold(sums, size), size * len(marks))
    return total


def _describe(part: Part, missing: list[tuple[int, int]]) -> bytes:
    d = part.description
    info: dict[str, Any] = {
        "format": INFO_FORMAT,
        "version": INFO_VERSION,
        "software": d.software,
        "scan_id": d.scan_id,
        "started": d.started,
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "grid_shape": d.shape[: d.grid_ndim],
        "frames_expected": part.frames,
        "frames_written": part.frames_written,
        "missing": missing[:_MAX_RANGES],
        "missing_complete": len(missing) <= _MAX_RANGES,
    }
    return json.dumps(info, indent=1).encode()


def _publish(part: Part) -> Path:
    """Give the file its final name. A number that has been taken meanwhile is passed over for the next free one."""
    d, folder = part.description, part.path.parent
    final = folder / d.final
    if d.replace:
        _fs.replace(part.path, final)
        return final
    try:
        _fs.publish_new(part.path, final)
        return final
    except NameTakenError as error:
        if d.number is None:
            hint = f'exists already, and is not replaced: move it away, then "lys-storage recover {folder}"'
            raise NameTakenError(17, hint, os.fspath(final)) from error
    while True:
        number, claimed = claim_number(folder, d.stem)
        final = folder / numbered_name(d.stem, number)
        try:
            _fs.publish_new(part.path, final)
            return final
        except NameTakenError:
            continue
        finally:
            _fs.remove(claimed.path)
            claimed.close()
