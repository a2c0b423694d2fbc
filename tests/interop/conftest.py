"""Fixtures of the tests of what connects to other programs."""

from __future__ import annotations

from tests.reading.conftest import export  # noqa: F401
