"""The command line, `lys-storage`. Importing it loads neither Qt, lys, matplotlib nor rich: each command loads its own."""

from __future__ import annotations

from .arguments import main

__all__ = ["main"]
