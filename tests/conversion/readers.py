"""Reads what `convert` wrote with the readers of each format, without lys_storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]
SUFFIXES = (".h5", ".nxs", ".nc", ".zarr", ".tif", ".npy")
NEEDED = {".h5": ("h5py",), ".nxs": ("h5py",), ".nc": ("h5netcdf", "netCDF4", "xarray"), ".zarr": ("zarr", "xarray")}
NEEDED |= {".tif": ("tifffile",)}


def need(suffix: str) -> None:
    """Skip the test if the reader of a format is not installed."""
    for name in NEEDED.get(suffix, ()):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'lys_storage[test]'")


def array_in(path: Path) -> Array:
    """The array as it is stored."""
    if path.suffix in (".h5", ".nxs"):
        import h5py

        with h5py.File(path, "r") as file:
            return np.asarray(file["entry/data/data"][()])
    if path.suffix == ".nc":
        import netCDF4

        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            variable = file["data"]
            if variable.ndim == 32 and np.__version__ < "2":  # netCDF4 makes an array of 33 dimensions to read it
                import h5netcdf

                with h5netcdf.File(path, "r") as other:
                    return np.asarray(other["data"][...])
            return np.asarray(variable[...])
    if path.suffix == ".zarr":
        import zarr

        return np.asarray(zarr.open_group(path, mode="r")["data"][...])
    if path.suffix == ".tif":
        import tifffile

        return np.asarray(tifffile.imread(path))
    return np.asarray(np.load(path))


def dataset_in(path: Path, **options: Any) -> Any:
    """A .nc or .zarr as xarray reads it, loaded."""
    import xarray

    if path.suffix == ".zarr":
        return xarray.open_zarr(path, chunks=None, **options).load()
    with xarray.open_dataset(path, engine="netcdf4", **options) as dataset:
        return dataset.load()


def facts_in(path: Path) -> dict[str, Any]:
    """The JSON in the description of a TIFF."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        lines = file.pages[0].description.splitlines()
    (line,) = (line for line in lines if line.startswith("lys_storage="))
    found: dict[str, Any] = json.loads(line.partition("=")[2])
    return found
