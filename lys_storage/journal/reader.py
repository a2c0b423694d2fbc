"""Reads a journal without mapping it, while another process may write the scan.

Never changes a file, and takes no lock. Memory use does not depend on the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import File, FileCutError, range_crc32
from ..errors import BadFileError
from ..format import crc32
from .frame_state import BLOCK_CHECKSUMMED, CHECKSUMMED, REWRITING, TABLE_STEP, WRITTEN, Numbers, States
from .journal import _EPOCH_AT, DURABLE_AT, FAILED_AT, WRITER_AT
from .layout import read_head
from .metadata_copies import read_newest_metadata
from .writer_record import RECORD_BYTES, decode_writer_record

Flags = np.ndarray[Any, np.dtype[np.bool_]]


class JournalReader:
    """The journal at `path`, opened for reading. Each call reads its file again, and gives the present states.

    Raises as Journal.open.
    """

    def __init__(self, path: Path) -> None:
        self.file = File.open_for_reading(path)
        try:
            self.description, self._layout = read_head(self.file)
        except BadFileError as error:
            self.file.close()
            raise BadFileError(f"journal {path}: {error}") from None
        except BaseException:
            self.file.close()
            raise
        self._block: tuple[int, bool] | None = None  # the last block that was compared, and whether it matched

    def close(self) -> None:
        self.file.close()

    def read_metadata(self) -> tuple[bytes, bytes]:
        """See Journal.read_metadata."""
        return read_newest_metadata(self.file, self._layout, self.key)

    def vouches_for(self, scan_file: File) -> bool:
        """See Journal.vouches_for."""
        record = decode_writer_record(self.file.read_at(RECORD_BYTES, WRITER_AT))
        return record is not None and record.vouches_for(scan_file, self.file)

    @property
    def file_sync_failed(self) -> bool:
        """See Journal.file_sync_failed."""
        return self.file.read_at(1, FAILED_AT[0]) != b"\0"

    @property
    def key(self) -> int:
        """See Journal.key."""
        return crc32(self.description.scan_id.encode())

    def marks(self) -> tuple[int, bool]:
        """The epoch of the valid records of the redo log, and whether the last sync of the scan file failed: in one read."""
        raw = self.file.read_at(FAILED_AT[0] + 1 - _EPOCH_AT, _EPOCH_AT)
        return int.from_bytes(raw[:8], "little"), raw[-1:] != b"\0"

    @property
    def durable_frames(self) -> int | None:
        """See Journal.durable_frames; None if an earlier version writes the journal, which does not tell."""
        raw = self.file.read_at(8, DURABLE_AT)
        return int.from_bytes(raw, "little") if self._layout.version > 2 else None

    @property
    def block_bytes(self) -> int:
        """The size of the frames that share a checksum."""
        return self._layout.per_block * self.description.frame_bytes

    def states(self, first: int, stop: int) -> Iterator[tuple[int, States]]:
        """(number of the first frame, states) of consecutive frames from `first` to `stop`, in pieces."""
        for at in range(first, stop, TABLE_STEP):
            yield at, self._states(at, min(TABLE_STEP, stop - at))

    def read_states_into(self, states: States, first: int) -> None:
        """Fill `states`, a contiguous array of uint8, with the states of the frames from `first`."""
        if self.file.read_into(states.data, self._layout.states + first) != len(states):
            raise BadFileError(
                f"journal {self.file.path} was truncated while it was read: its table of states ends early"
            )

    def read_checksums(self, first: int, states: States) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """For each of the frames from `first`, which have these states: its checksum, or if it is BLOCK_CHECKSUMMED that of its
        block. Other frames have an undefined one.
        """
        per_block, count = self._layout.per_block, len(states)
        sums = self._checksums(self._layout.checksums + 4 * first, count)
        in_blocks = states == BLOCK_CHECKSUMMED
        if in_blocks.any():
            begin, end = first // per_block, -(-(first + count) // per_block)
            of_blocks = self._checksums(self._layout.block_checksums + 4 * begin, end - begin)
            sums = np.where(in_blocks, np.repeat(of_blocks, per_block)[first - begin * per_block :][:count], sums)
        return sums.astype(np.uint32)

    def _checksums(self, offset: int, count: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
        sums = np.frombuffer(self.file.read_at(4 * count, offset), "<u4")
        if len(sums) != count:
            raise BadFileError(
                f"journal {self.file.path} was truncated while it was read: a table of checksums ends early"
            )
        return sums

    def own_checksum(self, frame: int) -> int:
        """The checksum of a frame that is CHECKSUMMED."""
        return self._checksum(self._layout.checksums, frame)

    def _states(self, first: int, count: int) -> States:
        return np.frombuffer(self.file.read_at(count, self._layout.states + first), np.uint8)

    def matches(self, scan_file: File, frames: Numbers) -> Flags:
        """For each frame, whether its bytes match its checksum, or that of its block. `frames`: numbers, ascending."""
        return np.array([self._matches(scan_file, int(frame)) for frame in frames], bool)

    def _matches(self, scan_file: File, frame: int) -> bool:
        (state,) = self._states(frame, 1)
        if state == CHECKSUMMED:
            return self._crc(scan_file, frame, 1) == self._checksum(self._layout.checksums, frame)
        block = frame // self._layout.per_block
        if state != BLOCK_CHECKSUMMED or block >= self._layout.blocks:
            return False
        if self._block is None or self._block[0] != block:
            crc = self._crc(scan_file, block * self._layout.per_block, self._layout.per_block)
            self._block = block, crc == self._checksum(self._layout.block_checksums, block)
        return self._block[1]

    def _checksum(self, table: int, entry: int) -> int:
        return int.from_bytes(self.file.read_at(4, table + 4 * entry), "little")

    def _crc(self, scan_file: File, first: int, count: int) -> int | None:
        size = self.description.frame_bytes
        try:
            return range_crc32(scan_file, self.description.array_offset + first * size, count * size)
        except FileCutError:
            return None


def is_readable(states: States) -> Flags:
    """Of each state: whether the bytes in the scan file are one version of a frame. A frame that is being rewritten is not."""
    return np.asarray((states >= WRITTEN) & (states <= BLOCK_CHECKSUMMED) & (states != REWRITING))
