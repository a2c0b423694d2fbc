"""The full check of what is on disk: structure, and every byte that has a checksum. Reads; changes nothing."""

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

_MARKS = 1 << 12  # looked at together; a multiple of every block


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a file: which, and what in words."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def verify(
    *paths: str | os.PathLike[str],
    progress: Progress | None = None,
    looked_at: Callable[[Path, list[Problem]], None] | None = None,
) -> list[Problem]:
    """Check exports (any .npz) and scans in progress, or all of them below a folder; [] where nothing is wrong.

    Exports: structure, axes, note, description, and the CRC-32 of every member. Scans in progress: the journal, and every
    frame that has a checksum; one that a living process writes is looked at without its bytes, which may be changing.
    `progress(done, total)`: bytes.
    """
    files = [found for path in paths for found in _exports_and_scans(Path(path))]
    total, done = sum(file.path.stat().st_size for file in files if file.path.exists()), 0
    problems = []
    for file in files:

        def tell(bytes_done: int, before: int = done) -> None:
            if progress is not None:
                progress(min(total, before + bytes_done), total)

        try:
            look = _verify_scan if file.kind is Kind.SCAN else _verify_export
            wrong = [Problem(file.path, what) for what in look(file.path, tell)]
        except LysStorageError as error:
            wrong = [Problem(file.path, str(error))]
        problems += wrong
        done += file.path.stat().st_size if file.path.exists() else 0
        if looked_at is not None:
            looked_at(file.path, wrong)
    return problems


def _exports_and_scans(path: Path) -> Iterable[Found]:
    """Those below `path`. A path that is no folder is one by itself, whatever its name: the check says what it is not."""
    if path.is_dir():
        return walk(path, kinds=(Kind.EXPORT, Kind.SCAN))
    return [Found(path, Kind.SCAN if is_scan_file(path.name) else Kind.EXPORT)]


def _verify_export(path: Path, tell: Callable[[int], None]) -> Iterable[str]:
    try:
        with open_wave(path) as wave:
            shape, info = wave.shape, wave.info
            yield from check_info(shape, info)
            yield from _check_axes(wave.stored_axes, shape)
    except UnsafeFileError as error:
        yield f"not all of it is looked at: {error}"
    yield from check_members(path, tell)


def _check_axes(axes: Axes, shape: tuple[int, ...]) -> Iterator[str]:
    for k, (axis, n) in enumerate(zip(axes, shape, strict=False)):
        if axis is not None and len(axis) != n:
            yield f"axis {k} has {len(axis)} points, dimension {k} of shape {shape} has {n}"


def _verify_scan(path: Path, tell: Callable[[int], None]) -> Iterator[str]:
    file = File.open(path, writable=False)
    try:
        if file.size == 0:
            return  # between the claim of its name and its first byte
        running = not file.try_lock()
        journal = Journal.open(journal_path(path), writable=False)
        try:
            d = journal.description
            if layout_of(d).array_offset != d.array_offset:
                raise BadFileError(f"journal: an array at {d.array_offset} does not fit its shape")
            journal.read_metadata()
            if not running:
                yield from _check_frames(file, journal, tell)
        finally:
            journal.close()
    finally:
        file.close()


def _check_frames(file: File, journal: Journal, tell: Callable[[int], None]) -> Iterator[str]:
    """Every frame, or block of them, that has a checksum."""
    d, per_block = journal.description, journal.states.per_block
    bad: list[int] = []
    bad_blocks: list[str] = []
    unknown = 0
    for at in range(0, d.frames, _MARKS):
        marks = journal.states.array[at : at + _MARKS].copy()
        for frame in (at + np.flatnonzero(marks == CHECKSUMMED)).tolist():
            if frames_crc(file, journal, frame, 1) != journal.states.checksums[frame]:
                bad.append(frame)
            tell(d.array_offset + (frame + 1) * d.frame_bytes)
        unknown += int(np.count_nonzero(marks > BLOCK_CHECKSUMMED))
        for begin in range(at, at + len(marks), per_block):
            of_block = marks[begin - at : begin - at + per_block] == BLOCK_CHECKSUMMED
            if begin // per_block >= journal.states.blocks:
                unknown += int(np.count_nonzero(of_block))
            elif of_block.all():  # else a crash came while they got their checksum, or lost it
                if frames_crc(file, journal, begin, per_block) != journal.states.block_checksums[begin // per_block]:
                    bad_blocks.append(f"{begin} to {begin + per_block - 1}")
                tell(d.array_offset + (begin + per_block) * d.frame_bytes)
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
