"""Converts an export to another format. Reads the array once, in blocks, and compares its CRC-32 at the end.

Never changes the export, and never leaves half a file under the name of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..callbacks import Progress
from ..disk import AnyPath, ensure_free_space, user_path
from ..errors import ConversionError
from .given import Given, open_given
from .hdf5 import write_hdf5
from .netcdf import write_netcdf
from .npy import write_npy
from .output import check_target, written_in_one_step
from .tiff import write_tiff
from .zarr_folder import write_zarr

_Writer = Callable[[Path, Given, bool], None]
FORMATS: dict[str, _Writer] = {
    **dict.fromkeys((".h5", ".hdf5", ".nxs"), write_hdf5),
    ".nc": write_netcdf,
    ".zarr": write_zarr,
    **dict.fromkeys((".tif", ".tiff"), write_tiff),
    ".npy": write_npy,
}
"""What writes each format, by the suffix of the result."""
_WITHOUT_WRITTEN = (".npy",)


@dataclass(frozen=True)
class Converted:
    """The result of `convert`. `path`: the new file, or the folder of a Zarr; `shape` and `dtype`: of the export.

    `frames_missing`: how many frames hold the fill value. `warnings`: what the format cannot hold, and was left out.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str
    frames_missing: int
    warnings: tuple[str, ...]


def convert(
    path: AnyPath,
    out: AnyPath,
    *,
    overwrite: bool = False,
    compress: bool = False,
    zarr_format: int = 3,
    on_progress: Progress | None = None,
) -> Converted:
    """Write the export `path`, also one of lys, as a file of another format. See docs/convert.md.

    Args:
        out: The name of the result, which tells the format: .h5, .hdf5 or .nxs (HDF5 with the structure of NeXus), .nc
            (netCDF-4), .zarr (a folder), .tif or .tiff (BigTIFF), .npy.
        overwrite: Replace a file at `out`, or a Zarr folder. It stays until the new one is complete.
        compress: Compress without loss, if the format can.
        zarr_format: 3 or 2.
        on_progress: on_progress(done, total), bytes of the array.

    The memory that is used does not depend on the size of the array, except for a TIFF of an array in Fortran order, of which at
    most 64 MiB are converted, or with pages larger than that. `out` appears in one step, when it is complete and synced.

    Raises ConversionError (a ValueError) if the format cannot hold the array: no value is changed. BadFileError if the file is a
    scan in progress, is damaged, or does not match its checksum; NameTakenError if `out` exists; DiskFullError;
    MissingExtraError without the package that writes the format; and what `open_wave` raises.
    """
    source, target = user_path(path), user_path(out)
    write = _writer_of(target, zarr_format, compress)
    check_target(target, overwrite=overwrite)
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise ConversionError(f"{target} is the export itself: give the result another name")
    given = open_given(source, on_progress)
    try:
        if not compress:
            ensure_free_space(target.parent, given.size_bytes, target)
        with written_in_one_step(target, overwrite=overwrite) as beside:
            write(beside, given, compress)
        _warn_of_missing(given, target)
        return Converted(target, given.shape, str(given.dtype), given.missing, tuple(given.warnings))
    finally:
        given.wave.close()


def _writer_of(out: Path, zarr_format: int, compress: bool) -> _Writer:
    suffix = out.suffix.lower()
    if suffix not in FORMATS:
        raise ConversionError(f"{out} has the suffix {suffix!r}, expected one of {', '.join(FORMATS)}")
    if zarr_format not in (2, 3):
        raise ConversionError(f"zarr_format is {zarr_format!r}, expected 2 or 3")
    if compress and suffix == ".npy":
        raise ConversionError("a .npy cannot be compressed: choose another format")
    return partial(write_zarr, zarr_format=zarr_format) if suffix == ".zarr" else FORMATS[suffix]


def _warn_of_missing(given: Given, out: Path) -> None:
    if given.written is None:
        return
    which = "which of them a .npy cannot tell" if out.suffix.lower() in _WITHOUT_WRITTEN else "the file lists them"
    given.warn(f"{given.missing:,} of {given.written.size:,} frames are missing, and hold the fill value; {which}")
