"""Without dask and xarray everything else works, and an error names the extra."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.extras import without


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("to_dask()", "a dask array needs dask (No module named 'dask'): pip install \"lys_storage[dask]\""),
        ("to_xarray()", "a DataArray needs xarray (No module named 'xarray'): pip install \"lys_storage[xarray]\""),
    ],
)
def test_a_missing_extra_is_an_import_error_that_says_how_to_install_it(
    export: Path, run_child: Callable[..., Any], call: str, said: str
) -> None:
    child = run_child(
        without("dask", "xarray")
        + f"""
import lys_storage
with lys_storage.open_wave(sys.argv[1]) as wave:
    try:
        wave.{call}
    except lys_storage.MissingExtraError as error:
        print(isinstance(error, ImportError), error.__cause__, error)
    print(wave.sel(axis_0=1.5).shape)
""",
        export,
    )
    assert (child.code, child.out.splitlines()) == (0, [f"True None {said}", "(5, 2, 3)"]), child.err
