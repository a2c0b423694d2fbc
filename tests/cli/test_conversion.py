"""`lys-storage convert`, `link` and `catalog`: names, options, exit codes, what is printed."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import lys_storage
from lys_storage.cli import main
from lys_storage.disk.systems import SYSTEM
from tests.conversion.readers import SUFFIXES, array_in, need
from tests.extras import without
from tests.fixtures import Faults
from tests.helpers import interrupt, some
from tests.preview.sources import write_scan
from tests.systems import IS_WINDOWS


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path / "a.npz", some((3, 4, 5), "u2"), 1, missing={1}, note={"t": 1.5, "=1+1": "x"})


# -- convert -----------------------------------------------------------------------------------------------------------


def test_convert_prints_the_result_and_warns_on_stderr(tmp_path: Path, scan: Path) -> None:
    out = tmp_path / "b.npy"
    result = invoke("convert", scan, out)
    assert (result.exit_code, result.stdout) == (0, f"{out}: written, shape (3, 4, 5), dtype uint16\n")
    assert result.stderr.splitlines() == [
        f"{out}: a .npy holds the array only: axes, units and note are left out",
        f"{out}: 1 of 3 frames are missing, and hold the fill value; which of them a .npy cannot tell",
    ]


def test_convert_has_the_keys_of_all_commands_in_its_json(tmp_path: Path, scan: Path) -> None:
    one = json.loads(invoke("convert", scan, tmp_path / "b.zarr", "--json", "--compress", "--zarr-format", "2").stdout)
    common = json.loads(invoke("ls", "--json", scan).stdout)[0]
    assert set(one) == set(common) | {"frames_missing", "warnings", "source"}
    assert (one["path"], one["state"], one["shape"], one["error"]) == (
        str(tmp_path / "b.zarr"),
        "written",
        [3, 4, 5],
        None,
    )
    assert (one["frames_missing"], one["source"]) == (1, str(scan))
    assert json.loads((tmp_path / "b.zarr" / "data" / ".zarray").read_text())["compressor"]["id"] == "gzip"


def test_convert_says_in_one_line_what_is_wrong(tmp_path: Path, scan: Path) -> None:
    (tmp_path / "there.npy").write_bytes(b"mine")
    interrupt(tmp_path / "stopped.npz")
    for words, code, said in (
        ((scan, tmp_path / "there.npy"), 1, "exists already: give --overwrite"),
        ((scan, tmp_path / "b.csv"), 2, "ends in none of .h5, .hdf5"),
        ((tmp_path / "none.npz", tmp_path / "b.npy"), 2, "no folder, export or scan in progress has this name"),
        ((tmp_path / "stopped.npz", tmp_path / "b.npy"), 1, "lys-storage recover"),
        ((tmp_path, tmp_path / "b.npy"), 1, "is a folder, expected an export"),
        ((scan, tmp_path / "nowhere" / "b.npy"), 1, "there is no folder"),
    ):
        result = invoke("convert", *words)
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
        assert result.stdout == ""
    assert json.loads(invoke("convert", scan, tmp_path / "there.npy", "--json").stdout)["error"]
    assert (tmp_path / "there.npy").read_bytes() == b"mine"


def test_missing_packages_are_named_with_the_extra(tmp_path: Path, scan: Path, run_child: Any) -> None:
    child = run_child(
        without("h5py", "h5netcdf", "tifffile")
        + """
import lys_storage
for suffix in ("h5", "nc", "tif"):
    try:
        lys_storage.convert("a.npz", f"b.{suffix}")
    except lys_storage.MissingExtraError as error:
        print(error)
try:
    lys_storage.link(["a.npz"], "b.nxs")
except lys_storage.MissingExtraError as error:
    print(error)
lys_storage.convert("a.npz", "b.zarr")
lys_storage.convert("a.npz", "b.npy")
import os; print(sorted(name for name in os.listdir() if "b." in name or "tmp" in name))
"""
    )
    assert (child.code, child.out.splitlines()) == (
        0,
        [
            "HDF5 needs h5py (No module named 'h5py'): pip install \"lys_storage[hdf5]\"",
            "netCDF needs h5netcdf (No module named 'h5netcdf'): pip install \"lys_storage[netcdf]\"",
            "TIFF needs tifffile (No module named 'tifffile'): pip install \"lys_storage[tiff]\"",
            "HDF5 needs h5py (No module named 'h5py'): pip install \"lys_storage[hdf5]\"",
            "['b.npy', 'b.zarr']",
        ],
    ), child.err


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("operation", ["write", "set the size", "sync", "publish", "sync of a folder", "read"])
def test_each_operation_that_fails_is_one_line_and_leaves_nothing(
    tmp_path: Path, suffix: str, operation: str, faults: Faults, scan: Path
) -> None:
    """The first, the second, ... call of the system fails, until one run needs no more calls."""
    need(suffix)
    out, succeeded = tmp_path / f"b{suffix}", False
    for nth in range(1, 60):
        faults.fail(operation, nth, errno.ENOSPC if operation == "write" else errno.EIO)
        result = invoke("convert", scan, out)
        faults.off()
        if not faults.failed:
            succeeded = True
            break
        if result.exit_code == 0:  # a call after the result has its name, or a second try
            continue
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        if operation == "write":
            assert "No space left on device; free some space" in result.stderr
        left = [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
        assert left == []
        if not out.exists():
            continue
        assert operation == "sync of a folder"
        break
    assert succeeded or out.exists()
    if succeeded:
        assert array_in(out).size == 60


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ctrl_c_in_each_write_leaves_nothing(
    tmp_path: Path, suffix: str, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside the library of the format."""
    need(suffix)
    out, real, calls, stop_at = tmp_path / f"b{suffix}", SYSTEM.pwrite, 0, 0

    def write(*args: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(SYSTEM, "pwrite", write)
    for stop_at in range(1, 100):
        calls = 0
        result = invoke("convert", scan, out)
        if calls < stop_at:
            break
        assert result.exit_code == 130, result.output
        assert "stopped; nothing was written" in result.stderr
        assert sorted(name for name in os.listdir(tmp_path) if "b." in name or "tmp" in name) == []
    assert (result.exit_code, stop_at > 1) == (0, True)
    assert array_in(out).size == 60


# -- link --------------------------------------------------------------------------------------------------------------


def test_link_takes_files_and_an_axis(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
    paths = [write_scan(tmp_path / f"{k}.npz", some((3, 4), "u2", k), 1) for k in range(2)]
    out = tmp_path / "all.nxs"
    result = invoke("link", *paths, out, "--axis-name", "T", "--axis", "10,20.5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{out}: links 2 files, shape (2, 3, 4), dtype uint16\n"
    with h5py.File(out) as file:
        assert file["entry/data/T"][...].tolist() == [10, 20.5]
        assert np.array_equal(file["entry/data/data"][1], some((3, 4), "u2", 1))
    one = json.loads(invoke("link", *paths, out, "--overwrite", "--json").stdout)
    assert (one["state"], one["way"], one["shape"], one["warnings"]) == ("linked", "virtual", [2, 3, 4], [])
    for words, code, said in (
        ((*paths, out), 1, "exists already"),
        ((*paths, out, "--axis", "a,b"), 2, "write numbers and commas"),
        ((*paths, out, "--overwrite", "--axis", "1"), 1, "has 1 points, expected 2"),
        ((tmp_path / "none.npz", out), 2, "has this name"),
        ((*paths, tmp_path / "all.txt"), 1, "expected one of .nxs"),
        ((out,), 2, "Missing argument"),
    ):
        result = invoke("link", *words)
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


# -- catalog -----------------------------------------------------------------------------------------------------------


def test_catalog_prints_a_table(tmp_path: Path, scan: Path) -> None:
    name = "b.npz" if IS_WINDOWS else "b\n.npz"
    write_scan(tmp_path / "sub" / name, some((2,), "f4"), 1, axis_names=["ä"], units=["mm"])
    (tmp_path / "c.npz").write_text("no archive")
    lines = invoke("catalog", tmp_path).stdout.splitlines()
    assert lines[0].split() == ["state", "shape", "dtype", "frames", "started", "size", "axes", "file"]
    assert "finalized  3 x 4 x 5  uint16   2 of 3  20" in lines[1]
    assert lines[1].endswith("  a.npz")
    assert lines[2].split()[0] == "damaged"
    assert lines[3].endswith("ä (mm)  " + os.path.join("sub", name.replace("\n", "\\n")))
    assert invoke("catalog", tmp_path / "nothing").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert "no exports" in invoke("catalog", tmp_path / "empty").stdout


def test_catalog_writes_csv_and_json(tmp_path: Path, scan: Path) -> None:
    (tmp_path / "b.npz").write_text("no archive")
    table = tmp_path / "out.csv"
    result = invoke("catalog", tmp_path, "--csv", table, "--note")
    assert (result.exit_code, result.stdout) == (0, f"{table}: 2 files\n")
    with table.open(encoding="utf8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [str(scan), str(tmp_path / "b.npz")]
    assert [rows[0][name] for name in ("shape", "dtype", "frames_written", "note.t")] == [
        "3 x 4 x 5",
        "uint16",
        "2",
        "1.5",
    ]
    refused = invoke("catalog", tmp_path, "--csv", table)
    assert (refused.exit_code, "exists already" in refused.stderr) == (1, True)
    assert invoke("catalog", tmp_path, "--csv", table, "--overwrite").exit_code == 0
    found = json.loads(invoke("catalog", tmp_path, "--json", "--note").stdout)
    common = json.loads(invoke("ls", "--json", scan).stdout)[0]
    assert set(common) <= set(found[0])
    assert (found[0]["shape"], found[0]["frames_written"], found[0]["note"]["t"]) == ([3, 4, 5], 2, 1.5)
    assert (found[1]["state"], found[1]["shape"]) == ("damaged", None)


def test_the_three_commands_are_functions_of_the_package() -> None:
    assert {"convert", "link", "catalog", "Converted", "Linked", "Catalog", "Cataloged"} <= set(lys_storage.__all__)
