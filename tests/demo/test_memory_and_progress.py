"""What the demo prints about its memory and its progress."""

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from lys_storage.demo import _memory, _progress
from lys_storage.demo._memory import PeakMemory, anonymous_bytes, available_bytes
from lys_storage.demo._progress import Meter

linux = pytest.mark.skipif(
    sys.platform != "linux" or anonymous_bytes() is None, reason="only Linux tells the anonymous memory of a process"
)


@linux
def test_the_peak_is_seen_after_it_has_passed():
    """64 MiB that were allocated briefly are in the peak, and not in the present use."""
    before = anonymous_bytes()
    with PeakMemory(0.005) as memory:
        array = np.ones(8 << 20)
        memory.sample()
        del array
    assert memory.peak_bytes >= before + (60 << 20)
    assert anonymous_bytes() < memory.peak_bytes


@linux
def test_pages_of_a_mapped_file_are_not_counted(tmp_path):
    """RssAnon counts memory that cannot be dropped, unlike a map of a file."""
    (tmp_path / "file").write_bytes(bytes(64 << 20))
    before = anonymous_bytes()
    assert np.memmap(tmp_path / "file", np.uint8, "r").max() == 0
    assert anonymous_bytes() - before < 32 << 20


@pytest.mark.parametrize("content", [None, "", "VmRSS: 5 kB\n", "RssAnon:\n", "RssAnon: much kB\n"], ids=repr)
def test_a_system_that_does_not_tell_is_none(tmp_path, monkeypatch, content):
    """Without /proc, or with unknown content, nothing is measured or raised."""
    path = tmp_path / "status"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(_memory, "_STATUS", str(path))
    monkeypatch.setattr(_memory, "_MEMINFO", str(path))
    assert anonymous_bytes() is None
    assert available_bytes() is None
    with PeakMemory() as memory:
        pass
    assert memory.peak_bytes is None


def test_a_log_gets_a_line_now_and_then(monkeypatch):
    """Without a terminal there is a line for each tenth, not for each frame, and no control characters."""
    monkeypatch.setattr(_progress, "_LOOK_EVERY_S", 0.0)
    log = io.StringIO()
    with Meter(Console(file=log), "scanning", 5000, 1000) as meter:
        for done in range(1, 5001):
            meter.update(done)
    lines = log.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("scanning: 5,000 of 5,000 frames, ")
    assert "\x1b" not in log.getvalue()


def test_a_terminal_gets_a_bar_with_rate_and_time_left():
    """It shows frames done and in total, frames and bytes a second, and the time left."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, legacy_windows=False)
    with Meter(console, "scanning", 50, 1000) as meter:
        meter.update(50)
    assert "50/50" in screen.getvalue()
    assert "0:00:00" in screen.getvalue()


def test_a_run_that_has_no_frame_yet_shows_nothing():
    """A run that ends at once, for example after a failed reservation, prints no rate."""
    log = io.StringIO()
    with Meter(Console(file=log), "scanning", 50, 1000):
        pass
    assert log.getvalue() == ""
