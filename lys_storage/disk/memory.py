"""How much memory this process can use for the page cache, without displacing what others need."""

from __future__ import annotations

from .systems import SYSTEM

_DEFAULT = 1 << 33
"""Bytes, if the system does not tell."""


def known_available_memory() -> int | None:
    """Bytes; None if the system does not tell."""
    return SYSTEM.available_memory()


def available_memory() -> int:
    """Bytes."""
    known = known_available_memory()
    return _DEFAULT if known is None else known
