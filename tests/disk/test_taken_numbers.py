"""Which files take a number. A claim that fails takes none."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import lys_storage
from lys_storage.disk import free_number
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import begin_scan


@pytest.mark.parametrize("name", ["data_0.npz.bak", "data_0.npz.txt", "data_0.npz.zip"])
def test_a_file_that_is_neither_export_nor_scan_takes_no_number(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert free_number(tmp_path, "data") == 0


def test_a_reserve_that_fails_takes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes a folder that takes long to scan: only this process can have made the gap."""
    for k in range(3000):
        (tmp_path / f"data_{k}.npz").touch()
    assert free_number(tmp_path, "data") == 3000

    def full(*args: Any, **options: Any) -> bool:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "preallocate", full)
        with pytest.raises(lys_storage.DiskFullError):
            begin_scan(tmp_path, "data", (2,), "u1", numbered=True, replace_existing=False)
    assert free_number(tmp_path, "data") == 3000


def test_an_empty_file_in_the_place_of_a_scan_is_named_as_what_it_is(tmp_path: Path) -> None:
    """A process that was killed while it claimed a name leaves such a file. It has nothing to recover."""
    (tmp_path / "data.npz.part").touch()
    with pytest.raises(lys_storage.NameTakenError, match="an empty file is there: delete it"):
        lys_storage.create(tmp_path / "data.npz", (3, 4))
