"""Amounts of bytes as they are typed, such as 500GB, and amounts of bytes and of time as they are printed."""

from __future__ import annotations

import re

import click

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?((?i:[KMGTP]i?)?)B", re.ASCII)
_PREFIXES = " KMGTP"
_MOST = 1e18


def parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes: "500GB" is 500e9, "100GiB" is 100 << 30."""
    return None if value is None else _bytes(value, "500GB, 2TB or 100GiB")


def parse_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Bytes per second: "800MB", or "800MB/s"."""
    return None if value is None else _bytes(value.strip().removesuffix("/s"), "800MB")


def _bytes(text: str, examples: str) -> int:
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(
            f"{text!r} is not a number of bytes: write a number, and B, kB, MB, GB, TB or PB, or KiB, MiB, ...; "
            f"for example {examples}"
        )
    prefix = found[2].upper()
    exact = float(found[1]) * (1024.0 if prefix.endswith("I") else 1000.0) ** _PREFIXES.index(prefix[:1] or " ")
    if not 1 <= exact <= _MOST:
        raise click.BadParameter(f"{text!r} is not between 1 byte and 1000 PB")
    return round(exact)


def bytes_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.95:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.1f} PB"


def seconds_text(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.0f} s"
