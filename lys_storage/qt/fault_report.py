"""The faults of one acquisition: the first of each kind is reported at once, the rest as totals at its end."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

log = logging.getLogger("lys_storage")

Failed = Callable[[str, str], None]
"""failed(path, message)"""


class FaultReport:
    """Calls `failed` for the faults of the acquisition at `path`, from any thread. It stops and closes nothing."""

    def __init__(self, path: str, failed: Failed) -> None:
        self.path = path
        self.frames_refused = 0  # they came to an acquisition whose reservation had failed
        self.frames_late = 0  # they came after the first full pass, or after the end of the scan
        self._failed = failed
        self._lock = threading.Lock()  # guards _counts and _totals_reported
        self._counts: Counter[str] = Counter()
        self._totals_reported = False

    def report_error(self, error: BaseException) -> None:
        """Report the first error of its type at once; count the others."""
        kind = type(error).__name__
        with self._lock:
            self._counts[kind] += 1
            first = self._counts[kind] == 1
        if first:
            log.error("%s: %s", self.path, error)
            self._failed(self.path, str(error))

    def report_totals(self) -> None:
        """Report once, at the end of the acquisition, how many frames were not stored and why."""
        with self._lock:
            if self._totals_reported:
                return
            self._totals_reported = True
            repeats = {kind: count - 1 for kind, count in self._counts.items() if count > 1}
        for kind, count in repeats.items():
            self._failed(self.path, f"{kind}: {count} more of them in this acquisition")
        if self.frames_refused:
            text = (
                f"{self.frames_refused} frames of this acquisition were not stored, because its reservation had failed"
            )
            log.error("%s: %s", self.path, text)
            self._failed(self.path, text)
        if self.frames_late:
            log.warning(
                "%s: %d frames after the first full pass, or after the end of the scan, were not written",
                *(self.path, self.frames_late),
            )
