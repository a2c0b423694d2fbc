"""One power cut: a new filesystem, scans, the cut, recovery (one in four is cut too), and the comparison.

The comparison does not use lys_storage. Recovery runs in a separate process.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.durability.files import digests_of_exports
from tools.durability.oracle import Fault, Kind, Verdict, check_earlier_files, compare, read_exports
from tools.durability.real.filesystem import Bench, NotMountedError
from tools.durability.real.processes import Child, Reader, command_of, environment
from tools.durability.real.system import DEADLINE_S, MiB, begin_write_back, copy_image, run, unmount
from tools.durability.real.told import Told, read_told, superseded

PAGE = 4096
TEXT_TOLD = 3000
MODES = ("power cut", "same kernel", "restart")
RESTART_KEEPS_NS = 100_000_000
"""The minimum age of a frame when its process is killed that makes it survive a clean restart."""
SELDOM_S = 60.0
"""A flush interval that is longer than the run, so that no periodic flush takes place."""


@dataclass
class Outcome:
    """The results of one cut, or of all cuts of a filesystem."""

    cuts: int = 0
    twice: int = 0
    not_mounted: int = 0
    scans: int = 0
    saved: int = 0
    acknowledged: int = 0
    flushes: int = 0
    promised: int = 0
    faults: list[Fault] = field(default_factory=list)
    oldest_lost_ns: int = 0
    said: list[str] = field(default_factory=list)

    def count(self, kind: Kind) -> int:
        return sum(fault.count for fault in self.faults if fault.kind is kind)

    @property
    def broken(self) -> int:
        return sum(fault.count for fault in self.faults)

    def take(self, faults: list[Fault], what: str = "") -> None:
        self.faults += faults
        self.said += [f"{what}{fault.text}" for fault in faults]

    def add(self, other: Outcome) -> None:
        for name, value in vars(other).items():
            if name == "oldest_lost_ns":
                self.oldest_lost_ns = max(self.oldest_lost_ns, value)
            else:
                setattr(self, name, getattr(self, name) + value)


@dataclass
class Cut:
    """One power cut: its time, the number of unflushed writes, their fate, and the reports of the process."""

    when_ns: int
    pending: int
    choice: dict[str, object]
    lines: list[str]
    said: str

    def __str__(self) -> str:
        return f"{json.dumps(self.choice)}, {self.pending} not flushed"


def cut_while(bench: Bench, seed: str, *command: str | Path) -> Cut:
    """Run the role `command` on the disk in `durable.img`, cut the power, and leave the result in `durable.img`.

    1. Make both images equal. 2. Start the disk and mount its filesystem. 3. Start the process. 4. Cut. 5. Kill the
    process, and unmount everything. 6. Keep, drop or tear each unflushed write.
    """
    chance, folder = random.Random(f"{seed}/{command[0]}"), bench.folder
    said = folder / f"{command[0]}.log"
    copy_image(bench.durable, bench.seen)
    with Child("serve", folder, log=folder / "disk.log") as disk:
        assert disk.answers(DEADLINE_S), "the disk did not start"
        bench.mount(folder / "disk")
        bench.scans.mkdir(exist_ok=True)
        run("sync", "-f", bench.scans)
        with Child(*command, log=said) as child:
            reader = Reader(child)
            reader.start()
            if not reader.first.wait(DEADLINE_S):
                raise RuntimeError(f"{command[0]}: nothing came")
            when, pending = _wait_for_the_cut(disk, child, bench.scans, chance)
            child.process.kill()
            child.process.wait()
            reader.join()
        bench.unmount()
        unmount(folder / "disk")
        disk.order(cut=seed, sector=bench.sector)
        choice = disk.answers(DEADLINE_S) or {}
    return Cut(when, pending, choice, reader.lines, said.read_text().strip())


def restart_while(bench: Bench, seed: str, *command: str | Path) -> Cut:
    """Run the role `command` on the filesystem in `durable.img`, kill it, and unmount, as a clean shutdown does."""
    chance, said = random.Random(f"{seed}/{command[0]}"), bench.folder / f"{command[0]}.log"
    bench.mount(bench.durable)
    try:
        bench.scans.mkdir(exist_ok=True)
        with Child(*command, "--interval", str(SELDOM_S), log=said) as child:
            reader = Reader(child)
            reader.start()
            if not reader.first.wait(DEADLINE_S):
                raise RuntimeError(f"{command[0]}: nothing came")
            time.sleep(chance.uniform(0.0, 2.5))
            when = time.monotonic_ns()
            child.process.kill()
            child.process.wait()
            reader.join()
    finally:
        bench.unmount()
    return Cut(when, 0, {"manner": "killed, and restarted cleanly"}, reader.lines, said.read_text().strip())


def _wait_for_the_cut(disk: Child, child: Child, folder: Path, chance: random.Random) -> tuple[int, int]:
    """Wait for the cut, after a time or at a certain write. Returns its time and the number of unflushed writes."""
    ends = time.monotonic() + chance.uniform(0.0, 1.5)
    stirs = chance.choice([0.002, 0.01, 0.05])
    if chance.random() < 0.7:
        disk.order(stop_after=int(10 ** chance.uniform(0.0, 3)), pending=int(10 ** chance.uniform(0, 1.7)))
        ends = time.monotonic() + 2.5
    still = chance.random() < 0.25
    while True:
        left = ends - time.monotonic()
        if left <= 0 or child.process.poll() is not None:
            disk.order(stop=True)
            left = DEADLINE_S
        stopped = disk.answers(min(left, stirs))
        if stopped is not None:
            return stopped["stopped_ns"], stopped["pending"]
        if not still:
            stir(folder, chance)


def stir(folder: Path, chance: random.Random) -> None:
    """Let the kernel send some dirty pages to the disk without a flush, as it does by itself on a busier machine."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        return
    with contextlib.suppress(OSError):  # the file was renamed or removed
        fd = os.open(chance.choice(files), os.O_RDONLY)
        try:
            pages = os.fstat(fd).st_size // PAGE
            begin = chance.randrange(pages + 1)
            count = chance.choice([1, 4, 64, pages + 1])
            begin_write_back(fd, begin * PAGE, count * PAGE)
        finally:
            os.close(fd)


def cut_once(bench: Bench, seed: str, keep: Path | None, mode: str = "power cut") -> Outcome:
    """Make a new filesystem, write scans, cut, in one case of four cut a recovery too, recover, and check."""
    chance, result = random.Random(seed), Outcome(cuts=1)
    copy_image(bench.new, bench.durable)
    end = restart_while if mode == "restart" else cut_while
    cut = end(bench, seed, "write", bench.scans, seed, str(bench.size_mb * MiB // 5 * 2))
    result.said.append(f"cut {seed}: {cut}, at {cut.when_ns}")
    _complain(result, "the writer said", cut.said)
    scans, failed = read_told(cut.lines, cut.when_ns)
    result.said += [f"writer: {line}" for line in failed]
    left = bench.folder / "left.img"
    if keep is not None:
        copy_image(bench.durable, left)
    options = ["--verify"] if chance.random() < 0.25 else []
    options += ["--same-boot"] if mode == "same kernel" else []
    try:
        before = _exports_on(bench)
        if chance.random() < 0.25:
            _cut_recovery(bench, seed, options, result)
        bench.mount(bench.durable)
    except NotMountedError as error:
        result.not_mounted += 1
        result.said.append(f"the filesystem does not mount: {error}")
        return result
    try:
        _recover(bench.scans, options, result)
        if mode == "restart":
            for scan in scans.values():
                scan.ledger.safe_before = max(scan.ledger.safe_before, cut.when_ns - RESTART_KEEPS_NS)
        check(bench.scans, scans, cut.when_ns, before, result)
    finally:
        bench.unmount()
    if keep is not None and result.broken:
        at = keep / f"{bench.kind}-{seed.replace('/', '-')}"
        at.mkdir(parents=True, exist_ok=True)
        copy_image(left, at / "left.img")
        (at / "acknowledged.jsonl").write_text("".join(cut.lines))
    return result


def _complain(result: Outcome, what: str, text: str) -> None:
    if text:
        result.take([Fault(Kind.OTHER, f"{what}: {text[-TEXT_TOLD:]}")])


def _exports_on(bench: Bench) -> dict[str, bytes]:
    """The digests of the exports after the cut. The mount replays the filesystem's journal, as at the next boot."""
    bench.mount(bench.durable)
    try:
        return digests_of_exports(bench.scans)
    finally:
        bench.unmount()


def _cut_recovery(bench: Bench, seed: str, options: list[str], result: Outcome) -> None:
    result.twice += 1
    again = cut_while(bench, seed, "recover", bench.scans, *options)
    result.said.append(f"cut again in recovery: {again}")
    result.said += [f"recovered {line.strip()}" for line in again.lines]
    _complain(result, "recovery said", again.said)


def _recover(folder: Path, options: list[str], result: Outcome) -> None:
    command = command_of("recover", folder, *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, env=environment())
    if done.returncode or done.stderr:
        result.take([Fault(Kind.OTHER, f"recovery failed: {done.stderr[-TEXT_TOLD:]}")])
    result.said += [f"recovered {line}" for line in done.stdout.splitlines()]


def check(folder: Path, scans: dict[int, Told], cut_ns: int, before: dict[str, bytes], result: Outcome) -> None:
    """Compare the content of `folder` after recovery with the promises. `before`: its exports before recovery."""
    everything = Verdict(check_earlier_files(folder, before))
    exports = read_exports(folder, everything, unzip=True)
    result.take(everything.faults)
    for number, scan in scans.items():
        ledger, mine = scan.ledger, [export for export in exports if export.note.get("scan") == number]
        result.scans += 1
        result.saved += ledger.saved is not None
        result.acknowledged += ledger.acknowledgements
        result.flushes += ledger.flushes
        if not mine and superseded(scan, scans):
            continue
        result.promised += len(ledger.promised())
        verdict = Verdict()
        compare(scan.expected, mine, ledger, verdict, folder=folder, required=False, cut_ns=cut_ns)
        result.take(verdict.faults, f"scan {number} ({scan.path}): ")
        if verdict.oldest_lost is not None:
            result.oldest_lost_ns = max(result.oldest_lost_ns, cut_ns - verdict.oldest_lost)
