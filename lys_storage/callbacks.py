"""Callbacks of background work: error handlers, and progress."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .errors import LysStorageError

Progress = Callable[[int, int], None]
"""on_progress(done, total), both in bytes."""
log = logging.getLogger("lys_storage")
ErrorHandler = Callable[[LysStorageError], None]


def log_error(error: LysStorageError) -> None:
    """The default error handler does nothing: the error is already logged, and is raised when the scan ends."""


def notify_error(failed: ErrorHandler, error: Exception) -> None:
    """Call `failed` with `error`, in the caller's thread. An exception from `failed` is logged and not propagated."""
    try:
        failed(error if isinstance(error, LysStorageError) else LysStorageError(repr(error)))
    except Exception:
        log.exception("the error handler raised an exception")
