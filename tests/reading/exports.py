"""Exports with changed members, and .npy members with a given pickle."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def with_members(path: Path, changes: dict[str, bytes | None], source: Path | None = None) -> Path:
    """A .npz with the members of `source`, of which `changes` replaces, adds, or (None) removes some."""
    members: dict[str, bytes | None] = {}
    if source is not None:
        with zipfile.ZipFile(source) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | changes).items():
            if content is not None:
                archive.writestr(name, content)
    return path


def npy(array: Any, pickled: bytes | None = None) -> bytes:
    """A .npy, with these bytes instead of its pickle."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, object) if pickled else np.asarray(array), allow_pickle=True)
    return stream.getvalue() if pickled is None else stream.getvalue()[: stream.getvalue().index(b"\n") + 1] + pickled
