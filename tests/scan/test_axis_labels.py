"""Names and units of axes are kept through a kill, a trim and an export. Invalid ones are refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage import AxisLengthError
from lys_storage.cli import main
from tests.scan.scans import begin

NAMES, UNITS = ["delay", None], ["ps", "mm"]


def test_names_and_units_are_kept_in_the_scan_and_in_the_export(tmp_path: Path) -> None:
    with begin(tmp_path, grid_ndim=1, axis_names=NAMES, units=UNITS) as scan:
        assert (scan.axis_names, scan.units) == (NAMES, UNITS)
        scan[0] = np.ones(3)
    with zipfile.ZipFile(scan.path) as archive:
        info = json.loads(archive.read("acquisition.json"))
    assert (info["axis_names"], info["units"]) == (NAMES, UNITS)
    with lys_storage.open_wave(scan.path) as wave:
        assert (wave.axis_names, wave.units) == (NAMES, UNITS)


@pytest.mark.parametrize("incomplete", ["fill", "trim"])
def test_they_survive_an_interruption_another_dtype_and_a_cut(tmp_path: Path, incomplete: Any) -> None:
    scan = begin(tmp_path, axis_names=NAMES, units=UNITS)
    scan.change_dtype("u1")
    scan[0] = np.ones(3, "u1")
    scan.suspend()
    with lys_storage.resume(scan.path) as again:
        assert (again.axis_names, again.units) == (NAMES, UNITS)
        again.suspend()
    (found,) = lys_storage.recover(tmp_path, incomplete=incomplete)
    assert found.path is not None
    with lys_storage.open_wave(found.path) as wave:
        assert (wave.axis_names, wave.units) == (NAMES, UNITS)
        assert wave.shape == ((1, 3) if incomplete == "trim" else (2, 3))


def test_where_none_are_given_there_are_none(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        assert scan.axis_names == scan.units == [None, None]
        scan[...] = np.ones((2, 3))
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.axis_names == wave.units == [None, None]
        assert not {"axis_names", "units"} & set(wave.info)


def test_two_axes_may_have_one_unit(tmp_path: Path) -> None:
    with begin(tmp_path, units=["mm", "mm"]) as scan:
        assert scan.units == ["mm", "mm"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"axis_names": ["x"]}, "axis_names has 1 entries, expected 2: give one", id="too few"),
        pytest.param({"axis_names": ["x", "y", "z"]}, "axis_names has 3 entries", id="too many"),
        pytest.param({"axis_names": []}, "axis_names has 0 entries", id="none at all"),
        pytest.param({"axis_names": ["x", "x"]}, "axis_names has 'x' twice", id="one name twice"),
        pytest.param({"axis_names": ["x", ""]}, r"axis_names\[1\] is empty", id="an empty name"),
        pytest.param({"axis_names": [" \t", "y"]}, r"axis_names\[0\] is empty", id="a blank name"),
        pytest.param({"axis_names": ["x", 1]}, r"axis_names\[1\] is 1, of type int", id="a number"),
        pytest.param({"axis_names": ["x", b"y"]}, r"axis_names\[1\] is b'y', of type bytes", id="bytes"),
        pytest.param({"axis_names": "xy"}, "axis_names is 'xy', expected a list", id="one text"),
        pytest.param({"axis_names": 5}, "axis_names is 5, expected a list", id="no list"),
        pytest.param({"axis_names": ["x", "a\nb"]}, r"axis_names\[1\] is 'a\\nb': give text without", id="two lines"),
        pytest.param(
            {"axis_names": ["x", "\ud800"]}, r"axis_names\[1\] is .* give text without", id="half a character"
        ),
        pytest.param({"units": ["mm"]}, "units has 1 entries, expected 2: give one", id="too few units"),
        pytest.param({"units": ["mm", ""]}, r"units\[1\] is empty: give text, or None", id="an empty unit"),
        pytest.param({"units": "mm"}, "units is 'mm', expected a list", id="one unit for all"),
    ],
)
def test_what_is_no_name_or_unit_is_refused_before_a_file_is_made(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(AxisLengthError, match=words):
        begin(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("labels", ["xy", 5, ["x"], ["x", 2], ["", "y"], {"x": 1, "y": 2}, [["x"], "y"], None])
def test_what_a_file_says_instead_of_names_is_not_handed_out(tmp_path: Path, labels: Any) -> None:
    with begin(tmp_path, axis_names=NAMES, units=UNITS) as scan:
        scan[...] = np.ones((2, 3))
    with lys_storage.open_wave(scan.path) as wave:
        wave.info["axis_names"] = wave.info["units"] = labels
        expected = ["x", "y"] if isinstance(labels, dict) else [None, None]
        assert wave.axis_names == wave.units == expected


@pytest.mark.parametrize("in_progress", [True, False], ids=["in progress", "an export"])
def test_info_shows_them(tmp_path: Path, in_progress: bool) -> None:
    scan = begin(tmp_path, axis_names=NAMES, units=UNITS, axes=[[0.0, 21 * 0.15], None])
    scan[...] = np.ones((2, 3))
    scan.suspend() if in_progress else scan.close()
    path = scan.part_path if in_progress else scan.path
    text = " ".join(CliRunner().invoke(main, ["info", str(path)]).stdout.split())
    assert "axis 0 delay: 0.0 ... 3.15 ps (2 points)" in text
    assert "axis 1 0.0 ... 2.0 mm (3 points)" in text
    found = json.loads(CliRunner().invoke(main, ["info", "--json", str(path)]).stdout)
    assert (found["axis_names"], found["units"]) == (NAMES, UNITS)
