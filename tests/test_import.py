"""The import time, and the memory of a scan, which does not depend on the size of its frames."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest


def test_the_package_loads_neither_qt_nor_lys(run_child: Callable[..., Any]) -> None:
    """Neither does a whole scan: everything but DataStorage works without a display."""
    child = run_child("""
import sys
import lys_storage
with lys_storage.create("data.npz", (2, 2), note={"a": 1}) as scan:
    scan[0] = [1, 2]
with lys_storage.open_wave("data.npz") as wave:
    wave.sel(axis_0=1)
lys_storage.recover(".")
extras = {"PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "lys", "matplotlib", "rich", "click", "dask", "xarray"}
print(sorted(extras & set(sys.modules)))
""")
    assert (child.code, child.out.strip()) == (0, "[]"), child.err


def test_every_public_name_is_there(run_child: Callable[..., Any]) -> None:
    child = run_child("""
import sys
import lys_storage
names = lys_storage.__all__
print(all(getattr(lys_storage, name) for name in names), "qtpy" in sys.modules)
try:
    lys_storage.nothing
except AttributeError as error:
    print(error)
""")
    assert child.out.splitlines() == ["True False", "module 'lys_storage' has no attribute 'nothing'"]


def test_a_star_import_loads_no_qt(run_child: Callable[..., Any]) -> None:
    child = run_child("""
import sys
from lys_storage import *
import lys_storage
print(create is lys_storage.create, "qtpy" in sys.modules, "DataStorage" in dir(lys_storage))
""")
    assert child.out.splitlines() == ["True False True"], child.err


def test_importing_loads_little_beyond_numpy(run_child: Callable[..., Any]) -> None:
    """The goal is 150 ms (`benchmarks/compare.py --machine` measures it). The limit here is 1.5 s of CPU time."""
    child = run_child("""
import sys, time
import numpy, pathlib, secrets  # numpy 1 imports the other two, numpy 2 does not
before, begin = set(sys.modules), time.process_time()
import lys_storage
seconds, new = time.process_time() - begin, set(sys.modules) - before
print(*sorted({name.partition(".")[0] for name in new} - sys.stdlib_module_names))
print(*sorted({"asyncio", "concurrent", "ctypes.util", "email", "http", "multiprocessing", "ssl", "urllib"} & new))
print(len([name for name in new if not name.startswith("lys_storage")]) < 80, seconds < 1.5)
""")
    assert child.out.splitlines() == ["filelock isal lys_storage", "", "True True"], child.out + child.err


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
@pytest.mark.parametrize(
    ("dtype", "frame"),
    [
        pytest.param("f4", "np.ones((8, 1 << 20))", id="a cast"),
        pytest.param("f8", "np.ones((1 << 20, 8)).T", id="a transposed frame"),
        pytest.param("f8", "np.broadcast_to(np.ones(1 << 20), (8, 1 << 20))", id="a broadcast frame"),
        pytest.param(">f8", "np.ones((1, 8 << 20)).reshape(8, 1 << 20)", id="another byte order"),
    ],
)
def test_memory_does_not_go_with_the_size_of_a_frame(run_child: Callable[..., Any], dtype: str, frame: str) -> None:
    """Frames of 64 MiB are written, rewritten and saved with less than 24 MiB of memory at a time."""
    child = run_child(f"""
import threading
import numpy as np, lys_storage

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

scan = lys_storage.create("data.npz", (2, 8, 1 << 20), "{dtype}", grid_ndim=1, flush_interval_s=None)
frame = {frame}
before, peak, over = anonymous(), 0, threading.Event()

def watch():
    global peak
    while not over.wait(0.002):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
for index in (0, 1, 0):
    scan[index] = frame
scan.close()
over.set()
watcher.join()
print((peak - before) >> 20)
""")
    assert child.code == 0, child.err
    assert int(child.out) < 24
