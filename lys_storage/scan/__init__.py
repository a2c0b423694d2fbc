"""One acquisition: frames by index, the background threads, and the export at the end."""

from __future__ import annotations

from .creation import begin_scan, create
from .options import check_incomplete, check_options
from .scan import Scan, export_recovered, frame_writer
from .write_behind_thread import default_burst_bytes
from .writer import FrameWriter

__all__ = [
    "FrameWriter",
    "Scan",
    "begin_scan",
    "check_incomplete",
    "check_options",
    "create",
    "default_burst_bytes",
    "export_recovered",
    "frame_writer",
]
