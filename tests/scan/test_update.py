"""Several frames in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import FrameShapeError
from tests.fixtures import Faults
from tests.helpers import assert_same_array
from tests.scan.scans import begin, saved
from tests.store.one_block import SIZE, assert_export, begun, value
from tests.systems import IS_WINDOWS


def test_update_stores_the_good_frames_and_raises_for_the_bad_ones(tmp_path: Path) -> None:
    scan = begin(tmp_path, (4, 2), fill_value=0)
    with pytest.raises(FrameShapeError) as caught:
        scan.update({(0,): [1.0, 1.0], (1,): [0.0], (2,): [2.0, 2.0], (9,): [3.0, 3.0], (3,): [4.0, 4.0]})
    assert caught.value.__notes__ == ["1 more frames of this update could not be stored"]
    assert_same_array(saved(scan), np.array([[1.0, 1], [0, 0], [2, 2], [4, 4]]))


def test_an_empty_update_means_nothing(tmp_path: Path) -> None:
    with begin(tmp_path, (2,)) as scan:
        scan.update({})
        assert scan.frames_written == 0


def test_a_mapping_that_hands_out_one_buffer_again_and_again_is_stored_as_it_comes(tmp_path: Path) -> None:
    class Lazy(dict[Any, Any]):
        def items(self) -> Any:
            buffer = np.empty(SIZE, "u1")
            for k in range(4):
                buffer[:] = value(k)
                yield (k,), buffer

    scan = begun(tmp_path, 0)
    scan.update(Lazy.fromkeys(range(4)))
    assert_export(scan.close(), dict.fromkeys(range(4), 0))


def test_neighbours_of_one_update_are_written_in_one_call_of_the_system(tmp_path: Path, faults: Faults) -> None:
    """Frames that are not neighbours are each written in their own call. Windows has no call for several buffers."""
    within = 4 if IS_WINDOWS else 0
    scan = begun(tmp_path, 0)
    faults.calls.clear()
    scan.update({(k,): value(k) for k in range(4)})
    assert (faults.calls["write together"], faults.calls["write"]) == (1, within)
    scan.update({(k,): value(k) for k in (5, 7)})
    assert (faults.calls["write together"], faults.calls["write"]) == (1, within + 2)
    assert_export(scan.close(), dict.fromkeys((0, 1, 2, 3, 5, 7), 0))
