"""Makes `lys.load` open large exports lazily. Never changes how other files are loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from numbers import Real
from typing import Any

from ..errors import LysStorageError, ScanShapeError
from ..format import EXPORT_SUFFIX, INFO_FORMAT, INFO_MEMBER
from ..reading import open_wave
from .lys_import import import_lys
from .members import member_names

DEFAULT_BYTES = 1 << 30


class LysLoader:
    """What `lys.load` calls for a .npz. `former`: what it called before, for all files that this one does not take."""

    def __init__(self, former: Callable[..., Any], above_bytes: float) -> None:
        self.former, self.above_bytes = former, above_bytes

    def __call__(self, path: str, *args: Any, **kwargs: Any) -> Any:
        """A lys.DaskWave of a large export of lys_storage, or what `former` returns. A damaged export is an error."""
        if os.path.getsize(path) > self.above_bytes:  # a smaller file has a smaller array: this reads nothing
            try:
                with open_wave(path) as wave:
                    if wave.info.get("format") == INFO_FORMAT and wave.nbytes > self.above_bytes:
                        return wave.to_lys_dask()
            except LysStorageError:
                if INFO_MEMBER in member_names(path):
                    raise  # the former loader could fill the memory before it finds the damage
        return self.former(path, *args, **kwargs)


def register_lys_loader(*, above_bytes: float = DEFAULT_BYTES) -> None:
    """Make `lys.load`, and what uses it in lys, open an export of lys_storage lazily if its array is large.

    `above_bytes`: an array of more bytes than this is loaded as `StoredWave.to_lys_dask()`, a `lys.DaskWave`; `lys.multicut`
    takes it, and never holds it in memory. All other files are loaded as before: smaller ones, those of lys itself, and
    those of other programs. A large export that is damaged raises BadFileError. `lys.Wave(path)` loads the whole file, as
    before. A second call only changes `above_bytes`; `unregister_lys_loader` restores what was there.

    Imports lys, which makes a QApplication. Raises ScanShapeError (a ValueError) if `above_bytes` is negative or no number,
    and what `StoredWave.to_lys` raises if lys cannot be imported.
    """
    if isinstance(above_bytes, bool) or not isinstance(above_bytes, Real) or not above_bytes >= 0:
        raise ScanShapeError(f"above_bytes is {above_bytes!r}, expected a number of bytes, at least 0")
    lys = import_lys()
    known = _registered(lys)
    if isinstance(known, LysLoader):
        known.above_bytes = above_bytes
    else:
        lys.registerFileLoader(EXPORT_SUFFIX, LysLoader(known, above_bytes))


def unregister_lys_loader() -> None:
    """Load all files in lys as before `register_lys_loader`. Does nothing if it was not called.

    If another program has registered its own loader since, that stays.
    """
    lys = sys.modules.get("lys")
    known = None if lys is None else _registered(lys)
    if lys is not None and isinstance(known, LysLoader):
        lys.registerFileLoader(EXPORT_SUFFIX, known.former)


def _registered(lys: Any) -> Callable[..., Any]:
    """What `lys.load` calls for a .npz. lys has no public way to ask."""
    known: Callable[..., Any] = getattr(lys.functions, "_dic", {}).get(EXPORT_SUFFIX, lys.Wave)
    return known
