"""The redo log is read while another process appends to it and empties it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lys_storage.journal import RedoLog, RedoMark, RedoReader, RedoRecord
from tests.systems import not_under_wine

KEY, EPOCH = 77, 5


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "a.npz.part"


def append(log: RedoLog, offset: int, data: bytes, epoch: int = EPOCH) -> RedoRecord:
    return log.append(offset, len(data), [(0, data)], epoch)


def read(reader: RedoReader, mark: RedoMark, epoch: int = EPOCH) -> tuple[list[RedoRecord], RedoMark]:
    seen: list[RedoRecord] = []
    return seen, reader.advance(mark, epoch, seen.append)


def reader_of(part: Path, key: int = KEY) -> RedoReader:
    return RedoReader(part.with_name(part.name + ".redo"), key)


def test_a_log_that_is_not_there_has_no_records(part: Path) -> None:
    seen, mark = read(reader_of(part), RedoMark())
    assert (seen, mark.last, mark.end) == ([], None, 0)


def test_records_are_seen_once_as_they_are_appended(part: Path) -> None:
    log, reader = RedoLog.create(part, KEY), reader_of(part)
    first = append(log, 4096, b"abc")
    seen, mark = read(reader, RedoMark())
    assert (seen, mark.last) == ([first], first)
    assert read(reader, mark) == ([], mark)
    second, third = append(log, 8192, b"x" * 10_000), append(log, 4096, b"y" * 64)
    seen, mark = read(reader, mark)
    assert (seen, mark.last) == ([second, third], third)
    view = bytearray(20)
    assert reader.read_into(memoryview(view), second, 8192 + 100)
    assert view == b"x" * 20
    log.close()


def test_a_record_is_seen_only_when_it_is_whole(part: Path) -> None:
    log, reader = RedoLog.create(part, KEY), reader_of(part)
    record = append(log, 4096, b"z" * 100)
    whole = log.file.read_at(log.file.size, 0)
    for size in (0, 30, 63, 64, 163):
        log.file.set_size(0)
        log.file.write_at(whole[:size], 0)
        assert read(reader, RedoMark())[0] == [], size
    log.file.write_at(whole[:164], 0)
    assert read(reader, RedoMark())[0] == [record]
    log.close()


def test_records_of_another_epoch_or_another_scan_are_left_out(part: Path) -> None:
    """A failed sync can leave records of an older epoch before those of the present one."""
    log = RedoLog.create(part, KEY)
    append(log, 4096, b"old", EPOCH - 1)
    record = append(log, 4096, b"new")
    assert read(reader_of(part), RedoMark())[0] == [record]
    assert read(reader_of(part, KEY + 1), RedoMark())[0] == []
    log.close()


@not_under_wine("the name of a removed file stays until each process has closed the file")
def test_a_log_that_was_emptied_or_replaced_is_read_from_its_beginning(part: Path) -> None:
    log, reader = RedoLog.create(part, KEY), reader_of(part)
    append(log, 4096, b"a" * 1000)
    _, mark = read(reader, RedoMark())
    log.reset()
    record = append(log, 8192, b"b" * 2000, EPOCH + 1)
    assert read(reader, mark, EPOCH + 1)[0] == [record]
    log.close()
    log = RedoLog.create(part, KEY)
    record = append(log, 12288, b"c" * 3000)
    seen, later = read(reader, mark)
    assert (seen, later.file != mark.file or later.end != mark.end) == ([record], True)
    log.close()
    log.file.path.unlink()
    assert read(reader, later)[1].last is None
    assert not reader.read_into(memoryview(bytearray(5)), record, 12288)
