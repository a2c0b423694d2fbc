"""What lys needs under Qt 6: stand-ins for three names of Qt 5. It never imports lys."""

from __future__ import annotations

from typing import Any

from . import binding


class _DesktopWidget:
    """The part of Qt 5's QDesktopWidget that lys uses: the dots per inch of the main screen, as integers."""

    def physicalDpiX(self) -> int:
        return self._dpi("physicalDotsPerInchX")

    def physicalDpiY(self) -> int:
        return self._dpi("physicalDotsPerInchY")

    @staticmethod
    def _dpi(name: str) -> int:
        screen = binding.QtGui.QGuiApplication.primaryScreen()
        dpi = 0.0 if screen is None else float(getattr(screen, name)())
        # A screen without a size (a remote one) reports 0 or infinity, and lys divides by the value.
        return round(dpi) if 1.0 <= dpi < 10_000.0 else 96


class _RegExp:
    """The part of Qt 5's QRegExp that lys's Python editor uses."""

    def __init__(self, pattern: str) -> None:
        self._pattern = binding.QtCore.QRegularExpression(pattern)
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
    """Qt 5's qApp: the application that exists when it is used, false if there is none. lys quits through it."""

    def __bool__(self) -> bool:
        return binding.QtCore.QCoreApplication.instance() is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(binding.QtCore.QCoreApplication.instance(), name)


def prepare_lys() -> None:
    """Make `import lys`, and a lys main window, work in this process. Calling it twice is harmless.

    Under Qt 6 it sets the stand-ins on qtpy's modules, except for names that qtpy has already. Under Qt 5 it does
    nothing. Importing `lys_storage.qt` calls it. Raises BindingError if QtWidgets cannot be loaded.
    """
    if binding.API_NAME == "PyQt5":
        return
    stand_ins = (
        (binding.QtWidgets, "QDesktopWidget", _DesktopWidget),
        (binding.QtCore, "QRegExp", _RegExp),
        (binding.QtGui, "qApp", _RunningApplication()),
    )
    for module, name, stand_in in stand_ins:
        if not hasattr(module, name):
            setattr(module, name, stand_in)
