"""`to_dask`: a lazy array that reads a file by its path."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ScanClosedError
from lys_storage.disk.systems import SYSTEM
from lys_storage.reading import source
from tests.helpers import assert_same_array, some
from tests.systems import not_under_wine

dask = pytest.importorskip("dask", reason="dask is not installed: pip install 'lys_storage[dask]'")
pytest.importorskip("dask.array")

DATA = some((4, 5, 2, 3), "i4")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Files are opened once, and no thread outlives a test."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that lazy arrays have opened."""
    paths: list[Path] = []
    real = source.ArrayFile.open

    def note(path: Path, identity: str) -> Any:
        paths.append(path)
        return real(path, identity)

    monkeypatch.setattr(source.ArrayFile, "open", note)
    return paths


def test_a_lazy_array_reads_the_file_after_the_wave_was_closed(export: Path, opened: list[Path]) -> None:
    with lys_storage.open_wave(export) as wave:
        lazy = wave.to_dask((1, 1, 2, 3))
    assert (lazy.shape, lazy.dtype, lazy.npartitions, opened) == (DATA.shape, DATA.dtype, 20, [])
    assert_same_array(lazy.compute(), DATA)
    assert_same_array(lazy[1:3, ::-1, 0].sum(axis=0).compute(), DATA[1:3, ::-1, 0].sum(axis=0))
    assert_same_array(lazy[:, [3, 1]].compute(), DATA[:, [3, 1]])
    assert_same_array(lazy[2, 1, 1, 1].compute(), DATA[2, 1, 1, 1])
    assert opened == [export]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("data", [DATA, np.asfortranarray(DATA), np.array(7.5), np.zeros((0, 3)), some((3,), ">M8[s]")])
def test_arrays_of_other_programs_are_read(tmp_path: Path, save: Any, data: Any) -> None:
    save(tmp_path / "a.npz", data=data)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.to_dask().compute(), data)


def test_a_chunk_is_a_frame_and_small_frames_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lys_storage.create(tmp_path / "a.npz", (4, 6, 10), "u1", grid_ndim=2):
        pass
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert wave.to_dask().chunksize == (4, 6, 10)
        monkeypatch.setattr("lys_storage.format.chunks.CHUNK_BYTES", 35)
        assert wave.to_dask().chunksize == (1, 3, 10)
        monkeypatch.setattr("lys_storage.format.chunks.CHUNK_BYTES", 1)
        assert wave.to_dask("frame").chunksize == (1, 1, 10)
        assert wave.to_dask({0: 2}).chunksize == (2, 6, 10)
        assert wave.to_dask("auto").chunksize == (4, 6, 10)


def test_the_graph_is_small_and_sends_no_data(tmp_path: Path) -> None:
    """A file of 64 GiB with holes, in 1024 chunks."""
    import cloudpickle

    path = tmp_path / "a.npz"
    with lys_storage.create(path, (4,), "u1", note={"text": "x" * 10_000}, axes=[np.arange(4.0)]) as scan:
        scan[...] = 1
    with lys_storage.open_wave(path) as wave:
        large = source.ExportSource(path, wave._stored.identity, (1 << 16, 1 << 10, 1 << 10), np.dtype("u1"))
        from lys_storage.reading.dask_array import as_dask_array

        lazy = as_dask_array(large, (64, 1 << 10, 1 << 10))
        assert lazy.npartitions == 1024
        assert len(cloudpickle.dumps(lazy.__dask_graph__())) < 10_000
        assert len(pickle.dumps(wave._source())) < 500 + 2 * len(str(path))


def test_the_name_follows_from_the_file_and_the_chunks(tmp_path: Path, export: Path) -> None:
    shutil.copy(export, tmp_path / "other.npz")
    with lys_storage.open_wave(export) as wave, lys_storage.open_wave(tmp_path / "other.npz") as other:
        with dask.config.set({"array.chunk-size": "100 B"}):
            fine = wave.to_dask("auto").name
        assert fine != wave.to_dask("auto").name
        names = [wave.to_dask().name, wave.to_dask().name, wave.to_dask((1, 1, 2, 3)).name, other.to_dask().name]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_another_process_opens_the_file_once(export: Path, run_child: Callable[..., Any], tmp_path: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        (tmp_path / "pickled").write_bytes(pickle.dumps(wave.to_dask((1, 1, 2, 3))))
    child = run_child(
        """
import os, pickle, sys
from lys_storage.reading import source
os.chdir("/")
real, opened = source.ArrayFile.open, []
source.ArrayFile.open = lambda path, identity: opened.append(path) or real(path, identity)
lazy = pickle.loads(open(sys.argv[1], "rb").read())
print(int(lazy.sum().compute(scheduler="synchronous")), opened == [source.Path(sys.argv[2])])
""",
        tmp_path / "pickled",
        export,
    )
    assert (child.code, child.out.split()) == (0, [str(DATA.sum()), "True"]), child.err


def test_no_object_of_the_file_is_unpickled(tmp_path: Path, export: Path) -> None:
    """A worker reads the array only: a note that it could not unpickle does not prevent that."""
    from tests.reading.exports import with_members

    path = with_members(tmp_path / "a.npz", {"note.npy": b"\x80", "axes.npy": None}, export)
    with lys_storage.open_wave(path) as wave:
        assert wave.note_error is not None
        assert_same_array(wave.to_dask().compute(), DATA)


# -- a file that changes -----------------------------------------------------------------------------------------------


def replacement(path: Path) -> Path:
    with lys_storage.create(path, DATA.shape, DATA.dtype, grid_ndim=2) as scan:
        scan[...] = DATA + 1
    return scan.path


def test_a_file_that_is_replaced_before_it_is_read_is_an_error(export: Path, tmp_path: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        lazy = wave.to_dask()
    os.replace(replacement(tmp_path / "new.npz"), export)
    with pytest.raises(BadFileError, match=r"data\.npz: is another file now"):
        lazy.compute()


@not_under_wine("an open file is not replaced")
def test_a_file_that_is_replaced_amid_is_read_to_its_end_or_an_error_in_another_process(
    export: Path, tmp_path: Path
) -> None:
    """The file that was opened is read, as by a StoredWave. A process that opens it later refuses the other one."""
    with lys_storage.open_wave(export) as wave:
        lazy = wave.to_dask((1, 1, 2, 3))
    assert_same_array(lazy[0].compute(), DATA[0])
    SYSTEM.replace(replacement(tmp_path / "new.npz"), export)
    assert_same_array(lazy.compute(), DATA)
    with pytest.raises(BadFileError, match=r"data\.npz: is another file now"):
        pickle.loads(pickle.dumps(lazy)).compute()


def test_a_file_that_is_written_over_amid_is_an_error(export: Path, tmp_path: Path) -> None:
    """A program that copies another file over it keeps the inode."""
    with lys_storage.open_wave(export) as wave:
        lazy = wave.to_dask((1, 1, 2, 3))
    assert_same_array(lazy[0].compute(), DATA[0])
    changed = os.stat(export).st_mtime_ns + 10**9
    export.write_bytes(replacement(tmp_path / "new.npz").read_bytes())
    os.utime(export, ns=(changed, changed))
    with pytest.raises(BadFileError, match=r"data\.npz: a process has written to the file after"):
        lazy.compute()


def test_a_file_that_is_gone_is_an_os_error(export: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        lazy = wave.to_dask()
    export.unlink()
    with pytest.raises(lys_storage.StorageOSError, match=r"data\.npz"):
        lazy.compute()


def test_a_closed_wave_makes_no_lazy_array(export: Path) -> None:
    wave = lys_storage.open_wave(export)
    wave.close()
    with pytest.raises(ScanClosedError, match="open_wave"):
        wave.to_dask()
