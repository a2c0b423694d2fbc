"""The tests of the demo need no display. Those that need Qt are skipped if it is not installed."""

import os

import pytest

from tests.extras import HAS_QT, NEEDS_QT

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

if not HAS_QT:

    @pytest.fixture
    def qapp():
        pytest.skip(NEEDS_QT)

    qtbot = qapp
