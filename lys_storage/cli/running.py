"""Runs the work of a command: its errors in one line each, its exit code, its progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import LysStorageError
from ..recovery import describe, find_named
from .output import INTERRUPTED, PROBLEMS, printable, record, say_aside, say_json

Records = list[dict[str, Any]]


def run(work: Callable[[Records], int], path: Path, stopped: str, *, json_output: bool, one: bool = False) -> int:
    """Run `work`, and return the exit code. An interrupt, or an error that ends it, is printed in one line.

    `work` appends the records that are printed as JSON: all of them, or with `one` the last.
    """
    records: Records = []
    ended_by = ""
    try:
        code = work(records)
    except KeyboardInterrupt:
        ended_by, code = f"stopped; {stopped}", INTERRUPTED
    except (LysStorageError, OSError) as error:
        ended_by, code = describe(error), PROBLEMS
    if ended_by:
        say_aside(ended_by)
        records.append(record(path, "", message=ended_by, error=ended_by))
    if json_output:
        say_json(records[-1] if one else records)
    return code


def ensure_exists(path: Path) -> None:
    if not path.is_dir() and find_named(path) is None:
        raise click.UsageError(f"{printable(str(path))}: no folder, export or scan in progress has this name")


@contextmanager
def progress_bar(what: str, *, in_bytes: bool = True) -> Iterator[Callable[[int, int], None]]:
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)
    amount = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn()
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed there would go to the bar's terminal
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
