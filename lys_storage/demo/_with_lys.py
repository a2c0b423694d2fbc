"""Compares what `lys.Wave` loads from an export of the demo. A program: `python -m lys_storage.demo._with_lys JSON`.

Prints lines of JSON: {"imported": true} after the import of lys, and at the end {"well": ..., "text": ...}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import Any

import numpy as np

from lys_storage.errors import BindingError
from lys_storage.reading import open_wave

from ._glance import Frames
from ._simulation import SimulatedMeasurement

_FRAMES = 64


def main(spec: dict[str, Any]) -> None:
    """Load spec["path"], compare, and print what was found."""
    # PyQt6 if it is installed: importing the package prepares lys for it.
    with contextlib.suppress(BindingError):
        importlib.import_module("lys_storage.qt")
    import lys

    if not hasattr(lys, "Wave"):
        print(
            json.dumps(
                {"well": None, "text": f"not tried: {lys.__file__} is another package named lys: install lys-python"}
            )
        )
        return
    print(json.dumps({"imported": True}), flush=True)
    path = spec.pop("path")
    measurement = SimulatedMeasurement(**spec)
    wave = lys.Wave(path)
    with open_wave(path) as stored:
        missing, note = stored.info.get("missing", ()), stored.note
    faults = []
    if wave.data.dtype != measurement.dtype or wave.data.shape != measurement.shape:
        faults.append(f"the data are {wave.data.shape} {wave.data.dtype}")
    else:
        frames = Frames(wave.data, len(measurement.grid_shape), missing)
        some = np.unique(np.linspace(0, measurement.frame_count - 1, _FRAMES).astype(int)).tolist()
        indices = [tuple(int(i) for i in np.unravel_index(k, measurement.grid_shape)) for k in some]
        compared = [index for index in indices if frames.came(index)]
        wrong = [i for i in compared if frames.whole(i).tobytes() != measurement.frame(i).tobytes()]
        if wrong:
            faults.append(f"frames {wrong} differ from what was measured")
    axes = [np.asarray(axis) for axis in wave.axes]
    if len(axes) != len(measurement.axes) or any(
        not np.array_equal(a, b) for a, b in zip(axes, measurement.axes, strict=True)
    ):
        faults.append("the axes differ from the detector's")
    if dict(wave.note) != note:
        faults.append("the note differs from the stored one")
    text = "; ".join(faults) or f"loads the file; {len(compared)} frames, the axes and the note are equal"
    print(json.dumps({"well": not faults, "text": text}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
