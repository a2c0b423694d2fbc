"""`open_wave` of a scan in progress: what is written can be read."""

from __future__ import annotations

import decimal
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, MissingFrameError, NotEnoughMemoryError, ScanClosedError
from lys_storage.disk.systems import SYSTEM
from lys_storage.reading import ScanWave
from tests.helpers import assert_same_array, interrupt, some

AXES: dict[str, Any] = {
    "axes": [[0.5, 1.5, 2.5, 3.5], None, None],
    "axis_names": ["y", "x", "e"],
    "units": ["mm", None, None],
    "note": {"sample": "TaS2"},
}


def test_it_reads_what_is_written_so_far(tmp_path: Path) -> None:
    data = some((4, 3, 5), "u2")
    scan = lys_storage.create(tmp_path / "a.npz", data.shape, data.dtype, grid_ndim=2, fill_value=7, **AXES)
    scan[0] = data[0]
    with lys_storage.open_wave(scan.part_path) as wave:
        assert isinstance(wave, ScanWave)
        assert (wave.path, wave.shape, wave.dtype, wave.grid_shape) == (scan.part_path, (4, 3, 5), "u2", (4, 3))
        assert (wave.dims, wave.units, wave.note) == (("y", "x", "e"), ["mm", None, None], {"sample": "TaS2"})
        assert (wave.axes[0].tolist(), wave.info, wave.is_complete) == ([0.5, 1.5, 2.5, 3.5], {}, False)
        assert wave.written.tolist() == [[True] * 3, *[[False] * 3] * 3]
        assert_same_array(wave[0, 1:], data[0, 1:])
        assert_same_array(wave.sel(y=0.5, x=2), data[0, 2])
        assert wave.read((3, 0)).tolist() == [7] * 5
        for read in (lambda: wave[1], lambda: wave.data, lambda: np.asarray(wave), lambda: list(wave)):
            with pytest.raises(MissingFrameError, match=r"needs frame \(1, 0\) of .*a.npz.part"):
                read()
        assert "3 of 12 written" in wave._repr_html_()
        assert "y: 0.5 ... 3.5 mm" in repr(wave)
        scan[1:] = data[1:]
        assert (wave.is_complete, len(list(wave))) == (True, 4)
        assert_same_array(np.asarray(wave), data)
        assert not wave.data.flags.writeable
        path = scan.close()
        assert_same_array(wave.read(), data)
    with pytest.raises(ScanClosedError):
        wave.read()
    with lys_storage.open_wave(path) as export:
        assert type(export) is lys_storage.StoredWave


@pytest.mark.usefixtures("no_early_checksums")
@pytest.mark.usefixtures("no_early_checksums")
def test_where_a_frame_needs_a_checksum_to_be_read_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a reader in a container, or on another computer, the states in the journal prove nothing."""
    with lys_storage.create(tmp_path / "a.npz", (2, 3), "u2", grid_ndim=1) as scan:
        scan[1] = [4, 5, 6]
        monkeypatch.setattr(SYSTEM, "identify", lambda fd: None)
        with lys_storage.open_wave(scan.part_path) as wave:
            with pytest.raises(
                MissingFrameError, match="written, or has no matching checksum, which comes 40 ms later"
            ):
                wave[1]
            scan.flush()
            assert wave[1].tolist() == [4, 5, 6]


def test_what_a_scan_in_progress_does_not_offer(tmp_path: Path) -> None:
    """The message says what does work."""
    part = interrupt(tmp_path / "a.npz")
    with lys_storage.open_wave(part) as wave:
        for ask in (
            wave.verify,
            lambda: pickle.dumps(wave),
            lambda: wave._source(),
            lambda: lys_storage.open_waves([part]),
        ):
            with pytest.raises(BadFileError, match=r"is a scan in progress, and not an export yet.*lys_storage.follow"):
                ask()
    with pytest.raises(BadFileError, match="lys-storage verify compares"):
        lys_storage.open_wave(part, verify=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_reads_on(tmp_path: Path) -> None:
    """As it does with an export: the files were opened for reading only."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 2), "u2", grid_ndim=1)
    scan[1] = np.full(2, 7, "u2")
    with lys_storage.open_wave(scan.part_path) as wave:
        pid = os.fork()
        if pid == 0:
            try:
                (tmp_path / "said").write_text(f"{wave[1].tolist()} {wave.written.tolist()}")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert (tmp_path / "said").read_text() == "[7, 7] [False, True, False]"
    scan.close()


def test_an_array_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = interrupt(tmp_path / "a.npz", frames=(0, 1, 2, 3))
    monkeypatch.setattr(SYSTEM, "available_memory", lambda: 10)
    with lys_storage.open_wave(part) as wave:
        with pytest.raises(NotEnoughMemoryError, match="read parts of it by"):
            wave.data  # noqa: B018
        assert wave[1].tolist() == [2, 2, 2]


def test_a_damaged_journal_is_an_error_and_nothing_stays_open(tmp_path: Path) -> None:
    part = interrupt(tmp_path / "a.npz")
    part.with_name(part.name + ".journal").write_bytes(b"noise" * 1000)
    with pytest.raises(BadFileError, match=r"journal .*a\.npz\.part\.journal: does not begin with the magic bytes"):
        lys_storage.open_wave(part)


@pytest.mark.skipif(not hasattr(os, "link"), reason="hard links")
def test_a_scan_file_that_is_a_second_name_of_its_export_is_the_export(tmp_path: Path) -> None:
    """A crash between the link and the unlink of publishing leaves it."""
    part = interrupt(tmp_path / "a.npz")
    journal = part.with_name(part.name + ".journal")
    kept = journal.read_bytes()
    assert len(lys_storage.recover(tmp_path)) == 1
    os.link(tmp_path / "a.npz", part)
    journal.write_bytes(kept)
    with lys_storage.open_wave(part) as wave:
        assert (type(wave), wave.info["frames_written"]) == (lys_storage.StoredWave, 2)


def test_an_array_for_lys_has_no_frame_that_is_missing(tmp_path: Path) -> None:
    """`to_lys` takes it from here. It must not read the zeros that the file has in the place of these frames."""
    part = interrupt(tmp_path / "a.npz", fill_value=9)
    with lys_storage.open_wave(part) as wave, pytest.raises(MissingFrameError, match=r"needs frame \(1,\)"):
        wave._load("")
    part = interrupt(tmp_path / "b.npz", frames=(0, 1, 2, 3))
    with lys_storage.open_wave(part) as wave:
        array = wave._load("")
    assert (array[:, 0].tolist(), array.flags.writeable) == ([1, 2, 3, 4], True)


def test_it_says_what_it_is_also_when_it_is_closed(tmp_path: Path) -> None:
    wave = lys_storage.open_wave(interrupt(tmp_path / "a.npz"))
    wave.close()
    wave.close()
    assert repr(wave).startswith("<ScanWave ")
    assert "not known" not in wave._repr_html_()
    for ask in (wave.verify, lambda: pickle.dumps(wave), wave._source, lambda: wave.is_complete):
        with pytest.raises(ScanClosedError, match="open_wave"):
            ask()


def test_an_object_in_the_note_is_a_text_as_in_an_export(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing else of the note is lost, and no axis."""
    labels = {**AXES, "note": {"sample": "TaS2", "price": decimal.Decimal(1)}}
    scan = lys_storage.create(tmp_path / "a.npz", (4, 3, 5), "u2", grid_ndim=2, **labels)
    scan[...] = 1
    found = []
    for path in (scan.part_path, tmp_path / "a.npz"):
        with lys_storage.open_wave(path) as wave:
            found.append((wave.note, str(wave.note_error), type(wave.note_error), wave.axes[0].tolist()))
        with lys_storage.open_wave(path, allow_pickle=True) as wave:
            assert (wave.note, wave.note_error) == (labels["note"], None)
        with lys_storage.follow(tmp_path / "a.npz") as follower:
            assert follower.note == {"sample": "TaS2", "price": "<decimal.Decimal('1')>"}
        scan.close()
    assert found[0] == found[1]
    assert found[0][0] == {"sample": "TaS2", "price": "<decimal.Decimal('1')>"}
    assert found[0][3] == [0.5, 1.5, 2.5, 3.5]
