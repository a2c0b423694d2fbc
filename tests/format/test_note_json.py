"""A note as JSON: what it holds exactly, and what it holds in words."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lys_storage import BadFileError
from lys_storage.format import decode_note_json, encode_note_json

_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def _types(value: Any) -> Any:
    if type(value) is dict:
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if type(value) is list else type(value)


@given(st.dictionaries(st.text(), _PLAIN))
def test_a_plain_note_is_read_again_with_the_same_types(note: dict[str, Any]) -> None:
    data, is_exact = encode_note_json(note)
    read = decode_note_json(data)
    assert is_exact
    assert (read, _types(read)) == (note, _types(note))


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1 << 64, "18446744073709551616"),
        ((1, 2), [1, 2]),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.zeros(20_000), "array of float64, shape (20000,)"),
        (np.array([1.0, np.nan]), [1.0, "nan"]),
        (b"ab", "b'ab'"),
        (1 + 2j, "(1+2j)"),
        (datetime.datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
        ("\ud800", "?"),
        (True, True),
        (np.True_, True),
        ({1: 2}, {"1": 2}),
        (set(), []),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_other_values_are_stored_in_words(value: Any, stored: Any) -> None:
    """Each JSON reader can read them: NaN is not JSON. `note.npy` holds the values themselves."""
    data, is_exact = encode_note_json({"a": value})
    assert json.loads(data, parse_constant=pytest.fail) == {"a": stored}
    assert is_exact == (value is True)


def test_a_note_that_contains_itself_ends() -> None:
    note: dict[str, Any] = {}
    note["a"] = note
    data, is_exact = encode_note_json(note)
    assert not is_exact
    assert len(data) < 100_000


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["empty", "a list", "cut", "not UTF-8", "deep"]
)
def test_a_damaged_note_is_an_error(data: bytes) -> None:
    with pytest.raises(BadFileError):
        decode_note_json(data)


def test_an_array_that_is_there_many_times_is_not_written_each_time() -> None:
    """The pickle holds it once: note.json would take gigabytes, and closing a scan minutes."""
    one = np.arange(10_000.0)
    encoded, is_exact = encode_note_json({"runs": [{"calibration": one} for _ in range(500)], "sets": [(one,)] * 500})
    read = decode_note_json(encoded)
    assert not is_exact
    assert len(encoded) < 10_000_000
    assert read["runs"][0]["calibration"] == one.tolist()
    assert read["runs"][-1]["calibration"] == "array of float64, shape (10000,)"
