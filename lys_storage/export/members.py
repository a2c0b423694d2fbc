"""The members of an export after its array, and the bytes before it. Reads the journal; writes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import BadFileError
from ..format import (
    ALLOW_PICKLE_NPY,
    HDF5_MEMBER,
    INFO_MEMBER,
    MAX_MISSING_RUNS,
    MISSING_MEMBER,
    NOTE_JSON_MEMBER,
    WRITTEN_MEMBER,
    Axes,
    Contents,
    DataLayout,
    Description,
    axis_dataset_names,
    axis_member,
    crc32,
    decode_axes,
    decode_note,
    encode_acquisition,
    encode_missing,
    encode_note_json,
    encode_npy,
    encode_tail,
    encode_written,
    export_block,
    export_objects,
    export_size,
    has_plain_member,
    head_crc,
    member_offsets,
)
from ..store import ScanStore
from .trim import trim_axes


@dataclass(frozen=True)
class ExportBytes:
    """All bytes of an export but those of its array. `heads`: (offset, bytes); `tail`: in pieces, from the end of the array."""

    heads: list[tuple[int, bytes]]
    tail: list[bytes]


def encode_export(store: ScanStore, description: Description, layout: DataLayout, array_crc: int) -> ExportBytes:
    """`description` may have fewer frames than the scan. `array_crc`: the CRC-32 of the array."""
    states, frames = store.journal.states, description.frames
    missing = list(itertools.islice(states.missing(frames), MAX_MISSING_RUNS + 1))
    axes_npy, note_npy = store.journal.read_metadata()
    if description.shape != store.description.shape:
        axes_npy = trim_axes(axes_npy, store.description.shape, description.shape)
    axes, axes_are_plain = _plain_axes(axes_npy, description.shape)
    note, note_json, note_is_plain = _plain_note(note_npy)
    members = [("axes.npy", axes_npy), ("note.npy", note_npy), ("allow_pickle.npy", ALLOW_PICKLE_NPY)]
    plain = [(k, axis) for k, axis in enumerate(axes) if axis is not None and has_plain_member(axis)]
    members += [(axis_member(k), encode_npy(axis)) for k, axis in plain]
    members.append((NOTE_JSON_MEMBER, note_json))
    if missing:
        bits, grid = states.missing_bits(frames), description.shape[: description.grid_ndim]
        members.append((WRITTEN_MEMBER, encode_written(bits, grid)))
        if len(missing) > MAX_MISSING_RUNS:
            members.append((MISSING_MEMBER, encode_missing(bits, frames)))
    ended = store.last_write or datetime.now(UTC)

    def info(head_crc: int) -> bytes:
        return encode_acquisition(
            description,
            scan_shape=store.description.shape,
            frames_written=store.frames_written,
            missing=missing,
            array_crc=array_crc,
            ended=ended,
            axes_crc=crc32(axes_npy) if axes_are_plain else None,
            note_crc=crc32(note_npy) if note_is_plain else None,
            head_crc=head_crc,
            doubtful=list(itertools.islice(states.doubtful(frames), MAX_MISSING_RUNS + 1)),
        )

    names = axis_dataset_names(description.axis_names, note, description.shape)
    return _encode(layout, description, array_crc, members, info, axes, names, ended)


def _encode(
    layout: DataLayout,
    description: Description,
    array_crc: int,
    members: list[tuple[str, bytes]],
    info: Callable[[int], bytes],
    axes: Axes,
    names: list[str],
    ended: datetime,
) -> ExportBytes:
    """HDF5 metadata point at the other members. `info`: acquisition.json, which holds the checksum of the head."""
    members = [*members, (INFO_MEMBER, info(0))]
    block = b""
    if layout.hdf5:
        sizes = [(name, len(content)) for name, content in [*members, (HDF5_MEMBER, b"")]]
        offsets = dict(zip((name for name, _ in sizes), member_offsets(layout, sizes), strict=True))
        places = {name: (offsets[name], len(content)) for name, content in members}

        def array_in(name: str, size: int) -> tuple[int, int] | None:
            return (sum(places[name]) - size, size) if name in places else None

        contents = Contents(
            layout,
            description,
            ended.isoformat(timespec="milliseconds"),
            axes,
            [None if axis is None else array_in(axis_member(k), axis.nbytes) for k, axis in enumerate(axes)],
            names,
            places[NOTE_JSON_MEMBER],
            places[INFO_MEMBER],
            array_in(WRITTEN_MEMBER, description.frames),
        )
        objects, root = export_objects(contents, offsets[HDF5_MEMBER])
        members.append((HDF5_MEMBER, objects))
        block = export_block(export_size(layout, [(name, len(content)) for name, content in members]), root)
    member_crc = layout.member_crc(array_crc)
    heads = layout.heads(member_crc, block)
    crc = head_crc(layout, heads)
    members = [(name, info(crc) if name == INFO_MEMBER else content) for name, content in members]
    started = datetime.fromisoformat(description.started).timestamp()
    return ExportBytes(heads, encode_tail(layout, member_crc, members, started, block))


def _plain_axes(axes_npy: bytes, shape: tuple[int, ...]) -> tuple[Axes, bool]:
    """The axes as open_wave reads them from axes.npy, and whether members without pickles can hold all of them."""
    try:
        axes = decode_axes(axes_npy)[: len(shape)]
    except BadFileError:
        return [None] * len(shape), False
    axes += [None] * (len(shape) - len(axes))
    return axes, all(axis is None or has_plain_member(axis) for axis in axes)


def _plain_note(note_npy: bytes) -> tuple[dict[Any, Any], bytes, bool]:
    """The note, note.json, and whether that holds all of it."""
    try:
        note = decode_note(note_npy)
    except BadFileError:
        return {}, encode_note_json({})[0], False
    return note, *encode_note_json(note)
