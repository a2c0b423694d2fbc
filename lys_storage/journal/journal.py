"""The journal beside a scan file: what the scan is, and the state of each of its frames.

    head, writer | description | states, a byte a frame | checksums, of frames, of blocks | doubtful, a bit a frame
    | axes.npy and note.npy, twice

docs/format.md describes each byte. States and checksums are stored through a memory map of preallocated space. On file
systems where such a store can raise SIGBUS (see disk/systems) they are written by pwrite. The description never changes:
a scan with another grid or dtype gets a new journal, which is renamed over the old one. The journal never reads or writes
the scan file.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import FOLIO_BYTES, SYSTEM, File, ensure_free_space, remove_file, replace_file, rewrite_range
from ..errors import BadFileError
from ..format import PAGE, Description, crc32, encode_description, replacement_path
from .frame_state import FrameStates, PwriteStates
from .layout import JournalLayout, frames_in_block, pages, read_head
from .metadata_copies import POINTER, POINTER_AT, MetadataCopy, read_copy, read_newest_metadata
from .writer_record import RECORD_BYTES, WriterRecord, decode_writer_record

_EPOCH = struct.Struct("<Q")
WRITER_AT = 64
_EPOCH_AT = 448
DURABLE_AT = 464
FAILED_AT = (456, 457)  # one byte each: whether the last sync of the scan file, of the journal, failed
_LARGE_MAP = 1 << 23


class Journal:
    """An open journal. `states` has the state and the checksum of each frame."""

    def __init__(self, file: File, description: Description, layout: JournalLayout, *, writable: bool) -> None:
        self.file, self.description, self._layout = file, description, layout
        self.uses_mmap = writable and file.keeps_mapped_stores()
        self._make_map()
        self._key = crc32(description.scan_id.encode())
        self._sync_lock = threading.Lock()  # guards sync_failed
        self._metadata_lock = threading.Lock()  # guards the metadata, the pointers to it, and the next two
        self._metadata_is_durable, self._metadata_writes = False, 0
        self.table_lock: AbstractContextManager[Any] = nullcontext()  # held while the table changes

    def _make_map(self) -> None:
        file, layout = self.file, self._layout
        self._map = file.map(layout.metadata, writable=self.uses_mmap)
        self._bytes = _Bytes(file, self._map if self.uses_mmap else None)
        view = memoryview(self._map)[layout.states : layout.states + layout.frames]
        self.states = FrameStates(
            raw=view if self.uses_mmap else PwriteStates(file, layout.states, view),
            view=view,
            checksums=np.frombuffer(self._map, "<u4", layout.frames, layout.checksums),
            block_checksums=np.frombuffer(self._map, "<u4", layout.blocks, layout.block_checksums),
            doubtful=np.frombuffer(self._map, np.uint8, layout.doubtful_bytes, layout.doubtful),
            per_block=layout.per_block,
            store=_Tables(self._bytes, layout).store,
        )

    def _release_map(self) -> None:
        """Raises BufferError if a view of the states still exists."""
        self.states.release()
        self._bytes.map = None
        self._map.close()

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def key(self) -> int:
        """The initial value of the checksums of this scan's records, so that records of other scans are invalid."""
        return self._key

    @property
    def version(self) -> int:
        return self._layout.version

    def sign(self, scan_file: File) -> None:
        """Record that this process writes `scan_file` from now on, and that the states are valid for that file."""
        record = WriterRecord.of_this_process(scan_file, self.file)
        with self.table_lock:
            self._bytes.store(WRITER_AT, record.encode())

    @property
    def _writer_record(self) -> WriterRecord | None:
        return decode_writer_record(self._map[WRITER_AT : WRITER_AT + RECORD_BYTES])

    def vouches_for(self, scan_file: File) -> bool:
        """Whether the states are valid for this file: see WriterRecord.vouches_for."""
        record = self._writer_record
        return record is not None and record.vouches_for(scan_file, self.file)

    def wrote_to(self, scan_file: File) -> bool:
        """Whether this is the writer's file, perhaps in another boot or on another mount. The states may be invalid."""
        record = self._writer_record
        return record is not None and record.wrote_to(scan_file)

    @property
    def writer(self) -> tuple[str, int] | None:
        """Host and process id of the last writer of the scan; None if unknown."""
        record = self._writer_record
        return None if record is None else (record.host, record.pid)

    @property
    def epoch(self) -> int:
        """The epoch of the valid records of the redo log."""
        return int(_EPOCH.unpack_from(self._map, _EPOCH_AT)[0])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        with self.table_lock:
            self._bytes.store(_EPOCH_AT, _EPOCH.pack(epoch))

    @property
    def durable_frames(self) -> int:
        """How many frames survive a power cut, as of the last flush."""
        return int(_EPOCH.unpack_from(self._map, DURABLE_AT)[0])

    @durable_frames.setter
    def durable_frames(self, frames: int) -> None:
        with self.table_lock:
            self._bytes.store(DURABLE_AT, _EPOCH.pack(frames))

    @property
    def file_sync_failed(self) -> bool:
        """Whether the last sync of the scan file failed, perhaps in an earlier process: see docs/durability.md."""
        return self._map[FAILED_AT[0]] != 0

    @file_sync_failed.setter
    def file_sync_failed(self, failed: bool) -> None:
        if failed != self.file_sync_failed:
            with self.table_lock:
                self._bytes.store(FAILED_AT[0], bytes((failed,)))

    @property
    def sync_failed(self) -> bool:
        """Whether the last sync of the journal failed, perhaps in an earlier process."""
        return self._map[FAILED_AT[1]] != 0

    @classmethod
    def create(cls, path: Path, description: Description, metadata: tuple[bytes, bytes]) -> Journal:
        """A new journal of a scan without frames. Raises NameTakenError if the path exists."""
        text = encode_description(description)
        layout = JournalLayout(len(text), description.frames, frames_in_block(description.frame_bytes))
        size = layout.metadata + 4 * pages(sum(map(len, metadata)) + PAGE)
        ensure_free_space(path.parent, size, path)
        file, journal = File.create(path), None
        try:
            file.set_size(layout.metadata)
            if not file.preallocate(0, size):
                zeros = bytes(1 << 20)  # no preallocation: a store into a hole can raise SIGBUS
                for at in range(0, layout.metadata, len(zeros)):
                    file.write_at(memoryview(zeros)[: layout.metadata - at], at)
            file.write_at(layout.encode(text), 0)
            journal = cls(file, description, layout, writable=True)
            journal.write_metadata(*metadata)
        except BaseException:
            (file if journal is None else journal).close()
            remove_file(path)
            raise
        return journal

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> Journal:
        """An existing journal. Raises BadFileError if its structure is invalid or its version unknown."""
        file = File.open(path, writable=writable)
        try:
            description, layout = read_head(file)
            journal = cls(file, description, layout, writable=writable)
        except BadFileError as error:
            file.close()
            raise BadFileError(f"journal {path}: {error}") from None
        except BaseException:
            file.close()
            raise
        return journal

    def _read_copy(self, slot: int) -> MetadataCopy | None:
        return read_copy(self.file, self._layout, self._key, slot)

    def read_metadata(self) -> tuple[bytes, bytes]:
        """The newest intact axes.npy and note.npy. Raises BadFileError if neither copy is intact."""
        return read_newest_metadata(self.file, self._layout, self._key)

    def write_metadata(self, axes: bytes, note: bytes) -> None:
        """Replace the older copy, or a damaged one, by axes.npy and note.npy.

        1. if there are two intact copies, make the newer one durable: after a power cut, one must be intact
        2. write the bytes; 3. write the pointer to them, which makes them valid
        """
        copies = [self._read_copy(0), self._read_copy(1)]
        if all(copies) and not self._metadata_is_durable:
            self.sync()
        with self._metadata_lock:
            self._metadata_is_durable = False
            try:
                self._put_metadata(axes, note, copies)
            finally:
                self._metadata_writes += 1  # last: a sync that began before may not include all bytes

    def _put_metadata(self, axes: bytes, note: bytes, copies: list[MetadataCopy | None]) -> None:
        found = [copy for copy in copies if copy is not None]
        slot = min((0, 1), key=lambda k: 0 if (copy := copies[k]) is None else copy.seq)
        blob, mine = axes + note, copies[slot]
        if mine is not None and len(blob) <= mine.pages:
            offset = mine.offset
        else:
            offset = max([self._layout.metadata] + [copy.offset + copy.pages for copy in found])
        self.file.write_at(blob, offset)
        seq = 1 + max((copy.seq for copy in found), default=0)
        head = POINTER.pack(seq, offset, len(axes), len(note), crc32(blob), 0)[:-4]
        self.file.write_at(head + struct.pack("<I", crc32(head, self._key)), POINTER_AT[slot])

    def write_replacement(
        self, description: Description, copy_states: Callable[[Journal], None], scan_file: File | None
    ) -> Journal:
        """A new journal for `description`, written beside this one and durable. `copy_states` sets its states.

        `scan_file`: the file for which they are valid; None if they are valid for no file.
        replace() renames it over this one. This one stays open; its owner closes it.
        """
        beside = replacement_path(self.path)
        remove_file(beside)  # left over from an interrupted replacement; it was never used
        journal = Journal.create(beside, description, self.read_metadata())
        try:
            copy_states(journal)
            if scan_file is not None:
                journal.sign(scan_file)
            journal.sync()
        except BaseException:
            journal.close()
            remove_file(beside)
            raise
        return journal

    def replace(self, of: Journal) -> None:
        """Rename this journal over `of`. If that fails this one is removed, and `of` can be used as before.

        Nobody may use `of` meanwhile: where an open file keeps its name, it is closed, and after a failure open again. Then
        `of.states` is another object.
        """
        try:
            with of._closed_for_replacement():
                replace_file(self.path, of.path)
        except BaseException:
            self.close()
            remove_file(self.path)
            raise
        self.file.path = of.path

    @contextmanager
    def _closed_for_replacement(self) -> Iterator[None]:
        if not SYSTEM.open_files_keep_their_names:
            yield
            return
        try:
            self._release_map()
            with self.file.closed_for_replacement():
                yield
        except BaseException:
            if self.file.fd >= 0:
                self._make_map()
            raise

    def _rewrite(self) -> None:
        """Write everything again, before the sync that follows a failed one: see disk.rewrite_range."""
        for at in range(0, self.file.size, FOLIO_BYTES):
            with self._metadata_lock, self.table_lock:  # an old value must not overwrite one that changes meanwhile
                rewrite_range(self.file, at, max(0, min(FOLIO_BYTES, self.file.size - at)))

    def sync(self) -> None:
        """Make states, checksums and metadata survive a power cut. Any thread may call this."""
        with self._sync_lock:
            writes = self._metadata_writes
            if self.sync_failed:
                self._rewrite()
            try:
                if self.uses_mmap and not SYSTEM.sync_includes_maps:
                    self._map.flush()
                self.file.sync()
            except BaseException:
                self._bytes.store(FAILED_AT[1], b"\1")
                raise
            if self.sync_failed:
                self._bytes.store(FAILED_AT[1], b"\0")
            with self._metadata_lock:
                self._metadata_is_durable = writes == self._metadata_writes
        if len(self._map) > _LARGE_MAP:
            SYSTEM.release_pages(self._map)

    def close(self) -> None:
        try:
            self._release_map()
        except BufferError:  # a view of the states still exists, as in a traceback: the map is freed with it
            self._bytes.map, self._map = None, _closed_map()
        self.file.close()


def _closed_map() -> mmap.mmap:
    made = mmap.mmap(-1, 1)
    made.close()
    return made


class _Bytes:
    """Stores bytes in a journal: through its map, or by pwrite if `map` is None."""

    def __init__(self, file: File, map: mmap.mmap | None) -> None:
        self._file, self.map = file, map

    def store(self, offset: int, data: bytes) -> None:
        if self.map is not None:
            self.map[offset : offset + len(data)] = data
        else:
            self._file.write_at(data, offset)


class _Tables:
    """Stores entries of the journal's tables: "states", "checksums", "block_checksums", "doubtful" (by bytes)."""

    def __init__(self, data: _Bytes, layout: JournalLayout) -> None:
        self._bytes, self._layout = data, layout

    def store(self, table: str, first: int, data: bytes) -> None:
        entry_bytes = 4 if table.endswith("checksums") else 1
        self._bytes.store(getattr(self._layout, table) + first * entry_bytes, data)
