"""A scan agrees with a numpy array and the set of its written elements after any sequence of operations."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import lys_storage
from lys_storage import FrameIndexError, FrameShapeError, FrameTypeError
from lys_storage.format import select
from lys_storage.recovery.takeover import open_store
from tests.helpers import assert_same_array, files, load_export

FILLS: dict[str, Any] = {"u1": [None, 0, 7], ">i2": [None, -3], "f8": [None, 0.0, 2.5], "c8": [None, 1j]}

INTERVALS = st.sampled_from([None, 0, 0.001])


class ScanAgainstArray(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lys_storage-model-"))
        self.scan: lys_storage.Scan | None = None
        self.count = 0

    @initialize(
        shape=hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
        dtype=st.sampled_from(sorted(FILLS)),
        data=st.data(),
    )
    def begin(self, shape: tuple[int, ...], dtype: str, data: st.DataObject) -> None:
        fill = data.draw(st.sampled_from(FILLS[dtype]))
        ndim = data.draw(st.none() | st.integers(0, len(shape)))
        self.scan = lys_storage.create(
            self.folder / "data.npz",
            shape,
            dtype,
            fill_value=fill,
            grid_ndim=ndim,
            flush_interval_s=data.draw(INTERVALS),
        )
        self.knows_grid = ndim is not None
        self.array, self.came = np.zeros(shape, dtype), np.zeros(shape, bool)
        self.fill = (np.nan if np.dtype(dtype).kind in "fc" else 0) if fill is None else fill
        self.axes: list[Any] = [np.arange(n).astype(float) for n in shape]
        self.note: dict[str, int] = {}

    def _is_refused(self, index: Any) -> bool:
        """Whether the grid is known, from create or the first index, and `index` is longer."""
        assert self.scan is not None
        return self.knows_grid and select(index, self.array.shape).depth > len(self.scan.grid_shape)

    def _frame(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Values that no earlier frame had."""
        self.count += 1
        values = (np.arange(np.prod(shape, dtype=int)) + 11 * self.count) % 100 + 1
        return values.reshape(shape).astype(self.array.dtype)

    @rule(data=st.data(), kind=st.sampled_from(["as it is", "a list", "strided", "native"]))
    def write(self, data: st.DataObject, kind: str) -> None:
        assert self.scan is not None
        index = data.draw(hnp.basic_indices(self.array.shape, max_dims=self.array.ndim, allow_newaxis=False))
        frame = self._frame(self.array[index].shape)
        given: Any = frame
        if kind == "a list":
            given = frame.tolist()
        elif kind == "strided" and frame.ndim:
            given = np.repeat(frame, 2, axis=-1)[..., ::2]
        elif kind == "native":
            given = frame.astype(frame.dtype.newbyteorder("="))
        if frame.size == 0 and kind == "a list":
            return  # [] has no shape of its own
        if self._is_refused(index):
            with pytest.raises(FrameIndexError, match="a part of a frame"):
                self.scan[index] = given
            return
        self.scan[index] = given
        self.knows_grid = self.knows_grid or frame.size > 0
        self.array[index], self.came[index] = frame, True
        if isinstance(given, np.ndarray):
            given[...] = 0  # the sender reuses its buffer

    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        assert self.scan is not None
        most = len(self.scan.grid_shape) if self.knows_grid else self.array.ndim
        depth = data.draw(st.integers(0, most))
        points = list(np.ndindex(self.array.shape[:depth]))
        chosen = data.draw(st.lists(st.sampled_from(points), unique=True, max_size=4))
        frames = {index: self._frame(self.array[index].shape) for index in chosen}
        self.scan.update(frames)
        self.knows_grid = self.knows_grid or bool(frames)
        for index, frame in frames.items():
            self.array[index], self.came[index] = frame, True

    @rule(data=st.data())
    def a_bad_frame(self, data: st.DataObject) -> None:
        assert self.scan is not None
        shape = self.array.shape
        index, frame, kind = data.draw(
            st.sampled_from(
                [
                    ((), np.zeros((*shape, 2), self.array.dtype), FrameShapeError),
                    ((0,) * len(shape), np.zeros(1, self.array.dtype), FrameShapeError),
                    ((), np.zeros(shape, "O"), FrameTypeError),
                    ((9,) * max(1, len(shape)), self.array.dtype.type(0), FrameIndexError),
                ]
            )
        )
        with pytest.raises(kind):
            self.scan[index] = frame

    @rule()
    def flush(self) -> None:
        assert self.scan is not None
        self.scan.flush()

    @rule(interval=INTERVALS, verify=st.booleans())
    def suspend_and_resume(self, interval: float | None, verify: bool) -> None:
        """Also after a power cut, where each frame needs a checksum: a suspended scan is durable."""
        assert self.scan is not None
        self.scan.suspend()
        self.knows_grid = bool(self.scan.grid_shape) or bool(self.came.any())
        if verify:
            store = open_store(self.folder / "data.npz", verify=True)
            self.scan = lys_storage.Scan(store, flush_interval_s=interval, grid_is_known=self.knows_grid)
        else:
            self.scan = lys_storage.resume(self.folder / "data.npz", flush_interval_s=interval)

    @precondition(lambda self: self.array.ndim > 0)
    @rule(data=st.data())
    def set_axes(self, data: st.DataObject) -> None:
        assert self.scan is not None
        k = data.draw(st.integers(0, self.array.ndim - 1))
        self.axes[k] = np.arange(self.array.shape[k]) * 0.5 + self.count
        self.scan.axes = self.axes

    @rule(n=st.integers(0, 3), whole=st.booleans())
    def change_note(self, n: int, whole: bool) -> None:
        assert self.scan is not None
        self.note = {**({} if whole else self.note), f"n{n}": self.count}
        if whole:
            self.scan.note = dict(self.note)
        else:
            self.scan.note[f"n{n}"] = self.count

    def _with_fill(self) -> np.ndarray[Any, Any]:
        return np.where(self.came, self.array, self.fill).astype(self.array.dtype)

    @invariant()
    def they_agree(self) -> None:
        if self.scan is None:
            return
        scan, shape = self.scan, self.array.shape
        assert_same_array(scan.read(), self._with_fill())
        assert_same_array(scan.array, self.array)
        assert scan.complete == bool(self.came.all())
        grid = scan.written.reshape(scan.grid_shape + (1,) * len(scan.frame_shape))
        assert np.array_equal(np.broadcast_to(grid, shape), self.came), "a frame has come wholly or not at all"
        assert scan.frames_written == int(scan.written.sum())
        assert list(scan.missing()) == [i for i in np.ndindex(scan.grid_shape) if not scan.written[i]]
        assert (scan.grid_shape + scan.frame_shape, scan.note) == (shape, self.note)
        assert [axis.tolist() for axis in scan.axes] == [axis.tolist() for axis in self.axes]

    def teardown(self) -> None:
        """The export equals the array, with the fill value in missing frames."""
        try:
            if self.scan is not None:
                written = self.scan.written
                export = load_export(self.scan.close())
                assert_same_array(export.data, self._with_fill())
                assert [axis.tolist() for axis in export.axes] == [axis.tolist() for axis in self.axes]
                assert export.note == self.note
                assert [k for a, b in export.info["missing"] for k in range(a, b)] == np.flatnonzero(~written).tolist()
                assert files(self.folder) == {"data.npz"}
        finally:
            shutil.rmtree(self.folder)


def test_whatever_is_done_to_a_scan_it_is_what_numpy_makes_of_it() -> None:
    """Writes by any index (also too long ones), rewrites, bad frames, flushes, interruptions, axes, note."""
    run_state_machine_as_test(
        ScanAgainstArray, settings=settings(max_examples=60, stateful_step_count=25, derandomize=True, database=None)
    )
