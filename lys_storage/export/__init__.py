"""From a scan in progress to its export."""

from __future__ import annotations

from .finalization import FinalizeReport, finalize

__all__ = ["FinalizeReport", "finalize"]
