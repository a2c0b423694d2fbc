"""Ranges of frame numbers."""

from __future__ import annotations

from ..journal import Span


def join(a: Span, b: Span) -> Span:
    """The smallest range that covers both; an empty one is ignored."""
    if a[0] >= a[1]:
        return b
    return (min(a[0], b[0]), max(a[1], b[1])) if b[0] < b[1] else a
