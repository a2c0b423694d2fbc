"""Scans on real disks with exFAT and FAT32, in a file. Each is mounted in a mount namespace of its own.

exFAT is that of the kernel, else of FUSE (Debian: exfat-fuse). FAT32 is that of the kernel, else of user-mode Linux (Debian:
user-mode-linux), a kernel that is an ordinary process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from tests.conftest import ROOT, child_environment

DEADLINE_S = 90.0
DISK_BYTES = 64 << 20
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
MKFS = {"exFAT": ["mkfs.exfat"], "FAT32": ["mkfs.vfat", "-F", "32"]}
TYPES = {"exFAT": ["exfat", "exfat-fuse"], "FAT32": ["vfat"]}
MODULES = ["fs/fat/fat.ko", "fs/fat/vfat.ko", "fs/nls/nls_cp437.ko", "fs/nls/nls_ascii.ko", "fs/nls/nls_iso8859-1.ko"]
PRIVATE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""The processes of a FUSE file system end with the child, and with them its mounts."""
LOAD = "import ctypes, os, sys; " + (
    'print([ctypes.CDLL(None).syscall(313, os.open(name, 0), b"", 0) for name in sys.argv[1:]])  # finit_module'
)
INIT = """#!/bin/sh
exec >/dev/console 2>&1
export PATH={path} PYTHONPATH={here} HOME={root} PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
{python} -c '{load}' {modules}
mount -t tmpfs tmpfs {root}
mkdir {root}/FAT32
cd {here}
mount -t vfat /dev/ubda {root}/FAT32 && echo mounted && {python} -m tests.disk.fat {root}/FAT32
halt -f -p
"""


def run(command: list[str], folder: Path) -> str:
    """The output of the command. It is killed, with its children, at the deadline."""
    environment = {**child_environment(folder), "PATH": PATH}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            return child.communicate(timeout=DEADLINE_S)[0]
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise


def run_here(name: str, image: Path, folder: Path) -> str:
    at = folder / name
    at.mkdir()
    mount = " || ".join(f"mount -t {kind} -o loop {image} {at}" for kind in TYPES[name])
    code = f"({mount}) && echo mounted && {sys.executable} -m tests.disk.fat {at}; umount {at}"
    return run([*PRIVATE, "sh", "-c", code], folder)


def run_in_user_mode_linux(image: Path, folder: Path) -> str:
    linux, kernels = shutil.which("linux.uml", path=PATH), glob("/usr/lib/uml/modules/*/kernel")
    if linux is None or not kernels:
        return "this kernel has no FAT, and there is no user-mode Linux"
    init, root = folder / "init.sh", folder / "root"
    root.mkdir()
    modules = " ".join(f"{kernels[0]}/{module}" for module in MODULES)
    init.write_text(INIT.format(path=PATH, here=ROOT, root=root, python=sys.executable, load=LOAD, modules=modules))
    init.chmod(0o755)
    words = ["root=none", "rootfstype=hostfs", "rootflags=/", "ro", "mem=512M", "quiet", "con=null", "con0=fd:0,fd:1"]
    return run([linux, *words, f"init={init}", f"ubd0={image}"], folder)


@pytest.fixture(scope="module", params=["exFAT", "FAT32"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is wrong in each case."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("it takes root to mount")
    name, folder = request.param, tmp_path_factory.mktemp("disk")
    image = folder / "image"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    mkfs = shutil.which(MKFS[name][0], path=PATH)
    if mkfs is None or shutil.which("unshare", path=PATH) is None:
        pytest.skip(f"there is no {MKFS[name][0]}, or no unshare")
    subprocess.run([mkfs, *MKFS[name][1:], str(image)], check=True, capture_output=True)
    said = run_here(name, image, folder)
    if "mounted\n" not in said and name == "FAT32":
        said = run_in_user_mode_linux(image, folder)
    lines = said.replace("\r", "").splitlines()
    if "mounted" not in lines:
        pytest.skip(f"{name} cannot be mounted here: {said[-500:]}")
    print(said)
    results = [json.loads(line) for line in lines if line.startswith('["')]
    return {case: wrong for case, wrong, _ in results}


def test_a_scan_is_created_and_closed(told: dict[str, str]) -> None:
    assert told["create"] == ""


def test_an_export_is_replaced_in_one_step_and_an_open_one_can_still_be_read(told: dict[str, str]) -> None:
    assert told["overwrite"] == ""


def test_processes_that_number_at_once_get_different_numbers(told: dict[str, str]) -> None:
    assert told["number"] == ""


def test_no_file_is_replaced_by_a_scan_that_was_to_have_its_name(told: dict[str, str]) -> None:
    assert told["another_name"] == ""


def test_the_dtype_is_changed(told: dict[str, str]) -> None:
    assert told["change_dtype"] == ""


def test_a_killed_scan_is_recovered_with_each_frame_that_has_a_checksum(told: dict[str, str]) -> None:
    assert told["recover"] == ""


def test_a_killed_scan_is_resumed(told: dict[str, str]) -> None:
    assert told["resume"] == ""


def test_a_scan_that_a_process_writes_is_left_alone(told: dict[str, str]) -> None:
    assert told["leave_alone"] == ""


def test_a_scan_is_followed_while_it_is_written(told: dict[str, str]) -> None:
    assert told["follow"] == ""


def test_a_file_of_4_gib_is_refused_on_fat32_and_by_its_free_space_only_on_exfat(told: dict[str, str]) -> None:
    assert told["refuse_large_file"] == ""


def test_a_disk_that_fills_up_during_a_scan_takes_no_frame_from_it(told: dict[str, str]) -> None:
    assert told["claim_space"] == ""
