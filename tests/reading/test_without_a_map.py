"""Nothing is mapped or decompressed until `data` is read: everything else works where maps are refused."""

from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, StorageOSError
from lys_storage.cli import main
from lys_storage.recovery import list_scans
from tests.helpers import assert_same_array, some


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.ENODEV, errno.EACCES], ids=errno.errorcode.get)
def test_where_maps_are_refused_all_but_data_is_read(
    export: Path, monkeypatch: pytest.MonkeyPatch, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """File systems without maps give ENODEV. The error of `data` names the alternative."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(mmap, "mmap", refuse)
    with lys_storage.open_wave(export) as wave:
        assert (wave.shape, wave.note) == ((4, 5, 2, 3), {"a": [1]})
        assert_same_array(wave.read(0), some((4, 5, 2, 3), "i4")[0])
        with pytest.raises(StorageOSError, match=r"map: .*; wave\.read\(index\) reads without a map") as caught:
            _ = wave.data
    assert (caught.value.errno, caught.value.filename) == (code, str(export))
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(export)])
    assert "(4, 5, 2, 3)" in capsys.readouterr().out
    assert [entry.state for entry in list_scans(export.parent)] == ["finalized"]
    assert lys_storage.verify(export) == []


@pytest.mark.skipif(os.name != "posix" or not Path("/proc/self/statm").exists(), reason="limits as Linux has them")
def test_under_a_limit_of_memory_a_larger_file_is_read(tmp_path: Path, run_child: Callable[..., Any]) -> None:
    """Batch systems set `ulimit -v`."""
    lys_storage.create(tmp_path / "a.npz", (256, 1 << 20), "u1", grid_ndim=1, fill_value=0).close()
    child = run_child(
        """
import os, resource, sys, lys_storage, lys_storage.cli
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * os.sysconf("SC_PAGE_SIZE") + (200 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
with lys_storage.open_wave("a.npz") as wave:
    print(wave.shape, wave.read(0).sum(), len(wave.axes))
    try:
        wave.data
    except lys_storage.StorageOSError as error:
        print("read" in str(error))
for command in (["info", "a.npz"], ["ls", "."]):
    try:
        lys_storage.cli.main(command)
    except SystemExit as end:
        print("exit", end.code)
"""
    )
    lines = child.out.splitlines()
    assert lines[:2] == ["(256, 1048576) 0 2", "True"], child.err
    assert [line for line in lines if line.startswith("exit")] == ["exit 0", "exit 0"], child.out


def test_a_compressed_array_takes_no_memory_until_it_is_asked_for(tmp_path: Path) -> None:
    data = np.zeros((64, 1 << 16))
    np.savez_compressed(tmp_path / "a.npz", data=data)
    tracemalloc.start()
    try:
        with lys_storage.open_wave(tmp_path / "a.npz") as wave:
            assert (wave.shape, wave.dtype) == (data.shape, data.dtype)
            assert tracemalloc.get_traced_memory()[1] < data.nbytes // 8
            assert wave.data.nbytes == data.nbytes
    finally:
        tracemalloc.stop()


def test_a_compressed_array_that_has_rotten_is_a_bad_file_when_it_is_asked_for(tmp_path: Path) -> None:
    """With `verify` it is one when it is opened."""
    np.savez_compressed(tmp_path / "a.npz", data=some((100_000,), "i8"))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[-1000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave, pytest.raises(BadFileError, match=r"a\.npz"):
        _ = wave.data
    with pytest.raises(BadFileError, match=r"a\.npz"):
        lys_storage.open_wave(tmp_path / "a.npz", verify=True)


def test_data_is_one_map_however_often_it_is_asked_for(export: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        assert wave.data is wave.data
        assert (isinstance(wave.data, np.memmap), wave.data.filename) == (True, str(export))


def _in_child(wave: lys_storage.StoredWave, answer: Any) -> None:
    answer.put((int(wave.data.sum()), int(wave.read().sum())))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_reads_the_data_of_a_wave_that_its_parent_opened(export: Path) -> None:
    """The parent may not have read the data before."""
    context = multiprocessing.get_context("fork")
    with lys_storage.open_wave(export) as wave:
        answer = context.SimpleQueue()
        child = context.Process(target=_in_child, args=(wave, answer))
        child.start()
        child.join(20)
        total = int(some((4, 5, 2, 3), "i4").sum())
        assert (child.exitcode, answer.empty() or answer.get()) == (0, (total, total))
