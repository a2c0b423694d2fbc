"""The contract: pickles, copies and lazy arrays of each kind, and what they do if the file is replaced."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, MissingFrameError
from tests.contract.conftest import Held
from tests.contract.contents import CONTENTS, LABELLED, begin
from tests.contract.kinds import differs
from tests.helpers import assert_same_array
from tests.systems import not_on_windows

REFUSED = "there are no lazy arrays and no pickles"


def assert_refused(*ways: Callable[[], Any]) -> None:
    for way in ways:
        with pytest.raises(BadFileError, match=r"is a scan in progress, and not an export yet.*lys_storage\.follow"):
            way()


@pytest.mark.parametrize("attempt", [copy.copy, copy.deepcopy, lambda wave: pickle.loads(pickle.dumps(wave))])
def test_copies_and_pickles(held: Held, attempt: Callable[[Any], Any]) -> None:
    if differs(held.kind, REFUSED):
        assert_refused(lambda: attempt(held.wave))
        return
    with attempt(held.wave) as again:
        assert (type(again), repr(again)) == (type(held.wave), repr(held.wave).replace(os.sep, os.sep))
        assert_same_array(again.read(), held.what.data)
        assert_same_array(again.written, held.wave.written)
        assert (again.note, again.dims, again.units) == (held.wave.note, held.wave.dims, held.wave.units)
    assert_same_array(held.wave.read(), held.what.data)  # it is open still


def test_a_pickle_holds_no_data(labelled: Held) -> None:
    if not differs(labelled.kind, REFUSED):
        assert len(pickle.dumps(labelled.wave)) < 5000


def test_dask(held: Held) -> None:
    pytest.importorskip("dask", reason="dask is not installed: pip install 'lys_storage[dask]'")
    if differs(held.kind, REFUSED):
        assert_refused(held.wave.to_dask)
        return
    wave, data = held.again(), held.what.data
    with wave:
        lazy, one = wave.to_dask(), wave.to_dask(chunks=1)
    assert (lazy.shape, lazy.dtype) == (data.shape, data.dtype)
    assert_same_array(lazy.compute(scheduler="threads"), data)  # after close()
    assert_same_array(
        np.asarray(one[..., ::-1].compute(scheduler="sync")) if data.ndim else data,
        data[..., ::-1] if data.ndim else data,
    )


def test_xarray(held: Held) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed: pip install 'lys_storage[xarray]'")
    if differs(held.kind, REFUSED):
        assert_refused(held.wave.to_xarray)
        return
    data = held.what.data
    array = held.wave.to_xarray()
    assert (array.dims, array.shape, array.attrs) == (held.wave.dims, data.shape, held.wave.note)
    assert ("written" in array.coords) == (not held.wave.is_complete)
    if held.lacks_frames:
        assert_same_array(array.written.values, held.what.there)
    for dim, unit, axis in zip(held.wave.dims, held.wave.units, held.wave.axes, strict=True):
        if dim in array.coords:
            assert array.coords[dim].attrs == ({"units": unit} if unit else {})
            assert np.array_equal(array.coords[dim].values, axis)
    if data.ndim:
        assert_same_array(array[..., ::-1].values, data[..., ::-1])
        assert_same_array(array[..., :1].values, data[..., :1])
    assert_same_array(array.values, data)
    array.close()


def test_lys_gets_no_frame_that_is_missing(held: Held) -> None:
    """What `to_lys` takes: lys needs a process of its own, see tests/interop/test_lys_waves.py."""
    if held.lacks_frames and differs(held.kind, "an index that needs a missing frame is an error"):
        with pytest.raises(MissingFrameError):
            held.wave._load("")
        return
    made = held.wave._load("")
    assert_same_array(made, held.what.data)
    assert made.flags.writeable


# -- a file that is replaced -------------------------------------------------------------------------------------------


def other_file(path: Path) -> Path:
    """An export of the same shape and dtype as the content with labels, with other values."""
    what = CONTENTS[LABELLED]
    with lys_storage.create(path, what.data.shape, what.data.dtype, grid_ndim=2) as scan:
        scan[...] = what.data + 1
    return path


def of_one_kind(folder: Path, kind: str) -> Path:
    """A file of the content with labels, which may be replaced."""
    what, path = CONTENTS[LABELLED], folder / "data.npz"
    if kind == "numpy":
        np.savez(path, data=what.data)
    elif kind == "deflated":
        np.savez_compressed(path, data=what.data)
    else:
        scan = begin(path, what, with_missing=kind == "recovered")
        scan.suspend() if kind == "recovered" else scan.close()
        assert kind != "recovered" or len(lys_storage.recover(folder)) == 1
    return path


FILES = pytest.mark.parametrize("kind", ["export", "recovered", "numpy", "deflated"])


@FILES
@not_on_windows("a file that is open, and mapped, is not replaced")
def test_what_is_open_reads_the_file_that_was_opened(tmp_path: Path, kind: str) -> None:
    path, data = of_one_kind(tmp_path, kind), CONTENTS[LABELLED].data
    with lys_storage.open_wave(path) as wave:
        os.replace(other_file(tmp_path / "other.npz"), path)
        assert_same_array(wave[1], data[1])
        assert_same_array(np.asarray(wave), data)
        assert_same_array(wave.read(), data)


@FILES
@pytest.mark.parametrize("how", ["another export", "the same name, removed", "its bytes changed"])
def test_a_lazy_array_of_a_replaced_file_is_an_error(tmp_path: Path, kind: str, how: str) -> None:
    pytest.importorskip("dask", reason="dask is not installed: pip install 'lys_storage[dask]'")
    path = of_one_kind(tmp_path, kind)
    with lys_storage.open_wave(path) as wave, lys_storage.open_waves([path, path]) as waves:
        lazy = [wave.to_dask(), waves.to_dask()]
        pickled = pickle.dumps(wave)
    if how == "another export":
        os.replace(other_file(tmp_path / "other.npz"), path)
    elif how == "its bytes changed":
        shutil.copyfile(other_file(tmp_path / "other.npz"), path)
    else:
        path.unlink()
    wanted: Any = lys_storage.StorageOSError if not path.exists() else BadFileError
    for way in (*(array.compute for array in lazy), lambda: pickle.loads(pickled)):
        with pytest.raises(wanted, match=r"data\.npz"):
            way()
