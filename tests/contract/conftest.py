"""The files of the contract, which are made once, and the fixture `held`: one of them, opened."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.reading import LabelledArray
from tests.conftest import child_environment
from tests.contract.contents import CONTENTS, EMPTY, LABELLED, Content, begin, begin_all
from tests.contract.kinds import KINDS, Kind
from tests.helpers import HAS_PASSED, open_below
from tests.reading.exports import npy

HELD = """
import sys
from pathlib import Path
from tests.contract.contents import begin_all

scans = [begin_all(Path(folder), with_missing="missing" in folder) for folder in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.read()  # until it is killed
"""
BY_LYS = """
import os, sys
import lys
from tests.contract.contents import CONTENTS, EMPTY

for name, what in (CONTENTS | EMPTY).items():
    if what.data.ndim:
        lys.Wave(what.data, *what.axes, **what.note).export(os.path.join(sys.argv[1], name + ".npz"))
sys.stdout.flush(); os._exit(0)  # lys leaves threads to the end of the process
"""


class Process:
    """A child process with the scans of `folders` open."""

    def __init__(self, home: Path, *folders: Path) -> None:
        for folder in folders:
            folder.mkdir()
        self._child = subprocess.Popen(
            [sys.executable, "-c", HELD, "--", *map(str, folders)],
            env=child_environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()


def save_as_lys_does(folder: Path, home: Path) -> None:
    """lys itself writes them, where it runs. Elsewhere the same members: its `allow_pickle=False` is one, up to numpy 2.0."""
    if importlib.util.find_spec("lys") is not None and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        subprocess.run(
            [sys.executable, "-c", BY_LYS, str(folder)], env=child_environment(home), check=True, timeout=100
        )
        return
    for name, what in (CONTENTS | EMPTY).items():
        given = what.axes or [None] * what.data.ndim
        axes = np.empty(what.data.ndim, object)
        for k, (axis, n) in enumerate(zip(given, what.data.shape, strict=True)):
            axes[k] = np.arange(n) if axis is None else axis
        if what.data.ndim:
            np.savez_compressed(folder / f"{name}.npz", data=what.data, axes=axes, note=np.array(what.note))
            with zipfile.ZipFile(folder / f"{name}.npz", "a", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("allow_pickle.npy", npy(False))


def export(path: Path, what: Content, *, with_missing: bool) -> None:
    begin(path, what, with_missing=with_missing).close()


@dataclass
class Library:
    """One folder for each kind, in it a file, or a folder of files, for each content."""

    folder: Path

    def of(self, kind: Kind) -> Path:
        return self.folder / kind.name

    def open(self, kind: Kind, name: str) -> LabelledArray:
        path = self.of(kind) / f"{name}.npz"
        if kind.is_stack:
            what = CONTENTS[name]
            labels = {"axis_name": what.names[0], "axis": what.axes[0]} if what.names else {}
            return lys_storage.open_waves(sorted(path.iterdir()), **labels)
        return lys_storage.open_wave(f"{path}.part" if kind.is_open else path)


@pytest.fixture(scope="module")  # the threads of an open scan would disturb tests of threads
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    for name in ("dask.array", "xarray"):  # now: a module that keeps an error of its import would keep a wave of a test
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    made = Library(tmp_path_factory.mktemp("contract"))
    of = {kind.name: made.of(kind) for kind in KINDS}
    with contextlib.ExitStack() as at_the_end:
        alive, dead = (
            Process(made.folder, *(path for name, path in of.items() if name.startswith(which)))
            for which in ("scan of another process", ("killed", "recovered"))
        )
        at_the_end.callback(alive.kill)
        at_the_end.callback(dead.kill)
        for path in of.values():
            path.mkdir(exist_ok=True)
        save_as_lys_does(of["lys"], made.folder)
        for name, what in (CONTENTS | EMPTY).items():
            np.savez(of["numpy"] / f"{name}.npz", data=what.data)
            np.savez(of["numpy in Fortran order"] / f"{name}.npz", data=np.asarray(what.data, order="F"))
        for name, what in CONTENTS.items():
            write_exports(of, name, what)
        dead.wait()
        dead.kill()
        for name in of:
            if name.startswith("recovered"):
                assert len(lys_storage.recover(of[name])) == len(CONTENTS)
        alive.wait()
        for scan in begin_all(of["scan of this process"], with_missing=False):
            at_the_end.callback(scan.suspend)
        yield made


def write_exports(of: dict[str, Path], name: str, what: Content) -> None:
    for end in ("", " with missing frames"):
        export(of["export" + end] / f"{name}.npz", what, with_missing=bool(end))
        rows = of["several exports" + end] / f"{name}.npz"
        rows.mkdir()
        for k, row in enumerate(what.rows() if what.data.ndim else ()):
            export(rows / f"{k}.npz", row, with_missing=bool(end))


@pytest.fixture(autouse=True)
def nothing_of_the_library_stays_open(request: pytest.FixtureRequest, library: Library) -> Iterator[None]:
    """Nothing but the scans of this process, of which background threads open folders."""

    def others() -> list[str]:
        return [path for path in open_below(library.folder) if "scan of this process" not in path]

    yield
    if sys.platform == "linux" and request.node.stash.get(HAS_PASSED, False) and others():
        gc.collect()
        assert others() == []


@dataclass
class Held:
    """A file that is open: `wave` has to be as `what`."""

    wave: Any
    what: Content
    kind: Kind
    library: Library
    name: str

    @property
    def lacks_frames(self) -> bool:
        return self.kind.lacks_frames(self.what)

    def again(self) -> Any:
        """The same file, opened once more. The caller closes it."""
        return self.library.open(self.kind, self.name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with `held` runs for each kind and each content; with `labelled` for each kind and the content with labels."""
    names = {"held": [*CONTENTS, *EMPTY], "labelled": [LABELLED]}
    for fixture, wanted in names.items():
        if fixture in metafunc.fixturenames:
            cases = [(kind, name) for kind in KINDS for name in wanted if kind.holds(name)]
            ids = [f"{kind}: {name}" for kind, name in cases]
            metafunc.parametrize(fixture, cases, ids=ids, indirect=True)


def _held(library: Library, kind: Kind, name: str) -> Iterator[Held]:
    with contextlib.closing(library.open(kind, name)) as wave:
        yield Held(wave, (CONTENTS | EMPTY)[name], kind, library, name)


@pytest.fixture
def held(request: pytest.FixtureRequest, library: Library) -> Iterator[Held]:
    yield from _held(library, *request.param)


@pytest.fixture
def labelled(request: pytest.FixtureRequest, library: Library) -> Iterator[Held]:
    yield from _held(library, *request.param)
