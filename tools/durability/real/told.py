"""The writer's reports up to the power cut: a ledger for each scan."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.durability.ledger import Ledger
from tools.durability.oracle import Expected


@dataclass
class Told:
    """One scan. The times of its ledger are in ns of the monotonic clock."""

    number: int
    plan: dict[str, Any]
    ledger: Ledger = field(default_factory=Ledger)
    path: str | None = None
    fill: bytes | None = None  # None if the cut came before the report
    is_numbered: bool = True
    close_began: bool = False

    @property
    def expected(self) -> Expected:
        fills = {np.dtype(self.plan["dtype"]): self.fill}
        return Expected(tuple(self.plan["shape"]), self.plan["grid_ndim"], fills, scan=self.number)

    def take(self, when: int, what: str, *rest: Any) -> None:
        if what == "reserved":
            self.path, self.fill = rest[0]["path"], bytes.fromhex(rest[0]["fill"])
            self.is_numbered = rest[0]["numbered"]
        elif what == "close begun":
            self.close_began = True
        else:
            self.ledger.take(what, *rest, when=when)


def read_told(lines: list[str], cut_ns: int) -> tuple[dict[int, Told], list[str]]:
    """The scans with their reports before the cut, and the writer's errors, also after the cut."""
    scans: dict[int, Told] = {}
    failed = []
    for line in lines:
        if not line.endswith("\n"):
            break
        when, number, what, *rest = json.loads(line)
        if what == "failed":
            failed.append(f"scan {number}: {rest[0]}")
        elif when < cut_ns and what == "scan begun":
            scans[number] = Told(number, rest[0])
        elif when < cut_ns and number in scans:
            scans[number].take(when, what, *rest)
    return scans, failed


def superseded(scan: Told, scans: dict[int, Told]) -> bool:
    """Whether a later scan of the same name may have replaced its export."""
    return not scan.is_numbered and any(
        other.number > scan.number and other.path == scan.path and other.close_began for other in scans.values()
    )
