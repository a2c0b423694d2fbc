"""Whoever is to be told of trouble in the threads behind the writer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ._errors import LysStorageError

log = logging.getLogger("lys_storage")

Tell = Callable[[LysStorageError], None]


def log_only(error: LysStorageError) -> None:
    """Where nobody asked to be told: it has been logged, and is raised at the end."""


def tell(failed: Tell, error: Exception) -> None:
    """Call `failed` with `error`, in the thread of which it is. What that raises is logged, and ends no thread."""
    try:
        failed(error if isinstance(error, LysStorageError) else LysStorageError(repr(error)))
    except Exception:
        log.exception("whoever is told of trouble behind the writer has failed")
