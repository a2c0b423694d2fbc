"""The commands other than the demo. Each function prints its result, and returns the exit code: 0 success, 1 problems."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ..disk import check_disk
from ..errors import LysStorageError
from ..format import is_scan_file
from ..reading import open_wave
from ..recovery import DAMAGED, Problem, Recovered, as_json, inspect, list_scans, recover, resume, verify


def _console(*, stderr: bool = False) -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True, stderr=stderr)


def run_recover(folder: Path, *, dry_run: bool, verify: bool, trim: bool, json_output: bool) -> int:
    """Export the interrupted scans below `folder`. After Ctrl-C it can be run again."""
    out, messages = _console(), _console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("checking and filling", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        def print_result(result: Recovered) -> None:
            if not json_output:
                out.print(f"{result.path or result.part}: {result.said}")

        try:
            results = recover(folder, dry_run, verify=verify, trim=trim, progress=progress, done=print_result)
        except KeyboardInterrupt:
            messages.print("stopped; nothing is lost, run it again to go on")
            return 1
    if json_output:
        out.print(json.dumps([_recovered_for_json(r) for r in results], indent=1))
    elif not results:
        out.print(f"{folder}: no scan was interrupted here")
    failed = [r for r in results if r.path is None and not (r.running or r.settled or dry_run)]
    return 1 if failed else 0


def _recovered_for_json(result: Recovered) -> dict[str, Any]:
    return {
        "part": str(result.part),
        "path": None if result.path is None else str(result.path),
        "frames_written": result.frames_written,
        "frames_expected": result.frames_expected,
        "running": result.running,
        "said": result.said,
    }


def run_verify(paths: tuple[Path, ...], *, json_output: bool) -> int:
    """Check the files at `paths`, and all files below those that are folders."""
    out, messages = _console(), _console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task("checking", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        def print_problems(path: Path, found: list[Problem]) -> None:
            if not json_output:
                out.print(f"{path}: sound" if not found else "\n".join(map(str, found)))

        try:
            problems = verify(*paths, progress=progress, looked_at=print_problems)
        except KeyboardInterrupt:
            messages.print("stopped; not everything has been looked at")
            return 1
    if json_output:
        out.print(as_json(problems))
    return 1 if problems else 0


def run_ls(folder: Path, *, json_output: bool) -> int:
    """Print a table of the exports and scans in progress below `folder`."""
    out = _console()
    entries = list(list_scans(folder))
    if json_output:
        out.print(json.dumps([{**asdict(e), "path": str(e.path)} for e in entries], indent=1))
    elif not entries:
        out.print(f"{folder}: neither exports nor scans in progress here")
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("state", "shape", "dtype", "frames", "size", "age", "file"):
            table.add_column(title, justify="right" if title in ("frames", "size", "age") else "left", no_wrap=True)
        for e in entries:
            shape = "" if e.shape is None else " x ".join(map(str, e.shape)) or "one value"
            known = e.frames_expected is not None
            frames = f"{e.frames_written:,} of {e.frames_expected:,}" if known else ""
            name = str(e.path.relative_to(folder)) if e.path != folder else str(e.path)
            table.add_row(e.state, shape, e.dtype, frames, decimal(e.size_bytes), _age(e.changed), name)
        out.width = 1 << 12  # a name that is cut in two cannot be copied
        out.print(table, soft_wrap=False)
        for e in entries:
            if e.said:
                out.print(f"{e.path}: {e.said}")
    return 1 if any(e.state == DAMAGED for e in entries) else 0


def run_check_disk(folder: Path, *, json_output: bool) -> int:
    """Print which tests the disk of `folder` passes, and the consequence of each that it fails."""
    out = _console()
    findings = []
    for finding in check_disk(folder):
        findings.append(finding)
        if not json_output:
            out.print(f"{'holds' if finding.holds else 'FAILS'}  {finding.what}: {finding.seen}")
            if not finding.holds:
                out.print(f"       then: {finding.follows}")
    if json_output:
        out.print(json.dumps([asdict(finding) for finding in findings], indent=1))
    return 0 if all(finding.holds for finding in findings) else 1


def run_resume(path: Path, *, json_output: bool) -> int:
    """Resume an interrupted scan, suspend it again, and print how to continue it."""
    out, messages = _console(), _console(stderr=True)
    try:
        scan = resume(path)
    except LysStorageError as error:
        messages.print(str(error))
        return 1
    missing = list(itertools.islice(scan.missing(), 10))
    written, expected = scan.frames_written, scan.frames_expected
    name, shape, dtype = scan.path, scan.shape, scan.dtype
    scan.suspend()
    if json_output:
        facts = {"path": str(name), "shape": shape, "dtype": str(dtype), "frames_written": written}
        out.print(json.dumps({**facts, "frames_expected": expected, "first_missing": missing}, indent=1))
        return 0
    out.print(f"{name}: {written:,} of {expected:,} frames are there, of {dtype} {shape}")
    if missing:
        out.print(f"the first that are missing: {', '.join(map(str, missing))}")
    out.print(f"a script goes on with it:    scan = lys_storage.resume({str(path)!r})")
    out.print("                             for index in scan.missing(): scan[index] = ...")
    out.print(f"a detector goes on with it:  storage.resume({str(path)!r}), then start the detector")
    out.print(f"or export it as it is:       lys-storage recover {path}")
    return 0


def _age(changed: float) -> str:
    seconds = max(0.0, time.time() - changed)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def run_info(path: Path, *, json_output: bool) -> int:
    """Print what an export or a scan in progress holds, without reading its data."""
    out = _console()
    try:
        facts = _part_facts(path) if is_scan_file(path.name) else _export_facts(path)
    except LysStorageError as error:
        _console(stderr=True).print(str(error))
        return 1
    if json_output:
        out.print(json.dumps(_json_value(facts), indent=1))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            out.print(f"{name:<{width}}  {_printable(value)}")
    return 0


def _printable(value: Any) -> str:
    """Text from a file, with control characters escaped: a terminal must not obey them."""
    try:
        text = str(value)
    except ValueError:  # a number of too many digits
        return f"<{type(value).__name__} that is too long>"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return value
    return _printable(value)


def _export_facts(path: Path) -> dict[str, Any]:
    with open_wave(path) as wave:
        facts: dict[str, Any] = {
            "file": str(path),
            "size": f"{path.stat().st_size:,} bytes",
            "shape": wave.shape,
            "dtype": str(wave.dtype),
        }
        for k, (axis, n) in enumerate(itertools.zip_longest(wave.stored_axes, wave.shape)):
            if axis is None and n:
                facts[f"axis {k}"] = f"0.0 ... {n - 1}.0 ({n} points)"
            elif axis is not None and axis.ndim == 1 and axis.size:
                facts[f"axis {k}"] = f"{axis[0]} ... {axis[-1]} ({axis.size} points)"
        facts["note"] = wave.note
        for name in ("started", "ended", "frames_written", "frames_expected", "missing", "software"):
            if name in wave.info:
                facts[name.replace("_", " ")] = wave.info[name]
        return facts


def _part_facts(path: Path) -> dict[str, Any]:
    found = inspect(path)
    return {
        "file": str(path),
        "state": "running" if found.running else "interrupted",
        "frames written": found.frames_written,
        "frames expected": found.frames_expected,
        "note": found.said,
    }
