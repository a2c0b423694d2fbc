"""A file system with neither a rename that replaces nothing, nor links: exFAT through FUSE, some network shares."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import NameTakenError, StorageOSError
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan
from tests.helpers import files, interrupt, load_export
from tests.killing import every_death

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
CODES = ["EPERM", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL"]
FOREIGN = b"of another program"

Refuse = Callable[[int], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Take both calls away. A link fails with the errno, but with EEXIST if the new name exists, as Linux does."""

    def take_away(code: int) -> None:
        def link(old: Path, new: Path) -> None:
            raise OSError(errno.EEXIST if os.path.lexists(new) else code, "injected")

        monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
        monkeypatch.setattr(SYSTEM, "link", link)

    return take_away


@pytest.fixture
def neither(refuse: Refuse) -> None:
    refuse(errno.EPERM)


@pytest.mark.parametrize("code", CODES)
def test_a_scan_gets_its_name_by_a_rename(tmp_path: Path, refuse: Refuse, code: str) -> None:
    refuse(getattr(errno, code))
    with lys_storage.create(tmp_path / "data.npz", (2, 3), "u2", grid_ndim=1) as scan:
        scan[1] = [4, 5, 6]
    assert files(tmp_path) == {"data.npz"}
    assert load_export(tmp_path / "data.npz").data.tolist() == [[0, 0, 0], [4, 5, 6]]


def test_another_error_of_the_link_is_told_and_close_can_be_called_again(tmp_path: Path, refuse: Refuse) -> None:
    refuse(errno.EIO)
    scan = lys_storage.create(tmp_path / "data.npz", (2,), "u1")
    scan[...] = np.ones(2, "u1")
    with pytest.raises(StorageOSError, match=r"publish as data\.npz") as caught:
        scan.close()
    assert caught.value.errno == errno.EIO
    assert files(tmp_path) == {"data.npz.part", "data.npz.part.journal"}
    refuse(errno.EPERM)
    scan.close()
    assert files(tmp_path) == {"data.npz"}


@pytest.mark.usefixtures("neither")
def test_a_file_with_its_name_is_not_replaced(tmp_path: Path) -> None:
    """A numbered scan gets the next number, a recovered one another name, and another one is kept in progress."""
    plain = lys_storage.create(tmp_path / "data.npz", (2,), "u1")
    numbered = begin_scan(tmp_path, "run", (2,), "u1", numbered=True, replace_existing=False)
    for scan, name in ((plain, "data.npz"), (numbered, "run_0.npz")):
        scan[...] = np.ones(2, "u1")
        (tmp_path / name).write_bytes(FOREIGN)
    with pytest.raises(NameTakenError, match="is not replaced"):
        plain.close()
    plain.suspend()
    assert numbered.close().name == "run_1.npz"
    (found,) = lys_storage.recover(tmp_path)
    assert found.path == tmp_path / "data.recovered_0.npz"
    assert files(tmp_path) == {"data.npz", "data.recovered_0.npz", "run_0.npz", "run_1.npz"}
    assert (tmp_path / "data.npz").read_bytes() == (tmp_path / "run_0.npz").read_bytes() == FOREIGN


def test_a_file_that_comes_when_the_link_was_refused_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(old: Path, new: Path) -> None:
        new.write_bytes(FOREIGN)
        raise OSError(errno.EPERM, "injected")

    monkeypatch.setattr(SYSTEM, "rename_new", lambda old, new: False)
    monkeypatch.setattr(SYSTEM, "link", link)
    scan = lys_storage.create(tmp_path / "data.npz", (2,), "u1")
    scan[...] = np.ones(2, "u1")
    with pytest.raises(NameTakenError, match="is not replaced"):
        scan.close()
    assert (tmp_path / "data.npz").read_bytes() == FOREIGN
    (tmp_path / "data.npz").unlink()
    monkeypatch.undo()
    scan.close()


@pytest.mark.usefixtures("neither")
def test_two_recoveries_at_the_same_time_never_use_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both scans have the same name. The second one is recovered between the last look and the rename of the first."""
    (tmp_path / "data.npz").write_bytes(FOREIGN)
    first, second = (interrupt(tmp_path / "data.npz", frames=(k,), overwrite=True) for k in (0, 1))
    replace, found = SYSTEM.replace, []

    def also_the_second(old: Path, new: Path) -> None:
        if old == first:
            found.extend(lys_storage.recover(second))
        replace(old, new)

    monkeypatch.setattr(SYSTEM, "replace", also_the_second)
    found += lys_storage.recover(first)
    assert {result.path for result in found} == {tmp_path / f"data.recovered_{n}.npz" for n in (0, 1)}
    assert [load_export(Path(str(result.path))).data[:, 0].tolist() for result in found] == [[0, 2, 0, 0], [1, 0, 0, 0]]
    assert files(tmp_path) == {"data.npz", "data.recovered_0.npz", "data.recovered_1.npz"}


@pytest.mark.usefixtures("neither")
def test_a_recovered_scan_does_not_take_the_name_of_one_in_progress(tmp_path: Path) -> None:
    """The one in progress looks its name up, and renames then: nothing may come in between."""
    interrupt(tmp_path / "data.npz", overwrite=True)
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
        results = lys_storage.recover(tmp_path)
        assert [result.path.name for result in results if result.path] == ["data.recovered_0.npz"]
    assert load_export(tmp_path / "data.npz").data.tolist() == [1, 1]
    assert files(tmp_path) == {"data.npz", "data.recovered_0.npz"}


@pytest.mark.usefixtures("neither")
def test_a_file_of_another_format_gets_its_name_by_a_rename_too(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    with lys_storage.create(tmp_path / "data.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    lys_storage.convert(tmp_path / "data.npz", tmp_path / "data.h5")
    assert files(tmp_path) == {"data.npz", "data.h5"}
    before = (tmp_path / "data.h5").read_bytes()
    with pytest.raises(NameTakenError):
        lys_storage.convert(tmp_path / "data.npz", tmp_path / "data.h5")
    assert (tmp_path / "data.h5").read_bytes() == before


NEITHER = """
def refuse(old, new):
    raise OSError(errno.EEXIST if os.path.lexists(new) else errno.EPERM, "injected")

import errno
SYSTEM.rename_new = lambda old, new: False
SYSTEM.link = refuse

def foreign(name):
    with open(name, "wb") as file:
        file.write(b"of another program")
"""
SCANS = {
    "a plain name": """
def scenario(arm, say):
    scan = lys_storage.create("data.npz", (3, 1000), "u1", grid_ndim=1)
    scan[1] = np.full(1000, 7, "u1")
    arm()
    scan.close()
""",
    "the next number": """
from lys_storage.scan import begin_scan
def scenario(arm, say):
    scan = begin_scan(".", "data", (3, 1000), "u1", numbered=True, replace_existing=False, grid_ndim=1)
    scan[1] = np.full(1000, 7, "u1")
    foreign("data_0.npz")
    arm()
    scan.close()
""",
    "a recovered scan": """
def scenario(arm, say):
    scan = lys_storage.create("data.npz", (3, 1000), "u1", grid_ndim=1)
    scan[1] = np.full(1000, 7, "u1")
    scan.suspend()
    foreign("data.npz")
    arm()
    lys_storage.recover(".")
""",
}


@posix
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.usefixtures("neither")
@pytest.mark.parametrize("scan", SCANS)
def test_killed_at_any_step_of_its_end_a_scan_is_recovered_and_nothing_else_is_left(
    tmp_path: Path, run_child: Any, moment: str, scan: str
) -> None:
    """An export with a final name is complete at each of them. The file of another program stays.

    A claim whose process died before it made the lock file looks like a file of another program: it is named, and stays.
    """
    claim = "data.recovered_0.npz.part"
    claims = []
    for folder, _ in every_death(run_child, tmp_path, moment, NEITHER + SCANS[scan]):
        for _ in range(2):
            foreign = {path for path in folder.glob("data*.npz") if path.read_bytes() == FOREIGN}
            assert len(foreign) == (scan != "a plain name")
            exports = [path for path in folder.glob("data*.npz") if path not in foreign]
            assert all(load_export(path).data[:, 0].tolist() == [0, 7, 0] for path in exports)
            lys_storage.recover(folder)
        assert len(exports) == 1
        left = files(folder) - {path.name for path in (*foreign, *exports)}
        assert left == set() or (left == {claim} and (folder / claim).stat().st_size == 0)
        claims.append(len(left))
    assert sum(claims) <= 2
