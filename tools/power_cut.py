#!/usr/bin/env python
"""Cut the power of a real filesystem many times while scans are written, and check every promise of lys_storage.

    sudo python tools/power_cut.py --cuts 300 --seed 0

Each cut uses a filesystem on a loop device. The file behind the loop device is served by a FUSE server of this program,
which records its writes and flushes. A child process writes scans with lys_storage, and reports each operation with its
time. At a random moment, while the child writes, the disk stops. Each write since the last flush is kept, dropped or torn,
by a seeded choice. The remaining image is mounted, recovered as on another boot, and read without lys_storage.

The program creates its own mount namespace, so no other process sees its mounts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.durability.environment import machine_and_commit
from tools.durability.real.cuts import MODES, Outcome, cut_once
from tools.durability.real.filesystem import FILESYSTEMS, Bench, why_not_this
from tools.durability.real.report import first_lines, table_of, text_of
from tools.durability.real.system import mount, unmount, why_not

HELP = """Cut the power of a real filesystem while scans are written, recover, and check every promise. Linux, as root.

\b
How the cut is made
    ext4, xfs or btrfs is on a loop device, over a file in a FUSE filesystem
    that this program serves through /dev/fuse. Every write and every flush of
    the loop device passes through it. A cut keeps every write before the last
    flush. Each later write is kept, dropped, or torn at sector size, by a
    choice that --seed determines. The writer still runs at the cut.

\b
Why this way
    A copy of the image during writes shows no single moment, and drops nothing
    that the filesystem has sent already. device-mapper (dm-log-writes,
    dm-flakey) and NBD would work, but many kernels have neither. Nearly all
    have loop and FUSE. A killed kernel loses only the data that it has not
    sent to the disk; here the disk's own cache is lost too, in any order.

\b
What a disk may do
    A sector of 512 bytes is written whole or not at all. On btrfs a sector is
    4096 bytes: btrfs writes its superblock of 4096 bytes in place, and assumes
    that it is not torn. --sector sets the size for all filesystems.

\b
How it ends (--mode)
    power cut     the disk stops, and another boot recovers
    same kernel   the disk stops and returns while the kernel keeps running: the
                  boot is the same, but the states in the journal are not true
    restart       the process is killed, the filesystem is unmounted, and another
                  boot recovers: each frame that was acknowledged 100 ms before
                  the kill must survive, flushed or not

\b
Exit code
    0 no promise broken; 1 a promise broken; 2 usage error, or nothing measured.
"""


@dataclass
class Session:
    """The cuts of one run of this program, and the console they are printed on. `numbers`: the numbers of the cuts."""

    console: Console
    seed: int
    numbers: list[int]
    keep: Path | None
    log_path: Path | None
    mode: str
    results: dict[str, Outcome] = field(default_factory=dict)

    @property
    def broken(self) -> int:
        return sum(result.broken for result in self.results.values())

    def cut(self, benches: list[Bench]) -> None:
        """Make every cut, on one filesystem after the other."""
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(open(self.log_path, "w")) if self.log_path else None
            progress = stack.enter_context(Progress(console=self.console, transient=True))
            task = progress.add_task("cutting", total=len(self.numbers))
            for number in self.numbers:
                bench = benches[number % len(benches)]
                result = cut_once(bench, f"{self.seed}/{number}", self.keep, self.mode)
                self.results.setdefault(bench.kind, Outcome()).add(result)
                progress.update(task, advance=1, description=f"{bench.kind}, {self.broken} broken")
                text = text_of(bench.kind, result)
                if log is not None:
                    log.write(text)
                    log.flush()
                self._print(number, result, text)

    def _print(self, number: int, result: Outcome, text: str) -> None:
        if result.broken or result.not_mounted:
            self.console.print(first_lines(text), style="red", highlight=False, soft_wrap=True, markup=False)
        elif not self.console.is_terminal and (number + 1) % 50 == 0:
            self.console.print(f"{number + 1} cuts, {self.broken} promises broken")


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A folder for the images: below `folder`, or in a new tmpfs. It is always removed."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="power_cut.", dir=folder))
    try:
        if folder is None:
            mount("power_cut", made, "tmpfs", "size=80%,mode=700")
        yield made
    finally:
        if folder is None:
            unmount(made)
        shutil.rmtree(made, ignore_errors=True)


@click.command(help=HELP)
@click.option("--cuts", default=300, show_default=True, help="Number of cuts, over all filesystems.")
@click.option(
    "--fs",
    "kinds",
    multiple=True,
    type=click.Choice(list(FILESYSTEMS)),
    help="Filesystem; may be repeated.  [all three]",
)
@click.option("--mode", type=click.Choice(MODES), default=MODES[0], show_default=True, help="How it ends; see above.")
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the moments, the scans, and the writes that are kept."
)
@click.option("--cut", "only", type=int, help="Make only the cut with this number, of the run with this seed.")
@click.option("--size-mb", default=320, show_default=True, help="Size of the disk (at least 304 for xfs).")
@click.option("--sector", type=int, help="Bytes that a disk writes whole.  [512; btrfs 4096]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Folder for the disk images.  [in memory]")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep the disk images of cuts that broke a promise in this folder."
)
@click.option(
    "--log", "log_path", type=click.Path(path_type=Path), help="Log the choices and results of each cut here."
)
def main(
    cuts: int,
    kinds: tuple[str, ...],
    mode: str,
    seed: int,
    only: int | None,
    size_mb: int,
    sector: int | None,
    folder: Path | None,
    keep: Path | None,
    log_path: Path | None,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(machine_and_commit(), highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # mkfs is there, and not every shell has them on its PATH
    reason = why_not()
    if reason is not None:
        console.print(f"not measured: {reason}")
        sys.exit(2)
    numbers = list(range(cuts)) if only is None else [only]
    session = Session(console, seed, numbers, keep and keep.absolute(), log_path and log_path.absolute(), mode)
    left_out: dict[str, str] = {}
    with workplace(folder) as work, contextlib.ExitStack() as stack:
        for kind in kinds or FILESYSTEMS:
            why = why_not_this(kind, work / "try")
            if why is not None:
                left_out[kind] = why
                console.print(f"{kind}: not measured: {why}", soft_wrap=True)
        usable = [kind for kind in kinds or FILESYSTEMS if kind not in left_out]
        if not usable:
            sys.exit(2)
        benches = [Bench(work / kind, kind, size_mb, sector) for kind in usable]
        for bench in benches:
            stack.callback(bench.close)
        session.cut(benches)
    console.print(table_of(session.results, left_out))
    sys.exit(1 if session.broken else 0)


if __name__ == "__main__":
    main()
