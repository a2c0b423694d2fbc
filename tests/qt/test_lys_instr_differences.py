"""What differs for a script that was written for lys_instr's storage: each row of docs/lys_instr.md has a test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from tests.helpers import assert_same_array, files, load_export
from tests.qt.helpers import listen_to

PAGE = (Path(__file__).parents[2] / "docs/lys_instr.md").read_text(encoding="utf8")


def test_each_row_of_the_page_names_a_test_that_is_there() -> None:
    rows = PAGE[PAGE.index("|---|") :].splitlines()[1:]
    named = [re.fullmatch(r"\|.*\| `(test_\w+)` \|", row) for row in rows]
    tests = "".join(path.read_text(encoding="utf8") for path in Path(__file__).parent.glob("test_*.py"))
    assert len(rows) > 20
    assert [row for row, match in zip(rows, named, strict=True) if not match or f"def {match[1]}(" not in tests] == []


def test_the_script_of_the_page_stores_its_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qapp: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(script, {})
    export = load_export(tmp_path / "run/map_0.npz")
    assert [axis.tolist() for axis in export.axes] == [[0.5, 1.5], [0, 1, 2]]


def test_asking_for_the_number_emits_nothing(storage: Any) -> None:
    """A slot of numberChanged may call getNumber."""
    log = listen_to(storage)
    assert storage.getNumber() == 0
    assert log == []


def test_a_second_reserve_saves_what_has_come(storage: Any, folder: Path) -> None:
    """It has its own name and tag. A scan without a frame leaves no file."""
    storage.tagRequest.connect(lambda tag: tag.update(name=storage.name))
    for name in ("a", "empty", "b"):
        storage.name = name
        storage.reserve((2,))
        if name != "empty":
            storage.update({(0,): 1.0})
    storage.close()
    assert files(folder) == {"a_0.npz", "b_0.npz"}
    for name in ("a", "b"):
        export = load_export(folder / f"{name}_0.npz")
        assert_same_array(export.data, [1.0, np.nan])
        assert export.note["name"] == name


def test_a_shape_without_elements_is_refused(storage: Any, folder: Path) -> None:
    with pytest.raises(lys_storage.ScanShapeError, match=r"\(0, 3\)"):
        storage.reserve((0, 3))
    assert not folder.exists()


def test_the_array_is_a_map_that_cannot_be_written(storage: Any, folder: Path) -> None:
    """Missing frames are zeros in it, and hold the fill value in the file."""
    storage.reserve((2, 3), fillValue=7)
    storage.update({(0,): np.ones(3)})
    assert_same_array(storage._arr, [[1.0] * 3, [0.0] * 3])
    with pytest.raises(ValueError, match="read-only"):
        storage._arr[1] = 5
    storage.save([])
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_0.npz").data, [[1.0] * 3, [7.0] * 3])


@pytest.mark.parametrize("frame", [np.zeros((1, 3)), np.zeros(1), np.zeros((2, 3))], ids=lambda frame: str(frame.shape))
def test_a_frame_is_not_broadcast(storage: Any, frame: Any) -> None:
    storage.reserve((2, 3))
    with pytest.raises(lys_storage.FrameShapeError, match=re.escape(str(frame.shape))):
        storage.update({(0,): frame})
    assert not storage.written.any()


@pytest.mark.parametrize("index", [(), (0,)], ids=str)
def test_a_frame_with_nothing_reserved_is_an_error(storage: Any, index: Any) -> None:
    with pytest.raises(lys_storage.NothingReservedError, match="reserve"):
        storage.update({index: 1.0})


def test_a_repeated_index_does_not_end_the_scan(storage: Any, folder: Path) -> None:
    """The later frame is stored."""
    storage.reserve((2, 3), axes=[])
    for value in (1.0, 2.0, 3.0):
        storage.update({(0,): np.full(3, value)})
    assert storage._paths != []
    storage.update({(1,): np.zeros(3)})
    assert storage._paths == []
    assert storage.waitForSaved()
    assert_same_array(load_export(folder / "data_0.npz").data, [[3.0] * 3, [0.0] * 3])
