"""`Scan` and `StoredWave` support array operations; the operations that they do not support raise a clear error."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import lys_storage
from lys_storage import FrameIndexError, Scan, ScanClosedError, StoredWave
from tests.fixtures import Faults
from tests.helpers import assert_same_array, some
from tests.systems import IS_WINDOWS

DATA = some((4, 5, 2, 3), "i4")
Kind = Scan | StoredWave


def a_scan(path: Path, data: np.ndarray[Any, Any]) -> Scan:
    scan = lys_storage.create(path, data.shape, data.dtype, grid_ndim=min(data.ndim, 1), flush_interval_s=None)
    scan[...] = data
    return scan


def an_export(path: Path, data: np.ndarray[Any, Any]) -> StoredWave:
    a_scan(path, data).close()
    return lys_storage.open_wave(path)


def a_compressed_file(path: Path, data: np.ndarray[Any, Any]) -> StoredWave:
    np.savez_compressed(path, data=data)
    return lys_storage.open_wave(path)


KINDS = pytest.mark.parametrize("make", [a_scan, an_export, a_compressed_file])


@pytest.fixture
def held(make: Callable[..., Kind], tmp_path: Path) -> Iterator[Kind]:
    with make(tmp_path / "data.npz", DATA) as held:
        yield held


def whole(held: Kind) -> np.ndarray[Any, Any]:
    return held.array if isinstance(held, Scan) else held.data


# -- an index ----------------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(
    "index",
    [
        *(0, -1, (1, 2), (-4, -5, -2, -3), np.int64(2), np.uint8(3), (np.int32(1), -1), ..., (), (..., 1), (1, ...)),
        *(np.s_[1:3], np.s_[::2], np.s_[::-1], np.s_[3:0:-2, 1], np.s_[0:0], np.s_[..., ::2], np.s_[1, :, 0, ::-1]),
        *(np.s_[-2:, 3], np.s_[100:], np.s_[:-1, -1]),
    ],
    ids=repr,
)
def test_an_index_reads_what_numpy_would_and_read_takes_the_same(held: Kind, index: Any) -> None:
    assert_same_array(held[index], DATA[index])
    assert_same_array(held.read(index), DATA[index])
    assert type(held.read(index)) is np.ndarray
    assert type(held[index]) is (np.ndarray if DATA[index].ndim else np.int32)
    assert DATA[index].ndim == 0 or held[index].flags.writeable, "a copy"


@KINDS
def test_read_without_an_index_is_the_whole(held: Kind) -> None:
    assert_same_array(held.read(), DATA)


@KINDS
@pytest.mark.parametrize(
    ("index", "said"),
    [
        pytest.param([0, 1], "has [0, 1], which is not an int, slice or '...'", id="a list"),
        pytest.param(np.array([0, 1]), "has array([0, 1]), which is not an int", id="an array of ints"),
        pytest.param(DATA > 3, "is or contains a mask", id="a mask"),
        pytest.param((0, [True, False]), "has [True, False], which is not an int", id="a list of bools"),
        pytest.param(True, "is or contains a mask", id="a bool"),
        pytest.param(None, "has None, which is not an int", id="a new axis"),
        pytest.param("x", "has 'x', which is not an int", id="text"),
        pytest.param(1.0, "has 1.0, which is not an int", id="a float"),
    ],
)
def test_masks_and_lists_are_refused_with_what_takes_them(held: Kind, index: Any, said: str) -> None:
    takes = "scan.array" if isinstance(held, Scan) else "wave.data"
    for read in (held.__getitem__, held.read):
        with pytest.raises(FrameIndexError) as caught:
            read(index)
        assert said in str(caught.value)
        assert f"{takes}[index] takes masks and lists as well" in str(caught.value)
        assert len(str(caught.value)) < 350, "a mask is not printed whole"
        assert "\n" not in str(caught.value)


@KINDS
@pytest.mark.parametrize(
    ("index", "said"),
    [
        pytest.param(4, "out of range for shape (4, 5, 2, 3)", id="behind the end"),
        pytest.param((0, -6), "out of range for shape (4, 5, 2, 3)", id="before the beginning"),
        pytest.param((0, 0, 0, 0, 0), "more entries than the 4 dimensions", id="too many"),
        pytest.param(slice("a", None), "slice indices must be integers", id="a slice of text"),
        pytest.param(slice(None, None, 0), "slice step cannot be zero", id="a step of zero"),
    ],
)
def test_an_index_that_names_nothing_is_an_index_error(held: Kind, index: Any, said: str) -> None:
    with pytest.raises(FrameIndexError, match=r"^index ") as caught:
        held[index]
    assert said in str(caught.value)


@KINDS
@pytest.mark.parametrize(("given", "shown"), [((3, 4), "read((3, 4))"), ((0, ..., 1), "read((0, Ellipsis, 1))")])
def test_several_arguments_are_a_type_error_that_shows_the_tuple(held: Kind, given: Any, shown: str) -> None:
    """The message shows the tuple, because earlier scripts used several arguments."""
    with pytest.raises(TypeError) as caught:
        held.read(*given)
    assert shown in str(caught.value)


@KINDS
@pytest.mark.parametrize("dtype", [">i2", "S5", ">M8[s]", [("a", "f4"), ("b", ">u2")]], ids=str)
def test_read_keeps_the_dtype_of_one_element_and_an_operator_gives_what_numpy_gives(
    make: Callable[..., Kind], tmp_path: Path, dtype: Any
) -> None:
    data = some((2, 3), dtype)
    with make(tmp_path / "data.npz", data) as held:
        assert_same_array(held.read((1, 2)), data[1:, 2:].reshape(()))
        assert (type(held[1, 2]), held[1, 2]) == (type(data[1, 2]), data[1, 2])


# -- sizes, iteration, truth -------------------------------------------------------------------------------------------


@KINDS
def test_sizes_are_those_of_the_array(held: Kind) -> None:
    assert (held.shape, held.dtype, held.ndim, len(held)) == (DATA.shape, DATA.dtype, 4, 4)
    assert (held.size, held.nbytes, type(held.size)) == (DATA.size, DATA.nbytes, int)


@KINDS
def test_without_a_dimension_there_is_no_length(make: Callable[..., Kind], tmp_path: Path) -> None:
    with make(tmp_path / "data.npz", np.array(7.5)) as held:
        assert (held.ndim, held.size, held.nbytes, bool(held)) == (0, 1, 8, True)
        assert_same_array(held[()], np.array(7.5))
        assert_same_array(np.asarray(held), np.array(7.5))
        for ask in (len, iter):
            with pytest.raises(TypeError, match=r"of shape \(\) has no length; read its element with \[\(\)\]"):
                ask(held)  # type: ignore[operator]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_an_object_is_true_also_of_length_0(tmp_path: Path, save: Any, shape: tuple[int, int]) -> None:
    save(tmp_path / "data.npz", data=np.zeros(shape))
    with lys_storage.open_wave(tmp_path / "data.npz") as wave:
        assert (bool(wave), len(wave), wave.size, wave.nbytes) == (True, shape[0], 0, 0)
        assert [frame.shape for frame in wave] == [(0,)] * shape[0]
        assert_same_array(np.asarray(wave), np.zeros(shape))


@KINDS
def test_iteration_gives_the_first_dimension_and_ends(held: Kind) -> None:
    frames = iter(held)
    for expected in DATA:
        assert_same_array(next(frames), expected)
    with pytest.raises(StopIteration):
        next(frames)
    for got, expected in zip(reversed(held), DATA[::-1], strict=True):
        assert_same_array(got, expected)


@KINDS
def test_in_is_refused_in_words_and_equality_is_identity(held: Kind) -> None:
    with pytest.raises(TypeError, match=r"use \(value == (scan\.array|wave\.data)\)\.any\(\)"):
        3 in held  # noqa: B015  it raises
    assert held == held
    assert (held == 3) is False
    assert len({held, held}) == 1


# -- numpy -------------------------------------------------------------------------------------------------------------


@KINDS
def test_numpy_takes_the_array_and_never_the_object(held: Kind) -> None:
    for taken in (np.asarray(held), np.array(held), np.asanyarray(held), np.ascontiguousarray(held)):
        assert_same_array(taken, DATA)
    assert_same_array(np.asarray(held, "f8"), DATA.astype("f8"))
    assert_same_array(np.add(held, 1), DATA + 1)
    assert_same_array(np.concatenate([held, held]), np.concatenate([DATA, DATA]))
    assert (np.sum(held), np.shape(held), np.ndim(held), np.size(held)) == (DATA.sum(), DATA.shape, 4, DATA.size)


@KINDS
def test_asarray_shares_memory_and_is_read_only_and_array_is_a_copy(held: Kind) -> None:
    """`asarray` makes no copy, because a scan can be larger than the memory."""
    assert np.shares_memory(np.asarray(held), whole(held))
    assert not np.asarray(held).flags.writeable
    taken = np.array(held)
    assert taken.flags.writeable
    assert not np.shares_memory(taken, whole(held))


@KINDS
@pytest.mark.parametrize("dtype", [None, "i4", np.int32])
def test_copy_means_what_numpy_2_says(held: Kind, dtype: Any) -> None:
    for keep in (None, False):
        assert np.shares_memory(held.__array__(dtype, copy=keep), whole(held))
    made = held.__array__(dtype, copy=True)
    assert_same_array(made, DATA)
    assert not np.shares_memory(made, whole(held))
    assert made.flags.writeable
    with pytest.raises(ValueError, match="needs a copy, but copy is False: pass copy=None"):
        held.__array__("f8", copy=False)


@KINDS
@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy 1 takes copy=False for if needed")
def test_numpy_2_passes_copy_on(held: Kind) -> None:
    assert np.shares_memory(np.array(held, copy=False), whole(held))
    assert not np.shares_memory(np.asarray(held, copy=True), whole(held))  # type: ignore[call-overload,unused-ignore]
    with pytest.raises(ValueError, match="copy is False"):
        np.array(held, "f8", copy=False)


@KINDS
def test_what_is_over_is_refused_in_words_by_each_way_to_read(make: Any, tmp_path: Path) -> None:
    held = make(tmp_path / "data.npz", DATA)
    held.close()
    ways: list[Callable[[], Any]] = [
        lambda: held[0],
        lambda: held.read(0),
        lambda: list(held),
        lambda: np.asarray(held),
    ]
    for way in ways:
        with pytest.raises(ScanClosedError, match="open_wave"):
            way()
    assert (len(held), held.ndim, held.size) == (4, 4, DATA.size)


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [copy.copy, copy.deepcopy, pickle.dumps, lambda scan: pickle.dumps(scan, 0)])
def test_a_copy_and_a_pickle_of_a_scan_are_refused_with_what_to_do(
    tmp_path: Path, attempt: Callable[[Any], Any]
) -> None:
    """A copy would be a writer without a lock. Copies of a StoredWave: tests/reading/test_pickle.py."""
    with a_scan(tmp_path / "data.npz", DATA) as scan:
        with pytest.raises(TypeError, match=r"cannot be copied or pickled: pass its path, or np\.array\("):
            attempt(scan)
        assert_same_array(scan[0], DATA[0])


# -- in a notebook -----------------------------------------------------------------------------------------------------


def rows(html: str) -> dict[str, str]:
    """The rows of the table as {name: text}, as a browser shows them."""
    table = ElementTree.fromstring(html)
    assert (table.tag, table[0].tag) == ("table", "caption")
    return {row[0].text or "": row[1].text or "" for row in table[1:]}


NOTE = {"sample": 1, "<b>&": 2, "\ud800": 3}


def test_a_notebook_shows_a_table_of_a_scan_and_reads_no_data(tmp_path: Path, faults: Faults) -> None:
    axes: dict[str, Any] = {
        "axes": [[1.5, 2.5], None, None],
        "axis_names": ["x", "y", "<z>"],
        "units": ["mm", None, None],
    }
    path = tmp_path / ("a&b.npz" if IS_WINDOWS else "<a>&b.npz")
    scan = lys_storage.create(path, (2, 3, 4), "u2", note=NOTE, grid_ndim=2, **axes)
    scan[0] = 7
    assert len(scan.axes) == 3, "read from the journal, once"
    faults.calls.clear()
    shown = rows(scan._repr_html_())
    assert shown == {
        "path": str(path),
        "shape": "(2, 3, 4)",
        "dtype": "uint16",
        "frames": "3 of 6 written",
        "state": "open",
        "axes": "x: 1.5 ... 2.5 mm (2 points); y: 0.0 ... 2.0 (3 points); <z>: 0.0 ... 3.0 (4 points)",
        "note": "sample, <b>&, \\ud800",
    }
    assert faults.calls["read"] == faults.calls["map"] == 0
    scan.close()
    over = rows(scan._repr_html_())
    assert (over["state"], "axes" in over) == ("saved", False)


def test_a_notebook_does_not_wait_for_an_export_in_another_thread(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (2, 3)) as scan:
        with ThreadPoolExecutor(1) as thread, scan._lifecycle.lock:
            shown = rows(thread.submit(scan._repr_html_).result(20))
        assert (shown["frames"], "axes" in shown, "note" in shown) == ("0 of 1 written", False, False)
        assert "note" not in rows(scan._repr_html_()), "it is empty"
        assert "axes" in rows(scan._repr_html_())


@KINDS
def test_a_table_of_what_is_closed_or_deleted_is_shown_all_the_same(make: Any, tmp_path: Path) -> None:
    held = make(tmp_path / "data.npz", DATA)
    before = rows(held._repr_html_())
    assert before["shape"] == "(4, 5, 2, 3)"
    held.close()
    (tmp_path / "data.npz").unlink()
    after = rows(held._repr_html_())
    assert (after["shape"], after["state"]) == ("(4, 5, 2, 3)", "saved" if isinstance(held, Scan) else "closed")


def test_a_table_of_an_export_has_its_frames_axes_and_the_keys_of_its_note(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (2, 3), axes=[["x", "y"]], note=dict.fromkeys(range(50))) as scan:
        scan[1] = 0.0
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        shown = rows(wave._repr_html_())
        assert (shown["frames"], shown["axes"]) == ("1 of 2 written", "x ... y (2 points); 0.0 ... 2.0 (3 points)")
        assert shown["note"].endswith("18, 19 and 30 more")
        wave.note = {Unprintable(): 1}
        assert rows(wave._repr_html_())["note"] == "not known: ZeroDivisionError"


class Unprintable:
    def __str__(self) -> str:
        raise ZeroDivisionError
