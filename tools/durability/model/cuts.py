"""Cut the power of a recorded scenario at its operations, recover the remaining files, and compare them with the ledger."""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lys_storage
from tools.durability import own_reader
from tools.durability.files import digest, read_files, write_files
from tools.durability.internals import booted_as, drawn_kind_of_disk, files_are_the_writers_own, pages_are_dropped
from tools.durability.ledger import Ledger
from tools.durability.model.disk import Disk, Event
from tools.durability.model.page_cache import ModelPageCache
from tools.durability.model.recorder import Recorder, without_syncs
from tools.durability.model.scenarios import Scenario
from tools.durability.model.sync_errors import SyncErrors
from tools.durability.model.world import Broken, ScanShape, World, take_event
from tools.durability.oracle import Verdict, check_archives, check_earlier_files, compare, read_exports

RECOVERY_IS_CUT_TOO = 0.25
FAULTS_TOLD_OF_A_CUT = 4


@dataclass(frozen=True)
class Manner:
    """How cuts are made. `any_names`: creates, renames and removes survive in any order."""

    choices: int
    most: int
    any_names: bool = False
    sync_errors: bool = False


@dataclass(frozen=True)
class Run:
    """The record of one scenario, from which any number of cuts can be made."""

    scenario: Scenario
    seed: str
    form: ScanShape
    events: list[Event]
    earlier: dict[str, bytes]  # exports that are not of this scan, with their digests
    sync_errors: int

    @property
    def points(self) -> list[int]:
        """The possible cuts: before each event that changes the disk, and at the end."""
        return [*changes(self.events), len(self.events)]


def changes(events: list[Event]) -> list[int]:
    return [k for k, event in enumerate(events) if event[0] not in ("mark", "disk")]


def record(scenario: Scenario, seed: str, base: Path, *, sync_errors: bool) -> Run:
    """Run a scenario once. Raises Broken if the scenario itself finds a broken promise."""
    errors = SyncErrors(random.Random(f"{seed} sync errors")) if sync_errors else None
    rng = random.Random(seed)
    elements, fill = rng.choice([250, 256, 1100]), rng.choice([0, 0xABCD])
    form = ScanShape(elements, fill, None if scenario.first_index_tells_grid else 2, scenario.folder)
    world = World(base, rng, form, errors)
    caches = pages_are_dropped(lambda file: ModelPageCache(file, world.rec))
    with booted_as("the boot before the record"), files_are_the_writers_own(), caches:
        try:
            if scenario.earlier is not None:
                world.earlier_export(scenario.earlier)
            there = {name: data for name, data in read_files(world.root).items() if isinstance(data, bytes)}
            world.start()
            scenario.run(world)
        finally:
            world.stop()
            world.release()
    earlier = {name: digest(data) for name, data in (there | world.foreign).items()}
    return Run(scenario, seed, form, world.events, earlier, world.sync_errors)


@dataclass
class Outcome:
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)
    sync_errors: int = 0


@dataclass(frozen=True)
class Cut:
    """One power cut at a point of a run. `again`: the recovery is cut too."""

    run: Run
    seed: str
    manner: Manner
    again: bool

    def make(self, disk: Disk, ledger: Ledger, base: Path) -> Outcome:
        """Cut, recover, compare. `disk` and `ledger` hold the state at the point."""
        rng = random.Random(self.seed)
        left = disk.choose(rng, any_names=self.manner.any_names)
        folder = base / "left"
        write_files(folder, left)
        outcome = Outcome()
        try:
            if self.again:
                folder = self._cut_recovery(folder, base / "left again", rng, outcome)
            outcome.faults += [fault.text for fault in check_archives(folder)]
            with booted_as("yet another boot"), files_are_the_writers_own(), without_syncs():
                results = lys_storage.recover(folder)
            earlier = {name: its_digest for name, its_digest in self.run.earlier.items() if name in left}
            self._check(folder, ledger, earlier, outcome)
            if outcome.faults:
                outcome.faults.append(f"recover said: {[f'{r.part.name}: {r.message}' for r in results]}")
        except Exception:
            outcome.faults.append(traceback.format_exc())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return outcome

    def _cut_recovery(self, folder: Path, again: Path, rng: random.Random, outcome: Outcome) -> Path:
        """Recover on a recorded disk, cut the recovery at one of its operations, and return the remaining folder."""
        errors = SyncErrors(random.Random(f"{self.seed} sync errors"))
        recorder = Recorder(folder, errors if self.manner.sync_errors else None)
        with booted_as("another boot"), files_are_the_writers_own(), recorder:
            before = -1
            while errors.count > before:  # a user whose recovery reports a failed sync runs it again
                before = errors.count
                lys_storage.recover(folder)
        outcome.sync_errors = errors.count
        half = Disk()
        for event in recorder.events[: rng.choice(changes(recorder.events) or [1])]:
            half.apply(event)
        shutil.rmtree(folder)
        write_files(again, half.choose(rng, any_names=self.manner.any_names))
        return again

    def _check(self, folder: Path, ledger: Ledger, earlier: dict[str, bytes], outcome: Outcome) -> None:
        scenario, verdict = self.run.scenario, outcome.verdict
        verdict.faults += check_earlier_files(folder, earlier, replaceable=earlier if scenario.replaces else ())
        exports = read_exports(folder, verdict, but=earlier.values())
        expected = self.run.form.expected(may_be_trimmed=scenario.trims)
        compare(expected, exports, ledger, verdict, folder=folder, required=ledger.flushes > 0)
        outcome.faults += verdict.texts() + own_reader.disagreements(exports)
        if not self.manner.any_names and (ledger.flushes or exports):  # else old names may remain
            outcome.faults += own_reader.left_behind(folder)


@dataclass
class Tally:
    """`runs` counts the recorded runs, `broken` the cuts (or runs) with a broken promise, by scenario."""

    runs: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    sync_errors: Counter[str] = field(default_factory=Counter)
    again: int = 0
    frames: int = 0
    missing: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self, cut: Cut, outcome: Outcome, where: str) -> None:
        name = cut.run.scenario.name
        self.cuts[name] += 1
        self.again += cut.again
        self.frames += outcome.verdict.compared
        self.missing += outcome.verdict.missing
        self.sync_errors[name] += outcome.sync_errors
        self.broken[name] += bool(outcome.faults)
        if outcome.faults:
            told = "".join(f"\n    {fault}" for fault in outcome.faults[:FAULTS_TOLD_OF_A_CUT])
            self.faults.append(f"{name}, run {cut.run.seed}, {where}{', twice' if cut.again else ''}:{told}")


def cut_everywhere(scenario: Scenario, seed: str, base: Path, tally: Tally, **manner: Any) -> None:
    """Record a scenario, and cut it at each of its points. `manner`: the fields of `Manner`.

    Each point is cut `choices` times. At most `most` cuts are made.
    """
    how = Manner(**manner)
    with drawn_kind_of_disk(random.Random(f"{seed} kind")):
        run = _record(scenario, seed, base, tally, how)
        if run is not None:
            _cut_points(run, base, tally, how)


def _record(scenario: Scenario, seed: str, base: Path, tally: Tally, manner: Manner) -> Run | None:
    home = Path(tempfile.mkdtemp(dir=base))
    try:
        run = record(scenario, seed, home, sync_errors=manner.sync_errors)
    except Exception as error:
        tally.broken[scenario.name] += 1
        text = str(error) if isinstance(error, Broken) else traceback.format_exc()
        tally.faults.append(f"{scenario.name}, run {seed}: {text}")
        return None
    finally:
        shutil.rmtree(home)
    tally.runs[scenario.name] += 1
    tally.sync_errors[scenario.name] += run.sync_errors
    return run


def _cut_points(run: Run, base: Path, tally: Tally, manner: Manner) -> None:
    rng = random.Random(f"{run.seed} cuts")
    points, choices = run.points, manner.choices
    everywhere = manner.most >= choices * len(points)
    chosen = set(points if everywhere else rng.sample(points, max(1, manner.most // choices)))
    tally.points[run.scenario.name] += len(chosen)
    disk, ledger = Disk(), Ledger()
    for k, event in enumerate([*run.events, ("mark", "end of the record")]):
        for n in range(choices if k in chosen else 0):
            cut = Cut(run, f"{run.seed} {k} {n}", manner, again=rng.random() < RECOVERY_IS_CUT_TOO)
            with _folder(base) as at:
                outcome = cut.make(disk, ledger, at)
            tally.take(cut, outcome, f"cut {n} before event {k} {_short(event)}")
        disk.apply(event)
        take_event(ledger, event)


@contextlib.contextmanager
def _folder(base: Path) -> Any:
    at = Path(tempfile.mkdtemp(dir=base))
    try:
        yield at
    finally:
        shutil.rmtree(at)


def _short(event: Event) -> str:
    return " ".join(str(part) if not isinstance(part, bytes | list) else f"<{len(part)}>" for part in event)[:60]
