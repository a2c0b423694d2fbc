"""Reads exports with numpy and zipfile.

It never uses lys_storage: an error in its reader must not hide an error in the file.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

UNZIP_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Export:
    path: Path
    data: np.ndarray[Any, Any]
    axes: list[Any]
    note: dict[str, Any]
    info: dict[str, Any]


def read_export(path: Path) -> Export:
    """Read an export. Raises the exceptions of numpy, zipfile and json on a bad file."""
    with zipfile.ZipFile(path) as archive:
        info = json.loads(archive.read("acquisition.json"))
    with np.load(path, allow_pickle=True) as stored:
        return Export(path, stored["data"], list(stored["axes"]), dict(stored["note"][()]), info)


def zip_fault(path: Path, *, unzip: bool = False) -> str | None:
    """The first error that zipfile, and with `unzip` the program unzip, find in a file; None if it is valid."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad is not None:
            return f"{path.name}: member {bad} is bad"
        if unzip and shutil.which("unzip"):
            command = ["unzip", "-tqq", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=UNZIP_TIMEOUT_S)
            if done.returncode:
                return f"{path.name} is bad: unzip: {(done.stderr or done.stdout).strip()}"
    except Exception as error:
        return f"{path.name} is bad: {error!r}"
    return None
