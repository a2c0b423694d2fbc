"""A checksummer with a frame table: it reads frames back from the file and stores their checksums."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from lys_storage import StorageOSError
from lys_storage.journal import ABSENT, BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, REWRITING, WRITTEN
from lys_storage.store import Checksummer, FrameTable
from lys_storage.store import checksummer as checksummer_module
from tests.store.tables import FRAMES, SIZE, frame, put, states


@pytest.fixture(params=["compiled", "python"])
def checksummer(request: pytest.FixtureRequest, table: FrameTable, monkeypatch: pytest.MonkeyPatch) -> Checksummer:
    """With the compiled code, if present, and without it."""
    if request.param == "python":
        monkeypatch.setattr(checksummer_module, "CRC32_ADDRESS", None)
    return Checksummer(table)


def crc(*numbers: int) -> int:
    return zlib.crc32(b"".join(frame(k).tobytes() for k in numbers))


def test_whole_blocks_share_a_checksum_and_the_others_have_their_own(
    table: FrameTable, checksummer: Checksummer
) -> None:
    put(table, *range(FRAMES))
    checksummer.checksum(table.take_dirty())
    assert states(table) == [BLOCK_CHECKSUMMED] * 16 + [CHECKSUMMED] * 4
    assert table.states.block_checksums.tolist() == [crc(*range(8)), crc(*range(8, 16))]
    assert table.states.checksums[16:].tolist() == [crc(k) for k in range(16, 20)]
    assert table.dirty == (0, 0)


def test_frames_of_a_block_that_is_not_whole_have_their_own(table: FrameTable, checksummer: Checksummer) -> None:
    put(table, *range(1, 9))
    checksummer.checksum(table.take_dirty())
    assert states(table)[:10] == [ABSENT] + [CHECKSUMMED] * 8 + [ABSENT]
    assert table.states.checksums[1:9].tolist() == [crc(k) for k in range(1, 9)]


def test_with_whole_blocks_only_the_others_stay_dirty(table: FrameTable, checksummer: Checksummer) -> None:
    put(table, *range(11))
    checksummer.checksum(table.take_dirty(), whole_blocks_only=True)
    assert states(table)[:11] == [BLOCK_CHECKSUMMED] * 8 + [WRITTEN] * 3
    assert table.dirty == (8, 11)


def test_what_is_not_written_gets_no_checksum(table: FrameTable, checksummer: Checksummer) -> None:
    """CHECKSUMMING is the state that an interrupted thread leaves: such a frame is checksummed again."""
    put(table, 0, 1, 2, 3)
    table.states.invalidate(0, 1)
    table.states.begin_rewrite(1, 2)
    table.states.begin_checksum_run(2, 3)
    before = states(table)
    assert before[2] == CHECKSUMMING
    checksummer.checksum((0, FRAMES))
    assert states(table) == [*before[:2], CHECKSUMMED, CHECKSUMMED, *before[4:]]


@pytest.mark.parametrize("first", [0, 16], ids=["in a block", "in none"])
def test_a_frame_that_begins_to_be_rewritten_meanwhile_gets_none(
    table: FrameTable, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Its block gets none either. The flush gives the other frames their own checksums."""
    monkeypatch.setattr(checksummer_module, "CRC32_ADDRESS", None)
    checksummer, real = Checksummer(table), Checksummer.sums
    put(table, *range(first, first + 4 if first else 8))

    def sums(self: Checksummer, units: Any, size: int) -> Any:
        result = real(self, units, size)
        table.states.begin_rewrite(first + 1, first + 2)
        return result

    monkeypatch.setattr(Checksummer, "sums", sums)
    checksummer.checksum(table.take_dirty())
    assert states(table)[first : first + 4] == [CHECKSUMMED, REWRITING, CHECKSUMMED, CHECKSUMMED]


def test_what_cannot_be_read_is_written_and_still_to_be_taken(table: FrameTable, checksummer: Checksummer) -> None:
    put(table, *range(FRAMES))
    table.file.set_size(table.offset_of(6) + 3)
    span = table.take_dirty()
    with pytest.raises(StorageOSError, match="it was truncated"):
        checksummer.checksum(span)
    assert set(states(table)) <= {WRITTEN, BLOCK_CHECKSUMMED, CHECKSUMMED}
    assert states(table)[:8] == [WRITTEN] * 8
    assert table.taken == (0, FRAMES)


def test_a_block_is_split_into_frames_with_a_checksum_of_their_own(table: FrameTable, checksummer: Checksummer) -> None:
    put(table, *range(FRAMES))
    checksummer.checksum(table.take_dirty())
    assert checksummer.split_blocks(9, 10)
    assert states(table) == [BLOCK_CHECKSUMMED] * 8 + [CHECKSUMMED] * 12
    assert table.states.checksums[8:16].tolist() == [crc(k) for k in range(8, 16)]
    assert not checksummer.split_blocks(9, 10), "there is none left"


def test_the_sums_are_those_of_the_units_that_were_asked_for(table: FrameTable, checksummer: Checksummer) -> None:
    put(table, *range(FRAMES))
    assert checksummer.sums([0, 1, 5], SIZE).tolist() == [crc(0), crc(1), crc(5)]
    assert checksummer.sums(range(2), 8 * SIZE).tolist() == [crc(*range(8)), crc(*range(8, 16))]
