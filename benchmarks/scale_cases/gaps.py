"""As many frames as in the case frames, of which every other hundred is missing.

These are more runs of missing frames than acquisition.json can list.
"""

from __future__ import annotations

import numpy as np

import lys_storage
from benchmarks.scale_cases._measuring import Figure, Figures, Task, new_scan, timed

WIDTH = 100


def measure(task: Task) -> Figures:
    total = task.options["frames"]
    rows = total // WIDTH
    at = f"{total:,} frames in {rows // 2:,} runs"
    scan = new_scan(task.path, (rows, WIDTH, 8), "uint16", 2)
    row = np.ones((WIDTH, 8), "u2")
    for i in range(0, rows, 2):
        scan.write((i,), row)
    scan.flush()
    scan.close()
    report = scan.report
    assert report is not None
    yield Figure("finalize per frame", report.seconds / total, "s/frame", at, note="fill 0; without sync")
    seconds, wave = timed(lambda: lys_storage.open_wave(scan.path))
    wave.close()
    yield Figure("open_wave", seconds, "s", at)
