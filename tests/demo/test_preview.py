"""The picture beside a result: for every number of dimensions, from few reads."""

import numpy as np
import pytest

import lys_storage
from lys_storage.demo import SimulatedMeasurement
from lys_storage.demo._glance import Frames, glance

SHAPES = {
    "a number": ((), ()),
    "numbers along a line": ((30,), ()),
    "a map of numbers": ((10, 12), ()),
    "one spectrum": ((), (50,)),
    "spectra along a line": ((12,), (50,)),
    "a map of spectra": ((6, 7), (50,)),
    "one image": ((), (30, 40)),
    "images along a line": ((12,), (30, 40)),
    "a map of images": ((6, 7), (30, 40)),
    "maps of images over delay and temperature": ((2, 3, 4, 5), (16, 16)),
    "a map of stacks of images": ((4, 5), (3, 16, 16)),
    "one point and one pixel": ((1, 1), (1, 1)),
}


def store(path, grid, frame, dtype="uint16", frames=None):
    measurement = SimulatedMeasurement(grid, frame, dtype)
    with lys_storage.create(
        path, measurement.shape, dtype, axes=measurement.axes, note=measurement.note, grid_ndim=len(grid)
    ) as scan:
        for count, index in enumerate(measurement.indices()):
            if frames is None or count in frames:
                scan[index] = measurement.frame(index)
    return path


def draw(path):
    pytest.importorskip("matplotlib")
    from lys_storage.demo._preview import write_preview

    with lys_storage.open_wave(path) as wave:
        return write_preview(wave, path.with_suffix(".png"))


def size_of_png(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


@pytest.mark.parametrize("dtype", ["uint16", "complex64"])
@pytest.mark.parametrize(("grid", "frame"), SHAPES.values(), ids=SHAPES.keys())
def test_a_picture_is_drawn_of(tmp_path, grid, frame, dtype):
    """Every kind of scan has a picture, which is as wide as its panels."""
    picture = draw(store(tmp_path / "data_0.npz", grid, frame, dtype))
    panels = (len(frame) > 0) + (len(grid) > 0) + (len(frame) > 1 or (len(frame) > 0 and len(grid) > 0))
    assert picture == tmp_path / "data_0.png"
    assert size_of_png(picture) == (round(572 * max(panels, 1)), 506)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("frames", [set(), set(range(10))], ids=["all of them", "most of them"])
def test_missing_frames_are_left_out(tmp_path, frames, dtype):
    """Fill values, also NaN, neither break the picture nor enter the mean or the map."""
    path = store(tmp_path / "data_0.npz", (6, 7), (30, 40), dtype, frames)
    draw(path)
    with lys_storage.open_wave(path) as wave:
        seen = glance(Frames(wave.data, 2, wave.info["missing"]))
    assert seen.mean_count == len(frames)
    assert np.isnan(seen.map).sum() == 42 - len(frames)


def test_a_file_without_axes_and_note_has_its_picture_too(tmp_path):
    """Labels and units come from the note. Without a note dimensions are numbered."""
    path = tmp_path / "plain.npz"
    with lys_storage.create(path, (4, 20, 20)) as scan:
        scan[...] = np.random.default_rng(0).random((4, 20, 20))
    assert size_of_png(draw(path))


def test_a_map_is_the_sum_over_the_virtual_detector():
    """Each point of the map is the sum of one frame over the region. The brightest frame is shown."""
    data = np.random.default_rng(0).integers(0, 100, (5, 6, 8, 9), np.uint16)
    seen = glance(Frames(data, 2), (slice(1, 3), slice(2, 7)))
    expected = data[:, :, 1:3, 2:7].sum(axis=(2, 3))
    assert np.array_equal(seen.map, expected)
    assert seen.map_steps == (1, 1)
    assert seen.frame_index == np.unravel_index(expected.argmax(), (5, 6))
    assert np.array_equal(seen.frame, data[seen.frame_index])
    assert np.allclose(seen.mean, data.mean(axis=(0, 1)))
    assert seen.mean_count == 30


def test_a_big_grid_is_seen_through_few_frames(tmp_path):
    """The number of frames that are read is bounded, however many there are."""
    data = np.memmap(tmp_path / "big", np.uint8, "w+", shape=(1000, 1000, 4, 4))
    seen = glance(Frames(data, 2), seconds=0.2)
    assert seen.map.size <= 200 * 200
    assert seen.map_steps == tuple(-(-1000 // n) for n in seen.map.shape) or min(seen.map_steps) > 1
    assert seen.mean_count <= 64


def test_a_slow_disk_makes_the_map_coarser():
    """Without time for more, the coarsest map is drawn."""
    seen = glance(Frames(np.zeros((100, 100, 2)), 2), seconds=-1.0)  # 0.0 is not over at once: clocks tick in 16 ms
    assert (seen.map.shape, seen.map_steps) == ((12, 12), (9, 9))
