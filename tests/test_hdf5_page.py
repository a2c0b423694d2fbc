"""The snippets of docs/hdf5.md run as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import Finished

pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
PAGE = (Path(__file__).parents[1] / "docs" / "hdf5.md").read_text(encoding="utf8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

CONSOLE = """
import code, warnings
warnings.simplefilter("error")
console = code.InteractiveConsole()
for snippet in SNIPPETS:
    for line in [*snippet.splitlines(), ""]:
        console.push(line)
"""


def test_every_snippet_can_be_pasted_after_the_one_before(run_child: Callable[..., Finished]) -> None:
    assert len(SNIPPETS) == 2
    child = run_child(CONSOLE.replace("SNIPPETS", repr(SNIPPETS)))
    assert (child.code, child.err) == (0, "")
    assert child.out.splitlines() == [
        "(5, 4, 32, 32) uint16 32.0",
        "[0.  0.5 1.  1.5 2. ] mm",
        "[ True  True  True False]",
        "{",
        ' "sample": "TaS2"',
        "}",
        "1 7.0",
    ]
