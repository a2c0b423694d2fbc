"""Writes exports as files of other formats, and links several as one HDF5 file. Never changes an export.

The packages that write those formats are imported when they are used.
"""

from __future__ import annotations

from .converting import FORMATS, Converted, convert
from .linking import Linked, link
from .output import check_target, written_in_one_step

__all__ = ["FORMATS", "Converted", "Linked", "check_target", "convert", "link", "written_in_one_step"]
