"""Axes and note of a scan: what is accepted, what is stored, and until when they can be changed."""

from __future__ import annotations

import collections
import datetime
import enum
import logging
import threading
import time
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import lys_storage
from lys_storage import AxisLengthError, ScanClosedError
from tests.helpers import MakesAnArray, assert_same_array, assert_same_axes, files, load_export
from tests.scan.scans import begin

Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def open_axes(path: Path) -> list[np.ndarray[Any, Any]]:
    with lys_storage.open_wave(path) as wave:
        return wave.axes


# -- axes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        pytest.param(None, [[0.0, 1.0], [0.0, 1.0, 2.0]], id="none at all"),
        pytest.param([], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="an empty list"),
        pytest.param([None, None], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="None for each"),
        pytest.param([None, [5.0, 6.0, 7.0]], [[0.0, 1.0], [5.0, 6.0, 7.0]], id="None for one"),
        pytest.param([[8.0, 9.0]], [[8.0, 9.0], [0.0, 1.0, 2.0]], id="the last one left out"),
        pytest.param([range(2), (1.5, 2.5, 3.5)], [[0, 1], [1.5, 2.5, 3.5]], id="a range and a tuple"),
        pytest.param(
            (np.array([1, 2], "i2"), np.zeros(3, "f4")), [np.array([1, 2], "i2"), np.zeros(3, "f4")], id="arrays"
        ),
        pytest.param([["a", "b"], None], [["a", "b"], [0.0, 1.0, 2.0]], id="text"),
    ],
)
@pytest.mark.parametrize("when", ["at the beginning", "later"])
def test_axes_that_are_missing_become_index_coordinates(tmp_path: Path, axes: Any, expected: Any, when: str) -> None:
    """As in lys, an axis that is None or left out becomes the floats 0.0, 1.0, ..."""
    with begin(tmp_path, axes=axes if when == "at the beginning" else None) as scan:
        if when == "later":
            scan.axes = axes
        assert_same_axes(scan.axes, expected)
    assert_same_axes(load_export(scan.path).axes, expected)


def test_axes_may_come_from_a_generator(tmp_path: Path) -> None:
    with begin(tmp_path, axes=(np.arange(n) + 0.5 for n in (2, 3))) as scan:
        assert_same_axes(scan.axes, [[0.5, 1.5], [0.5, 1.5, 2.5]])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        pytest.param([[0, 1, 2], None], "axis 0 has 3 points, expected 2 (dimension 0 of shape (2, 3))", id="too long"),
        pytest.param([None, [0]], "axis 1 has 1 points, expected 3 (dimension 1 of shape (2, 3))", id="too short"),
        pytest.param(
            [None, None, [0]], "got 3 axes, expected at most 2 (one for each dimension of shape (2, 3))", id="too many"
        ),
        pytest.param([None, []], "axis 1 has 0 points, expected 3 (dimension 1 of shape (2, 3))", id="empty"),
    ],
)
def test_an_axis_that_does_not_fit_is_a_value_error_and_the_axes_stay(tmp_path: Path, axes: Any, message: str) -> None:
    """lys itself pads or cuts it silently."""
    with pytest.raises(AxisLengthError) as caught:
        begin(tmp_path, axes=axes)
    assert (str(caught.value), isinstance(caught.value, ValueError)) == (message, True)
    assert files(tmp_path) == set()
    with begin(tmp_path, axes=[[5.0, 6.0]]) as scan:
        with pytest.raises(AxisLengthError):
            scan.axes = axes
        assert_same_axes(scan.axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])


def test_axes_can_be_changed_as_often_as_one_likes_until_the_end(tmp_path: Path) -> None:
    """Short and long axes alternate: the journal writes them to its two places in turn."""
    with begin(tmp_path, (500,)) as scan:
        for k in range(20):
            scan.axes = [np.arange(500.0) * k if k % 2 else ["a long text " * k] * 500]
        scan.axes = [np.linspace(0, 1, 500)]
    assert_same_axes(load_export(scan.path).axes, [np.linspace(0, 1, 500)])
    with pytest.raises(ScanClosedError):
        scan.axes = [np.zeros(500)]


def test_what_the_axes_were_made_of_may_be_changed_afterwards(tmp_path: Path) -> None:
    axis = np.array([1.0, 2.0])
    with begin(tmp_path, axes=[axis]) as scan:
        axis[:] = 9
        scan.axes.clear()
        assert_same_axes(scan.axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param([1, None, 3], id="None between numbers"),
        pytest.param(np.array([1, 2.5, 3], object), id="whole numbers and fractions as objects: read as whole ones"),
        pytest.param([Decimal(1), Decimal(2), Decimal(3)], id="Decimals"),
        pytest.param([Path("a"), Path("b"), Path("c")], id="paths"),
        pytest.param([object()] * 3, id="objects"),
        pytest.param([lambda: 1] * 3, id="what cannot be pickled"),
        pytest.param([datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))] * 3, id="times of a named zone"),
    ],
)
def test_an_axis_that_could_not_be_read_again_is_refused(tmp_path: Path, axis: Any) -> None:
    """At creation and later. Otherwise nobody could open the export."""
    words = r"axis 1 of dtype .* cannot be stored unchanged: give numbers, text or times"
    with pytest.raises(AxisLengthError, match=words):
        begin(tmp_path, axes=[None, axis])
    assert files(tmp_path) == set()
    with begin(tmp_path, axes=[[5.0, 6.0]]) as scan:
        with pytest.raises(AxisLengthError, match=words):
            scan.axes = [None, axis]
        assert_same_axes(scan.axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])
    assert_same_axes(open_axes(scan.path), [[5.0, 6.0], [0.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param(np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]), id="an array"),
        pytest.param([1.0, np.ma.masked, 3.0], id="in a list"),
        pytest.param(MakesAnArray(np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0])), id="made when numpy asks"),
        pytest.param(
            [0.0, MakesAnArray(np.ma.masked_array(2.0, True)), 3.0], id="made when numpy asks for a point of a list"
        ),
    ],
)
def test_a_masked_axis_is_refused_with_a_hint(tmp_path: Path, axis: Any) -> None:
    """The value under a mask is not a coordinate."""
    with pytest.raises(AxisLengthError, match=r"axis 1 has masked points.*axis\.filled"):
        begin(tmp_path, axes=[None, axis])
    assert files(tmp_path) == set()
    with begin(tmp_path) as scan, pytest.raises(AxisLengthError, match=r"axis 1 has masked points.*axis\.filled"):
        scan.axes = [None, axis]


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param([1, "a", "b"], id="a number and text"),
        pytest.param([b"a", "b", "c"], id="bytes and text"),
        pytest.param([True, b"b", b"c"], id="a bool and bytes"),
        pytest.param([np.timedelta64(1, "s"), 2, 3], id="a time and numbers"),
        pytest.param(collections.deque(["a", 1, 2.5]), id="not in a list"),
        pytest.param([[1, "a"], [2, "b"], [3, "c"]], id="in nested lists"),
    ],
)
def test_an_axis_of_several_kinds_of_points_is_refused(tmp_path: Path, axis: Any) -> None:
    """numpy would convert all of them to text, or numbers to times."""
    with pytest.raises(AxisLengthError, match="axis 1 mixes kinds of points"):
        begin(tmp_path, axes=[None, axis])
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    "axis",
    [
        pytest.param(["a", np.str_("b"), "c"], id="text"),
        pytest.param(collections.deque(["a", "b", "c"]), id="text that is not in a list"),
        pytest.param([b"a", b"b", b"c"], id="bytes"),
        pytest.param([np.datetime64("2020-01-01")] * 3, id="times"),
        pytest.param([np.array("a"), np.array("b"), "c"], id="arrays of text"),
        pytest.param([1, 2.5, True], id="numbers"),
    ],
)
def test_an_axis_of_one_kind_of_points_is_stored(tmp_path: Path, axis: Any) -> None:
    with begin(tmp_path, axes=[None, axis]) as scan:
        scan[...] = np.zeros((2, 3))
    assert_same_array(load_export(scan.path).axes[1], np.array(axis))


def test_a_masked_axis_of_which_nothing_is_masked_is_its_numbers(tmp_path: Path) -> None:
    with begin(tmp_path, axes=[None, np.ma.masked_array([1.0, 2.0, 3.0], [0, 0, 0])]) as scan:
        pass
    assert_same_axes(open_axes(scan.path), [[0.0, 1.0], [1.0, 2.0, 3.0]])


AXES_OF_TWO = [
    pytest.param(np.array(["2026-01-01T00:00:00.123456789", "2026-01-02"], "M8[ns]"), id="nanoseconds"),
    pytest.param(np.array(["2026-01-01T00:00:01", "NaT"], "M8[s]"), id="seconds, and none"),
    pytest.param(np.array(["2026-01-01", "2026-01-02"], "M8[D]"), id="days"),
    pytest.param(np.array(["2026-01", "2026-02"], "M8[M]"), id="months"),
    pytest.param(np.array([1, 2], "m8[ps]"), id="durations"),
    pytest.param(np.array([1, 2**63], "u8"), id="beyond 63 bits"),
    pytest.param(np.array([1, 2], "u8"), id="unsigned"),
    pytest.param(np.array([1, 2], "i1"), id="bytes"),
    pytest.param(np.array([0.1, 2], "f4"), id="float32"),
    pytest.param(np.array([1, np.nan], ">f8"), id="big-endian, and NaN"),
    pytest.param(np.array([1, 2j], "c8"), id="complex"),
    pytest.param(np.array([1, 2]).astype(np.longdouble) / 3, id="larger floats"),
    pytest.param(np.array(["a", "bc"]), id="text"),
    pytest.param(np.array([b"a", b"bc"]), id="bytes text"),
    pytest.param(np.array([True, False]), id="bools"),
    pytest.param([datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2, 3)], id="Python's times"),
    pytest.param(np.array([(1, 2.5), (3, 4)], [("x", "i4"), ("y", "f8")]), id="records"),
    pytest.param([None, 2.5], id="None first: objects"),
    pytest.param([datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)], id="Python's days"),
]


@pytest.mark.parametrize("axis", AXES_OF_TWO)
@pytest.mark.parametrize(
    "shape", [(2,), (2, 2), (2, 3), (70_000,)], ids=["alone", "of one length", "of two lengths", "of many points"]
)
@pytest.mark.parametrize("when", ["at the beginning", "later"])
def test_an_axis_is_read_again_with_its_values_whatever_the_others_are(
    tmp_path: Path, axis: Any, shape: tuple[int, ...], when: str
) -> None:
    """If all axes have one length numpy stores Python objects, and would store times in nanoseconds as integers."""
    given = np.resize(np.array(axis), shape[0])
    with begin(tmp_path, shape, "u1", axes=[given] if when == "at the beginning" else None) as scan:
        if when == "later":
            scan.axes = [given]
        scan.suspend()
    with lys_storage.resume(scan.path) as scan:
        resumed = scan.axes[0]
    for read in (resumed, open_axes(scan.path)[0]):
        whole = given.dtype.kind in "iu" and read.dtype.kind in "iu"  # lys converts them to int64
        assert whole or read.dtype.kind == given.dtype.kind
        same = read == given
        assert bool(np.all(same | ((read != read) & (given != given))))


# -- note --------------------------------------------------------------------------------------------------------------


NO_PLAIN_DATA = [
    pytest.param(Path("a/b"), id="a path"),
    pytest.param(Decimal("1.5"), id="a Decimal"),
    pytest.param(Fraction(1, 3), id="a Fraction"),
    pytest.param(collections.defaultdict(list, a=[1]), id="a defaultdict"),
    pytest.param(collections.Counter("ab"), id="a Counter"),
    pytest.param(uuid.UUID(int=5), id="a UUID"),
    pytest.param(datetime.datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), id="a time of a named zone"),
    pytest.param(np.ma.masked_array([1.0, 2.0], [0, 1]), id="a masked array"),
    pytest.param(np.arange(2).view(np.recarray), id="a subclass of an array"),
    pytest.param(Colour.RED, id="an enum"),
    pytest.param(Point(1, 2), id="a named tuple"),
    pytest.param(int, id="a class"),
    pytest.param(len, id="a function"),
    pytest.param(np.poly1d([1, 2]), id="an object of numpy's"),
    pytest.param({"deep": [1, (Path("a"),)]}, id="a path deep in a dict"),
]


def warned_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The keys named in warnings since the last call."""
    said = [record.getMessage().split(": note ")[1].split(" is not plain data")[0] for record in caplog.records]
    caplog.clear()
    return said


@pytest.mark.parametrize("value", NO_PLAIN_DATA)
def test_what_is_no_plain_data_in_a_note_is_stored_as_it_is_with_a_warning_that_names_its_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    """There is one warning at creation, one when the note is set, and one at the end if it was changed in place."""
    with begin(tmp_path, note={"good": 1, "bad": value, ("also", 2): value}) as scan:
        assert warned_of(caplog) == ["'bad', ('also', 2)"]
        scan.note = {"good": [1.5, None, "x"]}
        assert warned_of(caplog) == []
        scan.note = {"worse": value}
        assert warned_of(caplog) == ["'worse'"]
        scan.note["in place"] = value
    assert warned_of(caplog) == ["'worse', 'in place'"]
    with np.load(scan.path, allow_pickle=True) as archive:
        stored = archive["note"][()]
    assert list(stored) == ["worse", "in place"]
    assert type(stored["worse"]) is type(value)
    assert repr(stored["worse"]) == repr(value)


def test_plain_data_in_a_note_are_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = {
        "numbers": [1, 2.5, 3j, True, None, 10**30, np.float32(1), np.int8(2)],
        "arrays": (np.arange(3), np.array(["a"]), np.array([1, "a"], object), np.zeros(2, [("x", "f8")])),
        "times": [
            datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            datetime.timedelta(1),
            np.datetime64("2026-01-01"),
        ],
        "containers": {1: {2, 3}, (4, 5): frozenset("a"), "b": collections.OrderedDict(a=1), b"c": bytearray(b"d")},
        "long": "x" * 100_000,
    }
    with begin(tmp_path, note=note):
        pass
    assert caplog.records == []


class RunsCode:
    """Unpickling it calls `call`."""

    calls = 0

    @classmethod
    def call(cls) -> int:
        cls.calls += 1
        return 5

    def __reduce__(self) -> Any:
        return RunsCode.call, ()


def test_a_note_is_not_unpickled_to_find_out_what_in_it_is_plain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with begin(tmp_path, note={"a": 1, "b": RunsCode()}):
        assert warned_of(caplog) == ["'b'"]
    assert RunsCode.calls == 0


def test_what_is_stored_as_its_repr_is_plain(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with begin(tmp_path, note={"a": threading.Lock(), "b": Path("c")}):
        assert "'a' cannot be pickled" in caplog.records[0].getMessage()
        del caplog.records[0]
        assert warned_of(caplog) == ["'b'"]


def with_an_attribute() -> collections.OrderedDict[str, int]:
    value = collections.OrderedDict(a=1)
    value.unit = "mm"  # type: ignore[attr-defined]
    return value


def holds_itself() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


NOT_READ_AGAIN = [
    pytest.param(holds_itself(), "[1, [...]]", id="a list that holds itself"),
    pytest.param(nested(250), "[" * 251 + "]" * 251, id="nested lists"),
    pytest.param(
        np.zeros(1, [("a", object)]), "array([(0,)], dtype=[('a', 'O')])", id="an array with a field of objects"
    ),
    pytest.param(np.zeros(2, "M8"), None, id="times without a unit"),
    pytest.param({(0,) * 1100: 1}, repr({(0,) * 1100: 1}), id="a key of many items"),
    pytest.param(with_an_attribute(), repr(with_an_attribute()), id="an OrderedDict with an attribute"),
    pytest.param([1, [[[0] * 5000] * 1000] * 1000], "<list with too many values for a repr>", id="much"),
]


@pytest.mark.parametrize(("value", "text"), NOT_READ_AGAIN)
def test_what_could_not_be_read_again_is_replaced_by_its_repr_and_the_rest_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: Any, text: str | None
) -> None:
    """The value is given at creation, set later, or added to the dict later."""
    given: dict[str, Any] = {"bad": value, "good": [1]}
    for name, begun, later in (("begun", given, {}), ("set", None, {}), ("late", {"good": [1]}, {"bad": value})):
        caplog.clear()
        with lys_storage.create(tmp_path / f"{name}.npz", (1,), note=begun) as scan:
            if begun is None:
                scan.note = given
            scan.note.update(later)
            scan[0] = 1
        assert "note 'bad' could not be read again: its repr is stored instead" in caplog.text
        assert "no plain data" not in caplog.text
        with lys_storage.open_wave(scan.path) as wave:
            assert wave.note_error is None
            assert (wave.note["good"], type(wave.note["bad"]), set(wave.note)) == ([1], str, {"good", "bad"})
            assert wave.note["bad"] == text or text is None
        assert lys_storage.verify(scan.path) == []


def test_a_note_that_holds_itself_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note: dict[str, Any] = {"good": 1}
    note["me"] = note
    with begin(tmp_path, note=note) as scan:
        assert "note 'me' could not be read again" in caplog.text
    with lys_storage.open_wave(scan.path) as wave:
        assert (wave.note, wave.note_error) == ({"good": 1, "me": "{'good': 1, 'me': {...}}"}, None)


def test_a_key_that_could_not_be_read_again_becomes_its_repr(tmp_path: Path) -> None:
    key = (0,) * 1100
    with begin(tmp_path, note={key: [1], "good": 1}) as scan:
        pass
    with lys_storage.open_wave(scan.path) as wave:
        assert (wave.note, wave.note_error) == ({repr(key): [1], "good": 1}, None)


def test_a_note_whose_values_are_readable_one_by_one_only_is_stored_as_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two keys share lists that would fill the memory if they were copied: both keys are named."""
    shared: list[Any] = [0] * 1000
    wide = [shared] * 1000
    with begin(tmp_path, note={"a": wide, "b": wide}) as scan:
        assert "note 'a', 'b' could not be read again together" in caplog.text
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.note == dict.fromkeys("ab", "<list with too many values for a repr>")


def test_a_note_of_many_values_that_hold_all_others_takes_no_long_time(tmp_path: Path) -> None:
    note: dict[str, Any] = {}
    note |= {str(k): note for k in range(300)}
    began = time.monotonic()
    with begin(tmp_path, note=note | {"good": 1}) as scan:
        assert time.monotonic() - began < 10
    with lys_storage.open_wave(scan.path) as wave:
        assert (len(wave.note), wave.note["good"], wave.note_error) == (301, 1, None)


def test_what_is_in_the_note_when_the_scan_is_saved_counts(tmp_path: Path) -> None:
    """The given dict is stored: changes in place count until the scan is saved."""
    given: dict[str, Any] = {"a": 1}
    with begin(tmp_path, note=given) as scan:
        given["b"] = [2]
        scan.note["c"] = np.arange(3)
        scan[...] = np.zeros((2, 3))
        given["b"].append("late")
    note = load_export(scan.path).note
    assert_same_array(note.pop("c"), np.arange(3))
    assert note == {"a": 1, "b": [2, "late"]}


def test_a_note_can_be_replaced(tmp_path: Path) -> None:
    with begin(tmp_path, note={"a": 1}) as scan:
        scan.note = {"温度": "µm"}
        assert scan.note == {"温度": "µm"}
    assert load_export(scan.path).note == {"温度": "µm"}


def test_without_a_note_it_is_an_empty_dict(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        assert scan.note == {}
    assert load_export(scan.path).note == {}


def test_what_cannot_be_pickled_is_replaced_by_its_repr_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad metadata never cost data."""
    lock = threading.Lock()
    with begin(tmp_path, note={"lock": lock, "good": 1}) as scan:
        assert "'lock' cannot be pickled" in caplog.text
    assert load_export(scan.path).note == {"lock": repr(lock), "good": 1}
    assert caplog.records[0].levelno == logging.WARNING


def test_a_note_that_becomes_unpicklable_while_the_scan_runs_does_not_keep_it_from_being_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        scan.note["f"] = lambda: None
        scan[...] = np.ones((2, 3))
    export = load_export(scan.path)
    assert (list(export.note), export.data.tolist()) == (["f"], [[1.0] * 3] * 2)
    assert export.note["f"].startswith("<function")


def test_a_note_that_outgrows_its_place_is_still_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        for k in range(8):
            scan.note = {"text": "x" * 10**k}
    assert len(load_export(scan.path).note["text"]) == 10**7
