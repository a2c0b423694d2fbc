"""The kinds of files that the contract is about, and the table of all differences between them.

A difference that is not in the table is a fault. Each one cites the page of docs/ that tells it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.contents import CONTENTS, EMPTY, Content


@dataclass(frozen=True)
class Kind:
    """`is_foreign`: not written by lys_storage. `is_open`: a scan file, which is no export yet. `is_stack`: several exports."""

    name: str
    has_missing: bool = False
    is_foreign: bool = False
    is_open: bool = False
    is_stack: bool = False

    def __str__(self) -> str:
        return self.name

    def holds(self, name: str) -> bool:
        """Whether there can be such a file with the content `name`."""
        if name in EMPTY:  # a scan has at least one frame, of at least one element
            return self.is_foreign
        what = CONTENTS[name]
        if what.data.ndim == 0:  # lys makes no wave without a dimension; one element is no stack
            return self.name != "lys" and not self.is_stack
        return True

    def lacks_frames(self, what: Content) -> bool:
        return self.has_missing and what.frames > 1


KINDS = [
    Kind("export"),
    Kind("export with missing frames", has_missing=True),
    Kind("scan of another process", is_open=True),
    Kind("scan of another process with missing frames", has_missing=True, is_open=True),
    Kind("scan of this process", is_open=True),
    Kind("killed scan with missing frames", has_missing=True, is_open=True),
    Kind("recovered scan"),
    Kind("recovered scan with missing frames", has_missing=True),
    Kind("lys", is_foreign=True),
    Kind("numpy", is_foreign=True),
    Kind("numpy in Fortran order", is_foreign=True),
    Kind("several exports", is_stack=True),
    Kind("several exports with missing frames", has_missing=True, is_stack=True),
]


@dataclass(frozen=True)
class Difference:
    """What `kinds` do in another way, and the sentence of the page in docs/ that tells it."""

    kinds: frozenset[Kind]
    page: str
    sentence: str


FOREIGN = frozenset(kind for kind in KINDS if kind.is_foreign)
OPEN = frozenset(kind for kind in KINDS if kind.is_open)
STACKS = frozenset(kind for kind in KINDS if kind.is_stack)

DIFFERENCES = {
    "dimensions have no names and no units": Difference(
        FOREIGN, "reading.md", "A dimension without a name is `axis_0`, `axis_1`, ... by its position."
    ),
    "there are no axes and no note": Difference(
        frozenset(kind for kind in FOREIGN if kind.name != "lys"),
        "reading.md",
        "A file of another program has the axes and the note that lys would find in it; one of numpy has none.",
    ),
    "the grid is all but the last two dimensions": Difference(
        FOREIGN, "reading.md", "Without a grid in the file the last two dimensions are a frame."
    ),
    "the first dimension has no unit": Difference(
        STACKS,
        "reading.md",
        "The first axis of several files has no unit, and they have no `path`, `data`, `info` and `verify`.",
    ),
    "there is no data": Difference(
        STACKS,
        "reading.md",
        "The first axis of several files has no unit, and they have no `path`, `data`, `info` and `verify`.",
    ),
    "a stack is not verified": Difference(
        STACKS,
        "reading.md",
        "The first axis of several files has no unit, and they have no `path`, `data`, `info` and `verify`.",
    ),
    "a scan file is verified by its command": Difference(
        OPEN,
        "live.md",
        "`lys-storage verify` and `lys_storage.verify` check a scan file, and `wave.verify()` does not.",
    ),
    "an index that needs a missing frame is an error": Difference(
        OPEN,
        "live.md",
        "`wave[index]`, `wave.data` and `np.asarray(wave)` raise `MissingFrameError` if they need a frame",
    ),
    "the whole array is a new copy each time": Difference(
        OPEN | STACKS,
        "reading.md",
        "`np.asarray` of several files, and of a scan in progress, reads into new memory each time",
    ),
    "there are no lazy arrays and no pickles": Difference(OPEN, "live.md", "Lazy arrays and pickles need the export."),
    "a closed one does not tell whether it is complete": Difference(
        OPEN, "live.md", "A closed one does not tell `is_complete`: that is read from the journal."
    ),
    "the whole is a map": Difference(
        frozenset(kind for kind in KINDS if not kind.is_open and not kind.is_stack and kind.name != "lys"),
        "reading.md",
        "`wave.data` is a map of the file, unless that is compressed or in progress.",
    ),
}


def differs(kind: Kind, what: str) -> bool:
    """Whether the table says so of this kind."""
    return kind in DIFFERENCES[what].kinds
