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
