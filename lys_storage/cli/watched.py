"""What `lys-storage watch` knows of the scans in progress below a folder: progress, rate, and whether they fit on the disk.

Never changes a file.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..disk import SYSTEM, free_space
from ..errors import LysStorageError
from ..live import FINISHED, REMOVED, WAITING, Tracker
from ..reading import ScanInProgress
from ..recovery import DAMAGED, RUNNING, Kind, describe, walk

_RATE_S = 30.0
"""The rate is that of the last so many seconds."""


@dataclass
class WatchedScan:
    """One scan. `path`: the scan file, then the export. `to_come_bytes`: what it still needs of the free space of its disk.

    `durable_frames`: how many survive a power cut, as of the writer's last flush; None if its journal does not tell.
    `per_s`: frames per second, of the last 30 s; at the first look the mean since its beginning (`is_mean`). None: not known.
    `full_in_s`: when the disk is full, if all scans on it do not fit at their present rate; None if they do.
    """

    path: Path
    state: str = WAITING
    message: str = ""
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    frames_written: int = 0
    frames_expected: int | None = None
    durable_frames: int | None = None
    frame_bytes: int = 0
    size_bytes: int = 0
    to_come_bytes: int = 0
    per_s: float | None = None
    is_mean: bool = False
    free_bytes: int | None = None
    full_in_s: float | None = None
    device: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def left_s(self) -> float | None:
        """Seconds until the last frame, at this rate; None if it is not known, or never comes."""
        if self.state != RUNNING or self.frames_expected is None or not self.per_s:
            return None
        return (self.frames_expected - self.frames_written) / self.per_s


class WatchedFolder:
    """The scans in progress below `folder`, and those that have ended since the first look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scans: dict[Path, tuple[Tracker | None, WatchedScan]] = {}

    def look(self) -> list[WatchedScan]:
        """The present facts of all scans, sorted by path."""
        for found in walk(self._folder, kinds={Kind.SCAN}):
            if found.path not in self._scans or self._scans[found.path][1].state == FINISHED:
                self._scans[found.path] = (None, WatchedScan(found.path))
        for part in list(self._scans):
            tracker, scan = self._scans[part]
            if scan.state == FINISHED:
                continue
            try:
                tracker = tracker or Tracker(part, wait=True)
                tracker.look(whole=True)
                _note(scan, tracker)
            except (LysStorageError, OSError) as error:
                tracker, scan.state, scan.message = None, DAMAGED, describe(error)
            if scan.state == REMOVED or (tracker is None and not part.exists()):
                del self._scans[part]
                continue
            if tracker is not None and scan.state != RUNNING:
                tracker.close()  # there can be thousands of interrupted scans
                tracker = None
            self._scans[part] = (tracker, scan)
        scans = [scan for _, scan in self._scans.values()]
        _note_space(scans)
        return sorted(scans, key=lambda scan: scan.path)

    def close(self) -> None:
        for tracker, _ in self._scans.values():
            if tracker is not None:
                tracker.close()
        self._scans.clear()


def _note(scan: WatchedScan, tracker: Tracker) -> None:
    scan.state, scan.message, scan.frames_written = tracker.state, "", tracker.frames_written
    source = tracker.source
    if source is None:
        scan.message = "was just created" if scan.state == WAITING else ""
        return
    scan.shape, scan.dtype = source.shape, str(source.dtype)
    if not isinstance(source, ScanInProgress):
        scan.path, scan.per_s, scan.to_come_bytes = scan.path.with_name(source.path.name), None, 0
        scan.durable_frames = scan.frames_written
        scan.frames_expected = tracker.grid.frames if tracker.grid is not None else None
        scan.size_bytes = source.path.stat().st_size
        return
    d = source.description
    scan.durable_frames = source.journal.durable_frames
    scan.frames_expected, scan.frame_bytes = d.frames, d.frame_bytes
    stat = source.path.stat()
    scan.size_bytes, scan.device = stat.st_size, stat.st_dev
    allocated = SYSTEM.allocated_bytes(stat)
    missing = (d.frames - scan.frames_written) * d.frame_bytes
    scan.to_come_bytes = max(0, min(missing, 0 if allocated is None else stat.st_size - allocated))
    _note_rate(scan, d.started)


def _note_rate(scan: WatchedScan, started: str) -> None:
    now = time.monotonic()
    if scan.state != RUNNING:
        scan.per_s = None
        scan.samples.clear()
        return
    scan.samples.append((now, scan.frames_written))
    while len(scan.samples) > 2 and scan.samples[1][0] < now - _RATE_S:
        scan.samples.popleft()
    first_at, first = scan.samples[0]
    scan.is_mean = len(scan.samples) < 2
    if scan.is_mean:
        age = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
        scan.per_s = scan.frames_written / age if age > 0 else None
    elif now > first_at:
        scan.per_s = max(0, scan.frames_written - first) / (now - first_at)


def _note_space(scans: list[WatchedScan]) -> None:
    """Whether all running scans on a disk fit on it."""
    for device in {scan.device for scan in scans}:
        running = [scan for scan in scans if scan.device == device and scan.state == RUNNING]
        for scan in scans:
            if scan.device == device and scan.state != FINISHED:
                scan.free_bytes, scan.full_in_s = free_space(scan.path.parent), None
        free = running[0].free_bytes if running else None
        if free is not None and sum(scan.to_come_bytes for scan in running) > free:
            per_s = sum((scan.per_s or 0.0) * scan.frame_bytes for scan in running if scan.to_come_bytes)
            for scan in running:
                scan.full_in_s = free / per_s if per_s else None
