"""Which Qt binding this process uses, and what lys needs under Qt 6.

The one place that chooses: everything else takes `QtCore`, `Signal`, `QtGui` and `QtWidgets` from here. Importing it
never makes a QApplication, never imports lys, needs no display, and leaves the environment as it found it (a child
process, such as a dask worker of lys, makes its own choice).

1. A binding that is already loaded in the process is taken, whatever `QT_API` says: two do not mix.
2. Else the one that `QT_API` names ("pyqt6" or "pyqt5").
3. Else PyQt6, or PyQt5 where PyQt6 is not installed.
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

from lys_storage.errors import BindingError

if TYPE_CHECKING:
    from PyQt6 import QtCore, QtGui, QtWidgets
    from PyQt6.QtCore import pyqtSignal as Signal

__all__ = ["API_NAME", "QtCore", "QtGui", "QtWidgets", "Signal", "candidates", "prepare_lys"]

#: The Debian packages that PyQt6 and lys need on a bare system.
SYSTEM_PACKAGES = "libglib2.0-0 libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1"

_OURS = {"pyqt6": "PyQt6", "pyqt5": "PyQt5"}
_ALL = ("PyQt6", "PyQt5", "PySide6", "PySide2")


def candidates(loaded: Collection[str], requested: str | None) -> tuple[str, ...]:
    """The bindings to try, the best first.

    `loaded` are the bindings whose QtCore is in the process ("PyQt5"), `requested` is the value of QT_API, if any.
    Raises BindingError where no choice can be right.
    """
    if len(loaded) > 1:
        raise BindingError(
            f"{' and '.join(loaded)} are both loaded in this process, and two Qt bindings do not work together: "
            "start again and import only one of them, or set QT_API=pyqt6 (or pyqt5) so that all agree"
        )
    for name in loaded:
        if name not in _OURS.values():
            raise BindingError(
                f"{name} is loaded in this process, but lys_storage and lys need PyQt6 or PyQt5: "
                "start again without it, or use lys_storage.create(), which needs no Qt"
            )
        return (name,)
    if not requested:
        return tuple(_OURS.values())
    try:
        return (_OURS[requested.strip().lower()],)
    except KeyError:
        raise BindingError(
            f"QT_API={requested} names no binding that lys_storage and lys work with: "
            "set it to pyqt6 or pyqt5, or unset it"
        ) from None


def _unusable(name: str, reason: ImportError) -> BindingError:
    """What to tell about a binding that is installed and cannot be loaded."""
    text = f"{name} is installed but cannot be loaded: {reason}"
    if library := re.search(r"lib[\w.+-]*\.so[.\d]*", str(reason)):
        text += f"; the system library {library[0]} is missing or cannot be used: on Debian and Ubuntu, "
        text += f"apt-get install {SYSTEM_PACKAGES}"
    return BindingError(text)


def _load() -> str:
    """Load QtCore of the binding to use; its name."""
    requested = os.environ.get("QT_API")
    names = candidates([name for name in _ALL if sys.modules.get(f"{name}.QtCore")], requested)
    for name in names:
        try:
            importlib.import_module(f"{name}.QtCore")
        except ModuleNotFoundError as reason:
            if (reason.name or "").partition(".")[0] != name:
                raise _unusable(name, reason) from reason
        except ImportError as reason:
            raise _unusable(name, reason) from reason
        else:
            return name
    asked = f"QT_API={requested}, but " if requested else ""
    raise BindingError(f"{asked}{' and '.join(names)} cannot be found in this Python: pip install {names[0]}")


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """`values` in os.environ for a moment."""
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
    # Forced: by itself qtpy takes PyQt5 as soon as the bare package is in sys.modules, whichever QtCore is loaded.
    with _environment(QT_API=name.lower(), FORCE_QT_API="1"):
        qtpy = importlib.import_module("qtpy")
    if name != qtpy.API_NAME:
        raise BindingError(
            f"qtpy has settled on {qtpy.API_NAME}, but {name} is loaded in this process: "
            "start again with only one of them"
        )


def _module(name: str) -> ModuleType:
    """`QtWidgets` and the like, of the binding in use."""
    try:
        return importlib.import_module(f"qtpy.{name}")
    except ImportError as reason:
        raise _unusable(f"{API_NAME}.{name}", reason) from reason


class _DesktopWidget:
    """What lys asks of Qt 5's QDesktopWidget: the dots per inch of the main screen, as integers."""

    def physicalDpiX(self) -> int:
        return self._dpi("physicalDotsPerInchX")

    def physicalDpiY(self) -> int:
        return self._dpi("physicalDotsPerInchY")

    @staticmethod
    def _dpi(name: str) -> int:
        screen = _module("QtGui").QGuiApplication.primaryScreen()
        dpi = 0.0 if screen is None else float(getattr(screen, name)())
        # A screen without a size (a remote one) reports 0 or infinity, and lys divides by it.
        return round(dpi) if 1.0 <= dpi < 10_000.0 else 96


class _RegExp:
    """What lys's Python editor asks of Qt 5's QRegExp."""

    def __init__(self, pattern: str) -> None:
        self._pattern = _module("QtCore").QRegularExpression(pattern)
        self._match = self._pattern.match("")

    def indexIn(self, text: str, offset: int = 0) -> int:
        self._match = self._pattern.match(text, offset)
        return self.pos(0)

    def pos(self, nth: int = 0) -> int:
        return int(self._match.capturedStart(nth))

    def cap(self, nth: int = 0) -> str:
        return str(self._match.captured(nth))

    def matchedLength(self) -> int:
        return int(self._match.capturedLength(0)) if self._match.hasMatch() else -1


class _RunningApplication:
    """Qt 5's qApp: the application there is when it is asked, false where there is none. lys quits through it."""

    def __bool__(self) -> bool:
        return _module("QtCore").QCoreApplication.instance() is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(_module("QtCore").QCoreApplication.instance(), name)


def prepare_lys() -> None:
    """Make `import lys`, and a lys main window, work in this process.

    Under Qt 6 this puts stand-ins for what Qt 5 had and lys uses on qtpy's modules; under Qt 5 there is nothing to do.
    Importing this module has done it already. Raises BindingError where QtWidgets cannot be loaded.
    """
    if API_NAME == "PyQt5":
        return
    stand_ins = (("QtWidgets", "QDesktopWidget", _DesktopWidget), ("QtCore", "QRegExp", _RegExp))
    for module_name, name, stand_in in (*stand_ins, ("QtGui", "qApp", _RunningApplication())):
        module = _module(module_name)
        if not hasattr(module, name):
            setattr(module, name, stand_in)


#: "PyQt6" or "PyQt5".
API_NAME: str = _load()
_import_qtpy(API_NAME)

if not TYPE_CHECKING:
    QtCore = _module("QtCore")
    Signal = QtCore.Signal

    def __getattr__(name: str) -> ModuleType:
        if name in ("QtGui", "QtWidgets"):
            return _module(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# A storage needs QtCore only: where the libraries of QtWidgets are missing, it works all the same, and only lys cannot.
with contextlib.suppress(BindingError):
    prepare_lys()
