"""The bytes of a scan file, compared with numpy's: .npy headers in both directions, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lys_storage import BadFileError, ScanShapeError
from lys_storage.format import (
    check_dtype,
    check_shape,
    decode_npy_header,
    encode_npy_header,
    journal_path,
    part_path,
    plan_data_member,
)
from tests.helpers import assert_same_array

DTYPES: list[Any] = [
    *("?", "i1", "u8", "<i4", ">i4", "f2", ">f8", "c8", "c16", "g", "S7", "U3", ">U3", "V5", "M8[ns]", ">m8[3D]"),
    [("a", "f4"), ("b", ">u2", (2, 3))],
    [("a", [("x", "?"), ("y", "S3")]), ("b", "M8[s]")],
    np.dtype([("a", "u1"), ("b", "f8")], align=True),
    [("Größe", "f4")],
    [("温度", "f4"), ("电流", "i2")],
    [(f"a field of a long name, number {k}", "f8") for k in range(1500)],
]
IDS = [str(dtype)[:40] for dtype in DTYPES]


def numpy_reads(header: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    stream = io.BytesIO(header + bytes(prod(shape) * dtype.itemsize))
    array: np.ndarray[Any, Any] = np.load(stream, max_header_size=1 << 20)
    assert stream.read() == b"", "the header says how long the file is"
    return array


def numpy_writes(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")


# -- .npy headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4)], ids=str)
def test_numpy_reads_the_headers_that_are_written(shape: tuple[int, ...], dtype: Any) -> None:
    header = encode_npy_header(shape, np.dtype(dtype))
    assert len(header) % 64 == 0
    assert_same_array(numpy_reads(header, shape, np.dtype(dtype)), np.zeros(shape, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
@pytest.mark.parametrize("fortran", [False, True], ids=["C order", "Fortran order"])
def test_the_headers_that_numpy_writes_are_read(dtype: Any, fortran: bool) -> None:
    array = np.zeros((3, 4), dtype, order="F" if fortran else "C")
    file = numpy_writes(array)
    assert decode_npy_header(file) == ((3, 4), np.dtype(dtype), fortran, len(file) - array.nbytes)


@settings(max_examples=30)
@given(hnp.array_shapes(min_dims=0, max_dims=6, max_side=1 << 30), hnp.scalar_dtypes() | hnp.array_dtypes())
def test_a_header_that_is_written_is_read_as_what_it_was(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    try:
        checked = check_dtype(dtype)
    except ScanShapeError:
        return
    header = encode_npy_header(shape, checked)
    assert decode_npy_header(header) == (shape, checked, False, len(header))


def raw(text: str, version: int = 1) -> bytes:
    body = text.encode("utf8")
    size = struct.pack("<H" if version == 1 else "<I", len(body))
    return b"\x93NUMPY" + bytes([version, 0]) + size + body


GOOD = "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\x03\x04" + bytes(60), id="something else"),
        pytest.param(raw(GOOD)[:9], id="cut within the size"),
        pytest.param(raw(GOOD)[:40], id="cut within the text"),
        pytest.param(raw(GOOD, 2)[:11], id="cut within the size of version 2"),
        pytest.param(b"\x93NUMPY\x00\x00" + raw(GOOD)[8:], id="version 0"),
        pytest.param(b"\x93NUMPY\x04\x00" + raw(GOOD)[8:], id="version 4"),
        pytest.param(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + bytes(64), id="a size of 2 GiB"),
        pytest.param(raw(""), id="no text"),
        pytest.param(raw("[1, 2]"), id="a list"),
        pytest.param(raw("3"), id="a number"),
        pytest.param(raw("{'descr': '<f8', 'shape': (3,)}"), id="no order"),
        pytest.param(raw("{'descr': '<f8', 'fortran_order': False}"), id="no shape"),
        pytest.param(raw("{'fortran_order': False, 'shape': (3,)}"), id="no dtype"),
        pytest.param(raw(GOOD.replace("<f8", "<q9")), id="no such dtype"),
        pytest.param(raw(GOOD.replace("'<f8'", "7")), id="a number for a dtype"),
        pytest.param(raw(GOOD.replace("'<f8'", "[('a',)]")), id="a field without a dtype"),
        pytest.param(raw(GOOD.replace("(3,)", "3")), id="a shape that is a number"),
        pytest.param(raw(GOOD.replace("(3,)", "[3]")), id="a shape that is a list"),
        pytest.param(raw(GOOD.replace("(3,)", "(-3,)")), id="a negative shape"),
        pytest.param(raw(GOOD.replace("(3,)", "(3.0,)")), id="a shape of floats"),
        pytest.param(raw(GOOD.replace("(3,)", "(True,)")), id="a shape of bools"),
        pytest.param(raw("__import__('os').getcwd()"), id="a call"),
        pytest.param(raw("(" * 5000 + ")" * 5000), id="nested too deep"),
        pytest.param(raw("{'descr': '\x00'"), id="cut text"),
        pytest.param(raw(GOOD)[:10] + b"\xff" * 50 + raw(GOOD)[60:], id="noise"),
        pytest.param(b"\x93NUMPY\x03\x00" + struct.pack("<I", 4) + b"\xff\xfe\xfd\xfc", id="no UTF-8 in version 3"),
    ],
)
def test_what_is_no_header_is_a_bad_file(head: bytes) -> None:
    """No other exception is raised, and nothing in the text is run."""
    with pytest.raises(BadFileError):
        decode_npy_header(head)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_a_bad_file(noise: bytes) -> None:
    for head in (noise, b"\x93NUMPY" + noise, raw(GOOD)[:20] + noise):
        try:
            shape, dtype, _, size = decode_npy_header(head)
        except BadFileError:
            continue
        assert (isinstance(shape, tuple), isinstance(dtype, np.dtype), size <= len(head)) == (True, True, True)


# -- the layout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_the_array_begins_at_a_page_and_its_end_follows_from_shape_and_dtype(dtype: Any) -> None:
    layout = plan_data_member((3, 5), np.dtype(dtype), 1e9)
    assert (layout.array_offset % 4096, layout.array_size) == (0, 15 * np.dtype(dtype).itemsize)
    assert layout.array_end == layout.array_offset + layout.array_size
    assert layout.head.endswith(layout.npy_header)


def test_the_first_bytes_of_a_scan_file_are_these() -> None:
    """Golden: docs/format.md, byte by byte (APPNOTE 4.3.7, ZIP64, the alignment field)."""
    layout = plan_data_member((2, 3), np.dtype("<u2"), 0)
    head = layout.head
    fixed = struct.unpack("<4s5H3I2H", head[:30])
    assert fixed[:4] + fixed[6:] == (b"PK\3\4", 45, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 8, len(head) - 38 - 128)
    assert head[14:18] == bytes(4)
    assert head[30:38] == b"data.npy"
    assert struct.unpack("<HHQQ", head[38:58]) == (1, 16, 128 + 12, 128 + 12)
    kind, size, alignment = struct.unpack("<HHH", head[58:64])
    assert (kind, size, alignment) == (0xD935, len(head) - 128 - 62, 4096)
    assert set(head[64:-128]) == {0}
    assert head[-128:] == b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }".ljust(117) + b"\n"
    )


@pytest.mark.parametrize(
    ("frames", "frame_bytes", "offset"),
    [
        pytest.param(2048, 256 * 256 * 8, 1 << 19, id="512 KiB frames"),
        pytest.param(512, 1 << 21, 1 << 21, id="2 MiB frames"),
        pytest.param(512, 1 << 25, 1 << 21, id="32 MiB frames"),
        pytest.param(1000, 5 << 19, 1 << 19, id="2.5 MiB frames"),
        pytest.param(1 << 16, 1 << 13, 1 << 16, id="8 KiB frames"),
        pytest.param(1000, 532_512, 1 << 16, id="frames of no power of two"),
        pytest.param(255, 1 << 19, 1 << 18, id="too small for that"),
        pytest.param(1, 1 << 25, 1 << 17, id="one frame"),
        pytest.param(100, 1 << 14, 4096, id="small"),
    ],
)
def test_a_large_array_begins_as_its_frames_lie_in_it(frames: int, frame_bytes: int, offset: int) -> None:
    dtype = np.dtype("u1")
    layout = plan_data_member((frames, frame_bytes), dtype, 1e9, frame_bytes=frame_bytes)
    assert layout.array_offset == offset
    assert plan_data_member((frames, frame_bytes), dtype, 1e9, offset) == layout
    assert offset <= max(1 << 16, frames * frame_bytes // 256)


def test_a_dtype_that_no_reader_would_take_is_refused() -> None:
    dtype = np.dtype([(f"field {k}", "u1") for k in range(20_000)])
    with pytest.raises(ScanShapeError, match="header of this dtype takes"):
        plan_data_member((3,), dtype, 0)


def test_a_member_of_zeros_comes_before_where_a_header_cannot_be_padded_so_far() -> None:
    """Golden: docs/format.md."""
    layout = plan_data_member((2048, 1 << 19), np.dtype("u1"), 0, frame_bytes=1 << 19)
    (first, padding), (at, head) = layout.heads(0x12345678)
    assert (first, padding[30:]) == (0, b"alignment.bin")
    fixed = struct.unpack("<4s5H3I2H", padding[:30])
    length = at - 43
    assert fixed[:4] + fixed[6:] == (b"PK\3\4", 45, 0, 0, zlib.crc32(bytes(length)), length, length, 13, 0)
    assert (head[:4], head[14:18], head[30:38]) == (b"PK\3\4", b"\x78\x56\x34\x12", b"data.npy")
    assert at + len(head) == layout.array_offset == 1 << 19


def test_a_place_that_no_scan_has_is_not_taken() -> None:
    """A journal states where its array begins, and can be wrong."""
    for offset in (0, 64, (1 << 21) + 4096, 1 << 40):
        assert plan_data_member((3,), np.dtype("u1"), 0, offset).array_offset == 4096


def test_sizes_are_whole_numbers_of_any_size() -> None:
    layout = plan_data_member((1 << 30, 1 << 20), np.dtype("c16"), 0)
    assert layout.array_size == 1 << 54


def test_years_that_a_zip_cannot_say_are_the_nearest_one_that_it_can() -> None:
    """The years are 1980 to 2107. A clock that was never set starts in 1970."""
    days = [struct.unpack("<H", plan_data_member((1,), np.dtype("u1"), t).head[12:14])[0] >> 9 for t in (0, 1e9, 6e9)]
    assert days == [0, 21, 127]


@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=50))
def test_a_shape_is_a_tuple_of_plain_ints(shape: tuple[int, ...]) -> None:
    for given_shape in (list(shape), np.array(shape, int), iter(shape)):
        result = check_shape(given_shape, np.dtype("f8"))
        assert (result, all(type(n) is int for n in result)) == (shape, True)
        assert prod(result) == prod(shape)


# -- names -------------------------------------------------------------------------------------------------------------


def test_the_files_of_a_scan_are_named_after_its_export() -> None:
    part = part_path(Path("run/data_3.npz"))
    assert (part, journal_path(part)) == (Path("run/data_3.npz.part"), Path("run/data_3.npz.part.journal"))
    unique = part_path(Path("run/data.npz"), "1f2e3d4c")
    assert (unique, journal_path(unique)) == (
        Path("run/data.npz.1f2e3d4c.part"),
        Path("run/data.npz.1f2e3d4c.part.journal"),
    )
