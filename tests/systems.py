"""Marks of tests for what Windows does not have, and for what Wine does not do. The reason is in the report of each run."""

from __future__ import annotations

import ctypes
import sys

import pytest

IS_WINDOWS = sys.platform == "win32"
IS_WINE = IS_WINDOWS and hasattr(getattr(ctypes, "windll").ntdll, "wine_get_version")  # noqa: B009 (it is not on Linux)


def not_on_windows(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(IS_WINDOWS, reason=f"Windows: {reason}")


def not_under_wine(reason: str) -> pytest.MarkDecorator:
    """For what Windows does and Wine 8 does not: the test has to pass on Windows."""
    return pytest.mark.skipif(IS_WINE, reason=f"Wine: {reason}")
