"""`acquisition.json` and `missing.npy`, as docs/format.md describes them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.format import MAX_MISSING_RUNS, Description, check_info, encode_acquisition, encode_missing

DESCRIPTION = Description(
    scan_id="0f" * 16,
    shape=(3, 4, 5),
    dtype=np.dtype("<f4"),
    grid_ndim=2,
    fill=bytes(4),
    array_offset=4096,
    final="data_3.npz",
    stem="data",
    number=3,
    replace=False,
    started="2024-05-06T07:08:09.123+00:00",
    software="lys_storage 1.2.3",
)
ENDED = datetime(2024, 5, 6, 8, 9, 10, 11999, tzinfo=UTC)


def encoded(**changes: Any) -> bytes:
    values: dict[str, Any] = {
        "description": DESCRIPTION,
        "scan_shape": DESCRIPTION.shape,
        "frames_written": 12,
        "missing": [],
        "array_crc": 0,
        "ended": ENDED,
        **changes,
    }
    return encode_acquisition(values.pop("description"), **values)


def test_every_field_is_there_in_its_order() -> None:
    """It contains neither the boot id of this machine nor file names: the file may be renamed and sent away."""
    crcs = {"array_crc": 0xFFFFFFFF, "head_crc": 12}
    assert encoded(frames_written=9, missing=[(0, 2), (5, 6)], axes_crc=5, **crcs).decode() == (
        "{\n"
        ' "format": "lys_storage acquisition",\n'
        ' "version": 3,\n'
        ' "software": "lys_storage 1.2.3",\n'
        f' "scan_id": "{"0f" * 16}",\n'
        ' "started": "2024-05-06T07:08:09.123+00:00",\n'
        ' "ended": "2024-05-06T08:09:10.011+00:00",\n'
        ' "grid_shape": [\n  3,\n  4\n ],\n'
        ' "frames_expected": 12,\n'
        ' "frames_written": 9,\n'
        ' "missing": [\n  [\n   0,\n   2\n  ],\n  [\n   5,\n   6\n  ]\n ],\n'
        ' "missing_complete": true,\n'
        ' "array_crc32": 4294967295,\n'
        ' "axes_crc32": 5,\n'
        ' "note_crc32": null,\n'
        ' "array_offset": 4096,\n'
        ' "head_crc32": 12\n'
        "}        "
    )


@pytest.mark.parametrize(
    ("runs", "complete"),
    [(0, True), (1, True), (MAX_MISSING_RUNS, True), (MAX_MISSING_RUNS + 1, False), (MAX_MISSING_RUNS + 9, False)],
)
def test_of_many_runs_of_missing_frames_only_the_first_are_listed(runs: int, complete: bool) -> None:
    missing = [(2 * k, 2 * k + 1) for k in range(runs)]
    info = json.loads(encoded(missing=missing))
    assert info["missing_complete"] is complete
    assert [tuple(run) for run in info["missing"]] == missing[:MAX_MISSING_RUNS]


def test_an_export_that_was_cut_says_from_which_shape() -> None:
    cut = replace(DESCRIPTION, shape=(2, 4, 5))
    info = json.loads(encoded(description=cut, frames_written=8))
    assert (info["grid_shape"], info["frames_expected"], info["trimmed_from"]) == ([2, 4], 8, [3, 4, 5])
    assert "trimmed_from" not in json.loads(encoded(description=cut, scan_shape=cut.shape))


def test_the_export_of_a_scan_holds_what_is_encoded(tmp_path: Path) -> None:
    """The bytes of the member are equal."""
    with lys_storage.create(tmp_path / "data.npz", (3, 4, 5), "<f4", grid_ndim=2) as scan:
        scan[0, 1] = np.ones(5, "<f4")
        scan[2, 3] = np.ones(5, "<f4")
    with zipfile.ZipFile(tmp_path / "data.npz") as archive:
        stored = archive.read("acquisition.json")
    info = json.loads(stored)
    description = replace(
        DESCRIPTION, scan_id=info["scan_id"], started=info["started"], software=f"lys_storage {lys_storage.__version__}"
    )
    assert stored == encoded(
        description=description,
        frames_written=2,
        missing=[(0, 1), (2, 11)],
        array_crc=info["array_crc32"],
        head_crc=info["head_crc32"],
        axes_crc=info["axes_crc32"],
        note_crc=info["note_crc32"],
        ended=datetime.fromisoformat(info["ended"]),
    )


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 80_001])
def test_missing_npy_has_a_bit_for_each_frame(frames: int) -> None:
    missing = np.random.default_rng(1).integers(0, 2, frames, dtype=np.uint8)
    data = encode_missing(np.packbits(missing).tobytes(), frames)
    bits = np.load(io.BytesIO(data), allow_pickle=False)
    assert (bits.dtype, bits.shape) == (np.dtype(np.uint8), (-(-frames // 8),))
    assert np.unpackbits(bits, count=frames).tolist() == missing.tolist()


# -- contradictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        pytest.param({}, [], id="all of it agrees"),
        pytest.param({"format": "another", "grid_shape": "?"}, [], id="another format"),
        pytest.param(
            {"grid_shape": [3, 5]},
            ["acquisition.json has a grid (3, 5) of 12 frames, which does not fit the array of shape (3, 4, 5)"],
            id="another grid",
        ),
        pytest.param(
            {"frames_written": 11},
            ["acquisition.json counts 11 frames written and 2 missing, expected 12 in all"],
            id="frames that are neither written nor missing",
        ),
        pytest.param({"frames_written": 11, "missing_complete": False}, [], id="not all that is missing is listed"),
        pytest.param(
            {"missing": 5}, ["acquisition.json has a missing or invalid field: "], id="no list of what is missing"
        ),
    ],
)
def test_what_contradicts_the_array_is_told(changes: dict[str, Any], problems: list[str]) -> None:
    info = {**json.loads(encoded(frames_written=10, missing=[(4, 6)])), **changes}
    found = list(check_info(DESCRIPTION.shape, info))
    assert [what[: len(expected)] for what, expected in zip(found, problems, strict=True)] == problems
