"""The snippets of docs/reading.md run as they are."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import Finished

PAGE = (Path(__file__).parents[1] / "docs" / "reading.md").read_text(encoding="utf8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NEEDED = ("dask", "xarray")

CONSOLE = """
import code, warnings
warnings.simplefilter("error")
import dask
dask.config.set(scheduler="synchronous")
console = code.InteractiveConsole()
for snippet in SNIPPETS:
    for line in [*snippet.splitlines(), ""]:
        console.push(line)
"""


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="pip install 'lys_storage[dask,xarray]' is needed"
)
def test_every_snippet_can_be_pasted_after_the_one_before(run_child: Callable[..., Finished]) -> None:
    assert len(SNIPPETS) == 7
    child = run_child(CONSOLE.replace("SNIPPETS", repr(SNIPPETS)))
    assert (child.code, child.err) == (0, "")
    assert child.out.splitlines() == [
        "<StoredWave run/data_0.npz (5, 4, 32, 32) uint16",
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
        "0",
    ]
