"""A journal is read without a map, as it is at present."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.errors import BadFileError
from lys_storage.format import decode_axes, decode_note, journal_path
from lys_storage.journal import REWRITING, Journal, JournalReader, is_readable
from tests.helpers import interrupt


def test_it_reads_what_a_journal_that_is_mapped_reads(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz", axes=[np.arange(4) / 2, None], note={"sample": "TaS2"})
    reader, journal = JournalReader(journal_path(part)), Journal.open(journal_path(part), writable=False)
    file = File.open(part, writable=False)
    try:
        assert reader.description == journal.description
        assert reader.read_metadata() == journal.read_metadata()
        axes, note = reader.read_metadata()
        assert (decode_axes(axes)[0].tolist(), decode_note(note)) == ([0, 0.5, 1, 1.5], {"sample": "TaS2"})
        (found,) = reader.states(0, 4)
        assert (found[0], found[1].tolist()) == (0, journal.states.array.tolist())
        assert is_readable(found[1]).tolist() == [True, False, True, False]
        assert reader.vouches_for(file) is journal.vouches_for(file) is True
        assert reader.file_sync_failed is journal.file_sync_failed is False
    finally:
        file.close()
        journal.close()
        reader.close()


def test_it_sees_frames_that_are_written_after_it_was_opened(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1) as scan:
        reader = JournalReader(journal_path(scan.part_path))
        before = [is_readable(states).tolist() for _, states in reader.states(0, 4)]
        scan[1] = np.ones(3, "u2")
        after = [is_readable(states).tolist() for _, states in reader.states(0, 4)]
        reader.close()
    assert (before, after) == ([[False] * 4], [[False, True, False, False]])


@pytest.mark.parametrize("frame_bytes", [8, 1 << 19], ids=["in blocks", "alone"])
def test_a_frame_matches_its_checksum_until_a_byte_changes(tmp_path: Path, frame_bytes: int) -> None:
    """Small frames share the checksum of their block."""
    count = (1 << 18) // frame_bytes if frame_bytes < 1 << 18 else 3
    scan = lys_storage.create(tmp_path / "a.npz", (count, frame_bytes), "u1", grid_ndim=1)
    scan[...] = np.arange(count * frame_bytes).reshape(count, frame_bytes).astype("u1")
    scan.suspend()
    part, numbers = scan.part_path, np.arange(3)
    reader, file = JournalReader(journal_path(part)), File.open(part, writable=False)
    assert reader.matches(file, numbers).all()
    with open(part, "r+b") as stream:
        stream.seek(reader.description.array_offset + frame_bytes)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 1]))
    reader.close()
    reader = JournalReader(journal_path(part))
    expected = [False] * 3 if frame_bytes == 8 else [True, False, True]
    assert reader.matches(file, numbers).tolist() == expected
    reader.close()
    file.close()


def test_a_frame_that_is_being_rewritten_is_not_readable() -> None:
    assert is_readable(np.arange(9, dtype=np.uint8)).tolist() == [
        *(False, False, True, True, False, True, True),
        *(False, False),
    ]
    assert not is_readable(np.array([REWRITING], np.uint8)).any()


def test_a_damaged_journal_is_refused_and_closed(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz")
    journal_path(part).write_bytes(b"rubbish")
    with pytest.raises(BadFileError, match=r"a\.npz\.part\.journal: does not begin with the magic bytes"):
        JournalReader(journal_path(part))
