"""tools/interop.py tries the programs that are installed, and fails if one does not read what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
TOOL = Path(__file__).parents[1] / "tools" / "interop.py"


def test_it_tries_the_programs_that_are_asked_for() -> None:
    command = [
        sys.executable,
        str(TOOL),
        "--markdown",
        *(f"--only={name}" for name in ("h5py", "numpy", "lys_storage")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    head, _line, h5py, numpy, ours = (text.split("|")[1:-1] for text in done.stdout.splitlines())
    assert [cell.strip() for cell in head] == [
        *("program", "version", "export", "export, frames missing", "scan in progress", "dtypes")
    ]
    assert [cell.strip() for cell in h5py[2:]] == ["yes", "yes", "yes", "all"]
    assert [cell.strip() for cell in numpy[2:]] == ["yes", "yes", "-", "all"]
    assert [cell.strip() for cell in ours[2:]] == ["yes", "yes", "yes", "all"]


def test_other_values_are_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also a file that was changed."""
    sys.path.insert(0, str(TOOL.parent))
    try:
        import interop
    finally:
        sys.path.pop(0)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    expected = interop.content("u2")
    good = "import numpy as np; data = (np.arange(1536) % 113).astype('u2').reshape(4, 3, 16, 8)"
    assert interop.cell(good, path, expected, tmp_path) == "yes"
    assert interop.cell(f"{good} + 1", path, expected, tmp_path).startswith("other values")
    assert interop.cell("raise OSError('no')", path, expected, tmp_path) == "no: OSError: no"
    assert interop.cell(f"{good}; open(path, 'ab').write(b'x')", path, expected, tmp_path) == "CHANGED THE FILE"
