"""Finds, takes over, recovers, verifies and lists the scans in a folder."""

from __future__ import annotations

from .find import Found, Kind, find_scan_file, is_gone, walk
from .listing import list_scans
from .looking import Entry, ScanDetails, details_of, find_named, look_at, scan_state
from .recognition import (
    DAMAGED,
    FINALIZED,
    FOREIGN,
    INTERRUPTED,
    NOT_READABLE,
    RUNNING,
    UNKNOWN,
    describe,
    opened_scan_id,
    with_path,
)
from .recovery import Recovered, find_interrupted, inspect, recover
from .takeover import resume, resume_scan
from .verification import Problem, Verified, verify, verify_each

__all__ = [
    "DAMAGED",
    "FINALIZED",
    "FOREIGN",
    "INTERRUPTED",
    "NOT_READABLE",
    "RUNNING",
    "UNKNOWN",
    "Entry",
    "Found",
    "Kind",
    "Problem",
    "Recovered",
    "ScanDetails",
    "Verified",
    "describe",
    "details_of",
    "find_interrupted",
    "find_named",
    "find_scan_file",
    "inspect",
    "is_gone",
    "list_scans",
    "look_at",
    "opened_scan_id",
    "recover",
    "resume",
    "resume_scan",
    "scan_state",
    "verify",
    "verify_each",
    "walk",
    "with_path",
]
