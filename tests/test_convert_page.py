"""The snippets of docs/convert.md run as they are."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable

import pytest

from lys_storage.conversion import FORMATS
from tests.helpers import Finished
from tests.pages import console_with, snippets_of, text_of

SNIPPETS = snippets_of("convert.md")
NEEDED = ("h5py", "pandas")


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="pip install 'lys_storage[hdf5,pandas]' is needed"
)
def test_every_snippet_can_be_pasted_after_the_one_before(run_child: Callable[..., Finished]) -> None:
    assert len(SNIPPETS) == 6
    child = run_child(console_with(SNIPPETS))
    assert (child.code, child.err) == (0, "")
    seen = child.out.splitlines()
    assert seen[0] == "run/data_1.zarr (5, 4, 32, 32) ()"
    assert seen[1].startswith("Converted(path=")
    assert seen[2:] == [
        "(5, 4, 32, 32) ['y', 'x', 'axis_2', 'axis_3'] mm",
        '{"sample": "TaS2", "temperature": 10.0}',
        "(3, 5, 4, 32, 32) virtual",
        "[0 1 2] [ 0. 10. 20.]",
        "[('data_0.npz', (5, 4, 32, 32), 0.0), ('data_1.npz', (5, 4, 32, 32), 10.0), ('data_2.npz', (5, 4, 32, 32), 20.0)]",
        "['run/data_1.npz', 'run/data_2.npz']",
    ]


def test_the_page_names_every_format() -> None:
    table = text_of("convert.md").partition("| suffix |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\.[a-z0-9]+)`", table)) == set(FORMATS)
