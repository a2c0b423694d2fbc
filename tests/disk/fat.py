"""Scans on a disk with FAT32 or exFAT: python -m tests.disk.fat FOLDER

FOLDER is where it is mounted. Prints a line of JSON for each case: its name, what is wrong, "" if nothing is, and the seconds. It
imports no pytest, which takes seconds in user-mode Linux.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage import DiskFullError, NameTakenError, StorageOSError

FRAMES, SIZE = 20, 3000
LARGEST_FILE_OF_FAT = (1 << 32) - 1


def frame(k: int) -> Any:
    return np.full(SIZE, k + 1, "u2")


def begin(path: Path, frames: int = FRAMES, **options: Any) -> lys_storage.Scan:
    return lys_storage.create(path, (frames, SIZE), "u2", grid_ndim=1, **options)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def assert_frames(path: Path, missing: set[int], frames: int = FRAMES) -> None:
    assert lys_storage.verify(path) == []
    with lys_storage.open_wave(path) as wave:
        absent = {k for first, stop in wave.info["missing"] for k in range(first, stop)}
    assert absent == missing, (absent, missing)
    data = np.load(path)["data"]
    for k in range(frames):
        assert (data[k] == (0 if k in missing else k + 1)).all(), k


def raised_by(kind: type[OSError], work: Callable[[], object]) -> OSError:
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def start(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return pid


def wait(pid: int, *, killed: bool = False) -> None:
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) if killed else status == 0, status


def die_after_ten_frames(path: Path, **options: Any) -> None:
    """The last two frames are younger than the checksums."""

    def work() -> None:
        scan = begin(path, flush_interval_s=None, **options)
        for k in range(8):
            scan[k] = frame(k)
        scan.flush()
        scan[0] = frame(5)
        scan[0] = frame(0)
        for k in (8, 9):
            scan[k] = frame(k)
        os.kill(os.getpid(), signal.SIGKILL)

    wait(start(work), killed=True)


def create(folder: Path) -> None:
    scan = begin(folder / "a", axes=[np.arange(FRAMES) / 2, None], note={"a": 1})
    for k in range(FRAMES - 1):
        scan[k] = frame(k)
    scan.close()
    assert files(folder) == {"a.npz"}
    assert_frames(folder / "a.npz", {FRAMES - 1})
    with lys_storage.open_wave(folder / "a.npz") as wave:
        assert (wave[2:4] == np.stack([frame(2), frame(3)])).all()
        assert wave.note == {"a": 1}
    raised_by(NameTakenError, lambda: begin(folder / "a"))


def overwrite(folder: Path) -> None:
    with begin(folder / "a.npz") as scan:
        scan[0] = frame(0)
    with lys_storage.open_wave(folder / "a.npz") as old, begin(folder / "a.npz", overwrite=True) as scan:
        scan[1] = frame(1)
        assert_frames(folder / "a.npz", set(range(1, FRAMES)))
        scan.close()
        assert_frames(folder / "a.npz", set(range(FRAMES)) - {1})
        assert (old[0] == frame(0)).all()
    assert files(folder) == {"a.npz"}


def number(folder: Path) -> None:
    """Four processes that save three scans each."""

    def work() -> None:
        for _ in range(3):
            with begin(folder / "a", 1, numbered=True) as scan:
                scan[0] = frame(0)

    for pid in [start(work) for _ in range(4)]:
        wait(pid)
    assert files(folder) == {f"a_{n}.npz" for n in range(12)}
    assert lys_storage.verify(folder) == []


def another_name(folder: Path) -> None:
    plain, numbered = begin(folder / "a", 1), begin(folder / "b", 1, numbered=True)
    for scan, name in ((plain, "a.npz"), (numbered, "b_0.npz")):
        scan[0] = frame(0)
        (folder / name).write_bytes(b"of another program")
    assert numbered.close().name == "b_1.npz"
    raised_by(NameTakenError, plain.close)
    plain.suspend()
    assert [result.failed for result in lys_storage.recover(folder)] == [False]
    assert files(folder) == {"a.npz", "a.recovered_0.npz", "b_0.npz", "b_1.npz"}
    assert (folder / "a.npz").read_bytes() == (folder / "b_0.npz").read_bytes() == b"of another program"


def change_dtype(folder: Path) -> None:
    scan = lys_storage.create(folder / "a", (FRAMES, SIZE), "u1", grid_ndim=1)
    scan.change_dtype("u2")
    for k in range(FRAMES):
        scan[k] = frame(k)
    scan.close()
    assert files(folder) == {"a.npz"}
    assert_frames(folder / "a.npz", set())


def recover(folder: Path) -> None:
    die_after_ten_frames(folder / "a")
    (found,) = lys_storage.recover(folder, dry_run=True)
    assert (found.state, found.failed) == ("interrupted", False)
    (found,) = lys_storage.recover(folder)
    assert (found.failed, found.path) == (False, folder / "a.npz"), found
    assert files(folder) == {"a.npz"}
    assert_frames(folder / "a.npz", set(range(found.frames_written, FRAMES)))
    assert 8 <= found.frames_written <= 10


def resume(folder: Path) -> None:
    die_after_ten_frames(folder / "a")
    with lys_storage.resume(folder / "a.npz") as scan:
        missing = [k for (k,) in scan.missing()]
        assert set(range(10, FRAMES)) <= set(missing) <= set(range(8, FRAMES)), missing
        for k in missing:
            scan[k] = frame(k)
    assert files(folder) == {"a.npz"}
    assert_frames(folder / "a.npz", set())


def leave_alone(folder: Path) -> None:
    """A scan whose process lives: its lock is seen."""
    with begin(folder / "a") as scan:
        scan[0] = frame(0)
        reader, writer = os.pipe()
        wait(start(lambda: os.write(writer, lys_storage.recover(folder)[0].state.encode())))
        state = os.read(reader, 100)
        os.close(reader)
        os.close(writer)
    assert state == b"running"
    assert_frames(folder / "a.npz", set(range(1, FRAMES)))


def follow(folder: Path) -> None:
    with begin(folder / "a", 3) as scan, lys_storage.follow(scan.part_path) as follower:
        for k in range(3):
            scan[k] = frame(k)
            end = time.monotonic() + 20
            while not (new := follower.poll()) and time.monotonic() < end:
                time.sleep(0.01)
            assert new == [(k,)]
            assert (follower.read(k) == frame(k)).all()


def refuse_large_file(folder: Path) -> None:
    """More than 4 GiB, and more than the disk has."""
    is_fat = folder.parent.name == "FAT32"
    error = raised_by(
        StorageOSError, lambda: lys_storage.create(folder / "run" / "a", (1 << 20, 5000), "u1", grid_ndim=1)
    )
    assert isinstance(error, DiskFullError) is not is_fat
    assert (error.errno == errno.EFBIG) is is_fat
    assert (f"can have more than {LARGEST_FILE_OF_FAT:,}" in str(error)) is is_fat
    assert files(folder) == set()


def claim_space(folder: Path) -> None:
    """The space of the frames is claimed at the beginning; on a disk that is full by now each of them can be written."""
    scan = begin(folder / "a", 1000)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        size = 1 << 20
        while size >= 512:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2
    for k in range(1000):
        scan[k] = frame(k)
    filler.unlink()
    scan.close()
    assert_frames(folder / "a.npz", set(), 1000)


CASES = {case.__name__: case for case in (create, overwrite, number, another_name, change_dtype)}
CASES |= {case.__name__: case for case in (recover, resume, leave_alone, follow, refuse_large_file, claim_space)}


def main() -> None:
    disk = Path(sys.argv[1])
    for name, case in CASES.items():
        wrong, begun = "", time.monotonic()
        (disk / name).mkdir()
        try:
            case(disk / name)
        except BaseException:
            wrong = traceback.format_exc()
        print(json.dumps([name, wrong, round(time.monotonic() - begun, 2)]), flush=True)


if __name__ == "__main__":
    main()
