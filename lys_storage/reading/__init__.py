"""Reads exports. Never changes a file."""

from __future__ import annotations

from .wave import StoredWave, open_wave
from .zip_check import check_members

__all__ = ["StoredWave", "check_members", "open_wave"]
