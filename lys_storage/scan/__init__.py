"""One acquisition: frames by index, the background threads, and the export at the end."""

from __future__ import annotations

from .creation import begin_scan, create
from .scan import Scan, frame_writer
from .writer import FrameWriter

__all__ = ["FrameWriter", "Scan", "begin_scan", "create", "frame_writer"]
