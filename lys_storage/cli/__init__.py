"""The command line, `lys-storage`. Importing it loads neither Qt, lys, matplotlib nor rich: each command loads its own."""

from __future__ import annotations

from . import catalog as _catalog  # noqa: F401  these modules add their commands to main
from . import conversion as _conversion  # noqa: F401
from . import preview as _preview  # noqa: F401
from . import watch as _watch  # noqa: F401
from .arguments import main

__all__ = ["main"]
