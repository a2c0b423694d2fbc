"""`lys.Wave` of our file equals `lys.Wave` of lys's own export of the same array, axes and note.

One child process exports each case with lys and loads both files, because `import lys` makes a QApplication.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lys") is None, reason="lys is not installed (numpy < 2)")


@dataclass
class Case:
    array: np.ndarray[Any, Any]
    axes: list[Any]
    note: dict[Any, Any]


def ramp(*shape: int, dtype: Any = float) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


RECORD = np.dtype([("x", "<f8"), ("count", "<i4"), ("name", "S3")])

CASES = {
    "axes of different lengths": Case(ramp(2, 3), [[1.0, 2.0], [0.5, 1.5, 2.5]], {"Notes": None}),
    "axes of equal lengths": Case(ramp(3, 3), [np.arange(3) * 0.1, np.arange(3) * 0.2], {"key": 1}),
    "equal lengths and int": Case(ramp(3, 3), [np.arange(3), np.arange(3) + 5], {}),
    "equal lengths, int and float": Case(ramp(3, 3), [np.arange(3), np.arange(3) * 0.5], {}),
    "equal lengths and float32": Case(ramp(3, 3), [np.arange(3, dtype="f4") / 3, np.arange(3, dtype="f4") / 7], {}),
    "equal lengths and int16": Case(ramp(2, 2), [np.arange(2, dtype="i2"), np.arange(2, dtype="i2")], {}),
    "equal lengths, one float32": Case(ramp(2, 2), [np.arange(2, dtype="f4") / 3, np.arange(2) * 0.5], {}),
    "one axis": Case(ramp(4), [np.linspace(0, 1, 4)], {"key": "value"}),
    "one axis of one point": Case(ramp(1), [[2.5]], {}),
    "float32 axes": Case(ramp(2, 3), [np.arange(2, dtype="f4") / 3, np.arange(3, dtype="f4") / 7], {}),
    "int axes": Case(ramp(2, 3), [np.arange(2), np.arange(3, dtype="i2")], {}),
    "int lists as axes": Case(ramp(2, 3), [[1, 2], [3, 4, 5]], {}),
    "big-endian axes": Case(ramp(2, 3), [np.arange(2, dtype=">f8"), np.arange(3, dtype=">i4")], {}),
    "complex axis": Case(ramp(2, 3), [np.array([1j, 2]), None], {}),
    "bool axis": Case(ramp(2, 3), [np.array([True, False]), None], {}),
    "axes of text": Case(ramp(2, 3), [["on", "off"], ["α", "βγ", "δ"]], {}),
    "an axis of two-dimensional points": Case(ramp(3, 2), [np.arange(6.0).reshape(3, 2), [1.0, 2.0]], {}),
    "no axes": Case(ramp(2, 3), [], {"key": "value"}),
    "None axes": Case(ramp(2, 3), [None, None], {}),
    "None axes of equal lengths": Case(ramp(3, 3), [None, None], {}),
    "None and an axis": Case(ramp(2, 3), [None, [1.0, 2.0, 3.0]], {}),
    "fewer axes than dimensions": Case(ramp(2, 3, 4), [[1.0, 2.0]], {}),
    "0-d data": Case(np.array(2.5), [], {"key": "value"}),
    "empty note": Case(ramp(2), [], {}),
    "non-ASCII note": Case(ramp(2), [], {"Notes": "温度 20 °C", "größe": "µm", 3: ("a", None)}),
    "nested note": Case(ramp(2), [], {"a": {"b": [1, 2.5, np.float32(3), np.arange(3)]}}),
    "big-endian data": Case(ramp(2, 3, dtype=">f4"), [[1.0, 2.0], None], {}),
    "big-endian ints": Case(ramp(2, 3, dtype=">u2"), [], {}),
    "structured data": Case(np.array([(1.5, 2, b"abc"), (2.5, 3, b"d")], RECORD), [[1.0, 2.0]], {}),
    "uint16": Case(ramp(2, 3, dtype="u2"), [], {}),
    "int64": Case(np.array([2**62 + 1, -1]), [], {}),
    "float16": Case(ramp(5, dtype="f2"), [], {}),
    "complex64": Case(ramp(2, 3, dtype="c8") * (1 + 2j), [], {}),
    "bool": Case(np.array([True, False]), [], {}),
    "text data": Case(np.array(["a", "βγ"]), [], {}),
    "NaN, infinity, minus zero": Case(np.array([np.nan, np.inf, -0.0]), [], {}),
    "five dimensions": Case(ramp(1, 2, 1, 3, 2), [None, [1.0, 2.0], [0], None, [5, 6]], {}),
}


def described(array: Any) -> tuple[Any, ...]:
    """Everything in which two arrays can differ. The child computes it, because a pickle would lose the byte order."""
    array = np.asarray(array)
    values = array.tolist() if array.dtype.hasobject else array.tobytes()
    return array.dtype.str, array.dtype.descr, array.shape, values


def described_wave(data: Any, axes: Any, note: Any) -> tuple[Any, ...]:
    return described(data), [described(axis) for axis in axes], repr(dict(note))


CHILD = """
import os, pickle, sys
import lys_storage.qt
import lys
from tests.qt.test_lys_equality import CASES, described_wave

def told(path):
    wave = lys.Wave(path)
    return described_wave(wave.data, wave.axes, wave.note)

results = {}
for number, (name, case) in enumerate(CASES.items()):
    wave = lys.Wave(case.array, *case.axes) if case.array.ndim else lys.Wave()
    if not case.array.ndim:  # lys.Wave(0-d array) asks for its length
        wave.data = case.array
    wave.note = case.note
    wave.export(f"lys {number}.npz")
    results[name] = told(f"lys {number}.npz"), told(f"ours µ {number}.npz")
with open("answer", "wb") as file:
    pickle.dump(results, file)
os._exit(0)  # lys leaves threads to the end of the process
"""


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each case, what lys loads of its own file and of ours."""
    folder = tmp_path_factory.mktemp("equality")
    for number, case in enumerate(CASES.values()):
        path = folder / f"ours µ {number}.npz"
        with lys_storage.create(
            path, case.array.shape, case.array.dtype, axes=case.axes, note=case.note, grid_ndim=0
        ) as scan:
            scan[()] = case.array
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = pickle.loads((folder / "answer").read_bytes())
    return answer


@pytest.mark.parametrize("name", CASES)
def test_lys_loads_our_file_as_it_loads_its_own(waves: dict[str, Any], name: str) -> None:
    """Data, dtype, axes (values and dtypes) and note are equal bit for bit."""
    expected, actual = waves[name]
    assert actual == expected
    assert actual[0] == described(CASES[name].array)


@pytest.mark.parametrize("name", CASES)
def test_open_wave_tells_what_lys_loads(tmp_path: Path, waves: dict[str, Any], name: str) -> None:
    """This holds for frames that were written one by one, the last one first, and for the whole array."""
    case = CASES[name]
    path = tmp_path / "scan.npz"
    with lys_storage.create(path, case.array.shape, case.array.dtype, axes=case.axes, note=case.note) as scan:
        for index in reversed(list(np.ndindex(case.array.shape))):
            scan[index] = case.array[index]
    with lys_storage.open_wave(path) as wave:
        assert described_wave(wave.data, wave.axes, wave.note) == waves[name][0]


TIMES = np.array(["2026-01-01T00:00:00.123456789", "2026-01-02"], "M8[ns]")


def test_lys_loads_axes_of_times_and_large_numbers_of_one_length_as_what_they_are(tmp_path: Path) -> None:
    """lys's own export stores nanoseconds as integers there, and cannot be loaded with numbers beyond 63 bits."""
    large = np.array([1, 2**63], "u8")
    with lys_storage.create(tmp_path / "times.npz", (2, 2, 2), "u1", axes=[TIMES, large, None]):
        pass
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, lys_storage.qt, lys; wave = lys.Wave('times.npz'); "
            "print(*[(a.dtype.str, a.tolist()) for a in wave.axes], sep='\\n', flush=True); os._exit(0)",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == [
        str(("<M8[ns]", TIMES.tolist())),
        str(("<u8", large.tolist())),
        str(("<f8", [0.0, 1.0])),
    ]
