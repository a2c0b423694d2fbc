"""open_wave reads what numpy.load and lys.Wave read: files of other versions, of other programs, and of Python 2."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, some
from tests.reading.exports import with_members

ARRAYS = {
    "Fortran order": np.asfortranarray(some((3, 4, 5), "f8")),
    "big-endian": some((3, 4), ">i2"),
    "0-d": np.array(7.5),
    "0-d text": np.array("µ"),
    "empty": np.zeros((0, 3)),
    "empty Fortran order": np.zeros((3, 0, 2), order="F"),
    "structured": some((3,), [("a", "f4"), ("b", "u1", (2,))]),
    "structured Fortran order": np.asfortranarray(some((3, 2), [("a", "f4"), ("b", ">i2")])),
    "bytes": np.array([b"a", b"bcd"]),
    "text": np.array([["a", "µ温"], ["", "x"]]),
    "bool": some((5,), "?"),
    "complex64": some((2, 2), "c8"),
    "float16": some((4,), "f2"),
    "times": some((4,), "M8[ns]"),
}


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), version=version)
    return stream.getvalue()


def npy_with_header(header: str, content: bytes) -> bytes:
    text = header.encode("latin1").ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def assert_read_as(path: Path, data: Any) -> None:
    with lys_storage.open_wave(path, verify=True) as wave:
        assert_same_array(wave.data, data)
        assert_same_array(wave.read(), data)
        assert wave.data.flags.f_contiguous == data.flags.f_contiguous
        assert (wave.data.flags.writeable, wave.note, wave.note_error) == (False, {}, None)
        for index in [np.s_[0], np.s_[-1:], np.s_[..., 0], np.s_[::-2, ..., 0]] if data.ndim > 1 and data.size else []:
            assert_same_array(wave.read(index), data[index])
    assert lys_storage.verify(path) == []


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids="version {0[0]}".format)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "compressed"])
@pytest.mark.parametrize("member", ["data.npy", "data"])
@pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
def test_every_array_in_every_header_and_compression(
    tmp_path: Path, data: Any, member: str, method: int, version: tuple[int, int]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr(member, npy(data, version))
    with np.load(tmp_path / "a.npz") as members:
        assert_same_array(members["data"], data)
    assert_read_as(tmp_path / "a.npz", data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("data", ARRAYS.values(), ids=ARRAYS)
def test_what_numpy_saves(tmp_path: Path, data: Any, save: Any) -> None:
    """A single array, with the ZIP64 fields that numpy always writes."""
    save(tmp_path / "a.npz", data=data)
    assert_read_as(tmp_path / "a.npz", data)


def test_members_in_another_order_in_folders_and_of_others(tmp_path: Path) -> None:
    data = some((3, 4), "f8")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("note", npy(np.array(1)))
        archive.mkdir("folder")
        for name, content in (
            ("folder/data.npy", some((2,), "u1")),
            ("other.npy", some((2,), "u1")),
            ("data.npy", data),
        ):
            archive.writestr(name, npy(content))
        archive.writestr("axes", npy(some((2, 2), "f8")))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data, data)
        assert_same_array(np.array(wave.stored_axes), some((2, 2), "f8"))


def test_where_both_are_there_the_member_without_suffix_is_read_as_numpy_does(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", npy(some((3,), "u1", 1)))
        archive.writestr("data", npy(some((2,), "u1", 2)))
    with np.load(tmp_path / "a.npz") as members, lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data, members["data"])


# -- Python 2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("'<f8'", "(2L, 3L)"),
        ("'<f8'", "(6L,)"),
        ("[('5L', '<f4', (2L,))]", "(6L,)"),
        ("[('a 1L\"', '<f8')]", "(2L, 3)"),
    ],
    ids=["matrix", "vector", "a field named 5L", "a field with a quote"],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "compressed"])
@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing")
def test_long_numbers_in_a_header(tmp_path: Path, descr: str, shape: str, method: int) -> None:
    content = some((6,), "f8").tobytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
        archive.writestr("data.npy", npy_with_header(header, content))
        axes = "{'descr': '<f8', 'fortran_order': False, 'shape': (1L, 6L), }"
        archive.writestr("axes.npy", npy_with_header(axes, content))
    with np.load(tmp_path / "a.npz") as members, lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data, members["data"])
        assert_same_array(wave.axes[0], some((6,), "f8"))


PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(%stcnumpy\ndtype\n"
    b"(U\x02%sK\x00K\x01tR(K\x03U\x01%sNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK%ctb\x89%stb"
)
VALUES = np.array([1.5, -2.75, 1e300])
AXIS_OF_PYTHON_2 = PYTHON_2 % (b"K\x03", b"f8", b"<", 0, b"U\x18" + VALUES.tobytes())


def object_npy(pickled: bytes, shape: tuple[int, ...]) -> bytes:
    return npy_with_header(f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}", pickled)


@pytest.mark.parametrize("trust", [False, True])
def test_pickles_that_python_2_wrote(tmp_path: Path, trust: bool) -> None:
    """Its texts are bytes, which numpy.load(encoding="latin1") reads. The numbers of an array are in such a text."""
    note = PYTHON_2 % (b"", b"O8", b"|", 63, b"](dp1\nU\x03keyU\x02\xb5msU\x01bI01\nsU\x01nL5L\nsa") + b"."
    axes = PYTHON_2 % (b"K\x02", b"O8", b"|", 63, b"](" + AXIS_OF_PYTHON_2 + b"Ne") + b"."
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", npy(some((3, 2), "f8")))
        archive.writestr("axes.npy", object_npy(axes, (2,)))
        archive.writestr("note.npy", object_npy(note, ()))
    with np.load(tmp_path / "a.npz", allow_pickle=True, encoding="latin1") as members:
        assert members["note"][()] == {"key": "µm", "b": True, "n": 5}
        assert_same_array(members["axes"][0], VALUES)
    with lys_storage.open_wave(tmp_path / "a.npz", allow_pickle=trust) as wave:
        assert (wave.note, wave.note_error) == ({"key": "µm", "b": True, "n": 5}, None)
        assert_same_array(wave.axes[0], VALUES)
        assert wave.stored_axes[1] is None


# -- numpy before 1.17 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 1, 2], ids="protocol {}".format)
@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"], ids=["numpy 1", "numpy 2"])
def test_an_export_of_lys_with_an_old_pickle(tmp_path: Path, protocol: int, core: bytes) -> None:
    """Before 1.17 numpy wrote protocol 2: it names _codecs.encode for bytes, and __builtin__ for sets and others."""
    axes = np.empty(3, object)
    axes[:] = [np.linspace(0, 1, 89), np.arange(400) - 2642.5, None]
    note = np.array({"name": "µ", "set": {1}, "bytes": b"\x00\xff", "none": b"", "range": range(3)}, object)
    pickled = [pickle.dumps(array, protocol).replace(b"numpy.core.multiarray", core) for array in (axes, note)]
    assert b"_codecs" in pickled[0]
    assert b"__builtin__" in pickled[1]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", npy(some((89, 400, 1), "f8")))
        archive.writestr("axes.npy", object_npy(pickled[0], (3,)))
        archive.writestr("note.npy", object_npy(pickled[1], ()))
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert (wave.note, wave.note_error) == (note[()], None)
        assert_same_array(wave.axes[0], axes[0])
        assert_same_array(wave.axes[1], axes[1])
        assert wave.stored_axes[2] is None
    assert lys_storage.verify(tmp_path / "a.npz") == []


@pytest.mark.parametrize(
    "called",
    [b"(Vx\nVutf-8\nt", b"(Vx\nt", b"(I1000000000\nVlatin1\nt", b"(Vx\nVrot13\nt", b"(C\x01xVlatin1\nt"],
    ids=["another encoding", "no encoding", "a number", "a codec that is no encoding", "bytes"],
)
def test_encode_makes_bytes_of_latin_1_text_and_nothing_else(tmp_path: Path, export: Path, called: bytes) -> None:
    boxed = PYTHON_2 % (b"", b"O8", b"|", 63, b"](dU\x01kc_codecs\nencode\n" + called + b"RsU\x01jI7\nsa") + b"."
    path = with_members(tmp_path / "a.npz", {"note.npy": object_npy(boxed, ())}, export)
    with lys_storage.open_wave(path) as wave:
        assert (wave.note["j"], type(wave.note["k"]), wave.note["k"][:16]) == (7, str, "<_codecs.encode(")
    path = with_members(tmp_path / "b.npz", {"axes.npy": object_npy(boxed, ())}, export)
    with pytest.raises(lys_storage.UnsafeFileError):
        lys_storage.open_wave(path)


def test_bytes_of_a_number_are_refused(tmp_path: Path, export: Path) -> None:
    """`bytes(10**9)` would allocate a gigabyte of zeros."""
    boxed = PYTHON_2 % (b"", b"O8", b"|", 63, b"](dU\x01kc__builtin__\nbytes\n(I1000000000\ntRsa") + b"."
    path = with_members(tmp_path / "a.npz", {"note.npy": object_npy(boxed, ())}, export)
    with lys_storage.open_wave(path) as wave:
        assert wave.note == {"k": "<builtins.bytes(1000000000)>"}
