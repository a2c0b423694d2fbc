"""Draws a file as a PNG: one frame, and the map of the scan. Never changes the file, and never disturbs its writer.

Importing it does not load matplotlib.
"""

from __future__ import annotations

from .axes import Dimension, dimensions_of
from .drawing import LINE, MARK, PLAIN, color_limits, draw_image, draw_line, ensure_matplotlib, new_figure, png_bytes
from .map_reader import ScanMap, Survey, survey
from .picture import draw, sampling
from .source import PreviewError, Source, described, index_of, open_source
from .write import check_target, write_png

__all__ = [
    "LINE",
    "MARK",
    "PLAIN",
    "Dimension",
    "PreviewError",
    "ScanMap",
    "Source",
    "Survey",
    "check_target",
    "color_limits",
    "described",
    "dimensions_of",
    "draw",
    "draw_image",
    "draw_line",
    "ensure_matplotlib",
    "index_of",
    "new_figure",
    "open_source",
    "png_bytes",
    "sampling",
    "survey",
    "write_png",
]
