"""What is converted: an open export, with names and coordinates that fit, read once in the order of its file.

Never changes a file, and never holds more than one block of the array.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks import Progress
from ..errors import BadFileError, ConversionError
from ..format import INFO_FORMAT, is_scan_file, journal_path, recover_command, with_coordinates
from ..reading import StoredWave, is_fortran, iterate_checked, open_wave
from ..recovery import RUNNING, find_named, scan_state
from .blocks import Box, block_shape, boxes, lengths
from .elements import Array, Elements
from .plain import note_as_json, valid_names

TAKEN = ("data", "written", "note")
"""Names that dimensions cannot have: those of the other objects that are written."""


@dataclass
class Given:
    """An export. `names`: of the dimensions; `points`: the coordinates of each, or None; `warnings`: what was left out.

    `written`: of each frame of the grid whether it was written, None if all were. `missing`: how many were not.
    """

    wave: StoredWave
    names: tuple[str, ...]
    points: list[Array | None]
    written: np.ndarray[Any, np.dtype[np.bool_]] | None
    warnings: list[str] = field(default_factory=list)
    on_progress: Progress | None = None

    def converted_axes(
        self, names: tuple[str, ...], elements_of: Callable[[np.dtype[Any]], Elements]
    ) -> Iterator[tuple[str, Elements, Array, dict[str, Any]]]:
        """(name, elements, values as stored, attributes) of each axis with coordinates. A warning names one that does not fit.

        `elements_of`: how elements of a dtype are stored. It raises ConversionError if they cannot be.
        """
        for name, points, unit in zip(names, self.points, self.units, strict=True):
            if points is None:
                continue
            try:
                elements = elements_of(points.dtype)
                values = elements.convert(points)
            except ConversionError as error:
                self.warn(f"the axis of {name} is left out: {error}")
                continue
            yield name, elements, values, ({} if unit is None else {"units": unit}) | elements.attributes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.wave.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.wave.dtype

    @property
    def size_bytes(self) -> int:
        return self.wave.nbytes

    @property
    def is_fortran(self) -> bool:
        return is_fortran(self.wave)

    @property
    def missing(self) -> int:
        return 0 if self.written is None else int(self.written.size - np.count_nonzero(self.written))

    @property
    def about_frames(self) -> dict[str, Any]:
        """An attribute of the array: how many frames are missing, if the file tells that."""
        return {"frames_missing": self.missing} if self.is_ours else {}

    @property
    def note(self) -> str:
        return note_as_json(self.wave.note)

    @property
    def units(self) -> list[str | None]:
        return self.wave.units

    @property
    def is_ours(self) -> bool:
        return bool(self.wave.info.get("format") == INFO_FORMAT)

    def fact(self, name: str) -> str | None:
        """A text of acquisition.json: "started", "ended", "software", "scan_id"."""
        value = self.wave.info.get(name)
        return value if isinstance(value, str) and value.isprintable() else None

    def block(self, limit: int) -> tuple[int, ...]:
        return block_shape(self.shape, self.dtype.itemsize, limit, self.is_fortran)

    def blocks(self, limit: int) -> Iterator[tuple[Box, Array]]:
        """All blocks of at most `limit` bytes, in the order of the file. The CRC-32 of the array is compared at the end."""
        block, fortran, done = self.block(limit), self.is_fortran, 0
        counts = (prod(lengths(box)) for box in boxes(self.shape, block, fortran))
        pieces = iterate_checked(self.wave, counts)
        for box in boxes(self.shape, block, fortran):
            piece = next(pieces)
            done += piece.nbytes
            shape = lengths(box)
            yield box, piece.reshape(shape[::-1]).T if fortran else piece.reshape(shape)
            if self.on_progress is not None:
                self.on_progress(done, self.size_bytes)
        for _ in pieces:  # its end: the checksum
            raise AssertionError("more pieces than blocks")

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def open_given(path: Path, on_progress: Progress | None = None) -> Given:
    """Open the export at `path`. Raises as open_wave, and BadFileError for a scan in progress."""
    _ensure_no_scan(path)
    wave = open_wave(path)
    try:
        if wave.dtype.itemsize == 0:
            raise BadFileError(f"{path}: elements of dtype {wave.dtype} have no bytes: there is nothing to convert")
        given = Given(wave, valid_names(wave.dims, TAKEN), [], None if wave.is_complete else wave.written)
        given.on_progress = on_progress
        if wave.note_error is not None:
            given.warn(str(wave.note_error))
        given.points = [_points(given, k) for k in range(wave.ndim)]
    except BaseException:
        wave.close()
        raise
    return given


def _ensure_no_scan(path: Path) -> None:
    """A frame of a scan in progress can be rewritten while it is read, and after a power cut not every frame is data."""
    found = find_named(path)
    if found is None or not is_scan_file(found.path.name) or not journal_path(found.path).exists():
        return
    if scan_state(found.path) == RUNNING:
        raise BadFileError(f"{found.path} is a scan in progress: convert its export when it is closed")
    raise BadFileError(
        f"{found.path} is a scan in progress: {recover_command(found.path)} exports it with the frames that were written; "
        "then convert the export"
    )


def _points(given: Given, k: int) -> Array | None:
    """The coordinates of dimension `k`, if the file has some, or has a unit for it."""
    wave, n = given.wave, given.shape[k]
    axis = wave.stored_axes[k] if k < len(wave.stored_axes) else None
    if axis is None and wave.units[k] is None:
        return None
    (points,) = with_coordinates([axis], (n,))
    if points.shape != (n,):
        given.warn(f"the axis of {given.names[k]} is left out: its shape {points.shape} is not ({n},)")
        return None
    if points.dtype == object and n and all(map(_is_naive_time, points)):
        return points.astype("M8[us]")
    return points


def _is_naive_time(point: Any) -> bool:
    return type(point) is datetime.date or (type(point) is datetime.datetime and point.tzinfo is None)
