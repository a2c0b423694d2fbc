"""Run one scan through its kills. After each kill, recover a copy of its folder and compare it with the ledger."""

from __future__ import annotations

import random
import shutil
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import lys_storage
from tools.durability import own_reader
from tools.durability.files import digests_of_exports, read_files, write_files
from tools.durability.internals import booted_as, copies_are_trusted
from tools.durability.ledger import Ledger
from tools.durability.oracle import Kind, Verdict, check_archives, check_earlier_files, compare, read_exports
from tools.durability.storm.child import run_child
from tools.durability.storm.life import Life, Told
from tools.durability.storm.steps import draw_kill

MOST_KILLS_OF_A_SCAN = 5


@dataclass
class Tally:
    kills: int = 0
    lives: int = 0
    by_step: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    lost: int = 0
    checked: int = 0
    faults: list[str] = field(default_factory=list)
    copies: int = 0
    copies_exported: int = 0


def live(life: Life, rng: random.Random, tally: Tally, wanted: int) -> None:
    """Run one scan through up to five kills, until its files in progress are gone. Stop after `wanted` kills in all."""
    life.begin()
    earlier, told = digests_of_exports(life.folder), Told()
    role = "write"
    for turn in range(rng.randint(1, MOST_KILLS_OF_A_SCAN)):
        kill, before = draw_kill(rng, role), len(told.faults)
        told.step, told.suspended = "", False
        for words in run_child(life, role, kill, told, f"{life.seed}/{turn}"):
            told.take(*words)
        tally.kills += 1
        tally.by_step[told.step or f"{role}: a random moment"] += 1
        what = f"life {life.seed}, turn {turn} ({role}, {kill})"
        tally.faults += [f"{what}: {fault}" for fault in told.faults[before:]]
        tally.faults += [f"{what}: {fault}" for fault in look(life, told, earlier, tally)]
        if not any(life.folder.glob("*.part")) or tally.kills >= wanted:
            break
        if told.suspended and rng.random() < 0.5:
            told.boot += 1  # the machine was shut down cleanly: nothing is lost
        role = rng.choice(["resume", "resume", "recover"])
        if not told.reserved or any(part.stat().st_nlink > 1 for part in life.folder.glob("*.part")):
            role = "recover"  # it cannot be resumed: create() had not returned, or it has its final name already
    tally.acknowledged += told.ledger.acknowledgements
    tally.lives += 1
    shutil.rmtree(life.folder)


def look(life: Life, told: Told, earlier: dict[str, bytes], tally: Tally) -> list[str]:
    """Recover a copy of the folder, on the boot that the child was killed on. Returns the faults."""
    faults, saved = [], told.ledger.saved
    if saved is not None and not (life.folder / saved).exists():
        faults.append(f"{saved} was saved, but does not exist")
    faults += [f"before recovery: {fault.text}" for fault in check_archives(life.folder)]
    copy, verdict = life.folder.with_name("copy"), Verdict()
    write_files(copy, read_files(life.folder))
    try:
        with booted_as(f"boot {told.boot}"), copies_are_trusted():
            results = lys_storage.recover(copy)
            found = check(life, copy, told, earlier, verdict)
            faults += [f"{fault}; recover said: {[r.message for r in results]}" for fault in found]
    except Exception:
        faults.append(traceback.format_exc())
        verdict.add(Kind.LOST, "nothing could be compared", len(told.ledger.promised()))
    finally:
        shutil.rmtree(copy)
    faults += look_at_copies(life, told, tally)
    tally.checked += len(told.ledger.promised())
    tally.lost += verdict.count(Kind.LOST)
    return faults


def look_at_copies(life: Life, told: Told, tally: Tally) -> list[str]:
    """Recover the copies that were made during writes. They promise no frame, but must not hold bad data as frames."""
    anything = Ledger(cells=told.ledger.cells, note=told.ledger.note)
    verdict = Verdict()
    for name in told.copies:
        copy = Path(name)
        with booted_as(f"boot {told.boot}"):
            lys_storage.recover(copy)
        exports = read_exports(copy, verdict)
        compare(life.expected, exports, anything, verdict, folder=copy, required=False)
        tally.copies += 1
        tally.copies_exported += len(exports)
    told.copies.clear()
    shutil.rmtree(life.copies, ignore_errors=True)
    return [f"in a copy made during writes: {text}" for text in verdict.texts()]


def check(life: Life, folder: Path, told: Told, earlier: dict[str, bytes], verdict: Verdict) -> list[str]:
    """The promises that do not hold in the recovered `folder`. A scan whose create() returned must have an export."""
    verdict.faults += check_earlier_files(folder, earlier, replaceable=life.replaceable)
    exports = read_exports(folder, verdict, but=earlier.values())
    compare(life.expected, exports, told.ledger, verdict, folder=folder, required=told.reserved)
    return own_reader.left_behind(folder) + own_reader.disagreements(exports) + verdict.texts()
