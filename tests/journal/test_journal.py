"""The bytes of the journal: written content can be read, damaged content is refused, torn content is ignored."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.format import encode_description
from lys_storage.journal import (
    ABSENT,
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    CHECKSUMMING,
    REWRITING,
    WRITING,
    WRITTEN,
    Journal,
)
from lys_storage.journal.layout import VERSION
from lys_storage.scan.relayout import _refine_states
from tests.format.descriptions import HERE
from tests.helpers import files

METADATA = (b"the axes", b"the note")


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    made = Journal.create(tmp_path / "j", HERE, METADATA)
    yield made
    made.close()


def changed(path: Path, at: int, new: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(new)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_first_bytes_of_a_journal_are_these(tmp_path: Path, journal: Journal) -> None:
    """Golden: docs/format.md, byte by byte, in version 3."""
    data, text = (tmp_path / "j").read_bytes(), encode_description(HERE)
    head = struct.pack("<8sIIIIQQQQ", b"\x93LYSJRN\n", 3, len(text), zlib.crc32(text), 4096, 12, 4096, 8192, 16384)
    assert len(head) == 56
    assert data[:60] == head + struct.pack("<I", zlib.crc32(head))
    assert data[60:456] == bytes(396)  # no writer is recorded yet
    pointer = struct.pack("<QQIII", 1, 16384, 8, 8, zlib.crc32(b"the axesthe note"))
    check = zlib.crc32(pointer, zlib.crc32(HERE.scan_id.encode()))
    assert data[512:544] == pointer + struct.pack("<I", check)
    assert data[1024:1056] == bytes(32)
    assert data[1536 : 1536 + len(text)] == text
    assert set(data[1536 + len(text) : 16384]) == {0}
    assert data[16384:16400] == b"the axesthe note"


def test_states_and_checksums_are_where_the_head_says(tmp_path: Path, journal: Journal) -> None:
    journal.states.end_checksum(0, np.array([5]), np.array([0x12345678], np.uint32))
    data = (tmp_path / "j").read_bytes()
    assert (data[4096:4108], data[8192 + 20 : 8192 + 24]) == (bytes([0] * 5 + [3] + [0] * 6), b"\x78\x56\x34\x12")


def test_the_numbers_of_the_states_do_not_change() -> None:
    """Golden: the next version reads a journal of this one."""
    assert (ABSENT, WRITING, WRITTEN, CHECKSUMMED, REWRITING, CHECKSUMMING, BLOCK_CHECKSUMMED) == (0, 1, 2, 3, 4, 5, 6)


def test_a_journal_is_read_as_what_was_written(tmp_path: Path, journal: Journal) -> None:
    journal.states.reconcile(0, np.arange(12, dtype=np.uint8))
    journal.states._put("checksums", 0, np.arange(100, 112, dtype=np.uint32))
    journal.epoch = 77
    other = Journal.open(tmp_path / "j", writable=False)
    assert (other.description, other.epoch, other.read_metadata()) == (HERE, 77, METADATA)
    assert (other.states.array.tolist(), other.states.checksums.tolist()) == (list(range(12)), list(range(100, 112)))
    other.close()
    other.close()


def test_a_journal_does_not_replace_another(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(lys_storage.NameTakenError):
        Journal.create(tmp_path / "j", HERE, (b"", b""))
    assert journal.read_metadata() == METADATA


@pytest.mark.parametrize(
    ("at", "new", "said"),
    [
        pytest.param(0, b"PK", "does not begin with the magic bytes of a journal", id="another magic"),
        pytest.param(8, b"\x04", "has version 4, expected at most 3", id="the next version"),
        pytest.param(8, b"\x00", "has version 0, expected at most 3", id="version 0"),
        pytest.param(12, b"\xff\xff", "its head is damaged", id="another size of the description"),
        pytest.param(24, b"\xff", "its head is damaged", id="another number of frames"),
        pytest.param(32, b"\xff", "its head is damaged", id="another place of the states"),
        pytest.param(56, b"\xff", "its head is damaged", id="another checksum"),
        pytest.param(1540, b"\xff", "its description is damaged", id="another description"),
    ],
)
def test_a_damaged_journal_is_refused_by_what_is_wrong_and_not_touched(
    tmp_path: Path, journal: Journal, at: int, new: bytes, said: str
) -> None:
    path = tmp_path / "j"
    changed(path, at, new)
    before = path.read_bytes()
    with pytest.raises(BadFileError, match=said) as caught:
        Journal.open(path, writable=True)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 4, 8, 59, 1000, 1600, 5000, 16383])
def test_a_journal_that_is_cut_is_refused(tmp_path: Path, journal: Journal, size: int) -> None:
    data = (tmp_path / "j").read_bytes()
    (tmp_path / "cut").write_bytes(data[:size])
    with pytest.raises(BadFileError):
        Journal.open(tmp_path / "cut", writable=True)
    assert (tmp_path / "cut").read_bytes() == data[:size]


def resealed(path: Path, **changes: int) -> None:
    """Change fields of the head, and update its checksum: the journal is consistent, but wrong."""
    data = path.read_bytes()
    names = ("magic", "version", "text_size", "text_crc", "zero", "frames", "states", "checksums", "metadata")
    fields = dict(zip(names, struct.unpack("<8sIIIIQQQQ", data[:56]), strict=True)) | changes
    head = struct.pack("<8sIIIIQQQQ", *fields.values())
    changed(path, 0, head + struct.pack("<I", zlib.crc32(head)))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"frames": 13}, id="more frames than the shape has"),
        pytest.param({"frames": 1 << 62}, id="very many frames"),
        pytest.param({"states": 0}, id="states over the head"),
        pytest.param({"checksums": 1 << 60}, id="checksums beyond the end"),
        pytest.param({"metadata": 4096}, id="metadata over the states"),
        pytest.param({"text_size": 0}, id="no description"),
        pytest.param({"text_size": 0xFFFFFFFF}, id="a description of 4 GiB"),
    ],
)
def test_a_head_that_lies_is_refused(tmp_path: Path, journal: Journal, changes: dict[str, int]) -> None:
    resealed(tmp_path / "j", **changes)
    with pytest.raises(BadFileError):
        Journal.open(tmp_path / "j", writable=True)


def test_of_an_unknown_version_resume_and_recover_touch_nothing(tmp_path: Path) -> None:
    """The scan is left for a newer program."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 3), grid_ndim=1)
    scan[0] = np.ones(3)
    scan.suspend()
    changed(tmp_path / "data.npz.part.journal", 8, b"\x04")
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(BadFileError, match="update lys_storage"):
        lys_storage.resume(tmp_path / "data.npz")
    (result,) = lys_storage.recover(tmp_path)
    assert (result.path, "has version 4" in result.message) == (None, True)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


# -- axes and note -----------------------------------------------------------------------------------------------------


def test_of_the_two_places_of_the_metadata_the_newer_one_counts(tmp_path: Path, journal: Journal) -> None:
    for k in range(7):
        journal.write_metadata(b"a" * (k * 5000), b"n" * k)
        assert journal.read_metadata() == (b"a" * (k * 5000), b"n" * k)


@pytest.mark.parametrize(
    "tear",
    [
        pytest.param(lambda path, at, offset: changed(path, at, bytes(32)), id="pointer never written"),
        pytest.param(lambda path, at, offset: changed(path, at + 16, bytes(16)), id="pointer written by half"),
        pytest.param(lambda path, at, offset: changed(path, at, b"\xff"), id="pointer damaged"),
        pytest.param(lambda path, at, offset: changed(path, offset, bytes(4)), id="bytes never written"),
        pytest.param(lambda path, at, offset: changed(path, offset + 7, b"\xff"), id="bytes damaged"),
    ],
)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_torn_newer_copy_of_the_metadata_leaves_the_older_one(
    tmp_path: Path, journal: Journal, tear: Callable[[Path, int, int], None], times: int
) -> None:
    """After a power cut during a change, one of the two copies is intact. The next change replaces the other one."""

    def tear_the_newer() -> None:
        pointers = {at: struct.unpack("<QQIIII", path.read_bytes()[at : at + 32]) for at in slots}
        newer = max(slots, key=lambda at: pointers[at][0])
        tear(path, newer, pointers[newer][1])

    for k in range(times + 1):
        journal.write_metadata(b"axes %d" % k, b"note %d" % k)
    path, slots = tmp_path / "j", (512, 1024)
    tear_the_newer()
    assert journal.read_metadata() == (b"axes %d" % (times - 1), b"note %d" % (times - 1))
    journal.write_metadata(b"axes again", b"note again")
    assert journal.read_metadata() == (b"axes again", b"note again")
    tear_the_newer()
    assert journal.read_metadata() == (b"axes %d" % (times - 1), b"note %d" % (times - 1))


def test_metadata_are_synced_only_where_an_older_copy_is_overwritten_beside_one_that_is_not_durable(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[str] = []
    sync = File.sync
    monkeypatch.setattr(File, "sync", lambda self: (syncs.append(self.path.name), sync(self))[1])
    journal.write_metadata(b"axes 2", b"note 2")
    assert syncs == [], "the first copy is not touched"
    journal.write_metadata(b"axes 3", b"note 3")
    assert len(syncs) == 1, "the first copy is overwritten, so the second one has to be durable"
    journal.sync()
    journal.write_metadata(b"axes 4", b"note 4")
    assert len(syncs) == 2, "the third one is durable"
    journal.write_metadata(b"axes 5", b"note 5")
    assert len(syncs) == 3


def test_a_sync_that_was_begun_before_metadata_came_does_not_make_them_durable(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = File.sync

    def sync_with_metadata_at_once(self: File) -> None:
        sync(self)
        monkeypatch.setattr(File, "sync", sync)
        journal.write_metadata(b"axes 2", b"note 2")

    monkeypatch.setattr(File, "sync", sync_with_metadata_at_once)
    journal.sync()
    syncs: list[str] = []
    monkeypatch.setattr(File, "sync", lambda self: (syncs.append(self.path.name), sync(self))[1])
    journal.write_metadata(b"axes 3", b"note 3")
    assert len(syncs) == 1


def test_the_older_copy_is_never_overwritten_by_the_newer_one(tmp_path: Path, journal: Journal) -> None:
    """Wherever a write of new metadata stops, the previous metadata can still be read."""
    path = tmp_path / "j"
    for k, size in enumerate([10, 9000, 20, 30_000, 4096, 4097, 8192, 100_000]):
        before, old = path.read_bytes(), journal.read_metadata()
        journal.write_metadata(b"a" * size, b"%d" % k)
        after = path.read_bytes()
        pointers = {at: after[at : at + 32] for at in (512, 1024)}
        changed_slot = next(at for at in pointers if before[at : at + 32] != after[at : at + 32])
        (tmp_path / "torn").write_bytes(after[:changed_slot] + bytes(32) + after[changed_slot + 32 :])
        torn = Journal.open(tmp_path / "torn", writable=False)
        assert torn.read_metadata() == old
        torn.close()


def test_with_both_copies_damaged_it_is_a_bad_file(tmp_path: Path, journal: Journal) -> None:
    for at in (512, 1024):
        changed(tmp_path / "j", at, bytes(32))
    with pytest.raises(BadFileError, match="both copies of the axes and the note are damaged"):
        journal.read_metadata()


def test_a_pointer_of_another_scan_is_no_pointer(tmp_path: Path, journal: Journal) -> None:
    """Blocks of a removed journal can reappear after a power cut."""
    other = Journal.create(tmp_path / "k", dataclasses.replace(HERE, scan_id="f" * 32), (b"other", b"other"))
    other.write_metadata(b"other", b"other")
    other.close()
    foreign = (tmp_path / "k").read_bytes()[1024:1056]
    assert any(foreign)
    changed(tmp_path / "j", 1024, foreign)
    assert journal.read_metadata() == METADATA


# -- a new layout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ABSENT, ABSENT),
        (WRITING, WRITING),
        (WRITTEN, CHECKSUMMED),
        (CHECKSUMMED, CHECKSUMMED),
        (CHECKSUMMING, CHECKSUMMED),
    ],
    ids=["absent", "writing", "written", "checksummed", "checksumming"],
)
def test_on_a_finer_grid_every_frame_has_the_state_of_the_one_it_is_a_part_of(
    tmp_path: Path, old: int, new: int
) -> None:
    """It gets its own checksum, from the file: data that the old checksum covered stay covered."""
    coarse = Journal.create(tmp_path / "a", dataclasses.replace(HERE, grid_ndim=1), METADATA)
    fine = Journal.create(tmp_path / "b", HERE, METADATA)
    coarse.states.raw[1], coarse.epoch = old, 5
    data = np.arange(prod(HERE.shape), dtype=np.uint8).astype(HERE.dtype)
    (tmp_path / "data").write_bytes(bytes(HERE.array_offset) + data.tobytes())
    file = File.open(tmp_path / "data", writable=False)
    _refine_states(coarse, fine, file)
    assert (fine.states.array.tolist(), fine.epoch) == ([0] * 4 + [new] * 4 + [0] * 4, 5)
    sums = [zlib.crc32(frame.tobytes()) for frame in data.reshape(12, -1)]
    assert fine.states.checksums.tolist() == [0] * 4 + (sums[4:8] if new == CHECKSUMMED else [0] * 4) + [0] * 4
    file.close()
    coarse.close()
    fine.close()


def test_the_description_never_changes_in_place(tmp_path: Path) -> None:
    """A scan with a new layout gets a new journal, renamed over the old one. There is a journal at every moment."""
    path = tmp_path / "data.npz.part.journal"
    with lys_storage.create(tmp_path / "data.npz", (3, 4, 5), axes=[[7.0, 8.0, 9.0]], note={"a": 1}) as scan:
        before = SYSTEM.place_of(path)
        scan[1, 2] = np.ones(5)
        assert SYSTEM.place_of(path) != before
        assert scan.note == {"a": 1}
        assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}


def test_a_new_journal_left_by_a_crash_is_without_meaning(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "data.npz", (3, 4)) as scan:
        (tmp_path / "data.npz.part.journal.new").write_bytes(b"half a journal")
        scan[1, 2] = 5.0
        scan[0] = np.ones(4)
        assert scan.frames_written == 5
    assert files(tmp_path) == {"data.npz"}
    assert VERSION == 3
