"""The anonymous memory of this process, now and at its peak.

Pages of memory-mapped files are not included: the kernel can drop them at any time.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

_STATUS = "/proc/self/status"
_MEMINFO = "/proc/meminfo"


def anonymous_bytes() -> int | None:
    """RssAnon of this process; None on systems other than Linux."""
    return _kibibytes(_STATUS, "RssAnon:")


def available_bytes() -> int | None:
    """The memory that is available (MemAvailable); None on systems other than Linux."""
    return _kibibytes(_MEMINFO, "MemAvailable:")


def _kibibytes(path: str, key: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


class PeakMemory:
    """The highest `anonymous_bytes` inside a with-block, sampled by a thread."""

    def __init__(self, interval_s: float = 0.02) -> None:
        self._interval_s = interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lys_storage memory", daemon=True)
        self.peak_bytes: int | None = None

    def sample(self) -> None:
        """Measure once, now."""
        now = anonymous_bytes()
        if now is not None:
            self.peak_bytes = max(now, self.peak_bytes or 0)

    def _watch(self) -> None:
        while not self._over.wait(self._interval_s):
            self.sample()

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.sample()
