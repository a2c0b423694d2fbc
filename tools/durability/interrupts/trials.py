"""One trial: interrupt a call, end the scan, and check every acknowledged frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import lys_storage
from lys_storage.disk import File, LockFile
from lys_storage.format import scan_file_name
from tools.durability import own_reader
from tools.durability.internals import drawn_kind_of_disk
from tools.durability.interrupts.calls import CALLS, COLUMNS, DTYPE, ELEMENTS, FILL, OTHER_DTYPE, ROWS, Trial
from tools.durability.interrupts.points import Interrupts
from tools.durability.oracle import Expected, Verdict, compare, read_exports


@dataclass
class Outcome:
    """`seen`: the number of points of the call. `where`: the interrupted points. `faults`: the faults found afterwards."""

    seen: int
    where: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def run_trial(name: str, folder: Path, at: Sequence[int], end: str, seed: str) -> Outcome:
    """Interrupt the call `name` at the points `at`, and end its scan by `end`: "close" or "suspend".

    The scan is ended and checked while the traceback of the interrupt is alive, as in the `except` block of a script.
    """
    folder.mkdir()
    with drawn_kind_of_disk(random.Random(f"{seed}:{name}")):
        trial, interrupts = Trial(folder), Interrupts(at)
        CALLS[name].before(trial)
        try:
            interrupts.run(lambda: CALLS[name].call(trial))
        except KeyboardInterrupt:
            faults = _end_and_look(name, trial, end)
        except BaseException as error:
            faults = _end_and_look(name, trial, end)
            if not isinstance(error, BaseExceptionGroup):  # filelock raises two interrupts as a group
                faults.append(f"raised {error!r} instead of KeyboardInterrupt")
        else:
            faults = _end_and_look(name, trial, end)
    return Outcome(interrupts.seen, interrupts.where, faults)


def _end_and_look(name: str, trial: Trial, end: str) -> list[str]:
    try:
        faults = _end(trial, end) if trial.scan is not None else []
        faults += _not_free(trial.folder)
        said = [result.message for result in lys_storage.recover(trial.folder)]
        faults += [f"{fault}; recover said {said}" for fault in _look(name, trial)]
    except Exception as error:
        faults = [f"afterwards: {type(error).__name__}: {error}"]
    return faults


def _end(trial: Trial, end: str) -> list[str]:
    """Continue as a script would: write another frame, which is stored or refused with an error, and end the scan."""
    scan = trial.scan
    assert scan is not None
    faults = []
    try:
        trial.put((2, 3))
        held = scan.read((2, 3)).tobytes()
        if held != trial.frames(trial.ledger.last_version, [2 * COLUMNS + 3], scan.dtype)[0].tobytes():
            faults.append("a frame that was written afterwards reads back differently")
        came = scan.written
        if scan.array[came].tobytes() != scan.read()[came].tobytes():
            faults.append("array and read() differ")
        scan.flush()
    except lys_storage.LysStorageError as error:
        if isinstance(error, OSError):
            faults.append(f"writing a frame afterwards: {error}")
    if end == "close":
        try:
            trial.ledger.take("saved", scan.close().name)
            return faults
        except lys_storage.LysStorageError as error:
            if "suspend()" not in str(error) and not _is_over(trial):
                faults.append(f"close() does not say what to do: {error}")
    scan.suspend()
    return faults


def _is_over(trial: Trial) -> bool:
    return trial.scan is not None and trial.scan._lifecycle.is_over


def _not_free(folder: Path) -> list[str]:
    """The scan files whose lock this process still holds."""
    held = []
    for part in folder.glob("*.part"):
        file = File.open(part, writable=True)
        if not file.try_lock():
            held.append(f"the lock of {part.name} is held")
        file.close()
    for path in folder.glob(".*.part.lock"):  # also of a scan file that is gone
        lock = LockFile()
        if not lock.take(folder / scan_file_name(path.name), -1, shared=False):
            held.append(f"the lock file {path.name} is held")
        lock.close()
    return held


def _look(name: str, trial: Trial) -> list[str]:
    expected = Expected(
        (ROWS, COLUMNS, ELEMENTS),
        2,
        {DTYPE: np.asarray(FILL, DTYPE).tobytes(), OTHER_DTYPE: np.asarray(np.nan, OTHER_DTYPE).tobytes()},
        may_be_trimmed=CALLS[name].may_be_trimmed,
    )
    verdict = Verdict()
    exports = read_exports(trial.folder, verdict, but=trial.earlier)
    compare(expected, exports, trial.ledger, verdict, folder=trial.folder, required=trial.is_required)
    return own_reader.left_behind(trial.folder) + own_reader.disagreements(exports) + verdict.texts()
