"""The table of a case, and the format of its figures."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.scale_cases._measuring import Figure


def new_table(case: str) -> Table:
    return Table("", "measured", "at", "extrapolated", "to, by the model", "", title=case, box=SIMPLE)


def add_figure(table: Table, figure: Figure) -> None:
    by = f"{figure.to}: {figure.model}" if figure.model else ""
    measured = shown(figure.value, figure.unit)
    there = shown(figure.extrapolated, figure.unit.removesuffix("/frame"))
    table.add_row(figure.name, measured, figure.at, there, by, figure.note)


def add_failure(table: Table, why: Exception) -> None:
    table.add_row("FAILED", "", "", "", "", str(why))


def shown(value: float | None, unit: str) -> str:
    """A value in a readable unit."""
    if value is None:
        return "-"
    if unit == "yes/no":
        return "yes" if value else "NO"
    if unit == "bytes":
        return _shown_bytes(value)
    if unit == "s":
        return _shown_seconds(value)
    if unit == "s/frame":
        return f"{_shown_seconds(value)} per frame"
    return f"{value:.3g} {unit}".removesuffix(" share")


def _shown_bytes(value: float) -> str:
    for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(value) >= size:
            return f"{value / size:,.3g} {name}"
    return f"{value:,.3g} B"


def _shown_seconds(value: float) -> str:
    if value >= 7200:
        return f"{value / 3600:.1f} h"
    for name, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e9:.3g} ns"
