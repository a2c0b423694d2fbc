"""The compiled fast path of frames and checksums does the same as Python: same files, same errors, same counts."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib.util
import os
import subprocess
import sys
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lys_storage
from lys_storage._version import VERSION
from lys_storage.disk import File, preadv_is_native
from lys_storage.disk.systems import SYSTEM
from lys_storage.errors import LysStorageError
from lys_storage.format import CRC32_ADDRESS
from lys_storage.journal import ABSENT, BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, REWRITING, WRITING, WRITTEN
from lys_storage.scan import Scan
from lys_storage.scan.checksum_thread import ChecksumThread
from lys_storage.store import NOT_STORED, STORED, STORED_WAKE, Checksummer
from lys_storage.store import checksummer as checksummer_module
from lys_storage.store.hotpath import COMPILED, TableState

needs_it = pytest.mark.usefixtures("compiled_here")
DEADLINE_S = 60
SHAPE, FRAME = (3, 4, 2, 3), (2, 3)
FRAMES = 12


@pytest.fixture
def compiled_here(tmp_path: Path) -> None:
    if not COMPILED:
        pytest.skip("not built here, or LYS_STORAGE_PURE is set: Python is all there is")
    probe = File.create(tmp_path / "probe")
    by_map = probe.keeps_mapped_stores()
    probe.close()
    (tmp_path / "probe").unlink()
    if not by_map:
        pytest.skip("states are written on this filesystem, which Python does")


def begin(path: Path, *, compiled: bool = True, shape: tuple[int, ...] = SHAPE, **more: Any) -> Scan:
    scan = lys_storage.create(path, shape, "u2", **{"grid_ndim": 2, "flush_interval_s": None, **more})
    if not compiled:
        scan._writer._write_fast = scan._writer.write_item_fast = None
    return scan


def frame(k: int) -> np.ndarray[Any, Any]:
    return np.full(FRAME, 100 + k, "u2") + np.arange(6, dtype="u2").reshape(FRAME)


def state(scan: Scan) -> dict[str, Any]:
    store = scan._store
    return {
        "states": store.journal.states.array.tolist(),
        "dirty": (store.table.dirty, store.table.dirty_bytes),
        "written": store.frames_written,
        "in flight": store.table.in_flight,
        "bytes": bytes(store.file.read_at(FRAMES * 12, store.table.array_offset)),
    }


def outcome(call: Callable[[], Any]) -> str:
    try:
        call()
    except (LysStorageError, KeyboardInterrupt, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "stored"


# -- the same as Python ------------------------------------------------------------------------------------------------

one = st.one_of(st.integers(-5, 5), st.booleans(), st.just(2**70), st.integers(0, 3).map(np.int64), st.just(1.0))
indices = st.one_of(
    st.tuples(st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.integers(0, 2), st.integers(0, 3)),
    st.tuples(one, one),
    st.integers(0, 2),
    one,
    st.tuples(st.integers(0, 2)),
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1)),
    st.tuples(st.integers(0, 2), st.just(slice(0, 1))),
    st.just(Ellipsis),
    st.just(()),
)


class Odd(np.ndarray):
    """A subclass of ndarray."""


KINDS: dict[str, Callable[[int], Any]] = {
    "as it lies": frame,
    "in Fortran's order": lambda k: np.asfortranarray(frame(k)),
    "backwards": lambda k: frame(k)[::-1],
    "of another byte order": lambda k: frame(k).astype(">u2"),
    "of as many bytes": lambda k: frame(k).astype("i2"),
    "smaller": lambda k: frame(k).astype("u1"),
    "floats": lambda k: frame(k).astype("f8"),
    "a list": lambda k: frame(k).tolist(),
    "a subclass": lambda k: frame(k).view(Odd),
    "cut": lambda k: frame(k)[:1],
    "turned": lambda k: frame(k).reshape(3, 2),
    "flat": lambda k: frame(k).reshape(6),
    "deeper": lambda k: frame(k).reshape(1, 2, 3),
    "four frames": lambda k: np.full((4, *FRAME), k, "u2"),
    "all of them": lambda k: np.full(SHAPE, k, "u2"),
    "a scalar": lambda k: np.uint16(k),
    "None": lambda k: None,
    "a float": lambda k: float(k),
}
PLAIN = st.tuples(st.integers(0, 2), st.integers(0, 3))
frames = st.tuples(st.integers(0, 200), st.one_of(st.just(frame), st.sampled_from(list(KINDS.values()))))


def assert_same(tmp_path: Path, steps: list[tuple[Any, Any, bool]]) -> None:
    """Each (index, value, by update) has the same outcome and the same files with and without compiled code."""
    names = [tmp_path / f"{name}{os.urandom(6).hex()}.npz" for name in ("compiled", "python")]
    scans = [begin(name, compiled=k == 0) for k, name in enumerate(names)]
    for index, value, by_update in steps:
        told = []
        for scan in scans:
            by_update &= slice(0, 1) not in (index if isinstance(index, tuple) else ())  # unhashable before 3.12
            call = partial(scan.update, {index: value}) if by_update else partial(scan.write, index, value)
            told.append(outcome(call).replace(scan.path.name, ""))
        assert told[0] == told[1], (index, value)
        assert state(scans[0]) == state(scans[1]), (index, value)
    exported = [lys_storage.open_wave(scan.close(), verify=True).data for scan in scans]
    np.testing.assert_array_equal(exported[0], exported[1])
    for name in names:
        name.unlink()


@needs_it
@pytest.mark.parametrize("by_update", [True, False], ids=["by update", "by index"])
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_frame_of_each_kind_is_stored_or_refused_as_by_python(
    tmp_path: Path, make: Callable[[int], Any], by_update: bool
) -> None:
    places: list[Any] = [(1, 2), 1, (), (np.int64(0), 1), (-1, -1), (0, True), (3, 0), (0, 2**70)]
    assert_same(tmp_path, [(index, make(k), by_update) for k, index in enumerate(places)])
    for k, index in enumerate(places):
        assert_same(tmp_path, [(index, make(k), by_update)])


@needs_it
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.one_of(PLAIN, indices), frames, st.booleans()), min_size=1, max_size=25))
def test_any_frames_at_any_indices_are_stored_or_refused_as_by_python(
    tmp_path: Path, steps: list[tuple[Any, Any, bool]]
) -> None:
    assert_same(tmp_path, [(index, make(k), by_update) for index, (k, make), by_update in steps])


@needs_it
@pytest.mark.parametrize("shape", [(5, 2, 3), (2, 3, 2, 3), (2, 3, 2, 2, 3), (2,) * 9 + (2, 3)])
def test_each_index_of_a_grid_is_the_frame_that_it_is_for_numpy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    scan = begin(tmp_path / "a.npz", shape=shape, grid_ndim=len(shape) - 2)
    expected = np.random.default_rng(1).integers(0, 60000, shape).astype("u2")
    put = scan._writer.write_item_fast
    assert put is not None
    for index in np.ndindex(shape[:-2]):
        assert put({index: expected[index]}) == STORED_WAKE  # the checksum thread has been notified of none
    np.testing.assert_array_equal(lys_storage.open_wave(scan.close(), verify=True).data, expected)


@needs_it
def test_frames_go_through_the_compiled_path_which_says_when_to_wake_the_checksum_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChecksumThread, "wake", lambda self: None)  # it would restore wake_at_bytes
    scan = begin(tmp_path / "a.npz", flush_interval_s=60.0)
    assert scan._writer.write_item_fast is not None
    assert scan._writer.write_item_fast({(0, 0): frame(0)}) == STORED_WAKE
    scan.write((0, 1), frame(1))  # this one notifies the checksum thread
    assert [scan._writer.write_item_fast({(1, k): frame(k)}) for k in range(4)] == [STORED] * 4
    assert scan._writer.write_item_fast({(1, 0): frame(0)}) == NOT_STORED  # a rewrite takes another path
    assert scan._writer.write_item_fast({(0, 2): frame(0), (0, 3): frame(0)}) == NOT_STORED
    assert scan._writer.write_item_fast({}) == NOT_STORED
    scan._store.table.wake_at_bytes = scan._store.table.dirty_bytes + 24
    assert [scan._writer.write_item_fast({(0, k): frame(k)}) for k in (2, 3)] == [STORED, STORED_WAKE]
    scan._store.table.wake_at_bytes = 1 << 62
    told = [scan._store.table.write_fast((2, k), frame(k)) for k in range(4)]
    assert told == [STORED] * 3 + [STORED_WAKE]  # the scan is complete
    assert scan.complete
    scan.close()


def test_frames_that_may_choose_the_layout_go_the_long_way(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz", grid_ndim=None)
    assert (scan._writer._write_fast, scan._writer.write_item_fast) == (None, None)
    scan[0, 0] = frame(0)
    assert (scan._writer.write_item_fast is not None) == COMPILED
    scan.suspend()


# -- when it fails -----------------------------------------------------------------------------------------------------


@needs_it
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(errno.ENOSPC, "full"), "DiskFullError"),
        (OSError(errno.EIO, "broken"), "StorageOSError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (MemoryError(), None),
    ],
)
def test_a_write_that_fails_leaves_what_python_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, told: str | None
) -> None:
    scans = [begin(tmp_path / "a.npz"), begin(tmp_path / "b.npz", compiled=False)]

    def failing(*args: Any) -> Any:
        raise fault

    for scan in scans:
        scan[0, 0] = frame(0)
        with monkeypatch.context() as patch:
            patch.setattr(SYSTEM, "pwrite", failing)
            with pytest.raises(BaseException) as caught:
                scan.update({(0, 1): frame(1)})
        assert type(caught.value).__name__ == (told or type(fault).__name__)
        assert scan._store.journal.states.array[1] == WRITING
        scan[0, 1] = frame(2)
    assert state(scans[0]) == state(scans[1])
    for scan in scans:
        with lys_storage.open_wave(scan.close(), verify=True) as wave:
            np.testing.assert_array_equal(wave.data[0, 1], frame(2))


@needs_it
def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, real, sizes = begin(tmp_path / "a.npz"), SYSTEM.pwrite, []

    def short(fd: int, data: Any, offset: int) -> int:
        sizes.append(memoryview(data).nbytes)
        return real(fd, memoryview(data).cast("B")[:5], offset)

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "pwrite", short)
        scan[0, 0] = frame(7)
    assert sizes == [12, 12, 12, 7, 2]  # compiled, the fast path of Python, the general path
    assert scan.frames_written == 1
    np.testing.assert_array_equal(lys_storage.open_wave(scan.close(), verify=True).data[0, 0], frame(7))


@needs_it
def test_a_scan_that_takes_no_frames_is_left_to_python(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    store, put = scan._store, scan._writer.write_item_fast
    assert put is not None
    with store.layout_lock:
        store.quiesce()
        assert put({(0, 0): frame(0)}) == NOT_STORED
    store.table.accept()
    store.table.in_flight.append((3, 4))
    assert put({(0, 0): frame(0)}) == NOT_STORED  # another thread is writing the frame
    store.table.in_flight.clear()
    with store.table.lock:
        assert put({(0, 0): frame(0)}) == NOT_STORED  # a thread waits for the table
    assert store.journal.states.array.tolist() == [ABSENT] * FRAMES
    assert put({(0, 0): frame(0)}) == STORED_WAKE
    scan.seal()
    assert put({(0, 1): frame(0)}) == NOT_STORED
    with pytest.raises(lys_storage.ScanClosedError):
        scan.update({(0, 1): frame(0)})
    scan.close()
    assert put({(0, 1): frame(0)}) == NOT_STORED
    store.table.accepting_layout = store.table.layout  # even if so: its states are released
    assert put({(0, 1): frame(0)}) == NOT_STORED


@needs_it
def test_a_layout_that_changes_while_it_is_asked_what_it_is_stores_nothing(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    store, put = scan._store, scan._writer.write_item_fast
    assert put is not None

    class Closing:
        buffer_dtype, frame_shape = store.table.layout.buffer_dtype, store.table.layout.frame_shape

        @property
        def grid(self) -> Any:
            store.table.accepting_layout = None
            return store.table.layout.grid

    store.table.accepting_layout = Closing()
    assert put({(0, 0): frame(0)}) == NOT_STORED
    assert store.journal.states.array.tolist() == [ABSENT] * FRAMES
    store.table.accepting_layout = store.table.layout
    assert put({(0, 0): frame(0)}) == STORED_WAKE
    scan.suspend()


@needs_it
def test_a_thread_that_waits_for_a_frame_in_flight_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, real = begin(tmp_path / "a.npz"), SYSTEM.pwrite
    sealing = threading.Thread(target=scan.seal)

    def slow(*args: Any) -> int:
        done = real(*args)
        sealing.start()
        while not scan._store.table.waiting:
            threading.Event().wait(0.01)
        return done

    monkeypatch.setattr(SYSTEM, "pwrite", slow)
    scan.update({(0, 0): frame(0)})
    monkeypatch.setattr(SYSTEM, "pwrite", real)
    sealing.join(10)
    assert not sealing.is_alive()
    assert (scan.frames_written, scan._store.table.in_flight) == (1, [])
    scan.close()


@needs_it
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a file's size is Linux's")
def test_a_write_that_the_system_cuts_short_is_no_frame(tmp_path: Path) -> None:
    import resource

    size = 1 << 16
    scan = lys_storage.create(tmp_path / "a.npz", (4, size), "u1", grid_ndim=1, flush_interval_s=None)
    store, (soft, hard) = scan._store, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.table.array_offset + size + size // 2, hard))
    try:
        scan[0] = np.full(size, 1, "u1")
        with pytest.raises(lys_storage.StorageOSError):
            scan[1] = np.full(size, 2, "u1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.journal.states.array.tolist() == [WRITTEN, WRITING, ABSENT, ABSENT]
    assert (scan.frames_written, store.table.in_flight) == (1, [])
    scan[1] = np.full(size, 3, "u1")
    assert lys_storage.open_wave(scan.close(), verify=True).data[:, 0].tolist() == [1, 3, 0, 0]


@needs_it
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, numpy, lys_storage\n"
        "scan = lys_storage.create(sys.argv[1], (3, 4), 'u2', grid_ndim=1)\n"
        "scan[0] = numpy.ones(4, 'u2')\n"
        "if not os.fork():\n"
        "    try: put = scan._writer.write_item_fast({1: numpy.ones(4, 'u2')}); scan[1] = numpy.ones(4, 'u2')\n"
        "    except lys_storage.ScanClosedError: os._exit(put)\n"
        "    os._exit(9)\n"
        "code = os.waitstatus_to_exitcode(os.wait()[1])\n"
        "scan.close()\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "a.npz")], timeout=DEADLINE_S)
    assert done.returncode == 0
    assert lys_storage.open_wave(tmp_path / "a.npz").data[:, 0].tolist() == [1, 0, 0]


@needs_it
def test_an_interrupt_while_it_waits_for_the_lock_leaves_a_frame_that_can_be_written_again(tmp_path: Path) -> None:
    """Ctrl-C comes after the bytes are written, while another thread holds the lock."""
    code = (
        "import os, signal, sys, threading, time, numpy, lys_storage\n"
        "from lys_storage.disk.systems import SYSTEM\n"
        "scan = lys_storage.create(sys.argv[1], (3, 4), 'u2', grid_ndim=1, flush_interval_s=None)\n"
        "store, real, go_on = scan._store, SYSTEM.pwrite, threading.Event()\n"
        "def holder():\n"
        "    with store.table.lock: held.set(); time.sleep(0.3); os.kill(os.getpid(), signal.SIGINT); go_on.wait(30)\n"
        "held = threading.Event()\n"
        "def pwrite(*args):\n"
        "    done = real(*args); SYSTEM.pwrite = real; thread.start(); held.wait(); return done\n"
        "thread = threading.Thread(target=holder); SYSTEM.pwrite = pwrite\n"
        "threading.Timer(1.0, go_on.set).start()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try: scan.write(0, numpy.full(4, 5, 'u2')); print('no interrupt')\n"
        "except KeyboardInterrupt: pass\n"
        "thread.join()\n"
        "assert (scan.frames_written, store.table.in_flight) == (0, []), (scan.frames_written, store.table.in_flight)\n"
        "scan[0] = numpy.full(4, 6, 'u2')\n"
        "scan.close(); print('done')\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "a.npz")],
        timeout=DEADLINE_S,
        capture_output=True,
        text=True,
    )
    assert run.stdout.split() == ["done"], run.stdout + run.stderr
    assert lys_storage.open_wave(tmp_path / "a.npz", verify=True).data[0].tolist() == [6] * 4


# -- threads and memory ------------------------------------------------------------------------------------------------


@needs_it
def test_threads_that_write_at_once_lose_and_leak_nothing(tmp_path: Path) -> None:
    shape = (2000, 2, 3)
    scan = lys_storage.create(tmp_path / "a.npz", shape, "u2", grid_ndim=1, flush_interval_s=0.01)
    failed: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for k in range(first, shape[0], 4):
                scan.update({k: frame(k)})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert not failed
    assert (scan.frames_written, scan._store.table.in_flight, scan.complete) == (2000, [], True)
    data = lys_storage.open_wave(scan.close(), verify=True).data
    np.testing.assert_array_equal(data, np.stack([frame(k) for k in range(2000)]))


@contextlib.contextmanager
def nothing_left_over(*objects: Any) -> Iterator[None]:
    gc.collect()
    before, live = [sys.getrefcount(each) for each in objects], len(gc.get_objects())
    yield
    gc.collect()
    assert [sys.getrefcount(each) for each in objects] == before
    assert len(gc.get_objects()) < live + 100


@needs_it
def test_the_compiled_path_keeps_no_reference_to_what_it_was_given(tmp_path: Path) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (4000, 2, 3), "u2", grid_ndim=1, flush_interval_s=None)
    scan[0] = frame(0)
    value, other, index = frame(1), np.asfortranarray(frame(1)), (2**70,)
    put, store = scan._writer.write_item_fast, scan._store
    assert put is not None
    with nothing_left_over(
        value,
        other,
        index,
        store.table.in_flight,
        store.table.layout,
        store.table.layout.dtype,
        store.table.state_bytes,
        store.table.lock,
    ):
        for k in range(1, 2000):
            assert put({k: value}) != NOT_STORED
            assert put({k + 2000: other}) == put({index: value}) == put({k: value}) == NOT_STORED
            assert put({k: None}) == NOT_STORED
    scan.suspend()


@needs_it
def test_a_scan_that_was_dropped_is_freed(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    scan[0, 0] = frame(0)
    gone = weakref.ref(scan._store)
    scan.suspend()
    del scan
    gc.collect()
    assert gone() is None


def test_wrong_arguments_are_a_type_error(tmp_path: Path) -> None:
    scan = begin(tmp_path / "a.npz")
    if scan._store.table.write_fast is not None:
        with pytest.raises(TypeError):
            scan._store.table.write_fast((0, 0))
        assert scan._store.table.write_fast((0, 0), None) == NOT_STORED
    scan.suspend()


# -- checksums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 24, 4096, 100_001, (1 << 17) - 1, 1 << 17, (1 << 20) + 3, (3 << 20) + 5])
@pytest.mark.parametrize("compiled", [True, False])
def test_checksums_are_those_of_the_bytes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, compiled: bool
) -> None:
    if compiled:
        request.getfixturevalue("compiled_here")
    else:
        monkeypatch.setattr(checksummer_module, "CRC32_ADDRESS", None)
    scan = lys_storage.create(tmp_path / "a.npz", (7, size), "u1", grid_ndim=1, flush_interval_s=None)
    data = np.random.default_rng(size).integers(0, 256, (7, size)).astype("u1")
    for k in range(7):
        scan[k] = data[k]
    store = scan._store
    expected = [zlib.crc32(row.tobytes()) for row in data]
    assert store._checksummer.sums(range(7), size).tolist() == expected
    assert store._checksummer.sums(np.array([1, 2, 5]), size).tolist() == [expected[k] for k in (1, 2, 5)]
    assert (
        store._checksummer.sums(np.empty(0, int), size).tolist()
        == store._checksummer.sums(range(0), size).tolist()
        == []
    )
    if compiled:
        out = np.zeros(7, np.uint32)
        assert store._checksummer._read_checksums(np.arange(7), size, out, memoryview(bytearray(1 << 20))) == 7
        assert out.tolist() == expected
    scan.suspend()


any_states = st.lists(
    st.sampled_from([ABSENT, WRITING, *[WRITTEN] * 12, CHECKSUMMED, REWRITING, CHECKSUMMING]), min_size=37, max_size=37
)


def assert_sound(store: Any, size: int, before: list[int], span: tuple[int, int], whole_blocks_only: bool) -> None:
    """Every checksum matches its bytes, none is that of a partial block, and none is left out."""
    journal, per_block = store.journal, store.journal.states.per_block
    after = journal.states.array.tolist()
    for k, state in enumerate(after):
        block = k // per_block
        if state == BLOCK_CHECKSUMMED:
            assert set(after[block * per_block : (block + 1) * per_block]) == {BLOCK_CHECKSUMMED}
            content = b"".join(bytes((j,)) * size for j in range(block * per_block, (block + 1) * per_block))
            assert journal.states.block_checksums[block] == zlib.crc32(content)
        elif state == CHECKSUMMED and before[k] != CHECKSUMMED:
            assert journal.states.checksums[k] == zlib.crc32(bytes((k,)) * size)
        if before[k] in (ABSENT, WRITING, CHECKSUMMED, REWRITING):
            assert state == before[k]
        elif span[0] <= k < span[1] and not (whole_blocks_only and per_block > 1):
            assert state in (CHECKSUMMED, BLOCK_CHECKSUMMED)
        elif span[0] <= k < span[1] and state not in (CHECKSUMMED, BLOCK_CHECKSUMMED):
            assert store.table.dirty[0] <= k < store.table.dirty[1]


@needs_it
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(any_states, st.just([WRITTEN] * 37)),
    st.tuples(st.integers(0, 37), st.integers(0, 37)).map(lambda span: (min(span), max(span))),
    st.lists(st.integers(0, 36).map(lambda k: (k, k + 1)), max_size=2, unique=True),
    st.booleans(),
    st.sampled_from([1 << 15, 100_000, 1 << 18]),  # in blocks of 8, of 2, and without blocks
    st.sampled_from([1 << 16, 1 << 25]),
)
def test_the_same_states_and_checksums_are_left_as_by_python(
    tmp_path_factory: pytest.TempPathFactory,
    given_states: list[int],
    span: tuple[int, int],
    in_flight: list[tuple[int, int]],
    whole_blocks_only: bool,
    size: int,
    at_once: int,
) -> None:
    left = []
    for address in (CRC32_ADDRESS, None):
        folder = tmp_path_factory.mktemp("checksums")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checksummer_module, "CRC32_ADDRESS", address)
            patch.setattr(checksummer_module, "_AT_ONCE", at_once)
            scan = lys_storage.create(folder / "a.npz", (37, size), "u1", grid_ndim=1, flush_interval_s=None)
            store = scan._store
            store.file.write_at(np.arange(37, dtype="u1").repeat(size).data, store.table.array_offset)
            store.journal.states.reconcile(0, np.array(given_states, np.uint8))
            store.table.in_flight.extend(in_flight)
            store._checksummer.checksum(span, whole_blocks_only=whole_blocks_only)
            store.table.in_flight.clear()
            assert_sound(store, size, given_states, span, whole_blocks_only)
            tables = (store.journal.states.checksums.tolist(), store.journal.states.block_checksums.tolist())
            left.append((store.journal.states.array.tolist(), tables, store.table.dirty))
            store.journal.states.reconcile(0, np.zeros(37, np.uint8))
            store.table.recount()
            scan.discard()
    assert left[0] == left[1]


@pytest.mark.usefixtures("python_sums")
@pytest.mark.parametrize("touched", [(8,), (15,), (8, 27), (3, 24)])
def test_a_block_one_of_whose_frames_begins_to_be_rewritten_leaves_the_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, touched: tuple[int, ...]
) -> None:
    """This includes the first frame: the next attempt begins at a block."""
    size = 1 << 15  # eight in a block
    scan = lys_storage.create(tmp_path / "a.npz", (37, size), "u1", grid_ndim=1, flush_interval_s=None)
    store, real = scan._store, Checksummer.sums
    for k in range(37):
        scan[k] = np.full(size, k, "u1")

    def sums(self: Any, units: Any, size: int) -> Any:
        for k in touched:
            store.table.state_bytes[k] = REWRITING
        return real(self, units, size)

    with monkeypatch.context() as patch:
        patch.setattr(Checksummer, "sums", sums)
        store.checksum_dirty()
    before = [WRITTEN] * 37
    for k in touched:
        before[k] = REWRITING
    assert_sound(store, size, before, (0, 37), whole_blocks_only=False)
    for k in touched:
        store.table.state_bytes[k] = WRITTEN
    scan.close()


def run_of(scan: Scan, first: int, stop: int, size: int) -> Any:
    store = scan._store
    assert store.table.checksum_run is not None
    table = store.journal.states.checksums[first:stop]
    at, buffer = store.table.array_offset + first * size, memoryview(bytearray(1 << 17))
    return store.table.checksum_run(first, stop, CHECKSUMMED, CRC32_ADDRESS, at, size, table, buffer)


@needs_it
def test_a_run_gets_its_checksums_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    size = 1 << 18
    scan = lys_storage.create(tmp_path / "a.npz", (8, size), "u1", grid_ndim=1, flush_interval_s=None)
    store, data = scan._store, np.random.default_rng(2).integers(0, 255, (8, size)).astype("u1")
    expected = [zlib.crc32(row.tobytes()) for row in data]
    for k in range(7):
        scan[k] = data[k]
    assert run_of(scan, 5, 8, size) is False  # the last one is missing
    assert store.journal.states.array.tolist() == [WRITTEN] * 7 + [ABSENT]
    assert run_of(scan, 0, 2, size) is True
    assert store.journal.states.array.tolist() == [CHECKSUMMED] * 2 + [WRITTEN] * 5 + [ABSENT]
    store.table.in_flight.append((3, 4))  # another thread has begun to rewrite a frame
    assert np.frombuffer(run_of(scan, 2, 5, size), np.uint32).tolist() == expected[2:5]
    assert store.journal.states.array.tolist() == [CHECKSUMMED] * 2 + [CHECKSUMMING] * 3 + [WRITTEN] * 2 + [ABSENT]
    assert run_of(scan, 2, 5, size) is False
    store.table.in_flight.clear()
    store.journal.states._set(2, 5, WRITTEN)
    os.truncate(scan.part_path, store.table.array_offset + 6 * size + 5)
    assert np.frombuffer(run_of(scan, 5, 7, size), np.uint32).tolist() == expected[5:6]  # as many as could be read
    assert store.journal.states.checksums.tolist() == expected[:2] + [0] * 6
    for wrong in ((-1, 2), (3, 2), (0, 9)):
        with pytest.raises(ValueError, match="no such run"):
            run_of(scan, *wrong, size)
    store.journal.states._set(0, 8, ABSENT)
    store.table.recount()
    scan.discard()


@needs_it
def test_a_run_of_checksums_waits_for_who_holds_the_lock(tmp_path: Path) -> None:
    size = 1 << 18
    scan = lys_storage.create(tmp_path / "a.npz", (4, size), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(4):
        scan[k] = np.full(size, k, "u1")
    store, told = scan._store, []
    summing = threading.Thread(target=lambda: told.append(run_of(scan, 0, 4, size)))
    with store.table.lock:
        summing.start()
        summing.join(0.2)
        assert summing.is_alive()
        assert store.journal.states.array.tolist() == [WRITTEN] * 4
    summing.join(DEADLINE_S)
    assert told == [True]
    assert store.journal.states.array.tolist() == [CHECKSUMMED] * 4
    assert not store.table.lock.locked()
    scan.close()


@needs_it
def test_a_bare_table_state_stores_nothing() -> None:
    bare = TableState()
    assert bare.write_item_fast is not None
    assert bare.checksum_run is not None
    assert bare.write_item_fast({0: np.zeros(3)}) == NOT_STORED
    with pytest.raises(ValueError, match="no such run"):
        bare.checksum_run(0, 0, CHECKSUMMED, CRC32_ADDRESS, 0, 1, bytearray(4), bytearray(4))


@needs_it
def test_a_read_that_fails_is_reported_by_the_python_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (7, 4096), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(7):
        scan[k] = np.full(4096, k, "u1")
    store, out = scan._store, np.zeros(7, np.uint32)
    buffer = memoryview(bytearray(1 << 20))
    os.truncate(scan.part_path, store.table.array_offset + 3 * 4096 + 100)
    assert store._checksummer._read_checksums(np.arange(7), 4096, out, buffer) == 3
    with pytest.raises(lys_storage.StorageOSError, match="it was truncated"):
        store._checksummer.sums(range(7), 4096)
    with pytest.raises(lys_storage.StorageOSError, match="it was truncated"):
        scan.flush()
    assert store.journal.states.array.tolist() == [WRITTEN] * 7  # none is left CHECKSUMMING
    assert len(store._checksummer._buffers) == 1
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "preadv", lambda *args: 0)  # the model of the disk replaces preadv
        assert not preadv_is_native()
        assert store._checksummer._read_checksums(np.arange(7), 4096, out, buffer) == 0
    with contextlib.suppress(LysStorageError):
        scan.suspend()


@pytest.mark.parametrize("pure", ["0", "1"])
def test_the_version_tells_which_code_stores_frames(pure: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "lys_storage", "--version"],
        env={**os.environ, "LYS_STORAGE_PURE": pure},
        capture_output=True,
        text=True,
    )
    is_built = importlib.util.find_spec("lys_storage.store._hotpath") is not None
    built = "compiled" if is_built else "Python; the compiled part was not built"
    if not hasattr(os, "pwrite"):
        built = "Python; the compiled part does not support this Python or this system"
    how = "Python; LYS_STORAGE_PURE is set" if pure == "1" else built
    assert run.stdout == f"lys-storage {VERSION} (frames: {how})\n"


def test_the_environment_chooses_python(tmp_path: Path) -> None:
    code = "from lys_storage.store.hotpath import COMPILED, read_checksums; print(COMPILED, read_checksums)"
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "LYS_STORAGE_PURE": "1"}, capture_output=True, text=True
    )
    assert run.stdout.split() == ["False", "None"]
