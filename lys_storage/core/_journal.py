"""The journal beside a scan file: what the scan is, and which of its frames have arrived.

    description | marks, one byte a frame | checksums, four bytes a frame | axes.npy and note.npy, twice

docs/format.md gives it byte by byte. Marks and checksums are stored through a map, over space that is claimed. The
description never changes; a scan that is laid out anew gets a new journal, put in the old one's place in one step.
It never reads or writes the scan file.
"""

from __future__ import annotations

import ast
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from . import _fs
from ._checksum import crc32
from ._errors import BadFileError
from ._layout import PAGE, WHAT_LITERALS_RAISE, check_dtype, check_shape

MAGIC = b"\x93LYSJRN\n"
VERSION = 1

ABSENT, COMING, WRITTEN, CHECKED, REWRITING, CHECKING = range(6)
"""Marks. COMING: its first bytes are being written. WRITTEN: data. CHECKED: data, and the checksum is that of the bytes.
REWRITING: an older version is being overwritten. CHECKING: data, the checksum is being taken."""

_HEAD = struct.Struct("<8sIIIIQQQQ")
_HEAD_CRC = struct.Struct("<I")
_POINTER = struct.Struct("<QQIIII")
_EPOCH = struct.Struct("<Q")
_EPOCH_AT = 448
_POINTER_AT = (512, 1024)  # a sector each: a torn write spoils one of them at most
_TEXT_AT = 1536
_MAX_TEXT = 1 << 24
MAX_FRAMES = 1 << 31
"""Frames a grid may have: the journal holds five bytes for each."""


@dataclass(frozen=True)
class Description:
    """What a scan is. `fill` is one element's bytes; `started` is UTC in ISO 8601; `number` is None where unnumbered."""

    scan_id: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    grid_ndim: int
    fill: bytes
    array_offset: int
    final: str
    stem: str
    number: int | None
    replace: bool
    started: str
    boot_id: str
    software: str

    @property
    def frames(self) -> int:
        return prod(self.shape[: self.grid_ndim])

    @property
    def frame_bytes(self) -> int:
        return prod(self.shape[self.grid_ndim :]) * self.dtype.itemsize


def encode_description(description: Description) -> bytes:
    fields = asdict(description)
    fields["dtype"] = repr(npy_format.dtype_to_descr(description.dtype))
    fields["fill"] = description.fill.hex()
    return json.dumps(fields, ensure_ascii=True).encode()


def decode_description(data: bytes) -> Description:
    """Raises BadFileError where a field is missing or is not what it has to be."""
    try:
        fields = json.loads(data)
        fields["dtype"] = check_dtype(npy_format.descr_to_dtype(ast.literal_eval(fields["dtype"])))
        fields["shape"] = check_shape(fields["shape"], fields["dtype"])
        fields["fill"] = bytes.fromhex(fields["fill"])
        description = Description(**{name: fields[name] for name in Description.__dataclass_fields__})
        texts = ("scan_id", "final", "stem", "started", "boot_id", "software")
        if any(
            type(getattr(description, name)) is not str or not getattr(description, name).isprintable()
            for name in texts
        ):
            raise ValueError("a field that is no text")
        if type(description.replace) is not bool or type(description.array_offset) is not int:
            raise ValueError("replace or array offset does not fit")
        if type(description.grid_ndim) is not int or not 0 <= description.grid_ndim <= len(description.shape):
            raise ValueError(f"grid of {description.grid_ndim} dimensions in shape {description.shape}")
        if description.frames > MAX_FRAMES:
            raise ValueError(f"a grid of {description.frames:,} frames")
        if len(description.fill) != description.dtype.itemsize or description.array_offset % PAGE:
            raise ValueError("fill or array offset does not fit")
        names = (description.final, description.stem)
        if any(type(name) is not str or Path(name).name != name or name in ("", "..") for name in names):
            raise ValueError(f"names {names}")
        if description.number is not None and not (type(description.number) is int and description.number >= 0):
            raise ValueError(f"number {description.number!r}")
        if not description.final.endswith(".npz"):
            raise ValueError(f"final name {description.final!r}")
        datetime.fromisoformat(description.started).timestamp()
    except (*WHAT_LITERALS_RAISE, SyntaxError, RecursionError, MemoryError) as error:
        raise BadFileError(f"description of the scan cannot be read: {error}") from error
    return description


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


@dataclass(frozen=True)
class _Plan:
    """Where the parts of a journal of `frames` frames lie, in bytes from its start."""

    text_size: int
    frames: int

    @property
    def marks(self) -> int:
        return _pages(_TEXT_AT + self.text_size)

    @property
    def checksums(self) -> int:
        return self.marks + _pages(self.frames)

    @property
    def metadata(self) -> int:
        return self.checksums + _pages(4 * self.frames)

    def encode(self, text: bytes) -> bytes:
        places = (self.frames, self.marks, self.checksums, self.metadata)
        head = _HEAD.pack(MAGIC, VERSION, self.text_size, crc32(text), 0, *places)
        return (head + _HEAD_CRC.pack(crc32(head))).ljust(_TEXT_AT, b"\0") + text


class Journal:
    """An open journal. `marks` is a writable memoryview of bytes, `checksums` a writable array of uint32, both mapped."""

    def __init__(self, file: _fs.File, description: Description, plan: _Plan, *, writable: bool) -> None:
        self.file, self.description, self._plan = file, description, plan
        self._map = file.map(plan.metadata, writable=writable)
        self.marks = memoryview(self._map)[plan.marks : plan.marks + plan.frames]
        self.checksums: np.ndarray[Any, np.dtype[np.uint32]] = np.frombuffer(
            self._map, "<u4", plan.frames, plan.checksums
        )
        self._key = crc32(description.scan_id.encode())

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def mark_array(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The marks as a view for numpy; not to be kept beyond the call."""
        return np.frombuffer(self.marks, np.uint8)

    @property
    def key(self) -> int:
        """What the checks of this scan's records begin with, so that another scan's are none."""
        return self._key

    @property
    def epoch(self) -> int:
        """Which records of the redo file count: those of this epoch."""
        return int(_EPOCH.unpack_from(self._map, _EPOCH_AT)[0])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        _EPOCH.pack_into(self._map, _EPOCH_AT, epoch)

    def mark_all(self, mark: int) -> None:
        self.mark_array[:] = mark

    @classmethod
    def create(cls, path: Path, description: Description, metadata: tuple[bytes, bytes]) -> Journal:
        """A new journal of a scan of which nothing has arrived; raises NameTakenError where one exists."""
        text = encode_description(description)
        plan = _Plan(len(text), description.frames)
        size = plan.metadata + 4 * _pages(sum(map(len, metadata)) + PAGE)
        _fs.look_for_space(path.parent, size, path)
        file = _fs.File.create(path)
        try:
            file.set_size(plan.metadata)
            if not file.claim(0, size):
                zeros = bytes(1 << 20)  # where space cannot be claimed it is written: a store into a hole can kill
                for at in range(0, plan.metadata, len(zeros)):
                    file.write_at(memoryview(zeros)[: plan.metadata - at], at)
            file.write_at(plan.encode(text), 0)
            journal = cls(file, description, plan, writable=True)
            journal.write_metadata(*metadata)
        except BaseException:
            file.close()
            _fs.remove(path)
            raise
        return journal

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> Journal:
        """An existing journal. Raises BadFileError where its structure is not sound or its version is unknown."""
        file = _fs.File.open(path, writable=writable)
        try:
            description, plan = _read_head(file)
            journal = cls(file, description, plan, writable=writable)
        except BadFileError as error:
            file.close()
            raise BadFileError(f"journal {path}: {error}") from error
        except BaseException:
            file.close()
            raise
        return journal

    def _read_pointer(self, slot: int) -> tuple[int, int, int, int, int] | None:
        """(seq, offset, length of axes.npy, length of note.npy, checksum of both), or None where the slot is void."""
        raw = self.file.read_at(_POINTER.size, _POINTER_AT[slot])
        if len(raw) < _POINTER.size or _POINTER.unpack(raw)[5] != crc32(raw[:-4], self._key):
            return None
        _, offset, axes_size, note_size, _, _ = _POINTER.unpack(raw)
        if offset < self._plan.metadata or offset + axes_size + note_size > self.file.size:
            return None  # of a right checksum, and yet to nowhere
        return _POINTER.unpack(raw)[:5]

    def read_metadata(self) -> tuple[bytes, bytes]:
        """axes.npy and note.npy as they were last written whole. Raises BadFileError where neither copy is sound."""
        found = [p for p in map(self._read_pointer, (0, 1)) if p is not None]
        for _, offset, axes_size, note_size, checksum in sorted(found, reverse=True):
            blob = self.file.read_at(axes_size + note_size, offset)
            if len(blob) == axes_size + note_size and crc32(blob) == checksum:
                return blob[:axes_size], blob[axes_size:]
        raise BadFileError(f"journal {self.path}: neither copy of the axes and the note is sound")

    def write_metadata(self, axes: bytes, note: bytes) -> None:
        """Put axes.npy and note.npy in the place of the older copy.

        1. what was written last is made durable: after a cut, one copy has to be sound
        2. the bytes; 3. the pointer to them, which is what makes them count
        """
        pointers = [self._read_pointer(0), self._read_pointer(1)]
        found = [p for p in pointers if p is not None]
        if found:
            self.sync()
        slot = min((0, 1), key=lambda k: (pointers[k] or (0,))[0])
        blob, mine = axes + note, pointers[slot]
        if mine is not None and len(blob) <= _pages(mine[2] + mine[3]):
            offset = mine[1]
        else:
            offset = max([self._plan.metadata] + [p[1] + _pages(p[2] + p[3]) for p in found])
        self.file.write_at(blob, offset)
        seq = 1 + max((p[0] for p in found), default=0)
        head = _POINTER.pack(seq, offset, len(axes), len(note), crc32(blob), 0)[:-4]
        self.file.write_at(head + struct.pack("<I", crc32(head, self._key)), _POINTER_AT[slot])

    def successor(self, description: Description, carry: Callable[[Journal], None]) -> Journal:
        """A new journal for `description`, written beside this one and durable; `carry` fills in its marks.

        take_place() puts it in this one's place, in one step. This one stays open for its owner to close.
        """
        beside = self.path.with_name(self.path.name + ".new")
        _fs.remove(beside)  # left by a crash in the middle of this; it never counted
        journal = Journal.create(beside, description, self.read_metadata())
        try:
            carry(journal)
            journal.sync()
        except BaseException:
            journal.close()
            _fs.remove(beside)
            raise
        return journal

    def take_place(self, of: Journal) -> None:
        _fs.replace(self.path, of.path)
        self.file.path = of.path

    def dirty_all(self) -> None:
        """Store everything again as it is, after a failed sync: the kernel takes what it could not write for written."""
        step = 1 << 20
        for at in range(0, len(self._map), step):
            self._map[at : at + step] = self._map[at : at + step]
        metadata = self.file.read_at(self.file.size - self._plan.metadata, self._plan.metadata)
        self.file.write_at(metadata, self._plan.metadata)

    def sync(self) -> None:
        """Make marks, checksums and metadata survive a power cut."""
        if sys.platform != "linux":
            self._map.flush()  # on Linux a sync of the file takes the stores through its maps along
        self.file.sync()

    def close(self) -> None:
        self.marks.release()
        self.checksums = np.empty(0, np.uint32)
        try:
            self._map.close()
        except BufferError:
            pass  # a view of the marks is still alive somewhere: the map goes with it
        self.file.close()


def _read_head(file: _fs.File) -> tuple[Description, _Plan]:
    raw = file.read_at(_HEAD.size + _HEAD_CRC.size, 0)
    if not any(raw):
        raise BadFileError("is empty: it was cut off before its first flush, and nothing of this scan was promised yet")
    if raw[:8] != MAGIC:
        raise BadFileError("does not begin as a journal does")
    if len(raw) < _HEAD.size + _HEAD_CRC.size:
        raise BadFileError("is cut short")
    _, version, text_size, text_crc, _, frames, *places = _HEAD.unpack(raw[: _HEAD.size])
    if version != VERSION:
        raise BadFileError(
            f"is of version {version}, this program knows {VERSION}: update lys_storage; nothing was touched"
        )
    if _HEAD_CRC.unpack(raw[_HEAD.size :])[0] != crc32(raw[: _HEAD.size]):
        raise BadFileError("its first 64 bytes are damaged")
    text = file.read_at(min(text_size, _MAX_TEXT), _TEXT_AT)
    if len(text) != text_size or crc32(text) != text_crc:
        raise BadFileError("its description is damaged")
    description, plan = decode_description(text), _Plan(text_size, frames)
    if frames != description.frames or places != [plan.marks, plan.checksums, plan.metadata]:
        raise BadFileError(f"has a table of {frames} frames, expected {description.frames}")
    if file.size < plan.metadata:
        raise BadFileError(f"is {file.size} bytes, expected at least {plan.metadata}")
    return description, plan
