"""What a preview reads: the frame and the means are those of the file, whatever kind of file it is, and reads are bounded."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.errors import BadFileError
from lys_storage.format import journal_path
from lys_storage.journal import REWRITING, Journal
from lys_storage.preview import PreviewError, index_of
from lys_storage.preview import frame as frame_module
from lys_storage.preview import map_reader as map_reader_module
from lys_storage.preview import plan as plan_module
from tests import test_golden as golden
from tests.helpers import some
from tests.preview.sources import opened, survey_of, write_scan, write_sparse

SHAPES = {
    "a number": ((), ()),
    "numbers along a line": ((30,), ()),
    "a map of numbers": ((10, 12), ()),
    "one spectrum": ((), (50,)),
    "spectra along a line": ((12,), (50,)),
    "a map of spectra": ((6, 7), (50,)),
    "one image": ((), (30, 40)),
    "a map of images": ((6, 7), (13, 11)),
    "maps of images over delay and temperature": ((2, 3, 4, 5), (6, 7)),
    "a map of stacks of images": ((4, 5), (3, 6, 7)),
    "one point and one pixel": ((1, 1), (1, 1)),
}
KINDS = ["stored", "Fortran order", "deflated", "deflated in Fortran order", "in progress"]


def write_kind(path: Path, data: np.ndarray, grid_ndim: int, kind: str) -> Path:
    if kind == "in progress":
        return write_scan(path, data, grid_ndim, close=False)
    save = np.savez_compressed if "deflated" in kind else np.savez
    save(path, data=np.asarray(data, order="F" if "Fortran" in kind else "C"))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("grid", "shape"), SHAPES.values(), ids=SHAPES.keys())
def test_the_map_is_the_mean_of_each_frame(tmp_path: Path, grid: tuple, shape: tuple, kind: str) -> None:
    """Every kind of file gives the same frame and the same map, which the file's numbers define."""
    data = some((*grid, *shape), "u2")
    path = write_kind(tmp_path / "a.npz", data, len(grid), kind)
    found = survey_of(path, grid_ndim=len(grid))
    last = tuple(n - 1 for n in grid)
    assert found.index == (last if kind == "in progress" else tuple(n // 2 for n in grid))
    if shape:
        middle = tuple(n // 2 for n in shape[:-2])
        assert found.frame is not None
        assert np.array_equal(found.frame.values, data[found.index + middle])
        assert (found.frame.where, found.frame.words()) == (middle, [])
    assert (found.frame is None) == (shape == () and grid != ())
    assert (found.map is None) == (grid == ())
    if found.map is not None:
        means = data[found.map.outer].reshape(*grid[-2:], -1).mean(axis=-1)
        assert found.map.outer == found.index[:-2]
        assert np.allclose(found.map.means, means, rtol=1e-12)
        assert not found.map.missing.any()
        assert found.map.plan.words() == []


@pytest.mark.parametrize("kind", ["stored", "in progress"])
@pytest.mark.parametrize(
    "dtype",
    ["?", "i1", "u8", ">u2", "f2", ">f4", "g", "c8", ">c16", "m8[ms]", "M8[us]", [("a", ">i4"), ("b", "f4")]],
    ids=str,
)
def test_every_dtype_of_numbers_has_means(tmp_path: Path, dtype: Any, kind: str) -> None:
    """Complex numbers are shown as magnitudes, times as ticks, of structures the first field."""
    data = some((4, 5, 6, 7), dtype)
    found = survey_of(write_kind(tmp_path / "a.npz", data, 2, kind))
    plain = data["a"] if data.dtype.names else data
    if plain.dtype.kind in "mM":
        plain = plain.astype("i8")
    reals = np.abs(plain.astype("c16" if plain.dtype.kind == "c" else "f8"))
    assert found.map is not None
    assert found.frame is not None
    assert np.allclose(found.map.means, reals.mean(axis=(2, 3)), rtol=1e-6)
    assert np.allclose(found.frame.values, reals[found.index], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["U3", "S4", [("a", "S2"), ("b", "f4")], [("a", "f4", (2,))], "V3"], ids=str)
def test_elements_that_are_no_numbers_are_refused_in_words(tmp_path: Path, dtype: Any) -> None:
    np.savez(tmp_path / "a.npz", data=np.zeros((2, 3, 4), dtype))
    with pytest.raises(PreviewError, match="there is no picture of elements that are not numbers"):
        survey_of(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["stored", "deflated", "in progress"])
@pytest.mark.parametrize("dtype", ["f4", "f2", "c8", "M8[s]"])
def test_elements_that_are_not_finite_are_left_out_of_the_means(tmp_path: Path, dtype: str, kind: str) -> None:
    """A frame without any finite element has the mean NaN, and is not missing."""
    reals = np.random.default_rng(0).integers(0, 9, (3, 4, 5, 6)).astype("f8")
    reals[0, 0, 0, :3] = np.nan
    reals[1, 2] = np.nan
    data = reals.astype("M8[s]") if "M" in dtype else reals.astype(dtype)
    if "M" not in dtype:
        data[2, 2, 4, 5], reals[2, 2, 4, 5] = np.inf, np.nan
    found = survey_of(write_kind(tmp_path / "a.npz", data, 2, kind), 0)
    assert found.map is not None
    assert found.frame is not None
    expected = np.array([[np.nanmean(f) if np.isfinite(f).any() else np.nan for f in row] for row in reals])
    assert np.allclose(found.map.means, expected, equal_nan=True)
    assert np.allclose(found.frame.values, reals[0, 0], equal_nan=True)
    assert found.left_out
    assert not found.map.missing.any()


# -- missing frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [True, False], ids=["export", "interrupted"])
def test_missing_frames_are_not_shown_as_data(tmp_path: Path, close: bool) -> None:
    """They hold the fill value in the file. The shown frame is one that was written."""
    missing = {0, 5, *range(10, 20)}
    path = write_scan(tmp_path / "a.npz", some((4, 5, 6), "f4"), 2, missing=missing, close=close, fill_value=7)
    found = survey_of(path)
    assert found.map is not None
    assert set(np.flatnonzero(found.map.missing)) == missing
    assert np.isnan(found.map.means[found.map.missing]).all()
    assert np.isfinite(found.map.means[~found.map.missing]).all()
    assert found.index == (1, 4)
    with pytest.raises(PreviewError, match="frame 3,0 has not been written"):
        survey_of(path, 15)


def test_a_file_without_any_frame_has_nothing_to_draw(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((2, 3), "u1"), 1, missing=range(2), close=False)
    with pytest.raises(PreviewError, match="no frame has been written yet"):
        survey_of(path)
    np.savez(tmp_path / "b.npz", data=np.zeros((2, 0, 3)))
    with pytest.raises(PreviewError, match="holds no elements"):
        survey_of(tmp_path / "b.npz")


def test_the_index_of_a_frame_may_count_from_the_end(tmp_path: Path) -> None:
    with opened(write_scan(tmp_path / "a.npz", some((2, 3, 4), "u1"), 2)) as source:
        assert (index_of(source, (1, -1)), index_of(source, (-2, 0))) == (5, 0)
        for index, words in (((1,), "has 1 entries"), ((2, 0), "out of range"), ((0, -4), "out of range")):
            with pytest.raises(PreviewError, match=words):
                index_of(source, index)


def test_the_grid_is_that_of_the_file_or_the_given_one(tmp_path: Path) -> None:
    """numpy does not write the grid: the last two dimensions are a frame, unless another one is given."""
    np.savez(tmp_path / "a.npz", data=some((2, 3, 4, 5), "u1"))
    with opened(tmp_path / "a.npz") as source:
        assert source.grid.grid_shape == (2, 3)
    with opened(tmp_path / "a.npz", 3) as source:
        assert source.grid.grid_shape == (2, 3, 4)
    with pytest.raises(PreviewError, match="cannot have 5"):
        survey_of(tmp_path / "a.npz", grid_ndim=5)
    path = write_scan(tmp_path / "b.npz", some((2, 3, 4), "u1"), 1)
    with pytest.raises(PreviewError, match="has a grid of 1 dimensions, not 2"):
        survey_of(path, grid_ndim=2)


# -- a scan in progress ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_early_checksums")
def test_a_running_scan_is_read_while_it_is_written_and_not_disturbed(tmp_path: Path) -> None:
    """Its files do not change. Its writer, and a process that resumes it, go on while the preview has it open."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 4, 5), "u2", grid_ndim=2, flush_interval_s=None)
    scan[0, 0] = np.full(5, 3, "u2")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    with opened(tmp_path / "a.npz") as source:
        assert (source.state, source.frames_written, source.is_trusted) == ("running", 1, True)
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before
        assert source.readable(np.arange(12)).sum() == 1
        scan[0, 1] = np.full(5, 4, "u2")
        assert source.readable(np.arange(12)).sum() == 2
        assert source.read(5, 5).tolist() == [4] * 5
        scan.suspend()
        scan = lys_storage.resume(tmp_path / "a.npz")
        scan[2, 3] = np.full(5, 9, "u2")
        assert source.last_readable() == 11
        path = scan.close()
        assert source.read(55, 5).tolist() == [9] * 5, "the file that was opened has another name now"
    assert lys_storage.verify(path) == []


def test_a_frame_that_is_being_rewritten_is_not_shown(tmp_path: Path) -> None:
    """Its bytes can be a mixture of two versions."""
    part = write_scan(tmp_path / "a.npz", some((4, 6), "u2"), 1, close=False)
    journal = Journal.open(journal_path(part), writable=True)
    journal.states.begin_rewrite(2, 3)
    assert journal.states.of(2, 3) == bytes((REWRITING,))
    journal.close()
    found = survey_of(part)
    assert found.map is not None
    assert found.map.missing.tolist() == [False, False, True, False]
    with pytest.raises(PreviewError, match="frame 2 has not been written"):
        survey_of(part, 2)


def test_of_a_copy_only_frames_that_match_their_checksum_are_shown(tmp_path: Path) -> None:
    """Nothing vouches for the states of a copy: after a power cut, bytes of a frame can be lost."""
    part = write_scan(tmp_path / "a.npz", some((4, 1 << 18), "u2"), 1, close=False, missing={3})
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (part, journal_path(part)):
        shutil.copy(path, copy)
    with opened(copy / part.name) as source, open(copy / part.name, "r+b") as stream:
        assert source.is_trusted is False
        assert source.readable(np.arange(4)).tolist() == [True, True, True, False]
        stream.seek(source._scan.description.array_offset + 2 * source.frame_bytes)  # type: ignore[attr-defined]
        stream.write(bytes(4096))
    found = survey_of(copy / part.name)
    assert found.map is not None
    assert found.map.missing.tolist() == [False, False, True, True]
    assert found.index == (1,)
    with pytest.raises(PreviewError, match="does not match its checksum"):
        survey_of(copy / part.name, 2)


def test_after_a_failed_sync_a_frame_needs_its_checksum(tmp_path: Path) -> None:
    """The kernel may have dropped the pages that it could not write."""
    part = write_scan(tmp_path / "a.npz", some((4, 6), "u2"), 1, close=False)
    journal = Journal.open(journal_path(part), writable=True)
    journal.file_sync_failed = True
    journal.close()
    with opened(part) as source:
        assert source.is_trusted is False
        assert source.readable(np.arange(4)).all()


def test_frames_after_the_end_of_a_file_that_was_cut_are_missing(tmp_path: Path) -> None:
    part = write_scan(tmp_path / "a.npz", some((8, 4096), "u1"), 1, close=False)
    with part.open("r+b") as stream:
        stream.truncate(part.stat().st_size - 4096 * 3 - 5)
    with opened(part) as source:
        held = (part.stat().st_size - source._scan.description.array_offset) // 4096  # type: ignore[attr-defined]
        assert 0 < held < 8
        assert source.flags(np.arange(8)).tolist() == [k < held for k in range(8)]


def test_a_damaged_journal_is_an_error_that_leaves_nothing_open(tmp_path: Path) -> None:
    part = write_scan(tmp_path / "a.npz", some((4, 6), "u2"), 1, close=False)
    journal_path(part).write_bytes(b"rubbish")
    with pytest.raises(BadFileError, match="does not begin with the magic bytes"):
        survey_of(part)


@pytest.mark.parametrize("name", golden.SCANS)
@golden.version
def test_scans_of_released_versions_are_shown_as_they_are_recovered(version: Path, name: str) -> None:
    """They were copied: each shown frame matches its checksum. Of a frame that was being rewritten, it is one version."""
    (part,) = version.glob(f"{name}*.part")
    expected, missing = golden.SCANS[name]
    with opened(part) as source:
        grid = source.grid
    found = survey_of(part)
    assert found.map is not None
    shown = {grid.index_of(int(k)) for k in np.flatnonzero(~found.map.missing)}
    assert shown
    assert shown.isdisjoint(missing)
    first = golden.make.content(grid.shape, expected.dtype)
    for index in shown:
        versions = [array[index].mean() for array in (expected, first)]
        assert np.isclose(found.map.means[index], versions[: 1 + name.startswith("redo")]).any()


# -- huge files --------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each read."""
    reads: list[int] = []
    real = File.read_into

    def read_into(file: File, buffer: Any, offset: int) -> int:
        reads.append(len(memoryview(buffer)))
        return real(file, buffer, offset)

    monkeypatch.setattr(File, "read_into", read_into)
    return reads


LARGE = {
    "large frames": ((64, 64, 800, 820), {}),
    "small frames": ((6000, 6000, 10, 8), {}),
    "frames along a line": ((200_000, 160, 100), {}),
    "one frame is larger than the limit": ((2, 50_000, 30_000), {}),
    "numbers": ((60_000, 50_000), {"grid_ndim": 2}),
    "one long spectrum": ((3_000_000_000,), {"grid_ndim": 0}),
}


@pytest.mark.parametrize(("shape", "options"), LARGE.values(), ids=LARGE.keys())
def test_of_a_huge_file_little_is_read_into_little_memory(
    tmp_path: Path, counted: list[int], shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    """Files of more than 5 GiB, of which most is a hole. The map tells what was left out."""
    path = write_sparse(tmp_path / "a.npz", shape)
    assert path.stat().st_size > 5 << 30
    tracemalloc.start()
    try:
        found = survey_of(path, limit_bytes=1 << 28, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(counted) < 3 << 28, "the coarse passes and the frame are read in addition"
    assert len(counted) < 300_000
    assert peak < 64 << 20
    if found.map is not None:
        assert found.map.plan.is_sampled
        assert found.map.plan.words()
        assert max(found.map.means.shape) <= 4096
        assert (found.map.means == 0).all()
    if found.frame is not None:
        assert max(found.frame.values.shape) <= 4096
        assert (found.frame.values == 0).all()


@pytest.mark.parametrize("shape", [(30, 40, 64, 64), (7, 300, 400)], ids=["small frames", "large frames"])
def test_sampled_means_are_means_of_what_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    """Every n-th frame, and of each of them every k-th block of pixels."""
    monkeypatch.setattr(plan_module, "CHUNK_BYTES", 1 << 10)
    data = some(shape, "u2")
    path = write_scan(tmp_path / "a.npz", data, len(shape) - 2)
    shown = survey_of(path, limit_bytes=1 << 18).map
    assert shown is not None
    plan = shown.plan
    assert plan.chunk_elements == 512
    assert plan.is_sampled
    picked = data[tuple(slice(None, None, step) for step in plan.steps)]
    flat = picked.reshape(*picked.shape[:-2], -1)
    chosen = np.arange(flat.shape[-1]) // plan.chunk_elements % plan.chunk_step == 0
    assert plan.elements_read(flat.shape[-1]) == chosen.sum()
    assert np.allclose(shown.means, flat[..., chosen].mean(axis=-1))


def test_a_full_map_averages_all_frames_of_each_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the grid has more points than the picture. Missing frames are left out of the average."""
    monkeypatch.setattr(plan_module, "MOST_POINTS", (16, 4))
    data = some((8, 10, 5), "u2")
    path = write_scan(tmp_path / "a.npz", data, 2, missing={0, 4, 5, 14, 15, 24, 25})
    shown = survey_of(path, 79, whole=True).map
    assert shown is not None
    assert (shown.plan.steps, shown.means.shape) == ((2, 3), (4, 4))
    assert shown.plan.words() == ["each point: 2 × 3 frames"]
    means = np.where(np.isin(np.arange(80), [0, 4, 5, 14, 15, 24, 25]), np.nan, data.mean(axis=2).ravel()).reshape(
        8, 10
    )
    expected = [[np.nanmean(means[2 * i : 2 * i + 2, 3 * j : 3 * j + 3]) for j in range(4)] for i in range(4)]
    assert np.allclose(shown.means, expected)
    assert not shown.missing.any()


def test_a_full_map_tells_its_progress_up_to_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = write_scan(tmp_path / "a.npz", some((8, 10, 5), "u2"), 2)
    survey_of(path, whole=True, on_progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (800, 800)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_a_slow_disk_makes_the_map_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time for more, the coarsest map is shown."""
    monkeypatch.setattr(map_reader_module, "_QUICK_BYTES", 0)
    data = some((64, 80, 4), "u2")
    path = write_scan(tmp_path / "a.npz", data, 2)
    slow = survey_of(path, seconds=-1.0).map  # the clock may stand still meanwhile
    fast = survey_of(path, seconds=1000.0).map
    assert slow is not None
    assert fast is not None
    assert (slow.plan.steps, fast.plan.steps) == ((16, 16), (1, 1))
    assert np.allclose(slow.means, data[::16, ::16].mean(axis=2))


@pytest.mark.parametrize("whole_bytes", [1 << 28, 0], ids=["read as a whole", "sampled"])
@pytest.mark.parametrize("shape", [(70, 90), (3, 70, 90), (1000,)], ids=str)
def test_a_large_frame_is_averaged_to_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], whole_bytes: int
) -> None:
    """Of a frame that is too large for that, one row of each cell is read. Its title says so."""
    monkeypatch.setattr(frame_module, "MOST_PIXELS", (300, 32))
    monkeypatch.setattr(frame_module, "_WHOLE_BYTES", whole_bytes)
    data = some((2, *shape), "f4")
    frame = survey_of(write_scan(tmp_path / "a.npz", data, 1)).frame
    assert frame is not None
    plane = data[(1, *(n // 2 for n in shape[:-2]))]
    step_y, step_x = (1, *frame.steps)[-2:]
    rows = plane.reshape(-1, plane.shape[-1])
    expected = [
        [
            (rows[y : y + 1] if not whole_bytes else rows[y : y + step_y])[:, x : x + step_x].mean()
            for x in range(0, rows.shape[1], step_x)
        ]
        for y in range(0, rows.shape[0], step_y)
    ]
    assert frame.steps == ((3, 3) if len(shape) > 1 else (4,))
    assert np.allclose(frame.values, expected if len(shape) > 1 else expected[0])
    assert frame.words()[0].startswith("mean of" if whole_bytes else "sampled")
