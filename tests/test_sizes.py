"""Limits of the size of modules and functions: a longer one probably holds more than one idea or step."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_CYTHON = 350, 60, 200


@pytest.mark.parametrize("folder", ["lys_storage", "tools", "benchmarks"])
def test_no_module_and_no_function_is_long(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    long = [f"{path}: {n}" for path in files if (n := len(path.read_text().splitlines())) > MOST_LINES]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.end_lineno is None:
                continue
            if node.end_lineno - node.lineno + 1 > MOST_LINES_OF_A_FUNCTION:
                long.append(f"{path}: {node.name}")
    assert long == []


def test_the_compiled_part_is_short() -> None:
    files = sorted((ROOT / "lys_storage").rglob("*.pyx"))
    assert files
    assert [f"{path}: {n}" for path in files if (n := len(path.read_text().splitlines())) > MOST_LINES_OF_CYTHON] == []
