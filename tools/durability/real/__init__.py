"""Power cuts of a real filesystem (ext4, xfs, btrfs) on a disk that records writes and flushes. Linux, as root.

system: mount and namespaces; write_cache, fuse: the disk; filesystem: a filesystem on it; processes, roles: the programs
that run on it (`python -m tools.durability.real`); writer: real scans; told: what it told; cuts: cut, recover, compare;
report: the table.
"""
