#!/usr/bin/env python
"""Coverage-guided fuzzing of everything that reads a file: python tools/fuzz.py --target all --seconds 600 --seed 1

Needs atheris (pip install atheris; Linux, Python up to 3.12). Each target takes bytes, makes files of them, and asks the
package what they are: only errors of the family and right answers pass. Checksums are made right where an input asks
for it, so that what is behind them is reached too. Finds are written to a folder, each with the command that shows it
again; `--replay FILE...` runs some without atheris. A find that has been mended goes to tests/faults/fuzz_finds/<target>/.
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
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="kept between runs; a temporary one without it")
    parser.add_argument("--finds", type=Path, default=Path("fuzz_finds"))
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
    import numpy  # after the child, which instruments what numpy imports

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
