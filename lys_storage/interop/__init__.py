"""What connects lys_storage to other programs: lys, xarray and napari. Each of them is imported when it is used.

xarray and napari import their modules here by name, as entry points.
"""

from __future__ import annotations

from .lys_loader import register_lys_loader, unregister_lys_loader
from .lys_waves import as_lys_dask_wave, as_lys_wave

__all__ = ["as_lys_dask_wave", "as_lys_wave", "register_lys_loader", "unregister_lys_loader"]
