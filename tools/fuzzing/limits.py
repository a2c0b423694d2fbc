"""What the targets and the program that runs them agree on. It imports nothing that is fuzzed."""

from __future__ import annotations

from collections.abc import Callable

TIMEOUT_S, MEMORY_MB, MAX_BYTES = 10, 1500, 1 << 14

Check = Callable[[bytes], None]
"""Raises whatever is no right answer to this input."""


class Fault(AssertionError):  # noqa: N818  a find, no error of this tool
    """An answer that is neither right nor an error of the family."""
