"""`lys-storage catalog`: what the headers of many exports say, as a table, as JSON, or as CSV."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import main
from .parameters import AS_JSON, PATH

if TYPE_CHECKING:
    from ..inventory import Catalog, Cataloged


@main.command()
@click.argument("folder", type=PATH, default=".")
@click.option("--note", is_flag=True, help="Also read the notes: their texts, numbers and bools.")
@click.option("--csv", "table", type=PATH, metavar="OUT", help="Write a CSV file, with a row for each file.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@AS_JSON
def catalog(**asked: Any) -> None:
    """List exports with shape, times, frames, names and units of their axes, from their headers.

    10,000 exports take some seconds. FOLDER and the folders below it are read. Foreign and damaged files, and scans in
    progress, are listed with this state; "lys-storage ls" describes the states. Nothing is changed.

    \b
    lys-storage catalog /data --csv scans.csv --note
    python -c "import lys_storage; print(lys_storage.catalog('/data').to_pandas())"

    Exit code 1: OUT exists or cannot be written. Damaged files are no problem here: "lys-storage verify" checks files.
    """
    sys.exit(run_catalog(**asked))


def run_catalog(folder: Path, note: bool, table: Path | None, overwrite: bool, as_json: bool) -> int:
    from ..conversion import check_target, written_in_one_step
    from ..disk import File
    from ..inventory import catalog as catalog_of
    from .output import SUCCESS, say
    from .running import Records, ensure_exists, progress_bar, run

    def work(records: Records) -> int:
        ensure_exists(folder)
        if table is not None:
            check_target(table, overwrite=overwrite)
        with progress_bar("reading headers", in_bytes=False) as on_progress:
            found = catalog_of(folder, note=note, on_progress=on_progress)
        records += [_json(one) for one in found]
        if table is not None:
            with written_in_one_step(table, overwrite=overwrite) as beside:
                file = File.create(beside)
                try:
                    file.write_at(_csv(found), 0)
                finally:
                    file.close()
            if not as_json:
                say(f"{table}: {len(found):,} files")
        elif not as_json:
            _say_table(folder, found)
        return SUCCESS

    return run(work, folder, "not all files were listed", json_output=as_json)


def _json(one: Cataloged) -> dict[str, Any]:
    from .facts import json_value
    from .output import record

    facts = asdict(one)
    facts.pop("path")
    facts.pop("state")
    found: dict[str, Any] = json_value(facts | {"message": one.message or None})
    return record(one.path, one.state, **found)


def _csv(found: Catalog) -> bytes:
    keys = list(dict.fromkeys(key for one in found for key in one.note or {}))
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    names = ["path", "state", "shape", "dtype", "started", "ended", "frames_written", "frames_expected"]
    rows.writerow([*names, "axis_names", "units", "size_bytes", "changed", "message", *(f"note.{key}" for key in keys)])
    for one in found:
        facts = [_cell(getattr(one, name)) for name in names]
        labels = [_cell(one.axis_names), _cell(one.units)]
        note = one.note or {}
        rows.writerow(
            [*facts, *labels, one.size_bytes, one.changed, one.message, *(_cell(note.get(key)) for key in keys)]
        )
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        between = " x " if all(isinstance(item, int) for item in value) else "; "
        return between.join("" if item is None else str(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def _say_table(folder: Path, found: Catalog) -> None:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from .output import printable, say, say_text

    if not found:
        say(f"{folder}: no exports and no scans in progress here")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("state", "shape", "dtype", "frames", "started", "size", "axes", "file"):
        table.add_column(title, justify="right" if title in ("frames", "size") else "left", no_wrap=True)
    for one in found:
        frames = "" if one.frames_expected is None else f"{one.frames_written:,} of {one.frames_expected:,}"
        name = str(one.path.relative_to(folder)) if folder in one.path.parents else one.path.name
        cells = [
            one.state,
            _cell(one.shape),
            one.dtype or "",
            frames,
            (one.started or "")[:19],
            decimal(one.size_bytes),
        ]
        table.add_row(*(printable(str(cell or "")) for cell in [*cells, _axes(one), name]))
    text = io.StringIO()
    Console(file=text, markup=False, emoji=False, highlight=False, width=1 << 12).print(table, soft_wrap=False)
    say_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()))


def _axes(one: Cataloged) -> str:
    names, units = one.axis_names or (), one.units or ()
    size = max(len(names), len(units))
    padded = [[*labels, *[None] * (size - len(labels))] for labels in (names, units)]
    return ", ".join(f"{name or '-'}" + (f" ({unit})" if unit else "") for name, unit in zip(*padded, strict=True))
