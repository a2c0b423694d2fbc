"""The public names of `Scan`. All other names are private, or belong to its parts."""

from __future__ import annotations

from pathlib import Path

import lys_storage

PUBLIC = {
    *(
        "array",
        "axes",
        "axis_names",
        "change_dtype",
        "close",
        "closed",
        "complete",
        "discard",
        "dtype",
        "fill_value",
        "flush",
    ),
    *("frame_shape", "frames_expected", "frames_written", "grid_shape", "missing", "note", "number", "part_path"),
    *("nbytes", "ndim", "size"),
    *("path", "published", "read", "report", "seal", "shape", "suspend", "units", "update", "write", "written"),
}


def test_a_scan_has_nothing_public_but_its_api(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (2, 3), "u1", grid_ndim=1) as scan:
        assert {name for name in dir(scan) if not name.startswith("_")} == PUBLIC
