"""The commands other than the demo. Each function prints its result, and returns the exit code: 0 success, 1 problems,
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import itertools
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from ..disk import check_disk, free_space
from ..errors import BadFileError, StorageOSError
from ..format import is_scan_file, recover_command
from ..recovery import (
    FOREIGN,
    UNKNOWN,
    Entry,
    Recovered,
    Verified,
    list_scans,
    recover,
    resume,
    verify_each,
    with_path,
)
from .facts import facts_of, json_value, text_of
from .output import PROBLEMS, SUCCESS, printable, record, say, say_aside, say_text
from .running import Records, ensure_exists, progress_bar, run
from .throughput import SCAN_BYTES, detector_facts, scan_text, space_facts, speed_facts

_NOTHING_HERE = "no exports and no scans in progress here"


# -- recover -----------------------------------------------------------------------------------------------------------


def run_recover(folder: Path, *, json_output: bool, dry_run: bool, force: bool, **how: Any) -> int:
    """Export the interrupted scans below `folder`; `how`: as recover. After Ctrl-C it can be run again."""

    def work(records: Records) -> int:
        ensure_exists(folder)

        def tell(result: Recovered) -> None:
            records.append(_of_recovered(result))
            if not json_output:
                say(with_path(result.path or result.part, result.message))

        if force:
            for found in recover(folder, dry_run=True):
                if found.state == UNKNOWN:
                    say_aside(with_path(found.part, found.message))
        with progress_bar("checking and filling") as on_progress:
            results = recover(folder, dry_run=dry_run, force=force, **how, on_progress=on_progress, on_result=tell)
        if not results and not json_output:
            say(f"{folder}: no interrupted scans here")
        return PROBLEMS if any(result.failed for result in results) else SUCCESS

    return run(work, folder, "no frame is lost; run it again to continue", json_output=json_output)


def _of_recovered(result: Recovered) -> dict[str, Any]:
    is_known = result.frames_expected > 0
    return record(
        result.path or result.part,
        result.state,
        part=str(result.part) if is_scan_file(result.part.name) else None,
        frames_written=result.frames_written if is_known else None,
        frames_expected=result.frames_expected if is_known else None,
        message=result.message,
        error=result.message if result.failed else None,
    )


# -- verify ------------------------------------------------------------------------------------------------------------


def run_verify(paths: tuple[Path, ...], *, json_output: bool) -> int:
    """Check the files at `paths`, and all files below those that are folders."""

    def work(records: Records) -> int:
        for path in paths:
            ensure_exists(path)
        code, looked_at = SUCCESS, []
        with progress_bar("checking") as on_progress:
            for one in verify_each(paths, on_progress):
                looked_at.append(one.entry.path)
                code = PROBLEMS if one.problems else code
                error = "; ".join(problem.what for problem in one.problems)
                records.append(_of_entry(one.entry, one.message, error))
                if not json_output:
                    _say_verified(one)
        for path in paths:
            if not json_output and not any(at.is_relative_to(path) for at in looked_at):
                say(f"{path}: {_NOTHING_HERE}")
        return code

    return run(work, paths[0], "not all files were checked", json_output=json_output)


def _say_verified(one: Verified) -> None:
    for problem in one.problems:
        say(str(problem))
    if not one.problems:
        say(with_path(one.entry.path, one.message or "sound"))


def _of_entry(entry: Entry, message: str, error: str) -> dict[str, Any]:
    facts = asdict(entry)
    for name in ("path", "state", "problem"):
        facts.pop(name)
    facts |= {"part": str(entry.path) if is_scan_file(entry.path.name) else None, "dtype": entry.dtype or None}
    return record(entry.path, entry.state, **facts | {"message": message or None, "error": error or None})


# -- ls ----------------------------------------------------------------------------------------------------------------


def run_ls(folder: Path, *, json_output: bool) -> int:
    """Print a table of the exports and scans in progress below `folder`."""

    def work(records: Records) -> int:
        ensure_exists(folder)
        entries = list(list_scans(folder))
        records += [_of_entry(entry, entry.message, entry.message if entry.problem else "") for entry in entries]
        if not json_output:
            _say_table(folder, entries)
        return PROBLEMS if any(entry.problem for entry in entries) else SUCCESS

    return run(work, folder, "not all files were listed", json_output=json_output)


def _say_table(folder: Path, entries: list[Entry]) -> None:
    if not entries:
        say(f"{folder}: {_NOTHING_HERE}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("state", "shape", "dtype", "frames", "size", "on disk", "age", "file"):
        numbers = title in ("frames", "size", "on disk", "age")
        table.add_column(title, justify="right" if numbers else "left", no_wrap=True)
    for e in entries:
        shape = "" if e.shape is None else " x ".join(map(str, e.shape)) or "one value"
        frames = f"{e.frames_written:,} of {e.frames_expected:,}" if e.frames_expected is not None else ""
        on_disk = "" if e.allocated_bytes is None else decimal(e.allocated_bytes)
        name = str(e.path.relative_to(folder)) if folder in e.path.parents else e.path.name
        table.add_row(e.state, shape, e.dtype, frames, decimal(e.size_bytes), on_disk, _age(e.changed), printable(name))
    text = io.StringIO()
    wide = 1 << 12  # a name that is cut cannot be copied
    console = Console(file=text, markup=False, emoji=False, highlight=False, width=wide)
    console.print(table, soft_wrap=False)
    say_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()))
    for e in entries:
        if e.message:
            say(with_path(e.path, e.message))
    if any(e.state == "interrupted" for e in entries):
        say(f"{recover_command(folder)} exports the interrupted scans")


def _age(changed: float) -> str:
    seconds = max(0.0, time.time() - changed)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


# -- info --------------------------------------------------------------------------------------------------------------


def run_info(path: Path, *, json_output: bool) -> int:
    """Print what an export or a scan in progress holds, without reading its data."""

    def work(records: Records) -> int:
        ensure_exists(path)
        if path.is_dir():
            raise click.UsageError(
                f"{printable(str(path))} is a folder: name one of its files, which lys-storage ls lists"
            )
        entry = next(list_scans(path), None)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "no such file, or it was just removed", str(path))
        error = entry.message if entry.problem else ""
        if error:
            say_aside(with_path(entry.path, error))
        facts = facts_of(entry)
        records.append(_of_entry(entry, entry.message, error) | json_value(facts))
        if not json_output and (facts or not error):
            say_text(text_of(entry, facts))
        return PROBLEMS if error else SUCCESS

    return run(work, path, "nothing was changed", json_output=json_output, one=True)


# -- resume ------------------------------------------------------------------------------------------------------------


def run_resume(path: Path, *, force: bool, json_output: bool) -> int:
    """Take over an interrupted scan, release it, and print how to continue it."""

    def work(records: Records) -> int:
        ensure_exists(path)
        try:
            scan = resume(path, force=force)
        except StorageOSError:
            entry = next(list_scans(path), None)
            if entry is not None and entry.state == FOREIGN:
                raise BadFileError(f"{with_path(entry.path, entry.message)}; there is no scan to resume") from None
            raise
        try:
            missing = list(itertools.islice(scan.missing(), 10))
            written, expected = scan.frames_written, scan.frames_expected
            name, part, shape, dtype = scan.path, scan.part_path, scan.shape, str(scan.dtype)
        finally:
            scan.suspend()
        message = "ready to be continued; this command writes no frames"
        facts = {"shape": shape, "dtype": dtype, "frames_written": written, "frames_expected": expected}
        records.append(record(part, "interrupted", part=str(part), message=message, **facts, first_missing=missing))
        if json_output:
            return SUCCESS
        say(f"{name}: {written:,} of {expected:,} frames are stored, shape {shape}, dtype {dtype}")
        if missing:
            say(f"first missing indices: {', '.join(map(str, missing))}")
        say("The scan is ready to be continued. This command writes no frames.")
        say(f"continue in a script:      with lys_storage.resume({str(path)!r}) as scan:")
        say("                               for index in scan.missing(): scan[index] = ...")
        say(f"continue with a detector:  storage.resume({str(path)!r}), then start the detector")
        say(f"or export it as it is:     {recover_command(path)}")
        return SUCCESS

    return run(work, path, "the scan stays in progress, and no frame is lost", json_output=json_output, one=True)


# -- check-disk --------------------------------------------------------------------------------------------------------


def run_check_disk(folder: Path, *, json_output: bool, scan_bytes: int | None, rate: int | None) -> int:
    """Print which tests the disk of `folder` passes, the consequence of each failed one, and how long a scan takes.

    With `scan_bytes` also whether a scan of this size fits; with `rate`, in bytes per second, whether the disk keeps up with a
    detector.
    """
    size = SCAN_BYTES if scan_bytes is None else scan_bytes

    def tell(one: dict[str, Any]) -> None:
        if not json_output:
            say(f"{'holds' if one['state'] == 'holds' else 'FAILS'}  {one['probe']}: {one['message']}")
            if one["error"]:
                say(f"       consequence: {one['error']}")

    def before_speed() -> None:
        if not json_output:
            say_aside("the speed is measured: this takes some seconds ...")

    def work(records: Records) -> int:
        if not folder.is_dir():
            raise click.UsageError(
                f"{printable(str(folder))}: no folder has this name, and check-disk does not make it"
            )
        free = free_space(folder)
        if scan_bytes is not None:
            records.append(record(folder, **space_facts(free, scan_bytes)))
            tell(records[-1])
        for finding in check_disk(folder, before_speed):
            state, error = ("holds", None) if finding.holds else ("fails", finding.follows)
            facts: dict[str, Any] = {"probe": finding.what, "message": finding.seen, "error": error}
            facts |= {} if finding.speed is None else speed_facts(finding.speed, size)
            records.append(record(folder, state, **facts))
            tell(records[-1])
            if finding.speed is not None:
                if not json_output:
                    say(f"       {scan_text(finding.speed, size, free)}")
                if rate is not None:
                    records.append(record(folder, **detector_facts(finding.speed, rate)))
                    tell(records[-1])
        return SUCCESS if all(one["state"] == "holds" for one in records) else PROBLEMS

    return run(work, folder, "its temporary folder is removed", json_output=json_output)
