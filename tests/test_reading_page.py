"""The snippets of docs/reading.md run as they are."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import Finished
from tests.pages import console_with, snippets_of

SNIPPETS = snippets_of("reading.md")
NEEDED = ("dask", "xarray")
HAS_LYS = importlib.util.find_spec("lys") is not None
QUIET_DASK = "import dask; dask.config.set(scheduler='synchronous')"
LEAVE = "sys.stdout.flush(); sys.stderr.flush(); os._exit(0)  # lys leaves threads to the end of the process"


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="pip install 'lys_storage[dask,xarray]' is needed"
)
def test_every_snippet_can_be_pasted_after_the_one_before(run_child: Callable[..., Finished]) -> None:
    assert len(SNIPPETS) == 10
    with_lys = [snippet for snippet in SNIPPETS if "lys_dask" in snippet or "lys.load" in snippet]
    assert len(with_lys) == 2
    snippets = [snippet for snippet in SNIPPETS if HAS_LYS or snippet not in with_lys]
    child = run_child(console_with(snippets, before=QUIET_DASK, after=LEAVE))
    assert (child.code, child.err) == (0, "")
    assert child.out.splitlines() == [
        f"<StoredWave {Path('run', 'data_0.npz')} (5, 4, 32, 32) uint16",
        "  y: 0.0 ... 2.0 mm (5 points)",
        "  x: 3.0 ... 0.0 mm (4 points)",
        "  row: 0.0 ... 31.0 pixel (32 points)",
        "  column: 0.0 ... 31.0 pixel (32 points)>",
        "('y', 'x', 'row', 'column')",
        "(32, 32) (2, 32, 32)",
        "(3, 32, 32)",
        "(4, 32, 32)",
        "True (5, 4)",
        "(5, 4, 32, 32) (5, 4)",
        "[0. 0. 0.]",
        *child.out.splitlines()[12:13],  # the repr of a dask array has a hash
        "TaS2",
        "(3, 5, 4, 32, 32) {'sample': 'TaS2'}",
        "1.0",
        "(3, 5, 4, 32, 32) ('temperature', 'y', 'x', 'row', 'column')",
        *(["(5, 4, 32, 32) [3. 2. 1. 0.] (5, 4, 32, 32) TaS2", "DaskWave", "Wave"] if HAS_LYS else []),
        "(1, 1, 32, 32) [0.5, -1.0, 1.0, 1.0] ['y', 'x', 'row', 'column'] image",
        "0",
    ]
