"""Compares the files after a crash with the promises in the ledger.

Every experiment uses this oracle. It does not use lys_storage, and changes no file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from tools.durability.exports import Export, read_export, zip_fault
from tools.durability.files import digest
from tools.durability.frames import find_version
from tools.durability.ledger import Ledger


class Kind(Enum):
    LOST = "lost"  # a promised version is absent
    PASSED_OFF = "passed off"  # listed as data (or as missing), but the bytes are not data (or not the fill value)
    BAD_FILE = "bad file"  # a file under a final name is invalid
    VANISHED = "vanished"  # a file under a final name is gone or changed
    OTHER = "other"


@dataclass(frozen=True)
class Fault:
    """A broken promise. `count`: the number of affected cells."""

    kind: Kind
    text: str
    count: int = 1


@dataclass(frozen=True)
class Expected:
    """How a scan was created. `fills`: one element of the fill value for each dtype that the scan may have; None: any."""

    shape: tuple[int, ...]
    grid_ndim: int
    fills: Mapping[np.dtype[Any], bytes | None]
    scan: int = 0
    may_be_trimmed: bool = False


@dataclass
class Verdict:
    """`oldest_lost`: the time of the oldest acknowledgement whose version is lost, but was not promised."""

    faults: list[Fault] = field(default_factory=list)
    compared: int = 0
    missing: int = 0
    oldest_lost: int | None = None

    def add(self, kind: Kind, text: str, count: int = 1) -> None:
        self.faults.append(Fault(kind, text, count))

    def count(self, kind: Kind) -> int:
        return sum(fault.count for fault in self.faults if fault.kind is kind)

    def texts(self) -> list[str]:
        return [fault.text for fault in self.faults]


def check_archives(folder: Path) -> list[Fault]:
    """Check that every file under a final name is complete and valid, as it must be at any moment."""
    found = (zip_fault(path) for path in sorted(folder.rglob("*.npz")))
    return [Fault(Kind.BAD_FILE, text) for text in found if text is not None]


def check_earlier_files(
    folder: Path, earlier: Mapping[str, bytes], *, replaceable: Collection[str] = ()
) -> list[Fault]:
    """Check that the `earlier` final files (name: digest) still exist, and are unchanged unless replaceable."""
    faults = []
    for name, its_digest in earlier.items():
        path = folder / name
        if not path.exists():
            faults.append(Fault(Kind.VANISHED, f"{name} existed before, and is gone"))
        elif name not in replaceable and digest(path.read_bytes()) != its_digest:
            faults.append(Fault(Kind.VANISHED, f"{name} existed before, and its content has changed"))
    return faults


def read_exports(folder: Path, verdict: Verdict, *, but: Collection[bytes] = (), unzip: bool = False) -> list[Export]:
    """Test every archive below `folder`, and read the exports except those with the digests `but`. Bad files are faults."""
    exports = []
    for path in sorted(folder.rglob("*.npz")):
        fault = zip_fault(path, unzip=unzip)
        if fault is not None:
            verdict.add(Kind.BAD_FILE, fault)
        elif not but or digest(path.read_bytes()) not in but:
            try:
                exports.append(read_export(path))
            except Exception as error:
                verdict.add(Kind.BAD_FILE, f"{path.name} is bad: {type(error).__name__}: {error}")
    return exports


def compare(
    expected: Expected,
    exports: list[Export],
    ledger: Ledger,
    verdict: Verdict,
    *,
    folder: Path,
    required: bool,
    cut_ns: int | None = None,
) -> None:
    """Compare the exports of one scan with its ledger. One export is expected.

    Args:
        expected: how the scan was created.
        exports: the exports of this scan.
        ledger: the promises.
        verdict: collects the faults and the counts.
        folder: `ledger.saved` is relative to it.
        required: whether an export must exist even if no cell is promised.
        cut_ns: the time of the power cut, if the ledger's times are in ns; for messages.
    """
    if len(exports) > 1:
        verdict.add(Kind.OTHER, f"exports {[export.path.name for export in exports]}, one expected")
    if ledger.saved is not None and folder / ledger.saved not in [export.path for export in exports]:
        verdict.add(
            Kind.VANISHED, f"{ledger.saved} was saved, and is gone; the exports are {[e.path.name for e in exports]}"
        )
    if not exports:
        promised = len(ledger.promised())
        if required and ledger.saved is None:
            verdict.add(Kind.OTHER, "no export, one expected")
        if promised:
            verdict.add(Kind.LOST, f"no export, {promised} cells were promised", promised)
        acknowledged = [when for v in ledger.cells.values() for when in v.acknowledged.values()]
        verdict.oldest_lost = min(acknowledged, default=None)
    for export in exports:
        _Comparison(expected, export, ledger, verdict, cut_ns).run()


class _Comparison:
    """One export against one ledger."""

    def __init__(
        self, expected: Expected, export: Export, ledger: Ledger, verdict: Verdict, cut_ns: int | None
    ) -> None:
        self.expected, self.export, self.ledger, self.verdict, self.cut_ns = expected, export, ledger, verdict, cut_ns
        self.what = export.path.name

    def run(self) -> None:
        if self._shape_is_right():
            self._compare_metadata()
            self._compare_cells()

    def _add(self, kind: Kind, text: str, count: int = 1) -> None:
        self.verdict.add(kind, f"{self.what}: {text}", count)

    def _shape_is_right(self) -> bool:
        data, expected = self.export.data, self.expected
        trimmed = expected.may_be_trimmed and "trimmed_from" in self.export.info
        right = data.shape == expected.shape or (trimmed and data.ndim == len(expected.shape))
        if not right or data.dtype not in expected.fills:
            text = f"{data.shape} {data.dtype}, expected {expected.shape} {[str(dtype) for dtype in expected.fills]}"
            self._add(Kind.OTHER, text)
            promised = len(self.ledger.promised())
            if promised:
                self._add(Kind.LOST, f"{promised} cells were promised", promised)
            return False
        return True

    def _compare_metadata(self) -> None:
        """The notes of the experiments hold their version."""
        version, allowed = self.export.note.get("version"), self.ledger.allowed_notes()
        if version not in allowed:
            self._add(Kind.OTHER, f"note has version {version}, allowed: {sorted(allowed)}")
        shape, axes = self.export.data.shape, self.export.axes
        if len(axes) != len(shape) or any(
            axis is not None and len(axis) != n for axis, n in zip(axes, shape, strict=True)
        ):
            lengths = [None if axis is None else len(axis) for axis in axes]
            self._add(Kind.OTHER, f"axes have lengths {lengths}, expected {shape}")

    def _compare_cells(self) -> None:
        data, info, promised = self.export.data, self.export.info, self.ledger.promised()
        cells = int(np.prod(data.shape[: self.expected.grid_ndim]))  # a trimmed scan keeps the first cells
        if cut_off := [cell for cell in promised if cell >= cells]:
            self._add(Kind.LOST, f"cells {cut_off} were promised, but are trimmed away: {data.shape}", len(cut_off))
        missing = missing_cells(info, cells)
        for cell, frame in enumerate(data.reshape(cells, -1)):
            self.verdict.compared += 1
            self.verdict.missing += cell in missing
            found = self._version_of(cell, frame.tobytes(), is_missing=cell in missing)
            if cell in promised and (found or 0) < promised[cell]:
                state = "missing" if found is None else f"version {found}"
                self._add(
                    Kind.LOST,
                    f"cell {cell} is {state}, version {promised[cell]}{self._age(cell, promised)} was promised",
                )
            else:
                self._note_what_is_gone(cell, found)

    def _version_of(self, cell: int, content: bytes, *, is_missing: bool) -> int | None:
        """The version that the cell holds; None if it is missing, or (a fault) holds no version that was begun."""
        if is_missing:
            fill = self.expected.fills[self.export.data.dtype]
            if fill is not None and content != fill * (len(content) // len(fill)):
                self._add(Kind.PASSED_OFF, f"cell {cell} is listed as missing, but does not hold the fill value")
            return None
        begun = self.ledger.versions(cell).begun
        found = find_version(content, self.expected.scan, cell, sorted(begun, reverse=True))
        if found is None:
            self._add(
                Kind.PASSED_OFF, f"cell {cell} is listed as data, but is torn or none of its versions {list(begun)}"
            )
        return found

    def _age(self, cell: int, promised: dict[int, int]) -> str:
        if self.cut_ns is None:
            return ""
        age = (self.cut_ns - self.ledger.versions(cell).acknowledged[promised[cell]]) / 1e6
        return f", acknowledged {age:.1f} ms before the cut,"

    def _note_what_is_gone(self, cell: int, found: int | None) -> None:
        acknowledged = self.ledger.versions(cell).acknowledged
        newer = [when for version, when in acknowledged.items() if version > (found or 0)]
        self.verdict.oldest_lost = min(
            [when for when in (self.verdict.oldest_lost, *newer) if when is not None], default=None
        )


def missing_cells(info: dict[str, Any], cells: int) -> set[int]:
    """The cells that an export lists as missing. A frame of a coarse grid covers several cells."""
    per_frame = cells // info["frames_expected"]
    return {cell for first, stop in info["missing"] for cell in range(first * per_frame, stop * per_frame)}
