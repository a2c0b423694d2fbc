"""Links files as one HDF5 array with a new first dimension. No element is copied: the link holds the places of the files.

Two ways, both of HDF5 1.10 and later:

- A virtual dataset, if each file is HDF5. The paths are relative to the link: HDF5 looks for a source first below the folder of
  the link. A source that is gone reads as the fill value, without an error (H5Pset_virtual).
- External storage, if some exports have no HDF5 side: the raw bytes at the offset of each array. The paths are absolute: HDF5
  takes relative ones from the working directory of the reader. A file that is gone is an error (H5Pset_external).

Never changes a linked file.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import AnyPath, absolute, user_path
from ..errors import ConversionError
from ..format import check_axes, check_axis_names
from .given import TAKEN
from .hdf5 import add_axes, add_written, begin_nexus, import_h5py
from .output import check_target, make_read_only, written_in_one_step
from .parts import DATASET, HDF5_SUFFIXES, Part, common, ensure_alike, read_part, stacked_written
from .plain import valid_names
from .stream import output_stream

_MOST_EXTERNAL = 2500
"""Files. HDF5 keeps the list of external files in a message of at most 64 KiB."""
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Linked:
    """The result of `link`. `shape`: of the linked array; `way`: "virtual" or "external"."""

    path: Path
    shape: tuple[int, ...]
    dtype: str
    way: str
    frames_missing: int
    warnings: tuple[str, ...]


def link(
    paths: Iterable[AnyPath],
    out: AnyPath,
    *,
    axis_name: str | None = None,
    axis: Any = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Linked:
    """Write an HDF5 file `out` that shows files of one shape and dtype as one array, `/entry/data/data`. See docs/convert.md.

    Args:
        paths: Exports that are not compressed, or HDF5 files of `convert`, in the order of the new first dimension.
        out: A name that ends in .nxs, .h5 or .hdf5.
        axis_name, axis: The name and the coordinates of the first dimension.
        on_progress: on_progress(done, total), numbers of files.

    An axis or an entry of the note that is not the same in all files is left out. If frames are missing, `/entry/data/written`
    tells which.

    Raises ConversionError (a ValueError) if the files differ in shape or dtype, or one cannot be linked: convert it first.
    AxisLengthError for `axis` and `axis_name`; NameTakenError if `out` exists; MissingExtraError without h5py; and what
    `open_wave` raises.
    """
    h5py = import_h5py()
    target = user_path(out)
    if target.suffix.lower() not in HDF5_SUFFIXES:
        raise ConversionError(f"{target} has the suffix {target.suffix!r}, expected one of {', '.join(HDF5_SUFFIXES)}")
    check_target(target, overwrite=overwrite)
    parts = _read(h5py, paths, target, on_progress)
    (points,) = check_axes([axis], (len(parts),))
    (name,) = check_axis_names([axis_name], 1)
    shared, warnings = common(parts)
    warnings += _unexpected_order([part.path for part in parts])
    names = valid_names((name or "file", *shared.names), TAKEN)
    way, written = _way(parts), stacked_written(parts)
    missing = 0 if written is None else int(written.size - np.count_nonzero(written))
    with (
        written_in_one_step(target, overwrite=overwrite) as beside,
        output_stream(beside) as stream,
        h5py.File(stream, "w", libver=("earliest", "v110")) as file,
    ):
        data = begin_nexus(file, None, note=_note(shared.notes))
        array = (_create_virtual if way == "virtual" else _create_external)(h5py, data, parts, target)
        array.attrs.update(parts[0].attributes)
        for k, one in enumerate(names):
            array.dims[k].label = one
        add_axes(h5py, data, names, [points, *shared.points], [None, *shared.units], warnings.append)
        add_written(data, written)
        array.attrs["frames_missing"] = missing
        sources = [os.fspath(absolute(part.path)) for part in parts]
        file["entry"].create_dataset("sources", data=sources, dtype=h5py.string_dtype())
    if way == "external":
        make_read_only(target)
    if missing:
        warnings.append(f"{missing:,} frames are missing, and hold the fill value; the file lists them")
    return Linked(target, (len(parts), *parts[0].shape), str(parts[0].dtype), way, missing, tuple(warnings))


def _note(entries: dict[str, str]) -> str:
    """The JSON of a note with these entries, each given as the JSON of {"": value}."""
    return json.dumps({key: json.loads(text)[""] for key, text in entries.items()})


def _read(h5py: Any, paths: Iterable[AnyPath], out: Path, on_progress: Any) -> list[Part]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise ConversionError(f"paths is {os.fspath(paths)!r}, expected several: pass a list")
    given = [user_path(path) for path in paths]
    if not given:
        raise ConversionError("there is no file to link")
    parts: list[Part] = []
    for path in given:
        if out.exists() and path.exists() and os.path.samefile(path, out):
            raise ConversionError(f"{out} is one of the files to link: give the link another name")
        part = read_part(h5py, path)
        if not parts and (0 in part.shape or len(part.shape) >= _MOST_DIMENSIONS):
            raise ConversionError(f"{path} has shape {part.shape}: it needs elements, and less than 32 dimensions")
        ensure_alike(part, parts[0] if parts else part)
        parts.append(part)
        if on_progress is not None:
            on_progress(len(parts), len(given))
    return parts


def _unexpected_order(paths: Sequence[Path]) -> list[str]:
    """A warning if numbered files are in the order of a shell, which sorts names as text: data_10 before data_2."""
    found = [re.fullmatch(r"(.*?)(\d+)", path.stem) for path in paths]
    numbers = [(one[1], int(one[2])) for one in found if one is not None]
    names = [os.fspath(path) for path in paths]
    if len(numbers) < len(paths) or len({stem for stem, _ in numbers}) > 1 or names != sorted(names):
        return []
    for one, other in itertools.pairwise(range(len(paths))):
        if numbers[one][1] > numbers[other][1]:
            return [
                f"{paths[one].name} comes before {paths[other].name}: names are sorted as text; check the order of the files"
            ]
    return []


def _way(parts: Sequence[Part]) -> str:
    """ "virtual" or "external". Raises ConversionError if some file can be linked by neither."""
    without = [part for part in parts if not part.is_hdf5]
    if not without:
        return "virtual"
    for part in parts:
        if part.offset is None:
            why = (
                f"{without[0].path} has no HDF5 side"
                if part.is_hdf5
                else f"{part.path} is compressed, or in Fortran order"
            )
            raise ConversionError(
                f"{why}: lys-storage convert writes it as .h5, which can be linked; convert all the files"
            )
    kind = parts[0].dtype.kind
    unit, count = np.datetime_data(parts[0].dtype) if kind in "mM" else ("s", 1)
    if kind == "U" or count != 1 or unit in ("Y", "M", "W"):
        raise ConversionError(
            f"{without[0].path}: HDF5 has no type for raw {parts[0].dtype}: convert the files to .h5 first"
        )
    if len(parts) > _MOST_EXTERNAL:
        raise ConversionError(
            f"{len(parts):,} files are more than HDF5 links without an HDF5 side ({_MOST_EXTERNAL:,}): convert them to .h5 first"
        )
    return "external"


def _create_virtual(h5py: Any, data: Any, parts: Sequence[Part], out: Path) -> Any:
    shape, stored = parts[0].shape, parts[0].stored
    layout = h5py.VirtualLayout((len(parts), *shape), stored)
    for k, part in enumerate(parts):
        name = _relative(part.path, out).replace("%", "%%")  # HDF5 takes "%" for the beginning of a pattern
        layout[k] = h5py.VirtualSource(name, DATASET, shape)
    fill = np.array(np.nan, stored)[()] if stored.kind in "fc" else None
    return data.create_virtual_dataset("data", layout, fillvalue=fill)


def _create_external(h5py: Any, data: Any, parts: Sequence[Part], out: Path) -> Any:
    dtype = parts[0].dtype
    stored = np.dtype("i8").newbyteorder(">" if dtype.byteorder == ">" else "<") if dtype.kind in "mM" else dtype
    size = prod(parts[0].shape) * dtype.itemsize
    places = [(os.fspath(absolute(part.path)), part.offset, size) for part in parts]
    return data.create_dataset("data", (len(parts), *parts[0].shape), stored, external=places)


def _relative(path: Path, out: Path) -> str:
    """`path` as HDF5 finds it from the folder of `out`; absolute if there is no relative one (another drive of Windows)."""
    real = os.path.realpath(path)
    try:
        relative = os.path.relpath(real, os.path.realpath(out.parent))
    except ValueError:
        return real
    return Path(relative).as_posix()
