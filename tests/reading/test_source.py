"""What lazy arrays read: the array of an export by its path, also after a pickle, in any thread."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError
from lys_storage.disk.systems import SYSTEM
from lys_storage.reading.source import ExportSource, StackSource
from tests.helpers import assert_same_array, open_below, some
from tests.systems import not_under_wine

DATA = some((4, 5, 2, 3), "i4")


def source_of(path: Path) -> ExportSource:
    with lys_storage.open_wave(path) as wave:
        return wave._source()


def test_the_file_is_opened_at_the_first_read_and_released(export: Path) -> None:
    source = source_of(export)
    assert open_below(export.parent) == []
    assert_same_array(source[1:3, 0], DATA[1:3, 0])
    assert_same_array(source[3, 4, 1, 2], DATA[3, 4, 1, 2])
    assert type(source[3, 4, 1, 2]) is np.ndarray
    assert open_below(export.parent) == [str(export)]
    source.release()
    source.release()
    assert open_below(export.parent) == []
    assert_same_array(source[0], DATA[0])


def test_a_pickle_is_small_and_does_not_hold_what_is_open(export: Path) -> None:
    source = source_of(export)
    source[0]
    pickled = pickle.dumps(source)
    assert len(pickled) < 300 + len(str(export))
    again = pickle.loads(pickled)
    assert (again.path, again.shape, again.dtype, again.ndim) == (export, DATA.shape, DATA.dtype, 4)
    assert_same_array(again[...], DATA)


@pytest.mark.parametrize("keeps_the_size", [True, False])
def test_a_file_that_is_written_to_after_it_was_opened_is_an_error(export: Path, keeps_the_size: bool) -> None:
    source = source_of(export)
    source[0]
    changed = os.stat(export).st_mtime_ns
    with open(export, "r+b") as file:
        file.seek(0, os.SEEK_SET if keeps_the_size else os.SEEK_END)
        file.write(b"PK")
    changed += 100 * keeps_the_size  # the unit of the times of NTFS
    os.utime(export, ns=(changed, changed))
    with pytest.raises(
        BadFileError, match=r"data\.npz: a process has written to the file after it was pickled, or after"
    ):
        source[0]


@not_under_wine("an open file is not replaced")
def test_a_replaced_file_is_read_to_its_end_by_who_opened_it_and_refused_by_others(
    export: Path, tmp_path: Path
) -> None:
    source, late = source_of(export), source_of(export)
    source[0]
    with lys_storage.create(tmp_path / "new.npz", DATA.shape, DATA.dtype) as scan:
        scan[...] = DATA + 1
    SYSTEM.replace(scan.path, export)
    assert_same_array(source[...], DATA)
    with pytest.raises(BadFileError, match=r"data\.npz: is another file now"):
        late[0]
    source.release()
    with pytest.raises(BadFileError, match=r"data\.npz: is another file now"):
        source[0]


def test_threads_read_while_others_release(export: Path) -> None:
    """A thread keeps the file open that it reads: a released descriptor is never read from."""
    stack = StackSource((source_of(export),) * 2)

    def read(k: int) -> bool:
        if k % 5 == 0:
            stack.release()
        return bool((stack[k % 2, k % 4] == DATA[k % 4]).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(400)))
