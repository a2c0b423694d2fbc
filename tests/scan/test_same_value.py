"""A frame of another dtype is stored if all its values are kept, and refused otherwise: no value wraps."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lys_storage
from lys_storage import FrameTypeError, ScanShapeError
from lys_storage.format import first_changed, quick_check
from lys_storage.scan import frame_writer
from lys_storage.scan.frame_input import SLAB_BYTES
from tests.helpers import MakesAnArray, assert_same_array
from tests.scan.scans import begin, saved

HAS_LARGER_FLOAT = np.finfo(np.longdouble).maxexp > np.finfo("f8").maxexp
HUGE = np.longdouble("1e400" if HAS_LARGER_FLOAT else "inf")
PAIR, SMALLER_PAIR = [("a", "u4"), ("b", "f8", (2,))], [("a", "u2"), ("b", "f4", (2,))]


def times(*values: int, unit: str = "s", kind: str = "M8") -> Any:
    return np.array(values, f"{kind}[{unit}]")


CHANGED = [
    pytest.param("u2", np.array([1, 70000], "u4"), 1, "70000", "4464", id="uint32 in uint16"),
    pytest.param("u1", np.array([256, 1], "u2"), 0, "256", "0", id="uint16 in uint8"),
    pytest.param("i2", np.array([32767, 32768], "u2"), 1, "32768", "-32768", id="unsigned in signed of its size"),
    pytest.param("i8", np.array([1, 2**63], "u8"), 1, str(2**63), str(-(2**63)), id="unsigned in signed of 64 bits"),
    pytest.param("i2", np.array([1, -32769], "i4"), 1, "-32769", "32767", id="signed, below"),
    pytest.param("i2", np.array([1, 32768], "i8"), 1, "32768", "-32768", id="signed, above"),
    pytest.param("i1", np.array([1, 2**40], "i8"), 1, str(2**40), "0", id="signed, far above"),
    pytest.param(">u2", np.array([1, 70000], "<u4"), 1, "70000", "4464", id="in big-endian"),
    pytest.param("<i2", np.array([1, 70000], ">i4"), 1, "70000", "4464", id="from big-endian"),
    pytest.param("f4", np.array([np.nan, 1e39]), 1, "1e+39", "inf", id="float64 in float32"),
    pytest.param("f4", np.array([-np.inf, -1e39]), 1, "-1e+39", "-inf", id="below, beside an infinity"),
    pytest.param("f2", np.array([1, 65520.0], "f4"), 1, "65520", "inf", id="float32 in float16"),
    pytest.param("f2", np.array([1, 70000], "u4"), 1, "70000", "inf", id="whole numbers in float16"),
    pytest.param("c8", np.array([1, 1e39 + 1j]), 1, "1e+39", "inf", id="the real part of complex128"),
    pytest.param("c8", np.array([1, complex(np.nan, 1e39)]), 1, "1e+39", "inf", id="the imaginary part beside a NaN"),
    pytest.param("c8", np.array([1, 1e39]), 1, "1e+39", "inf", id="float64 in complex64"),
    pytest.param("M8[ns]", times(1, 2**62), 1, "146138514283", "1970", id="times that a finer unit cannot hold"),
    pytest.param("M8[s]", times(1000, 1001, unit="ms"), 1, "01.001", "01", id="times in a coarser unit"),
    pytest.param("m8[s]", times(1000, 1001, unit="ms", kind="m8"), 1, "1001", "1", id="durations in a coarser unit"),
    pytest.param("m8[s]", np.array([1, -(2**63)]), 1, str(-(2**63)), "NaT", id="a number that means no duration"),
    pytest.param("U3", np.array(["abc", "abcd"]), 1, "abcd", "abc", id="text that is cut"),
    pytest.param("S3", np.array([b"abc", b"abcd"]), 1, "abcd", "abc", id="bytes that are cut"),
    pytest.param("U3", np.array([123, 1234]), 1, "1234", "123", id="digits that are cut"),
    pytest.param("V3", np.array([b"abc", b"abcd"], "V4"), 1, r"\x64", r"\x63", id="raw bytes that are cut"),
    pytest.param(SMALLER_PAIR, np.array([(1, [1, 2]), (70000, [1, 2])], PAIR), 1, "70000", "4464", id="a field"),
    pytest.param(SMALLER_PAIR, np.array([(1, [1, 2]), (2, [1, 1e39])], PAIR), 1, "e+39", "inf", id="in a field of two"),
    pytest.param(
        [("in", [("x", "i1")])], np.array([((1,),), ((128,),)], [("in", [("x", "i4")])]), 1, "128", "-128", id="nested"
    ),
    pytest.param("f8", [1.0, np.longdouble(HUGE)], 1, "1e+400", "inf", id="a larger float"),
]
if not HAS_LARGER_FLOAT:
    CHANGED.pop()


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize(("stored", "frame", "place", "value", "would_be"), CHANGED)
def test_a_frame_with_a_value_that_would_change_is_refused_and_named(
    tmp_path: Path, stored: Any, frame: Any, place: int, value: str, would_be: str
) -> None:
    """The error of write and update names the first such value, its place in the frame, and what to do."""
    with begin(tmp_path, (3, 2), stored, grid_ndim=1) as scan:
        for write in (scan.write, lambda index, frame: scan.update({index: frame})):
            with pytest.raises(FrameTypeError) as caught:
                write(1, frame)
            text = str(caught.value)
            assert "index 1: its value" in text
            assert f" at ({place},) cannot be stored" in text
            assert value in text.split(" at (")[0]
            assert would_be in text.split("would become")[1]
            assert "casting='unsafe'" in text
        assert scan.frames_written == 0


KEPT = [
    pytest.param("u2", np.array([0, 65535], "u4"), id="what uint16 holds"),
    pytest.param("i2", np.array([-32768, 32767], "i8"), id="what int16 holds"),
    pytest.param("i1", np.array([0, 127], "u8"), id="unsigned in signed"),
    pytest.param("f4", np.array([0.1, 1e-300, np.nan, np.inf, -np.inf]), id="rounded, NaN, infinity"),
    pytest.param("f8", np.array([2**53 + 1, -(2**63)]), id="beyond 53 bits: rounded"),
    pytest.param("f4", np.array([2**64 - 1], "u8"), id="whole numbers in float32: rounded"),
    pytest.param("f2", np.array([65504, -65504], "i4"), id="whole numbers that float16 holds"),
    pytest.param("c8", np.array([complex(np.nan, np.inf), 0.1j]), id="complex"),
    pytest.param("M8[ms]", times(1, -(2**63)), id="times in a finer unit, and NaT"),
    pytest.param("M8[s]", times(1000, -(2**63), unit="ms"), id="whole seconds, and NaT"),
    pytest.param("U3", np.array(["abc  ", "ä"], "U5").astype("U3").astype("U5"), id="text that fits"),
    pytest.param("V5", np.array([b"abc"], "V3"), id="raw bytes in more of them"),
    pytest.param("V3", np.array([b"abc"], "V5"), id="zeros behind raw bytes"),
    pytest.param(SMALLER_PAIR, np.array([(65535, [0.1, np.nan])], PAIR), id="fields"),
]


@pytest.mark.parametrize(("stored", "frame"), KEPT)
def test_a_frame_whose_values_are_all_kept_is_stored(tmp_path: Path, stored: Any, frame: Any) -> None:
    """Floats may be rounded to the nearest value, as in numpy."""
    scan = begin(tmp_path, (1, len(frame)), stored, grid_ndim=1)
    scan[0] = frame
    assert_same_array(saved(scan)[0], frame.astype(stored))


def test_fields_of_other_names_are_refused(tmp_path: Path) -> None:
    """numpy assigns fields by order: x would silently become y."""
    with begin(tmp_path, (2, 1), [("x", "f8"), ("y", "f8")], grid_ndim=1) as scan:
        with pytest.raises(FrameTypeError, match=r"has the fields \('y', 'x'\)"):
            scan[0] = np.array([(1, 2)], [("y", "f8"), ("x", "f8")])
        assert scan.frames_written == 0
        scan[0] = np.array([(1, 2)], [("x", "f4"), ("y", "f4")])


@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
@pytest.mark.parametrize("dtype", ["u4", "f8"])
def test_in_a_large_frame_every_slab_is_looked_at_before_anything_is_stored(
    tmp_path: Path, dtype: str, layout: str
) -> None:
    """A frame that was already written is unchanged."""
    rows, columns = 3, SLAB_BYTES // 4 + 5
    good = np.arange(rows * columns, dtype=dtype).reshape(rows, columns) % 1000
    bad, stored = good.copy(), {"u4": "u2", "f8": "f4"}[dtype]
    bad[2, columns - 2] = {"u4": 70000, "f8": 1e39}[dtype]
    given = {"C": bad, "F": np.asfortranarray(bad), "reversed": np.flip(bad).copy()[::-1, ::-1]}[layout]
    scan = begin(tmp_path, (2, rows, columns), stored, grid_ndim=1)
    scan[0] = good
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(FrameTypeError, match=rf"at \(2, {columns - 2}\) cannot be stored"):
            scan[0] = given
    assert_same_array(saved(scan)[0], good.astype(stored))


def test_where_warnings_are_errors_an_overflow_is_still_a_type_error(tmp_path: Path) -> None:
    """numpy warns of an overflow in a cast. If warnings are exceptions that one must not reach the caller."""
    with begin(tmp_path, (2, 2), "f4", grid_ndim=1) as scan, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FrameTypeError, match=r"1e\+300"):
            scan[0] = np.array([1, 1e300])
        with np.errstate(all="raise"), pytest.raises(FrameTypeError, match=r"1e\+300"):
            scan[0] = np.array([1, 1e300])


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="numpy 2 has it")
def test_text_of_any_length_is_stored_where_it_fits(tmp_path: Path) -> None:
    scan = begin(tmp_path, (2, 2), "U3", grid_ndim=1, fill_value="")
    with pytest.raises(FrameTypeError, match=r"abcd at \(1,\) cannot be stored"):
        scan[0] = np.array(["abc", "abcd"], np.dtypes.StringDType())
    scan[1] = np.array(["abc", "ä"], np.dtypes.StringDType())
    assert_same_array(saved(scan), np.array([["", ""], ["abc", "ä"]]))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("value", [70000, -1, 0.5, float("nan"), float("inf"), 2.0**63, np.uint32(70000)])
def test_a_number_or_a_list_that_an_integer_dtype_does_not_hold_is_refused(tmp_path: Path, value: Any) -> None:
    with begin(tmp_path, (2, 1), "u2", grid_ndim=2) as scan:
        for frame, index in ((value, (0, 0)), ([value], 0)):
            with pytest.raises(FrameTypeError):
                scan[index] = frame
        assert scan.frames_written == 0


@pytest.mark.parametrize("value", [2.0**63, float(2**64)])
def test_the_first_float_beyond_64_bits_is_refused_whatever_the_processor_makes_of_it(
    tmp_path: Path, value: float
) -> None:
    """A comparison of the cast value with the float would round both to the same number."""
    with begin(tmp_path, (2, 1), "i8" if value < 2**64 else "u8", grid_ndim=1) as scan:
        with pytest.raises(FrameTypeError):
            scan[0] = [value]
        scan[0] = [2.0**62]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_list_with_a_float_that_becomes_infinite_is_refused(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 1), "f4", grid_ndim=1) as scan:
        for frame in ([1e39], np.array([1e39], object).tolist()):
            with pytest.raises(FrameTypeError, match=r"1e\+39"):
                scan[0] = frame


def test_a_camera_that_changes_its_depth_is_refused_where_its_values_are_too_large(tmp_path: Path) -> None:
    """The first frame chose the dtype. Frames of another depth are stored if their values fit."""
    scan = begin(tmp_path, (3, 2), grid_ndim=1)
    frame_writer(scan).infer_dtype_from_first_frame(7)
    scan[0] = np.array([1, 65535], "u2")
    with pytest.raises(FrameTypeError, match=r"70000 at \(0,\) cannot be stored as uint16, it would become 4464"):
        scan[1] = np.array([70000, 1], "u4")
    scan[2] = np.array([3, 4], "u4")
    assert_same_array(saved(scan), np.array([[1, 65535], [7, 7], [3, 4]], "u2"))


# -- casting="unsafe" --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@pytest.mark.parametrize(("stored", "given"), [("u2", np.array([70000, 1], "u4")), ("f4", np.array([1e39, 1]))])
def test_the_check_can_be_left_out(tmp_path: Path, stored: str, given: Any) -> None:
    """This holds for a new and a resumed scan. A cast beyond same_kind is still refused."""
    scan = begin(tmp_path, (3, 2), stored, grid_ndim=1, fill_value=0, casting="unsafe")
    scan[0] = given
    scan.suspend()
    scan = lys_storage.resume(tmp_path / "data.npz")
    with pytest.raises(FrameTypeError):
        scan[1] = given
    scan.suspend()
    scan = lys_storage.resume(tmp_path / "data.npz", casting="unsafe")
    scan[1] = given
    with pytest.raises(FrameTypeError, match="same_kind"):
        scan[2] = given.astype("c16")
    kept = given.astype(stored)
    assert_same_array(saved(scan), np.array([kept, kept, [0, 0]], stored))


@pytest.mark.parametrize("casting", ["same_kind", "safe", "", None, 5, b"unsafe", ["unsafe"]])
def test_another_casting_is_refused_in_words(tmp_path: Path, casting: Any) -> None:
    with pytest.raises(ScanShapeError, match=r"casting is .*, expected 'same_value' or 'unsafe'"):
        begin(tmp_path, casting=casting)
    assert list(tmp_path.iterdir()) == []
    begin(tmp_path).suspend()
    with pytest.raises(ScanShapeError, match=r"casting is .*, expected 'same_value' or 'unsafe'"):
        lys_storage.resume(tmp_path / "data.npz", casting=casting)


# -- masks -------------------------------------------------------------------------------------------------------------

MASKED = np.ma.masked_array([1.0, 2.0], mask=[0, 1])
RECORDS = np.ma.masked_array([(1, 2), (3, 4)], mask=[(0, 0), (0, 1)], dtype=[("a", "f8"), ("b", "f8")])


@pytest.mark.parametrize(
    ("shape", "dtype", "frame"),
    [
        pytest.param((2, 2), "f8", MASKED, id="an array"),
        pytest.param((2, 2), "f4", MASKED, id="of another dtype"),
        pytest.param((2, 2), "u2", np.ma.masked_array([1, 2], [0, 1], "u2"), id="whole numbers"),
        pytest.param((2,), "f8", np.ma.masked, id="masked itself"),
        pytest.param((2, 2), "f8", MakesAnArray(MASKED), id="made when numpy asks"),
        pytest.param((2, 2, 2), "f8", [[1.0, 2.0], MakesAnArray(MASKED)], id="made when numpy asks, in a list"),
        pytest.param((2, 2), "f8", [1.0, np.ma.masked], id="in a list"),
        pytest.param((2, 2, 2), "f8", [np.ma.masked_array([1.0, 2.0]), MASKED], id="in a list of arrays"),
        pytest.param((2, 2, 2), "f8", ([3.0, 4.0], (5.0, np.ma.masked)), id="in a nested list"),
        pytest.param((2, 2), RECORDS.dtype, RECORDS, id="a field of one record"),
    ],
)
@pytest.mark.parametrize("casting", ["same_value", "unsafe"])
def test_a_masked_frame_is_refused_with_a_hint(
    tmp_path: Path, shape: Any, dtype: Any, frame: Any, casting: str
) -> None:
    """The value under a mask is not data."""
    with begin(tmp_path, shape, dtype, grid_ndim=1, casting=casting) as scan:
        for write in (scan.write, lambda index, frame: scan.update({index: frame})):
            with pytest.raises(FrameTypeError, match=r"masked .*frame\.filled\(value\)"):
                write(1, frame)
        assert scan.frames_written == 0


@pytest.mark.parametrize("mask", [np.ma.nomask, [False, False]], ids=["no mask", "nothing masked"])
def test_a_masked_array_of_which_nothing_is_masked_is_stored(tmp_path: Path, mask: Any) -> None:
    frame = np.ma.masked_array([1.0, 2.0], mask)
    scan = begin(tmp_path, (2, 2), grid_ndim=1)
    scan.update({0: frame, 1: frame.filled(5)})
    assert_same_array(saved(scan), np.array([[1.0, 2.0]] * 2))


def test_a_masked_first_frame_chooses_no_dtype(tmp_path: Path) -> None:
    with begin(tmp_path, (2, 2), grid_ndim=1) as scan:
        frame_writer(scan).infer_dtype_from_first_frame()
        with pytest.raises(FrameTypeError, match="masked"):
            scan[0] = np.ma.masked_array([1, 2], [0, 1], "u2")
        assert (scan.dtype, scan.frames_written) == (np.dtype("f8"), 0)


# -- the arithmetic ----------------------------------------------------------------------------------------------------

WHOLE = [*(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), ">i4", ">u8"]


@given(st.data(), st.sampled_from(WHOLE), st.sampled_from(WHOLE))
def test_of_whole_numbers_exactly_those_outside_the_dtype_are_found(
    data: st.DataObject, given_as: str, stored_as: str
) -> None:
    """The result is compared with Python's integers."""
    limits, stored = np.iinfo(given_as), np.iinfo(stored_as)
    near = [n + d for n in (0, stored.min, stored.max) for d in (-1, 0, 1)]
    edges = st.sampled_from([n for n in near if limits.min <= n <= limits.max] or [0])
    numbers = data.draw(st.lists(edges | st.integers(limits.min, limits.max), min_size=1, max_size=5))
    values = np.array(numbers, given_as)
    expected = next((k for k, n in enumerate(numbers) if not stored.min <= n <= stored.max), None)
    kept = values.astype(stored_as)
    assert first_changed(values, kept) == expected
    fits = quick_check(values.dtype, kept.dtype)
    assert (fits is None or fits(values, kept)) == (expected is None)


@given(st.lists(st.floats(width=64), min_size=1, max_size=5), st.sampled_from(["f4", "f2", "c8", "<f4", ">f4"]))
def test_of_floats_exactly_those_that_become_infinite_are_found(numbers: list[float], stored_as: str) -> None:
    values = np.array(numbers)
    with np.errstate(all="ignore"):
        kept = values.astype(stored_as)
    largest = float(np.finfo(stored_as).max)
    step = {"f2": 2.0**4}.get(stored_as, 2.0**103)  # half of the last step: a smaller excess is rounded down
    expected = next((k for k, x in enumerate(numbers) if np.isfinite(x) and abs(x) >= largest + step), None)
    assert first_changed(values, kept) == expected
    fits = quick_check(values.dtype, kept.dtype)
    assert fits is not None
    if expected is not None:
        assert not fits(values, kept)


@pytest.mark.parametrize(
    ("frame", "stored"),
    [
        (np.array(0.0), "u2"),
        (np.array("abcde"), "U3"),
        (np.array(1, "m8[s]"), "S3"),
        (np.zeros((), [("a", "m8[s]")]), [("a", "S3")]),
        (np.array(70000, ">i4"), ">u2"),
        (np.array("2020-01-01T00:00:00.000001", "M8[us]"), "M8[s]"),
    ],
    ids=["floating", "text", "time", "fields", "big-endian", "microseconds"],
)
def test_the_dtype_that_an_error_names_can_be_given_to_create(
    tmp_path: Path, frame: np.ndarray[Any, Any], stored: Any
) -> None:
    with begin(tmp_path, (2,), stored, grid_ndim=1) as scan:
        with pytest.raises(FrameTypeError, match="create the scan with dtype=") as caught:
            scan[0] = frame
        named = str(caught.value).split("create the scan with dtype=")[1].split(", or pass")[0]
        assert np.dtype(ast.literal_eval(named)) == frame.dtype.newbyteorder("=")
        scan.suspend()
