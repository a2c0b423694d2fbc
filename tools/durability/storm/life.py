"""One scan of the storm: its properties, and the reports of its children so far.

The module starts no process and reads no export.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tools.durability.frames import make_frame
from tools.durability.ledger import Ledger
from tools.durability.oracle import Expected

DTYPE = "<u2"
FIRST_DTYPE = "<u4"  # for a scan whose dtype is changed before its first frame
REPLACED = "old.npz"
TAKEN = "data_0.npz"
_SIZES = (1000, 4096, 65_536, 1 << 20)


@dataclass(frozen=True)
class Life:
    folder: Path
    seed: str
    kind: str  # "unnumbered", "numbered", "replace"
    grid: tuple[int, int]
    frame_bytes: int
    fill: int
    grid_is_known: bool  # else the first index defines it, and a new journal is made
    flush_interval_s: float | None
    changes_dtype: bool

    @property
    def copies(self) -> Path:
        """The folder for copies that are made while the scan is written."""
        return self.folder.with_name(f"{self.folder.name}.copies")

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.grid, self.frame_bytes // 2)

    @property
    def cells(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def expected(self) -> Expected:
        dtypes = [DTYPE, FIRST_DTYPE] if self.changes_dtype else [DTYPE]
        fills: dict[Any, bytes | None] = {np.dtype(name): np.asarray(self.fill, name).tobytes() for name in dtypes}
        return Expected(self.shape, len(self.grid), fills, may_be_trimmed=True)

    @property
    def replaceable(self) -> tuple[str, ...]:
        return (REPLACED,) if self.kind == "replace" else ()

    def frame(self, cell: int, version: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(make_frame(0, cell, version, self.frame_bytes), DTYPE)

    def begin(self) -> None:
        """Make the folder, with the export that the scan replaces, or an export that has the first number."""
        self.folder.mkdir()
        if self.kind != "unnumbered":
            np.savez(self.folder / (REPLACED if self.kind == "replace" else TAKEN), data=np.arange(7))


def draw_life(folder: Path, seed: str, frame_bytes: int) -> Life:
    rng = random.Random(seed)
    size = frame_bytes or rng.choice(_SIZES)
    return Life(
        folder=folder,
        seed=seed,
        kind=rng.choice(["unnumbered", "numbered", "replace"]),
        grid=(rng.randint(2, 5), rng.randint(3, 7)),
        frame_bytes=size,
        fill=rng.choice([0, 0xABCD]),
        grid_is_known=rng.random() >= 0.3,
        flush_interval_s=rng.choice([None, None, 0, 0.002, 0.02]),
        changes_dtype=rng.random() < 0.25,
    )


@dataclass
class Told:
    """The reports of the children of one life. The ledger takes those about frames and notes."""

    ledger: Ledger = field(default_factory=Ledger.of_killed_process)
    reserved: bool = False
    suspended: bool = False
    refined: bool = False
    boot: int = 0
    step: str = ""
    faults: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def take(self, what: str, *rest: Any) -> None:
        if what == "reserved":
            self.reserved = True
        elif what == "refined":
            self.refined = True
        elif what == "suspended":
            self.suspended = True
        elif what in ("step", "ended"):
            self.step = rest[0]
        elif what == "copied":
            self.copies.append(rest[0])
        elif what == "failed":
            self.faults.append(rest[0])
        elif what != "resumed":
            self.ledger.take(what, *rest)
