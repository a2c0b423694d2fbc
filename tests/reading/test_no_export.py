"""What is no export: each error says what is there, and what to do."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, LysStorageError, StorageOSError


def said(path: Path) -> str:
    with pytest.raises(LysStorageError) as caught:
        lys_storage.open_wave(path)
    return str(caught.value)


@pytest.mark.parametrize("running", [True, False], ids=["running", "interrupted"])
def test_a_scan_in_progress(tmp_path: Path, running: bool) -> None:
    """By the name of its scan file, of its journal, and of its export to be."""
    part = tmp_path / "a.npz.part"
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1) as scan:
        scan[0] = np.ones(3, "u2")
        if not running:
            scan.suspend()
        advice = (
            "while it is written, its Scan reads it; if it was interrupted, "
            f"lys-storage recover '{tmp_path}' exports it, and lys_storage.resume continues it"
        )
        assert said(part) == f"{part} is a scan in progress, and no export yet; {advice}"
        journal = tmp_path / "a.npz.part.journal"
        assert said(journal) == f"{journal} belongs to the scan in progress a.npz.part, and is no export; {advice}"
        missing = said(tmp_path / "a.npz")
        assert f"{os.strerror(errno.ENOENT)}; a.npz.part, a scan in progress, is there: {advice}" in missing
        (tmp_path / "a.npz").touch()
        empty = said(tmp_path / "a.npz")
        assert empty == (
            f"{tmp_path / 'a.npz'} is empty: nothing has been written to it; a.npz.part, a scan in progress, is there: "
            f"{advice}"
        )
        (tmp_path / "a.npz").unlink()
        scan.suspend()


def test_a_scan_in_progress_that_will_replace_an_export(tmp_path: Path) -> None:
    (tmp_path / "a.npz.1f2e3d4c.part").write_bytes(b"")
    assert "a.npz.1f2e3d4c.part, a scan in progress, is there" in said(tmp_path / "a.npz")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageOSError, match=r"is a folder.*which lys-storage ls lists") as caught:
        lys_storage.open_wave(tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(tmp_path))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """The suffix may have been forgotten: lys adds it."""
    with pytest.raises(StorageOSError) as caught:
        lys_storage.open_wave(tmp_path / "none.npz")
    assert (
        str(caught.value) == f"[Errno {errno.ENOENT}] open: {os.strerror(errno.ENOENT)}: {str(tmp_path / 'none.npz')!r}"
    )
    lys_storage.create(tmp_path / "a.npz", (2,)).close()
    assert "; a.npz is there: " in said(tmp_path / "a")
    assert said(tmp_path / "nowhere" / "a.npz").count("nowhere") == 1


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    assert said(tmp_path / "a.npz") == f"{tmp_path / 'a.npz'} is empty: nothing has been written to it"


def test_an_npz_of_others(tmp_path: Path) -> None:
    """The arrays that it has, and who reads them."""
    path = tmp_path / "a.npz"
    np.savez(path, counts=np.zeros(2), x=np.zeros(3))
    text = f"{path}: is no export: it has no array 'data'. It holds 'counts', 'x'; numpy.load reads its arrays"
    assert said(path) == text
    np.savez(path, **{f"a{k}": np.zeros(1) for k in range(9)})
    assert "It holds 'a0', 'a1', 'a2', 'a3', 'a4' and 4 more; numpy.load reads its arrays" in said(path)
    np.savez(path)
    assert said(path).endswith("It holds nothing")


def test_a_zip_of_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("word/\x1b.xml", b"")
    assert said(tmp_path / "a.npz").endswith("It holds 'word/\\x1b.xml'")


def test_a_part_of_another_program(tmp_path: Path) -> None:
    """A browser's, say: nothing of a scan is said where there is no journal."""
    (tmp_path / "setup.exe.part").write_bytes(b"MZ" * 100)
    text = said(tmp_path / "setup.exe.part")
    assert ("is no sound .npz" in text, "scan" in text.replace(str(tmp_path), "")) == (True, False)


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
        pytest.param("a\0b", errno.EINVAL, "no file can have this name: .*null.*check the path", id="a NUL"),
        pytest.param("a" * 300, errno.ENAMETOOLONG if os.name == "posix" else None, "open: ", id="a long one"),
        pytest.param(b"a.npz", errno.ENOENT, "open: ", id="bytes of a file that is missing"),
    ],
)
def test_a_name_that_no_file_has(path: str | bytes, number: int | None, words: str) -> None:
    with pytest.raises(StorageOSError, match=words) as caught:
        lys_storage.open_wave(path)
    assert number is None or caught.value.errno == number


@pytest.mark.skipif(os.name != "posix", reason="names are UTF-16 there")
def test_a_name_that_the_system_cannot_write() -> None:
    with pytest.raises(StorageOSError, match="no file can have this name"):
        lys_storage.open_wave("a\ud800.npz")


@pytest.mark.parametrize("path", [None, 5.0, ["a.npz"]])
def test_what_is_no_path(path: object) -> None:
    with pytest.raises(BadFileError, match="is no path: give the name of an export"):
        lys_storage.open_wave(path)  # type: ignore[arg-type]


def test_a_path_of_bytes(tmp_path: Path) -> None:
    lys_storage.create(tmp_path / "a.npz", (2,), fill_value=0).close()
    with lys_storage.open_wave(os.fsencode(tmp_path / "a.npz")) as wave:
        assert (wave.path, wave.data.tolist()) == (tmp_path / "a.npz", [0.0, 0.0])
