"""Creates a scan: checks all arguments, claims a name, then makes the files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .._version import VERSION
from ..callbacks import ErrorHandler, log_error
from ..disk import (
    File,
    absolute,
    claim_number,
    claim_path,
    ensure_fits,
    ensure_free_space,
    give_back,
    make_folder,
    remove_file,
)
from ..errors import BadFileError, LysStorageError, NameTakenError, ScanShapeError
from ..format import (
    MAX_FRAMES,
    DataLayout,
    Description,
    Grid,
    Labels,
    check_axes,
    check_axis_names,
    check_dtype,
    check_note,
    check_shape,
    check_units,
    decode_description,
    encode_axes,
    encode_description,
    encode_note,
    export_name,
    export_stem,
    journal_path,
    numbered_name,
    plan_data_member,
    scan_heads,
    tail_reserve,
)
from ..journal import Journal
from ..store import ScanStore
from .destination import as_export_path, check_names
from .frame_input import check_fill
from .metadata import warn_of_note
from .options import check_options
from .scan import Scan
from .space import ScanSpace, set_size_of_scan
from .writer import warn_of_header


def create(
    path: str | os.PathLike[str],
    shape: Any,
    dtype: Any = "float64",
    *,
    fill_value: Any = None,
    axes: Iterable[Any] | None = None,
    axis_names: Iterable[str | None] | None = None,
    units: Iterable[str | None] | None = None,
    note: Mapping[Any, Any] | None = None,
    grid_ndim: int | None = None,
    flush_interval_s: float | None = 1.0,
    numbered: bool = False,
    hdf5: bool = True,
    overwrite: bool = False,
    incomplete: str = "fill",
    casting: str = "same_value",
    on_error: ErrorHandler | None = None,
    burst_bytes: int | None = None,
    cached_bytes: int | None = None,
) -> Scan:
    """Begin a scan of `shape` and `dtype` that becomes the export `path`, a .npz. Use it in a `with` block.

    Args:
        path: The name of the export; ".npz" is added if it is missing, and a leading `~` is the home folder.
        shape: The lengths of all dimensions: first those of the grid, then those of a frame.
        dtype: Any numpy dtype without Python objects.
        fill_value: The value of missing frames in the export. None: NaN for floating and complex dtypes, else 0.
        axes: One array of coordinates, or None, for each dimension; None: index coordinates.
        axis_names, units: One text, or None, for each dimension. Names are unique.
        note: A dict. Values that are not plain data are stored as pickles, for lys, with a warning.
        grid_ndim: How many of the first dimensions make the grid. None: the length of the first index that is written.
        flush_interval_s: A frame that is older (seconds) survives a power cut. 0: flush after each write; None: at the end.
        numbered: Append the next free number, as DataStorage does: data_0.npz, data_1.npz, ...
        overwrite: Replace an existing export, when the new one is complete. Not together with `numbered`.
        hdf5: Make the file an HDF5/NeXus file as well: the array is `/entry/data/data`. No byte of it is copied. Without effect
            for elements that HDF5 has no simple type for: structured, text of numpy's `U`, long double.
        incomplete: If frames are missing at the end: "fill" them with `fill_value`, or "trim" the grid to its frames.
        casting: "same_value" refuses a frame of another dtype if a value would change (floating dtypes may round);
            "unsafe" converts without a check.
        on_error: Called, in a background thread, with the error of a flush or checksum that fails. None: it is logged.
        burst_bytes: Linux: how many bytes the writer may be ahead of the disk; beyond that a write waits. None: an eighth of
            the available memory, at most 1 GiB and at least 96 MiB, or three eighths of it if that is less.
        cached_bytes: Linux: how many bytes of the newest frames stay in the page cache, for a live view. None: an eighth of
            the available memory, at most 64 MiB.

    Raises NameTakenError if `path`, or a scan in progress of that name, exists; DiskFullError if there is not enough space,
    which is claimed now; ScanShapeError and AxisLengthError for values that no scan can have; StorageOSError if the system
    refuses. No file is left then.
    """
    final = as_export_path(path)
    if numbered and overwrite:
        raise ScanShapeError(
            "numbered and overwrite are both True: a numbered scan replaces no file; choose one of them"
        )
    given: dict[str, Any] = {"fill_value": fill_value, "axes": axes, "axis_names": axis_names, "units": units}
    how: dict[str, Any] = {"flush_interval_s": flush_interval_s, "incomplete": incomplete, "casting": casting}
    how |= {"on_error": on_error, "burst_bytes": burst_bytes, "cached_bytes": cached_bytes}
    given |= {"note": note, "grid_ndim": grid_ndim, "numbered": numbered, "replace_existing": overwrite, "hdf5": hdf5}
    return begin_scan(final.parent, export_stem(final.name), shape, dtype, **given, **how)


def begin_scan(
    folder: Path,
    stem: str,
    shape: Any,
    dtype: Any,
    *,
    numbered: bool,
    replace_existing: bool,
    fill_value: Any = None,
    axes: Iterable[Any] | None = None,
    axis_names: Iterable[str | None] | None = None,
    units: Iterable[str | None] | None = None,
    note: Mapping[Any, Any] | None = None,
    grid_ndim: int | None = None,
    hdf5: bool = True,
    preallocate: bool = True,
    **options: Any,
) -> Scan:
    """Claim a name and its space, and make the files of the scan. `fill_value`, `incomplete`, ...: as in create.

    1. check all arguments; 2. check the free space; 3. make the folder; 4. claim the name, by exclusive create; 5. write the
    journal; 6. write the scan file's header; 7. claim its space. A failure undoes all of it. The first flush makes the names
    durable.
    """
    folder = absolute(folder)  # the process may change its working directory
    checked = check_options(**options)
    check_names(folder, stem, numbered=numbered, replaces=replace_existing)
    plan = _plan(shape, dtype, fill_value, axes, axis_names, units, note, grid_ndim, hdf5)
    plan.check_is_read_again(folder, stem, numbered, note or {})
    ensure_fits(folder / export_name(stem), plan.layout.array_end + plan.reserve)
    if preallocate:
        ensure_free_space(folder, plan.layout.array_end + plan.reserve, folder / export_name(stem))
    make_folder(folder)
    number, file = _claim(folder, stem, numbered, replace_existing)
    store: ScanStore | None = None
    try:
        final = export_name(stem) if number is None else numbered_name(stem, number)
        description = plan.describe(final, stem, number, replace_existing and not numbered)
        store, space = _make_files(plan, file, description, checked["on_error"] or log_error, preallocate)
        return Scan(
            store,
            space=space,
            grid_is_known=grid_ndim is not None,
            metadata_is_trusted=True,
            note=note if isinstance(note, dict) else None,
            **checked,
        )
    except BaseException as error:
        try:  # at once: a second interrupt may come in any call
            _undo(file, store, journal_is_ours=not isinstance(error, NameTakenError))
            if number is not None:
                give_back(folder, stem, number)
        finally:
            file.close()
        raise


def _claim(folder: Path, stem: str, numbered: bool, replaces: bool) -> tuple[int | None, File]:
    if numbered:
        return claim_number(folder, stem)
    return None, claim_path(folder / export_name(stem), unique=replaces)


@dataclass(frozen=True)
class _Plan:
    """The checked arguments of a scan, of which nothing is on disk yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: bytes
    grid: Grid
    layout: DataLayout
    labels: tuple[Labels, Labels]
    metadata: tuple[bytes, bytes]
    started: datetime
    hdf5: bool

    @property
    def metadata_size(self) -> int:
        return sum(map(len, self.metadata))

    @property
    def reserve(self) -> int:
        """Bytes that the export needs after the array."""
        return tail_reserve(self.grid.frames, self.metadata_size)

    def check_is_read_again(self, folder: Path, stem: str, numbered: bool, note: Mapping[Any, Any]) -> None:
        """Raise ScanShapeError if the description cannot be read again. Log a warning if other readers cannot read all."""
        final = numbered_name(stem, 0) if numbered else export_name(stem)
        description = self.describe(final, stem, 0 if numbered else None, False)
        try:
            if decode_description(encode_description(description)) != description:
                raise BadFileError("its values would be others")
        except BadFileError as error:
            raise ScanShapeError(f"the description of {final!r} could not be read again: {error}") from error
        warn_of_note(folder / final, note, self.metadata[1])
        warn_of_header(folder / final, self.layout.npy_header)

    def describe(self, final: str, stem: str, number: int | None, replaces: bool) -> Description:
        return Description(
            scan_id=uuid.uuid4().hex,
            shape=self.shape,
            dtype=self.dtype,
            grid_ndim=self.grid.ndim,
            fill=self.fill,
            array_offset=self.layout.array_offset,
            final=final,
            stem=stem,
            number=number,
            replace=replaces,
            started=self.started.isoformat(timespec="milliseconds"),
            software=f"lys_storage {VERSION}",
            axis_names=self.labels[0],
            units=self.labels[1],
            hdf5=self.hdf5,
        )


def _plan(
    shape: Any,
    dtype: Any,
    fill: Any,
    axes: Any,
    axis_names: Any,
    units: Any,
    note: Any,
    grid_ndim: int | None,
    hdf5: bool,
) -> _Plan:
    if not isinstance(hdf5, bool):
        raise ScanShapeError(f"hdf5 is {hdf5!r}, expected True or False")
    checked_dtype = check_dtype(dtype)
    dims = check_shape(shape, checked_dtype)
    fill_bytes = check_fill(fill, checked_dtype)
    labels = check_axis_names(axis_names, len(dims)), check_units(units, len(dims))
    metadata = encode_axes(check_axes(axes, dims), dims), encode_note(check_note(note))
    if grid_ndim is not None:
        is_whole = isinstance(grid_ndim, int | np.integer) and not isinstance(grid_ndim, bool)
        if not is_whole or not 0 <= grid_ndim <= len(dims):
            raise ScanShapeError(
                f"grid_ndim is {grid_ndim!r}, expected 0 to {len(dims)}, the number of dimensions of shape {dims}"
            )
        grid_ndim = int(grid_ndim)
    now = datetime.now(UTC)
    grid = Grid(dims, grid_ndim or 0)
    frame_bytes = grid.frame_elements * checked_dtype.itemsize
    layout = plan_data_member(dims, checked_dtype, now.timestamp(), frame_bytes=frame_bytes, hdf5=hdf5)
    if grid.frames > MAX_FRAMES:
        raise ScanShapeError(
            f"the grid has {grid.frames:,} frames, at most {MAX_FRAMES:,} are possible: make the frames larger"
        )
    return _Plan(dims, checked_dtype, fill_bytes, grid, layout, labels, metadata, now, hdf5)


def _make_files(
    plan: _Plan, file: File, description: Description, on_error: ErrorHandler, preallocate: bool
) -> tuple[ScanStore, ScanSpace]:
    """The journal, the head of the scan file, and its space."""
    journal = Journal.create(journal_path(file.path), description, plan.metadata)
    try:
        for at, head in scan_heads(description, plan.layout):
            file.write_at(head, at)
        set_size_of_scan(file, plan.layout.array_end, plan.reserve)
        journal.sign(file)
        store = ScanStore(file, journal)
        space = ScanSpace(store, on_error)
        if preallocate:
            space.preallocate(plan.metadata_size)
        return store, space
    except BaseException:
        journal.close()
        raise


def _undo(file: File, store: ScanStore | None, *, journal_is_ours: bool) -> None:
    """Remove the files of a scan that could not be created. If a second interrupt stops this, recovery finds an empty scan
    file, and removes the rest."""
    if store is not None:
        store.journal.close()
    with suppress(LysStorageError):
        file.set_size(0)
    if journal_is_ours:
        remove_file(journal_path(file.path))
    remove_file(file.path)
    file.lock_file.remove()
