"""The workloads of the benchmarks, by name. Pure: the sizes that depend on the machine are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any

import numpy as np

POOL_BYTES = 32 << 20
POOL_FRAMES = 16


@dataclass(frozen=True)
class Workload:
    """A scan of `grid` frames with the shape `frame` and `dtype`, with `batch` frames per call, in C order or shuffled."""

    name: str
    title: str
    grid: tuple[int, ...]
    frame: tuple[int, ...]
    dtype: str
    batch: int = 1
    shuffled: bool = False

    @property
    def frames(self) -> int:
        return prod(self.grid)

    @property
    def frame_bytes(self) -> int:
        return prod(self.frame) * np.dtype(self.dtype).itemsize

    @property
    def size_bytes(self) -> int:
        return self.frames * self.frame_bytes

    def order(self, seed: int) -> list[int]:
        """The numbers of the frames in the order of writing. The same seed gives the same order."""
        if self.shuffled:
            return [int(k) for k in np.random.default_rng(seed).permutation(self.frames)]
        return list(range(self.frames))

    def pool(self, seed: int) -> list[np.ndarray[Any, Any]]:
        """At most POOL_BYTES of noise frames, which are used in turn: frame k of the scan is `pool[k % len(pool)]`."""
        rng, dtype = np.random.default_rng(seed), np.dtype(self.dtype)
        count = max(2, min(POOL_FRAMES, self.frames, POOL_BYTES // self.frame_bytes))
        if dtype.kind == "f":
            return [rng.standard_normal(self.frame).astype(dtype) for _ in range(count)]
        return [rng.integers(0, np.iinfo(dtype).max, self.frame, dtype, endpoint=True) for _ in range(count)]

    def scaled(self, divisor: int) -> Workload:
        """The same workload with the first dimension of the grid divided by `divisor`."""
        return replace(self, grid=(max(1, self.grid[0] // divisor), *self.grid[1:]))


def workload_from(fields: dict[str, Any]) -> Workload:
    """A workload from JSON, which has lists instead of tuples."""
    return Workload(**{**fields, "grid": tuple(fields["grid"]), "frame": tuple(fields["frame"])})


W1 = Workload("W1", "2048 x 256x256 float64", (32, 64), (256, 256), "float64")
W2 = Workload("W2", "512 x 1024x1024 uint16", (512,), (1024, 1024), "uint16")
W3 = Workload("W3", "65,536 x 64x64 uint16", (256, 256), (64, 64), "uint16")
W3B = replace(W3, name="W3b", title="W3, 64 frames a call", batch=64)
W5A = replace(W1, name="W5a", title="W1 in random order", shuffled=True)
W5B = replace(W3, name="W5b", title="W3 in random order", shuffled=True)

FIXED = {w.name: w for w in (W1, W2, W3, W3B, W5A, W5B)}
QUICK = {
    "W1": replace(W1, title="512 x 256x256 float64", grid=(8, 64)),
    "W2": replace(W2, title="64 x 1024x1024 uint16", grid=(64,)),
    "W3": replace(W3, title="8192 x 64x64 uint16", grid=(32, 256)),
}
NAMES = (*FIXED, "W6", "W4")


def beyond_the_cache(dirty_limit_bytes: int, most_bytes: int) -> Workload:
    """W6: twice the dirty limit of the page cache, as frames of W2, cut to `most_bytes`. The title says if it is cut."""
    wanted = 2 * dirty_limit_bytes
    frames = max(1, min(ceil(wanted / W2.frame_bytes), most_bytes // W2.frame_bytes))
    cut = "" if frames * W2.frame_bytes >= wanted else ", cut to the free space on the disk"
    return replace(W2, name="W6", title=f"{frames} x 1024x1024 uint16, twice the dirty limit{cut}", grid=(frames,))


def paced(rate_bytes_s: float, seconds: float, most_bytes: int) -> Workload:
    """W4: frames of W1 for `seconds` at a rate, cut to `most_bytes`."""
    frames = max(1, min(int(rate_bytes_s * seconds), most_bytes) // W1.frame_bytes)
    return replace(W1, name="W4", title=f"256x256 float64 at {rate_bytes_s / 1e6:,.0f} MB/s", grid=(frames,))
