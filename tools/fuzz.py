#!/usr/bin/env python
"""Coverage-guided fuzzing of all code that reads a file: python tools/fuzz.py --target all --seconds 600 --seed 1

Needs atheris (pip install atheris; Linux, Python up to 3.12). Each target builds files from the input bytes, and reads
them with lys_storage. The result must be correct, or an error of the LysStorageError family. An input can request valid
checksums, so that the code behind the checksum tests is reached too. The inputs of finds are written to a folder; the
command that replays a find is printed with it. `--replay FILE...` runs inputs without atheris. The input of a fixed find
is kept in tests/faults/fuzz_finds/<target>/.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.fuzzing.running import CHILD, Campaign, replay, run_in_this_process


def parse_arguments(targets: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=[*targets, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="time for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder that keeps the corpus between runs; default: temporary")
    parser.add_argument("--finds", type=Path, default=Path("fuzz_finds"), help="folder for the inputs of finds")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs once, without atheris")
    given = parser.parse_args()
    if not given.replay:
        try:
            import atheris  # noqa: F401
        except ImportError as error:
            parser.error(f"{error}: pip install atheris")
    return given


def main() -> int:
    if sys.argv[1:2] == [CHILD]:
        run_in_this_process(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    import numpy  # not before the line above: the child instruments the imports of numpy

    from tools.fuzzing.targets import TARGETS

    given = parse_arguments(list(TARGETS))
    only = None if given.target in (None, "all") else given.target
    if given.replay:
        return replay(given.replay, only)
    print(f"{platform.platform()}, Python {platform.python_version()}, numpy {numpy.__version__}, seed {given.seed}")
    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="lys_corpus_"))
    problems = 0
    for target in TARGETS if only is None else [only]:
        told = Campaign(target, given.seed, Path(__file__).resolve())
        told.run(given.seconds, corpus, given.finds.resolve())
        problems += len(told.finds)
        print(
            f"{target:8} {told.executions:>10,} executions  {told.coverage:>6,} edges  "
            f"{told.features:>6,} features  {len(told.finds)} finds",
            flush=True,
        )
        for text in told.finds:
            print(f"    {text}", flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
