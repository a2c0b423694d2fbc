"""The record of a scan's writes: which versions of its cells were begun, acknowledged and promised.

Every experiment feeds one ledger for each scan, in the order of the events, and the oracle queries it. The experiments
differ in one point only: after a kill every acknowledged version is promised; after a power cut only those that were
acknowledged before the last completed flush began. The ledger never reads a file.

A version is the number of a write. One thread at a time writes a cell, so the versions of a cell are in order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Versions:
    """The versions of one cell, or of the note: when each was begun, and when it was acknowledged."""

    begun: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)

    def promised(self, safe_before: float) -> int | None:
        return max((v for v, when in self.acknowledged.items() if when < safe_before), default=None)

    def allowed(self, safe_before: float) -> set[int]:
        """The versions that a cell may hold afterwards: the promised one, and those begun after it."""
        promised = self.promised(safe_before)
        return {v for v in self.begun if promised is None or v >= promised}


@dataclass
class Ledger:
    """`safe_before`: every version that was acknowledged before this moment is promised."""

    safe_before: float = 0
    cells: dict[int, Versions] = field(default_factory=dict)
    note: Versions = field(default_factory=lambda: Versions({0: -1}, {0: -1}))
    saved: str | None = None
    flushes: int = 0
    acknowledgements: int = 0
    last_version: int = 0
    _now: int = 0
    _flushes_begun: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of_killed_process(cls) -> Ledger:
        """The kernel keeps the writes of a killed process: every acknowledged version is promised."""
        return cls(safe_before=math.inf)

    def take(self, what: str, *rest: Any, when: int | None = None) -> None:
        """Record one fact. Without `when`, it follows all earlier facts."""
        self._now = self._now + 1 if when is None else when
        match what, rest:
            case "begun", (version, cells):
                self.last_version = max(self.last_version, version)
                for cell in cells:
                    self.cells.setdefault(cell, Versions()).begun[version] = self._now
            case "written", (version, cells):
                for cell in cells:
                    self.cells[cell].acknowledged[version] = self._now
                    self.acknowledgements += 1
            case "note begun", (version,):
                self.note.begun[version] = self._now
            case "note", (version,):
                self.note.acknowledged[version] = self._now
            case "flush begun", (number,):
                self._flushes_begun[number] = self._now
            case "flushed", (number,):
                self.flushes += 1
                self.safe_before = max(self.safe_before, self._flushes_begun.pop(number))
            case "saved", (name,):
                self.saved, self.safe_before = name, max(self.safe_before, self._now)
            case "found", (versions, note):
                self._begin_anew(versions, note)
            case _:
                raise ValueError(f"unknown fact {what!r} {rest}")

    def _begin_anew(self, versions: Mapping[int, int], note: int) -> None:
        """Restart from the versions that were read back after a cut: only these are promised and allowed."""
        now = self._now
        self.cells = {cell: Versions({version: now}, {version: now}) for cell, version in versions.items()}
        self.note = Versions({note: now}, {note: now})
        self.safe_before = now + 1

    def versions(self, cell: int) -> Versions:
        return self.cells.get(cell, Versions())

    def promised(self) -> dict[int, int]:
        """The promised version of each cell that has one."""
        found = ((cell, versions.promised(self.safe_before)) for cell, versions in self.cells.items())
        return {cell: version for cell, version in found if version is not None}

    def acknowledged_cells(self) -> list[int]:
        return [cell for cell, versions in self.cells.items() if versions.acknowledged]

    def allowed(self, cell: int) -> set[int]:
        return self.versions(cell).allowed(self.safe_before)

    def allowed_notes(self) -> set[int]:
        return self.note.allowed(self.safe_before)
