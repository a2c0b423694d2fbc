"""The snippets of docs/hdf5.md run as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.helpers import Finished
from tests.pages import console_with, snippets_of

pytest.importorskip("h5py", reason="h5py is not installed: pip install 'lys_storage[hdf5]'")
SNIPPETS = snippets_of("hdf5.md")


def test_every_snippet_can_be_pasted_after_the_one_before(run_child: Callable[..., Finished]) -> None:
    assert len(SNIPPETS) == 2
    child = run_child(console_with(SNIPPETS))
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
