"""Power cuts of a real filesystem (ext4, xfs, btrfs) on a disk that records writes and flushes. Linux, as root.

system: mount and namespaces; write_cache, fuse: the disk; filesystem: a filesystem on it; processes, __main__: the child
processes (`python -m tools.durability.real`); writer: writes real scans; told: the writer's reports; cuts: cut, recover,
compare; report: the table.
"""
