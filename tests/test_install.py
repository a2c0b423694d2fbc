"""What is installed: five packages for the core, extras for the rest, and an error that names the missing extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lys_storage.cli import main

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf8"))

CORE_ONLY = """
import sys
from importlib.machinery import PathFinder

class CoreFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in ("PyQt6", "PyQt5", "qtpy", "matplotlib", "lys"):
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = CoreFinder
"""


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+(\[[\w,]+\])?", requirement)[0] for requirement in requirements}


def test_the_core_is_five_packages_and_lab_is_the_three_extras() -> None:
    """lys, Qt and matplotlib are extras. lys requires numpy < 2, which conflicts with most other packages."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert names(PYPROJECT["project"]["dependencies"]) == {"numpy", "isal", "filelock", "click", "rich"}
    assert {extra: names(needed) for extra, needed in extras.items() if extra != "test"} == {
        "qt": {"qtpy", "PyQt6"},
        "lys": {"lys-python"},
        "plot": {"matplotlib"},
        "hdf5": {"h5py"},
        "dask": {"dask[array]"},
        "xarray": {"xarray"},
        "netcdf": {"h5netcdf", "h5py"},
        "tiff": {"tifffile"},
        "pandas": {"pandas"},
        "napari": {"napari", "lys_storage[dask]"},
        "lab": {"lys_storage[qt,lys,plot]"},
    }
    assert extras["lys"][0].endswith("; python_version < '3.13'")


def test_the_tools_of_development_are_groups_and_no_extras() -> None:
    """A group that names lys_storage would be resolved from the registry, where the name belongs to another package."""
    extras = {"qt", "lys", "plot", "dask", "xarray", "hdf5", "netcdf", "tiff", "pandas", "napari", "lab", "test"}
    assert set(PYPROJECT["project"]["optional-dependencies"]) == extras
    assert set(PYPROJECT["dependency-groups"]) == {"dev", "bench"}
    assert all("lys_storage" not in line for group in PYPROJECT["dependency-groups"].values() for line in group)


def test_without_the_extras_the_demo_runs_and_names_them(run_child: Callable[..., Any]) -> None:
    child = run_child(
        CORE_ONLY + "from lys_storage.cli import main; main(['demo', '--shape', '2,2', '--frame', '8,8'])"
    )
    assert (child.code, "all is well" in child.out) == (0, True), child.out + child.err
    assert (
        'Qt cannot be used: PyQt6 and PyQt5 cannot be found in this Python: pip install "lys_storage[qt]"' in child.out
    )
    assert 'not drawn: matplotlib is not installed: pip install "lys_storage[plot]"' in child.out
    how = 'pip install "lys_storage[lys]"' if sys.version_info < (3, 13) else "it needs numpy < 2"
    assert f"not tried: lys is not installed{':' if 'pip' in how else ';'} {how}" in child.out


def test_data_storage_without_qt_names_the_extra_and_the_way_that_needs_none(run_child: Callable[..., Any]) -> None:
    child = run_child(
        CORE_ONLY
        + """
import lys_storage
try:
    lys_storage.DataStorage
except lys_storage.BindingError as error:
    print(error)
"""
    )
    assert child.out == (
        'PyQt6 and PyQt5 cannot be found in this Python: pip install "lys_storage[qt]". '
        "lys_storage.create() needs no Qt\n"
    ), child.err


@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in main.commands)], ids=lambda words: " ".join(words) or "-"
)
def test_help_imports_no_package_of_an_extra(arguments: list[str]) -> None:
    """It imports neither rich nor slow modules of the standard library, so that help takes at most 0.2 s."""
    child = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lys_storage", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in child.stderr.splitlines()}
    assert child.stdout.startswith("Usage: lys-storage ")
    assert {"click", "numpy", "lys_storage"} < imported
    heavy = {
        "PyQt5",
        "PyQt6",
        "qtpy",
        "lys",
        "dask",
        "h5py",
        "h5netcdf",
        "tifffile",
        "pandas",
        "scipy",
        "matplotlib",
        "rich",
        "asyncio",
        "multiprocessing",
        "ssl",
    }
    assert imported & heavy == set()
