"""docs/architecture.md and docs/decisions are complete: they name every layer, every lock and every record."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf8")
RECORDS = ROOT / "docs" / "decisions"
LOCK = re.compile(r"\b(\w+) = threading\.(?:Lock|RLock|Condition)\(")


def rows(title: str) -> list[list[str]]:
    """The cells of the first table below a heading, without the header row."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = next(part for part in section if part.startswith(f"{title}\n"))
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_layer_table_is_the_import_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    assert [row[0].strip("`") for row in rows("Layers")] == [
        package for layer in layers for package in layer.split(" | ")
    ]


def test_the_lock_table_names_every_lock() -> None:
    in_code = {
        (path.relative_to(ROOT / "lys_storage").as_posix(), name)
        for path in (ROOT / "lys_storage").rglob("*.py")
        for name in LOCK.findall(path.read_text(encoding="utf8"))
    }
    on_page = set()
    for row in rows("Locks"):
        path, *names = re.findall(r"`(.+?)`", row[2])
        on_page |= {(path, name) for name in names}
    assert on_page == in_code


def test_each_package_lists_its_own_locks() -> None:
    owners = {row[1]: row[2].strip("`").partition("/")[0] for row in rows("Locks")}
    listed = {lock: row[0].strip("`") for row in rows("Layers") for lock in row[3].split(", ") if lock}
    assert listed == owners


def test_every_decision_has_a_number_a_line_in_the_list_and_its_parts() -> None:
    records = sorted(RECORDS.glob("0*.md"))
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|$", (RECORDS / "README.md").read_text("utf8"), re.MULTILINE)
    assert [(int(number), name) for number, _, name in listed] == [
        (number, path.name) for number, path in enumerate(records, 1)
    ]
    for (number, title, _), path in zip(listed, records, strict=True):
        text = path.read_text(encoding="utf8")
        assert text.startswith(f"# {number}. {title}\n\nStatus: ")
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        wanted = ["Context", "Decision", "Measured", "Consequences"]
        assert [part for part in parts if part != "Rejected"] == wanted, path.name
