"""`to_lys` and `to_lys_dask`: what lys itself loads from the file.

lys runs in child processes, because its import makes a QApplication.
"""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanClosedError
from tests.extras import without
from tests.helpers import Finished, assert_same_array, some
from tests.qt.test_lys_equality import CASES

needs_lys = pytest.mark.skipif(importlib.util.find_spec("lys") is None, reason="lys is not installed (numpy < 2)")
EXIT = "\nsys.stdout.flush(); os._exit(0)  # lys leaves threads to the end of the process\n"

EACH = """
import os, pickle, sys
import numpy as np
import lys_storage
from tests.qt.test_lys_equality import CASES, described, described_wave

results = {}
for number, (name, case) in enumerate(CASES.items()):
    for path, save in (("ours", np.savez), ("compressed", np.savez_compressed)):
        path = os.path.abspath(f"{path} µ {number}.npz")
        if save is np.savez_compressed:  # as lys stores it
            with np.load(f"ours µ {number}.npz", allow_pickle=True) as members:
                save(path, **{key: members[key] for key in ("data", "axes", "note")})
        with lys_storage.open_wave(path) as stored:
            ours, lazy = stored.to_lys(), stored.to_lys_dask()
        import lys
        theirs = lys.Wave(path)
        assert type(ours) is lys.Wave and type(lazy) is lys.DaskWave and ours.data.flags.writeable
        results[name, path] = [
            described_wave(theirs.data, theirs.axes, theirs.note),
            described_wave(ours.data, ours.axes, ours.note),
            described_wave(lazy.data.compute(scheduler="synchronous"), lazy.axes, lazy.note),
        ]
        lazy.note["added"] = ours.note["added"] = 1  # they are copies
        assert "added" not in stored.note
with open("answer", "wb") as file:
    pickle.dump(results, file)
"""


@needs_lys
def test_waves_are_those_that_lys_loads_itself(tmp_path: Path, run_child: Callable[..., Finished]) -> None:
    """Data, axes and note are equal in values and dtypes, of exports of both programs."""
    for number, case in enumerate(CASES.values()):
        path = tmp_path / f"ours µ {number}.npz"
        options: dict[str, Any] = {"axes": case.axes, "note": case.note, "grid_ndim": 0}
        with lys_storage.create(path, case.array.shape, case.array.dtype, **options) as scan:
            scan[()] = case.array
    child = run_child(EACH + EXIT)
    assert child.code == 0, child.err
    answer = pickle.loads((tmp_path / "answer").read_bytes())
    assert len(answer) == 2 * len(CASES)
    for told, (theirs, ours, lazy) in answer.items():
        assert (told, ours) == (told, theirs)
        assert (told, lazy) == (told, theirs)


@needs_lys
def test_axes_that_do_not_fit_are_cut_and_padded_as_lys_does_it(
    tmp_path: Path, run_child: Callable[..., Finished]
) -> None:
    axes = np.empty(2, object)
    axes[:] = [np.linspace(0.5, 2, 3), np.linspace(0, 1, 9)]
    np.savez(tmp_path / "a.npz", data=np.zeros((4, 5)), axes=axes, note=np.array({}))
    child = run_child(
        """
import os, sys
import lys_storage
stored = lys_storage.open_wave("a.npz")
ours, lazy = stored.to_lys(), stored.to_lys_dask()
import lys
theirs = lys.Wave("a.npz")
for wave in (theirs, ours, lazy):
    print([(axis.dtype.str, axis.tolist()) for axis in wave.axes])
"""
        + EXIT
    )
    assert child.code == 0, child.err
    assert len(set(child.out.splitlines())) == 1, child.out


@needs_lys
def test_several_files_are_one_wave(tmp_path: Path, run_child: Callable[..., Finished]) -> None:
    for k in range(3):
        with lys_storage.create(tmp_path / f"{k}.npz", (2, 3, 4), "u2", axes=[[1.5, 2]], grid_ndim=1) as scan:
            scan[...] = np.full((2, 3, 4), k, "u2")
    child = run_child(
        """
import os, sys
import lys_storage
with lys_storage.open_waves(["0.npz", "1.npz", "2.npz"], axis=[10, 20, 30]) as waves:
    ours, lazy = waves.to_lys(), waves.to_lys_dask((1, 2, 3, 4))
print(ours.data[:, 0, 0, 0].tolist(), ours.axes[0].tolist(), ours.axes[1].tolist(), ours.data.flags.writeable)
print(lazy.data.mean(axis=(1, 2, 3)).compute(scheduler="synchronous").tolist(), lazy.data.chunksize)
"""
        + EXIT
    )
    assert (child.code, child.out.splitlines()) == (
        0,
        ["[0, 1, 2] [10, 20, 30] [1.5, 2.0] True", "[0.0, 1.0, 2.0] (1, 2, 3, 4)"],
    ), child.err


# -- memory ------------------------------------------------------------------------------------------------------------


@needs_lys
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_a_wave_that_does_not_fit_into_memory_is_an_error_that_names_the_other_way(
    tmp_path: Path, run_child: Callable[..., Finished], save: Any
) -> None:
    save(tmp_path / "a.npz", data=np.zeros((100, 100)))
    child = run_child(
        """
import os, sys
import lys_storage
from lys_storage.disk.systems import SYSTEM
stored = lys_storage.open_wave("a.npz")
lazy = stored.to_lys_dask()
SYSTEM.available_memory = lambda: 79_999
try:
    stored.to_lys()
except lys_storage.NotEnoughMemoryError as error:
    print(isinstance(error, MemoryError), error)
SYSTEM.available_memory = lambda: 80_000
print(stored.to_lys().data.shape, stored._array._whole)
"""
        + EXIT
    )
    words = "its array of shape (100, 100) of float64 needs 80,000 bytes of memory; 79,999 bytes are available"
    said = f"True a.npz: {words}: to_lys_dask() reads what is used of it"
    assert (child.code, child.out.splitlines()) == (0, [said, "(100, 100) None"]), child.err


@needs_lys
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
@pytest.mark.parametrize("save", ["savez", "savez_compressed"])
def test_a_wave_is_in_memory_once(run_child: Callable[..., Finished], save: str) -> None:
    """lys.Wave(path) has it there twice for a moment."""
    child = run_child(
        f"""
import os, sys, threading
import numpy as np
import lys_storage
np.{save}("a.npz", data=np.ones((32, 1 << 20)))
stored = lys_storage.open_wave("a.npz")
stored.to_lys_dask()  # imports lys

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

before, peak, over = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not over.wait(0.002):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
wave = stored.to_lys()
over.set()
watcher.join()
print((max(peak, anonymous()) - before) >> 20, wave.data.sum() == wave.data.size)
"""
        + EXIT
    )
    assert child.code == 0, child.err
    peak, same = child.out.split()
    assert 255 <= int(peak) < 256 + 64
    assert same == "True"


# -- what lys does with a dask array ------------------------------------------------------------------------------------


def test_the_array_of_a_file_stays_there_and_keeps_its_chunks(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lys.multicut` calls persist and rechunk("auto") on each array. Other calls are those of dask."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask.array")
    from lys_storage.interop.lys_waves import as_file_array
    from lys_storage.reading import source

    with lys_storage.open_wave(export) as wave:
        array = as_file_array(wave.to_dask((1, 5, 2, 3)))
    data = some((4, 5, 2, 3), "i4")

    def refused(path: Path, identity: str) -> None:
        raise AssertionError("the file was opened")

    with monkeypatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.setattr(source.ArrayFile, "open", refused)
        kept = [array.persist(), array.rechunk(), array.rechunk("auto"), pickle.loads(pickle.dumps(array))]
        assert [(type(one), one.chunks, one.name) for one in kept] == [(type(array), array.chunks, array.name)] * 4
        assert all(one is not array for one in kept)
        assert array.rechunk((4, 5, 2, 3)).chunks == ((4,), (5,), (2,), (3,))
        changed = array.persist()
        changed[0] = 0  # lys updates a frame like this
    with dask.config.set(scheduler="synchronous"):
        assert_same_array(array.compute(), data)
        assert_same_array(changed.persist().compute()[1:], data[1:])
        assert not changed.compute()[0].any()
        assert_same_array((array + 1).persist().compute(), data + 1)


def test_an_array_that_lys_does_not_know_is_an_error(export: Path, run_child: Callable[..., Finished]) -> None:
    """Its `lys.DaskWave` would read all of it into memory."""
    pytest.importorskip("dask.array._array_expr", reason="this dask has no option array.query-planning")
    child = run_child(
        """
import os, sys
os.environ["DASK_ARRAY__QUERY_PLANNING"] = "True"
import lys_storage
from lys_storage.interop.lys_waves import as_file_array
try:
    as_file_array(lys_storage.open_wave(sys.argv[1]).to_dask())
except lys_storage.MissingExtraError as error:
    print(error)
""",
        export,
    )
    assert (child.code, "array.query-planning: set it to False" in child.out) == (0, True), child.err


# -- without lys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["to_lys()", "to_lys_dask()"])
def test_without_lys_the_error_names_the_extra(export: Path, run_child: Callable[..., Finished], call: str) -> None:
    pytest.importorskip("dask.array", reason="pip install 'lys_storage[dask]'")
    child = run_child(
        without("lys")
        + f"""
import lys_storage
for call in (lambda: lys_storage.open_wave(sys.argv[1]).{call}, lys_storage.register_lys_loader):
    try:
        call()
    except lys_storage.MissingExtraError as error:
        print(error.__cause__, error)
lys_storage.unregister_lys_loader()
print("qtpy" in sys.modules)
""",
        export,
    )
    said = "this needs lys (No module named 'lys'): pip install \"lys_storage[lys]\"; it needs numpy < 2"
    assert (child.code, child.out.splitlines()) == (0, [f"None {said}"] * 2 + ["False"]), child.err


@needs_lys
def test_another_package_named_lys_is_not_taken_for_it(
    export: Path, tmp_path: Path, run_child: Callable[..., Finished]
) -> None:
    (tmp_path / "lys.py").write_text("")
    child = run_child(
        """
import sys
sys.path.insert(0, "")
import lys_storage
try:
    lys_storage.open_wave(sys.argv[1]).to_lys()
except lys_storage.MissingExtraError as error:
    print(error)
""",
        export,
    )
    assert child.code == 0, child.err
    assert "is another package named lys: pip install lys-python" in child.out


@needs_lys
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have a display")
def test_without_a_display_the_error_says_so_and_the_process_lives(
    export: Path, run_child: Callable[..., Finished]
) -> None:
    """Qt aborts the process otherwise."""
    child = run_child(
        """
import os, sys
for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
    os.environ.pop(name, None)
import lys_storage
try:
    lys_storage.open_wave(sys.argv[1]).to_lys()
except lys_storage.BindingError as error:
    print(error)
""",
        export,
    )
    assert (child.code, "QT_QPA_PLATFORM=offscreen" in child.out) == (0, True), child.err


def test_a_closed_wave_is_refused(export: Path) -> None:
    pytest.importorskip("dask.array")
    wave = lys_storage.open_wave(export)
    wave.close()
    for call in (wave.to_lys_dask, lambda: wave._load("")):
        with pytest.raises(ScanClosedError, match="open_wave"):
            call()
