"""The calls of macOS, with its system calls replaced: no test has run on macOS itself. Constants are those of Apple's headers."""

from __future__ import annotations

import errno
import importlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

fcntl = pytest.importorskip("fcntl", reason="POSIX alone")
pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="POSIX alone")
FULL_SYNC, GET_PATH, PREALLOCATE, PUNCH_HOLE = 51, 50, 42, 99


class Calls:
    """Replaces fcntl(2), and notes what was called. `refused`: the errno of each call, 0 if it succeeds."""

    def __init__(self) -> None:
        self.made: list[tuple[int, Any]] = []
        self.refused = 0

    def __call__(self, fd: int, what: int, argument: Any = 0) -> Any:
        self.made.append((what, argument))
        if self.refused:
            raise OSError(self.refused, os.strerror(self.refused))
        return argument


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    noted = Calls()
    monkeypatch.setattr(fcntl, "fcntl", noted)
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", FULL_SYNC, raising=False)
    monkeypatch.setattr(fcntl, "F_GETPATH", GET_PATH, raising=False)
    return noted


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> Iterator[Any]:
    monkeypatch.setattr(sys, "platform", "darwin")
    name = "lys_storage.disk.systems.macos"
    module = importlib.import_module(name)
    yield module.MacOS()
    sys.modules.pop(name, None)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    os.write(opened, b"x" * 1000)
    yield opened
    os.close(opened)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    monkeypatch.setattr(os, "fsync", made.append)
    return made


def test_a_sync_reaches_the_disk_and_not_only_its_cache(system: Any, calls: Calls, fd: int, synced: list[int]) -> None:
    system.sync(fd)
    assert [what for what, _ in calls.made] == [FULL_SYNC]
    assert synced == []


@pytest.mark.parametrize("refused", [errno.ENOTSUP, errno.ENOTTY, errno.EINVAL])
def test_a_disk_that_refuses_it_gets_a_plain_sync(
    system: Any, calls: Calls, fd: int, synced: list[int], refused: int
) -> None:
    """Otherwise nothing could be saved on it: network shares, exFAT."""
    calls.refused = refused
    system.sync(fd)
    assert synced == [fd]


def test_a_sync_that_fails_is_an_error(system: Any, calls: Calls, fd: int, synced: list[int]) -> None:
    calls.refused = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        system.sync(fd)
    assert synced == []


def test_the_names_of_a_folder_are_synced_in_the_same_way(
    system: Any, calls: Calls, synced: list[int], tmp_path: Path
) -> None:
    system.sync_folder(tmp_path)
    assert [what for what, _ in calls.made] == [FULL_SYNC]


def test_space_behind_the_end_is_claimed(system: Any, calls: Calls, fd: int) -> None:
    assert system.preallocate(fd, 1000, 5000, beyond_end=True) is True
    ((what, wanted),) = calls.made
    assert (what, struct.unpack("=Iiqqq", wanted)) == (PREALLOCATE, (4, 3, 0, 5000, 0))
    calls.refused = errno.ENOTSUP
    assert system.preallocate(fd, 1000, 5000, beyond_end=True) is False
    calls.refused = errno.ENOSPC
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        system.preallocate(fd, 1000, 5000, beyond_end=True)


def test_holes_within_a_file_cannot_be_claimed(system: Any, calls: Calls, fd: int) -> None:
    assert system.preallocate(fd, 0, 500, beyond_end=False) is False
    assert calls.made == []


def test_a_hole_is_punched(system: Any, calls: Calls, fd: int) -> None:
    assert system.punch_hole(fd, 4096, 8192) is True
    ((what, wanted),) = calls.made
    assert (what, struct.unpack("=IIqq", wanted)) == (PUNCH_HOLE, (0, 0, 4096, 8192))


def test_a_folder_is_found_after_a_rename(system: Any, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def path(fd: int, what: int, argument: bytes) -> bytes:
        assert what == GET_PATH
        return b"/Volumes/data/run".ljust(len(argument), b"\0")

    monkeypatch.setattr(fcntl, "fcntl", path)
    assert system.path_of(fd) == Path("/Volumes/data/run")


@pytest.mark.parametrize("missing", ["no call", "not supported here"])
def test_where_no_rename_can_refuse_to_replace_the_caller_finds_another_way(
    system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from lys_storage.disk.systems import posix

    module = sys.modules[type(system).__module__]
    call: Callable[..., int] | None = None if missing == "no call" else lambda *arguments: -1
    monkeypatch.setattr(module, "libc_call", lambda name: call)
    monkeypatch.setattr(posix, "last_error", lambda: OSError(errno.ENOTSUP, "not supported"))
    (tmp_path / "a").touch()
    assert system.rename_new(tmp_path / "a", tmp_path / "b") is False


def test_a_boot_is_known_by_its_session(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def sysctl(name: bytes, text: Any, size: Any, new: Any, new_size: Any) -> int:
        assert name == b"kern.bootsessionuuid"
        text.value = b"0F3A6F9E-1B7C-4C58-8E57-2A9D7C6C3F11"
        return 0

    module = sys.modules[type(system).__module__]
    monkeypatch.setattr(module, "libc_call", lambda name: sysctl)
    assert system.read_boot_id() == "0F3A6F9E-1B7C-4C58-8E57-2A9D7C6C3F11"
    monkeypatch.setattr(module, "libc_call", lambda name: None)
    assert system.read_boot_id() == ""


@pytest.mark.parametrize(("flags", "known"), [(0x1000, True), (0x1200, False), (0, False)])
def test_the_identity_of_a_file_is_known_on_disks_that_stay(
    system: Any, fd: int, monkeypatch: pytest.MonkeyPatch, flags: int, known: bool
) -> None:
    """MNT_LOCAL, and not MNT_REMOVABLE."""

    class Stat:
        st_dev, st_ino, st_birthtime = 7, 8, 1.5

    module = sys.modules[type(system).__module__]
    monkeypatch.setattr(module, "_mount_of", lambda fd: (flags, b"apfs"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda fd: Stat)
        found = system.identify(fd)
    assert found == ((7, 0, 8, 1, 500_000_000) if known else None)


def test_a_system_without_calls_for_several_buffers_reads_and_writes_the_same(tmp_path: Path) -> None:
    """macOS before 11 has neither pwritev nor preadv."""
    from lys_storage.disk.systems import posix

    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    assert posix._pwritev(fd, [b"ab", memoryview(b"cd"), b""], 3) == 4
    buffer = bytearray(10)
    assert posix._preadv(fd, [buffer], 0) == 7
    assert bytes(buffer) == b"\0\0\0abcd\0\0\0"
    assert posix._preadv(fd, [buffer], 7) == 0
    os.close(fd)
