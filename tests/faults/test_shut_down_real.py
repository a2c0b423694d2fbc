"""A file system really shuts down while a scan is written, as after a disk fault: errors are raised, the process lives.

The disk is mounted in the mount namespace of the child, and disappears with it.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.faults.namespace import NOT_HERE, run_in_a_mount_namespace

CODE = f"""
import fcntl, os, subprocess, sys
from pathlib import Path
import numpy as np
import lys_storage
from lys_storage.disk import File

kind, folder, by_map = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "by a map"
disk, image = folder / "disk", folder / "image"
disk.mkdir()
with open(image, "wb") as file:
    file.truncate(320 << 20)
for command in (["mkfs." + kind, "-q", image], ["mount", "-o", "loop", image, disk]):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        print("cannot", *command, done.stderr.strip())
        sys.exit({NOT_HERE})
if by_map:
    File.keeps_mapped_stores = lambda self: True

def frame(k):
    return np.full((64, 64), k, "u2")

scan = lys_storage.create(disk / "a.npz", (1000, 64, 64), "u2", grid_ndim=1, flush_interval_s=0.05)
for k in range(100):
    scan[k] = frame(k)
scan.flush()
GOING_DOWN, NO_LOG_FLUSH = 0x8004587D, (2).to_bytes(4, "little")  # XFS_IOC_GOINGDOWN, which ext4 has, too
try:
    fcntl.ioctl(os.open(disk, os.O_RDONLY), GOING_DOWN, NO_LOG_FLUSH)
except OSError as error:
    print("cannot shut down:", error)
    sys.exit({NOT_HERE})
refused = 0
for k in range(100, 200):
    try:
        scan[k] = frame(k)
    except lys_storage.LysStorageError as error:
        refused += 1
try:
    scan.close()
except lys_storage.StorageOSError as error:
    print("refused", refused, "closing:", error)
try:
    scan.suspend()
except lys_storage.LysStorageError as error:
    print("suspending:", error)
os._exit(0 if refused == 100 else 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
@pytest.mark.parametrize(
    ("kind", "how", "ends"),
    [
        pytest.param("ext4", "as it is", 0, id="ext4"),
        pytest.param("xfs", "as it is", 0, id="xfs"),
        pytest.param("xfs", "by a map", -signal.SIGBUS, id="xfs, with states stored through a map"),
    ],
)
def test_a_file_system_that_shuts_down_is_an_error_and_not_a_death(
    tmp_path: Path, kind: str, how: str, ends: int
) -> None:
    done = run_in_a_mount_namespace(tmp_path, CODE, kind, str(tmp_path), how)
    assert done.returncode == ends, done.stdout + done.stderr
