"""Pickles in a file: plain data are loaded; everything else is refused by name, and never run."""

from __future__ import annotations

import collections
import datetime
import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import UnsafeFileError
from tests.helpers import assert_same_array, some
from tests.reading.exports import npy, with_members

# -- plain data and everything else ------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "numbers": [0, -5, 1 << 100, 2.5, float("inf"), 1 + 2j, True, None],
    "text and bytes": ["", "µ温", b"\x00\xff", bytearray(b"ab")],
    "containers": [
        {1: {2: [3, (4, {5})]}},
        (),
        set(),
        frozenset([1]),
        collections.OrderedDict(a=1),
        range(3),
        slice(1, 2),
    ],
    "dates": [
        datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
        datetime.date(2024, 1, 2),
        datetime.time(1, 2),
        datetime.timedelta(1, 2),
    ],
    "numpy scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("µ"), np.bytes_(b"x"), np.complex64(1j)],
    "numpy dates": [np.datetime64("2024-01-02T03:04"), np.timedelta64(5, "ms"), np.datetime64("NaT", "s")],
    "dtypes": [np.dtype("f4"), np.dtype(">i2"), np.dtype([("a", "f4"), ("b", "U3", (2,))]), np.dtype("M8[25s]")],
}


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


@pytest.mark.parametrize("values", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_in_a_note_come_back(tmp_path: Path, export: Path, values: list[Any], protocol: int) -> None:
    """This holds for protocol 2, which numpy wrote before 1.17, and for all others."""
    boxed = np.empty((), object)
    boxed[()] = {"values": values}
    note = npy(boxed, pickle.dumps(boxed, protocol))
    with lys_storage.open_wave(with_members(tmp_path / "a.npz", {"note.npy": note}, export)) as wave:
        actual = wave.note["values"]
    assert len(actual) == len(values)
    assert [same(one, other) for one, other in zip(actual, values, strict=True)] == [True] * len(values)


@pytest.mark.parametrize(
    "array",
    [
        *(some((2, 3), dtype) for dtype in ("f8", ">i4", "?", "c8", "U3", "S2", "M8[ns]", "m8[s]", "V3", ">U2")),
        np.asfortranarray(some((2, 3), "f8")),
        some((4,), [("a", "f4"), ("b", "i2", (2,))]),
        np.zeros((0, 3)),
        np.array(5),
        np.array([1, "a", None, [2]], dtype=object),
        np.arange(12.0)[::2],
    ],
    ids=lambda a: f"{a.dtype} {a.shape}",
)
def test_arrays_in_a_note_come_back(tmp_path: Path, array: Any) -> None:
    with lys_storage.create(tmp_path / "data.npz", (2,), note={"array": array}):
        pass
    with lys_storage.open_wave(tmp_path / "data.npz") as wave:
        actual = wave.note["array"]
    assert (actual.dtype, actual.shape, repr(actual.tolist())) == (array.dtype, array.shape, repr(array.tolist()))


class Evil:
    """Unpickling it runs a command."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


HOSTILE = {
    "os.system": Evil(os.system, "touch hacked"),
    "eval": Evil(eval, "open('hacked', 'w')"),
    "getattr": Evil(getattr, "a", "upper"),
    "numpy's own loader": Evil(np.load, "hacked"),
    "import": Evil(__import__, "antigravity"),
    "a path": Path("hacked"),
    "numpy.core.multiarray": Evil(np.fromfile, "hacked"),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_axes_of_more_than_plain_data_are_refused_by_name_and_not_run(
    tmp_path: Path, export: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    boxed = np.empty((), object)
    boxed[()] = {"x": value}
    path = with_members(tmp_path / "a.npz", {"axes.npy": npy(boxed, pickle.dumps(boxed))}, export)
    with pytest.raises(
        UnsafeFileError, match=r"names [\w.]+, which is not on the allow-list; allow_pickle=True loads it"
    ) as caught:
        lys_storage.open_wave(path)
    assert (str(path) in str(caught.value), "axes.npy" in str(caught.value)) == (True, True)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_note_of_more_than_plain_data_gives_texts_and_is_not_run(
    tmp_path: Path, export: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data and the other keys are read. `verify` says what was not checked."""
    monkeypatch.chdir(tmp_path)
    boxed = np.empty((), object)
    boxed[()] = {"x": value, "y": 1}
    path = with_members(tmp_path / "a.npz", {"note.npy": npy(boxed, pickle.dumps(boxed))}, export)
    with lys_storage.open_wave(path) as wave:
        assert (wave.note["x"][0], wave.note["x"][-2:], wave.note["y"]) == ("<", ")>", 1)
        assert isinstance(wave.note_error, UnsafeFileError)
        said = str(wave.note_error)
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))
    assert re.fullmatch(
        r"note\.npy: a pickle names [\w.]+, which is not on the allow-list; allow_pickle=True loads it, .*", said
    )
    assert [problem.what for problem in lys_storage.verify(path)] == [f"not all of it was checked: {said}"]
    assert not (tmp_path / "hacked").exists()


def test_trust_loads_a_pickle_of_more_than_plain_data(tmp_path: Path) -> None:
    """This is for the user's own files, with objects of the user's own classes."""
    note = {"path": Path("a"), "counter": collections.Counter("aab")}
    with lys_storage.create(tmp_path / "data.npz", (2,), note=note):
        pass
    with lys_storage.open_wave(tmp_path / "data.npz") as wave:
        assert wave.note["counter"] == "<collections.Counter({'a': 2, 'b': 1})>"
    with lys_storage.open_wave(tmp_path / "data.npz", allow_pickle=True) as wave:
        assert (wave.note, wave.note_error) == (note, None)


def test_recovery_never_unpickles(tmp_path: Path) -> None:
    """It copies axes and note unchanged: a scan with an unreadable note is exported."""
    scan = lys_storage.create(tmp_path / "data.npz", (2,), note={"x": Evil(os.abort)})
    scan.suspend()
    (result,) = lys_storage.recover(tmp_path)
    assert result.path == tmp_path / "data.npz"
    with lys_storage.open_wave(result.path) as wave:
        assert wave.note == {"x": f"<{os.abort.__module__}.abort()>"}


# -- pointers from bytes -----------------------------------------------------------------------------------------------


class PointerArray:
    """Reads memory at an address that the file gives: an object array over bytes."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((1,), "O", b"\x41" * 8)


class UnflaggedDtype:
    """A structured dtype that claims to have no objects, but has some."""

    def __reduce__(self) -> Any:
        return np.dtype, ("V8",), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0)


class PointerRecord:
    def __reduce__(self) -> Any:
        reconstruct = np.zeros(1).__reduce__()[0]
        return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), UnflaggedDtype(), False, b"\x41" * 8)


@pytest.mark.parametrize("value", [PointerArray(), PointerRecord()], ids=["object array over bytes", "unflagged dtype"])
@pytest.mark.parametrize(("member", "answer"), [("note.npy", "{}"), ("axes.npy", "refused")])
def test_a_pickle_that_makes_pointers_of_bytes_is_refused(
    tmp_path: Path, run_child: Any, value: object, member: str, answer: str
) -> None:
    """numpy's own constructors, called with arguments of a file, read (and call) any address."""
    lys_storage.create(tmp_path / "good.npz", (2,), "u1").close()
    boxed = np.empty((), object)
    boxed[()] = {"x": value}
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            hostile = head.getvalue() + pickle.dumps(boxed)
            bad.writestr(name, hostile if name == member else good.read(name))
    child = run_child("""
import lys_storage
try:
    print(lys_storage.open_wave("bad.npz").note)
except lys_storage.BadFileError as error:
    print("refused")
""")
    assert (child.code, child.out.strip()) == (0, answer)
