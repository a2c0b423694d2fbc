"""The description of a small scan."""

from __future__ import annotations

import numpy as np

from lys_storage.format import Description

HERE = Description(
    scan_id="0123456789abcdef" * 2,
    shape=(3, 4, 5),
    dtype=np.dtype("<u2"),
    grid_ndim=2,
    fill=b"\x07\x00",
    array_offset=4096,
    final="data_3.npz",
    stem="data",
    number=3,
    replace=False,
    started="2024-01-02T03:04:05.678+00:00",
    software="lys_storage 0.1.0",
)
