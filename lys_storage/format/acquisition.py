"""`acquisition.json`, the member that describes the acquisition: encode, and a check of what one says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

INFO_MEMBER = "acquisition.json"


def check_info(shape: tuple[int, ...], info: dict[str, Any]) -> Iterator[str]:
    if info.get("format") != INFO_FORMAT:
        return
    try:
        grid, expected, written = tuple(info["grid_shape"]), info["frames_expected"], info["frames_written"]
        missing = sum(stop - first for first, stop in info["missing"])
        if grid != shape[: len(grid)] or expected != int(np.prod(grid, dtype=object)):
            yield f"{INFO_MEMBER} tells of a grid {grid} of {expected} frames, the array is {shape}"
        if info["missing_complete"] and written + missing != expected:
            yield f"{INFO_MEMBER} tells of {expected} frames, {written} written and {missing} missing"
    except (KeyError, TypeError, ValueError) as error:
        yield f"{INFO_MEMBER} cannot be understood: {error!r}"


INFO_MEMBER = "acquisition.json"
INFO_FORMAT, INFO_VERSION = "lys_storage acquisition", 1
