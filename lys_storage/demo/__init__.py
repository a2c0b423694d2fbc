"""`lys-storage demo`: a simulated detector, and the whole way of its frames into a file that is then checked.

Importing it loads neither Qt nor matplotlib: `SimulatedDetector` needs the one, `_preview` the other, and both wait until used.
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
