"""The durability experiments, and the code that they share.

`tools/crash_storm.py`, `tools/interrupt_storm.py`, `tools/power_cut_model.py` and `tools/power_cut.py` are thin programs
on top of this package.

    ledger, frames              what was written, and which of it must survive
    exports, oracle             compare the remaining files with the ledger
    own_reader                  check the same folder with lys_storage itself
    internals                   access to private parts of lys_storage
    files, environment          a folder as a value; the first line that a tool prints
    storm/                      kills processes
    interrupts/                 interrupts public calls
    model/                      a modelled disk with power cuts and failing syncs
    real/                       power cuts of a disk with a real filesystem

The package does not import tests/.
"""
