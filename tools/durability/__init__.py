"""What the durability experiments share, and the three experiments themselves.

`tools/crash_storm.py`, `tools/power_cut_model.py` and `tools/power_cut.py` are thin programs on top of this package.

    ledger, frames              what was written, and which of it has to survive
    exports, oracle             what is found afterwards, compared with the ledger
    own_reader                  what lys_storage itself says of the same folder
    internals                   the private parts of lys_storage that the experiments reach into
    files, environment          a folder as a value; the first line that a tool prints
    storm/                      processes that are killed
    model/                      a modelled disk that loses its power, and whose syncs fail
    real/                       a real filesystem on a disk that loses its power

It imports nothing of tests/.
"""
