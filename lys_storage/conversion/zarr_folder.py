"""Writes an array as a Zarr group, in format 3 or 2, without the package zarr: a chunk is a file, and the rest is JSON.

Each chunk is written once. The group has consolidated metadata. Zarr 3: https://zarr-specs.readthedocs.io/en/latest/v3/core/;
Zarr 2: https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html; names of dimensions in Zarr 2 as xarray writes them. Never
gives a fill value that xarray would take for "missing".
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from ..disk import File, make_folder
from ..errors import ConversionError
from .blocks import Box, block_shape, boxes
from .elements import NOT_A_TIME, Array, Elements, cast_to, plain_texts, times
from .given import TAKEN, Given
from .plain import valid_names

_CHUNK = 16 << 20
"""Bytes of a chunk before compression, at most."""
_GZIP_LEVEL = 2


@dataclass(frozen=True)
class _Format:
    number: int

    def array(
        self, shape: tuple[int, ...], chunks: tuple[int, ...], names: tuple[str, ...], dtype: Any, gzip: bool
    ) -> Any:
        """The metadata of an array, without its attributes."""
        is_text, compressor = dtype.kind == "O", {"level": _GZIP_LEVEL}
        if self.number == 2:
            return {
                "zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "|O" if is_text else dtype.str,
                "compressor": {"id": "gzip", **compressor} if gzip else None, "fill_value": None, "order": "C",
                "filters": [{"id": "vlen-utf8"}] if is_text else None, "dimension_separator": ".",
            }  # fmt: skip
        encoding: dict[str, Any] = {"name": "vlen-utf8"} if is_text else {"name": "bytes"}
        if not is_text and dtype.itemsize > 1:
            encoding["configuration"] = {"endian": "little"}
        zero: Any = "" if is_text else {"b": False, "c": [0.0, 0.0], "f": 0.0}.get(dtype.kind, 0)
        return {
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "string" if is_text else dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}, "fill_value": zero,
            "codecs": [encoding, *([{"name": "gzip", "configuration": compressor}] if gzip else [])],
            "dimension_names": names,
        }  # fmt: skip

    def key(self, index: tuple[int, ...]) -> str:
        """The name of the file of a chunk."""
        text = ".".join(map(str, index))
        return (text or "0") if self.number == 2 else ".".join(["c", text] if text else ["c"])


class _Group:
    """A group that is being written: arrays are added, and `close` writes the metadata."""

    def __init__(self, folder: Path, form: _Format, gzip: bool) -> None:
        self._folder, self._form, self._gzip = folder, form, gzip
        self._metadata: dict[str, Any] = {}
        make_folder(folder)

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        names: tuple[str, ...],
        dtype: np.dtype[Any],
        attributes: dict[str, Any],
    ) -> None:
        (self._folder / name).mkdir()
        about = self._form.array(shape, chunks, names, dtype, self._gzip)
        if self._form.number == 2:
            self._metadata[f"{name}/.zarray"] = about
            self._metadata[f"{name}/.zattrs"] = {"_ARRAY_DIMENSIONS": names, **attributes}
        else:
            self._metadata[name] = about | {"attributes": attributes}

    def write(self, name: str, index: tuple[int, ...], chunks: tuple[int, ...], block: Array) -> None:
        """Write the chunk at `index` of the grid of chunks. A block at the edge is padded."""
        if block.shape != chunks:
            padded = np.full(chunks, "", object) if block.dtype == object else np.zeros(chunks, block.dtype)
            padded[tuple(slice(n) for n in block.shape)] = block
            block = padded
        content: Any = (
            _texts(block) if block.dtype == object else np.ascontiguousarray(block).reshape(-1).view("u1").data
        )
        _write(
            self._folder / name / self._form.key(index), igzip.compress(content, _GZIP_LEVEL) if self._gzip else content
        )

    def close(self, attributes: dict[str, Any]) -> None:
        if self._form.number == 2:
            whole = {".zgroup": {"zarr_format": 2}, ".zattrs": attributes, **self._metadata}
            for name, about in whole.items():
                _write(self._folder / name, _json(about))
            _write(self._folder / ".zmetadata", _json({"zarr_consolidated_format": 1, "metadata": whole}))
            return
        for name, about in self._metadata.items():
            _write(self._folder / name / "zarr.json", _json(about))
        consolidated = {"kind": "inline", "must_understand": False, "metadata": self._metadata}
        group = {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": attributes,
            "consolidated_metadata": consolidated,
        }
        _write(self._folder / "zarr.json", _json(group))


def write_zarr(path: Path, given: Given, compress: bool, zarr_format: int = 3) -> None:
    elements = zarr_elements(given.dtype)
    names = valid_names(given.names, (*TAKEN, "zarr.json"), as_folders=True)
    names = tuple(f"axis{name}" if name.startswith("__") else name for name in names)  # Zarr keeps these for itself
    group = _Group(path, _Format(zarr_format), compress)
    chunks = given.block(_CHUNK)
    attributes = {**given.about_frames, **elements.attributes}
    group.add("data", given.shape, chunks, names, elements.dtype, attributes)
    _add_axes(group, given, names)
    if given.written is not None:
        flags = given.written
        size = block_shape(flags.shape, 1, _CHUNK)
        group.add("written", flags.shape, size, names[: flags.ndim], flags.dtype, {})
        for box in boxes(flags.shape, size):
            group.write("written", _index(box, size), size, flags[box])
    for box, part in given.blocks(_CHUNK):
        group.write("data", _index(box, chunks), chunks, elements.convert(part))
    facts = {name: given.fact(name) for name in ("started", "ended", "scan_id")}
    group.close({"note": given.note} | {name: value for name, value in facts.items() if value is not None})


def _add_axes(group: _Group, given: Given, names: tuple[str, ...]) -> None:
    for name, elements, values, attributes in given.converted_axes(names, zarr_elements):
        group.add(name, values.shape, (max(1, len(values)),), (name,), elements.dtype, attributes)
        if len(values):
            group.write(name, (0,), (max(1, len(values)),), values)


def _index(box: Box, chunks: tuple[int, ...]) -> tuple[int, ...]:
    """The place of a chunk in the grid of chunks."""
    return tuple(cut.start // n for cut, n in zip(box, chunks, strict=True))


def zarr_elements(dtype: np.dtype[Any]) -> Elements:
    """How elements of `dtype` are stored in Zarr, little-endian. Raises ConversionError."""
    if dtype.kind in "biufc" and dtype.itemsize <= (16 if dtype.kind == "c" else 8):
        return cast_to(dtype.newbyteorder("<"))
    if dtype.kind in "mM":
        found = times(dtype, "ns")
        return Elements(np.dtype("<i8"), found.convert, {"_FillValue": NOT_A_TIME, **found.attributes})
    if dtype.kind == "U":
        return Elements(np.dtype(object), plain_texts)
    raise ConversionError(f"Zarr has no type for elements of dtype {dtype}: convert to .h5 or .npy")


def _texts(block: Array) -> bytes:
    """vlen-utf8 of numcodecs: the number of texts, and of each its length in bytes and itself."""
    encoded = [text.encode() for text in block.reshape(-1).tolist()]
    pieces = [struct.pack("<I", len(encoded))]
    for text in encoded:
        pieces += [struct.pack("<I", len(text)), text]
    return b"".join(pieces)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _write(path: Path, content: Any) -> None:
    file = File.create(path)
    try:
        file.write_at(content, 0)
    finally:
        file.close()
