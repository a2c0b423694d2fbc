"""What a journal costs: to create, to open, a mark, a checksum, and axes and note written anew."""

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
        boot_id="",
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
    """Flat: the table is mapped, not read."""
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
    """A mark each in 1,000 places all over the table, on pages that were touched before."""
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
    """What the follower does with 1,000 new frames: their checksums and their marks, by numpy."""
    journal = make(folder, frames)
    sums = np.arange(MARKS, dtype=np.uint32)

    def work() -> None:
        journal.states._put("checksums", 0, sums)
        journal.states._set(0, MARKS, CHECKSUMMED)

    measure(work, items=MARKS, per="frame")
    drop(journal)


@by_frames
def test_axes_and_note_written_anew(measure: Any, folder: Path, frames: int) -> None:
    """With the sync of what was written before. Where nothing else was written, the table's size is not in it."""
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
    """What random order costs at each flush: a page a mark."""
    journal = make(folder, frames)
    journal.sync()
    places = np.linspace(0, frames - 1, MARKS).astype(int).tolist()

    def setup() -> tuple[Any, ...]:
        for place in places:
            journal.states.raw[place] = WRITTEN
        return ()

    measure(journal.sync, setup=setup, per="sync")
    drop(journal)
