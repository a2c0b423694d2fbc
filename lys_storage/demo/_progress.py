"""The progress of a loop: a bar on a terminal, some lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_LOOK_EVERY_S = 0.1
_LOG_PARTS = 10
_LOG_EVERY_S = 60.0


def rate_text(frames_per_s: float, frame_bytes: int) -> str:
    """ "1,234 frames/s, 161.7 MB/s" """
    return f"{frames_per_s:,.{0 if frames_per_s >= 100 else 1}f} frames/s, {frames_per_s * frame_bytes / 1e6:,.1f} MB/s"


class Meter:
    """The progress of `total` frames; `update` may be called for every one of them."""

    def __init__(self, console: Console, title: str, total: int, frame_bytes: int) -> None:
        self._console, self._title, self._total, self._frame_bytes = console, title, total, frame_bytes
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                _Rate(frame_bytes),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task(title, total=total)
        self._started = self._looked_at = self._logged_at = time.monotonic()
        self._done = self._logged_part = 0

    def update(self, done: int) -> None:
        """`done` frames are done."""
        self._done = done
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._show(now)

    def _show(self, now: float) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
            return
        part = self._done * _LOG_PARTS // self._total
        if part > self._logged_part or now - self._logged_at >= _LOG_EVERY_S:
            self._logged_part, self._logged_at = part, now
            speed = self._done / max(now - self._started, 1e-9)
            left = f", {(self._total - self._done) / speed:,.0f} s left" if 0 < self._done < self._total else ""
            text = (
                f"{self._title}: {self._done:,} of {self._total:,} frames, {rate_text(speed, self._frame_bytes)}{left}"
            )
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show(time.monotonic())
        if self._bar is not None:
            self._bar.stop()


class _Rate(ProgressColumn):
    """Frames and bytes a second."""

    def __init__(self, frame_bytes: int) -> None:
        super().__init__()
        self._frame_bytes = frame_bytes

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, self._frame_bytes))
