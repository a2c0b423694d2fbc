"""Runs targets: libFuzzer in child processes, or each input once in this process.

It imports the targets late: a fuzzing child must instrument lys_storage before it is imported.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from tools.fuzzing.limits import MAX_BYTES, MEMORY_MB, TIMEOUT_S, Fault

CHILD = "--child"
INSTRUMENTED = ("lys_storage", "zipfile", "pickle", "numpy.lib.format")
MOST_FINDS = 5
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)")
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_ERROR = re.compile(r"=== Uncaught Python exception: ===\n(.*)|ERROR: (libFuzzer: .*)|(AddressSanitizer:.*)")


def _work_folder() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lys_fuzz_", dir=shared if shared.is_dir() else None))


def _quiet() -> None:
    """Turn off syncs, which take time, and warnings and logs: the targets do not test them."""
    from lys_storage.disk.systems import SYSTEM

    SYSTEM.sync = SYSTEM.sync_folder = lambda what: None  # type: ignore[method-assign,assignment]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def run_in_this_process(target: str, folder: Path, arguments: list[str]) -> None:
    """Run libFuzzer's loop on files in `folder`. It ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tools.fuzzing.targets import TARGETS
    _quiet()
    check = TARGETS[target](folder)
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()


def replay(paths: list[Path], target: str | None = None) -> int:
    """Run each input once. Without `target`, the name of its folder is its target. Returns 1 if an input fails, else 0."""
    from tools.fuzzing.targets import TARGETS

    _quiet()
    failed = 0
    for path in paths:
        folder = _work_folder()
        try:
            begin = time.monotonic()
            TARGETS[target or path.parent.name](folder)(path.read_bytes())
            if time.monotonic() - begin > TIMEOUT_S:
                raise Fault(f"took {time.monotonic() - begin:.0f} s")
        except Exception as error:
            failed += 1
            print(f"{path}: {type(error).__name__}: {error}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(paths)} inputs, {failed} failed")
    return 1 if failed else 0


@dataclass
class Campaign:
    """The figures of one target. `program` runs a child when its first argument is `CHILD`."""

    target: str
    seed: int
    program: Path
    executions: int = 0
    coverage: int = 0
    features: int = 0
    finds: list[str] = field(default_factory=list)

    def run(self, seconds: int, corpus: Path, finds: Path) -> None:
        """Fuzz for `seconds`. Continue after each find, up to `MOST_FINDS` finds."""
        from tools.fuzzing.seeds import SEEDS

        kept, found = corpus / self.target, finds / self.target
        kept.mkdir(parents=True, exist_ok=True)
        found.mkdir(parents=True, exist_ok=True)
        for k, content in enumerate(SEEDS[self.target]()):
            (kept / f"seed_{k}").write_bytes(content)
        end, rounds = time.monotonic() + seconds, 0
        while (left := int(end - time.monotonic())) > 0 and len(self.finds) < MOST_FINDS:
            code, out = self._run_child(left, self.seed + rounds, kept, found)
            rounds += 1
            if self._ended_without_find(code, out):
                break
            (found / f"output_{self.seed}_{rounds}.txt").write_text(out[-20000:])

    def _run_child(self, seconds: int, seed: int, kept: Path, found: Path) -> tuple[int, str]:
        folder = _work_folder()
        command = [sys.executable, str(self.program), CHILD, self.target, str(folder)]
        command += [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={TIMEOUT_S}", f"-max_len={MAX_BYTES}"]
        command += [f"-rss_limit_mb={MEMORY_MB}", f"-malloc_limit_mb={MEMORY_MB}", f"-artifact_prefix={found}/"]
        command += ["-print_final_stats=1", "-verbosity=1", "-len_control=0", str(kept)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 120)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return done.returncode, done.stdout + done.stderr

    def _ended_without_find(self, code: int, out: str) -> bool:
        for executions, coverage, features in _PROGRESS.findall(out)[-1:]:
            self.executions += int(executions)
            self.coverage, self.features = max(self.coverage, int(coverage)), int(features)
        written = _WRITTEN.findall(out)
        if code == 0 and not written:
            return True
        text = " ".join("".join(each) for each in _ERROR.findall(out)[:2]) or out[-400:]
        for path in written or ["(no input was written)"]:
            self.finds.append(f"{text[:300]}\n      python tools/fuzz.py --target {self.target} --replay {path}")
        return False
