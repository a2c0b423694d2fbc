"""The only package that changes files: every durable operation, and what differs between operating systems."""

from __future__ import annotations

from .array_read import read_block, read_elements, read_fortran_selection, read_selection
from .direct import FOLIO_BYTES
from .file import WRITE_BYTES, ZEROS_BYTES, Buffer, File, Frame, preadv_is_native
from .filesystem import boot_id, place_of, version
from .folder import (
    check_name,
    check_name_length,
    check_replaceable,
    ensure_fits,
    ensure_free_space,
    free_space,
    make_folder,
    remove_file,
    replace_file,
    sync_folder,
)
from .forks import call_in_forked_child, fork_generation, process_id, register_for_forks
from .lock import Lock, LockFile, probe_lock
from .memory import available_memory, known_available_memory
from .numbering import LOCK_NAME, claim_number, claim_path, free_number, give_back, give_up_claim
from .page_cache import WRITES_BACK, PageCache, open_page_cache
from .paths import AnyPath, absolute, user_path
from .pieces import FileCutError, folios_of, range_crc32, read_pieces, rewrite_pieces, rewrite_range, units_crc32
from .preallocation import Preallocation
from .probe import check_disk
from .publishing import publish_new
from .speed import Speed, rate_text
from .systems import HELD_BY_OTHERS, NO_SUCH_CALL, SYSTEM, Identity

__all__ = [
    "FOLIO_BYTES",
    "HELD_BY_OTHERS",
    "LOCK_NAME",
    "NO_SUCH_CALL",
    "SYSTEM",
    "WRITES_BACK",
    "WRITE_BYTES",
    "ZEROS_BYTES",
    "AnyPath",
    "Buffer",
    "File",
    "FileCutError",
    "Frame",
    "Identity",
    "Lock",
    "LockFile",
    "PageCache",
    "Preallocation",
    "Speed",
    "absolute",
    "available_memory",
    "boot_id",
    "call_in_forked_child",
    "check_disk",
    "check_name",
    "check_name_length",
    "check_replaceable",
    "claim_number",
    "claim_path",
    "ensure_fits",
    "ensure_free_space",
    "folios_of",
    "fork_generation",
    "free_number",
    "free_space",
    "give_back",
    "give_up_claim",
    "known_available_memory",
    "make_folder",
    "open_page_cache",
    "place_of",
    "preadv_is_native",
    "probe_lock",
    "process_id",
    "publish_new",
    "range_crc32",
    "rate_text",
    "read_block",
    "read_elements",
    "read_fortran_selection",
    "read_pieces",
    "read_selection",
    "register_for_forks",
    "remove_file",
    "replace_file",
    "rewrite_pieces",
    "rewrite_range",
    "sync_folder",
    "units_crc32",
    "user_path",
    "version",
]
