"""A new filesystem of one kind for each cut, on a loop device over the recording disk."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tools.durability.real.processes import Child
from tools.durability.real.system import DEADLINE_S, MiB, copy_image, run, unmount

FILESYSTEMS: dict[str, tuple[list[str], int, int]] = {
    # the mkfs command; the smallest device in MB; the bytes that the filesystem assumes to be written whole
    "ext4": (["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"], 64, 512),
    "xfs": (["mkfs.xfs", "-q", "-f", "-K"], 304, 512),
    "btrfs": (["mkfs.btrfs", "-q", "-f", "-K"], 160, 4096),
}


class NotMountedError(RuntimeError):
    """The kernel did not mount an image."""


class Bench:
    """The folder for the cuts of one filesystem. `new` is a new filesystem, which is copied for each cut."""

    def __init__(self, folder: Path, kind: str, size_mb: int, sector: int | None) -> None:
        self.folder, self.kind = folder, kind
        command, smallest, its_sector = FILESYSTEMS[kind]
        self.sector = sector or its_sector
        self.size_mb = max(size_mb, smallest)
        folder.mkdir(parents=True, exist_ok=True)
        self.new, self.durable, self.seen = (folder / name for name in ("new.img", "durable.img", "seen.img"))
        with open(self.new, "wb") as file:
            file.truncate(self.size_mb * MiB)
        run(*command, self.new)
        (folder / "disk").touch()
        (folder / "mnt").mkdir(exist_ok=True)

    @property
    def scans(self) -> Path:
        return self.folder / "mnt" / "scans"

    def mount(self, image: Path) -> None:
        options = "loop,discard" if self.kind == "ext4" else "loop"
        try:
            run("mount", "-t", self.kind, "-o", options, image, self.folder / "mnt")
        except RuntimeError as error:
            raise NotMountedError(str(error)) from error

    def unmount(self) -> None:
        """Unmount; this frees the loop device. btrfs must forget the device, or it takes the next image for this one."""
        device = run("findmnt", "-no", "SOURCE", self.folder / "mnt").strip()
        run("umount", self.folder / "mnt")
        if self.kind == "btrfs":
            with contextlib.suppress(RuntimeError):
                run("btrfs", "device", "scan", "--forget", device)

    def close(self) -> None:
        unmount(self.folder / "mnt")
        unmount(self.folder / "disk")


def why_not_this(kind: str, folder: Path) -> str | None:
    """Why this filesystem cannot be tested; None if it can be made, mounted through the recording disk, and unmounted."""
    program = FILESYSTEMS[kind][0][0]
    if shutil.which(program) is None:
        return f"no {program}: apt-get install {'xfsprogs btrfs-progs' if kind != 'ext4' else 'e2fsprogs'}"
    try:
        bench = Bench(folder, kind, 0, None)
        try:
            copy_image(bench.new, bench.seen)
            copy_image(bench.new, bench.durable)
            with Child("serve", folder, log=folder / "disk.log") as disk:
                disk.answers(DEADLINE_S)
                bench.mount(folder / "disk")
                bench.unmount()
        finally:
            bench.close()
            shutil.rmtree(folder, ignore_errors=True)
    except (RuntimeError, OSError) as error:
        return str(error)
    return None
