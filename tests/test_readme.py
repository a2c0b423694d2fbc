"""The snippets and commands of README.md run as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import Finished

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

PASTE = """
import code, warnings
warnings.simplefilter("error")
console = code.InteractiveConsole()
for snippet in SNIPPETS * 2:
    for line in [*snippet.splitlines(), ""]:
        console.push(line)
"""


def test_every_snippet_can_be_pasted_after_the_one_before_and_all_of_them_twice(
    tmp_path: Path, run_child: Callable[..., Finished]
) -> None:
    """They are pasted line by line into one Python prompt, in a new folder; warnings are errors."""
    assert len(SNIPPETS) == 6
    child = run_child(PASTE.replace("SNIPPETS", repr(SNIPPETS)))
    assert (child.code, child.err) == (0, "")
    assert "NOT STORED" not in child.out
    made = {path.name for path in (tmp_path / "run").iterdir() if path.suffix != ".lock"}
    assert made == {
        f"{name}.npz" for name in ("data_0", "data_1", "map_0", "map_1", *(f"broken_{n}" for n in range(4)))
    }


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m venv .venv && .venv/bin/pip install '.[lab]' && .venv/bin/lys-storage demo",
        "python3 -m venv .venv && .venv/bin/pip install -e '.[lab,test]' && .venv/bin/python -m pytest",
    ],
)
def test_each_command_is_on_one_indented_line(command: str) -> None:
    """.ci/run takes the commands from these lines."""
    assert README.count(f"\n    {command}\n") == 1


def test_the_package_list_is_refreshed_before_the_system_packages_are_installed() -> None:
    """.ci/run takes the packages from the first line of this form."""
    before, line = re.findall(r"^(.*)\n( +apt-get install python3-venv .+)$", README, re.MULTILINE)[0]
    assert before.strip() == "apt-get update"
    assert "git" in line.split()
