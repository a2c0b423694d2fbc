"""Try an installed lys_storage with the packages of its core only: `python -I smoke.py` in an empty folder.

It writes a scan, kills another one while it runs, recovers it, reads both, and runs each command. It is plain Python,
because it tries an installation as a user has it. `.ci/run` runs it for each Python that it finds.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

import lys_storage
from lys_storage.cli import main
from lys_storage.store.hotpath import COMPILED

IMPORT = """
import sys, lys_storage
print(*sorted({"PyQt6", "PyQt5", "qtpy", "lys", "matplotlib", "rich", "click"} & set(sys.modules)))
"""

KILLED = """
import sys, time, numpy, lys_storage
scan = lys_storage.create("run/killed.npz", shape=(5, 4, 3), dtype="uint16", axes=[range(5), None, None], fill_value=9)
for i in range(3):
    scan[i] = numpy.full((4, 3), i, "uint16")
print("three frames have come", flush=True)
time.sleep(60)
"""

commands_run: set[str] = set()


def expect(seen: object, expected: object) -> None:
    if seen != expected:
        raise SystemExit(f"expected {expected!r}, seen {seen!r}")


def expect_part(part: str, text: str) -> None:
    if part not in text:
        raise SystemExit(f"expected {part!r} in {text!r}")


def python(source: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-I", "-W", "error", "-c", source], stdout=subprocess.PIPE, text=True)


def command(*arguments: str, code: int = 0) -> str:
    """The output of `lys-storage` with these arguments."""
    program = shutil.which("lys-storage", path=sysconfig.get_path("scripts"))
    run = subprocess.run([program or "lys-storage", *arguments], capture_output=True, text=True, timeout=300)
    if run.returncode != code:
        raise SystemExit(f"lys-storage {arguments} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    if "--help" not in arguments:
        commands_run.add(arguments[0])
    return run.stdout


def is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def try_scan() -> None:
    with python(IMPORT) as child:
        expect((child.stdout.read().split(), child.wait()), ([], 0))
    frames = np.arange(3 * 4 * 5, dtype="uint16").reshape(3, 4, 5)
    with lys_storage.create("run/data_0.npz", shape=(3, 4, 5), dtype="uint16", note={"sample": "TaS2"}) as scan:
        for i in range(3):
            scan[i] = frames[i]
    with lys_storage.open_wave("run/data_0.npz", verify=True) as wave:
        expect(wave.data.tolist(), frames.tolist())
        expect(wave.note["sample"], "TaS2")
        for lazy, package in ((wave.to_dask, "dask"), (wave.to_xarray, "xarray"), (wave.to_lys, "lys")):
            if not is_there(package):
                try:
                    lazy()
                except lys_storage.MissingExtraError as error:
                    expect_part(f'pip install "lys_storage[{package}]"', str(error))
                else:
                    raise SystemExit(f"{package} is not needed")
    with np.load("run/data_0.npz") as members:
        expect(members["data"].tolist(), frames.tolist())


def try_kill() -> None:
    with python(KILLED) as child:
        expect(child.stdout.readline(), "three frames have come\n")
        child.kill()
    expect_part("interrupted", command("ls", "run"))
    expect(json.loads(command("info", "run/killed.npz", "--json"))["frames_written"], 3)
    expect(json.loads(command("resume", "run/killed.npz", "--json"))["first_missing"], [[3], [4]])
    expect_part("3 of 5", command("watch", "run", "--once"))
    expect_part("killed.npz", command("recover", "run", "--dry-run"))
    expect(Path("run/killed.npz").exists(), False)
    command("recover", "run")
    with lys_storage.open_wave("run/killed.npz", verify=True) as wave:
        expect(wave.data[:, 0, 0].tolist(), [0, 1, 2, 9, 9])
        expect(wave.info["missing"], [[3, 5]])


def try_other_formats() -> None:
    """Zarr and .npy need no other package."""
    for name, package, extra in (("a.npy", "numpy", ""), ("a.zarr", "numpy", ""), ("a.nxs", "h5py", "hdf5")):
        done = json.loads(command("convert", "run/data_0.npz", name, "--json", code=0 if is_there(package) else 1))
        expect(Path(name).exists(), is_there(package))
        if not is_there(package):
            expect_part(f'pip install "lys_storage[{extra}]"', done["error"])
    with lys_storage.open_wave("run/data_0.npz") as wave:
        expect(np.load("a.npy").tolist(), wave.data.tolist())
    linked = json.loads(command("link", "run/data_0.npz", "all.nxs", "--json", code=0 if is_there("h5py") else 1))
    expect(linked["error"] is None, is_there("h5py"))
    found = json.loads(command("catalog", "run", "--json", "--note"))
    expect([one["note"] for one in found], [{"sample": "TaS2"}, {}])
    expect(len(lys_storage.catalog("run")), 2)


def try_commands() -> None:
    for name in main.commands:
        expect_part(f"lys-storage {name}", command(name, "--help"))
    expect_part("check-disk", command("--help"))
    demo = command("demo", "--shape", "4,4", "--frame", "32,32", "--out", "demo")
    expect_part("all is well", demo)
    for package, extra in (("PyQt6", "qt"), ("matplotlib", "plot")):
        expect(f"lys_storage[{extra}]" in demo, not is_there(package))
    if not is_there("lys"):
        expect_part("lys_storage[lys]" if sys.version_info < (3, 13) else "numpy < 2", demo)
    command("check-disk", ".")
    drawn = json.loads(command("preview", "run/data_0.npz", "--json", code=0 if is_there("matplotlib") else 1))
    expect(Path("data_0.png").exists(), is_there("matplotlib"))
    if not is_there("matplotlib"):
        expect_part('pip install "lys_storage[plot]"', drawn["error"])
    try_other_formats()
    command("verify", "run", "demo")
    command("verify", "nothing.npz", code=2)
    expect(lys_storage.verify("."), [])
    expect(commands_run, set(main.commands))


def try_qt() -> None:
    try:
        lys_storage.DataStorage  # noqa: B018
    except lys_storage.BindingError as error:
        expect(is_there("PyQt6"), False)
        expect_part('pip install "lys_storage[qt]"', str(error))
    else:
        expect(is_there("PyQt6") or is_there("PyQt5"), True)


if __name__ == "__main__":
    expect_part("site-packages", lys_storage.__file__)
    try_scan()
    try_kill()
    try_commands()
    try_qt()
    way = "compiled" if COMPILED else "Python only"
    print(f"smoke test passed: Python {platform.python_version()}, numpy {np.__version__}, {way}")
