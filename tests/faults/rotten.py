"""A small interrupted scan, whose files can be written with some bytes changed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.journal import ABSENT, CHECKSUMMED, WRITTEN

SHAPE, FILL = (6, 8), 9
ARRAY_AT, FRAME = 4096, 16
MARKS_AT, SUMS_AT, METADATA_AT = 4096, 8192, 16384

Files = dict[str, bytes]


@dataclass(frozen=True)
class Rotten:
    """A small interrupted scan: the bytes of its files by name, and its frames by number.

    `settled`: its journal with a checksum for frame 5 as well.
    """

    files: Files
    settled: bytes
    frames: dict[int, bytes]
    text_size: int
    metadata_size: int
    key: int

    @property
    def part(self) -> bytes:
        return self.files["a.npz.part"]

    @property
    def journal(self) -> bytes:
        return self.files["a.npz.part.journal"]

    def lay(self, folder: Path, **changed: bytes) -> None:
        """Write the files into `folder`, which then holds nothing else. `part`, `journal` and `redo` replace one."""
        for path in folder.iterdir():
            path.unlink()
        names = {"part": "a.npz.part", "journal": "a.npz.part.journal", "redo": "a.npz.part.redo"}
        for name, content in {**self.files, **{names[k]: v for k, v in changed.items()}}.items():
            (folder / name).write_bytes(content)


def make_rotten(folder: Path, seed: int = 0) -> Rotten:
    """Frames 0, 1 and 3 have a checksum, 5 is only written, 2 and 4 are missing."""
    folder.mkdir()
    axes = [np.arange(6) / 2, None]
    options: dict[str, Any] = {"fill_value": FILL, "grid_ndim": 1, "axes": axes, "note": {"seed": seed}}
    scan = lys_storage.create(folder / "a.npz", SHAPE, "<u2", flush_interval_s=None, **options)
    random, frames = np.random.default_rng(seed), {}
    for number in (0, 1, 3, 5):
        frame = random.integers(1000, 60000, 8).astype("<u2")
        frames[number] = frame.tobytes()
        scan[number] = frame
    key, metadata = scan._store.journal.key, scan._store.journal.read_metadata()
    scan.suspend()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    journal = bytearray(files["a.npz.part.journal"])
    assert journal[MARKS_AT : MARKS_AT + 6] == bytes(
        [CHECKSUMMED, CHECKSUMMED, ABSENT, CHECKSUMMED, ABSENT, CHECKSUMMED]
    )
    journal[MARKS_AT + 5] = WRITTEN
    journal[SUMS_AT + 20 : SUMS_AT + 24] = bytes(4)
    settled, files["a.npz.part.journal"] = files["a.npz.part.journal"], bytes(journal)
    return Rotten(files, settled, frames, struct.unpack_from("<I", journal, 12)[0], sum(map(len, metadata)), key)
