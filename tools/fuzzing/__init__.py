"""Coverage-guided fuzzing of everything that reads a file; `tools/fuzz.py` is the program.

inputs: bytes taken apart, and made into files with right checksums; targets: the checks; seeds: small real inputs;
running: libFuzzer on one target, and inputs run once; limits: of an input. It imports nothing of tests/.
"""
