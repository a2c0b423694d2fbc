"""Files that are not exports: each error says what the file is, and what to do."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, LysStorageError, StorageOSError
from lys_storage.format import quoted
from tests.systems import not_on_windows


def said(path: Path) -> str:
    with pytest.raises(LysStorageError) as caught:
        lys_storage.open_wave(path)
    return str(caught.value)


@pytest.mark.parametrize("running", [True, False], ids=["running", "interrupted"])
def test_a_scan_in_progress(tmp_path: Path, running: bool) -> None:
    """It is named by its scan file, its journal, and its later export."""
    part = tmp_path / "a.npz.part"
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1) as scan:
        scan[0] = np.ones(3, "u2")
        if not running:
            scan.suspend()
        advice = (
            "open_wave('a.npz.part') and lys_storage.follow read its frames, also while it is written; if it was "
            f"interrupted, lys-storage recover {quoted(tmp_path)} exports it, and lys_storage.resume continues it"
        )
        with lys_storage.open_wave(part) as wave:
            assert (wave.read().tolist(), wave.written.tolist()) == (
                [[1, 1, 1], *[[0, 0, 0]] * 3],
                [True, *[False] * 3],
            )
        journal = tmp_path / "a.npz.part.journal"
        assert said(journal) == f"{journal} belongs to the scan in progress a.npz.part, and is not an export; {advice}"
        missing = said(tmp_path / "a.npz")
        assert f"{os.strerror(errno.ENOENT)}; its scan in progress a.npz.part exists: {advice}" in missing
        (tmp_path / "a.npz").touch()
        empty = said(tmp_path / "a.npz")
        assert empty == (
            f"{tmp_path / 'a.npz'} is empty, expected an export: a .npz with an array 'data'; "
            f"its scan in progress a.npz.part exists: {advice}"
        )
        (tmp_path / "a.npz").unlink()
        for named in (part, journal, tmp_path / "a.npz"):  # what the message says does work
            with lys_storage.follow(named) as follower:
                assert follower.read(0).tolist() == [1, 1, 1]
        scan.suspend()


def test_a_scan_in_progress_that_will_replace_an_export(tmp_path: Path) -> None:
    (tmp_path / "a.npz.1f2e3d4c.part").write_bytes(b"")
    assert "its scan in progress a.npz.1f2e3d4c.part exists" in said(tmp_path / "a.npz")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageOSError, match=r"is a folder.*which lys-storage ls lists") as caught:
        lys_storage.open_wave(tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(tmp_path))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """The suffix may be left out by mistake: lys adds it."""
    with pytest.raises(StorageOSError) as caught:
        lys_storage.open_wave(tmp_path / "none.npz")
    assert (
        str(caught.value) == f"[Errno {errno.ENOENT}] open: {os.strerror(errno.ENOENT)}: {str(tmp_path / 'none.npz')!r}"
    )
    lys_storage.create(tmp_path / "a.npz", (2,)).close()
    assert "; did you mean a.npz?: " in said(tmp_path / "a")
    assert said(tmp_path / "nowhere" / "a.npz").count("nowhere") == 1


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    text = "is empty, expected an export: a .npz with an array 'data'; check the name, or restore a copy"
    assert said(tmp_path / "a.npz") == f"{tmp_path / 'a.npz'} {text}"


@pytest.mark.parametrize(
    ("begin", "what", "next_step"),
    [
        pytest.param(b"\x93NUMPY\x01\0", "a .npy file", "numpy.load reads it", id="npy"),
        pytest.param(b"\x89HDF\r\n\x1a\n", "an HDF5 file", "h5py reads it", id="HDF5"),
        pytest.param(b"II*\0", "a TIFF file", "tifffile reads it", id="TIFF, little-endian"),
        pytest.param(b"MM\0*", "a TIFF file", "tifffile reads it", id="TIFF, big-endian"),
        pytest.param(b"II+\0", "a TIFF file", "tifffile reads it", id="BigTIFF"),
        pytest.param(
            b"beam",
            "not a ZIP archive",
            "check the name (lys-storage ls lists exports), or restore a copy",
            id="text",
        ),
    ],
)
def test_a_file_of_another_format(tmp_path: Path, begin: bytes, what: str, next_step: str) -> None:
    """The message says what the file is, what was expected, and what reads it."""
    path = tmp_path / "a.npz"
    path.write_bytes(begin + bytes(500))
    assert said(path) == f"{path} is {what}, expected an export: a .npz with an array 'data'; {next_step}"


RESTORE = "; if it was an export, restore a copy; lys-storage verify lists all files with errors"


def test_an_export_that_is_cut_short(tmp_path: Path) -> None:
    """It begins as a ZIP archive. The message keeps the reason that zipfile gives."""
    path = lys_storage.create(tmp_path / "a.npz", (300,)).close()
    path.write_bytes(path.read_bytes()[:5000])
    reason = "BadZipFile: File is not a zip file"
    assert said(path) == f"{path} cannot be read as an export: {reason}{RESTORE}"


def test_an_export_whose_first_bytes_are_damaged(tmp_path: Path) -> None:
    """It still ends as a ZIP archive, and is not taken for another format."""
    path = lys_storage.create(tmp_path / "a.npz", (300,)).close()
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert "TIFF" not in said(path)
    assert said(path).endswith(RESTORE)


@not_on_windows("modes of files are POSIX")
def test_a_file_that_this_user_may_not_read(tmp_path: Path) -> None:
    path = lys_storage.create(tmp_path / "a.npz", (3,)).close()
    path.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:  # root can read everything
            os.seteuid(65534)
        text = said(path)
    finally:
        os.seteuid(user)
    advice = "this user may not read the file: change its owner or its mode"
    assert text == f"[Errno {errno.EACCES}] open: {os.strerror(errno.EACCES)}; {advice}: {str(path)!r}"


def test_an_npz_of_others(tmp_path: Path) -> None:
    """The message lists its arrays, and what reads them."""
    path = tmp_path / "a.npz"
    np.savez(path, counts=np.zeros(2), x=np.zeros(3))
    text = f"{path}: is not an export: it has no array 'data'. It holds 'counts', 'x'; numpy.load reads its arrays"
    assert said(path) == text
    np.savez(path, **{f"a{k}": np.zeros(1) for k in range(9)})
    assert "It holds 'a0', 'a1', 'a2', 'a3', 'a4' and 4 more; numpy.load reads its arrays" in said(path)
    np.savez(path)
    assert said(path).endswith("It holds nothing; check the name: lys-storage ls lists exports")


def test_a_zip_of_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("word/\x1b.xml", b"")
    assert said(tmp_path / "a.npz").endswith("It holds 'word/\\x1b.xml'; check the name: lys-storage ls lists exports")


def test_a_part_of_another_program(tmp_path: Path) -> None:
    """For example of a browser. Without a journal the message does not mention a scan."""
    (tmp_path / "setup.exe.part").write_bytes(b"MZ" * 100)
    text = said(tmp_path / "setup.exe.part")
    assert ("is not a ZIP archive" in text, "scan" in text.replace(str(tmp_path), "")) == (True, False)


def test_no_path_stands_twice_in_a_message(tmp_path: Path) -> None:
    (tmp_path / "noise.npz").write_bytes(b"noise" * 100)
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    np.savez(tmp_path / "objects.npz", data=np.array([{}], object))
    for name in ("noise.npz", "other.npz", "objects.npz", "none.npz"):
        with pytest.raises((BadFileError, StorageOSError)) as caught:
            lys_storage.open_wave(tmp_path / name)
        assert str(caught.value).count(name) == 1


@pytest.mark.parametrize(
    ("path", "number", "words"),
    [
        pytest.param("a\0b", errno.EINVAL, "cannot be the name of a file: .*null.*check the path", id="a NUL"),
        pytest.param("a" * 300, errno.ENAMETOOLONG if os.name == "posix" else None, "open: ", id="a long one"),
        pytest.param(b"a.npz", errno.ENOENT, "open: ", id="bytes of a file that is missing"),
    ],
)
def test_a_name_that_no_file_has(path: str | bytes, number: int | None, words: str) -> None:
    with pytest.raises(StorageOSError, match=words) as caught:
        lys_storage.open_wave(path)
    assert number is None or caught.value.errno == number


@not_on_windows("a name can have any UTF-16 unit")
def test_a_name_that_the_system_cannot_write() -> None:
    with pytest.raises(StorageOSError, match="cannot be the name of a file"):
        lys_storage.open_wave("a\ud800.npz")


@pytest.mark.parametrize("path", [None, 5.0, ["a.npz"]])
def test_what_is_no_path(path: object) -> None:
    with pytest.raises(BadFileError, match="is not a path: give the name of an export"):
        lys_storage.open_wave(path)  # type: ignore[arg-type]


def test_a_path_of_bytes(tmp_path: Path) -> None:
    lys_storage.create(tmp_path / "a.npz", (2,), fill_value=0).close()
    with lys_storage.open_wave(os.fsencode(tmp_path / "a.npz")) as wave:
        assert (wave.path, wave.data.tolist()) == (tmp_path / "a.npz", [0.0, 0.0])
