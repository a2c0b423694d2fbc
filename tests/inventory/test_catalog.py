"""`catalog`: what each record says, and that no file stops it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import Catalog, Cataloged, StorageOSError, catalog
from lys_storage.inventory import cataloging
from tests.extras import without
from tests.helpers import interrupt, some, write_anew
from tests.preview.sources import write_scan, write_sparse
from tests.reading.exports import npy, with_members

NOTE = {"sample": "TaS₂", "t": np.float32(4.5), "n": 3, "ok": True, "none": None, 5: "not text", "list": [1]}
LABELS = {"axis_names": ["y", None, "ä"], "units": [None, "mm", None]}


def named(found: Catalog) -> dict[str, Cataloged]:
    return {one.path.name: one for one in found}


def test_a_record_tells_what_the_headers_tell(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((3, 4, 5), ">u2"), 1, missing={1}, note=NOTE, **LABELS)
    with lys_storage.open_wave(path) as wave:
        info = wave.info
    stat = path.stat()
    assert catalog(tmp_path) == [
        Cataloged(
            path=path,
            state="finalized",
            shape=(3, 4, 5),
            dtype=">u2",
            started=info["started"],
            ended=info["ended"],
            frames_written=2,
            frames_expected=3,
            axis_names=("y", None, "ä"),
            units=(None, "mm", None),
            size_bytes=stat.st_size,
            changed=stat.st_mtime,
        )
    ]
    (one,) = catalog(path, note=True)
    assert one.note == {"sample": "TaS₂", "t": 4.5, "n": 3, "ok": True, "none": None}
    assert type(one.note["t"]) is float


def test_exports_of_lys_are_finalized_without_what_they_do_not_tell(tmp_path: Path) -> None:
    for name, save in (("a", np.savez), ("b", np.savez_compressed)):
        save(tmp_path / f"{name}.npz", data=np.zeros((2, 3)), axes=np.empty(2, object), note=np.array({"k": 1}, object))
    for one in catalog(tmp_path, note=True):
        assert (one.state, one.shape, one.dtype, one.note) == ("finalized", (2, 3), "float64", {"k": 1})
        assert (one.started, one.frames_written, one.axis_names, one.message) == (None, None, None, "")


def test_each_state_is_a_record_and_none_stops_the_catalog(tmp_path: Path) -> None:
    write_scan(tmp_path / "sub" / "fine.npz", some((3, 4), "u2"), 1)
    interrupt(tmp_path / "stopped.npz", axis_names=["y", None])
    np.savez(tmp_path / "foreign.npz", counts=np.ones(3))
    np.savez(tmp_path / "numpy.npz", data=np.ones(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    good = write_scan(tmp_path / "cut.npz", some((3, 4), "u2"), 1)
    write_anew(tmp_path / "cut.npz", good.read_bytes()[:-30])
    good = write_scan(tmp_path / "header.npz", some((3, 4), "u2"), 1)
    write_anew(good, good.read_bytes().replace(b"'<u2'", b"'>u2'"))
    good = write_scan(tmp_path / "info.npz", some((3, 4), "u2"), 1)
    write_anew(good, good.read_bytes().replace(b'"frames_written"', b'"frames_Written"'))
    with lys_storage.create(tmp_path / "running.npz", (3, 4), "u2", grid_ndim=1) as running:
        running[0] = np.ones(4, "u2")
        found = named(catalog(tmp_path))
    assert {name: one.state for name, one in found.items()} == {
        "fine.npz": "finalized",
        "stopped.npz.part": "interrupted",
        "running.npz.part": "running",
        "foreign.npz": "foreign",
        "numpy.npz": "foreign",
        "text.npz": "damaged",
        "empty.npz": "damaged",
        "cut.npz": "damaged",
        "header.npz": "damaged",
        "info.npz": "damaged",
    }
    assert all(found[name].message for name in ("text.npz", "cut.npz", "header.npz", "info.npz", "foreign.npz"))
    part = found["stopped.npz.part"]
    assert (part.shape, part.frames_written, part.frames_expected) == ((4, 3), 2, 4)
    assert (part.axis_names, part.ended) == (("y", None), None)
    assert part.started is not None


def test_the_states_are_those_of_ls(tmp_path: Path) -> None:
    write_scan(tmp_path / "fine.npz", some((3, 4), "u2"), 1)
    interrupt(tmp_path / "stopped.npz")
    np.savez(tmp_path / "foreign.npz", counts=np.ones(3))
    np.savez(tmp_path / "numpy.npz", data=np.ones(3))
    (tmp_path / "text.npz").write_text("no archive")
    listed = [(one.path, one.state, one.shape, one.size_bytes) for one in lys_storage.recovery.list_scans(tmp_path)]
    assert [(one.path, one.state, one.shape, one.size_bytes) for one in catalog(tmp_path)] == listed


def test_folders_below_are_read_unless_that_is_not_wanted(tmp_path: Path) -> None:
    for name in ("b/c/3.npz", "a.npz", "b/2.npz"):
        write_scan(tmp_path / name, some((2, 3), "u2"), 1)
    assert [one.path.relative_to(tmp_path).as_posix() for one in catalog(tmp_path)] == ["a.npz", "b/2.npz", "b/c/3.npz"]
    assert [one.path.name for one in catalog(str(tmp_path), recursive=False)] == ["a.npz"]
    assert catalog(tmp_path / "b" / "c" / "3.npz")[0].shape == (2, 3)
    with pytest.raises(StorageOSError, match="no folder, export or scan in progress has this name"):
        catalog(tmp_path / "nothing")


def test_a_file_that_vanishes_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was listed, and after it was opened."""
    for name in "abc":
        write_scan(tmp_path / f"{name}.npz", some((2, 3), "u2"), 1)
    real = cataloging.read_header

    def remove_first(path: Path, **options: Any) -> Any:
        if path.name == "b.npz":
            path.unlink()
        header = real(path, **options)
        if path.name == "a.npz":
            path.unlink()
        return header

    monkeypatch.setattr(cataloging, "read_header", remove_first)
    assert [one.path.name for one in catalog(tmp_path)] == ["a.npz", "c.npz"]


def test_no_object_of_a_note_is_unpickled(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1, note={"k": 1})
    bomb = pickle.dumps({"f": os.system}, protocol=4)
    with_members(tmp_path / "b.npz", {"note.npy": npy(0, bomb)}, tmp_path / "a.npz")
    with_members(tmp_path / "c.npz", {"note.npy": b"damaged"}, tmp_path / "a.npz")
    found = named(catalog(tmp_path, note=True))
    assert found["a.npz"].note == {"k": 1}
    assert [found[f"{name}.npz"].note for name in "bc"] == [{}, {}]
    assert "not a .npy header" in found["c.npz"].message
    assert all(one.note is None for one in catalog(tmp_path))


def test_the_array_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 TB or 1 GB cost some kB."""
    write_sparse(tmp_path / "a.npz", (1 << 20, 1 << 19), "u2")
    with lys_storage.create(tmp_path / "b.npz", (1 << 9, 1 << 20), "u2", grid_ndim=1) as scan:
        scan[0] = 1
    read: list[int] = []
    real = lys_storage.disk.File.read_into

    def count(file: Any, buffer: Any, offset: int) -> int:
        read.append(len(memoryview(buffer)))
        return real(file, buffer, offset)

    monkeypatch.setattr(lys_storage.disk.File, "read_into", count)
    one, other = catalog(tmp_path)
    assert (one.shape, one.size_bytes > 1 << 40, other.state) == ((1 << 20, 1 << 19), True, "finalized")
    assert sum(read) < 300_000


def test_progress_counts_files(tmp_path: Path) -> None:
    for name in "abc":
        write_scan(tmp_path / f"{name}.npz", some((2, 3), "u2"), 1)
    told: list[tuple[int, int]] = []
    catalog(tmp_path, on_progress=lambda *progress: told.append(progress))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_it_becomes_a_table_of_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install 'lys_storage[pandas]'")
    write_scan(tmp_path / "a.npz", some((3, 4, 5), "u2"), 1, note={"t": 4.5, "sample": "TaS₂"}, **LABELS)
    write_scan(tmp_path / "b.npz", some((3, 4), "f4"), 1, note={"t": 5.5})
    (tmp_path / "c.npz").write_text("no archive")
    table = catalog(tmp_path, note=True).to_pandas()
    assert list(table["path"]) == [str(tmp_path / f"{name}.npz") for name in "abc"]
    assert list(table["shape"]) == [(3, 4, 5), (3, 4), None]
    assert table["note.t"][:2].tolist() == [4.5, 5.5]
    assert table["note.sample"][0] == "TaS₂"
    assert table["frames_written"].sum() == 6
    assert str(table["frames_written"].dtype) == "Int64"
    assert (table["ended"] - table["started"])[0] >= pandas.Timedelta(0)
    assert table[table["state"] == "damaged"]["path"].tolist() == [str(tmp_path / "c.npz")]
    empty = Catalog().to_pandas()
    assert (len(empty), list(empty.columns)) == (0, [name for name in table.columns if not name.startswith("note.")])


def test_without_pandas_an_error_says_what_to_install(run_child: Callable[..., Any]) -> None:
    child = run_child(
        without("pandas")
        + """
import lys_storage
found = lys_storage.catalog(".")
try:
    found.to_pandas()
except lys_storage.MissingExtraError as error:
    print(isinstance(error, ImportError), error)
"""
    )
    said = "a DataFrame needs pandas (No module named 'pandas'): pip install \"lys_storage[pandas]\""
    assert (child.code, child.out) == (0, f"True {said}\n"), child.err
