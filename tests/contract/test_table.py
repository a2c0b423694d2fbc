"""The table of differences: each one is told by a page of docs/, and checked by a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.kinds import DIFFERENCES, KINDS, Difference

HERE = Path(__file__).parent


@pytest.mark.parametrize("difference", DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_page_tells_each_difference(difference: Difference) -> None:
    page = (HERE.parents[1] / "docs" / difference.page).read_text(encoding="utf8")
    assert difference.sentence in " ".join(page.split())


@pytest.mark.parametrize("what", DIFFERENCES)
def test_a_test_checks_each_difference(what: str) -> None:
    """It asks for it by its words: in the file of the test, besides this table."""
    assert [path.name for path in HERE.glob("test_*.py") if f'"{what}"' in path.read_text(encoding="utf8")]


@pytest.mark.parametrize("what", DIFFERENCES)
def test_no_difference_is_that_of_all_kinds(what: str) -> None:
    assert 0 < len(DIFFERENCES[what].kinds) < len(KINDS)
