"""Which extras of lys_storage are installed. Tests of a missing extra are skipped with the way to install it."""

from __future__ import annotations

import importlib.util

import pytest

from lys_storage.errors import install_command

HAS_QT = all(importlib.util.find_spec(name) for name in ("qtpy", "pytestqt")) and any(
    importlib.util.find_spec(name) for name in ("PyQt6", "PyQt5")
)
NEEDS_QT = f"Qt is not installed: {install_command('qt')}"
needs_qt = pytest.mark.skipif(not HAS_QT, reason=NEEDS_QT)

WITHOUT = """
import sys

class Without:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Without)
"""


def without(*names: str) -> str:
    """The beginning of a child program in which the packages `names` are not installed."""
    return WITHOUT.replace("NAMES", repr(names))
