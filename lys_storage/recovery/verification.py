"""Verifies exports and scans in progress: their structure, and every byte that has a checksum.

Never changes or repairs a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..callbacks import Progress
from ..disk import File, user_path
from ..errors import LysStorageError, UnsafeFileError
from ..format import Axes, check_info, journal_path
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, Journal, frames_crc
from ..reading import check_members, open_wave
from .find import Found, Kind, walk
from .looking import Entry, find_named, look_at, look_at_scan
from .recognition import DAMAGED, FINALIZED, FOREIGN, INTERRUPTED, RUNNING, UNKNOWN, describe, with_path

_FRAMES_PER_STEP = 1 << 12  # a multiple of every block size
_WITHOUT = ": lys-storage recover --verify exports the scan without such frames"


@dataclass(frozen=True)
class Problem:
    """A problem of the file at `path`: `what`, in words."""

    path: Path
    what: str

    def __str__(self) -> str:
        return with_path(self.path, self.what)


@dataclass(frozen=True)
class Verified:
    """The result for one file: its `problems`, and a `message` for the case that there are none."""

    entry: Entry
    problems: list[Problem]
    message: str


def verify(
    *paths: str | os.PathLike[str],
    on_progress: Progress | None = None,
    on_file: Callable[[Path, list[Problem]], None] | None = None,
) -> list[Problem]:
    """Verify exports (any .npz) and scans in progress, or all of them below a folder; [] if nothing is wrong.

    Checked of an export: structure, axes, note, description, and the CRC-32 of every member. Checked of a scan in progress: the
    journal, and every frame that has a checksum. The frames of a scan that a living process writes are not read: they may be
    changing. Foreign files are no problem, whatever they hold. `on_progress(done, total)`: bytes.
    `on_file(path, problems)` is called after each file.
    """
    problems = []
    for one in verify_each(paths, on_progress):
        problems += one.problems
        if on_file is not None:
            on_file(one.entry.path, one.problems)
    return problems


def verify_each(paths: Iterable[str | os.PathLike[str]], on_progress: Progress | None = None) -> Iterator[Verified]:
    """As verify; gives the result of each file, also if nothing is wrong."""
    files = [found for path in paths for found in _named_or_below(user_path(path))]
    total, done = sum(_size_of(found.path) for found, _ in files), 0
    for found, named in files:

        def advance(bytes_done: int, before: int = done) -> None:
            if on_progress is not None:
                on_progress(min(total, before + bytes_done), total)

        entry = look_at(found, named=named)
        if entry is None:
            if not named:
                continue  # it was published or removed meanwhile
            entry = Entry(found.path, DAMAGED, None, "", None, None, 0, None, 0.0, "there is no such file", True)
        yield _verify_one(entry, advance)
        done += entry.size_bytes


def _named_or_below(path: Path) -> Iterator[tuple[Found, bool]]:
    """The files to verify, each with whether the user named it: such a file is verified whatever its name is."""
    if path.is_dir():
        yield from ((found, found.path == path) for found in walk(path, kinds=(Kind.EXPORT, Kind.SCAN, Kind.FOLDER)))
    else:
        yield find_named(path) or Found(path, Kind.EXPORT), True


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _verify_one(entry: Entry, on_progress: Callable[[int], None]) -> Verified:
    path, message = entry.path, entry.message
    try:
        if entry.problem and entry.shape is None:
            wrong = [message]
        elif entry.problem or entry.state == FINALIZED:
            wrong = list(_verify_export(path, on_progress))
        elif entry.state == INTERRUPTED and entry.shape is not None:
            wrong, message = _verify_scan(path, on_progress)
        else:
            wrong = []
            if entry.state == FOREIGN and entry.shape is not None:
                message = "; ".join([message, *_check_members(path, on_progress)])
            elif entry.state in (RUNNING, UNKNOWN):
                message = "a living process is writing it: its frames were not read"
                message = message if entry.state == RUNNING else f"its frames were not read: {entry.message}"
    except (LysStorageError, OSError) as error:
        wrong = [describe(error)]
    return Verified(entry, [Problem(path, what) for what in wrong], message)


def _verify_export(path: Path, on_progress: Callable[[int], None]) -> Iterable[str]:
    try:
        with open_wave(path) as wave:
            shape, info = wave.shape, wave.info
            yield from check_info(shape, info)
            yield from _check_axes(wave.stored_axes, shape)
            if wave.note_error is not None:
                is_unsafe = isinstance(wave.note_error, UnsafeFileError)
                yield f"{'not all of it was checked: ' * is_unsafe}{wave.note_error}"
            yield from wave.verify(on_progress=lambda done, total: on_progress(done))
    except UnsafeFileError as error:
        yield f"not all of it was checked: {error}"
        yield from _check_members(path, on_progress)


def _check_members(path: Path, on_progress: Callable[[int], None]) -> Iterator[str]:
    file = File.open(path, writable=False)
    try:
        yield from check_members(file, lambda done, total: on_progress(done))
    finally:
        file.close()


def _check_axes(axes: Axes, shape: tuple[int, ...]) -> Iterator[str]:
    for k, (axis, n) in enumerate(zip(axes, shape, strict=False)):
        if axis is not None and len(axis) != n:
            yield f"axis {k} has {len(axis)} points, dimension {k} of shape {shape} has {n}"


def _verify_scan(path: Path, on_progress: Callable[[int], None]) -> tuple[list[str], str]:
    """The problems of an interrupted scan, and a message.

    No lock is held while the scan is read, so that it can be recovered meanwhile. This is noticed at the end.
    """
    file = File.open(path, writable=False)
    try:
        journal = Journal.open(journal_path(path), writable=False)
        try:
            before = _version_of(file), _version_of(journal.file)
            wrong = list(_check_frames(file, journal, on_progress))
            after = _version_of(file), _version_of(journal.file)
            same = before == after and file.owns_path() and journal.file.owns_path()
        finally:
            journal.close()
    finally:
        file.close()
    if same and look_at_scan(path).state == INTERRUPTED:
        return wrong, ""
    return [], "another process took it over while it was read: verify it again"


def _version_of(file: File) -> tuple[int, int]:
    stat = os.fstat(file.fd)
    return stat.st_size, stat.st_mtime_ns


def _check_frames(file: File, journal: Journal, on_progress: Callable[[int], None]) -> Iterator[str]:
    """Compare each frame, and each block of frames, with its checksum, if it has one."""
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
            elif of_block.all():  # else a crash came while the block got its checksum, or was split
                if frames_crc(file, journal, begin, per_block) != journal.states.block_checksums[begin // per_block]:
                    bad_blocks.append(f"{begin} to {begin + per_block - 1}")
                on_progress(d.array_offset + (begin + per_block) * d.frame_bytes)
    if unknown:
        yield f"{unknown} frames have an unknown state in the journal; lys-storage recover compares them with their checksums"
    if bad:
        yield f"frames {_first_ten(bad)} do not match their checksums{_WITHOUT}"
    if bad_blocks:
        yield f"of frames {_first_ten(bad_blocks)} some do not match their common checksum{_WITHOUT}"


def _first_ten(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
