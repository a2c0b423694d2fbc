"""Limits and types that the targets and their runner share. The module imports no fuzzed code."""

from __future__ import annotations

from collections.abc import Callable

TIMEOUT_S, MEMORY_MB, MAX_BYTES = 10, 1500, 1 << 14

Check = Callable[[bytes], None]
"""Raises an exception if lys_storage handles this input wrongly."""


class Fault(AssertionError):  # noqa: N818  a find, not an error of this tool
    """A result that is neither correct nor an error of the LysStorageError family."""
