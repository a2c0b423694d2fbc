"""A modelled disk: it replays recorded operations, and chooses the state after a power cut.

Each unsynced write is kept, dropped, or torn at sectors of 512 bytes. After a cut each sector is in one of its states
since the last sync. Sizes are kept or dropped too, and so are names (creates, renames and removes without a later sync of
their folder). A sync of a file does not make its name durable. A sync of the folder does not make the file durable.

A failed sync behaves as on Linux: some of the dirty pages are lost. They read as written, but they are clean, so a later
sync does not write them. After a cut they have their old content, or are torn, unless a byte in them has been written or
stored through a map again.

The module never touches a real file.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tools.durability.files import Files

SECTOR = 512
PAGE = 4096
Event = tuple[Any, ...]
"""An operation: its name and its arguments. Files are identified by inode numbers, folders by paths."""


@dataclass
class Change:
    """One unsynced operation on a file: the changed sectors, the size, and (`cut`) the size that it was truncated to."""

    sectors: list[tuple[int, bytes]]
    size: int
    cut: int | None = None

    def apply(self, content: bytearray, sectors: list[tuple[int, bytes]], *, sized: bool) -> None:
        if self.cut is not None and sized:
            del content[self.cut :]
        if sized and len(content) < self.size:
            content.extend(bytes(self.size - len(content)))
        for at, data in sectors:
            room = len(content) - at
            if room > 0:  # a sector past the end of the file is not written
                content[at : at + SECTOR] = data.ljust(SECTOR, b"\0")[:room]


class Inode:
    """`now`: the content that processes read. `lost`: pages that a failed sync has marked clean but not written."""

    def __init__(self, content: bytes = b"") -> None:
        self.durable = content
        self.now = bytearray(content)
        self.pending: list[Change] = []
        self.lost: set[int] = set()

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if len(self.now) < end:
            self.now.extend(bytes(end - len(self.now)))
        self.now[offset:end] = data
        self._changed(range(offset // SECTOR * SECTOR, end, SECTOR))

    def _changed(self, sectors: Iterable[int], cut: int | None = None) -> None:
        """Record a change. Pages are dirty as a whole: a change to one sector makes a lost page dirty again."""
        pages = self.lost and self.lost & {at // PAGE for at in sectors}
        if pages:
            self.lost -= pages
            others = (at for page in pages for at in range(page * PAGE, (page + 1) * PAGE, SECTOR))
            sectors = sorted({*sectors, *(at for at in others if at < len(self.now))})
        changed = [(at, bytes(self.now[at : at + SECTOR])) for at in sectors]
        self.pending.append(Change(changed, len(self.now), cut))

    def store(self, sectors: list[tuple[int, bytes]]) -> None:
        for at, data in sectors:
            self.now[at : at + len(data)] = data
        self._changed([at for at, _ in sectors])

    def set_size(self, size: int) -> None:
        cut = size if size < len(self.now) else None
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.lost = {page for page in self.lost if page * PAGE < size}
        ends_in_lost = cut is not None and size % PAGE and size // PAGE in self.lost
        self._changed([size // PAGE * PAGE] if ends_in_lost else [], cut)  # the kernel zeroes the rest of the last page

    def sync(self) -> None:
        self.durable, self.pending = self._written(self.lost), []

    def _written(self, but: set[int]) -> bytes:
        """The content with every change written, except in the pages `but`."""
        if not but:
            return bytes(self.now)
        content, before = bytearray(self.now), bytearray(self.durable)
        for change in self.pending:
            change.apply(before, [], sized=True)
        for page in but:
            content[page * PAGE : (page + 1) * PAGE] = before[page * PAGE : (page + 1) * PAGE]
        return bytes(content)

    def fail(self, seed: int) -> None:
        """A failed sync: some of the dirty pages are lost. The others are written, or stay dirty."""
        rng = random.Random(seed)
        dirty = sorted({at // PAGE for change in self.pending for at, _ in change.sectors if at < len(self.now)})
        share = rng.choice([0.1, 0.5, 1])
        lost = {page for page in dirty if rng.random() < share} or set(dirty[:1])
        kept, torn, share = [], [], rng.choice([0, 0, 0.3, 0.7])  # sectors of lost pages that were written nevertheless
        for change in self.pending:
            kept.append(Change([s for s in change.sectors if s[0] // PAGE not in lost], change.size, change.cut))
            torn.append([s for s in change.sectors if s[0] // PAGE in lost and rng.random() < share])
        if rng.random() < 0.5:
            content, self.pending, self.lost = bytearray(self._written(self.lost | lost)), [], self.lost | lost
        else:
            content, self.pending, self.lost = bytearray(self.durable), kept, self.lost | lost
        for change, sectors in zip(kept, torn, strict=True):
            change.apply(content, sectors, sized=False)
        self.durable = bytes(content)

    def choose(self, rng: random.Random) -> bytes:
        """The content after a cut."""
        content, how = bytearray(self.durable), rng.choice(["kept", "dropped", "first", "each", "each", "torn", "torn"])
        if how == "kept":
            return self._written(self.lost)
        stop = rng.randint(0, len(self.pending)) if how == "first" else len(self.pending)
        for change in self.pending[:stop]:
            what = "kept" if how == "first" else rng.choice(["kept", "dropped"] if how == "each" else ["torn"])
            if how == "dropped" or what == "dropped":
                continue
            sectors = change.sectors if what == "kept" else [s for s in change.sectors if rng.random() < 0.5]
            change.apply(content, sectors, sized=what == "kept" or rng.random() < 0.7)
        return bytes(content)


class Disk:
    """The state after the replayed operations. `now`: the names that processes see, with inode, or None for a folder."""

    def __init__(self) -> None:
        self.inodes: list[Inode] = []
        self.now: dict[str, int | None] = {}
        self._durable: dict[str, int | None] = {}
        self._pending: list[Event] = []  # unsynced changes of names, in order

    def apply(self, event: Event) -> None:
        what, *rest = event
        match what:
            case "disk":
                self._start(rest[0])
            case "write":
                self.inodes[rest[0]].write(rest[1], rest[2])
            case "stores":
                self.inodes[rest[0]].store(rest[1])
            case "size":
                self.inodes[rest[0]].set_size(rest[1])
            case "grow":
                inode = self.inodes[rest[0]]
                inode.set_size(max(len(inode.now), rest[1] + rest[2]))
            case "punch":
                inode = self.inodes[rest[0]]
                inode.write(rest[1], bytes(max(0, min(rest[2], len(inode.now) - rest[1]))))
            case "sync":
                self.inodes[rest[0]].sync()
            case "sync failed":
                self.inodes[rest[0]].fail(rest[1])
            case "create":
                assert rest[1] == len(self.inodes)
                self.inodes.append(Inode())
                self._rename(("set", rest[0], rest[1]))
            case "mkdir":
                self._rename(("set", rest[0], None))
            case "link":
                self._rename(("set", rest[1], self.now[rest[0]]))
            case "rename":
                self._rename(("move", rest[0], rest[1], self.now[rest[0]]))
            case "unlink":
                self._rename(("remove", rest[0], self.now[rest[0]]))
            case "sync folder":
                mine = [change for change in self._pending if _folder(change[1]) == rest[0]]
                for change in mine:
                    _apply_name(self._durable, change)
                    self._pending.remove(change)
            case "foreign":
                self.now[rest[0]] = self._durable[rest[0]] = len(self.inodes)
                self.inodes.append(Inode(rest[1]))
            case (
                "mark" | "sync folder failed"
            ):  # a failed sync of a folder loses no name: the next sync makes them durable
                pass
            case _:
                raise AssertionError(f"unknown event {what}")

    def _start(self, files: Files) -> None:
        self.inodes, self.now, self._pending = [], {}, []
        for name, content in files.items():
            self.now[name] = self.now[content] if isinstance(content, str) else None
            if isinstance(content, bytes):
                self.now[name] = len(self.inodes)
                self.inodes.append(Inode(content))
        self._durable = dict(self.now)

    def _rename(self, change: Event) -> None:
        _apply_name(self.now, change)
        self._pending.append(change)

    def choose(self, rng: random.Random, *, any_names: bool = False) -> Files:
        """The files after a cut. `any_names`: changes of names survive in any order, not in the order of the operations."""
        names, how = dict(self._durable), rng.choice(["all", "none", "first", "any" if any_names else "first"])
        stop = {"all": len(self._pending), "none": 0}.get(how, rng.randint(0, len(self._pending)))
        for k, change in enumerate(self._pending):
            if (rng.random() < 0.5) if how == "any" else k < stop:
                _apply_name(names, change)
        first: dict[int, str] = {}
        left: Files = {}
        for name, inode in sorted(names.items()):
            folder = _folder(name)
            if folder != "." and folder not in names:
                continue
            if inode is None:
                left[name] = None
            elif inode in first:
                left[name] = first[inode]
            else:
                left[name], first[inode] = self.inodes[inode].choose(rng), name
        return left


def _folder(name: str) -> str:
    return os.path.dirname(name) or "."


def _apply_name(names: dict[str, int | None], change: Event) -> None:
    what, name = change[:2]
    if what == "set":
        names[name] = change[2]
    elif what == "move":
        if name in names and names[name] == change[3]:
            del names[name]
        names[change[2]] = change[3]
    elif name in names and names[name] == change[2]:
        del names[name]
