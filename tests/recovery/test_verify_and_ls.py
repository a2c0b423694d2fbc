"""verify finds changed bytes; ls reports the state of everything below a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lys_storage
from lys_storage.recovery import find_interrupted, list_scans
from lys_storage.scan import begin_scan
from tests.helpers import interrupt


def test_verify_finds_a_byte_that_changed_anywhere(tmp_path: Path) -> None:
    """It checks every byte of every member of an export, and every frame with a checksum of a scan in progress."""
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2") as scan:
        scan[...] = np.ones((4, 3), "u2")
    part = interrupt(tmp_path / "b.npz")
    assert lys_storage.verify(tmp_path) == []
    for path, at in ((scan.path, 4096), (part, 4096 + 13)):
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)
    assert [(problem.path.name, problem.what.split(":")[0]) for problem in lys_storage.verify(tmp_path)] == [
        ("a.npz", "Bad CRC-32 for file 'data.npy'"),
        ("b.npz.part", "frames 2 do not match their checksums"),
    ]


def test_verify_reads_what_lys_and_numpy_write(tmp_path: Path) -> None:
    """It reads compressed members too. A file of another kind is reported, and raises nothing."""
    np.savez_compressed(tmp_path / "numpy.npz", data=np.arange(10.0))
    assert lys_storage.verify(tmp_path) == []
    (tmp_path / "other.npz").write_bytes(b"no archive")
    (problem,) = lys_storage.verify(tmp_path)
    assert "is not a ZIP archive" in str(problem)


def test_ls_tells_the_state_of_everything(tmp_path: Path) -> None:
    """It reports finalized, interrupted, running and damaged files, and the frames written and expected."""
    with lys_storage.create(tmp_path / "a.npz", (2,), "u1", grid_ndim=1) as scan:
        scan[...] = np.ones(2, "u1")
    interrupt(tmp_path / "b.npz")
    (tmp_path / "c.npz").write_bytes(b"")
    with lys_storage.create(tmp_path / "d.npz", (5, 2), "f4", grid_ndim=1):
        listed = [(e.path.name, e.state, e.shape, e.frames_written, e.frames_expected) for e in list_scans(tmp_path)]
    assert listed == [
        ("a.npz", "finalized", (2,), 2, 2),
        ("b.npz.part", "interrupted", (4, 3), 2, 4),
        ("c.npz", "damaged", None, None, None),
        ("d.npz.part", "running", (5, 2), 0, 5),
    ]


def test_interrupted_scans_of_a_folder_are_found_without_the_running_ones(tmp_path: Path) -> None:
    """DataStorage searches for them in the background."""
    part = interrupt(tmp_path / "b.npz")
    scan = begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False)
    assert find_interrupted(tmp_path) == [str(part)]
    scan.discard()
