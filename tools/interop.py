#!/usr/bin/env python
"""Try which programs read files of lys_storage, as HDF5/NeXus, as .npz, or through its own entry points.

    python tools/interop.py                    a table; programs that are not installed are left out
    python tools/interop.py --markdown         the table of docs/hdf5.md
    python tools/interop.py --only h5py --only silx

Each program reads, in a process of its own: an export, an export with missing frames, a scan in progress of another process, and
an export of elements of each dtype. It has to return every value, bit for bit. Then the file must be what it was before. Exit
code: 1 if a program that is installed does not read what it should.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lys_storage

SHAPE, TIMEOUT_S = (4, 3, 16, 8), 300
DTYPES = ("u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", ">f8", ">u2")
FILES = {"export": "export.npz", "export, frames missing": "missing.npz", "scan in progress": "running.npz.part"}

READERS: dict[str, tuple[str, str]] = {
    "h5py": ("h5py", "import h5py; data = h5py.File(path, 'r')['/entry/data/data'][...]"),
    "h5netcdf": (
        "h5netcdf",
        "import h5netcdf; data = h5netcdf.File(path, 'r', phony_dims='sort')['/entry/data'].variables['data'][...]",
    ),
    "netCDF4": ("netCDF4", "import netCDF4; data = netCDF4.Dataset(path)['/entry/data/data'][...].data"),
    "xarray, engine h5netcdf": (
        "xarray h5netcdf",
        "import xarray; data = xarray.open_dataset("
        "path, engine='h5netcdf', group='/entry/data', phony_dims='sort', decode_cf=False).data.values",
    ),
    "PyTables": ("tables", "import tables; data = tables.open_file(path, 'r').root.entry.data.data[...]"),
    "pyfive": ("pyfive", "import pyfive; data = pyfive.File(path)['/entry/data/data'][...]"),
    "nexusformat": ("nexusformat", "from nexusformat.nexus import nxload; data = nxload(path).entry.data.nxsignal.nxvalue"),
    "silx": ("silx", "import silx.io; data = silx.io.open(path)['/entry/data/data'][...]"),
    "HyperSpy (RosettaSciIO)": (
        "rosettasciio",
        "from rsciio import nexus; data = nexus.file_reader(path, lazy=False)[0]['data']",
    ),
    "LiberTEM": (
        "libertem",
        "from libertem.api import Context; from libertem.io.dataset.base import *; context = Context.make_with('inline')\n"
        "found = context.load('hdf5', path=path, ds_path='/entry/data/data', sig_dims=2)\n"
        "from libertem.udf.raw import PickUDF; import numpy as np\n"
        "data = context.run_udf(found, PickUDF())['intensity'].data.reshape(found.shape)",
    ),
    "tiled": (
        "tiled",
        "from tiled.adapters.hdf5 import HDF5Adapter; import h5py\n"
        "data = HDF5Adapter(h5py.File(path, 'r'))['entry']['data']['data'].read()",
    ),
    "numpy": ("numpy", "import numpy; data = numpy.load(path)['data']"),
    "xarray": ("xarray", "import xarray; data = xarray.open_dataset(path, decode_cf=False).data.values"),
    "lys": ("lys-python", "import lys; data = lys.Wave(path).data"),
    "lys_storage": ("lys_storage", "import lys_storage; data = lys_storage.open_wave(path).read()"),
}
"""For each program: its distributions, and code that sets `data` to the array of the file `path`."""
_ZIP_READERS = ("numpy", "xarray", "lys")


def content(dtype: str) -> np.ndarray:
    return (np.arange(np.prod(SHAPE)) % 113).astype(dtype).reshape(SHAPE)


def make_files(folder: Path) -> lys_storage.Scan:
    """All files, and the scan in progress among them, which holds all frames."""
    axes = [np.linspace(0, 1, SHAPE[0]), None, None, np.arange(SHAPE[3])]
    options = {"axes": axes, "axis_names": ["delay", "x", None, None], "units": ["ps", "mm", None, None], "grid_ndim": 2}
    whole = content("u2")
    for name, rows in (("export", SHAPE[0]), ("missing", SHAPE[0] - 1)):
        with lys_storage.create(folder / f"{name}.npz", SHAPE, "u2", fill_value=0, note={"sample": "TaS2"}, **options) as scan:
            scan[:rows] = whole[:rows]
    for dtype in DTYPES:
        with lys_storage.create(folder / f"of_{dtype.replace('>', 'big_')}.npz", SHAPE, dtype, **options) as scan:
            scan[...] = content(dtype)
    running = lys_storage.create(folder / "running.npz", SHAPE, "u2", **options)
    running[...] = whole
    running.flush()
    return running


def read(code: str, path: Path, folder: Path) -> tuple[np.ndarray | None, str]:
    """The array that a program gives, and why it gives none."""
    out = folder / "out.npy"
    out.unlink(missing_ok=True)
    program = f"import sys; sys.path.insert(0, {str(Path(lys_storage.__file__).parents[1])!r}); path = sys.argv[1]\n{code}\n" + (
        "import numpy as np; np.save(sys.argv[2], np.asarray(data))"
    )
    command = [sys.executable, "-c", program, str(path), str(out)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return None, f"no answer in {TIMEOUT_S} s"
    if done.returncode or not out.exists():
        return None, (done.stderr.strip().splitlines() or ["it ended without a result"])[-1]
    return np.load(out), ""


def cell(code: str, path: Path, expected: np.ndarray, folder: Path) -> str:
    """ "yes", or what is wrong."""
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    data, why = read(code, path, folder)
    if hashlib.sha256(path.read_bytes()).hexdigest() != before:
        return "CHANGED THE FILE"
    if data is None:
        return f"no: {why}"
    if expected.dtype.kind == "c" and data.dtype.names:  # PyTables and others give the parts of a complex number
        data = data["r"] + 1j * data["i"]
    is_same = data.shape == expected.shape and data.astype(expected.dtype).tobytes() == expected.tobytes()
    return "yes" if is_same else f"other values: {data.dtype} {data.shape}"


def row(name: str, folder: Path) -> list[str]:
    _, code = READERS[name]
    whole = content("u2")
    cells = []
    for title, file in FILES.items():
        if title == "scan in progress" and name in _ZIP_READERS:
            cells.append("-")
            continue
        expected = whole.copy()
        expected[SHAPE[0] - 1 if title == "export, frames missing" else SHAPE[0] :] = 0
        cells.append(cell(code, folder / file, expected, folder))
    good = []
    for dtype in DTYPES:
        path = folder / f"of_{dtype.replace('>', 'big_')}.npz"
        if cell(code, path, content(dtype), folder) == "yes":
            good.append(dtype)
    missing = [dtype for dtype in DTYPES if dtype not in good]
    cells.append("all" if not missing else f"all but {', '.join(missing)}")
    return cells


def version_of(packages: str) -> str | None:
    """The versions of the distributions; None if one is not installed."""
    if packages == "lys_storage":
        return lys_storage.__version__
    try:
        return ", ".join(metadata.version(package) for package in packages.split())
    except metadata.PackageNotFoundError:
        return None


@click.command(help=(__doc__ or "").split("\n")[0])
@click.option("--only", multiple=True, type=click.Choice(list(READERS)), help="Try this program only; may be repeated.")
@click.option("--markdown", is_flag=True, help="Print the table for docs/hdf5.md.")
def main(only: tuple[str, ...], markdown: bool) -> None:
    titles = ["program", "version", *FILES, "dtypes"]
    table, failed, rows = Table(*titles), [], []
    out = Console(width=200, highlight=False)
    with tempfile.TemporaryDirectory(prefix="interop_") as name:
        folder = Path(name)
        running = make_files(folder)
        for reader in only or READERS:
            version = version_of(READERS[reader][0])
            if version is None:
                out.print(f"{reader} is not installed: left out")
                continue
            cells = row(reader, folder)
            rows.append([reader, version, *cells])
            failed += [reader] * any(text not in ("yes", "-") and not text.startswith("all") for text in cells)
        running.close()
    for one in rows:
        table.add_row(*one)
    if markdown:
        print("\n".join(f"| {' | '.join(one)} |" for one in (titles, ["---"] * len(titles), *rows)))
    else:
        out.print(table)
    if failed:
        raise click.ClickException(f"not read as it should be: {', '.join(failed)}")


if __name__ == "__main__":
    main()
