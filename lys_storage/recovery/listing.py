"""Lists the exports and the scans in progress of a folder, each with its state.

Never changes a file, and never reads the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..disk import user_path
from .find import Kind, walk
from .looking import Entry, find_named, look_at

_KINDS = (Kind.EXPORT, Kind.SCAN, Kind.LEFTOVERS, Kind.FOLDER)


def list_scans(folder: str | os.PathLike[str]) -> Iterator[Entry]:
    """Every export and scan in progress below `folder`, sorted by path; or the one that `folder` names.

    Also listed: foreign files of such names, leftovers, and folders that may not be read. A scan is running if a process
    holds the lock of its scan file; clocks and process ids are not used.
    """
    root = user_path(folder)
    if root.is_dir():
        looks = (look_at(found, named=found.path == root) for found in walk(root, kinds=_KINDS))
    else:
        found = find_named(root)
        looks = (look_at(one, named=True) for one in ([found] if found is not None else []))
    for entry in looks:
        if entry is not None:
            yield entry
