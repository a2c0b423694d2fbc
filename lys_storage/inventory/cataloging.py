"""The catalog of a folder: a small record for each export and scan in progress, from their headers alone.

An export costs less than a millisecond, whatever its size is. A file that cannot be read is a record that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import AnyPath, user_path
from ..errors import LysStorageError, MissingExtraError, install_command, os_error
from ..format import INFO_FORMAT, check_info, decode_labels
from ..reading import Header, read_header
from ..recovery import DAMAGED, FINALIZED, Entry, Found, Kind, details_of, find_named, look_at, walk

_LYS_MEMBERS = {"data", "axes", "note"}
_KINDS = (Kind.EXPORT, Kind.SCAN, Kind.FOLDER)
Labels = tuple[str | None, ...]


@dataclass(frozen=True)
class Cataloged:
    """One file. What it does not tell is None.

    Attributes:
        state: "finalized" for an export, else as `lys-storage ls` lists it: "running", "interrupted", "foreign", "damaged", ...
        shape, dtype: Of the whole array.
        started, ended: When the scan began and ended: UTC, ISO 8601.
        frames_written, frames_expected: Numbers of frames.
        axis_names, units: One for each dimension; None for a dimension without one.
        size_bytes: The length of the file.
        changed: When the file changed, in seconds since the epoch.
        message: What is wrong, or unknown; else "".
        note: The plain values of the note, if they were asked for: texts, numbers, bools and None.
    """

    path: Path
    state: str
    shape: tuple[int, ...] | None
    dtype: str | None
    started: str | None
    ended: str | None
    frames_written: int | None
    frames_expected: int | None
    axis_names: Labels | None
    units: Labels | None
    size_bytes: int
    changed: float
    message: str = ""
    note: dict[str, Any] | None = None


class Catalog(list[Cataloged]):
    """The records of `catalog`, sorted by path."""

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row for each file, and a column for each attribute of Cataloged.

        `started`, `ended` and `changed` are times in UTC. If the notes were read, each key is a column `note.<key>`. Raises
        MissingExtraError (an ImportError) without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError(f"a DataFrame needs pandas ({error}): {install_command('pandas')}") from None
        names = [one.name for one in fields(Cataloged) if one.name != "note"]
        columns: dict[str, Any] = {
            name: pandas.Series([getattr(one, name) for one in self], dtype=object) for name in names
        }
        columns["path"] = pandas.Series([str(one.path) for one in self], dtype=object)
        for name in ("started", "ended"):
            columns[name] = pandas.to_datetime(columns[name], utc=True, errors="coerce", format="ISO8601")
        columns["changed"] = pandas.to_datetime(columns["changed"].astype(float), unit="s", utc=True)
        for name in ("frames_written", "frames_expected", "size_bytes"):
            columns[name] = columns[name].astype("Int64")
        for key in dict.fromkeys(key for one in self for key in one.note or {}):
            values = pandas.Series([(one.note or {}).get(key) for one in self], dtype=object)
            columns[f"note.{key}"] = values.infer_objects()
        return pandas.DataFrame(columns)


def catalog(
    folder: AnyPath,
    *,
    recursive: bool = True,
    note: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """List the exports and scans in progress in `folder`, and with `recursive` below it, from their headers.

    Args:
        note: Also read the plain values of the notes. No object of a file is unpickled.
        on_progress: on_progress(done, total), numbers of files.

    Foreign and damaged files are records with this `state`. A file that is removed meanwhile is left out, and a folder that
    this user may not read is a record. `folder` may also be one file. Raises StorageOSError if there is nothing of this name.
    """
    root = user_path(folder)
    if root.is_dir():
        found = list(walk(root, kinds=_KINDS, recursive=recursive))
    else:
        named = find_named(root)
        if named is None:
            raise os_error("list", root, FileNotFoundError(2, "no folder, export or scan in progress has this name"))
        found = [named]
    result = Catalog()
    for done, one in enumerate(found, 1):
        record = _export(one.path, note) if one.kind is Kind.EXPORT else None
        record = record or _by_looking(one)
        if record is not None:
            result.append(record)
        if on_progress is not None:
            on_progress(done, len(found))
    return result


def _export(path: Path, note: bool) -> Cataloged | None:
    """The record of an export of lys_storage or lys that can be read. None for all others."""
    try:
        changed = path.stat().st_mtime
        header = read_header(path, note=note)
    except (LysStorageError, OSError):
        return None
    info = header.info if header.info.get("format") == INFO_FORMAT else {}
    if not info and not header.members >= _LYS_MEMBERS:
        return None
    message = "; ".join([*check_info(header.shape, info), *([header.note_error] if header.note_error else [])])
    return Cataloged(
        path,
        DAMAGED if message else FINALIZED,
        header.shape,
        str(header.dtype),
        _text(info.get("started")),
        _text(info.get("ended")),
        _count(info.get("frames_written")),
        _count(info.get("frames_expected")),
        _labels(header, "axis_names"),
        _labels(header, "units"),
        header.size_bytes,
        changed,
        message,
        _plain_values(header.note) if note else None,
    )


def _by_looking(found: Found) -> Cataloged | None:
    """The record of a scan in progress, a foreign or damaged file, or a closed folder. None if it was removed meanwhile."""
    try:
        entry = look_at(found)
    except (LysStorageError, OSError) as error:
        return Cataloged(found.path, DAMAGED, *(None,) * 8, 0, 0.0, str(error))
    return None if entry is None else _of_entry(entry, found.kind is Kind.SCAN)


def _of_entry(entry: Entry, is_scan: bool) -> Cataloged:
    started, names, units = None, None, None
    if is_scan and entry.shape is not None:
        try:
            d = details_of(entry.path).description
            started, names, units = d.started, tuple(d.axis_names), tuple(d.units)
        except (LysStorageError, OSError):
            pass  # it was closed, or removed, since it was looked at
    return Cataloged(
        entry.path,
        entry.state,
        entry.shape,
        entry.dtype or None,
        started,
        None,
        entry.frames_written,
        entry.frames_expected,
        names or None,
        units or None,
        entry.size_bytes,
        entry.changed,
        entry.message,
    )


def _labels(header: Header, name: str) -> Labels | None:
    labels = decode_labels(header.info.get(name), len(header.shape))
    return tuple(labels) if any(labels) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _plain_values(note: dict[Any, Any] | None) -> dict[str, Any]:
    values = {}
    for key, value in (note or {}).items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(key, str) and (plain is None or type(plain) in (str, int, float, bool)):
            values[key] = plain
    return values
