"""`lys-storage demo`: a simulated detector, the storage of its frames, and a check of the file.

Importing it loads neither Qt nor matplotlib: these are loaded when `SimulatedDetector` or `_preview` is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._run import Demo, run
from ._simulation import SimulatedMeasurement

if TYPE_CHECKING:
    from ._detector import SimulatedDetector

__all__ = ["Demo", "SimulatedDetector", "SimulatedMeasurement", "run"]


def __getattr__(name: str) -> Any:
    if name == "SimulatedDetector":
        from ._detector import SimulatedDetector

        return SimulatedDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
