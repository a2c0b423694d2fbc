"""The files that are linked: what is the same in all of them, and where the array of each is. Never changes a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadFileError, ConversionError, os_error
from ..reading import is_fortran
from .elements import Array
from .given import Given, open_given
from .hdf5 import hdf5_elements
from .plain import note_as_json

DATASET = "/entry/data/data"
HDF5_SUFFIXES = (".nxs", ".h5", ".hdf5")
_AXES = "/entry/data"
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Part:
    """A file. `offset`: of its array, if it is in one piece in C order; `is_hdf5`: whether it is HDF5 with DATASET.

    `dtype`: as numpy has it; `stored`: as HDF5 has it. `notes`: the JSON of each entry of its note.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    attributes: dict[str, Any]
    offset: int | None
    is_hdf5: bool
    names: tuple[str, ...]
    points: list[Array | None]
    units: list[str | None]
    written: Flags | None
    notes: dict[str, str]


@dataclass(frozen=True)
class Common:
    """What the parts have in common: as in Part."""

    points: list[Array | None]
    names: tuple[str, ...]
    units: list[str | None]
    notes: dict[str, str]


def read_part(h5py: Any, path: Path) -> Part:
    """Read what the file at `path` is. Raises as open_wave, or BadFileError if it is neither an export nor HDF5."""
    if path.suffix.lower() not in HDF5_SUFFIXES or not path.exists():
        given = open_given(path)
        try:
            return _of_export(h5py, path, given)
        finally:
            given.wave.close()
    if not _has_hdf5(h5py, path):
        raise BadFileError(f"{path} is not an HDF5 file with the dataset {DATASET}")
    return _of_hdf5(h5py, path)


def _of_export(h5py: Any, path: Path, given: Given) -> Part:
    wave = given.wave
    elements, stored = hdf5_elements(h5py, given.dtype)
    offset = None if is_fortran(wave) else wave.array_offset
    is_hdf5 = _has_hdf5(h5py, path)
    if is_hdf5:
        with h5py.File(path, "r") as file:
            array = file[DATASET]
            seen = array.shape, array.dtype, array.id.get_offset()
        if seen[:2] != (given.shape, stored) or (offset is not None and seen[2] not in (None, offset)):
            raise BadFileError(
                f"{path}: its HDF5 side has an array {seen[0]} of {seen[1]} at byte {seen[2]}: not its own"
            )
    notes = {str(key): note_as_json({"": value}) for key, value in wave.note.items()}
    return Part(
        path, given.shape, given.dtype, stored, elements.attributes, offset, is_hdf5, given.names, given.points, given.units,
        given.written, notes,
    )  # fmt: skip


def _has_hdf5(h5py: Any, path: Path) -> bool:
    if not h5py.is_hdf5(os.fspath(path)):
        return False
    try:
        with h5py.File(path, "r") as file:
            return isinstance(file.get(DATASET), h5py.Dataset)
    except OSError as error:
        raise BadFileError(f"{path}: its HDF5 side cannot be read: {error}") from error


def _of_hdf5(h5py: Any, path: Path) -> Part:
    try:
        with h5py.File(path, "r") as file:
            array, group = file[DATASET], file[_AXES]
            axes = [_words(name) for name in np.atleast_1d(group.attrs.get("axes", [])).tolist()]
            axes = axes if len(axes) == array.ndim else ["."] * array.ndim
            names = tuple(name if name != "." else _words(array.dims[k].label) for k, name in enumerate(axes))
            found = [group[name] if name != "." and name in group else None for name in axes]
            points = [
                None if one is None or one.shape != (n,) else one[...]
                for one, n in zip(found, array.shape, strict=True)
            ]
            units = [None if one is None else one.attrs.get("units") for one in found]
            written = group["written"][...] if "written" in group else None
            attributes = {key: array.attrs[key] for key in ("units", "calendar", "dtype") if key in array.attrs}
            note = file["/entry/note/data"][()] if "/entry/note/data" in file else b"{}"
            entries = json.loads(note)
            notes = (
                {key: json.dumps({"": value}) for key, value in entries.items()} if isinstance(entries, dict) else {}
            )
            return Part(
                path, array.shape, array.dtype, array.dtype, attributes, None, True,
                tuple(name or f"axis_{k}" for k, name in enumerate(names)), points, units, written, notes,
            )  # fmt: skip
    except OSError as error:
        raise os_error("read", path, OSError(error.errno or 5, str(error))) from error


def _words(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def ensure_alike(part: Part, first: Part) -> None:
    """Raise ConversionError if `part` has another shape or dtype than `first`."""
    if (part.shape, part.stored, part.attributes) != (first.shape, first.stored, first.attributes):
        raise ConversionError(
            f"{part.path} has shape {part.shape} of {part.dtype}, and {first.path} has {first.shape} of {first.dtype}: only "
            "arrays of one shape and dtype can be linked"
        )


def common(parts: Sequence[Part]) -> tuple[Common, list[str]]:
    """What is the same in all parts, and a warning for each axis that is not."""
    first, warnings = parts[0], []
    found = Common(list(first.points), first.names, list(first.units), dict(first.notes))
    for k, name in enumerate(first.names):
        for part in parts[1:]:
            if not (_is_same(part.points[k], first.points[k]) and part.units[k] == first.units[k]):
                if found.points[k] is not None:
                    warnings.append(f"the axis of {name} is left out: {part.path} has another one than {first.path}")
                found.points[k] = found.units[k] = None
                break
    names = tuple(
        name if all(part.names[k] == name for part in parts) else f"axis_{k + 1}" for k, name in enumerate(first.names)
    )
    notes = {key: text for key, text in first.notes.items() if all(part.notes.get(key) == text for part in parts)}
    return replace(found, names=names, notes=notes), warnings


def _is_same(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()


def stacked_written(parts: Sequence[Part]) -> Flags | None:
    """`written` with the parts as its first dimension; None if no frame is missing."""
    known = [part.written for part in parts if part.written is not None]
    if not known:
        return None
    ndim = min(one.ndim for one in known)
    grid = known[0].shape[:ndim]
    result = np.ones((len(parts), *grid), bool)
    for k, part in enumerate(parts):
        if part.written is not None:
            result[k] = part.written.reshape(*grid, -1).all(axis=-1)
    return result
