"""The arguments of each command. What a command does is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._version import VERSION
from .amounts import parse_rate, parse_size
from .output import INTERRUPTED, JSON_OPTION, record, say, say_aside, say_json, tolerant_outputs
from .parameters import AS_JSON, PATH, UserPath

if TYPE_CHECKING:
    import numpy as np

_MAX_DIMENSIONS = 32
"""The limit of numpy 1."""


def _parse_lengths(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Lengths separated by commas, as "32,32"; "" is no dimension."""
    words = [word.strip() for word in value.strip().strip("()[]").split(",")]
    if words[-1] == "":
        words.pop()
    if not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(
            f"{value!r} is not a list of lengths: write whole numbers and commas, for example 32,32"
        )
    lengths = tuple(map(int, words))
    if 0 in lengths:
        raise click.BadParameter(f"{value!r} has a length of 0: lengths are at least 1")
    return lengths


def _parse_dtype(ctx: click.Context, param: click.Parameter, value: str) -> np.dtype[Any]:
    """The name of a dtype that a detector can have."""
    import numpy as np

    try:
        dtype = np.dtype(value)
    except (TypeError, SyntaxError):
        raise click.BadParameter(
            f"{value!r} is not a numpy dtype: try uint16, int32, float32, complex64, or >u2"
        ) from None
    if dtype.kind not in "uifc":
        raise click.BadParameter(f"{value!r}: a detector gives integer, floating or complex numbers, not {dtype}")
    return dtype


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from ..store import path_of_frames

        say(f"lys-storage {VERSION} (frames: {path_of_frames()})")
        ctx.exit()


class _Commands(click.Group):
    """All commands. An output that fails ends none of them, and an error is one line."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        with tolerant_outputs() as is_lost:
            try:
                return super().main(args, *more, **options)
            except SystemExit as end:
                if is_lost() and not end.code:
                    raise SystemExit(1) from None
                raise

    def invoke(self, ctx: click.Context) -> Any:
        asked = [*getattr(ctx, "_protected_args", ()), *ctx.args]

        def say_error(text: str) -> None:
            """Print JSON, if that was asked for: a list, or one object from a command that prints one object."""
            if JSON_OPTION in asked:
                found = record("", "", error=text)
                one = ("convert", "info", "link", "preview", "resume", "watch")
                say_json(found if asked[0] in one else [found])

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            message, code = "stopped", INTERRUPTED
        except click.UsageError as error:
            say_error(error.format_message())
            raise
        say_aside(message)
        say_error(message)
        sys.exit(code)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100},
)
@click.option(
    *("--version", "version"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version, and which code stores frames, and exit.",
)
def main() -> None:
    """Record scans to .npz files that lys and numpy load, and list, verify and recover them.

    After a crash: "lys-storage ls FOLDER" shows what is there, "lys-storage recover FOLDER" exports the interrupted scans.

    Exit codes: 0 success, 1 problems found (also: the output could not be written), 2 usage error, 130 stopped by Ctrl-C.
    """


@main.command()
@click.argument("folder", required=False, type=UserPath(file_okay=False, path_type=Path))
@click.option(
    *("--shape", "grid"),
    callback=_parse_lengths,
    default="32,32",
    metavar="N,N,...",
    help="The shape of the grid: the number of points along each dimension, the last one fastest. The last two are y and x "
    "on the sample, those before them delay, temperature, ... Any number of dimensions; --shape '' is one point.",
)
@click.option(
    "--frame",
    callback=_parse_lengths,
    default="128,128",
    metavar="N,N,...",
    help="The shape of each frame: N,N is a diffraction pattern, N a spectrum, '' a single number.",
)
@click.option(
    "--dtype",
    callback=_parse_dtype,
    metavar="DTYPE",
    default="uint16",
    help="The dtype of the detector, and of the file: any integer, floating or complex dtype of numpy, such as uint8, "
    "float32, complex64, or >u2 (big-endian).",
)
@click.option(
    "--out",
    type=UserPath(file_okay=False, path_type=Path),
    help="The same as FOLDER.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    help="Frames per second, like a camera with a fixed frame rate.  [default: as fast as they are stored]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="The seed of sample and noise: the same seed gives the same frames, bit for bit.",
)
def demo(
    folder: Path | None,
    grid: tuple[int, ...],
    frame: tuple[int, ...],
    dtype: np.dtype[Any],
    out: Path | None,
    rate: float | None,
    seed: int,
) -> None:
    """Run a simulated scan in FOLDER, save it, and check every frame.

    FOLDER is lys_storage_demo by default, and is created if missing. Each run takes the next free number: data_0.npz,
    data_1.npz, ...; no file is replaced.

    A simulated detector scans a sample with domains. Each frame is written to disk as it arrives. Then every frame is
    read back and compared bit for bit, lys (if installed) opens the file, and a picture of it is drawn.

    \b
    lys-storage demo
    lys-storage demo --shape 256,256 --frame 256,256 --dtype uint16   (8 GiB, in little memory)
    lys-storage demo --shape 4,50,50 --frame 1024 --dtype float32     (a spectrum at each point, 4 delays)

    Ctrl-C stops the detector and saves the frames so far. Exit code 1: a frame differs, or something was not saved.
    """
    if len(grid) + len(frame) > _MAX_DIMENSIONS:
        raise click.UsageError(f"{len(grid) + len(frame)} dimensions are more than an array has ({_MAX_DIMENSIONS})")
    if folder is not None and out is not None:
        raise click.UsageError("FOLDER and --out are the same: give one of them")
    from ..demo import Demo, run

    sys.exit(run(Demo(grid, frame, dtype, folder or out or Path("lys_storage_demo"), rate, seed)))


_FORCE = click.option(
    "--force",
    is_flag=True,
    help="Take over a scan although a process may still write it, if the file system has no locks: make sure that none does. "
    "Also take over a scan of which no frame matches its checksum.",
)


@main.command()
@click.argument("folder", type=PATH)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@click.option(
    "--verify", is_flag=True, help="Compare every frame with its checksum, also if only the process has died."
)
@click.option(
    "--incomplete",
    type=click.Choice(["fill", "trim"]),
    default="fill",
    help="If frames are missing: fill them with the fill value, or trim the scan and its axes to the part of its grid that has "
    "frames.",
)
@click.option("--trim", "incomplete", flag_value="trim", help="The same as --incomplete trim.", show_default=False)
@click.option(
    "--keep-doubtful",
    is_flag=True,
    help="After a power cut or a restart: also keep unverified frames, written too late to have a checksum. The export "
    "lists them.",
)
@_FORCE
@AS_JSON
def recover(
    folder: Path, dry_run: bool, verify: bool, incomplete: str, keep_doubtful: bool, force: bool, as_json: bool
) -> None:
    """Export every interrupted scan below FOLDER.

    A scan is interrupted if its process died, or its machine lost power. Its export (.npz) holds every frame that was
    written, and the fill value for missing frames; acquisition.json in the export lists these. Scans that a living process
    writes are left alone, and no file is replaced. FOLDER may also be one scan. The command can be stopped at any time,
    and run again.

    On a file system without locks nothing is exported without --force. With it, the host and the process that wrote each
    scan are printed first.

    Exit code 1: a scan could not be exported, and is unchanged. Foreign files are no problem.
    """
    from .commands import run_recover

    how: dict[str, Any] = {"verify": verify, "incomplete": incomplete, "keep_doubtful": keep_doubtful}
    sys.exit(run_recover(folder, json_output=as_json, dry_run=dry_run, force=force, **how))


@main.command()
@click.argument("file", type=PATH)
@AS_JSON
def info(file: Path, as_json: bool) -> None:
    """Print the state, shape, axes and note of one file.

    FILE is an export (.npz) or a scan in progress (.npz.part). Its data are not read: "lys-storage verify" checks them.

    "size" is the length of the file, "on disk" the space that it takes. "missing" lists ranges [first, stop) of frames, counted
    in C order. Exit code 1: the file is damaged, or may not be read.
    """
    from .commands import run_info

    sys.exit(run_info(file, json_output=as_json))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@AS_JSON
def verify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Compare all bytes of files with their checksums.

    PATHS are exports, scans in progress, or folders. Checked of an export: its structure, and the CRC-32 of every member.
    Checked of a scan in progress: its journal, and the checksum of every frame, unless a process is writing it. Reads at the
    speed of the disk, and changes nothing: a scan can be recovered meanwhile.

    Exit code 1: problems were found and printed. Foreign files are no problem.
    """
    from .commands import run_verify

    sys.exit(run_verify(paths, json_output=as_json))


@main.command()
@click.argument("folder", type=PATH, default=".")
@AS_JSON
def ls(folder: Path, as_json: bool) -> None:
    """List exports and scans in progress, with their states.

    \b
    finalized     an export; "lys-storage verify" checks its bytes
    running       a living process writes it
    interrupted   no process writes it: "lys-storage recover" exports it
    unknown       running or interrupted: the file system has no locks that tell
    leftover      a crash left it beside an export: "lys-storage recover" removes it
    damaged       the line below the table tells what is wrong
    foreign       another program wrote it; nothing is wrong with it
    not readable  this user may not read it

    Folders below FOLDER are listed too. "frames" are those written of those expected, "size" is the length of a file,
    "on disk" the space that it takes, "age" the time since it changed. Exit code 1: something is damaged.
    """
    from .commands import run_ls

    sys.exit(run_ls(folder, json_output=as_json))


@main.command("resume")
@click.argument("path", type=PATH)
@_FORCE
@AS_JSON
def resume_(path: Path, force: bool, as_json: bool) -> None:
    """Prepare an interrupted scan, and print how to continue it.

    PATH is the final name of the scan, or its scan file (.npz.part). Its frames are reconciled with its journal, as by
    lys_storage.resume: after a power cut each frame is compared with its checksum. This command writes no frames. The scan
    stays in progress, and a script or a detector continues it.
    """
    from .commands import run_resume

    sys.exit(run_resume(path, force=force, json_output=as_json))


@main.command("check-disk")
@click.argument("folder", type=PATH, default=".")
@click.option(
    "--size",
    callback=parse_size,
    metavar="SIZE",
    help="The size of a scan, 500GB, 2TB, 100GiB, ...: test whether it fits.  [default: 100GB, not tested]",
)
@click.option(
    "--rate",
    callback=parse_rate,
    default=None,
    metavar="SIZE",
    help="What the detector gives per second, such as 800MB: test whether the disk keeps up with it.",
)
@AS_JSON
def check_disk(folder: Path, size: int | None, rate: int | None, as_json: bool) -> None:
    """Test whether a disk or share does what lys_storage needs, and how fast it is.

    Tests exclusive creation, locks between processes, preallocation, publishing without replacing, maps and syncs, in a
    temporary folder in FOLDER, which must exist. The temporary folder is removed.

    Then measures the sustained write speed: for about 7 seconds it writes at most 8 GiB, and at most a quarter of the free
    space (64 MiB if that is less). A drive with a larger cache can be slower after that.

    \b
    lys-storage check-disk /data
    lys-storage check-disk /data --size 2TB      (does a scan of 2 TB fit, and how long does it take?)
    lys-storage check-disk /data --rate 800MB    (does it keep up with a detector of 800 MB/s?)

    Exit code 1: a test failed, the scan does not fit, or the detector is faster than the disk; the consequence is printed.
    """
    from .commands import run_check_disk

    sys.exit(run_check_disk(folder, json_output=as_json, scan_bytes=size, rate=rate))
