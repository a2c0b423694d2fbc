"""A really full disk: another process takes the last byte of a small ext4, or of a tmpfs, while a scan runs.

Each disk is mounted in the mount namespace of the child, and disappears with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment

NOT_HERE = 77

BEGIN = f"""
import json, os, subprocess, sys, zipfile
from pathlib import Path
import numpy as np

kind, folder = sys.argv[1], Path(sys.argv[2])
disk = folder / "disk"
disk.mkdir()

def sh(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        print("cannot", *command, done.stderr.strip(), flush=True)
        sys.exit({NOT_HERE})

if kind == "tmpfs":
    sh("mount", "-t", "tmpfs", "-o", "size=32m", "none", disk)
elif kind == "btrfs":
    with open(folder / "image", "wb") as file:
        file.truncate(128 << 20)
    sh("mkfs.btrfs", "-q", "-f", "-M", folder / "image")
    sh("mount", "-t", "btrfs", "-o", "loop", folder / "image", disk)
else:
    with open(folder / "image", "wb") as file:
        file.truncate(40 << 20)
    sh("mkfs.ext4", "-q", "-F", "-m", "0", folder / "image")
    sh("mount", "-t", "ext4", "-o", "loop", folder / "image", disk)

FILL = '''
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
size = 1 << 20
while size:
    try:
        os.write(fd, bytes(size))
    except OSError:
        size //= 2
os.close(fd)
'''

def fill_the_disk():
    subprocess.run([sys.executable, "-c", FILL, str(disk / "somebody_else")], check=True)
    assert kind == "btrfs" or os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize < 1 << 16

def make_room():
    os.unlink(disk / "somebody_else")

def frame(k):
    return np.random.default_rng(k).integers(0, 65536, (256, 512), "u2")

def check(path, there):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        missing = json.loads(archive.read("acquisition.json"))["missing"]
    data = np.load(path)["data"]
    absent = [k for first, stop in missing for k in range(first, stop)]
    assert absent == [k for k in range(len(data)) if k not in there], (absent, there)
    for k in range(len(data)):
        assert np.array_equal(data[k], frame(k) if k in there else np.zeros((256, 512), "u2")), k

import lys_storage
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
"""

RunOnDisk = Callable[[str, str], int]


@pytest.fixture(params=["ext4", "tmpfs"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run_on_disk(tmp_path: Path) -> RunOnDisk:
    """Run Python source with its own small disk at `disk`. Returns its exit code, negative after a signal."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting takes root on Linux")
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be had here")

    def run(kind: str, source: str) -> int:
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-c", BEGIN + source, kind, str(tmp_path)],
            cwd=ROOT,
            env=child_environment(tmp_path) | {"PYTHONFAULTHANDLER": "0"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        if done.returncode == NOT_HERE:
            pytest.skip(done.stdout)
        print(done.stdout, done.stderr)
        return done.returncode

    return run


BTRFS = """
def row(k):
    return np.random.default_rng(k).integers(0, 65536, 512, "u2")

by_map = File.keeps_mapped_stores
File.keeps_mapped_stores = lambda self: {naive}
scan = lys_storage.create(disk / "run" / "data_0.npz", (6000, 512), "u2", grid_ndim=1, flush_interval_s=None)
assert by_map(scan._store.file) is False
there = set()
for k in range(2000):
    scan[k] = row(k)
    there.add(k)
scan.flush()
fill_the_disk()
for k in range(2000, 2200):
    try:
        scan[k] = row(k)
        there.add(k)
    except lys_storage.DiskFullError as error:
        refused = error
    if k % 100 == 0:
        try:
            scan.flush()
        except lys_storage.DiskFullError as error:
            refused = error
print(len(there), "stored", refused)
make_room()
path = scan.close()
with zipfile.ZipFile(path) as archive:
    assert archive.testzip() is None
data = np.load(path)["data"]
assert all(np.array_equal(data[k], row(k)) for k in there)
assert lys_storage.verify(disk) == []
"""


@pytest.mark.parametrize(("naive", "end"), [(True, -signal.SIGBUS), (False, 0)], ids=["by a map", "as it is"])
def test_on_a_full_disk_that_copies_on_write_a_mark_is_an_exception(
    run_on_disk: RunOnDisk, naive: bool, end: int
) -> None:
    """There, preallocated space holds for the first write only. States are written with calls, and an error is raised.

    A store through a map, as elsewhere, would kill the process if there is no space.
    """
    assert run_on_disk("btrfs", BTRFS.format(naive=naive)) == end


def test_a_scan_goes_on_and_is_saved_when_another_process_fills_the_disk(run_on_disk: RunOnDisk, kind: str) -> None:
    """Its space is preallocated at creation: for the frames, the journal, and the tail."""
    source = """
scan = lys_storage.create(disk / "run" / "data_0.npz", (40, 256, 512), "u2", flush_interval_s=0.05)
for k in range(40):
    if k == 10:
        fill_the_disk()
    scan[k] = frame(k)
check(scan.close(), set(range(40)))
"""
    assert run_on_disk(kind, source) == 0


def test_a_naive_sparse_map_dies_of_a_full_disk(run_on_disk: RunOnDisk, kind: str) -> None:
    """This is why frames are not stored through a map of a sparse file."""
    source = """
array = np.memmap(disk / "data", "u2", "w+", shape=(40, 256, 512))
for k in range(40):
    if k == 10:
        fill_the_disk()
    array[k] = frame(k)
array.flush()
"""
    assert run_on_disk(kind, source) == -signal.SIGBUS


def test_where_space_cannot_be_claimed_a_full_disk_is_an_exception(run_on_disk: RunOnDisk, kind: str) -> None:
    """Frames without space are missing, the others are there. With space again the scan is saved or continued."""
    source = """
SYSTEM.preallocate = SYSTEM.punch_hole = lambda *arguments, **options: False
scan = lys_storage.create(disk / "run" / "data_0.npz", (40, 256, 512), "u2", flush_interval_s=0.05)
there, refused = set(), set()
for k in range(40):
    if k == 10:
        fill_the_disk()
    if k == 30:
        make_room()
    try:
        scan[k] = frame(k)
        there.add(k)
    except lys_storage.DiskFullError:
        refused.add(k)
assert refused and refused <= set(range(10, 30)), refused
again = min(refused)
scan[again] = frame(again)
check(scan.close(), there | {again})
"""
    assert run_on_disk(kind, source) == 0


def test_a_save_that_finds_no_room_keeps_the_scan_in_progress(run_on_disk: RunOnDisk, kind: str) -> None:
    """close() raises DiskFullError and can be repeated with more space. The final name never has a partial file."""
    source = """
SYSTEM.preallocate = SYSTEM.punch_hole = lambda *arguments, **options: False
final = disk / "run" / "data_0.npz"
scan = lys_storage.create(final, (4, 256, 512), "u2", fill_value=7, grid_ndim=1, flush_interval_s=None)
scan[0] = frame(0)
fill_the_disk()
try:
    scan.close()
except lys_storage.DiskFullError as error:
    print(error)
else:
    raise AssertionError("saved on a full disk")
assert not final.exists() and scan.part_path.exists()
make_room()
scan.close()
with zipfile.ZipFile(final) as archive:
    assert archive.testzip() is None
data = np.load(final)["data"]
assert np.array_equal(data[0], frame(0)) and (data[1:] == 7).all()
"""
    assert run_on_disk(kind, source) == 0
