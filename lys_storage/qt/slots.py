"""Slots that do not raise: PyQt aborts the process if an exception leaves a slot and there is no sys.excepthook."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

log = logging.getLogger("lys_storage")


class ReportsErrors(Protocol):
    def _report_error(self, error: Exception) -> None:
        """Called with what a slot has raised."""


def guarded(slot: Callable[..., None]) -> Callable[..., None]:
    """Report what the slot raises to `self._report_error`."""

    @functools.wraps(slot)
    def guarded_slot(self: ReportsErrors, *args: Any) -> None:
        try:
            slot(self, *args)
        except Exception as error:
            try:
                self._report_error(error)
            except Exception as second:
                log_safely("an error of a slot could not be reported", second)

    return guarded_slot


def log_safely(message: str, error: BaseException) -> None:
    """Log `error` with its traceback. An error of a log handler is ignored."""
    with contextlib.suppress(Exception):
        log.error("%s", message, exc_info=error)
