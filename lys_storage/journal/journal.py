"""The journal beside a scan file: what the scan is, and which of its frames have arrived.

    description | marks, a byte a frame | checksums, of frames, of blocks of them | axes.npy and note.npy, twice

docs/format.md gives it byte by byte. Marks and checksums are stored through a map, over space that is claimed; where the
filesystem writes to a new place each time, and so cannot promise that space, they are written. The description never
changes; a scan that is laid out anew gets a new journal, put in the old one's place in one step. It never reads or writes
the scan file.
"""

from __future__ import annotations

import mmap
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import File, ensure_free_space, remove_file, replace_file
from ..errors import BadFileError
from ..format import PAGE, Description, crc32, encode_description
from .layout import JournalLayout, frames_in_block, pages, read_head

_POINTER = struct.Struct("<QQIIII")
_EPOCH = struct.Struct("<Q")
_EPOCH_AT = 448
_FAILED_AT = (456, 457)  # a byte each: the last sync of the scan file, of the journal, has failed
_POINTER_AT = (512, 1024)  # a sector each: a torn write spoils one of them at most
_STORE_STEP = 1 << 16
_LARGE_MAP = 1 << 23


class PwriteMarks:
    """Marks that are written to the journal's file one by one, and read from its map."""

    def __init__(self, file: File, offset: int, view: memoryview) -> None:
        self._file, self._offset, self._view = file, offset, view

    def __getitem__(self, frame: int) -> int:
        return self._view[frame]

    def __setitem__(self, frame: int, mark: int) -> None:
        self._file.write_at(bytes((mark,)), self._offset + frame)

    def release(self) -> None:
        self._view.release()


class Journal:
    """An open journal. `marks[frame]` can be read and set; the arrays are views to read, and set_... change them."""

    def __init__(self, file: File, description: Description, plan: JournalLayout, *, writable: bool) -> None:
        self.file, self.description, self._plan = file, description, plan
        self.by_map = writable and file.keeps_its_place()
        self._map = file.map(plan.metadata, writable=self.by_map)
        view = memoryview(self._map)[plan.marks : plan.marks + plan.frames]
        self.marks: memoryview | PwriteMarks = view if self.by_map else PwriteMarks(file, plan.marks, view)
        self._marks_view = view
        self.checksums: np.ndarray[Any, np.dtype[np.uint32]] = np.frombuffer(
            self._map, "<u4", plan.frames, plan.checksums
        )
        self.block_checksums: np.ndarray[Any, np.dtype[np.uint32]] = np.frombuffer(
            self._map, "<u4", plan.blocks, plan.block_checksums
        )
        self._key = crc32(description.scan_id.encode())
        self._sync_turn = threading.Lock()  # guards sync_failed
        self._metadata_turn = threading.Lock()  # guards the metadata, the pointers to it, and the next two
        self._metadata_is_durable, self._metadata_writes = False, 0
        self.guard: AbstractContextManager[Any] = nullcontext()  # held by whoever changes the table

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def mark_array(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The marks as a view for numpy, to read; not to be kept beyond the call."""
        view = np.frombuffer(self._marks_view, np.uint8)
        view.flags.writeable = False
        return view

    def marks_of(self, first: int, stop: int) -> bytes:
        return self._marks_view[first:stop].tobytes()

    @property
    def per_block(self) -> int:
        """How many frames share a checksum where all of them have come; 1 where none do."""
        return self._plan.per_block

    @property
    def blocks(self) -> int:
        return self._plan.blocks

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
        with self.guard:
            self._store(_EPOCH_AT, _EPOCH.pack(epoch))

    @property
    def file_sync_failed(self) -> bool:
        """Whether the last sync of the scan file failed, also in a process that has died: see docs/durability.md."""
        return self._map[_FAILED_AT[0]] != 0

    @file_sync_failed.setter
    def file_sync_failed(self, failed: bool) -> None:
        if failed != self.file_sync_failed:
            with self.guard:
                self._store(_FAILED_AT[0], bytes((failed,)))

    @property
    def sync_failed(self) -> bool:
        """Whether the last sync of the journal failed, also in a process that has died."""
        return self._map[_FAILED_AT[1]] != 0

    def _store(self, offset: int, data: bytes) -> None:
        if self.by_map:
            self._map[offset : offset + len(data)] = data
        else:
            self.file.write_at(data, offset)

    def set_marks(self, first: int, stop: int, mark: int) -> None:
        for at in range(first, stop, _STORE_STEP):
            count = min(_STORE_STEP, stop - at)
            self._store(self._plan.marks + at, bytes((mark,)) * count)

    def set_chosen(self, first: int, chosen: np.ndarray[Any, np.dtype[np.intp]], mark: int) -> None:
        """Set the marks of the frames `first + chosen` (ascending). Those between them are stored as they are."""
        if self.by_map:
            np.frombuffer(self._marks_view, np.uint8)[first + chosen] = mark
        elif chosen.size:
            low, high = int(chosen[0]), int(chosen[-1]) + 1
            marks = self.mark_array[first + low : first + high].copy()
            marks[chosen - low] = mark
            self._store(self._plan.marks + first + low, marks.tobytes())

    def put_marks(self, first: int, marks: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._store(self._plan.marks + first, marks.tobytes())

    def put_checksums(self, first: int, sums: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
        self._store(self._plan.checksums + 4 * first, sums.astype("<u4").tobytes())

    def set_checksums(
        self, first: int, chosen: np.ndarray[Any, np.dtype[np.intp]], sums: np.ndarray[Any, np.dtype[np.uint32]]
    ) -> None:
        """The checksums of the frames `first + chosen` (ascending)."""
        if self.by_map:
            self.checksums[first + chosen] = sums
        elif chosen.size:
            low, high = int(chosen[0]), int(chosen[-1]) + 1
            known = self.checksums[first + low : first + high].copy()
            known[chosen - low] = sums
            self.put_checksums(first + low, known)

    def put_block_checksums(self, first: int, sums: np.ndarray[Any, np.dtype[np.uint32]]) -> None:
        self._store(self._plan.block_checksums + 4 * first, sums.astype("<u4").tobytes())

    @classmethod
    def create(cls, path: Path, description: Description, metadata: tuple[bytes, bytes]) -> Journal:
        """A new journal of a scan of which nothing has arrived; raises NameTakenError where one exists."""
        text = encode_description(description)
        plan = JournalLayout(len(text), description.frames, frames_in_block(description.frame_bytes))
        size = plan.metadata + 4 * pages(sum(map(len, metadata)) + PAGE)
        ensure_free_space(path.parent, size, path)
        file = File.create(path)
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
            remove_file(path)
            raise
        return journal

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> Journal:
        """An existing journal. Raises BadFileError where its structure is not sound or its version is unknown."""
        file = File.open(path, writable=writable)
        try:
            description, plan = read_head(file)
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

        1. where there is an older copy, the newer one is made durable: after a cut, one has to be sound
        2. the bytes; 3. the pointer to them, which is what makes them count
        """
        pointers = [self._read_pointer(0), self._read_pointer(1)]
        if all(pointers) and not self._metadata_is_durable:
            self.sync()
        with self._metadata_turn:
            self._metadata_is_durable = False
            try:
                self._put_metadata(axes, note, pointers)
            finally:
                self._metadata_writes += 1  # afterwards: a sync that begins meanwhile may not have all of it

    def _put_metadata(self, axes: bytes, note: bytes, pointers: list[tuple[int, int, int, int, int] | None]) -> None:
        found = [p for p in pointers if p is not None]
        slot = min((0, 1), key=lambda k: (pointers[k] or (0,))[0])
        blob, mine = axes + note, pointers[slot]
        if mine is not None and len(blob) <= pages(mine[2] + mine[3]):
            offset = mine[1]
        else:
            offset = max([self._plan.metadata] + [p[1] + pages(p[2] + p[3]) for p in found])
        self.file.write_at(blob, offset)
        seq = 1 + max((p[0] for p in found), default=0)
        head = _POINTER.pack(seq, offset, len(axes), len(note), crc32(blob), 0)[:-4]
        self.file.write_at(head + struct.pack("<I", crc32(head, self._key)), _POINTER_AT[slot])

    def successor(self, description: Description, carry: Callable[[Journal], None]) -> Journal:
        """A new journal for `description`, written beside this one and durable; `carry` fills in its marks.

        take_place() puts it in this one's place, in one step. This one stays open for its owner to close.
        """
        beside = self.path.with_name(self.path.name + ".new")
        remove_file(beside)  # left by a crash in the middle of this; it never counted
        journal = Journal.create(beside, description, self.read_metadata())
        try:
            carry(journal)
            journal.sync()
        except BaseException:
            journal.close()
            remove_file(beside)
            raise
        return journal

    def take_place(self, of: Journal) -> None:
        try:
            replace_file(self.path, of.path)
        except BaseException:
            self.close()
            remove_file(self.path)
            raise
        self.file.path = of.path

    def _store_all_again(self) -> None:
        """After a failed sync: the kernel takes what it could not write for written."""
        with self.guard:  # a mark that is set meanwhile would be stored over
            for at in range(0, len(self._map), _STORE_STEP):
                self._store(at, self._map[at : at + _STORE_STEP])
        with self._metadata_turn:
            metadata = self.file.read_at(self.file.size - self._plan.metadata, self._plan.metadata)
            self.file.write_at(metadata, self._plan.metadata)

    def sync(self) -> None:
        """Make marks, checksums and metadata survive a power cut. In any thread."""
        with self._sync_turn:
            writes = self._metadata_writes
            if self.sync_failed:
                self._store_all_again()
            try:
                if self.by_map and sys.platform != "linux":
                    self._map.flush()  # on Linux a sync of the file takes the stores through its maps along
                self.file.sync()
            except BaseException:
                self._store(_FAILED_AT[1], b"\1")
                raise
            if self.sync_failed:
                self._store(_FAILED_AT[1], b"\0")
            with self._metadata_turn:
                self._metadata_is_durable = writes == self._metadata_writes
        if len(self._map) > _LARGE_MAP and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)  # of this process only: a person reads its size

    def close(self) -> None:
        self.checksums = self.block_checksums = np.empty(0, np.uint32)
        try:
            self.marks.release()
            self._marks_view.release()
            self._map.close()
        except BufferError:
            pass  # a view of the marks is still alive somewhere: the map goes with it
        self.file.close()
