"""Imports lys in a process that may not have it, or that has Qt 6 or no display. Only this package and the demo import lys."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

from ..errors import BindingError, MissingExtraError, install_command

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


def import_lys() -> Any:
    """The package lys. Its first import makes a QApplication, even if there is one: a program with windows imports lys first.

    Raises MissingExtraError if it is not installed, or if another package has its name; BindingError if Qt cannot be used.
    """
    if "lys" not in sys.modules:
        if not _is_installed():
            command = install_command("lys")
            raise MissingExtraError(f"this needs lys (No module named 'lys'): {command}; it needs numpy < 2")
        _prepare_qt()
    try:
        import lys
    except ImportError as error:
        raise MissingExtraError(f"lys is installed, and cannot be imported: {error}; lys needs numpy < 2") from error
    if not hasattr(lys, "DaskWave"):
        raise MissingExtraError(f"{lys.__file__} is another package named lys: pip install lys-python")
    return lys


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("lys") is not None
    except ImportError:
        return False


def _prepare_qt() -> None:
    """Raises BindingError instead of what Qt would do without a display: abort the process."""
    from ..qt import prepare_lys

    if sys.platform == "linux" and not any(map(os.environ.get, _DISPLAYS)):
        raise BindingError(
            "lys needs a display, and there is none: set QT_QPA_PLATFORM=offscreen in the environment to use lys without "
            "windows; to_dask() and read() need no display"
        )
    prepare_lys()
