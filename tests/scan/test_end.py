"""What belongs to a scan besides its frames: axes and note, a dtype that is not known yet, and the ways it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import AxisLengthError, Scan, ScanClosedError, ScanInUseError, ScanShapeError
from lys_storage.core import _fs
from tests.fixtures import Faults
from tests.helpers import DEADLINE_S, assert_same_array, files, load_export, some

IN_PROGRESS = {"data.npz.part", "data.npz.part.journal"}


def begin(tmp_path: Path, shape: Any = (2, 3), dtype: Any = "f8", **options: Any) -> Scan:
    """A scan `data.npz` that is made durable at its end only."""
    return lys_storage.create(tmp_path / "data.npz", shape, dtype, **{"flush_interval_s": None, **options})


def assert_same_axes(actual: list[Any], expected: list[Any]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert_same_array(one, other)


# -- axes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        pytest.param(None, [[0.0, 1.0], [0.0, 1.0, 2.0]], id="none at all"),
        pytest.param([], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="an empty list"),
        pytest.param([None, None], [[0.0, 1.0], [0.0, 1.0, 2.0]], id="None for each"),
        pytest.param([None, [5.0, 6.0, 7.0]], [[0.0, 1.0], [5.0, 6.0, 7.0]], id="None for one"),
        pytest.param([[8.0, 9.0]], [[8.0, 9.0], [0.0, 1.0, 2.0]], id="the last one left out"),
        pytest.param([range(2), (1.5, 2.5, 3.5)], [[0, 1], [1.5, 2.5, 3.5]], id="a range and a tuple"),
        pytest.param(
            (np.array([1, 2], "i2"), np.zeros(3, "f4")), [np.array([1, 2], "i2"), np.zeros(3, "f4")], id="arrays"
        ),
        pytest.param([["a", "b"], None], [["a", "b"], [0.0, 1.0, 2.0]], id="text"),
    ],
)
@pytest.mark.parametrize("when", ["at the beginning", "later"])
def test_axes_that_are_missing_become_index_coordinates(tmp_path: Path, axes: Any, expected: Any, when: str) -> None:
    """As lys does it: floats 0.0, 1.0, ... for what is None or was left out."""
    with begin(tmp_path, axes=axes if when == "at the beginning" else None) as scan:
        if when == "later":
            scan.axes = axes
        assert_same_axes(scan.axes, expected)
    assert_same_axes(load_export(scan.path).axes, expected)


def test_axes_may_come_from_a_generator(tmp_path: Path) -> None:
    with begin(tmp_path, axes=(np.arange(n) + 0.5 for n in (2, 3))) as scan:
        assert_same_axes(scan.axes, [[0.5, 1.5], [0.5, 1.5, 2.5]])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        pytest.param([[0, 1, 2], None], "axis 0 has 3 points, dimension 0 of shape (2, 3) has 2", id="too long"),
        pytest.param([None, [0]], "axis 1 has 1 points, dimension 1 of shape (2, 3) has 3", id="too short"),
        pytest.param([None, None, [0]], "3 axes for the 2 dimensions of shape (2, 3)", id="too many"),
        pytest.param([None, []], "axis 1 has 0 points, dimension 1 of shape (2, 3) has 3", id="empty"),
    ],
)
def test_an_axis_that_does_not_fit_is_a_value_error_and_the_axes_stay(tmp_path: Path, axes: Any, message: str) -> None:
    """lys itself pads or cuts it silently."""
    with pytest.raises(AxisLengthError) as caught:
        begin(tmp_path, axes=axes)
    assert (str(caught.value), isinstance(caught.value, ValueError)) == (message, True)
    assert files(tmp_path) == set()
    with begin(tmp_path, axes=[[5.0, 6.0]]) as scan:
        with pytest.raises(AxisLengthError):
            scan.axes = axes
        assert_same_axes(scan.axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[5.0, 6.0], [0.0, 1.0, 2.0]])


def test_axes_can_be_changed_as_often_as_one_likes_until_the_end(tmp_path: Path) -> None:
    """From short to long and back: the places in the journal are used in turns."""
    with begin(tmp_path, (500,)) as scan:
        for k in range(20):
            scan.axes = [np.arange(500.0) * k if k % 2 else ["a long text " * k] * 500]
        scan.axes = [np.linspace(0, 1, 500)]
    assert_same_axes(load_export(scan.path).axes, [np.linspace(0, 1, 500)])
    with pytest.raises(ScanClosedError):
        scan.axes = [np.zeros(500)]


def test_what_the_axes_were_made_of_may_be_changed_afterwards(tmp_path: Path) -> None:
    axis = np.array([1.0, 2.0])
    with begin(tmp_path, axes=[axis]) as scan:
        axis[:] = 9
        scan.axes.clear()
        assert_same_axes(scan.axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])
    assert_same_axes(load_export(scan.path).axes, [[1.0, 2.0], [0.0, 1.0, 2.0]])


# -- note --------------------------------------------------------------------------------------------------------------


def test_what_is_in_the_note_when_the_scan_is_saved_counts(tmp_path: Path) -> None:
    """Set as a whole or changed in place, before or after frames; the dict that was given is the one that counts."""
    given: dict[str, Any] = {"a": 1}
    with begin(tmp_path, note=given) as scan:
        given["b"] = [2]
        scan.note["c"] = np.arange(3)
        scan[...] = np.zeros((2, 3))
        given["b"].append("late")
    note = load_export(scan.path).note
    assert_same_array(note.pop("c"), np.arange(3))
    assert note == {"a": 1, "b": [2, "late"]}


def test_a_note_can_be_replaced(tmp_path: Path) -> None:
    with begin(tmp_path, note={"a": 1}) as scan:
        scan.note = {"温度": "µm"}
        assert scan.note == {"温度": "µm"}
    assert load_export(scan.path).note == {"温度": "µm"}


def test_without_a_note_it_is_an_empty_dict(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        assert scan.note == {}
    assert load_export(scan.path).note == {}


def test_what_cannot_be_pickled_is_replaced_by_its_repr_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Data never go down for bad metadata."""
    lock = threading.Lock()
    with begin(tmp_path, note={"lock": lock, "good": 1}) as scan:
        assert "'lock' cannot be pickled" in caplog.text
    assert load_export(scan.path).note == {"lock": repr(lock), "good": 1}
    assert caplog.records[0].levelno == logging.WARNING


def test_a_note_that_becomes_unpicklable_while_the_scan_runs_does_not_keep_it_from_being_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        scan.note["f"] = lambda: None
        scan[...] = np.ones((2, 3))
    export = load_export(scan.path)
    assert (list(export.note), export.data.tolist()) == (["f"], [[1.0] * 3] * 2)
    assert export.note["f"].startswith("<function")


def test_a_note_that_outgrows_its_place_is_still_saved(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        for k in range(8):
            scan.note = {"text": "x" * 10**k}
    assert len(load_export(scan.path).note["text"]) == 10**7


# -- close -------------------------------------------------------------------------------------------------------------


def test_leaving_the_block_saves_the_scan(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        scan[...] = np.ones((2, 3))
        assert (scan.closed, files(tmp_path)) == (False, IN_PROGRESS)
    assert (scan.closed, files(tmp_path)) == (True, {"data.npz"})


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    assert scan.close() == scan.close() == scan.path == tmp_path / "data.npz"
    scan.suspend()
    with scan:
        pass
    assert files(tmp_path) == {"data.npz"}


def test_the_report_says_what_became_of_it(tmp_path: Path) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[0] = np.zeros(3)
    assert scan.report is None
    path = scan.close()
    report = scan.report
    assert report is not None
    assert (report.path, report.frames_written, report.frames_expected) == (path, 1, 2)
    assert (report.size_bytes, report.renumbered) == (path.stat().st_size, False)
    assert report.seconds > 0
    assert report.sync_seconds > 0


def test_close_tells_how_far_the_fill_has_come(tmp_path: Path) -> None:
    """A fill that is not zero costs bytes, with progress."""
    scan, told = begin(tmp_path, (3, 3_000_000), "u1", fill=1, grid_ndim=1), []
    scan[1] = np.zeros(3_000_000, "u1")
    scan.close(lambda done, total: told.append((done, total)))
    assert told[-1] == (6_000_000, 6_000_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


CLOSED: list[Any] = [
    pytest.param(lambda s: s.write(0, np.zeros(3)), id="write"),
    pytest.param(lambda s: s.write(0, [0, 0, 0]), id="write a list"),
    pytest.param(lambda s: s.update({0: np.zeros(3)}), id="update"),
    pytest.param(lambda s: s.flush(), id="flush"),
    pytest.param(lambda s: s.array, id="array"),
    pytest.param(lambda s: s.read(0), id="read"),
    pytest.param(lambda s: s.written, id="written"),
    pytest.param(lambda s: list(s.missing()), id="missing"),
    pytest.param(lambda s: setattr(s, "axes", None), id="set axes"),
    pytest.param(lambda s: setattr(s, "note", {}), id="set note"),
    pytest.param(lambda s: s.change_dtype("f4"), id="change the dtype"),
    pytest.param(lambda s: s.discard(), id="discard"),
]


@pytest.mark.parametrize("deed", CLOSED)
@pytest.mark.parametrize("end", ["close", "suspend"])
def test_a_scan_that_has_ended_refuses_and_says_so(tmp_path: Path, deed: Callable[[Scan], Any], end: str) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[1] = np.ones(3)
    getattr(scan, end)()
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(ScanClosedError) as caught:
        deed(scan)
    assert isinstance(caught.value, RuntimeError)
    assert "data.npz" in str(caught.value)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_after_sealing_frames_are_refused_and_it_can_still_be_looked_at(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    scan.seal()
    with pytest.raises(ScanClosedError, match="being saved"):
        scan[1] = np.ones(3)
    assert (scan.frames_written, scan.written.tolist(), scan.read(0).tolist()) == (1, [True, False], [1.0] * 3)
    scan.note["late"] = True
    scan.axes = [[7.0, 8.0]]
    export = load_export(scan.close())
    assert (export.note, export.axes[0].tolist()) == ({"late": True}, [7.0, 8.0])


def test_the_map_that_was_handed_out_shows_the_data_after_the_end(tmp_path: Path) -> None:
    """A viewer that holds it is not pulled the rug from under its feet."""
    scan = begin(tmp_path)
    view = scan.array
    scan[0] = np.ones(3)
    scan.close()
    assert view[0].tolist() == [1.0] * 3
    del view


def test_a_discarded_scan_leaves_nothing_and_its_name_is_free(tmp_path: Path) -> None:
    begin(tmp_path).discard()
    assert files(tmp_path) == set()
    begin(tmp_path).close()


def test_a_scan_with_frames_is_not_discarded(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.raises(ScanClosedError, match="has 1 frames, and is not discarded"):
        scan.discard()
    assert load_export(scan.close()).data[0].tolist() == [1.0] * 3


def test_a_scan_that_is_dropped_warns_and_is_kept(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.warns(ResourceWarning, match=r"was dropped: it is kept in progress at .*data\.npz\.part"):
        del scan
    for thread in threading.enumerate():
        if thread.name.startswith("lys_storage"):
            thread.join(DEADLINE_S)  # until the follower has ended it holds the lock
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert scan.written.tolist() == [True, False]


# -- by an exception ---------------------------------------------------------------------------------------------------


def test_an_exception_keeps_the_scan_and_says_how_to_go_on(tmp_path: Path) -> None:
    """The exception goes through unchanged, with a note that names what does."""
    with pytest.raises(ZeroDivisionError) as caught, begin(tmp_path, grid_ndim=1, note={"a": 1}) as scan:  # noqa: PT012
        scan[0] = np.ones(3)
        scan.note["b"] = 2
        raise ZeroDivisionError
    (said,) = caught.value.__notes__
    part = tmp_path / "data.npz.part"
    assert said == (
        f"The scan is kept in progress: {part} (1 of 2 frames). "
        f"lys_storage.resume({str(tmp_path / 'data.npz')!r}) goes on with it; "
        f'"lys-storage recover {tmp_path}" exports it.'
    )
    assert files(tmp_path) == IN_PROGRESS
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert (list(scan.missing()), scan.note) == ([(1,)], {"a": 1, "b": 2})
        scan[1] = np.zeros(3)
    assert load_export(scan.path).data.tolist() == [[1.0] * 3, [0.0] * 3]


def test_an_exception_after_the_scan_has_been_closed_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, begin(tmp_path) as scan:  # noqa: PT012
        scan.close()
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")
    assert files(tmp_path) == {"data.npz"}


@pytest.mark.parametrize("name", ["sync", "read", "write"])
def test_an_exception_is_not_hidden_by_a_disk_that_fails_while_the_scan_is_kept(
    tmp_path: Path, faults: Faults, name: str
) -> None:
    """What the user's own code raised comes first; the frames are kept all the same."""
    with pytest.raises(BaseException) as caught, begin(tmp_path) as scan:  # noqa: PT012
        scan[0] = np.ones(3)
        scan.note["x"] = 1
        faults.fail(name, 1, 5)
        raise ZeroDivisionError
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, ZeroDivisionError):
        error = error.__context__
    assert isinstance(error, ZeroDivisionError)
    faults.off()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        assert scan.written.tolist() == [True, False]


# -- suspend, resume, recover ------------------------------------------------------------------------------------------


def test_a_suspended_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    """Frames, rewrites, grid, fill, axes and note; as often as one likes, by any of its names."""
    scan, expected = begin(tmp_path, (4, 3), "i4", fill=-7, axes=[range(4)], note={"n": 0}), np.full((4, 3), -7, "i4")
    for k, name in enumerate(["data.npz", "data.npz.part", "data.npz.part.journal", "data.npz"]):
        scan[0] = expected[0] = [k] * 3
        if k < 3:
            scan[k] = expected[k] = [10 * k] * 3
        scan.note["n"] += 1
        scan.suspend()
        scan.suspend()
        scan = lys_storage.resume(tmp_path / name)
        assert scan.written.tolist() == [True, k > 0, k > 1, False]
        assert_same_array(scan.array, np.where(expected == -7, 0, expected).astype("i4"))
    assert (scan.note, scan.axes[0].tolist(), scan.fill, scan.path.name) == ({"n": 4}, [0, 1, 2, 3], -7, "data.npz")
    assert_same_array(load_export(scan.close()).data, expected)
    assert files(tmp_path) == {"data.npz"}


def test_a_resumed_scan_keeps_its_grid(tmp_path: Path) -> None:
    """Also a longer index refines it as before."""
    scan = begin(tmp_path, (4, 3))
    scan[1] = np.ones(3)
    scan.suspend()
    with lys_storage.resume(scan.path) as scan:
        assert scan.grid_shape == (4,)
        scan[0, 1] = 5.0
        assert scan.grid_shape == (4, 3)


def test_a_scan_without_frames_can_be_suspended_and_its_first_index_still_says_the_grid(tmp_path: Path) -> None:
    begin(tmp_path, (4, 3)).suspend()
    with lys_storage.resume(tmp_path / "data.npz") as scan:
        scan[1] = np.ones(3)
        assert (scan.grid_shape, scan.frames_written) == ((4,), 1)


def test_a_suspended_scan_is_not_closed_by_mistake(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.suspend()
    with pytest.raises(ScanClosedError, match=r"is suspended.*resume"):
        scan.close()


def test_a_scan_that_is_being_written_is_not_resumed(tmp_path: Path) -> None:
    with begin(tmp_path) as scan:
        with pytest.raises(ScanInUseError):
            lys_storage.resume(scan.path)
        scan[...] = np.ones((2, 3))


def test_resuming_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(lys_storage.StorageOSError) as caught:
        lys_storage.resume(tmp_path / "data.npz")
    assert isinstance(caught.value, FileNotFoundError) or caught.value.errno == 2


def test_two_scans_of_one_name_have_to_be_told_apart(tmp_path: Path) -> None:
    """Unnumbered ones that replace: each has an id."""
    for _ in range(2):
        begin(tmp_path, overwrite=True).suspend()
    with pytest.raises(lys_storage.BadFileError, match="has 2 scans in progress: name one of"):
        lys_storage.resume(tmp_path / "data.npz")
    for name in sorted(n for n in files(tmp_path) if n.endswith(".part")):
        lys_storage.resume(tmp_path / name).close()
    assert files(tmp_path) == {"data.npz"}


def test_recover_exports_every_interrupted_scan_below_a_folder(tmp_path: Path) -> None:
    """With the fill where frames never came; running ones are left alone; what cannot be recovered stays."""
    for k, name in enumerate(["a", "b/c"]):
        scan = lys_storage.create(tmp_path / name, (2, 3), fill=-1, grid_ndim=1)
        scan[k] = np.full(3, float(k))
        scan.suspend()
    (tmp_path / "b" / "junk.npz.part").write_bytes(b"junk")
    with lys_storage.create(tmp_path / "running", (2,)) as running:
        told: list[Any] = []
        results = lys_storage.recover(tmp_path, done=told.append)
        by_name = {result.part.name: result for result in results}
        assert told == results
        assert by_name["a.npz.part"] == lys_storage.Recovered(
            tmp_path / "a.npz.part", tmp_path / "a.npz", 1, 2, "exported with 1 of 2 frames"
        )
        assert by_name["c.npz.part"].path == tmp_path / "b" / "c.npz"
        assert (by_name["running.npz.part"].path, by_name["running.npz.part"].running) == (None, True)
        assert (by_name["junk.npz.part"].path, by_name["junk.npz.part"].running) == (None, False)
        running[...] = np.zeros(2)
    assert files(tmp_path) == {"a.npz", "b/c.npz", "b/junk.npz.part", "running.npz"}
    assert load_export(tmp_path / "a.npz").data.tolist() == [[0.0] * 3, [-1.0] * 3]
    assert load_export(tmp_path / "b" / "c.npz").data.tolist() == [[-1.0] * 3, [1.0] * 3]


def test_a_dry_run_of_recover_changes_nothing(tmp_path: Path) -> None:
    scan = begin(tmp_path, grid_ndim=1)
    scan[0] = np.ones(3)
    scan.suspend()
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    (result,) = lys_storage.recover(tmp_path, dry_run=True)
    assert (result.path, result.frames_written, result.frames_expected) == (None, 1, 2)
    assert result.said == "would be exported, 1 of 2 frames"
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_recovering_a_folder_without_scans_finds_none(tmp_path: Path) -> None:
    begin(tmp_path).close()
    assert lys_storage.recover(tmp_path) == []


# -- a dtype that is not known yet -------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["u2", "f8", ">f4", "c16", "?", "M8[us]", [("a", "f4"), ("b", "u1", (2,))]])
def test_the_first_frame_can_choose_the_dtype(tmp_path: Path, given: Any) -> None:
    """And the fill that goes with it."""
    frame, scan = some((3,), given), begin(tmp_path)
    scan.let_first_frame_choose()
    scan[1] = frame
    assert (scan.dtype, scan.written.tolist()) == (np.dtype(given), [False, True])
    expected = np.full((2, 3), np.nan, given) if np.dtype(given).kind in "fc" else np.zeros((2, 3), given)
    expected[1] = frame
    assert_same_array(load_export(scan.close()).data, expected)


def test_a_first_frame_that_is_refused_chooses_nothing(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan.let_first_frame_choose()
    for bad in (np.zeros(4, "u2"), np.zeros(3, "O")):
        with pytest.raises((lys_storage.FrameShapeError, lys_storage.FrameTypeError, ScanShapeError)):
            scan[0] = bad
    with pytest.raises(lys_storage.FrameIndexError):
        scan[5] = np.zeros(3, "u4")
    scan[0] = np.ones(3, "i2")
    assert scan.dtype == np.dtype("i2")
    assert_same_array(load_export(scan.close()).data, np.array([[1] * 3, [0] * 3], "i2"))


def test_without_any_frame_the_dtype_stays(tmp_path: Path) -> None:
    with begin(tmp_path, (2,)) as scan:
        scan.let_first_frame_choose(fill=3)
    assert_same_array(load_export(scan.path).data, np.full(2, np.nan))


@pytest.mark.parametrize(
    ("old", "new", "fill"),
    [("f8", "c16", None), ("f8", "u1", 7), ("u1", "f8", None), ("f8", [("name" * 50, "i4")], None)],
    ids=["larger", "smaller, with a fill", "from one byte to eight", "with a longer header"],
)
def test_an_empty_scan_can_be_laid_out_anew(tmp_path: Path, old: str, new: Any, fill: Any) -> None:
    """Name, axes and note stay."""
    scan, frame = begin(tmp_path, (4, 1000), old, axes=[range(4)], note={"a": 1}), some((1000,), new)
    view = scan.array
    scan.change_dtype(new, fill)
    del view
    assert (scan.dtype, scan.array.dtype, scan.array.shape) == (np.dtype(new), np.dtype(new), (4, 1000))
    scan[2] = frame
    export = load_export(scan.close())
    expected = np.full((4, 1000), np.zeros((), new) if fill is None else fill, new)
    if np.dtype(new).kind in "fc":
        expected[...] = np.nan
    expected[2] = frame
    assert_same_array(export.data, expected)
    assert (export.note, export.axes[0].tolist()) == ({"a": 1}, [0, 1, 2, 3])
    assert files(tmp_path) == {"data.npz"}


def test_a_scan_with_frames_keeps_its_dtype(tmp_path: Path) -> None:
    scan = begin(tmp_path)
    scan[0] = np.ones(3)
    with pytest.raises(ScanShapeError, match="only before its first frame"):
        scan.change_dtype("c16")
    assert_same_array(load_export(scan.close()).data, np.array([[1.0] * 3, [np.nan] * 3]))


@pytest.mark.parametrize("bad", ["O", "no dtype"])
def test_a_dtype_that_no_scan_can_have_changes_nothing(tmp_path: Path, bad: str) -> None:
    with begin(tmp_path) as scan:
        with pytest.raises(ScanShapeError):
            scan.change_dtype(bad)
        scan[0] = np.ones(3)
    assert load_export(scan.path).data[0].tolist() == [1.0] * 3


@pytest.mark.parametrize("name", ["set the size", "write", "claim or punch", "sync", "replace", "map", "open"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_change_of_the_dtype_that_fails_leaves_a_scan_that_can_be_saved(
    tmp_path: Path, faults: Faults, name: str, nth: int
) -> None:
    """As the old dtype or as the new one, with nothing torn; and tried again it succeeds."""
    scan = begin(tmp_path)
    faults.fail(name, nth, 28)
    try:
        scan.change_dtype("c16")
    except lys_storage.StorageOSError:
        pass
    faults.off()
    if scan.dtype != np.dtype("c16"):
        scan.change_dtype("c16")
    scan[0] = np.full(3, 1 + 2j)
    assert_same_array(load_export(scan.close()).data, np.array([[1 + 2j] * 3, [np.nan] * 3], "c16"))
    assert files(tmp_path) == {"data.npz"}


def test_a_bigger_dtype_that_does_not_fit_on_the_disk_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begin(tmp_path, (4, 100_000), "u1")
    monkeypatch.setattr(_fs, "free_space", lambda folder: 1_000_000)
    with pytest.raises(lys_storage.DiskFullError, match="not enough space: needs"):
        scan.change_dtype("c16")
    scan[1] = np.ones(100_000, "u1")
    assert load_export(scan.close()).data.sum() == 100_000
