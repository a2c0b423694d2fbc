"""Values of a note that are not plain data become texts; a damaged note is empty. Nothing is run."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import logging
import pathlib
import pickle
import types
import uuid
import zoneinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, UnsafeFileError
from tests.helpers import assert_same_array, some
from tests.reading.exports import npy, with_members


class Lens(enum.Enum):
    WIDE = 1


@dataclasses.dataclass(slots=True)
class Sample:
    name: str = "TaS2"
    thickness: float = 1.5


class Named(list[int]):
    pass


class Image(np.ndarray[Any, Any]):
    pass


HERE = __name__
PATH = f"{pathlib.PurePosixPath.__module__}.PurePosixPath"
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
ZONE = "zoneinfo.ZoneInfo._unpickle('Europe/Berlin', 1)"
TEXTS: dict[str, tuple[Any, str]] = {
    "a path": (pathlib.PurePosixPath("a.txt"), f"<{PATH}('a.txt')>"),
    "a Decimal": (decimal.Decimal("1.50"), "<decimal.Decimal('1.50')>"),
    "a Fraction": (fractions.Fraction(1, 3), "<fractions.Fraction(1, 3)>"),
    "a defaultdict": (
        collections.defaultdict(list, {"a": [1]}),
        "<collections.defaultdict(builtins.list) ('a', [1])>",
    ),
    "a Counter": (collections.Counter("aab"), "<collections.Counter({'a': 2, 'b': 1})>"),
    "a deque": (collections.deque([1, 2]), "<collections.deque() 1 2>"),
    "a UUID": (uuid.UUID(int=5), "<uuid.UUID() {'int': 5}>"),
    "a zone": (BERLIN, f"<{ZONE}>"),
    "a time in a zone": (
        datetime.datetime(2024, 1, 2, 3, tzinfo=BERLIN),
        f"<datetime.datetime('2024-01-02 03:00:00', {ZONE})>",
    ),
    "a time of day in a zone": (datetime.time(1, 2, tzinfo=BERLIN), f"<datetime.time('01:02:00', {ZONE})>"),
    "a masked array": (
        np.ma.array([1, 2], mask=[0, 1]),
        f"<numpy.ma.core._mareconstruct({np.ma.MaskedArray.__module__}.MaskedArray, ..., (0), 'b')>",
    ),
    "an array of a class": (np.zeros(1).view(Image), f"<{HERE}.Image((0), b'b')>"),
    "an enum": (Lens.WIDE, f"<{HERE}.Lens(1)>"),
    "an object with slots": (Sample(), f"<{HERE}.Sample() {{'name': 'TaS2', 'thickness': 1.5}}>"),
    "a list of a class": (Named([1, 2]), f"<{HERE}.Named() 1 2>"),
    "a namespace": (types.SimpleNamespace(a=1), "<types.SimpleNamespace() {'a': 1}>"),
    "a class": (Lens, f"<{HERE}.Lens>"),
    "a class of numpy": (np.ndarray, "<numpy.ndarray>"),
    "a function": (len, "<builtins.len>"),
    "many arguments": (collections.Counter(range(9)), "<collections.Counter({0: 1, 1: 1, 2: 1, 3: 1, ...})>"),
    "a long argument": (decimal.Decimal("1" * 99), f"<decimal.Decimal('{'1' * 60}'...)>"),
}


def note_npy(note: Any, protocol: int = 4) -> bytes:
    boxed = np.empty((), object)
    boxed[()] = note
    return npy(boxed, pickle.dumps(boxed, protocol))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(("value", "text"), TEXTS.values(), ids=TEXTS)
def test_what_is_no_plain_data_is_a_text_of_its_name_and_arguments(
    tmp_path: Path, export: Path, value: Any, text: str, protocol: int
) -> None:
    """The rest of the note, axes, shape and data are unchanged. allow_pickle=True gives the object."""
    note = {"before": np.arange(3), "it": value, "nested": [{"it": (value, 1)}], "after": "µ"}
    path = with_members(tmp_path / "a.npz", {"note.npy": note_npy(note, protocol)}, export)
    with lys_storage.open_wave(path) as wave:
        before = wave.note.pop("before")
        assert wave.note == {"it": text, "nested": [{"it": (text, 1)}], "after": "µ"}
        assert_same_array(before, np.arange(3))
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))
        assert (wave.shape, wave.axes[0].tolist()) == ((4, 5, 2, 3), [1.5, 2, 3, 4])
        assert isinstance(wave.note_error, UnsafeFileError)
    with lys_storage.open_wave(path, allow_pickle=True) as wave:
        assert (type(wave.note["it"]), wave.note_error) == (type(value), None)


def test_records_keys_members_and_elements_are_texts(tmp_path: Path, export: Path) -> None:
    where = pathlib.PurePosixPath("a")
    record = np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    elements = np.array([where, 1], object)
    note = {
        where: 1,
        "set": {where},
        "array": elements,
        "record": record,
        "row": record[0],
        "type": np.dtype(np.record),
    }
    path = with_members(tmp_path / "a.npz", {"note.npy": note_npy(note)}, export)
    with lys_storage.open_wave(path) as wave:
        text = f"<{PATH}('a')>"
        assert (wave.note[text], wave.note["set"], wave.note["array"].tolist()) == (1, {text}, [text, 1])
        assert [wave.note[key][:8] for key in ("record", "row")] == ["<numpy.r", "<numpy.c"]
        assert list(wave.note) == [text, "set", "array", "record", "row", "type"]


DAMAGED: dict[str, bytes | None] = {
    "noise": b"noise",
    "nothing": b"",
    "half a pickle": note_npy({"a": 1})[:-5],
    "no dict": note_npy([1]),
    "text": npy(np.array("text")),
    "a number": npy(np.array(5)),
    "two dicts": npy(np.array([{}, {}], object)),
    "a persistent name": npy(np.array({}, object), b"Pname\n."),
    "an object that is no dict": note_npy(decimal.Decimal(1)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_note_that_cannot_be_read_is_empty_and_the_data_are_handed_out(
    tmp_path: Path, export: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names the file and the problem; `verify` reports it."""
    path = with_members(tmp_path / "a.npz", {"note.npy": content}, export)
    with caplog.at_level(logging.WARNING), lys_storage.open_wave(path) as wave:
        assert wave.note == {}
        assert isinstance(wave.note_error, BadFileError)
        said = str(wave.note_error)
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))
        assert wave.axes[0].tolist() == [1.5, 2, 3, 4]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: {said}; the note is given as empty, the data are not affected"
    ]
    assert [problem.what.endswith(said) for problem in lys_storage.verify(path)] == [True]
    with lys_storage.open_wave(path, allow_pickle=True) as wave:
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))


@pytest.mark.parametrize("trust", [False, True])
def test_a_note_of_a_class_that_is_not_here_leaves_the_data(tmp_path: Path, export: Path, trust: bool) -> None:
    """The note was written where another package is installed."""
    pickled = pickle.dumps(np.array({"k": decimal.Decimal(1)}, object), 2).replace(b"decimal\n", b"elsewhere\n")
    path = with_members(tmp_path / "a.npz", {"note.npy": npy(np.array({}, object), pickled)}, export)
    with lys_storage.open_wave(path, allow_pickle=trust) as wave:
        assert wave.note == ({} if trust else {"k": "<elsewhere.Decimal('1')>"})
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))


def test_axes_that_cannot_be_read_are_an_error(tmp_path: Path, export: Path) -> None:
    """Coordinates belong to the data."""
    boxed = np.empty(1, object)
    boxed[0] = [decimal.Decimal(1)]
    for content, kind in ((b"noise", BadFileError), (npy(boxed, pickle.dumps(boxed)), UnsafeFileError)):
        path = with_members(tmp_path / "a.npz", {"axes.npy": content}, export)
        with pytest.raises(kind, match=r"a\.npz"):
            lys_storage.open_wave(path)


def test_the_note_of_a_scan_that_is_resumed_is_not_replaced_by_texts(tmp_path: Path) -> None:
    """The content of the journal is exported unchanged."""
    where = pathlib.PurePosixPath("a")
    lys_storage.create(tmp_path / "a.npz", (2,), note={"where": where}).suspend()
    lys_storage.resume(tmp_path / "a.npz").close()
    with lys_storage.open_wave(tmp_path / "a.npz", allow_pickle=True) as wave:
        assert wave.note == {"where": where}
