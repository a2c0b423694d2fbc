"""The only place that changes files: every durable operation, and what differs between systems."""

from __future__ import annotations

from .array_read import read_selection
from .file import WRITES_BACK, Buffer, File, Frame, preadv_is_native
from .folder import ensure_free_space, make_folder, publish_new, remove_file, replace_file, sync_folder
from .numbering import claim_number, claim_path, free_number, give_back
from .preallocation import Preallocation
from .probe import check_disk
from .syscalls import boot_id

__all__ = [
    "WRITES_BACK",
    "Buffer",
    "File",
    "Frame",
    "Preallocation",
    "boot_id",
    "check_disk",
    "claim_number",
    "claim_path",
    "ensure_free_space",
    "free_number",
    "give_back",
    "make_folder",
    "preadv_is_native",
    "publish_new",
    "read_selection",
    "remove_file",
    "replace_file",
    "sync_folder",
]
