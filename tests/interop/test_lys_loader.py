"""`register_lys_loader`: `lys.load` opens large exports lazily, and everything else as before."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import ScanShapeError
from lys_storage.interop import register_lys_loader
from tests.helpers import Finished
from tests.interop.test_lys_waves import EXIT
from tests.reading.exports import with_members

pytestmark = pytest.mark.skipif(importlib.util.find_spec("lys") is None, reason="lys is not installed (numpy < 2)")

BEGIN = """
import os, sys
import lys_storage.qt
import lys
import numpy as np

def loaded(path):
    wave = lys.load(path)
    return type(wave).__name__, type(wave.data).__name__, wave.data.shape

"""


def lines(child: Finished) -> list[str]:
    assert child.code == 0, child.err
    return child.out.splitlines()


def test_a_large_export_is_loaded_lazily_and_a_small_one_as_before(
    export: Path, run_child: Callable[..., Finished]
) -> None:
    child = run_child(
        BEGIN
        + f"""
path, size = sys.argv[1], {4 * 5 * 2 * 3 * 4}
print(loaded(path))
lys_storage.register_lys_loader(above_bytes=size)
print(loaded(path), type(lys.load(path).axes[0][0]).__name__)
lys_storage.register_lys_loader(above_bytes=size - 1)
wave = lys.load(path)
print(loaded(path), wave.axes[0].tolist(), wave.note)
print(np.array_equal(wave.data.compute(scheduler="synchronous"), lys.Wave(path).data))
lys_storage.register_lys_loader()
print(loaded(path))
"""
        + EXIT,
        export,
    )
    plain = "('Wave', 'ndarray', (4, 5, 2, 3))"
    assert lines(child) == [
        plain,
        f"{plain} float64",
        "('DaskWave', 'FileArray', (4, 5, 2, 3)) [1.5, 2.0, 3.0, 4.0] {'a': [1]}",
        "True",
        plain,
    ]


def test_registering_twice_and_unregistering_leaves_what_was_there(
    export: Path, run_child: Callable[..., Finished]
) -> None:
    child = run_child(
        BEGIN
        + """
from lys.functions import _dic
own = lambda path: lys.Wave(path)
lys.registerFileLoader(".npz", own)
lys_storage.unregister_lys_loader()
print(_dic[".npz"] is own)
for _ in range(3):
    lys_storage.register_lys_loader(above_bytes=0)
print(loaded(sys.argv[1])[0], _dic[".npz"].former is own, lys.loadableFiles().count(".npz"))
lys_storage.unregister_lys_loader()
print(_dic[".npz"] is own, loaded(sys.argv[1])[0])
lys_storage.unregister_lys_loader()
print(_dic[".npz"] is own)

lys_storage.register_lys_loader(above_bytes=0)
lys.registerFileLoader(".npz", own)  # another program, later
lys_storage.unregister_lys_loader()
print(_dic[".npz"] is own)
"""
        + EXIT,
        export,
    )
    assert lines(child) == ["True", "DaskWave True 1", "True Wave", "True", "True"]


def test_files_of_others_are_loaded_as_before(tmp_path: Path, run_child: Callable[..., Finished]) -> None:
    """Also by positional and keyword arguments, and with the errors of lys. They are all above 0 bytes."""
    np.savez(tmp_path / "numpy.npz", data=np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "no data.npz", counts=np.arange(6))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    child = run_child(
        BEGIN
        + """
lys.Wave(np.ones((2, 3)), [1, 2], None, a=1).export("lys.npz")
names = ("numpy.npz", "lys.npz", "no data.npz", "text.npz", "empty.npz", "absent.npz")

def told(name):
    try:
        wave = lys.load(name)
        return type(wave).__name__ if wave is None else (type(wave).__name__, wave.data.tolist(), len(wave.axes))
    except Exception as error:
        return type(error).__name__, str(error)

before = [told(name) for name in names]
lys_storage.register_lys_loader(above_bytes=0)
after = [told(name) for name in names]
print(before == after, [entry[0] for entry in after])

asked = []
lys.registerFileLoader(".npz", lambda *args, **kwargs: asked.append((args[1:], kwargs)))
lys_storage.register_lys_loader(above_bytes=0)
lys.load("numpy.npz", 1, key=2)
print(asked)
"""
        + EXIT
    )
    assert lines(child) == [
        "True ['Wave', 'Wave', 'KeyError', 'UnpicklingError', 'EOFError', 'N']",
        "[((1,), {'key': 2})]",
    ]


def test_a_large_export_that_is_damaged_is_an_error_and_is_not_read_whole(
    tmp_path: Path, export: Path, run_child: Callable[..., Finished]
) -> None:
    """lys would read all of it before it finds the damage, or not find it."""
    with_members(tmp_path / "damaged.npz", {"data.npy": b"\x93NUMPY"}, export)
    (tmp_path / "cut.npz").write_bytes(export.read_bytes()[:-30])
    child = run_child(
        BEGIN
        + """
lys_storage.register_lys_loader(above_bytes=0)
for name in ("damaged.npz", "cut.npz"):
    try:
        lys.load(name)
    except Exception as error:
        print(type(error).__name__)
"""
        + EXIT
    )
    assert lines(child) == ["BadFileError", "BadZipFile"]


@pytest.mark.parametrize("wrong", [-1, float("nan"), True, "1 GB", None])
def test_a_threshold_that_is_no_size_is_refused(wrong: Any) -> None:
    with pytest.raises(ScanShapeError, match="expected a number of bytes, at least 0"):
        register_lys_loader(above_bytes=wrong)


MULTICUT = (
    BEGIN
    + """
import threading
from lys_storage.scan import begin_scan

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

shape = (32, 64, 1024, 1024)
scan = begin_scan(os.getcwd(), "scan", shape, "u2", numbered=False, replace_existing=False, grid_ndim=2, preallocate=False)
scan[3, 4] = np.full((1024, 1024), 7, "u2")
scan[9, 4] = np.full((1024, 1024), 9, "u2")
path = str(scan.close())
os.makedirs(os.path.join(lys.home(), ".lys", "workspace", "default"))
lys.glb.createMainWindow()
lys_storage.register_lys_loader()
before, peak, over = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not over.wait(0.005):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
cut = lys.multicut(lys.load(path), returnInstance=True)
frame, total = cut.cui.addWave((2, 3)), cut.cui.addWave((1,))
cut.cui.setAxisRange((0, 1), (3, 4))
print(int(frame.getFilteredWave().data.min()), int(frame.getFilteredWave().data.max()))
cut.cui.setAxisRange((0, 1), (9, 4))
print(int(frame.getFilteredWave().data.min()), int(frame.getFilteredWave().data.max()))
cut.cui.setAxisRange((0, 2), ((3, 10), (0, 1024)))
print((total.getFilteredWave().data[:6] * 7).round().tolist())
cut.cui.applyFilter(None)
print(type(cut.cui.getFilteredWave().data).__name__)
over.set()
watcher.join()
print(max(peak, anonymous()) - before >> 20)
"""
    + EXIT
)


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
def test_multicut_works_on_an_export_of_4_gib_without_holding_it(run_child: Callable[..., Finished]) -> None:
    """The file has holes. lys holds the whole array of any other DaskWave: see test_multicut_holds_other_arrays."""
    said = lines(run_child(MULTICUT))
    assert said[:4] == ["7 7", "9 9", "[0.0, 0.0, 0.0, 0.0, 16.0, 0.0]", "FileArray"]
    assert int(said[4]) < 600, "eight chunks of 64 MiB"


def test_multicut_holds_other_arrays(export: Path, run_child: Callable[..., Finished]) -> None:
    """Why FileArray is needed: with the array of to_dask, lys.multicut reads all of it at once."""
    child = run_child(
        BEGIN
        + """
from lys.mcut.MultiCutCUI import MultiCutCUI
from lys_storage.reading import source
read = []
real = source.ExportSource.__getitem__
source.ExportSource.__getitem__ = lambda self, index: read.append(1) or real(self, index)
with lys_storage.open_wave(sys.argv[1]) as stored:
    plain, ours = lys.DaskWave(stored.to_dask((1, 5, 2, 3)), chunks="NoRechunk"), stored.to_lys_dask((1, 5, 2, 3))
MultiCutCUI(ours)
print(len(read))
MultiCutCUI(plain)
print(len(read))
"""
        + EXIT,
        export,
    )
    assert lines(child) == ["0", "4"]
