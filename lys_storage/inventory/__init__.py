"""Lists many exports with what their headers say, as records and as a table of pandas. Never changes a file."""

from __future__ import annotations

from .cataloging import Catalog, Cataloged, catalog

__all__ = ["Catalog", "Cataloged", "catalog"]
