"""The cases of `benchmarks/scale.py`, one module each, by their names on the command line.

A module without an underscore is a case. Its `measure` yields the figures in the order of the table. It prints nothing,
and leaves files only below the folder of its task.
"""

from __future__ import annotations

from benchmarks.scale_cases import folder, frames, gaps, rate, scalars, two_terabytes
from benchmarks.scale_cases._measuring import Case
from benchmarks.scale_cases._storage import load_qt

CASES: dict[str, Case] = {
    "frames": Case(frames.measure),
    "gaps": Case(gaps.measure),
    "bytes": Case(two_terabytes.measure, place=two_terabytes.on_a_sparse_disk),
    "folder": Case(folder.measure),
    "scalars": Case(scalars.measure, load=load_qt),
    "rate": Case(rate.measure, load=load_qt),
}
