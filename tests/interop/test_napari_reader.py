"""The reader of napari: its manifest, and the layers that it returns. napari is not needed."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, ScanShapeError
from lys_storage.interop.napari_reader import get_reader, read
from tests.helpers import Finished, assert_same_array, some

dask = pytest.importorskip("dask", reason="pip install 'lys_storage[dask]' is needed")
pytest.importorskip("dask.array")

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "lys_storage" / "napari.yaml"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


def layer(path: Any) -> tuple[Any, dict[str, Any]]:
    reader = get_reader(path)
    assert reader is not None
    ((data, attributes, kind),) = reader(path)
    assert kind == "image"
    return data, attributes


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    path = tmp_path / "µ [1].npz"
    with lys_storage.create(
        path,
        (3, 4, 5, 6),
        "u2",
        grid_ndim=2,
        axes=[[0.5, 1, 1.5], [9, 6, 3, 0], [1, 2, 4, 8, 16], None],
        axis_names=["y", None, "row", "column"],
        units=["mm", None, None, "pixel"],
        note={"sample": "TaS2"},
    ) as scan:
        scan[...] = some((3, 4, 5, 6), "u2")
    return path


# -- the layers --------------------------------------------------------------------------------------------------------


def test_a_layer_reads_a_frame_at_a_time_and_is_placed_by_the_uniform_axes(scan_file: Path) -> None:
    data, attributes = layer(str(scan_file))
    assert (data.chunksize, data.npartitions) == ((1, 1, 5, 6), 12)
    assert_same_array(data.compute(), some((3, 4, 5, 6), "u2"))
    metadata = attributes.pop("metadata")
    assert attributes == {
        "name": "µ [1]",
        "rgb": False,
        "scale": [0.5, -3.0, 1.0, 1.0],
        "translate": [0.5, 9.0, 0.0, 0.0],
        "axis_labels": ["y", "axis_1", "row", "column"],
    }
    axes = metadata.pop("axes")
    assert [axis.tolist() for axis in axes[:3]] == [[0.5, 1.0, 1.5], [9, 6, 3, 0], [1, 2, 4, 8, 16]]
    assert metadata == {
        "note": {"sample": "TaS2"},
        "units": ["mm", None, None, "pixel"],
        "paths": [str(scan_file)],
    }


@pytest.mark.parametrize(
    ("axis", "placed"),
    [
        pytest.param(np.linspace(0, 1, 5, dtype="f4") + 1000, (0.25, 1000.0), id="float32"),
        pytest.param([3, 3, 3, 3, 3], (1.0, 0.0), id="one point"),
        pytest.param([0, 1, 2, 3, np.nan], (1.0, 0.0), id="NaN"),
        pytest.param([0, 1, 2, 3, np.inf], (1.0, 0.0), id="infinity"),
        pytest.param([0, 1, 2, 3.02, 4], (1.0, 0.0), id="not uniform"),
        pytest.param(np.arange(5).astype("M8[s]"), (1.0, 0.0), id="times"),
        pytest.param(["a", "b", "c", "d", "e"], (1.0, 0.0), id="text"),
        pytest.param(np.arange(5) > 2, (1.0, 0.0), id="bool"),
        pytest.param(np.arange(10.0).reshape(5, 2), (1.0, 0.0), id="two-dimensional points"),
    ],
)
def test_an_axis_that_is_not_uniform_counts_positions(tmp_path: Path, axis: Any, placed: tuple[float, float]) -> None:
    with lys_storage.create(tmp_path / "a.npz", (5, 3), "u1", axes=[axis]):
        pass
    _, attributes = layer(str(tmp_path / "a.npz"))
    assert (attributes["scale"], attributes["translate"]) == ([placed[0], 1.0], [placed[1], 0.0])


def test_an_axis_of_one_point_has_a_place_and_no_step(tmp_path: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (1, 3), "u1", axes=[[2.5]]):
        pass
    _, attributes = layer(str(tmp_path / "a.npz"))
    assert (attributes["scale"], attributes["translate"]) == ([1.0, 1.0], [2.5, 0.0])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize(
    "array",
    [some((4, 5, 3), "f4"), np.asfortranarray(some((4, 5, 3), "i8")), some((2, 3), "c8"), np.zeros((0, 3, 0))],
    ids=["a last dimension of 3", "Fortran order", "complex", "empty"],
)
def test_arrays_of_other_programs_are_shown(tmp_path: Path, save: Any, array: Any) -> None:
    save(tmp_path / "a.npz", data=array)
    data, attributes = layer(str(tmp_path / "a.npz"))
    assert_same_array(data.compute(), array)
    assert attributes["rgb"] is False
    assert data.chunksize == (*(min(n, 1) for n in array.shape[:-2]), *array.shape[-2:])


@pytest.mark.parametrize(
    ("shape", "grid_ndim", "chunks"),
    [
        pytest.param((100, 100, 2, 3), 2, (1, 1, 2, 3), id="10,000 frames"),
        pytest.param((200, 100, 2, 3), 2, (1, 2, 2, 3), id="twice as many"),
        pytest.param((100_000, 2, 3), 1, (10, 2, 3), id="one dimension"),
        pytest.param((2000, 100, 2, 2), 2, (1, 20, 2, 2), id="a part of a row"),
        pytest.param((100, 300, 2, 7, 1, 1), 4, (1, 21 // 7, 2, 7, 1, 1), id="several rows"),
        pytest.param((4, 5), 0, (4, 5), id="no grid"),
    ],
)
def test_frames_are_merged_if_there_are_very_many(
    tmp_path: Path, shape: tuple[int, ...], grid_ndim: int, chunks: tuple[int, ...]
) -> None:
    """The whole graph is visited for each frame that is shown."""
    with lys_storage.create(tmp_path / "a.npz", shape, "u1", grid_ndim=grid_ndim):
        pass
    data, _ = layer(str(tmp_path / "a.npz"))
    assert data.chunksize == chunks
    assert data.npartitions <= 20_000


def test_merged_frames_have_at_most_64_mib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lys_storage.interop import napari_reader

    monkeypatch.setattr(napari_reader, "_MOST_BYTES", 35)
    monkeypatch.setattr(napari_reader, "_MOST_CHUNKS", 2)
    with lys_storage.create(tmp_path / "a.npz", (100, 2, 5), "u1", grid_ndim=1):
        pass
    assert layer(str(tmp_path / "a.npz"))[0].chunksize == (3, 2, 5)
    monkeypatch.setattr(napari_reader, "_MOST_BYTES", 9)
    assert layer(str(tmp_path / "a.npz"))[0].chunksize == (1, 2, 5)


def test_several_files_are_a_stack(tmp_path: Path, scan_file: Path) -> None:
    other = tmp_path / "other.npz"
    with lys_storage.create(other, (3, 4, 5, 6), "u2", grid_ndim=2, note={"sample": "x"}) as scan:
        scan[...] = np.uint16(7)
    data, attributes = layer([str(scan_file), str(other)])
    assert (data.shape, data.chunksize) == ((2, 3, 4, 5, 6), (1, 1, 1, 5, 6))
    assert int(data[1].min().compute()) == int(data[1].max().compute()) == 7
    assert (attributes["name"], len(attributes["scale"])) == ("µ [1] ... other", 5)
    assert layer([str(scan_file)])[0].shape == (3, 4, 5, 6)


def test_the_file_is_closed_and_read_by_its_path(scan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scan_file.parent)
    data, _ = layer(scan_file.name)
    monkeypatch.chdir("/")
    assert_same_array(data[2, 3].compute(), some((3, 4, 5, 6), "u2")[2, 3])


# -- other files -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_export_has_no_reader(tmp_path: Path, scan_file: Path) -> None:
    np.savez(tmp_path / "counts.npz", counts=np.ones(3))
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "folder.npz").mkdir()
    scan_file.rename(tmp_path / "named.zip")
    for name in ("counts.npz", "text.npz", "folder.npz", "named.zip", "absent.npz", "a\0.npz"):
        assert get_reader(str(tmp_path / name)) is None, name
    assert get_reader([]) is None


def test_a_list_with_a_file_of_others_has_no_reader(tmp_path: Path, scan_file: Path) -> None:
    (tmp_path / "text.npz").write_text("text")
    assert get_reader([str(scan_file), str(tmp_path / "text.npz")]) is None


@pytest.mark.parametrize(
    "array", [np.array(1.0), np.ones(3), np.array([["a"]]), np.zeros((2, 2), "M8[s]"), np.zeros((2, 2), "i4,f4")]
)
def test_an_array_that_is_no_image_is_an_error_that_says_so(tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "a.npz", data=array)
    with pytest.raises(ScanShapeError, match="napari shows numbers of two or more dimensions"):
        layer(str(tmp_path / "a.npz"))


def test_a_damaged_export_is_an_error_that_names_it(tmp_path: Path, scan_file: Path) -> None:
    from tests.reading.exports import with_members

    with_members(tmp_path / "a.npz", {"data.npy": b"\x93NUMPY"}, scan_file)
    with pytest.raises(BadFileError, match=r"a\.npz"):
        layer(str(tmp_path / "a.npz"))


# -- the manifest ------------------------------------------------------------------------------------------------------


def test_the_manifest_names_functions_that_exist_and_is_installed() -> None:
    text = MANIFEST.read_text(encoding="utf8")
    assert PYPROJECT["project"]["entry-points"]["napari.manifest"] == {"lys_storage": "lys_storage:napari.yaml"}
    assert MANIFEST.name in PYPROJECT["tool"]["setuptools"]["package-data"]["lys_storage"]
    names = re.findall(r"python_name: ([\w.]+):(\w+)", text)
    assert [getattr(importlib.import_module(module), name) for module, name in names] == [get_reader]
    assert re.search(r"^name: (\w+)$", text, re.MULTILINE)[1] == PYPROJECT["project"]["name"]
    commands = re.findall(r"- id: (.+)", text)
    assert re.findall(r"- command: (.+)", text) == commands


@pytest.mark.skipif(importlib.util.find_spec("npe2") is None, reason="pip install npe2 is needed")
def test_napari_accepts_the_manifest_and_reads_with_it(scan_file: Path, run_child: Callable[..., Finished]) -> None:
    """npe2 is what napari reads manifests with, and calls readers by. Its import warns."""
    child = run_child(
        """
import sys
from npe2 import PluginManager, PluginManifest, io_utils

manifest = PluginManifest.from_file(sys.argv[1])
manifest.validate_imports()
manager = PluginManager.instance()
manager.register(manifest)
for paths, stack in (sys.argv[2:], False), (sys.argv[2:] * 2, True):
    ((data, attributes, kind),) = io_utils._read(paths, stack=stack, _pm=manager)
    print(data.shape, len(attributes["axis_labels"]), kind)
print(list(manager.iter_compatible_readers(["a.tif"])))
""",
        MANIFEST,
        scan_file,
    )
    assert (child.code, child.out.splitlines()) == (
        0,
        ["(3, 4, 5, 6) 4 image", "(2, 3, 4, 5, 6) 5 image", "[]"],
    ), child.err


def test_read_is_what_get_reader_returns(scan_file: Path) -> None:
    assert get_reader(str(scan_file)) is read
