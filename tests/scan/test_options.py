"""create and resume refuse invalid options with a clear error before they create a file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanShapeError
from tests.helpers import load_export, wait_until
from tests.scan.scans import begin

INTERVALS = [
    pytest.param("1s", id="text"),
    pytest.param("1", id="a number as text"),
    pytest.param(-1, id="below zero"),
    pytest.param(-0.001, id="a little below"),
    pytest.param(float("nan"), id="NaN"),
    pytest.param(float("inf"), id="infinity"),
    pytest.param(True, id="True"),
    pytest.param(False, id="False"),
    pytest.param(np.True_, id="numpy's True"),
    pytest.param(1e300, id="longer than a thread can wait"),
    pytest.param(threading.TIMEOUT_MAX * 2, id="twice of what it can"),
    pytest.param(10**400, id="more than a float holds"),
    pytest.param(1j, id="complex"),
    pytest.param([1.0], id="a list"),
    pytest.param(np.timedelta64(1, "s"), id="a duration"),
    pytest.param(Decimal(1), id="a Decimal"),
]


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_flush_interval_that_would_end_the_flush_thread_is_refused(tmp_path: Path, interval: Any) -> None:
    with pytest.raises(ScanShapeError, match=r"flush_interval_s is .*, expected a number of seconds, 0 .* None"):
        begin(tmp_path, flush_interval_s=interval)
    assert list(tmp_path.iterdir()) == []
    begin(tmp_path).suspend()
    with pytest.raises(ScanShapeError, match=r"flush_interval_s is .*, expected a number of seconds, 0 .* None"):
        lys_storage.resume(tmp_path / "data.npz", flush_interval_s=interval)
    lys_storage.resume(tmp_path / "data.npz").close()


@pytest.mark.parametrize("name", ["burst_bytes", "cached_bytes"])
@pytest.mark.parametrize(
    "value", [-1, 1.5, "1G", True, np.True_, float("inf"), [1], np.timedelta64(1, "s"), Decimal(1)]
)
def test_a_number_of_bytes_is_whole_and_not_negative(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ScanShapeError, match=rf"{name} is .*, expected a whole number of bytes, 0 or more, or None"):
        begin(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []
    begin(tmp_path).suspend()
    with pytest.raises(ScanShapeError, match=rf"{name} is .*, expected a whole number of bytes"):
        lys_storage.resume(tmp_path / "data.npz", **{name: value})
    lys_storage.resume(tmp_path / "data.npz", **{name: np.int64(0)}).close()


@pytest.mark.parametrize(
    "interval", [0.001, np.float32(0.001), np.int64(0), Fraction(1, 1000), threading.TIMEOUT_MAX, None]
)
def test_any_number_of_seconds_will_do(tmp_path: Path, interval: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flush thread stays alive, and flushes if the interval asks for it."""
    crashed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", crashed.append)
    with begin(tmp_path, flush_interval_s=interval, grid_ndim=1) as scan:
        flushed: list[int] = []
        flush: Callable[[], None] = scan._store.flush
        monkeypatch.setattr(scan._store, "flush", lambda: (flush(), flushed.append(1)))
        scan[0] = np.zeros(3)
        if interval is not None and interval < 1:
            wait_until(lambda: flushed != [])
        thread = scan._workers._flush_thread
        assert thread is not None
        assert thread._thread.is_alive()
        monkeypatch.undo()
    assert crashed == []


@pytest.mark.parametrize("incomplete", ["cut", None, 5, ["fill"], np.array(["fill", "trim"])])
def test_another_way_with_an_incomplete_scan_is_refused(tmp_path: Path, incomplete: Any) -> None:
    with pytest.raises(ScanShapeError, match=r"incomplete is .*, expected 'fill' or 'trim'"):
        begin(tmp_path, incomplete=incomplete)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("incomplete", ["cut", "", 5, ["trim"]])
def test_it_is_refused_by_close_and_recover_too_before_anything_is_done(tmp_path: Path, incomplete: Any) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[0] = np.ones(3)
    with pytest.raises(ScanShapeError, match=r"incomplete is .*, expected 'fill' or 'trim'"):
        scan.close(incomplete=incomplete)
    scan[1] = np.ones(3)  # close() has not sealed it
    scan.suspend()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ScanShapeError, match=r"incomplete is .*, expected 'fill' or 'trim'"):
        lys_storage.recover(tmp_path, incomplete=incomplete)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("grid_ndim", ["1", 1.0, True, [1], 3, -1])
def test_a_grid_that_is_no_number_of_dimensions_is_refused(tmp_path: Path, grid_ndim: Any) -> None:
    with pytest.raises(ScanShapeError, match=r"grid_ndim is .*, expected 0 to 2"):
        begin(tmp_path, grid_ndim=grid_ndim)
    assert list(tmp_path.iterdir()) == []


def test_the_grid_may_be_numpys_int(tmp_path: Path) -> None:
    with begin(tmp_path, grid_ndim=np.int64(1)) as scan:
        assert scan.grid_shape == (2,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"shape": "12"}, "'12' is not a shape: give a tuple of integers, such as", id="text as the shape"),
        pytest.param({"shape": b"12"}, "is not a shape: give a tuple", id="bytes as the shape"),
        pytest.param({"shape": {2, 3}}, "is not a shape: give a tuple", id="a set as the shape"),
        pytest.param({"shape": {2: 3}}, "is not a shape: give a tuple", id="a dict as the shape"),
        pytest.param({"shape": None}, "is not a shape: give a tuple", id="no shape"),
        pytest.param({"shape": ("2", 3)}, "give an integer of at least 1 for each dimension", id="text as a dimension"),
        pytest.param({"shape": (2.5, 3)}, "give an integer of at least 1 for each dimension", id="a half dimension"),
        pytest.param(
            {"dtype": "uint7"}, r"'uint7' is not a numpy dtype .*such as 'float64'", id="a dtype that is none"
        ),
        pytest.param({"dtype": 5}, "is not a numpy dtype", id="a number as the dtype"),
        pytest.param({"dtype": "(2,"}, "is not a numpy dtype", id="half a dtype"),
        pytest.param({"dtype": {"names": ["a"]}}, "is not a numpy dtype", id="a dtype without formats"),
        pytest.param({"dtype": [("a",)]}, "is not a numpy dtype", id="a field without a format"),
        pytest.param({"dtype": object()}, "is not a numpy dtype", id="an object as the dtype"),
        pytest.param(
            {"dtype": "V99999999999999999999"},
            "not a numpy dtype|fixed, non-zero size|at most 4,194,304 are possible",  # the last: numpy on Windows cuts the number
            id="a dtype too large for numpy",
        ),
        pytest.param({"dtype": "V2147483647"}, "at most 4,194,304 are possible", id="elements of two gigabytes"),
        pytest.param(
            {"dtype": "V9000000"}, "at most 4,194,304 are possible", id="elements too large for a description"
        ),
        pytest.param(
            {"note": "text"}, r"note is 'text', expected a dict: give \{'Notes': 'text'\}", id="text as the note"
        ),
        pytest.param({"note": ""}, "note is .*, expected a dict", id="empty text as the note"),
        pytest.param({"note": 0}, "note is .*, expected a dict", id="a number as the note"),
        pytest.param({"note": [("a", 1)]}, "note is .*, expected a dict", id="pairs as the note"),
        pytest.param(
            {"axes": 5}, "axes is 5, expected a list with one axis, or None, for each", id="a number as the axes"
        ),
        pytest.param({"axes": "xy"}, "axes is 'xy', expected a list", id="text as the axes"),
        pytest.param({"axes": [5]}, "axis 0 is the single value 5", id="a number as an axis"),
        pytest.param({"axes": [[[1], [2, 3]]]}, "axis 0 cannot be converted to an array", id="a ragged axis"),
        pytest.param({"fill_value": [[1], [2, 3]]}, "cannot be held", id="a ragged fill"),
        pytest.param({"fill_value": object()}, "cannot be held", id="an object as the fill"),
    ],
)
def test_what_is_of_a_wrong_kind_is_refused_in_words_that_say_what_to_give(
    tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    given = {"shape": (2, 3), "dtype": "f8", **options}
    with pytest.raises(lys_storage.LysStorageError, match=words) as caught:
        lys_storage.create(tmp_path / "data.npz", **given)
    assert isinstance(caught.value, ValueError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("note", ["text", 5, [1], {1}])
def test_a_note_that_is_no_dict_is_refused_and_the_note_stays(tmp_path: Path, note: Any) -> None:
    with begin(tmp_path, note={"a": 1}) as scan:
        with pytest.raises(ScanShapeError, match=r"note is .*, expected a dict"):
            scan.note = note
        assert scan.note == {"a": 1}
    assert load_export(scan.path).note == {"a": 1}


@pytest.mark.parametrize("axes", [5, "xy", b"xy"])
def test_axes_that_are_no_list_are_refused_and_the_axes_stay(tmp_path: Path, axes: Any) -> None:
    with begin(tmp_path, axes=[[5.0, 6.0]]) as scan:
        with pytest.raises(lys_storage.AxisLengthError, match="expected a list with one axis"):
            scan.axes = axes
        assert scan.axes[0].tolist() == [5.0, 6.0]


def test_a_note_that_is_set_to_none_is_empty(tmp_path: Path) -> None:
    with begin(tmp_path, note={"a": 1}) as scan:
        scan.note = None
    assert load_export(scan.path).note == {}


# -- headers that numpy does not read ----------------------------------------------------------------------------------

MANY_FIELDS = [(f"a long name of a field {k}", "u1") for k in range(300)]


def test_a_header_that_numpy_refuses_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It warns at creation and at a change of the dtype. The statements of the warning are true."""
    with begin(tmp_path / "a", (2,), MANY_FIELDS) as scan:
        pass
    assert "bytes long: open_wave and lys read it, numpy.load only with max_header_size=" in caplog.text
    with np.load(scan.path) as archive, pytest.raises(ValueError, match="max_header_size"):
        archive["data"]
    size = int(caplog.text.split("max_header_size=")[1].split(";")[0])
    with np.load(scan.path, max_header_size=size) as archive:
        assert archive["data"].dtype == np.dtype(MANY_FIELDS)
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.dtype == np.dtype(MANY_FIELDS)
    caplog.clear()
    with begin(tmp_path / "b", (2,)) as scan:
        assert caplog.text == ""
        scan.change_dtype(MANY_FIELDS)
        assert "max_header_size=" in caplog.text


def test_a_header_that_numpy_reads_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """This includes the longest one: numpy refuses a header of one character more, which is warned of."""
    warned = set()
    for size in range(9880, 9960):
        with begin(tmp_path / str(size), (2,), [("x" * size, "u1")]) as scan:
            pass
        is_read = True
        try:
            with np.load(scan.path) as archive:
                archive["data"]
        except ValueError:
            is_read = False
        assert ("max_header_size" in caplog.text) is not is_read
        warned.add(is_read)
        caplog.clear()
    assert warned == {True, False}
