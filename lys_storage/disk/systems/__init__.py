"""The calls of this operating system, as SYSTEM. Nothing else of lys_storage knows on which system it runs.

`interface.py` says what each call promises; `posix.py` has what Linux, macOS and others share.
"""

from __future__ import annotations

import sys

from .interface import HELD_BY_OTHERS, NO_SUCH_CALL, Identity, Place, System

if sys.platform == "win32":
    from .windows import Windows as _ThisSystem
elif sys.platform == "darwin":
    from .macos import MacOS as _ThisSystem
elif sys.platform == "linux":
    from .linux import Linux as _ThisSystem
else:
    from .posix import Posix as _ThisSystem

SYSTEM: System = _ThisSystem()

__all__ = ["HELD_BY_OTHERS", "NO_SUCH_CALL", "SYSTEM", "Identity", "Place", "System"]
