"""Options that no scan can have are refused in words, by create and resume, before there is a file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import ScanShapeError
from tests.helpers import wait_until
from tests.scan.scans import begin

INTERVALS = [
    pytest.param("1s", id="text"),
    pytest.param("1", id="a number as text"),
    pytest.param(-1, id="below zero"),
    pytest.param(-0.001, id="a little below"),
    pytest.param(float("nan"), id="NaN"),
    pytest.param(float("inf"), id="infinity"),
    pytest.param(True, id="True"),
    pytest.param(False, id="False"),
    pytest.param(np.True_, id="numpy's True"),
    pytest.param(1e300, id="longer than a thread can wait"),
    pytest.param(threading.TIMEOUT_MAX * 2, id="twice of what it can"),
    pytest.param(10**400, id="more than a float holds"),
    pytest.param(1j, id="complex"),
    pytest.param([1.0], id="a list"),
    pytest.param(np.timedelta64(1, "s"), id="a duration"),
    pytest.param(Decimal(1), id="a Decimal"),
]


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_flush_interval_that_would_end_the_flush_thread_is_refused(tmp_path: Path, interval: Any) -> None:
    with pytest.raises(ScanShapeError, match=r"a flush interval is a number of seconds, 0 .* None"):
        begin(tmp_path, flush_interval_s=interval)
    assert list(tmp_path.iterdir()) == []
    begin(tmp_path).suspend()
    with pytest.raises(ScanShapeError, match=r"a flush interval is a number of seconds, 0 .* None"):
        lys_storage.resume(tmp_path / "data.npz", flush_interval_s=interval)
    lys_storage.resume(tmp_path / "data.npz").close()


@pytest.mark.parametrize(
    "interval", [0.001, np.float32(0.001), np.int64(0), Fraction(1, 1000), threading.TIMEOUT_MAX, None]
)
def test_any_number_of_seconds_will_do(tmp_path: Path, interval: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread lives, and flushes where it is to."""
    crashed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", crashed.append)
    with begin(tmp_path, flush_interval_s=interval, grid_ndim=1) as scan:
        flushed: list[int] = []
        flush: Callable[[], None] = scan._store.flush
        monkeypatch.setattr(scan._store, "flush", lambda: (flush(), flushed.append(1)))
        scan[0] = np.zeros(3)
        if interval is not None and interval < 1:
            wait_until(lambda: flushed != [])
        thread = scan._workers._flush_thread
        assert thread is not None
        assert thread._thread.is_alive()
        monkeypatch.undo()
    assert crashed == []


@pytest.mark.parametrize("partial", ["cut", None, 5, ["fill"], np.array(["fill", "trim"])])
def test_another_way_with_an_incomplete_scan_is_refused(tmp_path: Path, partial: Any) -> None:
    with pytest.raises(ScanShapeError, match="partial is 'fill' or 'trim', not "):
        begin(tmp_path, partial=partial)
    assert list(tmp_path.iterdir()) == []
