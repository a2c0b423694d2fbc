"""The candidates of the comparison, by name: their title in tables, their kind, the package that they need."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import _peers, _sustained_writers, _writers
from benchmarks._workloads import Workload

LIMIT, AGAIN = "limit", "limit-again"


@dataclass(frozen=True)
class Candidate:
    """`kind`: "limit"; "ours"; "calls" (a peer that writes by calls); "map" (a raw map); "lys" (lys_instr's way);
    "bare" (a loop for the sustained limit)."""

    name: str
    title: str
    kind: str
    writer: type[_writers.Writer]
    package: str = "numpy"

    @property
    def installed(self) -> bool:
        from importlib.metadata import (  # not at the top: every child would import it before its measurement
            PackageNotFoundError,
            version,
        )

        try:
            version(self.package)
        except PackageNotFoundError:
            return False
        return True

    def cannot(self, workload: Workload) -> str:
        """Why the candidate cannot run `workload`; "" if it can."""
        if not self.installed:
            return "not installed"
        if workload.shuffled and self.writer.appends_only:
            return "appends only"
        return ""


_ALL = (
    Candidate(LIMIT, "limit: pwrite, claimed space", "limit", _writers.Limit),
    Candidate(AGAIN, "limit again", "limit", _writers.Limit),
    Candidate("drop-behind", "bare drop-behind", "bare", _sustained_writers.DropBehind),
    Candidate("dontcache", "bare RWF_DONTCACHE", "bare", _sustained_writers.DontCache),
    Candidate("direct", "bare O_DIRECT", "bare", _sustained_writers.Direct),
    Candidate("direct-2", "bare O_DIRECT, two at a time", "bare", _sustained_writers.DirectTwo),
    Candidate("ours", "lys_storage, DataStorage", "ours", _writers.OursStorage, "lys_storage"),
    Candidate("ours-script", "lys_storage, Scan", "ours", _writers.OursScript, "lys_storage"),
    Candidate("h5py-direct", "h5py write_direct_chunk", "calls", _peers.H5Direct, "h5py"),
    Candidate("h5py-chunk", "h5py, chunk = frame", "calls", _peers.H5Chunked, "h5py"),
    Candidate("h5py-contiguous", "h5py, contiguous", "calls", _peers.H5Contiguous, "h5py"),
    Candidate("zarr", "zarr 3, chunk = frame", "calls", _peers.Zarr, "zarr"),
    Candidate("tensorstore", "tensorstore zarr3, async", "calls", _peers.TensorStore, "tensorstore"),
    Candidate("acquire-zarr", "acquire-zarr", "calls", _peers.AcquireZarr, "acquire-zarr"),
    Candidate("ndtiff", "NDTiff (ndstorage)", "calls", _peers.NDTiff, "ndstorage"),
    Candidate("npy-append", "npy-append-array", "calls", _peers.NpyAppend, "npy-append-array"),
    Candidate("tifffile-map", "tifffile.memmap", "map", _peers.TiffMap, "tifffile"),
    Candidate("map", "np.memmap, claimed space", "map", _writers.RawMap),
    Candidate("lys", "lys_instr's way", "lys", _writers.LysWay),
)
CANDIDATES = {candidate.name: candidate for candidate in _ALL}
PEERS = tuple(c.name for c in _ALL if c.kind in ("calls", "map"))
PACKAGES = tuple(dict.fromkeys(c.package for c in _ALL))
NEED_NO_INSTALL = (LIMIT, AGAIN, "ours", "ours-script", "map")
