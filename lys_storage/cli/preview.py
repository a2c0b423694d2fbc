"""`lys-storage preview`: draws a file as a PNG."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..format import EXPORT_SUFFIX
from .arguments import main
from .parameters import AS_JSON, PATH

if TYPE_CHECKING:
    from ..preview import Source, Survey

_PNG = ".png"


def _parse_index(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Entries separated by commas, as "3,5"; negative ones count from the end."""
    if value is None:
        return None
    words = [word.strip() for word in value.strip().strip("()[]").split(",")]
    if words[-1] == "":
        words.pop()
    if not all(word.isascii() and word.removeprefix("-").isdigit() for word in words):
        raise click.BadParameter(
            f"{value!r} is not the index of a frame: write whole numbers and commas, for example 3,5"
        )
    return tuple(map(int, words))


def _parse_output(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not value.is_dir() and value.suffix.lower() != _PNG:
        raise click.BadParameter(f"{str(value)!r} does not end in {_PNG}: a preview is a PNG file")
    return value


@main.command()
@click.argument("file", type=PATH)
@click.argument("out", type=PATH, required=False, callback=_parse_output)
@click.option(
    "--frame",
    "index",
    callback=_parse_index,
    metavar="N,N,...",
    help="The index of the frame to show; negative numbers count from the end.  [default: of a scan in progress the last "
    "one written, in C order; of an export the one in the middle of the grid, or the last one written before it]",
)
@click.option("--log/--linear", "log", default=False, help="The scale of the colours, and of the values along a line.")
@click.option(
    "--full",
    is_flag=True,
    help="Read every pixel of every frame of the map, however long that takes.  [default: read at most 2 GiB, in about 20 "
    "seconds, and say in the title what was left out]",
    show_default=False,
)
@click.option(
    "--grid-ndim",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many of the first dimensions are the grid, for a file that does not tell it: lys and numpy do not write it.  "
    "[default: all but the last two]",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@AS_JSON
def preview(**asked: Any) -> None:
    """Draw one frame of FILE, and a map of the scan, as a PNG.

    FILE is an export (.npz) or a scan in progress (.npz.part), also while it is written: its writer is not disturbed. OUT
    is the picture, or a folder for it; by default NAME.png in the current folder. Without --overwrite no file is replaced.

    The map shows the mean of each frame over the last two dimensions of the grid, at the place of the frame in the others;
    a grid of one dimension gives a line. Frames that are not written are hatched. A frame of more than two dimensions is
    shown in the middle of the others. A compressed file is read as a whole.

    \b
    lys-storage preview run/data_3.npz
    lys-storage preview run/data_4.npz.part now.png --overwrite    (the scan so far)
    lys-storage preview run/data_3.npz --frame 3,5 --log

    Exit code 1: the file is damaged, or there is nothing to draw, or matplotlib is not installed.
    """
    sys.exit(run_preview(**asked))


def run_preview(
    file: Path,
    out: Path | None,
    index: tuple[int, ...] | None,
    log: bool,
    full: bool,
    grid_ndim: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Draw the picture. Ctrl-C leaves no half-written file."""
    from ..preview import (
        PreviewError,
        check_target,
        draw,
        ensure_matplotlib,
        index_of,
        open_source,
        png_bytes,
        survey,
        write_png,
    )
    from .output import SUCCESS, printable, say
    from .running import Records, ensure_exists, progress_bar, run

    def work(records: Records) -> int:
        ensure_exists(file)
        if file.is_dir():
            raise click.UsageError(
                f"{printable(str(file))} is a folder: name one of its files, which lys-storage ls lists"
            )
        target = _target(file, out)
        check_target(target, overwrite=overwrite)
        ensure_matplotlib()
        source = open_source(file, grid_ndim)
        try:
            try:
                number = None if index is None else index_of(source, index)
            except PreviewError as error:
                raise click.UsageError(str(error)) from None
            with progress_bar("reading") as on_progress:
                found = survey(source, number, whole=full, on_progress=on_progress)
            picture = png_bytes(draw(source, found, log=log))
            write_png(target, picture, overwrite=overwrite)
            facts = _facts(source, found, target)
        finally:
            source.close()
        records.append(facts)
        if not as_json:
            say(f"{target}: {facts['message']}")
        return SUCCESS

    return run(work, file, "no picture was written", json_output=as_json, one=True)


def _target(file: Path, out: Path | None) -> Path:
    if out is not None and not out.is_dir():
        return out
    stem, found, _ = file.name.partition(EXPORT_SUFFIX)
    return (out or Path()) / f"{stem if found and stem else file.name}{_PNG}"


def _facts(source: Source, found: Survey, target: Path) -> dict[str, Any]:
    """The JSON: `picture`; `frame`, its index; `sampled`: what the title says of the parts that were not read."""
    from ..format import is_scan_file
    from ..preview import described, sampling
    from .output import record

    sampled = sampling(found)
    frame = [f"frame {','.join(map(str, found.index))}"] if source.grid.ndim else []
    return record(
        source.path,
        source.state,
        part=str(source.path) if is_scan_file(source.path.name) else None,
        shape=source.grid.shape,
        dtype=str(source.dtype),
        frames_written=source.frames_written,
        frames_expected=source.grid.frames,
        message="; ".join([*frame, described(source), *sampled]),
        picture=str(target),
        frame=found.index,
        sampled=sampled,
        map_index=None if found.map is None else found.map.outer,
        map_shape=None if found.map is None else found.map.plan.counts,
    )
