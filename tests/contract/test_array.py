"""The contract: each kind of file is the same array, by index, as a whole, for numpy, and when it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, FrameIndexError, MissingFrameError, NotEnoughMemoryError, ScanClosedError
from lys_storage.disk.systems import SYSTEM
from tests.contract.conftest import Held
from tests.contract.kinds import differs
from tests.helpers import assert_same_array, in_threads

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def indices(what: Any) -> list[Any]:
    """Indices that an array of this shape takes."""
    shape, ndim = what.data.shape, what.data.ndim
    found: list[Any] = [..., ()]
    if not ndim:
        return found
    found += [np.s_[::2], np.s_[::-1], np.s_[1:], np.s_[0:0], np.s_[100:], np.s_[-99::-1], np.s_[..., -99::-1]]
    found += [
        np.s_[..., 1:3],
        np.s_[..., ::-2],
        (slice(None),) * ndim,
        (slice(None, None, -1),) * ndim,
        np.s_[-2:, ...],
    ]
    if what.data.size:
        last = tuple(n - 1 for n in shape)
        found += [
            0,
            -1,
            np.int64(0),
            (np.uint8(0), ...),
            last,
            tuple(-n for n in shape),
            (*last[:-1],),
            (..., 0),
            (..., -1),
        ]
        found += [
            (0, *(slice(None, None, -1),) * (ndim - 1)),
            (*last[:-1], slice(-99, None, -1)),
            (slice(1, None), *last[1:]),
        ]
    return found


def needs_missing(held: Held, index: Any) -> bool:
    """Whether `index` selects something of a frame that is missing."""
    lacks = np.zeros(held.what.data.shape, bool)
    lacks[~held.what.there] = True
    return held.lacks_frames and bool(lacks[index].any())


def test_sizes(held: Held) -> None:
    wave, data = held.wave, held.what.data
    assert (wave.shape, wave.dtype, wave.ndim) == (data.shape, data.dtype, data.ndim)
    assert (wave.size, wave.nbytes, type(wave.size), bool(wave)) == (data.size, data.nbytes, int, True)
    if data.ndim:
        assert len(wave) == len(data)
        return
    for ask in (len, iter):
        with pytest.raises(TypeError, match=r"has no length; read its element with \[\(\)\]"):
            ask(wave)
    assert float(wave[...]) == float(data)


def test_an_index_gives_what_numpy_gives(held: Held) -> None:
    data = held.what.data
    for index in indices(held.what):
        expected = data[index]
        expected = expected[()] if isinstance(expected, np.ndarray) else expected
        got = held.wave.read(index)
        assert_same_array(got, np.asarray(expected, data.dtype))
        assert (type(got), got.flags.writeable) == (np.ndarray, True), index
        if needs_missing(held, index) and differs(held.kind, "an index that needs a missing frame is an error"):
            with pytest.raises(MissingFrameError, match=r"needs frame .* which has not been written"):
                held.wave[index]
            continue
        got = held.wave[index]
        assert type(got) is type(expected), index
        assert_same_array(got, expected)
    assert_same_array(held.wave.read(), data)


def test_an_index_that_numpy_refuses_or_that_is_a_mask_or_a_list_is_one_error(held: Held) -> None:
    data = held.what.data
    n = len(data) if data.ndim else 1
    wrong: list[Any] = [n, -n - 1, (0,) * (data.ndim + 1), (..., ...), None, True, np.True_, 1.0, "x"]
    wrong += [[0], [[0]], np.array([0]), np.ones(data.shape, bool), (..., [0]), slice("a", None), slice(None, None, 0)]
    for index in wrong:
        for read in (held.wave.__getitem__, held.wave.read):
            with pytest.raises(FrameIndexError) as caught:
                read(index)
            assert len(str(caught.value)) < 400, "a mask is not printed whole"
    with pytest.raises(TypeError, match=r"takes one index, got 2 arguments: pass a tuple"):
        held.wave.read(0, 0)
    with pytest.raises(TypeError, match="'in' would compare every element"):
        0 in held.wave  # noqa: B015  it raises


def test_iteration(held: Held) -> None:
    if not held.what.data.ndim:
        return
    expected = list(held.what.data)
    got: list[Any] = []
    if needs_missing(held, ...) and differs(held.kind, "an index that needs a missing frame is an error"):
        with pytest.raises(MissingFrameError):
            got.extend(held.wave)
        expected = expected[: len(got)]
    else:
        got.extend(held.wave)
    for one, other in zip(got, expected, strict=True):
        assert_same_array(one, np.asarray(other, held.what.data.dtype))
        assert type(one) is type(other)


def is_refused(held: Held) -> bool:
    return held.lacks_frames and differs(held.kind, "an index that needs a missing frame is an error")


def test_numpy_takes_the_whole(held: Held) -> None:
    wave, data = held.wave, held.what.data
    if is_refused(held):
        for take in (np.asarray, np.array, lambda wave: wave.data):
            with pytest.raises(MissingFrameError, match=r"read\(index\) gives the fill value"):
                take(wave)
        return
    for taken in (np.asarray(wave), np.array(wave), np.ascontiguousarray(wave).reshape(data.shape)):
        assert_same_array(taken, data)
    assert not np.asarray(wave).flags.writeable
    assert np.array(wave).flags.writeable
    if data.dtype.kind in "?iuf":
        assert_same_array(np.asarray(wave, "c16"), data.astype("c16"))
        assert_same_array(np.asarray(wave, data.dtype.newbyteorder()), data.astype(data.dtype.newbyteorder()))
        assert np.sum(wave) == data.sum()


def test_data_is_read_only(held: Held) -> None:
    if differs(held.kind, "there is no data"):
        assert not hasattr(held.wave, "data")
        return
    if is_refused(held):
        return
    assert_same_array(held.wave.data, held.what.data)
    assert not held.wave.data.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        held.wave.data[...] = held.what.data
    is_map = isinstance(held.wave.data, np.memmap)
    assert is_map == (differs(held.kind, "the whole is a map") and held.what.data.size > 0)


def test_copy_is_what_numpy_2_says(held: Held) -> None:
    wave, data = held.wave, held.what.data
    if is_refused(held):
        return
    made = wave.__array__(copy=True)
    assert (made.flags.writeable, np.shares_memory(made, wave.__array__(copy=True))) == (True, False)
    with pytest.raises(ValueError, match="copy is False: pass copy=None"):
        wave.__array__("c16" if data.dtype != "c16" else "c8", copy=False)
    if differs(held.kind, "the whole array is a new copy each time"):
        with pytest.raises(ValueError, match="copy is False: pass copy=None"):
            wave.__array__(copy=False)
        if NUMPY_2:
            with pytest.raises(ValueError, match="copy is False: pass copy=None"):
                np.array(wave, copy=False)
        assert not np.shares_memory(np.asarray(wave), np.asarray(wave))
        return
    shared = [wave.__array__(copy=False), np.asarray(wave), *([np.array(wave, copy=False)] if NUMPY_2 else [])]
    for taken in shared:
        assert np.shares_memory(taken, wave.data) == (data.size > 0)


def test_nothing_is_assigned_and_equality_is_identity(held: Held) -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        held.wave[...] = held.what.data
    assert held.wave == held.wave
    assert (held.wave == 3) is False
    assert held.wave in {held.wave}
    assert_same_array(held.wave.read(), held.what.data)


def test_verify_finds_no_fault(held: Held) -> None:
    if differs(held.kind, "a stack is not verified"):
        assert not hasattr(held.wave, "verify")
    elif differs(held.kind, "a scan file is verified by its command"):
        with pytest.raises(BadFileError, match="lys-storage verify compares its frames with their checksums"):
            held.wave.verify()
        assert lys_storage.verify(held.wave.path) == []
    else:
        assert held.wave.verify() == []
        lys_storage.open_wave(held.wave.path, verify=True).close()
        assert lys_storage.verify(held.wave.path) == []


def test_more_than_the_memory_is_a_memory_error_in_words(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a map and of an empty array nothing has to fit."""
    monkeypatch.setattr(SYSTEM, "available_memory", lambda: 0)
    if not held.what.data.size or differs(held.kind, "the whole is a map"):
        assert_same_array(np.asarray(held.wave), held.what.data)
        return
    with pytest.raises(NotEnoughMemoryError, match="0 bytes are available"):
        np.asarray(held.wave)


def test_threads_read_at_once(held: Held) -> None:
    def read() -> None:
        for _ in range(5):
            assert_same_array(held.wave.read(), held.what.data)
            assert_same_array(held.wave.read((..., slice(None, None, -1)) if held.what.data.ndim else ()), reverse)
            assert held.wave.written.shape == held.wave.grid_shape

    reverse = held.what.data[..., ::-1] if held.what.data.ndim else held.what.data
    in_threads(read, read, read, read)


def test_a_thread_that_reads_while_another_one_closes_gets_the_data_or_the_error(labelled: Held) -> None:
    wave, began = labelled.again(), threading.Event()

    def read() -> None:
        try:
            while True:
                assert_same_array(wave.read((0, 0)), labelled.what.data[0, 0])
                began.set()
        except ScanClosedError:
            return

    def close() -> None:
        assert began.wait(20)
        wave.close()

    in_threads(read, read, close)


def test_closed(held: Held) -> None:
    wave, data = held.again(), held.what.data
    with wave as entered:
        assert entered is wave
        wave.read()
    wave.close()
    ways: list[Callable[[], Any]] = [lambda: wave[...], wave.read, lambda: np.asarray(wave), lambda: wave.written]
    ways += [wave._source, lambda: wave.__reduce_ex__(2), wave.isel, wave.sel]
    ways += [lambda: list(wave)] if data.ndim and len(data) else []
    ways += [] if differs(held.kind, "there is no data") else [lambda: wave.data, wave.verify]
    if differs(held.kind, "a closed one does not tell whether it is complete"):
        ways.append(lambda: wave.is_complete)
    else:
        assert wave.is_complete == (not held.lacks_frames)
    for way in ways:
        with pytest.raises(ScanClosedError, match=r"open_waves?$"):
            way()
    assert (wave.shape, wave.dtype, wave.ndim, wave.nbytes) == (data.shape, data.dtype, data.ndim, data.nbytes)
    assert (wave.note, len(wave.axes), wave.grid_shape) == (held.wave.note, data.ndim, held.wave.grid_shape)
    assert repr(wave) == repr(held.wave)
    assert "<td>closed</td>" in wave._repr_html_()
    assert "not known" not in wave._repr_html_()
