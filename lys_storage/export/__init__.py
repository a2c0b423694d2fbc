"""Makes the export of a scan in progress."""

from __future__ import annotations

from .finalization import FinalizeReport, finalize

__all__ = ["FinalizeReport", "finalize"]
