"""The description of a scan: JSON with these fields. Everything else is refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from lys_storage import BadFileError
from lys_storage.format import decode_description, encode_description
from tests.format.descriptions import HERE


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as it is"),
        pytest.param({"shape": (), "grid_ndim": 0}, id="0-d"),
        pytest.param({"number": None, "replace": True, "final": "data.npz"}, id="unnumbered"),
        pytest.param({"final": "走査 µ.npz", "stem": "走査 µ"}, id="a name beyond ASCII"),
        pytest.param({"dtype": np.dtype(">f8"), "fill": bytes(8)}, id="big-endian"),
        pytest.param({"dtype": np.dtype([("µ", "f4"), ("b", "u1", (2,))]), "fill": bytes(6)}, id="structured"),
        pytest.param({"dtype": np.dtype("M8[25s]"), "fill": bytes(8)}, id="times"),
        pytest.param({"dtype": np.dtype("V3"), "fill": bytes(3)}, id="raw bytes"),
    ],
)
def test_a_description_is_read_as_what_was_written(changes: dict[str, Any]) -> None:
    description = dataclasses.replace(HERE, **changes)
    assert decode_description(encode_description(description)) == description


def test_a_description_is_json_with_these_fields() -> None:
    """Golden: docs/format.md."""
    assert json.loads(encode_description(HERE)) == {
        "scan_id": "0123456789abcdef0123456789abcdef",
        "shape": [3, 4, 5],
        "dtype": "'<u2'",
        "grid_ndim": 2,
        "fill": "0700",
        "array_offset": 4096,
        "final": "data_3.npz",
        "stem": "data",
        "number": 3,
        "replace": False,
        "started": "2024-01-02T03:04:05.678+00:00",
        "software": "lys_storage 0.1.0",
    }


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"shape": None}, id="no shape"),
        pytest.param({"shape": [0, 4, 5]}, id="an empty shape"),
        pytest.param({"shape": [-3, 4, 5]}, id="a negative one"),
        pytest.param({"dtype": "'O'"}, id="objects"),
        pytest.param({"dtype": "'|O'"}, id="objects, as numpy says it"),
        pytest.param({"dtype": "__import__('os')"}, id="a dtype that is code"),
        pytest.param({"dtype": "("}, id="a dtype that is nothing"),
        pytest.param({"dtype": 3}, id="a dtype that is a number"),
        pytest.param({"fill": "07"}, id="a fill of another size"),
        pytest.param({"fill": "zz"}, id="a fill that is no hex"),
        pytest.param({"grid_ndim": 4}, id="a grid of too many dimensions"),
        pytest.param({"grid_ndim": -1}, id="a grid of too few"),
        pytest.param({"grid_ndim": "2"}, id="a grid that is text"),
        pytest.param({"array_offset": 4097}, id="an array beside its page"),
        pytest.param({"final": "../data.npz"}, id="a name outside the folder"),
        pytest.param({"final": "/data.npz"}, id="a name elsewhere"),
        pytest.param({"final": ".."}, id="a name that is a folder"),
        pytest.param({"final": ""}, id="an empty name"),
        pytest.param({"stem": "../data"}, id="a stem outside the folder"),
        pytest.param({"stem": 5}, id="a stem that is a number"),
        pytest.param({"number": "3"}, id="a number that is text"),
        pytest.param({"number": -1}, id="a negative number"),
        pytest.param({"started": "yesterday"}, id="a time that is none"),
        pytest.param({"started": 5}, id="a time that is a number"),
    ],
)
def test_a_description_that_cannot_be_is_a_bad_file(changes: dict[str, Any]) -> None:
    """No file outside the folder is named, and nothing in the text is run."""
    fields = {**json.loads(encode_description(HERE)), **changes}
    with pytest.raises(BadFileError):
        decode_description(json.dumps(fields).encode())


@pytest.mark.parametrize("name", list(json.loads(encode_description(HERE))))
def test_a_description_without_one_of_its_fields_is_a_bad_file(name: str) -> None:
    fields = json.loads(encode_description(HERE))
    del fields[name]
    with pytest.raises(BadFileError):
        decode_description(json.dumps(fields).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000, b'{"shape": 1e999}'])
def test_what_is_no_description_is_a_bad_file(text: bytes) -> None:
    with pytest.raises(BadFileError):
        decode_description(text)
