"""The snippets of a page of docs/, and a program that pastes them into a console, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_CONSOLE = """
import code, os, sys, warnings
warnings.simplefilter("error")
{before}
console = code.InteractiveConsole()
for snippet in {snippets!r}:
    for line in [*snippet.splitlines(), ""]:
        console.push(line)
{after}
"""


def text_of(page: str) -> str:
    return (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf8")


def snippets_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def console_with(snippets: Iterable[str], *, before: str = "", after: str = "") -> str:
    """A program for a child process. Warnings are errors in it."""
    return _CONSOLE.format(snippets=list(snippets), before=before, after=after)
