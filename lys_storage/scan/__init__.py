"""One acquisition: frames by index, the threads behind the writer, the export at the end."""

from __future__ import annotations

from .create import begin_scan, create
from .scan import Scan

__all__ = ["Scan", "begin_scan", "create"]
