"""`lys-storage watch`: a live table of the scans in progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import main
from .parameters import AS_JSON, PATH

if TYPE_CHECKING:
    from rich.table import Table

    from .watched import WatchedScan


@main.command()
@click.argument("folder", type=PATH, default=".")
@click.option("--once", is_flag=True, help="Print one table, and exit.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.05),
    default=1.0,
    metavar="SECONDS",
    help="How often the scans are looked at.",
)
@AS_JSON
def watch(**asked: Any) -> None:
    """Show the progress of the scans below FOLDER, until Ctrl-C.

    "rate" is that of the last 30 seconds, or "~" the mean since the scan began. "left" is the time until its last frame.
    "disk" is the free space; scans whose space was claimed when they were created need none of it. "full in" is shown if the
    running scans do not fit. Scans that end while they are watched stay in the table.

    Every written frame survives the death of its process. "safe" is how many survive a power cut, too: those of the last flush.
    By default a frame is flushed within a second. In a scan that is written in order these are the first frames.

    --json prints one line for each look. Without a terminal the table is printed at each look. The scans are not disturbed.

    Exit code: 0 after Ctrl-C; with --once 1 if a scan is damaged.
    """
    sys.exit(run_watch(**asked))


def run_watch(folder: Path, once: bool, interval_s: float, as_json: bool) -> int:
    from .output import PROBLEMS, SUCCESS, printable
    from .running import Records, run

    def work(records: Records) -> int:
        if not folder.is_dir():
            raise click.UsageError(f"{printable(str(folder))}: no folder has this name")
        scans = _watch(folder, once, interval_s, as_json)
        return PROBLEMS if once and any(scan.state == "damaged" for scan in scans) else SUCCESS

    return run(work, folder, "the scans go on", json_output=False)


def _watch(folder: Path, once: bool, interval_s: float, as_json: bool) -> list[WatchedScan]:
    import time
    from contextlib import nullcontext

    from rich.console import Console
    from rich.live import Live

    from .watched import WatchedFolder

    watched = WatchedFolder(folder)
    console = Console(markup=False, emoji=False, highlight=False)
    is_live = console.is_terminal and not once and not as_json
    live = Live(console=console, auto_refresh=False, transient=False) if is_live else None
    scans: list[WatchedScan] = []
    try:
        with live or nullcontext():
            while True:
                scans = watched.look()
                if live is not None:
                    live.update(table_of(folder, scans), refresh=True)
                else:
                    _print(folder, scans, as_json)
                if once or getattr(sys.stdout, "failure", None) is not None:
                    return scans
                time.sleep(interval_s)
    except KeyboardInterrupt:
        return scans
    finally:
        watched.close()


def _print(folder: Path, scans: list[WatchedScan], as_json: bool) -> None:
    import io
    import json

    from rich.console import Console

    from .output import say_text

    if as_json:
        say_text(json.dumps(_as_json(folder, scans), allow_nan=False))
        return
    text = io.StringIO()
    # Wide: a name that is cut cannot be copied.
    Console(file=text, markup=False, emoji=False, highlight=False, width=1 << 12).print(table_of(folder, scans))
    say_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def table_of(folder: Path, scans: list[WatchedScan]) -> Table:
    """A row for each scan; below them what is wrong."""
    from rich.table import Table
    from rich.text import Text

    from ..format import is_export
    from ..recovery import with_path
    from .amounts import bytes_text, seconds_text
    from .output import printable

    notes = [printable(with_path(scan.path, scan.message)) for scan in scans if scan.message]
    if not scans:
        notes = ["no scans in progress here"]
    table = Table(box=None, pad_edge=False, caption=Text("\n".join(notes)), caption_justify="left")
    for title in ("state", "frames", "%", "safe", "rate", "left", "disk", "full in", "file"):
        table.add_column(title, justify="left" if title in ("state", "file") else "right", no_wrap=title != "file")
    for scan in scans:
        expected = scan.frames_expected
        rate = "" if scan.per_s is None else f"{'~' if scan.is_mean else ''}{scan.per_s:,.4g}/s"
        table.add_row(
            scan.state,
            "" if expected is None else f"{scan.frames_written:,} of {expected:,}",
            "" if not expected else f"{100 * scan.frames_written / expected:.1f}",
            "" if scan.durable_frames is None else f"{scan.durable_frames:,}",
            rate,
            "" if scan.left_s is None else seconds_text(scan.left_s),
            "" if scan.free_bytes is None or is_export(scan.path.name) else bytes_text(scan.free_bytes),
            "" if scan.full_in_s is None else seconds_text(scan.full_in_s),
            printable(str(scan.path.relative_to(folder)) if folder in scan.path.parents else str(scan.path)),
        )
    return table


def _as_json(folder: Path, scans: list[WatchedScan]) -> dict[str, Any]:
    """The JSON of one look: `time` (UTC), `folder`, `scans`."""
    from datetime import UTC, datetime

    from ..format import is_scan_file
    from .output import record

    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "folder": str(folder),
        "scans": [
            record(
                scan.path,
                scan.state,
                part=str(scan.path) if is_scan_file(scan.path.name) else None,
                shape=scan.shape,
                dtype=scan.dtype or None,
                frames_written=scan.frames_written,
                frames_expected=scan.frames_expected,
                durable_frames=scan.durable_frames,
                size_bytes=scan.size_bytes,
                message=scan.message or None,
                error=scan.message if scan.state == "damaged" else None,
                frames_per_second=scan.per_s,
                seconds_left=scan.left_s,
                free_bytes=scan.free_bytes,
                full_in_seconds=scan.full_in_s,
            )
            for scan in scans
        ],
    }
