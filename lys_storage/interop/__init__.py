"""Entry points for other programs, which import the modules here by name. Never imported by the rest of lys_storage."""

from __future__ import annotations
