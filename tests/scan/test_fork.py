"""A scan refuses calls from a forked child, and is not changed by them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import assert_same_array, load_export

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FORKED = """
import os, sys
import numpy as np, lys_storage
scan = lys_storage.create("data.npz", (4, 8), "u1", grid_ndim=1, flush_interval_s=None)
scan[0] = np.arange(8, dtype="u1")
pid = os.fork()
if pid == 0:
    try:
        {deed}
    except lys_storage.LysStorageError as error:
        print(type(error).__name__, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(scan.written.tolist(), flush=True)
scan.close()
"""


@posix
@pytest.mark.parametrize(
    "deed",
    ["scan[0] = np.zeros(8, 'u1')", "scan[1] = np.zeros(8, 'u1')", "scan.close()", "scan.suspend()", "scan.flush()"],
    ids=["rewrites", "writes", "closes", "suspends", "flushes"],
)
def test_a_forked_child_is_refused_and_changes_nothing(tmp_path: Path, run_child: Any, deed: str) -> None:
    """The states are a shared map: a change in the child would change the scan of the parent."""
    child = run_child(FORKED.format(deed=deed))
    assert (child.code, child.out.splitlines()) == (0, ["ScanClosedError", "[True, False, False, False]"])
    assert_same_array(load_export(tmp_path / "data.npz").data[0], np.arange(8, dtype="u1"))
