"""The command line, `lys-storage`. Each command's work lives elsewhere and is imported when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._version import VERSION

if TYPE_CHECKING:
    import numpy as np

_MAX_DIMENSIONS = 32
"""numpy 1 has no more."""


def _lengths(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Lengths with commas between them, as "32,32"; "" for none at all."""
    words = [word.strip() for word in value.strip().strip("()[]").split(",")]
    if words[-1] == "":
        words.pop()
    if not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(f"{value!r} is not a list of lengths: write whole numbers and commas, as 32,32")
    lengths = tuple(map(int, words))
    if 0 in lengths:
        raise click.BadParameter(f"{value!r} has a length of 0, and nothing could be measured: lengths are at least 1")
    return lengths


def _dtype(ctx: click.Context, param: click.Parameter, value: str) -> np.dtype[Any]:
    """A dtype that a detector can have."""
    import numpy as np

    try:
        dtype = np.dtype(value)
    except (TypeError, SyntaxError):
        raise click.BadParameter(
            f"{value!r} is no numpy dtype: try uint16, int32, float32, complex64, or >u2"
        ) from None
    if dtype.kind not in "uifc":
        raise click.BadParameter(f"{value!r}: a detector gives integer, floating or complex numbers, not {dtype}")
    return dtype


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"lys-storage {VERSION}")
        ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100})
@click.option(
    *("--version", "version"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and go.",
)
def main() -> None:
    """Scans that go straight into the .npz that lys loads.

    Exit codes: 0 fine, 1 problems found, 2 wrong use.
    """


@main.command()
@click.option(
    *("--shape", "grid"),
    callback=_lengths,
    default="32,32",
    metavar="N,N,...",
    help="The index grid: how many points the scan has along each dimension, the last one fastest. The last two are y "
    "and x on the sample, those before it delay, temperature, ... Any number of dimensions; --shape '' is one point.",
)
@click.option(
    "--frame",
    callback=_lengths,
    default="128,128",
    metavar="N,N,...",
    help="The shape of each frame: N,N is a diffraction pattern, N a spectrum, '' a single number.",
)
@click.option(
    "--dtype",
    callback=_dtype,
    metavar="DTYPE",
    default="uint16",
    help="What the detector counts in: any integer, floating or complex dtype of numpy, as uint8, float32, complex64, "
    "or >u2 (big-endian). The file holds the same.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="lys_storage_demo",
    help="The folder for the file and its picture; it is made where it is missing. Each run takes the next free "
    "number: data_0.npz, data_1.npz, ...; nothing is ever replaced.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Frames a second, as a camera with a fixed frame rate gives them.  [default: as fast as they are stored]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Another seed is another sample and other noise; the same one gives the same frames, bit for bit.",
)
def demo(
    grid: tuple[int, ...], frame: tuple[int, ...], dtype: np.dtype[Any], out: Path, rate: float | None, seed: int
) -> None:
    """Run a simulated scan, save it, check every frame of it.

    A simulated detector scans a sample with domains, and each frame goes to disk as it arrives. Then every frame is
    read back and compared bit for bit, lys opens the file where it is installed, and a picture is drawn beside it.

    \b
    lys-storage demo
    lys-storage demo --shape 256,256 --frame 256,256 --dtype uint16   (8 GiB, in little memory)
    lys-storage demo --shape 4,50,50 --frame 1024 --dtype float32     (a spectrum at each point, 4 delays)

    Ctrl-C stops the detector and saves what came. Exit code 1: a frame differs, or something could not be saved.
    """
    if len(grid) + len(frame) > _MAX_DIMENSIONS:
        raise click.UsageError(f"{len(grid) + len(frame)} dimensions are more than an array has ({_MAX_DIMENSIONS})")
    from .demo._run import Demo, run

    sys.exit(run(Demo(grid, frame, dtype, out, rate, seed)))


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only tell what is there and what would be done.")
@click.option("--verify", is_flag=True, help="Check every frame against its checksum, also after a mere crash.")
@click.option("--trim", is_flag=True, help="Cut each scan to the part of its grid that has frames, axes too.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def recover(folder: Path, dry_run: bool, verify: bool, trim: bool, as_json: bool) -> None:
    """Export every interrupted scan below FOLDER.

    A scan whose process died, or whose machine lost its power, becomes its .npz: with every frame that arrived, the
    fill value elsewhere, and the missing frames listed in its acquisition.json. Scans that a living process is writing
    are left alone, and no file is replaced. It can be stopped at any time, and run again.

    Exit code 1: a scan could not be exported; it stays as it is.
    """
    from .commands import run_recover

    sys.exit(run_recover(folder, dry_run=dry_run, verify=verify, trim=trim, machine=as_json))


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def info(file: Path, as_json: bool) -> None:
    """Tell what FILE, an export or a scan in progress (.npz.part), holds. Reads no data."""
    from .commands import run_info

    sys.exit(run_info(file, machine=as_json))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def verify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check exports and scans in progress, or all of them below a folder, byte by byte.

    Structure, and the CRC-32 of every member of an export; journal, and the checksum of every frame of a scan in
    progress. Reads at the disk's speed, and changes nothing. Exit code 1: something is wrong, and it says what.
    """
    from .commands import run_verify

    sys.exit(run_verify(paths, machine=as_json))


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path), default=".")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def ls(folder: Path, as_json: bool) -> None:
    """List exports and scans in progress below FOLDER, with their states.

    \b
    finalized     an export, complete and valid
    running       a living process is writing it
    interrupted   its process died: "lys-storage recover" exports it
    damaged       it is not sound, and the line below says why

    Exit code 1: something is damaged.
    """
    from .commands import run_ls

    sys.exit(run_ls(folder, machine=as_json))


@main.command("resume")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def resume_(path: Path, as_json: bool) -> None:
    """Look at an interrupted scan as one goes on with it, and tell how a script or a detector does.

    PATH is the name that the scan was to have, or its .npz.part. Its frames are settled as for a resume (after a power
    cut each one is checked), and it is left in progress.
    """
    from .commands import run_resume

    sys.exit(run_resume(path, machine=as_json))


@main.command("check-disk")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check_disk(folder: Path, as_json: bool) -> None:
    """Try out whether the disk or share of FOLDER does what the promises are built on, and how fast.

    Exclusive creates, locks between processes, claiming of space, publishing without replacing, maps, syncs. Works in a
    folder of its own, which it removes again. Exit code 1: something does not hold, and it says what follows.
    """
    from .commands import run_check_disk

    sys.exit(run_check_disk(folder, machine=as_json))
