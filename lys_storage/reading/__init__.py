"""Reads exports. Never changes a file."""

from __future__ import annotations

from .wave import StoredWave, open_wave
from .waves import StoredWaves, open_waves
from .zip_check import check_members

__all__ = ["StoredWave", "StoredWaves", "check_members", "open_wave", "open_waves"]
