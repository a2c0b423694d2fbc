"""The cost of a journal: creation, opening, marks, checksums, and new axes and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage.format import Description, encode_axes, encode_note
from lys_storage.journal import CHECKSUMMED, WRITTEN, Journal

GROUP = "journal"
FRAMES = [1000, 100_000, 1_000_000, pytest.param(10_000_000, marks=pytest.mark.full)]
MARKS = 1000

by_frames = pytest.mark.parametrize("frames", FRAMES, ids=lambda n: f"{n} frames")


def description(frames: int) -> Description:
    return Description(
        scan_id="0" * 32,
        shape=(frames, 64, 64),
        dtype=np.dtype("u2"),
        grid_ndim=1,
        fill=b"\0\0",
        array_offset=4096,
        final="data_0.npz",
        stem="data",
        number=0,
        replace=False,
        started="2026-01-01T00:00:00.000+00:00",
        software="benchmark",
    )


def metadata(frames: int) -> tuple[bytes, bytes]:
    return encode_axes([None, None, None], (frames, 64, 64)), encode_note({"sample": "TaS2"})


def make(folder: Path, frames: int) -> Journal:
    return Journal.create(folder / "journal", description(frames), metadata(frames))


def drop(journal: Journal, *_: Any) -> None:
    journal.close()
    journal.path.unlink(missing_ok=True)


@by_frames
def test_create(measure: Any, folder: Path, frames: int) -> None:
    journals: list[Journal] = []
    text, blobs = description(frames), metadata(frames)
    each = measure(
        lambda: journals.append(Journal.create(folder / "journal", text, blobs)),
        teardown=lambda: drop(journals.pop()),
        per="journal",
    )
    assert each < 0.05 + frames * 1e-7


@by_frames
def test_open(measure: Any, folder: Path, frames: int) -> None:
    """Constant: the table is mapped, not read."""
    make(folder, frames).close()
    journals: list[Journal] = []
    each = measure(
        lambda: journals.append(Journal.open(folder / "journal", writable=True)),
        teardown=lambda: journals.pop().close(),
        per="journal",
    )
    assert each < 0.02


@by_frames
def test_mark(measure: Any, folder: Path, frames: int) -> None:
    """1,000 marks spread over the whole table, on pages that are in memory."""
    places = np.linspace(0, frames - 1, MARKS).astype(int).tolist()
    journal = make(folder, frames)

    def work() -> None:
        marks = journal.states.raw
        for place in places:
            marks[place] = WRITTEN

    measure(work, items=MARKS, per="mark")
    drop(journal)


@by_frames
def test_checksums_in_order(measure: Any, folder: Path, frames: int) -> None:
    """Checksums and marks of 1,000 new frames by numpy, as the checksum thread stores them."""
    journal = make(folder, frames)
    sums = np.arange(MARKS, dtype=np.uint32)

    def work() -> None:
        journal.states._put("checksums", 0, sums)
        journal.states._set(0, MARKS, CHECKSUMMED)

    measure(work, items=MARKS, per="frame")
    drop(journal)


@by_frames
def test_axes_and_note_written_anew(measure: Any, folder: Path, frames: int) -> None:
    """Includes the sync of earlier writes. Without earlier writes the cost does not depend on the table's size."""
    journal = make(folder, frames)
    axes, note = metadata(frames)
    measure(lambda: journal.write_metadata(axes, note), per="rewrite")
    drop(journal)


@by_frames
def test_sync_after_1000_marks_in_order(measure: Any, folder: Path, frames: int) -> None:
    journal = make(folder, frames)
    journal.sync()

    def setup() -> tuple[Any, ...]:
        journal.states.end_write(0, MARKS)
        return ()

    measure(journal.sync, setup=setup, per="sync")
    drop(journal)


@by_frames
def test_sync_after_1000_marks_all_over(measure: Any, folder: Path, frames: int) -> None:
    """The cost of random order at each flush: one page per mark."""
    journal = make(folder, frames)
    journal.sync()
    places = np.linspace(0, frames - 1, MARKS).astype(int).tolist()

    def setup() -> tuple[Any, ...]:
        for place in places:
            journal.states.raw[place] = WRITTEN
        return ()

    measure(journal.sync, setup=setup, per="sync")
    drop(journal)
