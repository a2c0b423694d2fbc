"""What `lys-storage info` prints of one file, as JSON and as text. Reads no data."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..errors import UnsafeFileError
from ..format import Axes, axes_in_words, is_scan_file
from ..reading import is_fortran, open_wave
from ..recovery import FOREIGN, Entry, details_of
from .opening import ways_to_open
from .output import printable

_OF_EXPORT = ("started", "ended", "missing", "doubtful", "software")


def facts_of(entry: Entry) -> dict[str, Any]:
    """`axes`, `note`, `started`, ... of an export or a scan in progress; {} for other files."""
    if entry.shape is None:
        return {}
    if is_scan_file(entry.path.name):
        found = details_of(entry.path)
        d = found.description
        facts = {"grid_shape": d.shape[: d.grid_ndim], **_facts_of_axes(found.axes, d.shape, d.axis_names, d.units)}
        facts |= {"note": found.note, "started": d.started, "writer": found.writer}
        return facts | {"software": d.software, "becomes": d.final}
    try:
        with open_wave(entry.path) as wave:
            ways = ways_to_open(
                entry.path, wave.shape, wave.dtype, wave.array_offset, is_fortran=is_fortran(wave), is_hdf5=wave.is_hdf5
            )
            opening = {"array_offset": wave.array_offset, "open_with": ways}
            if entry.state == FOREIGN:
                return opening
            facts = _facts_of_axes(wave.stored_axes, wave.shape, wave.axis_names, wave.units)
            facts["note"] = wave.note
            return facts | {name: wave.info[name] for name in _OF_EXPORT if name in wave.info} | opening
    except UnsafeFileError as error:
        return {} if entry.state == FOREIGN else {"note": str(error)}


def _facts_of_axes(
    axes: Axes, shape: tuple[int, ...], names: Sequence[str | None], units: Sequence[str | None]
) -> dict[str, Any]:
    """`axes`: the range of each one in words. Names and units are None where no dimension has one."""
    return {
        "axes": axes_in_words(axes, shape, units),
        "axis_names": list(names) if any(names) else None,
        "units": list(units) if any(units) else None,
    }


def text_of(entry: Entry, facts: dict[str, Any]) -> str:
    """Lines of a name and a value each."""
    on_disk = None if entry.allocated_bytes is None else f"{entry.allocated_bytes:,} bytes"
    lines = {"file": entry.path, "state": entry.state, "size": f"{entry.size_bytes:,} bytes", "on disk": on_disk}
    lines |= {"shape": entry.shape, "dtype": entry.dtype or None}
    for name, value in facts.items():
        if name == "axes":
            names = facts.get("axis_names") or itertools.repeat(None)
            named = [f"{label}: {words}" if label else words for label, words in zip(names, value, strict=False)]
            lines |= {f"axis {k}": words for k, words in enumerate(named) if words}
        elif name not in ("axis_names", "units", "open_with"):
            lines[name.replace("_", " ")] = value
    lines |= {
        "frames written": entry.frames_written,
        "frames expected": entry.frames_expected,
        "message": entry.message or None,
    }
    lines |= {f"open with {program}": way for program, way in facts.get("open_with", {}).items()}
    known = {name: value for name, value in lines.items() if value is not None}
    width = max(map(len, known))
    return "\n".join(f"{name:<{width}}  {_text(value)}" for name, value in known.items())


def _text(value: Any) -> str:
    try:
        return printable(str(value), keep="\n")
    except ValueError:  # a number of too many digits
        return f"<{type(value).__name__} of too many digits>"


def json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_text(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)  # JSON has neither infinity nor NaN
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 64):
        return value
    return _text(value)
