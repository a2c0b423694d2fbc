"""`update`: valid frames, refused frames, and when a scan is complete. The same holds without Qt."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, files, load_export
from tests.qt.detector import DEADLINE_S, in_another_thread
from tests.qt.helpers import listen_to

WHOLE = np.arange(24.0).reshape(2, 3, 4)


def saved(storage: Any, folder: Path, name: str = "data_0.npz") -> Any:
    assert storage.waitForSaved()
    return load_export(folder / name)


needs_hashable_slices = pytest.mark.skipif(sys.version_info < (3, 12), reason="a slice is no dict key before 3.12")

UPDATES = {
    "a tuple of ints for each grid point": [{(i, j): WHOLE[i, j]} for i in range(2) for j in range(3)],
    "all in one dict": [{(i, j): WHOLE[i, j] for i in range(2) for j in range(3)}],
    "numpy's ints": [{(np.int64(i), np.uint8(j)): WHOLE[i, j]} for i in range(2) for j in range(3)],
    "negative counts from the end": [{(i - 2, j - 3): WHOLE[i, j]} for i in range(2) for j in range(3)],
    "() is the whole array": [{(): WHOLE}],
    "(i,) is a row of a 2-d grid": [{(i,): WHOLE[i]} for i in range(2)],
    "an index as long as the array": [{tuple(map(int, i)): WHOLE[i]} for i in np.ndindex(WHOLE.shape)],
    "scalars as Python numbers": [{tuple(map(int, i)): float(WHOLE[i])} for i in np.ndindex(WHOLE.shape)],
    "mixed lengths, longer ones first": [
        *({(0, 0, k): WHOLE[0, 0, k]} for k in range(4)),
        *({(0, j): WHOLE[0, j]} for j in (1, 2)),
        {(1,): WHOLE[1]},
    ],
    "mixed lengths, a longer one first": [
        {(0, 2): WHOLE[0, 2]},
        {(1,): WHOLE[1]},
        *({(0, j): WHOLE[0, j]} for j in (0, 1)),
    ],
    "in any order": [{(i, j): WHOLE[i, j]} for j in (1, 0, 2) for i in (1, 0)],
    "lists": [{(i, j): WHOLE[i, j].tolist()} for i in range(2) for j in range(3)],
    "float32": [{(i, j): WHOLE[i, j].astype("f4")} for i in range(2) for j in range(3)],
    "big-endian": [{(i, j): WHOLE[i, j].astype(">f8")} for i in range(2) for j in range(3)],
    "integers": [{(i, j): WHOLE[i, j].astype("i4")} for i in range(2) for j in range(3)],
    "not contiguous": [{(i,): np.asfortranarray(WHOLE[i])} for i in range(2)],
    "reversed views": [{(i,): WHOLE[i, ::-1, ::-1][::-1, ::-1]} for i in range(2)],
    "read-only": [{(): np.frombuffer(WHOLE.tobytes()).reshape(WHOLE.shape)}],
    "Ellipsis": [{(...,): WHOLE}],
    "Ellipsis after an int": [{(0, ...): WHOLE[0]}, {(1, ...): WHOLE[1]}],
    "Ellipsis before an int": [{(..., k): WHOLE[..., k]} for k in range(4)],
    "empty dicts in between": [{}, {(0,): WHOLE[0]}, {}, {(1,): WHOLE[1]}],
}


@pytest.mark.parametrize("updates", UPDATES.values(), ids=UPDATES)
def test_whatever_the_indices_the_file_holds_every_frame(storage: Any, folder: Path, updates: Any) -> None:
    """It is saved when the last missing frame is written, and not before."""
    storage.reserve(WHOLE.shape, axes=[])
    for update in updates[:-1]:
        storage.update(update)
        assert storage.array is not None, "not complete yet"
    storage.update(updates[-1])
    assert storage.array is None, "complete, and being saved"
    assert_same_array(saved(storage, folder).data, WHOLE)


def test_an_index_longer_than_those_before_is_an_index_error_and_the_frames_stay(storage: Any, folder: Path) -> None:
    """Otherwise each pixel would silently become a frame."""
    storage.reserve(WHOLE.shape)
    with pytest.raises(lys_storage.FrameIndexError, match=r"\(1, 2\) names a part of a frame: the grid is \(2,\)"):
        storage.update({(0,): WHOLE[0], (1, 2): WHOLE[1, 2]})
    assert storage.written.tolist() == [True, False]
    storage.update({(1,): WHOLE[1]})
    assert_same_array(saved(storage, folder).data, WHOLE)


@needs_hashable_slices
def test_slices_are_keys_where_python_lets_them(storage: Any, folder: Path) -> None:
    """This needs Python 3.12."""
    storage.reserve(WHOLE.shape)
    storage.update({(slice(None), slice(0, 2)): WHOLE[:, 0:2]})
    storage.update({(slice(None, None, -1), 2): WHOLE[::-1, 2]})
    assert_same_array(saved(storage, folder).data, WHOLE)


@pytest.mark.parametrize("updates", UPDATES.values(), ids=UPDATES)
def test_the_same_without_qt(tmp_path: Path, updates: Any) -> None:
    """`scan[index] = frame` stores the same."""
    with lys_storage.create(tmp_path / "scan.npz", WHOLE.shape) as scan:
        for update in updates:
            for index, frame in update.items():
                scan[index] = frame
    assert_same_array(load_export(tmp_path / "scan.npz").data, WHOLE)


def test_a_0_d_scan_is_one_scalar(storage: Any, folder: Path) -> None:
    """The shape and the index are ()."""
    storage.reserve(())
    storage.update({(): 2.5})
    assert_same_array(saved(storage, folder).data, np.array(2.5))


def test_the_sender_may_reuse_the_buffer_once_the_call_returns(storage: Any, folder: Path) -> None:
    """A camera has one buffer."""
    buffer = np.empty((3, 4))
    storage.reserve(WHOLE.shape)
    for i in range(2):
        buffer[:] = WHOLE[i]
        storage.update({(i,): buffer})
        buffer[:] = 77
    assert_same_array(saved(storage, folder).data, WHOLE)


def test_the_last_frame_of_an_index_counts_and_completes_nothing(storage: Any, folder: Path) -> None:
    """A scan is complete when every frame is written, not when a count is reached."""
    storage.reserve((2, 3), fillValue=0)
    for value in range(10):
        storage.update({(0,): np.full(3, float(value))})
    assert storage.array is not None
    assert storage.written.tolist() == [True, False]
    storage.update({(1,): np.ones(3)})
    assert_same_array(saved(storage, folder).data, [[9.0, 9.0, 9.0], [1.0, 1.0, 1.0]])


def test_the_running_scan_is_there_as_a_read_only_map(storage: Any) -> None:
    """`array` holds zeros in missing frames, which `written` shows. It is None if no scan runs."""
    storage.reserve((2, 3), fillValue=5)
    storage.update({(1,): np.array([1.0, 2.0, 3.0])})
    array = storage.array
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    assert_same_array(array, [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    assert storage.written.tolist() == [False, True]
    del array
    storage.save([])
    assert storage.array is None


# -- what is refused ---------------------------------------------------------------------------------------------------

BAD = [
    pytest.param({(0,): np.ones((3, 5))}, ValueError, ["(3, 5)", "(3, 4)"], id="a wrong shape"),
    pytest.param({(0,): np.ones(4)}, ValueError, ["(4,)", "(3, 4)"], id="a shape that numpy would broadcast"),
    pytest.param({(0,): np.ones((1, 3, 4))}, ValueError, ["(1, 3, 4)", "(3, 4)"], id="a dimension of 1 too many"),
    pytest.param({(0,): 1.0}, ValueError, ["()", "(3, 4)"], id="a scalar for a frame"),
    pytest.param({(0, 0): [1.0, 2.0]}, ValueError, ["(2,)", "(4,)"], id="a list of a wrong length"),
    pytest.param({(0, 0): [[1.0, 2.0], [1.0]]}, ValueError, [], id="a ragged list"),
    pytest.param({(0,): np.ones((3, 4), complex)}, TypeError, ["complex128", "float64"], id="complex into real"),
    pytest.param({(0, 0): ["a"] * 4}, TypeError, [], id="text"),
    pytest.param({(0, 0): np.array([None] * 4)}, TypeError, ["object"], id="objects"),
    pytest.param({(2,): np.ones((3, 4))}, IndexError, ["2"], id="an index out of range"),
    pytest.param({(0, -4): np.ones(4)}, IndexError, ["-4"], id="a negative index out of range"),
    pytest.param({(0, 0, 0, 0): 1.0}, IndexError, [], id="an index longer than the array"),
    pytest.param({("a",): np.ones((3, 4))}, IndexError, [], id="an index that is no int"),
    pytest.param({(0.0,): np.ones((3, 4))}, IndexError, [], id="an index that is a float"),
    pytest.param({(None,): np.ones((3, 4))}, IndexError, [], id="a new axis"),
]


@pytest.mark.parametrize("settings", [{}, {"dtype": "float64"}], ids=["no dtype set", "float64 set"])
@pytest.mark.parametrize(("bad", "kind", "words"), BAD)
def test_nothing_of_a_bad_frame_is_stored_and_the_scan_goes_on(
    make_storage: Any, folder: Path, bad: Any, kind: type[Exception], words: list[str], settings: dict[str, Any]
) -> None:
    """The error belongs to lys_storage and to the matching builtin, and says what was seen and what was expected."""
    storage = make_storage(**settings)
    storage.reserve(WHOLE.shape)
    storage.update({(0, 1): WHOLE[0, 1]})
    before = np.array(storage.array)
    with pytest.raises(kind) as caught:
        storage.update(bad)
    assert isinstance(caught.value, lys_storage.LysStorageError)
    assert [word for word in words if word not in str(caught.value)] == []
    assert_same_array(storage.array, before)
    storage.update({(0,): WHOLE[0]})
    storage.update({(1,): WHOLE[1]})
    assert_same_array(saved(storage, folder).data, WHOLE)


def test_a_bad_frame_does_not_keep_the_others_of_its_dict_out(make_storage: Any, folder: Path) -> None:
    """Each frame is stored by itself. The fault is raised."""
    storage = make_storage()
    storage.reserve(WHOLE.shape)
    with pytest.raises(ValueError, match=r"\(7,\)"):
        storage.update({(1, 0): np.ones(7), (1, 1): WHOLE[1, 1], (0,): WHOLE[0]})
    storage.update({(1, 0): WHOLE[1, 0], (1, 2): WHOLE[1, 2]})
    assert_same_array(saved(storage, folder).data, WHOLE)


@pytest.mark.parametrize("dtype", ["uint16", "detector"])
def test_a_value_that_the_dtype_does_not_hold_is_a_type_error_and_the_others_are_stored(
    make_storage: Any, folder: Path, dtype: str
) -> None:
    """This includes a camera that changes its depth during a scan: 70000 would be stored as 4464."""
    storage = make_storage(dtype=dtype)
    storage.reserve((3, 2), 9)
    storage.update({(0,): np.array([1, 2], "uint16")})
    with pytest.raises(lys_storage.FrameTypeError, match=r"index \(1,\): its value 70000 at \(1,\) cannot be stored"):
        storage.update({(1,): np.array([0, 70000], "uint32"), (2,): np.array([3, 65535], "uint32")})
    with pytest.raises(lys_storage.FrameTypeError, match="masked"):
        storage.update({(1,): np.ma.masked_array([1, 2], [0, 1], "uint16")})
    storage.save()
    assert_same_array(saved(storage, folder).data, np.array([[1, 2], [9, 9], [3, 65535]], "uint16"))


@pytest.mark.parametrize(
    ("dtype", "frame"),
    [
        pytest.param("int32", np.ones(3), id="float into integer"),
        pytest.param("uint8", np.ones(3, "int8"), id="signed into unsigned"),
        pytest.param("float32", np.ones(3, complex), id="complex into float"),
        pytest.param("bool", np.ones(3, "uint8"), id="integer into bool"),
    ],
)
def test_a_cast_beyond_same_kind_is_a_type_error(make_storage: Any, dtype: str, frame: Any) -> None:
    """A frame that the user's dtype cannot hold is refused, also as the first frame."""
    storage = make_storage(dtype=dtype)
    storage.reserve((2, 3))
    with pytest.raises(TypeError) as caught:
        storage.update({(0,): frame})
    assert isinstance(caught.value, lys_storage.LysStorageError)
    assert storage.written.any() == np.False_
    storage.update({(0,): np.ones(3, dtype)})


def test_a_first_frame_that_is_complex_makes_the_scan_complex_with_a_warning(
    storage: Any, folder: Path, errors: Any
) -> None:
    """This holds if the user set no dtype. lys_instr's storage loses the imaginary part."""
    frames = np.arange(6).reshape(2, 3) * (1 + 2j)
    storage.reserve((2, 3))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        storage.update({(0,): frames[0]})
    assert any("complex128" in text for text in [*errors(), *(str(w.message) for w in warned)])
    assert_same_array(storage.array, np.array([frames[0], [0, 0, 0]]))
    storage.update({(1,): frames[1].real})
    assert_same_array(saved(storage, folder).data, np.array([frames[0], frames[1].real]))


def test_a_complex_scan_is_filled_with_NaN_where_frames_never_came(storage: Any, folder: Path) -> None:
    """The fill value changes with the dtype."""
    storage.reserve((2, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage.update({(0,): np.array([1j])})
    storage.save([])
    data = saved(storage, folder).data
    assert (data.dtype, data[0, 0], bool(np.isnan(data[1, 0]))) == (np.complex128, 1j, True)


def test_a_later_complex_frame_is_a_type_error(storage: Any, folder: Path) -> None:
    """Only an empty scan can get a new layout."""
    storage.reserve((2, 3))
    storage.update({(0,): np.zeros(3)})
    with pytest.raises(TypeError):
        storage.update({(1,): np.zeros(3, complex)})
    storage.update({(1,): np.ones(3)})
    assert_same_array(saved(storage, folder).data, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("dtype", ["uint16", "float32", ">i4", "complex64", "float64", "bool"])
def test_with_dtype_detector_the_first_frame_tells(make_storage: Any, folder: Path, dtype: str) -> None:
    """`dtype="detector"` casts nothing, and loses nothing."""
    storage = make_storage(dtype="detector")
    frames = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    storage.reserve((2, 3))
    storage.update({(0,): frames[0]})
    storage.update({(1,): frames[1]})
    assert_same_array(saved(storage, folder).data, frames)


@pytest.mark.parametrize("dtype", [None, "detector"])
def test_a_refused_frame_does_not_tell_the_dtype(make_storage: Any, folder: Path, dtype: Any) -> None:
    """The first frame is the first one that is stored."""
    storage = make_storage() if dtype is None else make_storage(dtype=dtype)
    storage.reserve((2, 3))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        storage.update({(0,): np.zeros(5, complex)})
    with pytest.raises(IndexError):
        storage.update({(7,): np.zeros(3, complex)})
    storage.update({(): np.ones((2, 3))})
    assert_same_array(saved(storage, folder).data, np.ones((2, 3)))


def test_with_dtype_detector_a_scan_without_a_frame_is_saved_too(make_storage: Any, folder: Path) -> None:
    """It is float64, because there is no frame."""
    storage = make_storage(dtype="detector")
    storage.reserve((2,))
    storage.save([])
    assert_same_array(saved(storage, folder).data, [np.nan, np.nan])


def test_int64_keeps_its_low_bits_and_structured_data_their_fields(make_storage: Any, folder: Path) -> None:
    """lys_instr's storage casts them to float64."""
    record = np.dtype([("x", "f4"), ("n", "i8")])
    for number, frames in enumerate((np.array([2**62 + 1, -1]), np.array([(1.5, 2**62 + 1), (2.5, 3)], record))):
        storage = make_storage(dtype=frames.dtype)
        storage.reserve((2,))
        storage.update({(): frames})
        assert_same_array(saved(storage, folder, f"data_{number}.npz").data, frames)


def test_update_with_nothing_reserved_is_an_error_of_the_family(storage: Any, folder: Path) -> None:
    """This holds for a call by the user, also after the scan is complete."""
    with pytest.raises(lys_storage.NothingReservedError):
        storage.update({(0,): np.zeros(2)})
    storage.reserve((2,), axes=[])
    storage.update({(): np.zeros(2)})
    with pytest.raises(lys_storage.NothingReservedError):
        storage.update({(): np.ones(2)})
    assert_same_array(saved(storage, folder).data, [0.0, 0.0])


# -- threads -----------------------------------------------------------------------------------------------------------


def test_a_frame_is_written_in_the_thread_that_brings_it(storage: Any) -> None:
    """The main thread is busy. The frame is written when the call returns."""
    storage.reserve(WHOLE.shape)
    in_another_thread(storage.update, {(1,): WHOLE[1]})
    assert_same_array(storage.array, np.array([np.zeros((3, 4)), WHOLE[1]]))


def test_two_threads_may_write_at_once(storage: Any, folder: Path) -> None:
    """The thread that writes the last missing frame starts the save, once."""
    frames = np.random.default_rng(1).random((200, 500))
    log = listen_to(storage)
    storage.reserve(frames.shape)
    begin = threading.Barrier(2)
    faults: list[BaseException] = []

    def write(first: int) -> None:
        try:
            begin.wait(DEADLINE_S)
            for i in range(first, 200, 2):
                storage.update({(i,): frames[i]})
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert faults == []
    assert_same_array(saved(storage, folder).data, frames)
    assert files(folder) == {"data_0.npz"}
    assert log.args("saved") == [(str(folder / "data_0.npz"),)]
