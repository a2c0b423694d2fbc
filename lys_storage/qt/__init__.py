"""`DataStorage`, `Follower`, and the Qt binding that they use. Importing this package loads Qt, or raises BindingError.

No other package but the demo imports Qt, and this one never imports lys.
"""

from __future__ import annotations

import contextlib

from ..errors import BindingError
from .binding import API_NAME, QtCore, Signal
from .follower import Follower
from .lys_compat import prepare_lys
from .storage import DataStorage

__all__ = ["API_NAME", "DataStorage", "Follower", "QtCore", "Signal", "prepare_lys"]

# A storage needs QtCore only: without the libraries of QtWidgets it works, and only lys does not.
with contextlib.suppress(BindingError):
    prepare_lys()
