"""The cost of writing one frame, by the kind of its index and the method that is called. Frames of 64x64 uint16."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import Scan
from lys_storage.scan import begin_scan

GROUP = "update"
ROWS, COLUMNS, SIDE = 32, 64, 64
FRAMES = ROWS * COLUMNS
Update = list[tuple[Any, Any]]
"""The (index, frame) pairs of one call. A slice cannot be the key of a dict, so no detector sends one."""

NOISE = np.random.default_rng(0).integers(0, 1 << 16, (2, COLUMNS, SIDE, SIDE), "u2")
SMALL_LIST, POINT = NOISE[0, 0, :8, :8].tolist(), np.array(1.5)
WHOLE = np.ascontiguousarray(np.broadcast_to(NOISE[0], (ROWS, *NOISE[0].shape)))


def frame(k: int) -> np.ndarray[Any, Any]:
    frame: np.ndarray[Any, Any] = NOISE[0, k % COLUMNS]
    return frame


@dataclass(frozen=True)
class Kind:
    """A way to write FRAMES frames: `updates` gives the calls. `grid`: the scan's grid, whose last row stays missing."""

    name: str
    updates: Callable[[], Iterator[Update]]
    grid: tuple[int, ...] = (ROWS + 1, COLUMNS)
    frame_shape: tuple[int, ...] = (SIDE, SIDE)
    dtype: str = "uint16"
    items: int = FRAMES

    def __str__(self) -> str:
        return self.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid + self.frame_shape


def points() -> Iterator[tuple[int, int]]:
    return itertools.product(range(ROWS), range(COLUMNS))


def single(index: Callable[[int, int], Any] = lambda i, j: (i, j), value: Callable[[int], Any] = frame) -> Any:
    return lambda: ([(index(i, j), value(i * COLUMNS + j))] for i, j in points())


def batches(size: int) -> Any:
    def updates() -> Iterator[Update]:
        every = list(points())
        for at in range(0, FRAMES, size):
            yield [(index, frame(k)) for k, index in enumerate(every[at : at + size])]

    return updates


def in_random_order() -> Iterator[Update]:
    order = np.random.default_rng(1).permutation(FRAMES).tolist()
    return ([(divmod(k, COLUMNS), frame(k))] for k in order)


KINDS = [
    Kind("int tuple (i, j)", single()),
    Kind("int (i,) of a grid of one dimension", lambda: ([((k,), frame(k))] for k in range(FRAMES)), (FRAMES + 1,)),
    Kind("np.int64 tuple", single(lambda i, j: (np.int64(i), np.int64(j)))),
    Kind("int tuple, in random order", in_random_order),
    Kind("batch of 64", batches(64)),
    Kind("short index, a row of 64 frames", lambda: ([((i,), NOISE[0])] for i in range(ROWS))),
    Kind("slice, 32 frames", lambda: ([((i, slice(h, h + 32)), NOISE[0, :32])] for i in range(ROWS) for h in (0, 32))),
    Kind("slice with a step, 32 frames", lambda: ([((i, slice(h, 64, 2)), NOISE[0, ::2])] for i in range(ROWS) for h in (0, 1))),
    Kind("not contiguous", single(value=lambda k: frame(k).T)),
    Kind("cast, uint16 to float64", single(), dtype="float64"),
    Kind("list of lists, 8x8", single(value=lambda k: SMALL_LIST), frame_shape=(8, 8)),
    Kind("0-d array", single(value=lambda k: POINT), frame_shape=(), dtype="float64"),
    Kind("0-d, a Python float", single(value=lambda k: 1.5), frame_shape=(), dtype="float64"),
    Kind("0-d, np.float64", single(value=lambda k: POINT[()]), frame_shape=(), dtype="float64"),
    Kind("() of a scan without a grid, 16 MiB", lambda: iter([[((), WHOLE)]]), (), (ROWS, COLUMNS, SIDE, SIDE)),
]  # fmt: skip


def begin(folder: Path, kind: Kind) -> Scan:
    return begin_scan(
        folder,
        "scan",
        shape=kind.shape,
        dtype=kind.dtype,
        numbered=True,
        replace_existing=False,
        fill_value=0,
        grid_ndim=len(kind.grid),
    )


def drop(scan: Scan, *_: Any) -> None:
    scan.suspend()
    for path in scan.part_path.parent.iterdir():
        path.unlink()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_scan_write(measure: Any, folder: Path, kind: Kind) -> None:
    """One call of Scan.write for each entry, as in a script."""

    def work(scan: Scan, updates: list[Update]) -> None:
        write = scan.write
        for update in updates:
            for index, value in update:
                write(index, value)

    measure(work, setup=lambda: (begin(folder, kind), list(kind.updates())), teardown=drop, items=kind.items)


def as_dicts(kind: Kind) -> list[dict[Any, Any]]:
    return [dict(update) for update in kind.updates()]


@pytest.mark.parametrize("kind", [k for k in KINDS if "batch" in k.name or k is KINDS[0]], ids=str)
def test_scan_update(measure: Any, folder: Path, kind: Kind) -> None:
    def work(scan: Scan, updates: list[dict[Any, Any]]) -> None:
        for update in updates:
            scan.update(update)

    measure(work, setup=lambda: (begin(folder, kind), as_dicts(kind)), teardown=drop, items=kind.items)


@pytest.mark.parametrize("kind", [k for k in KINDS if "slice" not in k.name], ids=str)
def test_data_storage_update(measure: Any, folder: Path, make_storage: Any, kind: Kind) -> None:
    """One call of DataStorage.update for each update of a detector. An earlier index has defined the grid."""
    storage = make_storage()

    def setup() -> tuple[Any, ...]:
        storage.reserve(kind.shape, dtype=kind.dtype, fillValue=0)
        if kind.grid:
            storage.update({tuple(n - 1 for n in kind.grid): np.zeros(kind.frame_shape, kind.dtype)})
        return storage, as_dicts(kind)

    def work(storage: Any, updates: list[dict[Any, Any]]) -> None:
        for update in updates:
            storage.update(update)

    def teardown(storage: Any, updates: list[dict[Any, Any]]) -> None:
        if storage.array is not None:
            storage.save()
        assert storage.waitForSaved(60)
        shutil.rmtree(folder / "scans")

    measure(work, setup=setup, teardown=teardown, items=kind.items)


def test_the_first_index_tells_the_grid(measure: Any, folder: Path) -> None:
    """The first frame of a scan that was created without grid_ndim: a new journal is made."""

    def setup() -> tuple[Any, ...]:
        names: dict[str, Any] = {"numbered": True, "replace_existing": False}
        return (begin_scan(folder, "scan", shape=(1000, 64, 64), dtype="u2", **names),)

    measure(lambda scan: scan.write((0,), NOISE[0, 0]), setup=setup, teardown=drop, per="grid")


def test_frames_that_are_rewritten(measure: Any, folder: Path) -> None:
    """Write each frame a second time, through the redo log."""
    kind = KINDS[0]

    def setup() -> tuple[Any, ...]:
        scan, updates = begin(folder, kind), as_dicts(kind)
        for update in updates:
            scan.update(update)
        return scan, updates

    def work(scan: Scan, updates: list[dict[Any, Any]]) -> None:
        for update in updates:
            scan.update(update)

    measure(work, setup=setup, teardown=drop, items=kind.items)
