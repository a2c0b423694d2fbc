"""The beginning of a scan: everything is looked at first, then a name is claimed, and the file laid out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._version import VERSION
from ..callbacks import log_error
from ..disk import (
    Preallocation,
    boot_id,
    claim_number,
    claim_path,
    ensure_free_space,
    give_back,
    make_folder,
    remove_file,
)
from ..errors import LysStorageError, ScanShapeError
from ..format import (
    MAX_FRAMES,
    Description,
    Grid,
    check_axes,
    check_dtype,
    check_shape,
    encode_axes,
    encode_note,
    journal_path,
    numbered_name,
    plan_data_member,
    tail_reserve,
)
from ..journal import Journal
from ..store import ScanStore
from .frame_input import check_fill
from .scan import Scan


def create(
    path: str | os.PathLike[str],
    shape: Any,
    dtype: Any = "float64",
    *,
    fill: Any = None,
    axes: Iterable[Any] | None = None,
    note: Mapping[Any, Any] | None = None,
    grid_ndim: int | None = None,
    flush_interval_s: float | None = 1.0,
    overwrite: bool = False,
    partial: str = "fill",
) -> Scan:
    """Begin a scan that becomes `path`, a .npz of `shape` and `dtype`. Use it in a `with` block.

    The space is claimed now: DiskFullError where it is not there, with nothing left behind. `fill` (None: NaN for
    floating and complex dtypes, else 0) is what frames that never came hold at the end. `grid_ndim`: how many of the
    first dimensions make the grid; None: the first index tells. `flush_interval_s`: how old a frame may be and still be
    lost to a power cut; 0 flushes after each write, None at the end only. An existing `path` raises NameTakenError,
    with `overwrite` it stays until the new one is complete, and is replaced then. `partial`: what close() makes of a scan
    that is not complete, "fill" or "trim": cut to the part of the grid that has frames.
    """
    if partial not in ("fill", "trim"):
        raise ScanShapeError(f'partial is "fill" or "trim", not {partial!r}')
    final = Path(path)
    if final.suffix != ".npz":
        final = final.with_name(final.name + ".npz")
    scan = begin_scan(
        *(final.parent, final.name.removesuffix(".npz"), shape, dtype),
        numbered=False,
        replace_existing=overwrite,
        fill=fill,
        axes=axes,
        note=note,
        grid_ndim=grid_ndim,
        flush_interval_s=flush_interval_s,
    )
    scan.trim = partial == "trim"
    return scan


def begin_scan(
    folder: Path,
    stem: str,
    shape: Any,
    dtype: Any,
    *,
    numbered: bool,
    replace_existing: bool,
    fill: Any = None,
    axes: Iterable[Any] | None = None,
    note: Mapping[Any, Any] | None = None,
    grid_ndim: int | None = None,
    flush_interval_s: float | None = 1.0,
    failed: Callable[[LysStorageError], None] | None = None,
    claim_space: bool = True,
) -> Scan:
    """Claim a name and its space, and lay the scan out.

    1. everything that can be refused is; 2. a look at the free space; 3. the folder; 4. the name, by exclusive create;
    5. the journal; 6. the header of the scan file; 7. its space. A failure undoes what was done. The names are made
    durable by the first flush.
    """
    checked_dtype = check_dtype(dtype)
    dims = check_shape(shape, checked_dtype)
    fill_bytes = check_fill(fill, checked_dtype)
    metadata = encode_axes(check_axes(axes, dims), dims), encode_note(note or {})
    if grid_ndim is not None and not 0 <= grid_ndim <= len(dims):
        raise ScanShapeError(f"grid_ndim {grid_ndim} for the {len(dims)} dimensions of shape {dims}")
    now = datetime.now(UTC)
    grid = Grid(dims, grid_ndim or 0)
    frame_bytes = grid.frame_elements * checked_dtype.itemsize
    layout = plan_data_member(dims, checked_dtype, now.timestamp(), frame_bytes=frame_bytes)
    if grid.frames > MAX_FRAMES:
        raise ScanShapeError(f"a grid of {grid.frames:,} frames: at most {MAX_FRAMES:,}; make the frames larger")
    room = tail_reserve(grid.frames) + sum(map(len, metadata))
    if claim_space:
        ensure_free_space(folder, layout.array_end + room, folder / f"{stem}.npz")
    make_folder(folder)
    number: int | None = None
    if numbered:
        number, file = claim_number(folder, stem)
        final = numbered_name(stem, number)
    else:
        final = f"{stem}.npz"
        file = claim_path(folder / final, unique=replace_existing)
    journal: Journal | None = None
    try:
        description = Description(
            *(uuid.uuid4().hex, dims, checked_dtype, grid.ndim, fill_bytes, layout.array_offset, final, stem, number),
            *(
                replace_existing and not numbered,
                now.isoformat(timespec="milliseconds"),
                boot_id(),
                f"lys_storage {VERSION}",
            ),
        )
        journal = Journal.create(journal_path(file.path), description, metadata)
        for at, head in layout.heads():
            file.write_at(head, at)
        file.set_size(layout.array_end)
        part = ScanStore(file, journal)
        claim = Preallocation(file, layout.array_end, room, failed or log_error) if claim_space else None
    except BaseException:
        if journal is not None:
            journal.close()
            remove_file(journal.path)
        remove_file(file.path)
        file.close()
        if number is not None:
            give_back(folder, stem, number)
        raise
    known = grid_ndim is not None
    scan = Scan(part, flush_interval_s=flush_interval_s, failed=failed, claim=claim, grid_is_known=known)
    scan.made_here = True
    scan._note = note if isinstance(note, dict) else None
    return scan
