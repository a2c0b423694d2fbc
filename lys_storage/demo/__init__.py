"""`lys-storage demo`: a simulated detector, and the whole way of its frames into a file that is then checked.

Importing it loads neither Qt nor matplotlib: `_detector` needs the one, `_preview` the other, and both wait until used.
"""

from ._run import Demo, run
from ._simulation import SimulatedMeasurement

__all__ = ["Demo", "SimulatedMeasurement", "run"]
