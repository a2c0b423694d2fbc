"""Writes an array as a BigTIFF: a page holds the last two dimensions, so that a frame of an image is a page.

The description is that of ImageJ, with the grid as its channels, slices and frames if it has at most three dimensions.
A line `lys_storage=` of it has names, units, coordinates, note and missing frames as JSON.
ImageJ: https://imagej.net/ij/developer/source/ij/io/FileSaver.java.html
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ConversionError, MissingExtraError, install_command
from ..format import CHUNK_BYTES
from .elements import Array, Elements, cast_to
from .given import Given
from .plain import note_as_json
from .stream import output_stream

_BLOCK = 8 << 20
_MOST_POINTS = 10_000
"""Longer coordinates are left out of the description."""
_MOST_RUNS = 100_000
_MOST_RATIO = 1e9  # of a resolution: a rational of two numbers of 32 bits


def write_tiff(path: Path, given: Given, compress: bool) -> None:
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError(f"TIFF needs tifffile ({error}): {install_command('tiff')}") from None
    if 0 in given.shape:
        raise ConversionError(f"a TIFF cannot hold an array without elements: its shape is {given.shape}")
    elements = _elements(given.dtype)
    height, width = (1, 1, *given.shape)[-2:]
    pages = prod(given.shape[:-2])
    options: dict[str, Any] = {}
    across, down = _step(given, -1), _step(given, -2)
    if across and down:
        options = {"resolution": (1 / across, 1 / down), "resolutionunit": 1}
    with output_stream(path) as stream, tifffile.TiffWriter(stream, bigtiff=True, byteorder="<") as file:
        whole = stream.until_failure(_pages(given, (height, width)))
        file.write(
            map(elements.convert, whole),  # not the generator itself, which tifffile would close after the last page
            shape=(pages, height, width),
            dtype=elements.dtype,
            photometric="minisblack",
            planarconfig=None,
            metadata=None,
            description=_description(given, pages),
            software=False,
            compression="zlib" if compress else None,
            compressionargs={"level": 1} if compress else None,
            maxworkers=1,  # more would keep hundreds of MiB of pages
            **options,
        )
        deque(whole, maxlen=0)  # to its end, where the checksum is compared


def _elements(dtype: np.dtype[Any]) -> Elements:
    if dtype.kind == "b":
        return cast_to("u1")
    if dtype == np.float16:
        return cast_to("<f4")
    if dtype.kind in "iuf" and dtype.itemsize <= 8:
        return cast_to(dtype.newbyteorder("<"))
    raise ConversionError(f"a TIFF cannot hold elements of dtype {dtype}: convert to .h5 or .npy")


def _pages(given: Given, size: tuple[int, int]) -> Iterator[Array]:
    if given.is_fortran:
        yield from _whole(given).reshape(-1, *size)  # pages are scattered in the file
        return
    rest, elements = np.empty(0, given.dtype), prod(size)
    for _, block in given.blocks(_BLOCK):
        flat = block.reshape(-1)
        rest = np.concatenate([rest, flat]) if rest.size else flat
        count = rest.size // elements
        yield from rest[: count * elements].reshape(count, *size)
        rest = rest[count * elements :].copy()


def _whole(given: Given) -> Array:
    if given.size_bytes > CHUNK_BYTES:
        raise ConversionError(
            f"{given.wave.path} is in Fortran order: it cannot be cut into pages in bounded memory; convert it to .h5"
        )
    result = np.empty(given.shape, given.dtype)
    for box, block in given.blocks(_BLOCK):
        result[box] = block
    return result


def _step(given: Given, k: int) -> float | None:
    """The distance of adjacent coordinates of dimension `k` if it is uniform, else None."""
    points = given.points[k] if len(given.shape) >= -k else None
    if points is None or len(points) < 2 or points.dtype.kind not in "iuf":
        return None
    steps = np.diff(points.astype(float))
    step = abs(float(steps.mean()))
    uniform = isfinite(step) and step > 0 and bool(np.all(np.abs(steps - steps.mean()) <= 1e-3 * step))
    return step if uniform and 1 / _MOST_RATIO < step < _MOST_RATIO else None


def _description(given: Given, pages: int) -> str:
    """In ASCII, as TIFF requires."""
    lines = ["ImageJ=1.53t", f"images={pages}"]
    grid = given.shape[:-2]
    if len(grid) <= 3 and pages > 1:
        for name, n in zip(("channels", "slices", "frames"), _hyperstack(grid), strict=True):
            lines.append(f"{name}={n}")
        lines.append("hyperstack=true")
    units = given.units[-2:]
    if units and units[-1]:
        lines.append(f"unit={_ascii(units[-1])}")
        if len(units) == 2 and units[0] and units[0] != units[1]:
            lines.append(f"yunit={_ascii(units[0])}")
    lines.append(f"lys_storage={json.dumps(_facts(given), ensure_ascii=True, allow_nan=False)}")
    return "\n".join([*lines, ""])


def _hyperstack(grid: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, slices, frames): ImageJ stores frames as the slowest, and channels as the fastest."""
    frames, slices, channels = {0: (1, 1, 1), 1: (1, *grid, 1), 2: (*grid, 1)}.get(len(grid), grid)
    return channels, slices, frames


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _facts(given: Given) -> dict[str, Any]:
    wave = given.wave
    facts: dict[str, Any] = {"shape": given.shape, "dtype": given.dtype.str, "axis_names": wave.axis_names}
    facts["units"] = wave.units
    axes: list[Any] = []
    for name, points in zip(given.names, given.points, strict=True):
        if points is not None and len(points) > _MOST_POINTS:
            given.warn(f"the axis of {name} is left out: a TIFF keeps at most {_MOST_POINTS:,} points of it")
        if points is None or len(points) > _MOST_POINTS:
            axes.append(None)
        else:
            axes.append((points.astype(str) if points.dtype.kind in "mM" else points).tolist())
    facts["axes"] = axes
    facts["note"] = wave.note
    facts |= {name: given.fact(name) for name in ("started", "ended", "scan_id") if given.fact(name)}
    facts |= given.about_frames
    if given.written is not None:
        facts["grid_shape"] = given.written.shape
        edges = np.flatnonzero(np.diff(np.concatenate([[True], given.written.reshape(-1), [True]]).astype(np.int8)))
        if len(edges) > 2 * _MOST_RUNS:
            raise ConversionError(f"{len(edges) // 2:,} runs of missing frames do not fit into a TIFF: convert to .h5")
        facts["missing"] = edges.reshape(-1, 2).tolist()
    plain: dict[str, Any] = json.loads(note_as_json(facts))
    return plain
