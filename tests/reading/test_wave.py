"""Reading finished exports, own and others': read-only, without running code of the file; errors are exceptions."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ScanClosedError, StorageOSError
from tests.helpers import assert_same_array, some, write_anew
from tests.reading.exports import with_members

# -- what it returns ---------------------------------------------------------------------------------------------------


def test_an_export_is_a_read_only_map_with_axes_note_and_info(export: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        assert isinstance(wave.data, np.memmap)
        assert (wave.data.flags.writeable, wave.shape, wave.dtype, wave.path) == (
            False,
            (4, 5, 2, 3),
            np.dtype("i4"),
            export,
        )
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))
        assert_same_array(wave.axes[0], np.array([1.5, 2, 3, 4]))
        assert [axis.tolist() for axis in wave.axes[1:]] == [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2]]
        assert (wave.note, wave.info["frames_written"], wave.info["version"]) == ({"a": [1]}, 1, 3)
        with pytest.raises(ValueError, match="read-only"):
            wave.data[0, 0, 0, 0] = 1
        assert repr(wave) == f"<StoredWave {export} (4, 5, 2, 3) int32\n  axis_0: 1.5 ... 4.0 (4 points)>"


@pytest.mark.parametrize(
    "index",
    [
        (),
        (1,),
        (1, 2),
        (-1, -1, -1, -1),
        (slice(1, 3),),
        (slice(None), 2),
        (..., 1),
        (slice(None, None, -2), slice(0, 0)),
        (0, slice(1, None, 2), ..., slice(2)),
        (np.int64(2),),
    ],
    ids=str,
)
def test_read_is_what_numpy_would_index_as_a_copy(export: Path, index: Any) -> None:
    with lys_storage.open_wave(export) as wave:
        result = wave.read(index)
        assert_same_array(result, np.array(wave.data[index]))
        assert result.flags.owndata or result.base.flags.owndata
        assert result.flags.writeable


@pytest.mark.parametrize("index", [(4,), (0, 0, 0, 0, 0), ("a",), (None,), ([0, 1],)], ids=str)
def test_an_index_that_names_nothing_is_an_index_error(export: Path, index: Any) -> None:
    with lys_storage.open_wave(export) as wave, pytest.raises(IndexError):
        wave.read(index)


def test_a_closed_wave_says_so_and_what_was_handed_out_stays(export: Path) -> None:
    wave = lys_storage.open_wave(export)
    data = wave.data
    wave.close()
    wave.close()
    assert_same_array(data, some((4, 5, 2, 3), "i4"))
    for deed in (lambda: wave.data, lambda: wave.read(0)):
        with pytest.raises(ScanClosedError):
            deed()
    del data


def test_any_number_of_readers_can_have_a_file_open(export: Path) -> None:
    waves = [lys_storage.open_wave(export) for _ in range(5)]
    assert len({wave.read().tobytes() for wave in waves}) == 1
    for wave in waves:
        wave.close()


def test_read_raises_where_a_map_would_kill(export: Path, run_child: Callable[..., Any]) -> None:
    """Another process truncates the file, which can happen on a share."""
    child = run_child(
        """
import os, sys, lys_storage
with lys_storage.open_wave(sys.argv[1]) as wave:
    os.truncate(sys.argv[1], 4096 + 50)
    print(wave.read((0, 0)).size)
    for index in [(0, 2), (), (3, 4), (slice(None), 0)]:
        try:
            wave.read(index)
        except lys_storage.StorageOSError as error:
            print(type(error).__name__, error.errno, error.filename)
print("alive")
""",
        export,
    )
    assert (child.code, child.out.splitlines()) == (0, ["6", *[f"StorageOSError 5 {export}"] * 4, "alive"])


# -- files of other programs -------------------------------------------------------------------------------------------


def test_a_compressed_npz_as_lys_writes_it_is_read_into_memory(tmp_path: Path) -> None:
    """`numpy.savez_compressed` writes the members of `lys.Wave.export`."""
    data, axes = some((3, 4), "f8"), [np.arange(3) * 0.5, np.arange(4, dtype="f4")]
    stored = np.array(axes, dtype=object)
    np.savez_compressed(tmp_path / "a.npz", data=data, axes=stored, note={"名": 1})  # type: ignore[arg-type]
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data, data)
        assert_same_array(wave.read(1), data[1])
        assert not wave.data.flags.writeable
        assert ([a.tolist() for a in wave.axes], wave.note, wave.info) == ([a.tolist() for a in axes], {"名": 1}, {})
        assert [a.dtype for a in wave.axes] == [np.dtype("f8"), np.dtype("f4")]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(np.asfortranarray(some((3, 4, 5), "f8")), id="Fortran order"),
        pytest.param(some((3, 4), ">i2"), id="big-endian"),
        pytest.param(np.array(7.5), id="0-d"),
        pytest.param(np.zeros((0, 3)), id="empty"),
        pytest.param(some((3,), [("a", "f4"), ("b", "u1", (2,))]), id="structured"),
    ],
)
def test_what_numpy_saved_is_read_as_it_is(tmp_path: Path, data: Any, save: Callable[..., None]) -> None:
    """Without axes and note, the axes are None or index coordinates, and the note is empty."""
    save(tmp_path / "a.npz", data=data)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data, data)
        assert_same_array(wave.read(), data)
        assert not wave.data.flags.writeable
        assert (wave.note, wave.info) == ({}, {})


@pytest.mark.parametrize("name", ["axes.npy", "note.npy", "allow_pickle.npy", "acquisition.json"])
def test_without_one_of_the_other_members_the_data_are_read(tmp_path: Path, export: Path, name: str) -> None:
    with lys_storage.open_wave(with_members(tmp_path / "less.npz", {name: None}, export)) as wave:
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))


@pytest.mark.parametrize("info", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "half", "noise", "deep"])
def test_an_acquisition_that_is_no_json_is_a_bad_file(tmp_path: Path, export: Path, info: bytes) -> None:
    path = with_members(tmp_path / "a.npz", {"acquisition.json": info}, export)
    with pytest.raises(BadFileError, match=r"a\.npz"):
        lys_storage.open_wave(path)


@pytest.mark.parametrize("info", [b"[]", b"1", b'"text"', b"null"], ids=["a list", "a number", "text", "null"])
def test_an_acquisition_that_is_no_dict_gives_no_info(tmp_path: Path, export: Path, info: bytes) -> None:
    with lys_storage.open_wave(with_members(tmp_path / "a.npz", {"acquisition.json": info}, export)) as wave:
        assert wave.info == {}
        assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))


# -- files that are not exports ----------------------------------------------------------------------------------------


def header(shape: str = "(3,)", descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no header", id="no header"),
        pytest.param(header(), id="no array"),
        pytest.param(header() + bytes(23), id="too short"),
        pytest.param(header() + bytes(25), id="too long"),
        pytest.param(header("(1 << 60,)"), id="arithmetic"),
        pytest.param(header(f"({1 << 62}, {1 << 62})"), id="a shape beyond all memory"),
        pytest.param(header(f"(0, {1 << 62}, {1 << 62})"), id="an empty one with huge dimensions"),
        pytest.param(header("(" + "1," * 100 + ")") + bytes(8), id="100 dimensions"),
        pytest.param(header("()", "'|O'") + pickle.dumps(1), id="objects"),
        pytest.param(header("(1,)", "[('a', '|O')]") + bytes(8), id="objects in a field"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "compressed"])
def test_data_that_are_none_are_a_bad_file(tmp_path: Path, data: bytes, method: int) -> None:
    """No other exception is raised, and no memory is allocated for the size that a header claims."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("data.npy", data)
    with pytest.raises(BadFileError) as caught:
        lys_storage.open_wave(tmp_path / "a.npz")
    assert isinstance(caught.value, ValueError)
    assert str(tmp_path / "a.npz") in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 1000, b"PK\x05\x06" + bytes(18)], ids=["empty", "garbage", "no member"]
)
def test_a_file_that_is_no_npz_is_a_bad_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(BadFileError):
        lys_storage.open_wave(tmp_path / "a.npz")


def test_an_export_that_is_cut_anywhere_is_a_bad_file(tmp_path: Path, export: Path) -> None:
    data = export.read_bytes()
    for size in range(0, len(data), 97):
        write_anew(tmp_path / "cut.npz", data[:size])
        with pytest.raises(BadFileError):
            lys_storage.open_wave(tmp_path / "cut.npz")


def test_any_byte_of_the_tail_may_rot_and_it_is_read_rightly_or_a_bad_file(tmp_path: Path, export: Path) -> None:
    """Names, sizes, offsets, checksums, pickles: a damaged byte that matters is refused, any other changes nothing.

    After damage in one copy of axes or note, the other one is read. After damage in the directory, the note can be empty, and
    this is reported.
    """
    data, opened, contents = bytearray(export.read_bytes()), set(), {}
    for at in range(4096 + 480, len(data)):
        data[at] ^= 0xFF
        write_anew(tmp_path / "rotten.npz", data)
        data[at] ^= 0xFF
        try:
            wave = lys_storage.open_wave(tmp_path / "rotten.npz")
        except BadFileError:
            continue
        opened.add(at)
        with wave:
            assert_same_array(wave.data, some((4, 5, 2, 3), "i4"))
            assert (wave.axes[0].tolist(), wave.info["frames_written"]) == ([1.5, 2, 3, 4], 1)
            if wave.note_error is not None:
                opened.remove(at)
            assert wave.note == ({"a": [1]} if wave.note_error is None else {})
    with zipfile.ZipFile(export) as archive:
        for name in ("axes.npy", "note.npy", "axis_0.npy", "note.json", "acquisition.json"):
            begin = data.index(archive.read(name), archive.getinfo(name).header_offset)
            contents[name] = set(range(begin, begin + archive.getinfo(name).file_size))
    assert not opened & contents.pop("acquisition.json")
    assert all(opened >= copy for copy in contents.values()), "there are two of each"


@pytest.mark.parametrize("at", [0, 5000, -1], ids=["the first byte of the array", "one amid it", "the last"])
def test_with_check_every_byte_is_read_and_a_wrong_one_is_a_bad_file(tmp_path: Path, at: int) -> None:
    """Without `verify` opening has the same cost for any size, and does not find damage in the array."""
    path = tmp_path / "data.npz"
    with lys_storage.create(path, (3000,), "<u2", grid_ndim=0) as scan:
        scan[()] = np.arange(3000, dtype="<u2")
    with lys_storage.open_wave(path, verify=True) as wave:
        place = wave._stored.offset + at % 6000
        assert wave.data.tolist() == list(range(3000))
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with lys_storage.open_wave(path) as wave:
        assert wave.data.tolist() != list(range(3000))
    with pytest.raises(BadFileError, match=r"data\.npz: Bad CRC-32 for file 'data\.npy'"):
        lys_storage.open_wave(path, verify=True)


def test_with_check_compressed_members_are_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, data=np.arange(3000), axes=np.array([None]), note=np.array({}, object))
    lys_storage.open_wave(path, verify=True).close()
    assert lys_storage.verify(path) == []


def test_a_file_that_is_not_there_is_an_os_error_of_the_family(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(StorageOSError) as caught:
            lys_storage.open_wave(path)
        assert caught.value.filename == os.fspath(path)


def test_verify_reads_every_byte_and_lists_what_is_wrong(tmp_path: Path) -> None:
    """The list is empty if the file is sound. The progress ends at its total."""
    with lys_storage.create(tmp_path / "a.npz", (4, 1000), "u2", grid_ndim=1) as scan:
        scan[...] = np.arange(4000, dtype="u2").reshape(4, 1000)
    told: list[tuple[int, int]] = []
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.verify(on_progress=lambda done, total: told.append((done, total))) == []
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] > 8000
    with open(scan.path, "r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    with lys_storage.open_wave(scan.path) as wave:
        assert wave.verify() == ["Bad CRC-32 for file 'data.npy'"]
    with pytest.raises(lys_storage.ScanClosedError):
        wave.verify()
