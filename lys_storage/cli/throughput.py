"""What the speed of a disk means for a scan and for a detector, in words and as JSON."""

from __future__ import annotations

from typing import Any

from ..disk import Speed, rate_text
from ..scan import default_burst_bytes
from .amounts import bytes_text, seconds_text

SCAN_BYTES = 100_000_000_000
"""Of a scan, if no size is given."""


def scan_text(speed: Speed, scan_bytes: int, free: int | None) -> str:
    """`free`: bytes on the disk; None if not known."""
    text = f"a scan of {bytes_text(scan_bytes)} takes {seconds_text(scan_bytes / speed.bytes_per_second)} at this rate"
    return text if free is None or scan_bytes <= free else f"{text}; {bytes_text(free)} are free"


def speed_facts(speed: Speed, scan_bytes: int) -> dict[str, Any]:
    direct = speed.direct_bytes_per_second
    return {
        "method": speed.method,
        "bytes_per_second": round(speed.bytes_per_second),
        "direct_bytes_per_second": None if direct is None else round(direct),
        "scan_bytes": scan_bytes,
        "scan_seconds": scan_bytes / speed.bytes_per_second,
    }


def space_facts(free: int | None, scan_bytes: int) -> dict[str, Any]:
    """`probe`, `state`, `message`, `error` and numbers: whether a scan fits. `free`: bytes; None if not known."""
    facts = {"probe": f"a scan of {bytes_text(scan_bytes)}", "scan_bytes": scan_bytes, "free_bytes": free}
    if free is None:
        return facts | {"state": "holds", "message": "the system does not tell how much space is free"}
    left = f"{bytes_text(free)} are free"
    if scan_bytes <= free:
        return facts | {"state": "holds", "message": left}
    error = f"it cannot be created: free {bytes_text(scan_bytes - free)}, or choose another folder"
    return facts | {"state": "fails", "message": left, "error": error}


def detector_facts(speed: Speed, rate: int) -> dict[str, Any]:
    """`probe`, `state`, `message`, `error` and numbers: whether the disk keeps up with `rate`, in bytes per second."""
    burst, excess = default_burst_bytes(), rate - speed.bytes_per_second
    facts = {
        "probe": f"a detector of {rate_text(rate)}",
        "detector_bytes_per_second": rate,
        "bytes_per_second": round(speed.bytes_per_second),
        "burst_bytes": burst,
        "burst_seconds": burst / excess if excess > 0 else None,
    }
    sustained = f"the disk sustains {rate_text(speed.bytes_per_second)}"
    if excess <= 0:
        return facts | {"state": "holds", "message": f"{sustained}, so it can run without end"}
    waits = f"the burst of {bytes_text(burst)} is full after {seconds_text(burst / excess)}, then the detector waits"
    return facts | {"state": "fails", "message": f"{sustained}, the detector is faster", "error": waits}
