"""A memory-mapped, disk-backed array store for laboratories. A scan is written directly into the .npz that lys loads.

Scripts use `create` and `open_wave`. Set-ups with lys_instr use `DataStorage`; its first use imports Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import VERSION
from .conversion import Converted, Linked, convert, link
from .errors import (
    AxisLengthError,
    BadFileError,
    BindingError,
    ConversionError,
    CoordinateError,
    DiskFullError,
    FollowTimeoutError,
    FrameIndexError,
    FrameShapeError,
    FrameTypeError,
    LysStorageError,
    MissingExtraError,
    MissingFrameError,
    NameTakenError,
    NotEnoughMemoryError,
    NothingReservedError,
    ScanClosedError,
    ScanInUseError,
    ScanShapeError,
    StorageOSError,
    UnsafeFileError,
)
from .export import FinalizeReport
from .interop import register_lys_loader, unregister_lys_loader
from .inventory import Catalog, Cataloged, catalog
from .live import Follower, Indices, follow
from .reading import StoredWave, StoredWaves, open_wave, open_waves
from .recovery import Problem, Recovered, recover, resume, verify
from .scan import Scan, create

__version__ = VERSION

if TYPE_CHECKING:
    from .qt import DataStorage as DataStorage

# Not DataStorage: a star import would load Qt, or fail without it.
__all__ = [
    "AxisLengthError",
    "BadFileError",
    "BindingError",
    "Catalog",
    "Cataloged",
    "ConversionError",
    "Converted",
    "CoordinateError",
    "DiskFullError",
    "FinalizeReport",
    "FollowTimeoutError",
    "Follower",
    "FrameIndexError",
    "FrameShapeError",
    "FrameTypeError",
    "Indices",
    "Linked",
    "LysStorageError",
    "MissingExtraError",
    "MissingFrameError",
    "NameTakenError",
    "NotEnoughMemoryError",
    "NothingReservedError",
    "Problem",
    "Recovered",
    "Scan",
    "ScanClosedError",
    "ScanInUseError",
    "ScanShapeError",
    "StorageOSError",
    "StoredWave",
    "StoredWaves",
    "UnsafeFileError",
    "__version__",
    "catalog",
    "convert",
    "create",
    "follow",
    "link",
    "open_wave",
    "open_waves",
    "recover",
    "register_lys_loader",
    "resume",
    "unregister_lys_loader",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "DataStorage":
        from .qt import DataStorage

        return DataStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "DataStorage"})
