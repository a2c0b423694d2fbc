"""What a disk sustains, how long a scan takes, and whether a detector can run: the speed probe of check-disk."""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lys_storage.cli import commands, main, throughput
from lys_storage.disk import File, check_disk
from lys_storage.disk import probe as probe_module
from lys_storage.disk import speed as speed_module
from lys_storage.disk.speed import DROP_BEHIND, WRITE_AND_SYNC, Speed, measure_speed
from lys_storage.disk.systems import SYSTEM
from lys_storage.errors import DiskFullError
from tests.helpers import files

linux = pytest.mark.skipif(sys.platform != "linux", reason="the calls are Linux's")
MIB = 1 << 20
SPEED = "sustained write speed"
LINE = f"holds  {SPEED}: 2,120 MB/s by drop-behind (what lys_storage does), 1,400 MB/s by O_DIRECT"


def check(*words: object) -> Result:
    return CliRunner().invoke(main, ["check-disk", *map(str, words)])


@pytest.fixture
def drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file system of the tests is, lys_storage drops pages on it."""
    monkeypatch.setattr(SYSTEM, "pays_to_drop_pages", lambda fd: True)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk sustains 2,120 MB/s and has 1 TB free, and the burst is 1 GB. Nothing else is probed."""
    monkeypatch.setattr(probe_module, "_PROBES", ())
    found = Speed(DROP_BEHIND, 2120e6, 1400e6, 5.0)
    monkeypatch.setattr(probe_module, "measure_speed", lambda folder: found)
    monkeypatch.setattr(throughput, "default_burst_bytes", lambda: 10**9)
    monkeypatch.setattr(commands, "free_space", lambda folder: 10**12)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the probe, in seconds: a test moves it."""
    now = [0.0]
    monkeypatch.setattr(speed_module.time, "perf_counter", lambda: now[0])
    return now


# -- the measurement ---------------------------------------------------------------------------------------------------


@linux
@pytest.mark.usefixtures("drops")
def test_the_way_of_lys_storage_and_o_direct_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page that is written back is waited for and dropped. O_DIRECT gets a quarter of the bytes."""
    begun: list[tuple[int, int]] = []
    dropped: list[tuple[int, int]] = []
    calls: list[str] = []
    most_behind = 0
    cache = speed_module.PageCache
    real_begin, real_drop, real_write, real_sync = cache.begin_write_back, cache.drop, File.write_at, File.sync

    def begin_write_back(cache: Any, offset: int, size: int) -> None:
        begun.append((offset, offset + size))
        real_begin(cache, offset, size)

    def drop(cache: Any, offset: int, size: int) -> None:
        dropped.append((offset, offset + size))
        calls.append("drop")
        real_drop(cache, offset, size)

    def write_at(file: File, data: Any, offset: int) -> None:
        nonlocal most_behind
        real_write(file, data, offset)
        calls.append("write")
        most_behind = max(most_behind, offset + len(data) - (dropped[-1][1] if dropped else 0))

    def sync(file: File) -> None:
        calls.append("sync")
        real_sync(file)

    for name, size in (("_BLOCK", 1 << 16), ("_PIECE", 1 << 17), ("_BEHIND", 1 << 18)):
        monkeypatch.setattr(speed_module, name, size)
    monkeypatch.setattr(cache, "begin_write_back", begin_write_back)
    monkeypatch.setattr(cache, "drop", drop)
    monkeypatch.setattr(File, "write_at", write_at)
    monkeypatch.setattr(File, "sync", sync)
    speed = measure_speed(tmp_path)
    assert speed.method == DROP_BEHIND
    assert speed.bytes_per_second > 0
    assert [first for first, _ in dropped] == [0, *(stop for _, stop in dropped[:-1])]
    assert dropped[-1][1] == 6 * MIB
    assert 1 << 18 < most_behind <= (1 << 18) + (1 << 17) + (1 << 16)
    assert sum(stop - first for first, stop in begun) > 5 * MIB
    ends = [k for k in range(1, len(calls)) if calls[k - 1] == "drop" and calls[k] == "sync"]
    assert len(ends) >= 6, "one at the end of each round"
    assert set(calls[ends[-1] + 1 :]) <= {"sync"}, "those of O_DIRECT"
    has_direct = speed.direct_bytes_per_second is not None
    assert any((tmp_path / "speed").read_bytes()[6 * MIB :]) == has_direct
    assert str(speed).startswith(
        f"{speed_module.rate_text(speed.bytes_per_second)} by drop-behind (what lys_storage does)"
    )
    assert (" by O_DIRECT" in str(speed)) == has_direct


@linux
@pytest.mark.usefixtures("drops")
@pytest.mark.parametrize("at", ["open", "pwrite"])
def test_a_file_system_without_o_direct_is_measured_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Some refuse the open, others the write."""
    real_pwrite, direct = SYSTEM.pwrite, set()

    def open_direct(fd: int) -> int:
        if at == "open":
            raise FileNotFoundError(errno.ENOENT, "there is no /proc")
        direct.add(found := os.dup(fd))
        return found

    def pwrite(fd: int, *more: Any) -> int:
        if fd in direct:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_pwrite(fd, *more)

    monkeypatch.setattr(SYSTEM, "has_direct_io", True)
    monkeypatch.setattr(SYSTEM, "open_direct", open_direct)
    monkeypatch.setattr(SYSTEM, "pwrite", pwrite)
    speed = measure_speed(tmp_path)
    assert (speed.method, speed.direct_bytes_per_second) == (DROP_BEHIND, None)
    assert "O_DIRECT" not in str(speed)
    assert len(direct) == (at == "pwrite")


@pytest.mark.parametrize("preallocates", [True, False])
def test_a_file_system_without_drops_is_measured_by_writes_and_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preallocates: bool
) -> None:
    """Also if it does not preallocate. All of the file is written, and the last thing is a sync."""
    calls: list[str] = []
    real_write = File.write_at
    monkeypatch.setattr(SYSTEM, "pays_to_drop_pages", lambda fd: False)
    if not preallocates:
        monkeypatch.setattr(SYSTEM, "preallocate", lambda *args, **options: False)
    monkeypatch.setattr(File, "write_at", lambda *args: (calls.append("write"), real_write(*args)))
    monkeypatch.setattr(File, "sync", lambda file: calls.append("sync"))
    speed = measure_speed(tmp_path)
    assert (speed.method, speed.direct_bytes_per_second) == (WRITE_AND_SYNC, None)
    assert " by write and sync" in str(speed)
    assert Counter(calls)["write"] == 16
    assert calls[-1] == "sync"
    assert (tmp_path / "speed").stat().st_size == 8 * MIB


def test_the_rate_includes_the_syncs_and_small_rounds_do_not_count(clock: list[float]) -> None:
    """A block takes 10 ms, a sync 100 ms. The rounds of 1 to 16 blocks only find the size: 64 blocks take half a second."""
    rounds = [0]

    def put(at: int) -> None:
        clock[0] += 0.01
        rounds[-1] += 1

    def finish() -> None:
        clock[0] += 0.1
        rounds.append(0)

    block = speed_module._BLOCK
    rate = speed_module._rate(put, finish, (0, 255 * block), 1e9)
    assert rounds == [1, 2, 4, 8, 16, 32, 64, 64, 64, 0]
    assert rate == pytest.approx((32 + 3 * 64) * block / (0.42 + 3 * 0.74))


@pytest.mark.parametrize("per_block_s", [0.001, 0.1, 2.0])
def test_the_probe_ends_after_its_seconds(clock: list[float], per_block_s: float) -> None:
    """A disk that is slow, or becomes slow, is not waited for: at most the block under way, and a sync."""
    written = []

    def put(at: int) -> None:
        written.append(at)
        clock[0] += per_block_s

    speed_module._rate(put, lambda: None, (0, 1 << 40), 5.0)
    assert 5.0 <= clock[0] <= 5.0 + per_block_s + 1e-6
    assert written == list(itertools.islice(itertools.count(0, speed_module._BLOCK), len(written)))


def test_preallocation_that_takes_long_ends_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    """What has been preallocated is what is written."""

    def preallocate(*args: Any, **options: Any) -> bool:
        clock[0] += 0.4
        return True

    monkeypatch.setattr(SYSTEM, "preallocate", preallocate)
    file = File.create(tmp_path / "file")
    assert speed_module._preallocate(file, 8 << 30) == 3 << 28
    file.close()


@pytest.mark.parametrize(("free", "expected"), [(None, 16), (1 << 40, 16), (24 * MIB, 6), (10 * MIB, 4)])
def test_at_most_a_quarter_of_the_free_space_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None, expected: int
) -> None:
    monkeypatch.setattr(SYSTEM, "pays_to_drop_pages", lambda fd: False)
    monkeypatch.setattr(speed_module, "_LEAST", 4 * MIB)
    monkeypatch.setattr(speed_module, "_MOST", 16 * MIB)
    monkeypatch.setattr(speed_module, "free_space", lambda folder: free)
    measure_speed(tmp_path)
    assert (tmp_path / "speed").stat().st_size == expected * MIB


def test_a_disk_in_memory_takes_a_quarter_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEM, "pays_to_drop_pages", lambda fd: False)
    monkeypatch.setattr(speed_module, "_LEAST", 2 * MIB)
    monkeypatch.setattr(speed_module, "available_memory", lambda: 12 * MIB)
    measure_speed(tmp_path)
    assert (tmp_path / "speed").stat().st_size == 3 * MIB


@pytest.mark.parametrize(
    ("rate", "text"), [(2120e6, "2,120 MB/s"), (10e6, "10 MB/s"), (9.994e6, "9.99 MB/s"), (5e4, "0.05 MB/s")]
)
def test_a_rate_is_printed_with_enough_digits(rate: float, text: str) -> None:
    assert speed_module.rate_text(rate) == text


def test_a_short_measurement_says_so() -> None:
    """The cache of the drive takes a small amount at once."""
    assert str(Speed(WRITE_AND_SYNC, 5e9, None, 0.3)) == (
        "5,000 MB/s by write and sync; measured for 0.3 s only: a long scan can be slower"
    )
    assert str(Speed(DROP_BEHIND, 2120e6, 1400e6, 5.0)) == (
        "2,120 MB/s by drop-behind (what lys_storage does), 1,400 MB/s by O_DIRECT"
    )


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["too little space", "preallocation", "write"])
def test_on_a_full_disk_the_probe_says_it_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """If it is known that the space is too little, nothing is written: a running scan needs the rest."""
    sizes: list[int] = []
    real_write, real_preallocate = File.write_at, File.preallocate

    def full(file: File, *args: Any) -> Any:
        if file.path.name != "speed":
            return real_write(file, *args) if how == "write" else real_preallocate(file, *args)
        sizes.append(file.size)
        raise DiskFullError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.path))

    if how == "too little space":
        monkeypatch.setattr("lys_storage.disk.folder.free_space", lambda folder: 8 * MIB - 1)
    else:
        monkeypatch.setattr(File, "write_at" if how == "write" else "preallocate", full)
    *_, finding = check_disk(tmp_path)
    assert (finding.what, finding.holds, finding.speed) == (SPEED, False, None)
    assert ("8,388,607 are free" if how == "too little space" else os.strerror(errno.ENOSPC)) in finding.seen
    assert finding.follows == "it is not known how fast a scan can be"
    assert len(sizes) == (how != "too little space")
    assert files(tmp_path) == set()
    result = check(tmp_path, "--rate", "1MB")
    assert result.exit_code == 1
    assert f"FAILS  {SPEED}: " in result.stdout
    assert "detector" not in result.stdout


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("where", ["write_at", "sync"])
def test_ctrl_c_in_the_probe_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, as_json: bool
) -> None:
    real = getattr(File, where)
    seen: list[set[str]] = []

    def interrupted(file: File, *args: Any) -> Any:
        if file.path.name == "speed":
            seen.append(files(file.path.parent))
            raise KeyboardInterrupt
        return real(file, *args)

    monkeypatch.setattr(File, where, interrupted)
    result = check(tmp_path, *(["--json"] if as_json else []))
    assert result.exit_code == 130
    assert "stopped; its temporary folder is removed" in result.stderr
    assert len(seen) == 1
    assert "speed" in seen[0]
    assert files(tmp_path) == set()
    if as_json:
        assert len(json.loads(result.stdout)) == 7


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ((), 0, [LINE, "       a scan of 100 GB takes 47 s at this rate"]),
        (
            ("--size", "2TB"),
            1,
            [
                "FAILS  a scan of 2 TB: 1 TB are free",
                "       consequence: it cannot be created: free 1 TB, or choose another folder",
                LINE,
                "       a scan of 2 TB takes 15.7 min at this rate; 1 TB are free",
            ],
        ),
        (
            ("--size", "100GiB"),
            0,
            ["holds  a scan of 107.4 GB: 1 TB are free", LINE, "       a scan of 107.4 GB takes 51 s at this rate"],
        ),
        (
            ("--rate", "800MB"),
            0,
            [
                LINE,
                "       a scan of 100 GB takes 47 s at this rate",
                "holds  a detector of 800 MB/s: the disk sustains 2,120 MB/s, so it can run without end",
            ],
        ),
        (
            ("--rate", "2.12GB/s", "--size", "1GB"),
            0,
            [
                "holds  a scan of 1 GB: 1 TB are free",
                LINE,
                "       a scan of 1 GB takes 0.47 s at this rate",
                "holds  a detector of 2,120 MB/s: the disk sustains 2,120 MB/s, so it can run without end",
            ],
        ),
        (
            ("--rate", "2620MB"),
            1,
            [
                LINE,
                "       a scan of 100 GB takes 47 s at this rate",
                "FAILS  a detector of 2,620 MB/s: the disk sustains 2,120 MB/s, the detector is faster",
                "       consequence: the burst of 1 GB is full after 2 s, then the detector waits",
            ],
        ),
    ],
)
def test_the_command_tells_how_long_a_scan_takes_and_whether_the_disk_keeps_up(
    tmp_path: Path, words: tuple[str, ...], code: int, expected: list[str]
) -> None:
    result = check(tmp_path, *words)
    assert result.stdout.splitlines() == expected
    assert result.exit_code == code
    assert result.stderr == "the speed is measured: this takes some seconds ...\n"


def test_the_user_reads_that_the_probe_takes_long_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("lys_storage.cli.commands.say_aside", lambda text: order.append(text))
    monkeypatch.setattr("lys_storage.cli.commands.say", lambda text: order.append(text.split(":")[0]))
    real = probe_module.measure_speed
    monkeypatch.setattr(probe_module, "measure_speed", lambda folder: (order.append("probe"), real(folder))[1])
    assert check(tmp_path).exit_code == 0
    assert order[5:-1] == [
        "holds  files and folders are synced",
        "the speed is measured: this takes some seconds ...",
        "probe",
        f"holds  {SPEED}",
    ]


@pytest.mark.usefixtures("known")
def test_a_size_that_was_not_asked_for_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "free_space", lambda folder: 10**9)
    result = check(tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "       a scan of 100 GB takes 47 s at this rate; 1 GB are free"


@pytest.mark.usefixtures("known")
def test_free_space_that_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "free_space", lambda folder: None)
    result = check(tmp_path, "--size", "2TB")
    assert result.exit_code == 0
    assert "a scan of 2 TB: the system does not tell how much space is free" in result.stdout.splitlines()[0]


@pytest.mark.usefixtures("known")
def test_the_json_has_the_figures_as_numbers(tmp_path: Path) -> None:
    """Bytes, bytes per second, and seconds."""
    result = check(tmp_path, "--json", "--size", "212GB", "--rate", "3120MB")
    assert (result.exit_code, result.stderr) == (1, "")
    *_, speed, detector = json.loads(result.stdout)
    wanted = {"method": "drop-behind", "bytes_per_second": 2120000000, "direct_bytes_per_second": 1400000000}
    wanted |= {"probe": SPEED, "state": "holds", "scan_bytes": 212000000000, "scan_seconds": 100.0, "error": None}
    assert {name: speed[name] for name in wanted} == wanted
    wanted = {"probe": "a detector of 3,120 MB/s", "state": "fails", "detector_bytes_per_second": 3120000000}
    wanted |= {"bytes_per_second": 2120000000, "burst_bytes": 1000000000, "burst_seconds": 1.0}
    wanted |= {"error": "the burst of 1 GB is full after 1 s, then the detector waits"}
    assert {name: detector[name] for name in wanted} == wanted
    (space, *_) = json.loads(result.stdout)
    wanted = {
        "probe": "a scan of 212 GB",
        "state": "holds",
        "scan_bytes": 212 * 10**9,
        "free_bytes": 10**12,
        "error": None,
    }
    assert {name: space[name] for name in wanted} == wanted
    *_, detector = json.loads(check(tmp_path, "--json", "--rate", "1MB").stdout)
    assert (detector["state"], detector["burst_seconds"], detector["error"]) == ("holds", None, None)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500GB", 500 * 10**9),
        ("2 TB", 2 * 10**12),
        (" 1.5tB ", 15 * 10**11),
        ("100GiB", 100 << 30),
        ("7kB", 7000),
        ("7KiB", 7168),
        ("1B", 1),
        ("1PB", 10**15),
    ],
)
def test_amounts_are_typed_with_a_unit(tmp_path: Path, text: str, size: int) -> None:
    *_, speed, detector = json.loads(check(tmp_path, "--json", "--size", text, "--rate", f"{text}/s").stdout)
    assert (speed["scan_bytes"], detector["detector_bytes_per_second"]) == (size, size)


@pytest.mark.parametrize("option", ["--size", "--rate"])
@pytest.mark.parametrize("text", ["500", "500G", "500Gb", "GB", "-1GB", "1,5TB", "1e3GB", "lots", "", "٣GB", "5EB"])
def test_an_amount_that_is_none_is_refused_with_an_example(tmp_path: Path, option: str, text: str) -> None:
    """500Gb may be gigabits, and 500 anything."""
    result = check(tmp_path, option, text)
    assert result.exit_code == 2
    words = " ".join(result.stderr.split())
    assert f"Invalid value for '{option}'" in words
    assert repr(text) in words
    assert "write a number, and B, kB, MB, GB, TB or PB" in words
    assert ("for example 500GB, 2TB or 100GiB" if option == "--size" else "for example 800MB") in words
    assert result.stdout == ""


@pytest.mark.parametrize("text", ["0GB", "0.1B", "1001PB", "9" * 400 + "TB"])
def test_an_amount_that_no_disk_has_is_refused(tmp_path: Path, text: str) -> None:
    result = check(tmp_path, "--size", text)
    assert result.exit_code == 2
    assert "is not between 1 byte and 1000 PB" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("size", "text"), [("21.2GB", "10 s"), ("254GB", "120 s"), ("1PB", "5.46 days"), ("20TB", "2.62 h")]
)
def test_a_time_is_printed_in_a_fitting_unit(tmp_path: Path, size: str, text: str) -> None:
    assert f"takes {text} at this rate" in check(tmp_path, "--size", size).stdout
