"""How a storage is created, and what its repr shows."""

from __future__ import annotations

import gc
import inspect
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.qt import QtCore
from tests.helpers import files
from tests.qt.helpers import wait_until

# -- the constructor ---------------------------------------------------------------------------------------------------

SETTINGS = {
    "base": ".",
    "folder": "folder",
    "name": "data",
    "numbered": True,
    "enabled": True,
    "dtype": None,
    "flushInterval": 1.0,
    "incomplete": "fill",
    "burstBytes": None,
    "cachedBytes": None,
}


def test_the_signature_names_every_property_that_can_be_set() -> None:
    """They are keyword-only, with the defaults of the properties."""
    parameters = inspect.signature(lys_storage.DataStorage).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == SETTINGS
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    members = inspect.getmembers(lys_storage.DataStorage, lambda member: isinstance(member, property))
    assert {name for name, member in members if member.fset is not None} == set(SETTINGS)


@pytest.mark.parametrize("wrong", ["fodler", "array", "parent", "_base"])
def test_an_unknown_keyword_is_pythons_own_error(qapp: Any, wrong: str) -> None:
    """lys_instr accepts any keyword and drops it. It has no `parent` either."""
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
        lys_storage.DataStorage(**{wrong: "x"})
    with pytest.raises(TypeError, match="positional argument"):
        lys_storage.DataStorage("x")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [("base", 5), ("numbered", "no"), ("flushInterval", "1s"), ("incomplete", "cut"), ("dtype", "f99")],
)
def test_the_constructor_refuses_what_the_property_refuses(make_storage: Any, name: str, value: Any) -> None:
    storage = make_storage()
    with pytest.raises((TypeError, ValueError)) as by_property:
        setattr(storage, name, value)
    with pytest.raises(type(by_property.value)) as by_constructor:
        make_storage(**{name: value})
    assert str(by_constructor.value) == str(by_property.value)


def test_a_tilde_is_the_home_folder(make_storage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds in `base`, and for the number. Elsewhere `~` is an ordinary character."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    storage = make_storage(base="~/data", folder="~", name="~")
    for number in range(2):
        assert storage.getNumber() == number
        storage.reserve((2,), axes=[])
        storage.update({(): np.ones(2)})
        assert storage.waitForSaved()
    assert files(tmp_path) == {"data/~/~_0.npz", "data/~/~_1.npz"}
    assert storage.base == "~/data"


def test_a_storage_without_a_scan_is_freed_by_its_reference_count(qapp: Any) -> None:
    """No object that it owns refers to it."""
    gc.disable()
    try:
        storage = lys_storage.DataStorage()
        alive = weakref.ref(storage)
        del storage
        assert alive() is None
    finally:
        gc.enable()


# -- repr --------------------------------------------------------------------------------------------------------------


def test_repr_tells_the_next_scan_and_the_running_one(make_storage: Any, folder: Path, disk: Any) -> None:
    storage = make_storage(name="map", dtype="u2")
    coming = f'next scan "{folder / "map"}_<number>.npz", uint16'
    path = f'"{folder / "map_0.npz"}"'
    assert repr(storage) == f"<DataStorage: {coming}>"
    storage.reserve((2, 3))
    storage.update({(0,): np.ones(3, "u2")})
    assert repr(storage) == f"<DataStorage: {coming}; running {path}, shape (2, 3), 1 of 2 frames>"
    storage.update({(1,): np.ones(3, "u2")})
    state = "shape (2, 3), 2 of 2 frames, waits for save(axes)"
    assert repr(storage) == f"<DataStorage: {coming}; running {path}, {state}>"
    disk.hold()
    storage.save([])
    assert repr(storage) == f"<DataStorage: {coming}; saving {path}>"
    disk.release()
    assert storage.waitForSaved()
    assert repr(storage) == f"<DataStorage: {coming}>"
    storage.close()
    assert repr(storage) == "<DataStorage: closed>"


@pytest.mark.parametrize(
    ("settings", "path", "dtype"),
    [
        ({"numbered": False, "name": "a/b"}, "a/b.npz", "float64"),
        ({"dtype": "detector"}, "data_<number>.npz", "the dtype of its first frame"),
    ],
)
def test_repr_tells_what_is_set(make_storage: Any, folder: Path, settings: Any, path: str, dtype: str) -> None:
    assert repr(make_storage(**settings)) == f'<DataStorage: next scan "{folder / path}", {dtype}>'
    assert repr(make_storage(**settings, enabled=False)) == "<DataStorage: not enabled, stores nothing>"


def test_repr_reads_nothing_from_the_disk(storage: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger that shows it does not wait for an unreachable share."""
    monkeypatch.setattr("lys_storage.qt.settings.free_number", pytest.fail)
    for name in ("stat", "lstat", "scandir", "listdir", "open"):
        monkeypatch.setattr(f"os.{name}", pytest.fail)
    text = repr(storage)
    monkeypatch.undo()
    assert "next scan" in text


def test_repr_never_raises(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """This includes a storage that Qt has deleted, that was never initialized, or whose state is broken."""
    storage.reserve((2, 3))
    storage.update({(0,): np.ones(3)})
    storage.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
    wait_until(lambda: not storage.saving)
    assert repr(storage) == "<DataStorage: deleted by Qt>"
    new = lys_storage.DataStorage.__new__(lys_storage.DataStorage)
    assert repr(new).startswith("<DataStorage: ")
    other = lys_storage.DataStorage()
    monkeypatch.setattr(other, "_saves", None)
    assert repr(other) == "<DataStorage: its state cannot be read (AttributeError)>"
    monkeypatch.undo()
    other.close()
