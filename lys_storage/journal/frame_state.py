"""The states of a frame."""

from __future__ import annotations

ABSENT, WRITING, WRITTEN, CHECKSUMMED, REWRITING, CHECKSUMMING, BLOCK_CHECKSUMMED = range(7)
"""Marks. WRITING: its first bytes are being written. WRITTEN: data. CHECKSUMMED: data, and the checksum is that of the bytes.
REWRITING: an older version is being overwritten. CHECKSUMMING: data, the checksum is being taken. BLOCK_CHECKSUMMED: data, and
the checksum of its block is that of the block's bytes."""
