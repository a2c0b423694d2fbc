"""A disk that is really full while a result is written: a tmpfs of 6 MiB."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conversion.readers import SUFFIXES, need
from tests.faults.namespace import NOT_HERE, run_in_a_mount_namespace

FULL = f"""
import gc, os, subprocess, sys
import lys_storage
from lys_storage.conversion import converting

source, disk, suffix = sys.argv[1:]
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk]).returncode:
    sys.exit({NOT_HERE})
try:
    lys_storage.convert(source, f"{{disk}}/a{{suffix}}")
except lys_storage.DiskFullError as error:
    print("not enough space" in str(error), os.listdir(disk))
converting.ensure_free_space = lambda *asked: None  # as if another program took the space after that
for compress in (False, True)[: 1 + (suffix != ".npy")]:
    try:
        lys_storage.convert(source, f"{{disk}}/a{{suffix}}", compress=compress)
    except lys_storage.DiskFullError as error:
        print(error.filename == f"{{disk}}/a{{suffix}}", os.listdir(disk))
gc.collect()
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.name == "nt" or os.geteuid() != 0, reason="mounting takes root on Linux"
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_an_error_and_the_part_is_removed(tmp_path: Path, suffix: str) -> None:
    need(suffix)
    (tmp_path / "disk").mkdir()
    np.savez(tmp_path / "a.npz", data=np.random.default_rng(0).integers(0, 60000, (16, 512, 512)).astype("u2"))
    done = run_in_a_mount_namespace(tmp_path, FULL, str(tmp_path / "a.npz"), str(tmp_path / "disk"), suffix)
    assert (done.returncode, done.stdout) == (0, "True []\n" * (2 if suffix == ".npy" else 3)), done.stderr
