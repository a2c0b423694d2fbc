"""The engine "lys_storage" of xarray: `xarray.open_dataset("data_0.npz")`. Only xarray imports this module.

Never unpickles objects of a file, and never changes one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from xarray.backends import BackendEntrypoint

from ..reading import open_wave
from .members import seems_an_export


class WaveBackend(BackendEntrypoint):  # type: ignore[misc, unused-ignore]  # mypy does not see xarray
    """Opens an export as a Dataset with the variable `data`: see StoredWave.to_xarray. `chunks={}` is a frame a chunk."""

    description = "Exports of lys_storage and lys: .npz with an array 'data'"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None) -> Any:
        """Raises what open_wave raises. Opens the file for a moment, and again when the array is read."""
        with open_wave(filename_or_obj) as wave:
            array = wave.to_xarray()
            path = os.fspath(wave.path)
        dataset = array.to_dataset()
        dataset[array.name].encoding["source"] = path
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        dataset = dataset.drop_vars(dropped, errors="ignore")
        dataset.set_close(array.close)
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is the path of a .npz with an array `data`. Never raises."""
        return seems_an_export(filename_or_obj)
