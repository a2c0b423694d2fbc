"""Coverage-guided fuzzing of all code that reads a file; `tools/fuzz.py` is the program.

inputs: splits bytes into fields, and builds files with valid checksums; targets: the checks; seeds: small real inputs;
running: libFuzzer on one target, and single runs of inputs; limits: of an input. The package does not import tests/.
"""
