"""Verification of exports and scans in progress: their structure, and every byte that has a checksum.

Never changes a file, and never repairs one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..callbacks import Progress
from ..disk import File
from ..errors import BadFileError, LysStorageError, UnsafeFileError
from ..format import Axes, check_info, is_scan_file, journal_path, layout_of
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, Journal, frames_crc
from ..reading import check_members, open_wave
from .find import Found, Kind, walk

_FRAMES_PER_STEP = 1 << 12  # a multiple of every block


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the file at `path`: `what`, in words."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def verify(
    *paths: str | os.PathLike[str],
    progress: Progress | None = None,
    looked_at: Callable[[Path, list[Problem]], None] | None = None,
) -> list[Problem]:
    """Verify exports (any .npz) and scans in progress, or all of them below a folder; [] where nothing is wrong.

    Of an export: structure, axes, note, description, and the CRC-32 of every member. Of a scan in progress: the journal,
    and every frame that has a checksum. The frames of a scan that a living process writes are not read: they may be
    changing. `progress(done, total)`: bytes. `looked_at(path, problems)` is called after each file.
    """
    files = [found for path in paths for found in _exports_and_scans(Path(path))]
    total, done = sum(file.path.stat().st_size for file in files if file.path.exists()), 0
    problems = []
    for file in files:

        def on_progress(bytes_done: int, before: int = done) -> None:
            if progress is not None:
                progress(min(total, before + bytes_done), total)

        try:
            look = _verify_scan if file.kind is Kind.SCAN else _verify_export
            wrong = [Problem(file.path, what) for what in look(file.path, on_progress)]
        except LysStorageError as error:
            wrong = [Problem(file.path, str(error))]
        problems += wrong
        done += file.path.stat().st_size if file.path.exists() else 0
        if looked_at is not None:
            looked_at(file.path, wrong)
    return problems


def _exports_and_scans(path: Path) -> Iterable[Found]:
    """Those below `path`. A path that is no folder is verified itself, whatever its name: the result says what is wrong."""
    if path.is_dir():
        return walk(path, kinds=(Kind.EXPORT, Kind.SCAN))
    return [Found(path, Kind.SCAN if is_scan_file(path.name) else Kind.EXPORT)]


def _verify_export(path: Path, on_progress: Callable[[int], None]) -> Iterable[str]:
    try:
        with open_wave(path) as wave:
            shape, info = wave.shape, wave.info
            yield from check_info(shape, info)
            yield from _check_axes(wave.stored_axes, shape)
            if wave.note_error is not None:
                is_unsafe = isinstance(wave.note_error, UnsafeFileError)
                yield f"{'not all of it is looked at: ' * is_unsafe}{wave.note_error}"
            yield from wave.check(on_progress)
    except UnsafeFileError as error:
        yield f"not all of it is looked at: {error}"
        file = File.open(path, writable=False)
        try:
            yield from check_members(file, on_progress)
        finally:
            file.close()


def _check_axes(axes: Axes, shape: tuple[int, ...]) -> Iterator[str]:
    for k, (axis, n) in enumerate(zip(axes, shape, strict=False)):
        if axis is not None and len(axis) != n:
            yield f"axis {k} has {len(axis)} points, dimension {k} of shape {shape} has {n}"


def _verify_scan(path: Path, on_progress: Callable[[int], None]) -> Iterator[str]:
    file = File.open(path, writable=False)
    try:
        if file.size == 0:
            return  # a process has claimed its name, and not written yet
        running = not file.try_lock()
        journal = Journal.open(journal_path(path), writable=False)
        try:
            d = journal.description
            if layout_of(d).array_offset != d.array_offset:
                raise BadFileError(f"journal: an array at {d.array_offset} does not fit its shape")
            journal.read_metadata()
            if not running:
                yield from _check_frames(file, journal, on_progress)
        finally:
            journal.close()
    finally:
        file.close()


def _check_frames(file: File, journal: Journal, on_progress: Callable[[int], None]) -> Iterator[str]:
    """Read every frame, and every block of frames, that has a checksum, and compare it with that."""
    d, per_block = journal.description, journal.states.per_block
    bad: list[int] = []
    bad_blocks: list[str] = []
    unknown = 0
    for at in range(0, d.frames, _FRAMES_PER_STEP):
        states = journal.states.array[at : at + _FRAMES_PER_STEP].copy()
        for frame in (at + np.flatnonzero(states == CHECKSUMMED)).tolist():
            if frames_crc(file, journal, frame, 1) != journal.states.checksums[frame]:
                bad.append(frame)
            on_progress(d.array_offset + (frame + 1) * d.frame_bytes)
        unknown += int(np.count_nonzero(states > BLOCK_CHECKSUMMED))
        for begin in range(at, at + len(states), per_block):
            of_block = states[begin - at : begin - at + per_block] == BLOCK_CHECKSUMMED
            if begin // per_block >= journal.states.blocks:
                unknown += int(np.count_nonzero(of_block))
            elif of_block.all():  # else a crash came while the block got its checksum, or lost it
                if frames_crc(file, journal, begin, per_block) != journal.states.block_checksums[begin // per_block]:
                    bad_blocks.append(f"{begin} to {begin + per_block - 1}")
                on_progress(d.array_offset + (begin + per_block) * d.frame_bytes)
    if unknown:
        yield f"{unknown} frames have a mark that does not exist"
    if bad:
        yield f"frames {_first_ten(bad)} are not what their checksums say"
    if bad_blocks:
        yield f"of frames {_first_ten(bad_blocks)} some are not what their common checksum says"


def _first_ten(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def as_json(problems: list[Problem]) -> str:
    return json.dumps([{"path": str(p.path), "what": p.what} for p in problems], indent=1)
