"""Interrupted scans, and the files in a folder: find, take over, recover, verify, list."""

from __future__ import annotations

from .listing import DAMAGED, list_scans
from .recovery import Recovered, find_interrupted, inspect, recover
from .takeover import resume, resume_scan
from .verification import Problem, as_json, verify

__all__ = [
    "DAMAGED",
    "Problem",
    "Recovered",
    "as_json",
    "find_interrupted",
    "inspect",
    "list_scans",
    "recover",
    "resume",
    "resume_scan",
    "verify",
]
