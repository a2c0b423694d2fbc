"""Axes, note and description of an export: read from its members, and compared with their copies.

An export of lys_storage holds axes and note twice: as lys stores them, in pickles, and as plain members, which are read if they
hold everything. If one copy is damaged, the other is read. Never runs code from a file unless the caller asks for it with
`allow_pickle`.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..disk import File
from ..errors import BadFileError
from ..format import (
    HDF5_MEMBER,
    INFO_FORMAT,
    INFO_MEMBER,
    NOTE_JSON_MEMBER,
    WRITTEN_MEMBER,
    Axes,
    axis_member,
    crc32,
    decode_axes,
    decode_axis,
    decode_note,
    decode_note_json,
    decode_note_with_texts,
)
from .no_export import BAD_FILE_ERRORS
from .zip_check import check_member_size, find_member

log = logging.getLogger("lys_storage")
_STEP = 1 << 20


class Metadata(NamedTuple):
    """What StoredWave has of the attributes of these names."""

    axes: Axes
    note: dict[Any, Any]
    note_error: BadFileError | None
    info: dict[str, Any]
    is_hdf5: bool


def read_metadata(archive: zipfile.ZipFile, path: Path, ndim: int, allow_pickle: bool) -> Metadata:
    """Raises BadFileError, and UnsafeFileError, if the axes cannot be read, and ValueError if `acquisition.json` is damaged."""
    info: Any = {}
    if INFO_MEMBER in archive.namelist():
        info = json.loads(_read(archive, INFO_MEMBER))
    info = info if isinstance(info, dict) else {}
    is_ours = info.get("format") == INFO_FORMAT
    axes = _plain_axes(archive, ndim) if is_ours and _has_copy(archive, "axes.npy", info.get("axes_crc32")) else None
    if axes is None:
        member = find_member(archive, "axes")
        axes = [] if member is None else decode_axes(archive.read(check_member_size(member)), allow_pickle)
    note, error = read_note(archive, path, info, allow_pickle)
    return Metadata(axes, note, error, info, is_ours and HDF5_MEMBER in archive.namelist())


def read_note(
    archive: zipfile.ZipFile, path: Path, info: dict[str, Any], allow_pickle: bool
) -> tuple[dict[Any, Any], BadFileError | None]:
    """The note, and why it is not as it was stored, or None."""
    if info.get("format") == INFO_FORMAT and _has_copy(archive, "note.npy", info.get("note_crc32")):
        plain = _plain_note(archive)
        if plain is not None:
            return plain, None
    return _note(archive, path, allow_pickle)


def _has_copy(archive: zipfile.ZipFile, name: str, crc: Any) -> bool:
    """Whether plain members hold what the member `name` does. `crc`: its CRC-32 when they were written: it may be a newer one."""
    return type(crc) is int and name in archive.namelist() and crc == archive.getinfo(name).CRC


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    return archive.read(check_member_size(archive.getinfo(name)))


def _plain_axes(archive: zipfile.ZipFile, ndim: int) -> Axes | None:
    """None if a member is damaged: then the pickle is read."""
    names = set(archive.namelist())
    members = map(axis_member, range(ndim))
    try:
        axes = [decode_axis(_read(archive, name), name) if name in names else None for name in members]
    except BAD_FILE_ERRORS:
        return None
    return None if any(axis is not None and axis.ndim == 0 for axis in axes) else axes


def _plain_note(archive: zipfile.ZipFile) -> dict[str, Any] | None:
    """None if the member is damaged: then the pickle is read."""
    try:
        return decode_note_json(_read(archive, NOTE_JSON_MEMBER))
    except BAD_FILE_ERRORS:
        return None


def _note(archive: zipfile.ZipFile, path: Path, allow_pickle: bool) -> tuple[dict[Any, Any], BadFileError | None]:
    """A note that cannot be read does not prevent access to the data."""
    member = find_member(archive, "note")
    if member is None:
        return {}, None
    check_member_size(member)
    try:
        return decode_note_with_texts(archive.read(member), allow_pickle)
    except BAD_FILE_ERRORS as error:
        what = f"note.npy cannot be read: {type(error).__name__}: {error}"
        # A new exception: the traceback of this one would keep the wave, and all that was read, in memory.
        note_error = type(error)(str(error)) if isinstance(error, BadFileError) else BadFileError(what)
        log.warning("%s: %s; the note is given as empty, the data are not affected", path, note_error)
        return {}, note_error


def check_copies(archive: zipfile.ZipFile, file: File, info: dict[str, Any], array_offset: int | None) -> Iterator[str]:
    """Compare what an export of lys_storage holds twice, and its head with its checksum. A text for each fault.

    A program that has replaced `axes.npy` or `note.npy` has written the whole archive anew: nothing is at its place any more, and
    the old copies are not read.
    """
    if info.get("format") != INFO_FORMAT or "head_crc32" not in info:
        return
    has_copy = {name: _has_copy(archive, f"{name}.npy", info.get(f"{name}_crc32")) for name in ("axes", "note")}
    if array_offset is not None and array_offset == info.get("array_offset"):
        crc = 0
        for at in range(0, array_offset, _STEP):
            crc = crc32(file.read_at(min(_STEP, array_offset - at), at), crc)
        if crc != info["head_crc32"]:
            yield "the bytes before the array do not match their checksum in acquisition.json"
        for name, is_copied in has_copy.items():
            if not is_copied and info.get(f"{name}_crc32") is not None:
                yield f"{name}.npy does not match its checksum in acquisition.json: its copies hold something else"
    try:
        if has_copy["axes"]:
            yield from _check_axes(archive)
        if has_copy["note"] and decode_note_json(_read(archive, NOTE_JSON_MEMBER)) != decode_note(
            _read(archive, "note.npy")
        ):
            yield f"{NOTE_JSON_MEMBER} and note.npy differ"
        yield from _check_written(archive, info)
    except BAD_FILE_ERRORS as error:
        yield f"{type(error).__name__}: {error}"


def _check_written(archive: zipfile.ZipFile, info: dict[str, Any]) -> Iterator[str]:
    is_there = WRITTEN_MEMBER in archive.namelist()
    written = decode_axis(_read(archive, WRITTEN_MEMBER), WRITTEN_MEMBER) if is_there else None
    missing = info.get("missing")
    if written is None:
        is_right = missing == []
    else:
        is_right = written.dtype == bool and list(written.shape) == info.get("grid_shape")
        is_right = is_right and np.count_nonzero(written) == info.get("frames_written")
        is_right = is_right and isinstance(missing, list) and not any(written.ravel()[a:b].any() for a, b in missing)
    if not is_right:
        yield f"{WRITTEN_MEMBER} and acquisition.json differ: the grid, or the frames that are written"


def _check_axes(archive: zipfile.ZipFile) -> Iterator[str]:
    pickled = decode_axes(_read(archive, "axes.npy"))
    plain = _plain_axes(archive, len(pickled)) or [None] * len(pickled)
    for k, (one, other) in enumerate(zip(pickled, plain, strict=True)):
        if (one is None) != (other is None) or (one is not None and other is not None and not _is_same(one, other)):
            yield f"{axis_member(k)} and axes.npy differ"


def _is_same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and one.tobytes() == other.tobytes()
