"""The Qt binding that this process uses.

All other modules take `QtCore`, `Signal`, `Slot`, `QtGui` and `QtWidgets` from here. Importing this module never creates a
QApplication, never imports lys, needs no display, and leaves the environment unchanged (a child process, such as a dask
worker of lys, makes its own choice). QtGui and QtWidgets are loaded when they are first named.

1. A binding that is already loaded in the process is used, whatever `QT_API` says: two bindings do not mix.
2. Otherwise the binding that `QT_API` names ("pyqt6" or "pyqt5").
3. Otherwise PyQt6, or PyQt5 if PyQt6 is not installed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import BindingError, install_command

if TYPE_CHECKING:
    from PyQt6 import QtCore, QtGui, QtWidgets
    from PyQt6.QtCore import pyqtSignal as Signal
    from PyQt6.QtCore import pyqtSlot as Slot

__all__ = ["API_NAME", "SYSTEM_PACKAGES", "QtCore", "QtGui", "QtWidgets", "Signal", "Slot", "candidates", "is_deleted"]

#: The Debian packages that PyQt6 and lys need on a minimal system.
SYSTEM_PACKAGES = "libglib2.0-0 libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1"

_SUPPORTED = {"pyqt6": "PyQt6", "pyqt5": "PyQt5"}
_INSTALL = {"PyQt6": install_command("qt"), "PyQt5": "pip install PyQt5 qtpy"}
_KNOWN = ("PyQt6", "PyQt5", "PySide6", "PySide2")


def candidates(loaded: Collection[str], requested: str | None) -> tuple[str, ...]:
    """The bindings to try, in order of preference.

    `loaded`: the bindings whose QtCore is loaded in the process ("PyQt5"). `requested`: the value of QT_API, or None.
    Raises BindingError if no binding can work.
    """
    if len(loaded) > 1:
        raise BindingError(
            f"{' and '.join(loaded)} are both loaded in this process, and two Qt bindings do not work together: "
            "start again and import only one of them, or set QT_API=pyqt6 (or pyqt5) so that all agree"
        )
    for name in loaded:
        if name not in _SUPPORTED.values():
            raise BindingError(
                f"{name} is loaded in this process, but lys_storage and lys need PyQt6 or PyQt5: "
                "start again without it, or use lys_storage.create(), which needs no Qt"
            )
        return (name,)
    if not requested:
        return tuple(_SUPPORTED.values())
    try:
        return (_SUPPORTED[requested.strip().lower()],)
    except KeyError:
        raise BindingError(
            f"QT_API={requested} names no binding that lys_storage and lys work with: "
            "set it to pyqt6 or pyqt5, or unset it"
        ) from None


def _load_error(name: str, reason: ImportError) -> BindingError:
    """The error for a binding that is installed but cannot be loaded."""
    text = f"{name} is installed but cannot be loaded: {reason}"
    if library := re.search(r"lib[\w.+-]*\.so[.\d]*", str(reason)):
        text += f"; the system library {library[0]} is missing or cannot be used: on Debian and Ubuntu, "
        text += f"apt-get install {SYSTEM_PACKAGES}"
    return BindingError(text)


def _load() -> str:
    """Load QtCore of the binding to use, and return the binding's name."""
    requested = os.environ.get("QT_API")
    names = candidates([name for name in _KNOWN if sys.modules.get(f"{name}.QtCore")], requested)
    for name in names:
        try:
            importlib.import_module(f"{name}.QtCore")
        except ModuleNotFoundError as reason:
            if (reason.name or "").partition(".")[0] != name:
                raise _load_error(name, reason) from reason
        except ImportError as reason:
            raise _load_error(name, reason) from reason
        else:
            return name
    asked = f"QT_API={requested}, but " if requested else ""
    raise BindingError(
        f"{asked}{' and '.join(names)} cannot be found in this Python: {_INSTALL[names[0]]}. "
        "lys_storage.create() needs no Qt"
    )


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set `values` in os.environ for the duration of the block."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _import_qtpy(name: str) -> None:
    # FORCE_QT_API: otherwise qtpy takes PyQt5 if the bare package is in sys.modules, whichever QtCore is loaded.
    with _environment(QT_API=name.lower(), FORCE_QT_API="1"):
        try:
            qtpy = importlib.import_module("qtpy")
        except ModuleNotFoundError as reason:
            if reason.name != "qtpy":
                raise
            raise BindingError(
                f"{name} is installed, but qtpy cannot be found in this Python: {_INSTALL[name]}"
            ) from None
    if name != qtpy.API_NAME:
        raise BindingError(
            f"qtpy has settled on {qtpy.API_NAME}, but {name} is loaded in this process: "
            "start again with only one of them"
        )


def _module(name: str) -> ModuleType:
    """Import `qtpy.<name>`; BindingError if its libraries cannot be loaded."""
    try:
        return importlib.import_module(f"qtpy.{name}")
    except ImportError as reason:
        raise _load_error(f"{API_NAME}.{name}", reason) from reason


#: "PyQt6" or "PyQt5".
API_NAME: str = _load()
_import_qtpy(API_NAME)

_sip = importlib.import_module(f"{API_NAME}.sip")  # qtpy.compat.isalive asks it too, but loads QtWidgets


def is_deleted(thing: Any) -> bool:
    """Whether the C++ part of a QObject is gone: its signals and its Qt methods then raise RuntimeError."""
    return bool(_sip.isdeleted(thing))


if not TYPE_CHECKING:
    QtCore = _module("QtCore")
    Signal, Slot = QtCore.Signal, QtCore.Slot

    def __getattr__(name: str) -> ModuleType:
        if name in ("QtGui", "QtWidgets"):
            return _module(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
