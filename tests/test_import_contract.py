"""Import directions: imports go downwards only, and a package is imported through its `__init__.py`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, in which a test breaks a contract."""
    shutil.copytree(ROOT / "lys_storage", tmp_path / "lys_storage", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install '.[test]'")
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    return run.returncode, run.stdout + run.stderr


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    code, said = lint(copy)
    assert (code, "0 broken" in said) == (0, True), said


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("journal/journal.py", "from ..store import ScanStore", "downwards"),
        ("disk/file.py", "from ..scan import create", "downwards"),
        ("format/npy.py", "import PyQt6", "Qt lives in"),
        ("recovery/find.py", "import lys", "lys in lys_storage.interop"),
        ("qt/state.py", "import lys", "only interop and the demo import lys"),
        ("interop/members.py", "from PyQt6 import QtCore", "interop imports Qt through"),
        ("reading/wave.py", "from ..interop import as_lys_wave", "downwards"),
        (
            "export/fill.py",
            "from ..store.frame_table import FrameTable",
            "the modules of store are imported inside store",
        ),
        ("format/npy.py", "import xarray", "dask and xarray are imported by their modules only"),
        ("reading/wave.py", "from ..interop import xarray_backend", "downwards"),
        ("recovery/find.py", "from ..scan.writer import FrameWriter", "the modules of scan are imported inside scan"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(copy: Path, module: str, line: str, broken: str) -> None:
    with open(copy / "lys_storage" / module, "a") as file:
        file.write(f"\n{line}\n")
    code, said = lint(copy)
    assert code == 1, said
    assert any(broken in row and "BROKEN" in row for row in said.splitlines()), said


def test_a_package_that_no_layer_names_is_found(copy: Path) -> None:
    (copy / "lys_storage" / "unlisted").mkdir()
    (copy / "lys_storage" / "unlisted" / "__init__.py").write_text("")
    code, said = lint(copy)
    assert code == 1, said
    assert "unlisted" in said


def test_only_the_package_of_systems_asks_on_which_system_it_runs() -> None:
    """Except how a shell quotes a path, and whether Qt has a display on X11 or Wayland."""
    asks = re.compile(r"sys\.platform|\bos\.name\b|platform\.system|import (fcntl|msvcrt|winreg)")
    others = [path for path in (ROOT / "lys_storage").rglob("*.py") if path.parent.name != "systems"]
    found = {path.relative_to(ROOT).as_posix() for path in others if asks.search(path.read_text())}
    assert found == {"lys_storage/format/hints.py", "lys_storage/interop/lys_import.py"}
