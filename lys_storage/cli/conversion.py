"""`lys-storage convert` and `lys-storage link`: exports as files of other formats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from .arguments import main
from .parameters import AS_JSON, PATH

_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace OUT if it exists, when the new file is complete.")


@main.command()
@click.argument("file", type=PATH)
@click.argument("out", type=PATH)
@_OVERWRITE
@click.option("--compress", is_flag=True, help="Compress without loss: HDF5, netCDF, Zarr and TIFF.")
@click.option("--zarr-format", type=click.Choice(["2", "3"]), default="3", help="The version of the format of a .zarr.")
@AS_JSON
def convert(**asked: Any) -> None:
    """Write the export FILE, also one of lys, in the format that the name OUT tells.

    \b
    .h5 .hdf5 .nxs   HDF5 with the structure of NeXus      pip install "lys_storage[hdf5]"
    .nc              netCDF-4                              pip install "lys_storage[netcdf]"
    .zarr            a folder, Zarr format 3 or 2
    .tif .tiff       BigTIFF, a page for each image        pip install "lys_storage[tiff]"
    .npy             the array only

    Axes, units and note are kept where the format has a place for them. No value is changed: what a format cannot hold is an
    error. Frames that are missing hold the fill value; the result lists them, and a line on stderr counts them.

    The array is read once, in pieces, and compared with its checksum. OUT appears when it is complete: Ctrl-C leaves nothing.
    A scan in progress is refused: "lys-storage recover" exports it.

    \b
    lys-storage convert run/data_3.npz data_3.nxs
    lys-storage convert run/data_3.npz data_3.zarr --compress

    Exit code 1: FILE is damaged, OUT exists or cannot hold the array, or the disk is full.
    """
    sys.exit(run_convert(**asked))


def run_convert(file: Path, out: Path, overwrite: bool, compress: bool, zarr_format: str, as_json: bool) -> int:
    from ..conversion import FORMATS
    from ..conversion import convert as convert_file
    from .output import SUCCESS, record, say, say_aside
    from .running import Records, ensure_exists, progress_bar, run

    if out.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"{str(out)!r} ends in none of {', '.join(FORMATS)}", param_hint="OUT")

    def work(records: Records) -> int:
        ensure_exists(file)
        with progress_bar("converting") as on_progress:
            done = convert_file(
                file, out, overwrite=overwrite, compress=compress, zarr_format=int(zarr_format), on_progress=on_progress
            )
        for warning in done.warnings:
            say_aside(f"{done.path}: {warning}")
        message = "; ".join(["written", *done.warnings])
        facts = {"shape": done.shape, "dtype": done.dtype, "frames_missing": done.frames_missing, "message": message}
        records.append(record(done.path, "written", **facts, warnings=done.warnings, source=str(file)))
        if not as_json:
            say(f"{done.path}: written, shape {done.shape}, dtype {done.dtype}")
        return SUCCESS

    return run(work, file, f"nothing was written to {out}", json_output=as_json, one=True)


def _parse_numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    try:
        return None if value is None else [float(word) for word in value.strip().strip("()[]").split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a list of numbers: write numbers and commas, for example 10,20"
        ) from None


@main.command()
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.argument("out", type=PATH)
@click.option("--axis-name", help="The name of the new first dimension.")
@click.option("--axis", callback=_parse_numbers, metavar="X,X,...", help="Its coordinates: a number for each file.")
@_OVERWRITE
@AS_JSON
def link(**asked: Any) -> None:
    """Show FILES as one HDF5 array with a new first dimension, in the file OUT (.nxs or .h5). No element is copied.

    FILES are exports of one shape and dtype that are not compressed, or HDF5 files that "lys-storage convert" wrote. They must
    stay where they are. If all of them are HDF5 files, OUT has their paths relative to its folder: move all together. Otherwise
    it has absolute paths, and cannot be written to.

    \b
    lys-storage link run/data_*.npz all.nxs --axis-name temperature --axis 10,20,30

    It needs h5py: pip install "lys_storage[hdf5]". Exit code 1: the files differ, or one of them cannot be linked.
    """
    sys.exit(run_link(**asked))


def run_link(
    files: tuple[Path, ...], out: Path, axis_name: str | None, axis: list[float] | None, overwrite: bool, as_json: bool
) -> int:
    from ..conversion import link as link_files
    from .output import SUCCESS, record, say, say_aside
    from .running import Records, ensure_exists, progress_bar, run

    def work(records: Records) -> int:
        for file in files:
            ensure_exists(file)
        with progress_bar("reading headers", in_bytes=False) as on_progress:
            done = link_files(files, out, axis_name=axis_name, axis=axis, overwrite=overwrite, on_progress=on_progress)
        for warning in done.warnings:
            say_aside(f"{done.path}: {warning}")
        message = "; ".join([f"linked {len(files):,} files ({done.way})", *done.warnings])
        facts = {"shape": done.shape, "dtype": done.dtype, "frames_missing": done.frames_missing, "message": message}
        records.append(record(done.path, "linked", **facts, way=done.way, warnings=done.warnings))
        if not as_json:
            say(f"{done.path}: links {len(files):,} files, shape {done.shape}, dtype {done.dtype}")
        return SUCCESS

    return run(work, out, f"nothing was written to {out}", json_output=as_json, one=True)
