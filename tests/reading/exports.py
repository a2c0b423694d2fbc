"""Exports with members of which some are changed, and .npy members with a pickle of the test's choice."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def with_members(path: Path, changes: dict[str, bytes | None], source: Path | None = None) -> Path:
    """A .npz with the members of `source`, some of them changed, added, or (None) left out."""
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
    """A .npy, with these bytes in the place of its pickle."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, object) if pickled else np.asarray(array), allow_pickle=True)
    return stream.getvalue() if pickled is None else stream.getvalue()[: stream.getvalue().index(b"\n") + 1] + pickled
