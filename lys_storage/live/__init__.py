"""Follows scans that other processes write. Never changes a file, never maps one, and needs no help of the writer."""

from __future__ import annotations

from .events import Indices
from .followed_array import FollowedArray
from .follower import Follower, follow
from .tracker import FINISHED, REMOVED, WAITING, Tracker

__all__ = [
    "FINISHED",
    "REMOVED",
    "WAITING",
    "FollowedArray",
    "Follower",
    "Indices",
    "Tracker",
    "follow",
]
