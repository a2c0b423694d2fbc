"""The simulated measurement: any shape and dtype, and reproducible frames."""

import math

import numpy as np
import pytest

from lys_storage.demo import SimulatedMeasurement
from lys_storage.demo._memory import anonymous_bytes

DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int64", "float16", "float32", "float64", "complex64", ">u2"]
SHAPES = {
    "a scalar on a line": ((7,), ()),
    "a scalar on a map": ((4, 5), ()),
    "a spectrum at one point": ((), (60,)),
    "a spectrum on a map": ((3, 4), (60,)),
    "an image at one point": ((), (20, 30)),
    "an image on a line": ((5,), (20, 30)),
    "an image on a map": ((3, 4), (20, 30)),
    "a stack of images on a map with delay and temperature": ((2, 3, 2, 2), (3, 8, 9)),
    "more dimensions than have names": ((1, 2, 1, 2, 1, 2), (2, 2, 2, 3, 3)),
    "an image of one pixel": ((2, 2), (1, 1)),
    "a spectrum as short as can be": ((1,), (1,)),
}
shapes = pytest.mark.parametrize(("grid", "frame"), SHAPES.values(), ids=SHAPES.keys())


@shapes
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_frame_has_the_shape_and_dtype_that_were_asked_for(grid, frame, dtype):
    """Frames of every shape and dtype are made without a warning, and are finite."""
    measurement = SimulatedMeasurement(grid, frame, dtype)
    for index in measurement.indices():
        made = measurement.frame(index)
        assert (made.shape, made.dtype) == (frame, np.dtype(dtype))
        assert np.isfinite(made).all()


@shapes
def test_axes_and_labels_fit_the_data(grid, frame):
    """Each dimension of the data has one axis and one label with a unit. Axes are increasing."""
    measurement = SimulatedMeasurement(grid, frame)
    assert tuple(map(len, measurement.axes)) == grid + frame == measurement.shape
    assert len(measurement.labels) == len(set(measurement.labels)) == len(grid + frame)
    assert all(np.all(np.diff(axis) > 0) for axis in measurement.axes)
    assert all(label.endswith(")") and " (" in label for label in measurement.labels)


@shapes
def test_indices_cover_the_grid_once_in_c_order(grid, frame):
    """The scan visits every point once, the last index fastest."""
    measurement = SimulatedMeasurement(grid, frame)
    assert list(measurement.indices()) == list(np.ndindex(grid))
    assert measurement.frame_count == math.prod(grid)


@pytest.mark.parametrize("dtype", ["uint16", "float64", "complex64"])
def test_a_frame_depends_on_seed_and_index_alone(dtype):
    """Another order, object or buffer gives the same frame, bit for bit."""
    first = SimulatedMeasurement((5, 6), (32, 40), dtype, seed=3)
    again = SimulatedMeasurement((5, 6), (32, 40), dtype, seed=3)
    forward = {index: first.frame(index) for index in first.indices()}
    buffer = np.full((32, 40), 99, dtype)
    for index in reversed(list(again.indices())):
        assert again.frame(index, buffer) is buffer
        assert buffer.tobytes() == forward[index].tobytes()


def test_no_two_frames_are_equal():
    """The bytes of a frame show whether its index or its seed is wrong."""
    seeds = [SimulatedMeasurement((20, 20), (16, 16), seed=seed) for seed in (0, 1)]
    frames = [seed.frame(index).tobytes() for seed in seeds for index in seed.indices()]
    assert len(set(frames)) == len(frames)


@pytest.mark.parametrize("frame", [(256, 256), (300,), ()], ids=["images", "spectra", "numbers"])
def test_a_virtual_detector_sees_the_domains(frame):
    """The sum over the virtual detector varies over the grid by far more than its noise."""
    measurement = SimulatedMeasurement((24, 24), frame)
    region = measurement.virtual_detector
    sums = np.array([float(measurement.frame(i)[region].sum()) for i in measurement.indices()]).reshape(24, 24)
    steps = np.abs(np.diff(sums, axis=1))
    assert np.ptp(sums) > 10 * np.median(steps)
    assert sums.max() > 1.8 * sums.min()


@pytest.mark.parametrize("frame", [(1, 1), (3, 3), (5,), (64, 64), ()], ids=str)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_counts_saturate_and_never_wrap(dtype, frame):
    """A pixel under many reflections is bright, not negative. Only readout noise is below zero."""
    measurement = SimulatedMeasurement((16, 16), frame, dtype)
    assert min(measurement.frame(index).min() for index in measurement.indices()) > -12


@pytest.mark.parametrize("dtype", ["bool", "datetime64[s]", "S4", object, [("a", "u2")]], ids=str)
def test_what_no_detector_gives_is_refused(dtype):
    """A dtype that cannot count raises a TypeError that names it."""
    with pytest.raises(TypeError, match="integer, floating or complex"):
        SimulatedMeasurement((2,), (2,), dtype)


def test_a_length_of_zero_is_refused():
    """A scan without frames, or frames without pixels, raise a ValueError with both shapes."""
    with pytest.raises(ValueError, match=r"at least 1: grid \(2, 0\), frame \(3,\)"):
        SimulatedMeasurement((2, 0), (3,))


def test_the_note_is_plain_data():
    """The tag holds only what any reader can unpickle, and says where the virtual detector is."""
    measurement = SimulatedMeasurement((3, 4), (64, 64), seed=5)
    assert measurement.note["Seed"] == 5
    assert measurement.note["Axes"] == ["scan y (µm)", "scan x (µm)", "ky (1/Å)", "kx (1/Å)"]
    assert [slice(*ends) for ends in measurement.note["Virtual detector"]] == list(measurement.virtual_detector)


@pytest.mark.skipif(anonymous_bytes() is None, reason="the system does not tell its anonymous memory")
def test_the_simulation_takes_little_memory():
    """It takes less than 30 MiB for frames of 256 x 256, whatever their number."""
    before = anonymous_bytes()
    measurement = SimulatedMeasurement((256, 256), (256, 256))
    buffer = measurement.empty_frame()
    for row in range(256):
        measurement.frame((row, row), buffer)
    assert anonymous_bytes() - before < 30 << 20
