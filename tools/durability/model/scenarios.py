"""The scenarios: scans on the modelled disk. A scenario is a function of a `World`; `SCENARIOS` lists them all.

`model.cuts` makes the cuts and compares the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tools.durability.internals import take_checksums
from tools.durability.model.world import CELLS, DTYPE, FIRST_DTYPE, World


def in_order(w: World) -> None:
    scan = w.create()
    for cell in range(CELLS):
        w.write(scan, cell)
        if cell % 4 == 3:
            w.flush(scan)
    w.close(scan)


def in_random_order(w: World) -> None:
    scan = w.create_numbered()
    for cell in w.rng.sample(range(CELLS), CELLS - 2):
        w.write(scan, cell)
        if w.rng.random() < 0.3:
            w.flush(scan)
    w.close(scan)


def rewrites(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    w.write(scan, 5)
    for _ in range(10):
        w.write(scan, w.rng.choice([0, 1, 2, 5]))
        if w.rng.random() < 0.35:
            w.flush(scan)
    w.close(scan)


def rows_over_frames(w: World) -> None:
    scan = w.create_numbered()
    w.write(scan, 1)
    w.write(scan, 6)
    w.flush(scan)
    w.write(scan, row=0)
    w.write(scan, row=1)
    w.flush(scan)
    w.write(scan, row=0)
    w.close(scan)


def a_grid_that_the_first_index_tells(w: World) -> None:
    scan = w.create()
    if w.rng.random() < 0.5:
        w.flush(scan)
    while not scan.frames_written:  # otherwise the row would be the first index
        w.write(scan, w.rng.randrange(CELLS))  # a new journal with the grid replaces the first one
    if w.rng.random() < 0.7:
        w.flush(scan)
    w.write(scan, row=1)
    w.some(scan, 4)
    w.flush(scan)
    w.write(scan, w.rng.randrange(4))
    w.close(scan)


def notes(w: World) -> None:
    scan = w.create()
    for k in range(7):
        w.set_note(scan)
        if k % 2:
            w.write(scan, k)
        if w.rng.random() < 0.4:
            w.flush(scan)
    w.close(scan)


def in_place_of_an_older_file(w: World) -> None:
    scan = w.create(overwrite=True)
    w.some(scan, 6)
    w.flush(scan)
    w.close(scan)


def a_new_folder(w: World) -> None:
    scan = w.create_numbered()
    w.write(scan, 0)
    w.flush(scan)
    w.write(scan, 1)
    w.close(scan)


def killed_and_recovered(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 10)
    w.die(scan)
    w.recover()


def killed_and_resumed(w: World) -> None:
    scan = w.create()
    w.some(scan, 8)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 6)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 4)
    w.close(scan)


def killed_in_a_write(w: World) -> None:
    scan = w.create()
    w.some(scan, 5)
    for _ in range(3):
        w.flush(scan)
        cell = w.rng.randrange(4)
        actions: list[Callable[[], None]] = [
            partial(w.write, scan, cell),
            partial(w.write, scan, row=0),
            partial(w.flush, scan),
        ]
        w.die_during(scan, w.rng.randint(1, 9), w.rng.choice(actions))
        scan = w.resume()
        w.some(scan, 2)
    w.close(scan)


def suspended_and_resumed(w: World) -> None:
    scan = w.create()
    w.some(scan, 6)
    w.suspend(scan)
    scan = w.resume()
    w.some(scan, 8)
    w.close(scan)


def cut_and_resumed(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 6)
    w.flush(scan, insist=True)
    w.some(scan, 5)
    w.die(scan)
    w.cut_power()
    scan = w.resume_after_cut()
    w.some(scan, 6)
    w.die(scan)
    scan = w.resume()
    w.some(scan, 3)
    w.close(scan)


def a_rewrite_during_a_flush(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    for turn, at in enumerate(w.rng.sample(range(1, 9), 4)):
        if w.rng.random() < 0.8:
            w.flush(scan)
        cell = w.rng.randrange(4)
        for _ in range(w.rng.randrange(4)):
            w.write(scan, cell)
        cells = [w.rng.randrange(4)] if w.rng.random() < 0.5 else [5 + turn] * 2  # or a cell without a checksum

        def meanwhile(cells: list[int] = cells) -> None:
            for cell in cells:
                w.write(scan, cell)

        with w.meanwhile(at, meanwhile):
            w.flush(scan)
    w.die(scan)


def checks_during_a_flush(w: World) -> None:
    """The checksum thread computes checksums of new frames while a flush waits for the disk."""
    scan = w.create()
    w.write(scan, row=0)
    for at in w.rng.sample(range(1, 14), 5):
        if w.rng.random() < 0.5:
            w.flush(scan)
        for _ in range(w.rng.randrange(3)):
            w.write(scan, w.rng.randrange(8))
        cells = [(w.rng.randrange(8), w.rng.choice([0, 1, 2, CELLS])) for _ in range(w.rng.randint(1, 4))]

        def meanwhile(cells: list[tuple[int, int]] = cells) -> None:
            for cell, some in cells:
                w.write(scan, cell)
                take_checksums(scan, some)

        with w.meanwhile(at, meanwhile):
            w.flush(scan)
    w.die(scan)


def a_flush_during_a_rewrite(w: World) -> None:
    scan = w.create()
    w.write(scan, row=0)
    for at in w.rng.sample(range(1, 9), 5):
        if w.rng.random() < 0.8:
            w.flush(scan)
        if w.rng.random() < 0.4:
            w.write(scan, w.rng.randrange(4))
        with w.meanwhile(at, lambda: w.flush(scan)):
            w.write(scan, w.rng.choice([0, 1, 2, 3, 7]))
    w.die(scan)


def another_dtype(w: World) -> None:
    scan = w.create(dtype=FIRST_DTYPE)
    if w.rng.random() < 0.7:
        w.flush(scan)
    w.insist(lambda: scan.change_dtype(DTYPE, w.form.fill))
    w.some(scan, 4)
    w.flush(scan)
    w.some(scan, 3)
    w.close(scan)


def trimmed(w: World) -> None:
    scan = w.create_numbered()
    for cell in range(w.rng.randint(0, CELLS - 1)):
        w.write(scan, cell)
        if w.rng.random() < 0.3:
            w.flush(scan)
    w.close(scan, incomplete="trim")


def a_number_that_is_taken_meanwhile(w: World) -> None:
    scan = w.create_numbered()
    w.some(scan, 3)
    w.flush(scan)
    w.some(scan, 2)
    w.foreign_export("data_0.npz")
    w.some(scan, 2)
    w.close(scan)


@dataclass(frozen=True)
class Scenario:
    """`earlier`: the name of an export that exists before the scan. The scan replaces it (`replaces`) or leaves it alone."""

    run: Callable[[World], None]
    earlier: str | None = None
    replaces: bool = False
    first_index_tells_grid: bool = False
    trims: bool = False
    folder: str = "."

    @property
    def name(self) -> str:
        return self.run.__name__.replace("_", " ")


SCENARIOS = [
    Scenario(in_order),
    Scenario(in_random_order, earlier="data_0.npz"),
    Scenario(rewrites),
    Scenario(rows_over_frames),
    Scenario(a_grid_that_the_first_index_tells, first_index_tells_grid=True),
    Scenario(notes),
    Scenario(in_place_of_an_older_file, earlier="data.npz", replaces=True),
    Scenario(a_new_folder, folder="new/run"),
    Scenario(killed_and_recovered, earlier="data_0.npz"),
    Scenario(killed_and_resumed),
    Scenario(killed_in_a_write),
    Scenario(suspended_and_resumed),
    Scenario(cut_and_resumed),
    Scenario(another_dtype),
    Scenario(trimmed, trims=True),
    Scenario(a_number_that_is_taken_meanwhile),
    Scenario(a_rewrite_during_a_flush),
    Scenario(checks_during_a_flush),
    Scenario(a_flush_during_a_rewrite),
]
