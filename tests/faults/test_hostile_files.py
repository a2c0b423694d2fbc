"""Hostile and rotten files: an error of the family or a right answer, and never what the file would have us do.

Flips and truncations run in this process, thousands of them. What could kill, hang or fill the memory of a process is
opened in a child, each file in a fork of its own with limits on time and memory.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, LysStorageError, UnsafeFileError, open_wave, recover, resume, verify
from lys_storage.core import _fs
from lys_storage.core._journal import ABSENT, CHECKED, REWRITING, WRITTEN
from lys_storage.core._recovery import look_at
from lys_storage.core._redo import _encode as encode_redo_header
from tests.conftest import ROOT
from tools.fuzzing.seeds import SEEDS
from tools.fuzzing.targets import TARGETS

HERE = Path(__file__).parent
FINDS = HERE / "fuzz_finds"
SHAPE, FILL = (6, 8), 9
ARRAY_AT, FRAME = 4096, 16
MARKS_AT, SUMS_AT, METADATA_AT = 4096, 8192, 12288
HEAD, POINTERS_AT, TEXT_AT = 56, 512, 1536

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is opened in a fork")

Files = dict[str, bytes]


# -- small real files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rotten:
    """A small scan as it was left behind: the bytes of its files by name, and its frames by number.

    `settled`: its journal with a checksum for frame 5 as well.
    """

    files: Files
    settled: bytes
    frames: dict[int, bytes]
    text_size: int
    metadata_size: int
    key: int

    @property
    def part(self) -> bytes:
        return self.files["a.npz.part"]

    @property
    def journal(self) -> bytes:
        return self.files["a.npz.part.journal"]

    def lay(self, folder: Path, **changed: bytes) -> None:
        """Put the files into `folder`, which holds nothing else afterwards; `part`, `journal`, `redo` replace one."""
        for path in folder.iterdir():
            path.unlink()
        names = {"part": "a.npz.part", "journal": "a.npz.part.journal", "redo": "a.npz.part.redo"}
        for name, content in {**self.files, **{names[k]: v for k, v in changed.items()}}.items():
            (folder / name).write_bytes(content)


def make_rotten(folder: Path, seed: int = 0) -> Rotten:
    """Frames 0, 1, 3 with a checksum, 5 written only, 2 and 4 never came."""
    folder.mkdir()
    axes = [np.arange(6) / 2, None]
    options: dict[str, Any] = {"fill": FILL, "grid_ndim": 1, "axes": axes, "note": {"seed": seed}}
    scan = lys_storage.create(folder / "a.npz", SHAPE, "<u2", flush_interval_s=None, **options)
    random, frames = np.random.default_rng(seed), {}
    for number in (0, 1, 3, 5):
        frame = random.integers(1000, 60000, 8).astype("<u2")
        frames[number] = frame.tobytes()
        scan[number] = frame
    key, metadata = scan._part.journal.key, scan._part.journal.read_metadata()
    scan.suspend()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    journal = bytearray(files["a.npz.part.journal"])
    assert journal[MARKS_AT : MARKS_AT + 6] == bytes([CHECKED, CHECKED, ABSENT, CHECKED, ABSENT, CHECKED])
    journal[MARKS_AT + 5] = WRITTEN
    journal[SUMS_AT + 20 : SUMS_AT + 24] = bytes(4)
    settled, files["a.npz.part.journal"] = files["a.npz.part.journal"], bytes(journal)
    return Rotten(files, settled, frames, struct.unpack_from("<I", journal, 12)[0], sum(map(len, metadata)), key)


@pytest.fixture(scope="module")
def rotten(tmp_path_factory: pytest.TempPathFactory) -> Rotten:
    return make_rotten(tmp_path_factory.mktemp("rotten") / "scan")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A complete export: eight frames of eight, each different."""
    path = tmp_path_factory.mktemp("export") / "a.npz"
    with lys_storage.create(path, (8, 8), "<u2", grid_ndim=1, axes=[np.arange(8) / 2], note={"k": "v"}) as scan:
        for k in range(8):
            scan[k] = np.arange(8, dtype="<u2") + 300 * k
    return path.read_bytes()


EXPORTED = (np.arange(8, dtype="<u2") + 300 * np.arange(8, dtype="<u2")[:, None]).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hostile"
    made.mkdir()
    return made


@pytest.fixture(autouse=True)
def syncs_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is not what is tested here, and thousands of syncs are slow on a real disk."""
    monkeypatch.setattr(os, "fdatasync", lambda fd: None, raising=False)
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fs, "boot_id", lambda: "00000000-0000-0000-0000-000000000000")


# -- the promise, as one check -----------------------------------------------------------------------------------------


def assert_sound_export(path: Path, rotten: Rotten) -> dict[int, bytes]:
    """`path` is complete and valid, and each of its frames is what was written there, or missing; those written."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        info = json.loads(archive.read("acquisition.json"))
    with open_wave(path) as wave:
        assert (wave.shape, wave.dtype.str) == (SHAPE, "<u2")
        assert [axis.tolist() for axis in wave.axes] == [[0.0, 0.5, 1.0, 1.5, 2.0, 2.5], list(map(float, range(8)))]
        assert list(wave.note) == ["seed"]
        stored = [frame.tobytes() for frame in wave.data]
    missing = {k for first, stop in info["missing"] for k in range(first, stop)}
    written = {k: frame for k, frame in enumerate(stored) if k not in missing}
    assert all(stored[k] == struct.pack("<H", FILL) * 8 for k in missing)
    assert written == {k: rotten.frames.get(k) for k in written}
    return written


def answer(folder: Path, rotten: Rotten, *, verify: bool) -> dict[int, bytes] | None:
    """Recover `folder`: the frames of a right answer, or None where there was an error of the family."""
    for path in folder.glob("*.part"):
        try:
            look_at(path)
        except LysStorageError:
            pass
    told = [(result.path, result.said) for result in recover(folder, verify=verify)]
    exports = list(folder.glob("*.npz"))
    assert [path for path, _ in told if path is not None] == exports
    assert all(said for _, said in told)
    return assert_sound_export(exports[0], rotten) if exports else None


def flipped(content: bytes, at: int) -> bytes:
    """`content` with a byte changed: by each of eight bits in turn, and by all of them, as `at` goes on."""
    changed = bytearray(content)
    changed[at] ^= (1, 2, 4, 8, 16, 32, 64, 128, 255)[at % 9]
    return bytes(changed)


def spots(*ranges: range) -> list[int]:
    return sorted({at for part in ranges for at in part})


def journal_spots(rotten: Rotten) -> list[int]:
    """Every byte of a journal that means something, and some that do not."""
    return spots(
        *(range(HEAD + 8), range(448, 456), range(POINTERS_AT, POINTERS_AT + 32), range(1024, 1056)),
        *(range(TEXT_AT, TEXT_AT + rotten.text_size), range(MARKS_AT, MARKS_AT + 6), range(SUMS_AT, SUMS_AT + 24)),
        *(range(METADATA_AT, METADATA_AT + rotten.metadata_size), range(0, len(rotten.journal), 997)),
    )


def part_spots(rotten: Rotten) -> list[int]:
    """Every byte of a scan file's header fields, its .npy header, and its array."""
    array = range(ARRAY_AT, ARRAY_AT + 6 * FRAME)
    return spots(range(80), range(ARRAY_AT - 128, ARRAY_AT), array, range(0, len(rotten.part), 997))


# -- flips -------------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_of_a_journal_is_never_a_wrong_frame(rotten: Rotten, folder: Path) -> None:
    """Recovery that checks every byte: what it exports is right, whatever byte of the journal is bad."""
    for at in journal_spots(rotten):
        rotten.lay(folder, journal=flipped(rotten.journal, at))
        written = answer(folder, rotten, verify=True)
        unharmed = {k: rotten.frames[k] for k in (0, 1, 3)}
        if SUMS_AT <= at < SUMS_AT + 24:
            unharmed.pop((at - SUMS_AT) // 4, None)
        if written is not None:
            assert written.items() >= unharmed.items(), f"byte {at}: frames that are sound were lost"
        else:
            assert not MARKS_AT <= at < METADATA_AT, f"byte {at}: a mark or a checksum cost the whole scan"


def test_a_flipped_byte_of_a_scan_file_is_never_a_wrong_frame(rotten: Rotten, folder: Path) -> None:
    """A frame whose bytes are not those of its checksum is missing; a damaged header is mended or refused."""
    for at in part_spots(rotten):
        rotten.lay(folder, part=flipped(rotten.part, at))
        written = answer(folder, rotten, verify=True)
        expected = {0, 1, 3} - ({(at - ARRAY_AT) // FRAME} if ARRAY_AT <= at < ARRAY_AT + 6 * FRAME else set())
        if written is not None:
            assert set(written) == expected, f"byte {at}"


def test_another_boot_checks_as_verify_does(rotten: Rotten, folder: Path, another_boot: None) -> None:
    """After a power cut every frame is looked at without being asked to: flipped array bytes are missing frames."""
    for at in range(ARRAY_AT, ARRAY_AT + 6 * FRAME, 5):
        rotten.lay(folder, part=flipped(rotten.part, at))
        written = answer(folder, rotten, verify=False)
        assert written is not None
        assert set(written) == {0, 1, 3} - {(at - ARRAY_AT) // FRAME}


def test_on_the_same_boot_the_structure_is_checked_all_the_same(rotten: Rotten, folder: Path) -> None:
    """Marks and checksums are trusted after the death of a process; a head, a description or a pointer never is."""
    trusted = range(MARKS_AT, METADATA_AT)
    for at in journal_spots(rotten)[::2]:
        if at not in trusted:
            rotten.lay(folder, journal=flipped(rotten.journal, at))
            assert answer(folder, rotten, verify=False) in (None, rotten.frames), f"byte {at}"


@pytest.mark.parametrize("mark", [6, 7, 0x40, 0x80, 0x83, 0xFF])
def test_a_mark_of_no_meaning_is_not_trusted(rotten: Rotten, folder: Path, mark: int) -> None:
    """Marks above CHECKING are damage: such a frame is data only where a checksum vouches for it."""
    for frame in range(6):
        journal = bytearray(rotten.journal)
        journal[MARKS_AT + frame] = mark
        rotten.lay(folder, journal=bytes(journal))
        written = answer(folder, rotten, verify=False)
        assert written is None or set(rotten.frames) - {frame} <= set(written) <= set(rotten.frames)


def test_a_flipped_byte_of_an_export_is_never_other_data(export: bytes, folder: Path) -> None:
    """open_wave gives the frames, axes and note that were stored, or an error; bytes of the array are not its business."""
    path, array_end = folder / "a.npz", ARRAY_AT + len(EXPORTED)
    changed = [(at, flipped(export, at)) for at in spots(range(80), range(array_end, len(export)), range(0, 4096, 97))]
    said = export.index(b"{'descr'")
    for at in range(said - 10, said + 64):  # what the .npy header says: every bit, as "<" is one bit from ">"
        changed += [(at, export[:at] + bytes([export[at] ^ 1 << bit]) + export[at + 1 :]) for bit in range(8)]
    wrong = []
    for at, content in changed:
        path.write_bytes(content)
        try:
            with open_wave(path) as wave:
                data, axes, note = wave.data, wave.axes, wave.note
                if (data.shape, data.dtype.str, data.tobytes()) != ((8, 8), "<u2", EXPORTED):
                    wrong.append((at, "data", data.shape, data.dtype.str))
                if [a.tolist() for a in axes] != [[k / 2 for k in range(8)], [float(k) for k in range(8)]]:
                    wrong.append((at, "axes"))
                if note != {"k": "v"}:
                    wrong.append((at, "note"))
                del data
        except LysStorageError:
            continue
    assert wrong == []


def test_verify_finds_every_flipped_byte_of_an_export_that_matters(export: bytes, folder: Path) -> None:
    """verify never raises, and where it finds nothing the export is right for whoever reads it."""
    path = folder / "a.npz"
    path.write_bytes(export)
    assert verify(path) == []
    for at in spots(range(80), range(ARRAY_AT - 128, ARRAY_AT + 200, 2), range(ARRAY_AT + 128, len(export))):
        path.write_bytes(flipped(export, at))
        if not verify(path):
            with np.load(path, allow_pickle=True) as members:
                assert members["data"].tobytes() == EXPORTED, f"byte {at}"
                assert members["note"][()] == {"k": "v"}, f"byte {at}"
                assert len(members["axes"]) == 2, f"byte {at}"
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, f"byte {at}"


def test_verify_finds_flipped_bytes_of_a_scan_in_progress(rotten: Rotten, folder: Path) -> None:
    """verify tells of each checked frame whose bytes changed, raises nothing, and changes nothing."""
    rotten.lay(folder)
    assert verify(folder / "a.npz.part") == []
    for at in (*range(ARRAY_AT, ARRAY_AT + 6 * FRAME, 3), *range(0, len(rotten.part), 4999)):
        bad = flipped(rotten.part, at)
        rotten.lay(folder, part=bad)
        found = verify(folder / "a.npz.part")
        assert found or (at - ARRAY_AT) // FRAME not in (0, 1, 3)
        assert (folder / "a.npz.part").read_bytes() == bad
    for at in journal_spots(rotten)[::3]:
        bad = flipped(rotten.journal, at)
        rotten.lay(folder, journal=bad)
        verify(folder / "a.npz.part")
        assert (folder / "a.npz.part.journal").read_bytes() == bad


def test_a_flipped_byte_lets_resume_go_on_or_refuse(rotten: Rotten, folder: Path) -> None:
    """resume gives a scan that can be saved, or an error of the family, whatever byte of the journal's head is bad."""
    head = spots(range(HEAD + 8), range(POINTERS_AT, POINTERS_AT + 32), range(TEXT_AT, TEXT_AT + rotten.text_size, 3))
    for at in spots(head, range(MARKS_AT, MARKS_AT + 6)):
        rotten.lay(folder, journal=flipped(rotten.journal, at))
        try:
            scan = resume(folder / "a.npz.part", flush_interval_s=None)
        except LysStorageError:
            continue
        for index in list(scan.missing()):
            scan[index] = np.zeros(8, "u2")
        scan.suspend()


# -- cut short ---------------------------------------------------------------------------------------------------------


def lengths(size: int, *around: int) -> list[int]:
    return sorted(set(range(0, size, 701)) | {a + d for a in around for d in (-1, 0, 1) if 0 <= a + d < size})


@pytest.mark.parametrize("checked", [False, True], ids=["marks trusted", "every byte checked"])
def test_a_truncated_journal_is_refused_or_right(rotten: Rotten, folder: Path, checked: bool) -> None:
    """Cut at any length, a journal is refused, and its scan file stays as it was."""
    edges = (
        0,
        8,
        HEAD,
        HEAD + 4,
        POINTERS_AT,
        TEXT_AT,
        MARKS_AT,
        SUMS_AT,
        METADATA_AT,
        METADATA_AT + rotten.metadata_size,
    )
    for n in lengths(len(rotten.journal), *edges):
        rotten.lay(folder, journal=rotten.journal[:n])
        written = answer(folder, rotten, verify=checked)
        if written is None:
            assert (folder / "a.npz.part").read_bytes() == rotten.part, f"cut at {n}"
        else:
            assert n >= METADATA_AT + rotten.metadata_size


@pytest.mark.parametrize("checked", [False, True], ids=["marks trusted", "every byte checked"])
@pytest.mark.parametrize("settled", [False, True], ids=["one frame without a checksum", "all with a checksum"])
def test_a_truncated_scan_file_has_the_frames_that_are_left(
    rotten: Rotten, folder: Path, checked: bool, settled: bool
) -> None:
    """How long a file is belongs to its structure: no frame beyond its end is data, on the same boot neither."""
    for n in spots(lengths(len(rotten.part)), range(ARRAY_AT - 1, ARRAY_AT + 6 * FRAME + 2)):
        rotten.lay(folder, part=rotten.part[:n], journal=rotten.settled if settled else rotten.journal)
        written = answer(folder, rotten, verify=checked)
        if written is not None:
            assert all(ARRAY_AT + (k + 1) * FRAME <= n for k in written), f"cut at {n}"


def test_a_truncated_export_is_refused(export: bytes, folder: Path) -> None:
    """Cut anywhere, an export has no end of a ZIP: it is refused."""
    for n in spots(range(0, 4096, 61), range(ARRAY_AT, len(export), 3)):
        (folder / "a.npz").write_bytes(export[:n])
        with pytest.raises(BadFileError):
            open_wave(folder / "a.npz")
        assert verify(folder / "a.npz") != []


# -- files of others ---------------------------------------------------------------------------------------------------


def test_the_scan_file_of_another_is_never_taken_for_this_ones(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """The journal of one scan beside the scan file of another of the same form: no frame has its checksum."""
    other = make_rotten(tmp_path / "other", seed=1)
    rotten.lay(folder, part=other.part)
    assert answer(folder, rotten, verify=True) in (None, {})


def test_the_journal_of_another_form_is_refused(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """A scan file that is not of the form that the journal describes is refused or empty; on the same boot as well."""
    with lys_storage.create(tmp_path / "b.npz", (600, 80), "<f8", grid_ndim=1, flush_interval_s=None) as scan:
        scan[:500] = np.ones((500, 80))
        scan.flush()
        journal = Path(f"{scan.part_path}.journal").read_bytes()
    rotten.lay(folder, journal=journal)
    for result in recover(folder):
        if result.path is not None:
            with zipfile.ZipFile(result.path) as archive:
                assert archive.testzip() is None
                assert json.loads(archive.read("acquisition.json"))["frames_written"] == 0


@pytest.mark.parametrize("version", [0, 2, 99, 0xFFFFFFFF])
def test_a_version_from_the_future_is_refused_and_nothing_is_touched(
    rotten: Rotten, folder: Path, version: int
) -> None:
    """docs/format.md: an unknown version is refused, and no byte of any of its files changes."""
    head = bytearray(rotten.journal[:HEAD])
    struct.pack_into("<I", head, 8, version)
    future = bytes(head) + struct.pack("<I", zlib.crc32(head)) + rotten.journal[HEAD + 4 :]
    rotten.lay(folder, journal=future, redo=b"\x93LYSREDO" + bytes(200))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    told = [*recover(folder, verify=True), *recover(folder), *recover(folder, dry_run=True)]
    assert [result.path for result in told] == [None] * 3
    assert all(f"version {version}" in result.said for result in told)
    for ask in (resume, look_at):
        with pytest.raises(BadFileError, match=f"version {version}"):
            ask(folder / "a.npz.part")
    assert verify(folder / "a.npz.part") != []
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


# -- the redo file -----------------------------------------------------------------------------------------------------

NEW = np.arange(500, 508, dtype="<u2").tobytes()


def redo_record(rotten: Rotten, frame: int, content: bytes, *, epoch: int = 0, key: int | None = None) -> bytes:
    header = encode_redo_header(
        *(rotten.key if key is None else key, epoch, ARRAY_AT + frame * FRAME, len(content), zlib.crc32(content))
    )
    return header + content + bytes(-len(content) % 64)


def while_rewriting(rotten: Rotten, frame: int) -> tuple[bytes, bytes]:
    """(journal, scan file) of a process that died while `frame` was being rewritten, half of it done."""
    journal, part = bytearray(rotten.journal), bytearray(rotten.part)
    journal[MARKS_AT + frame] = REWRITING
    at = ARRAY_AT + frame * FRAME
    part[at : at + 8] = NEW[:8]
    return bytes(journal), bytes(part)


@pytest.mark.parametrize("checked", [False, True], ids=["marks trusted", "every byte checked"])
def test_a_damaged_redo_file_never_leaves_a_mixture(rotten: Rotten, folder: Path, checked: bool) -> None:
    """Each flip and each cut of the redo file leaves the new frame or a missing one; the others are not touched."""
    journal, part = while_rewriting(rotten, 1)
    redo = redo_record(rotten, 1, NEW)
    new = replace(rotten, frames={**rotten.frames, 1: NEW})
    rotten.lay(folder, journal=journal, part=part, redo=redo)
    whole = answer(folder, new, verify=checked)
    assert whole is not None
    assert whole[1] == NEW
    others = {k: rotten.frames[k] for k in ((0, 3) if checked else (0, 3, 5))}
    for bad in [flipped(redo, at) for at in range(64 + FRAME)] + [redo[:n] for n in range(0, len(redo), 3)]:
        rotten.lay(folder, journal=journal, part=part, redo=bad)
        written = answer(folder, new, verify=checked)
        assert written in (others, {**others, 1: NEW})


HOSTILE_RECORDS: dict[str, Callable[[Rotten], bytes]] = {
    "of another scan": lambda r: redo_record(r, 1, NEW, key=r.key ^ 1),
    "of an older epoch": lambda r: redo_record(r, 1, NEW, epoch=7),
    "before the array": lambda r: redo_record(r, -1, NEW),
    "behind the array": lambda r: redo_record(r, 6, NEW),
    "over the end of the array": lambda r: redo_record(r, 5, NEW + NEW),
    "far away": lambda r: redo_record(r, (1 << 59) - 256, NEW),
    "of half a frame": lambda r: redo_record(r, 1, NEW[:8]),
    "of no bytes": lambda r: redo_record(r, 1, b"") * 50,
    "of more bytes than there are": lambda r: encode_redo_header(r.key, 0, ARRAY_AT, 1 << 62, 0) + NEW,
    "of all bytes that there can be": lambda r: encode_redo_header(r.key, 0, ARRAY_AT, (1 << 64) - 1, 0) + NEW,
}


@pytest.mark.parametrize("record", HOSTILE_RECORDS.values(), ids=HOSTILE_RECORDS)
def test_a_record_that_is_not_this_scans_writes_nothing(
    rotten: Rotten, folder: Path, record: Callable[[Rotten], bytes]
) -> None:
    """Redo records count where they are whole frames of this scan's array in this epoch, and nowhere else."""
    journal, part = while_rewriting(rotten, 1)
    rotten.lay(folder, journal=journal, part=part, redo=record(rotten))
    written = answer(folder, rotten, verify=False)
    assert written == {k: rotten.frames[k] for k in (0, 3, 5)}


# -- descriptions with a right checksum --------------------------------------------------------------------------------


def journal_of(rotten: Rotten, text: bytes) -> bytes:
    """The journal with another description, of which all checksums are right; frames, marks and metadata stay."""
    size = len(rotten.journal)
    head = bytearray(rotten.journal[:HEAD])
    struct.pack_into("<II", head, 12, len(text), zlib.crc32(text))
    content = bytearray(rotten.journal)
    content[: HEAD + 4] = head + struct.pack("<I", zlib.crc32(head))
    content[TEXT_AT:MARKS_AT] = text.ljust(MARKS_AT - TEXT_AT, b"\0")
    assert len(content) == size
    return bytes(content)


def describe(rotten: Rotten, **changes: Any) -> bytes:
    fields = json.loads(rotten.journal[TEXT_AT : TEXT_AT + rotten.text_size])
    return json.dumps({**fields, **changes}).encode()


FIELDS: dict[str, dict[str, Any]] = {
    "scan_id is a number": {"scan_id": 5},
    "scan_id is no text": {"scan_id": None},
    "scan_id is half a surrogate": {"scan_id": "\ud800"},
    "grid_ndim is a float": {"grid_ndim": 1.0},
    "grid_ndim is a bool": {"grid_ndim": True},
    "grid_ndim is text": {"grid_ndim": "1"},
    "grid_ndim is NaN": {"grid_ndim": float("nan")},
    "grid_ndim is negative": {"grid_ndim": -1},
    "array_offset is a float": {"array_offset": 4096.0},
    "array_offset is text": {"array_offset": "%d"},
    "array_offset is negative": {"array_offset": -4096},
    "array_offset is zero": {"array_offset": 0},
    "started is a number": {"started": 5},
    "started is nothing": {"started": None},
    "started is no time": {"started": "yesterday"},
    "started is the year 1": {"started": "0001-01-01T00:00:00"},
    "started is the year 9999": {"started": "9999-12-31T23:59:59+00:00"},
    "started is far west": {"started": "0001-01-01T00:00:00+23:59"},
    "dtype is an object": {"dtype": "'|O'"},
    "dtype is a number": {"dtype": 5},
    "dtype is an empty tuple": {"dtype": "()"},
    "dtype is a short tuple": {"dtype": "('<u2',)"},
    "dtype is a huge sub-array": {"dtype": "('<u2', (10**30,))"},
    "dtype is a huge sub-array by number": {"dtype": "('<u2', 1000000000000000000000000000000)"},
    "dtype is a list of numbers": {"dtype": "[1, 2]"},
    "dtype is a list of texts": {"dtype": "['ab', 'cd']"},
    "dtype is nested deeply": {"dtype": "[" * 150 + "]" * 150},
    "dtype is long": {"dtype": "1" + "+1" * 500},
    "dtype has a huge repeat": {"dtype": "'(99999999999999999999,)u2'"},
    "dtype has a time of no unit": {"dtype": "'<M8[0s]'"},
    "dtype has a huge time unit": {"dtype": "'<M8[99999999999999s]'"},
    "dtype is bytes": {"dtype": "b'<u2'"},
    "dtype has zero size": {"dtype": "'|V0'"},
    "shape is text": {"shape": "68"},
    "shape is a dict": {"shape": {"6": 8}},
    "shape is floats": {"shape": [6.0, 8.0]},
    "shape is huge": {"shape": [10**13, 8]},
    "shape is beyond numbers": {"shape": [10**2000, 8]},
    "shape has 33 dimensions": {"shape": [6, 8] + [1] * 31},
    "shape has 500 dimensions": {"shape": [6, 8] + [1] * 500},
    "shape is empty": {"shape": []},
    "shape is nested": {"shape": [[6], 8]},
    "fill is short": {"fill": "09"},
    "fill is no hex": {"fill": "zz"},
    "fill is a number": {"fill": 9},
    "final is nothing": {"final": None},
    "final is empty": {"final": ""},
    "final is a dot": {"final": "."},
    "final is the folder above": {"final": ".."},
    "final is elsewhere": {"final": "../b.npz"},
    "final is absolute": {"final": "/tmp/b.npz"},
    "final has a NUL": {"final": "b\0.npz"},
    "final is half a surrogate": {"final": "\ud800.npz"},
    "final is too long": {"final": "x" * 300 + ".npz"},
    "final is the journal": {"final": "a.npz.part.journal", "replace": True},
    "final is the scan file": {"final": "a.npz.part", "replace": True},
    "final is somebody else's": {"final": "precious.txt", "replace": True},
    "stem has a NUL": {"stem": "b\0", "number": 3},
    "stem is elsewhere": {"stem": "../b", "number": 3},
    "stem is a number": {"stem": 5, "number": 3},
    "number is text": {"number": "3"},
    "number is a float": {"number": 3.0},
    "number is huge": {"number": 10**2000},
    "replace is text": {"replace": "no"},
    "boot_id is a list": {"boot_id": [1]},
    "software is a dict": {"software": {"a": [1, 2]}},
    "a field more": {"more": 1},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_description_that_no_scan_has_is_refused_or_right(
    rotten: Rotten, folder: Path, fields: dict[str, Any]
) -> None:
    """Right checksums make no right content: what does not fit is an error of the family, and replaces nothing."""
    for checked in (True, False):
        rotten.lay(folder, journal=journal_of(rotten, describe(rotten, **fields)))
        (folder / "precious.txt").write_text("mine")
        before = {path.name for path in folder.iterdir()}
        told = recover(folder, verify=checked)
        assert (folder / "precious.txt").read_text() == "mine"
        made = {path.name for path in folder.iterdir()} - before
        assert all(name.endswith(".npz") or name.startswith(".") for name in made)
        if told[0].path is not None:
            assert told[0].path.parent == folder
            with zipfile.ZipFile(told[0].path) as archive:
                assert archive.testzip() is None
        (folder / ".lys_storage.lock").unlink(missing_ok=True)
        for path in folder.iterdir():
            path.unlink()


TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"1" * 2000,
    "null": b"null",
    "a key too few": b'{"scan_id": "a"}',
    "nested": b"[" * 2400,
    "nested dicts": b'{"a":' * 480,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_description_that_is_none_is_refused(rotten: Rotten, folder: Path, text: bytes) -> None:
    """Bytes of right checksum that are no description are a BadFileError, and the files stay as they are."""
    rotten.lay(folder, journal=journal_of(rotten, text))
    for ask in (resume, look_at):
        with pytest.raises(BadFileError):
            ask(folder / "a.npz.part")
    assert answer(folder, rotten, verify=True) is None


def test_a_table_of_more_frames_than_a_scan_can_have_is_refused_at_once(rotten: Rotten, folder: Path) -> None:
    """A sparse journal of 10 TB that describes 10**12 frames costs no memory and no time."""
    frames = 1 << 40
    text = describe(rotten, shape=[frames, 1], grid_ndim=1)
    pages = [-(-n // 4096) * 4096 for n in (TEXT_AT + len(text), frames, 4 * frames)]
    places = (pages[0], pages[0] + pages[1], sum(pages))
    head = struct.pack("<8sIIIIQQQQ", b"\x93LYSJRN\n", 1, len(text), zlib.crc32(text), 1, frames, *places)
    rotten.lay(folder, journal=(head + struct.pack("<I", zlib.crc32(head))).ljust(TEXT_AT, b"\0") + text)
    try:
        os.truncate(folder / "a.npz.part.journal", places[2] + 4096)
    except OSError:
        pytest.skip("this filesystem has no sparse files of this size")
    for ask in (resume, look_at):
        with pytest.raises(BadFileError):
            ask(folder / "a.npz.part")


@pytest.mark.parametrize("offset", [0, 5, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("sizes", [(0, 0), (10, 10), (0xFFFFFFFF, 0xFFFFFFFF)], ids=["empty", "small", "huge"])
def test_a_pointer_to_nowhere_is_no_pointer(rotten: Rotten, folder: Path, offset: int, sizes: tuple[int, int]) -> None:
    """Metadata lie behind the tables and within the file; what points elsewhere is void, and is not written to."""
    head = struct.pack("<QQIII", 1 << 63, offset, *sizes, 0)
    pointer = head + struct.pack("<I", zlib.crc32(head, rotten.key))
    journal = bytearray(rotten.journal)
    journal[1024:1056] = pointer
    rotten.lay(folder, journal=bytes(journal))
    scan = resume(folder / "a.npz.part", flush_interval_s=None)
    try:
        assert scan.note == {"seed": 0}
        scan.note = {"seed": 1}
    finally:
        scan.suspend()
    assert (folder / "a.npz.part.journal").stat().st_size < 1 << 20
    assert answer(folder, rotten, verify=False) == rotten.frames


# -- what a pickle says is not done ------------------------------------------------------------------------------------


class Call:
    """Pickles as a call of `function` with `arguments`, which whoever unpickles it is to make."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


def npy_of(pickled: bytes, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy whose array is `pickled`."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + pickled


def holding(item: Any, shape: tuple[int, ...] = ()) -> bytes:
    """An object .npy of `shape` with `item` in it."""
    array = np.empty(shape, object)
    array[(0,) * len(shape)] = item
    return npy_of(pickle.dumps(array, 4), shape)


def note_of(item: Any) -> dict[str, bytes]:
    return {"note.npy": holding({"k": item})}


def axis_of(item: Any) -> dict[str, bytes]:
    return {"axes.npy": holding(item, (1,))}


def npy_saying(header: str, content: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x02\0" + struct.pack("<I", len(text)) + text + content


def plain(descr: str, shape: str, content: bytes = b"") -> bytes:
    return npy_saying(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", content)


def shared(depth: int, width: int, kind: type = list) -> Any:
    """Nested lists that share their elements: `width ** depth` of them to whoever takes it apart, few bytes in a file."""
    at: Any = kind([1.0] * width)
    for _ in range(depth - 1):
        at = kind([at] * width)
    return at


def holding_itself() -> list[Any]:
    inner: list[Any] = []
    inner += [inner, inner]
    return inner


def numpy_name(name: str) -> Any:
    core = np.core if np.__version__.startswith("1.") else np._core
    return getattr(core.multiarray if name != "_frombuffer" else core.numeric, name)


def rebuilt(*state: Any) -> bytes:
    """A pickle of an array with this inner state: (version, shape, dtype, Fortran order, content)."""

    class Array:
        def __reduce__(self) -> Any:
            return numpy_name("_reconstruct"), (np.ndarray, (0,), b"b"), state

    return pickle.dumps(Array(), 4)


def described(code: str, *state: Any) -> Any:
    class Dtype:
        def __reduce__(self) -> Any:
            return (np.dtype, (code, False, True), state) if state else (np.dtype, (code, False, True))

    return Dtype()


LETTERS = np.array([0x7FFFFFFF, 0x11FFFF, 65, 0xFFFFFFFF], "<u4").view("<U2")
DEEP_TUPLE = b")" + b"\x85" * 300_000
DOUBLED_TUPLE = b")" + b"".join(b"q%c0h%ch%c\x86" % (k, k, k) for k in range(100))
GLOBAL = b"c%s\n%s\n"
_RECONSTRUCT = GLOBAL % (b"numpy.core.multiarray", b"_reconstruct")

RUNS_CODE: dict[str, dict[str, bytes]] = {
    "os.system in the note": note_of(Call(os.system, "touch executed")),
    "os.system in the axes": axis_of(Call(os.system, "touch executed")),
    "exec": note_of(Call(exec, "open('executed', 'w')")),
    "eval in a key": {"note.npy": npy_of(b'}c__builtin__\neval\n(S\'open("executed","w")\'\ntRK\x01s.')},
    "builtins.getattr": note_of(Call(getattr, "a", "upper")),
    "builtins.open": note_of(Call(open, "executed", "w")),
    "builtins.bytearray": note_of(Call(bytearray, 10**10)),
    "numpy.memmap": note_of(Call(np.memmap, "executed", "u1", "w+", 0, (10,))),
    "numpy.load": note_of(Call(np.load, "executed", None, True)),
    "a dotted name": {"note.npy": npy_of(b"\x80\x04\x8c\x08datetime\x8c\x0csys.settrace\x93.")},
    "through the old opcode INST": {"note.npy": npy_of(b"(S'touch executed'\nios\nsystem\n.")},
    "through the old opcode OBJ": {"note.npy": npy_of(b"(cos\nsystem\nS'touch executed'\no.")},
    "a persistent name": {"note.npy": npy_of(b"Pexecuted\n.")},
    "an extension code": {"note.npy": npy_of(b"\x80\x02\x82\x01.")},
    "a buffer from outside": {"note.npy": npy_of(b"\x80\x05\x97.")},
}

HOSTILE_PICKLES: dict[str, dict[str, bytes]] = {
    "a set of a huge range": note_of(Call(set, Call(range, 1 << 31))),
    "a frozenset of a huge range": note_of(Call(frozenset, Call(range, 1 << 31))),
    "a dict of a huge range": note_of(Call(__import__("collections").OrderedDict, Call(range, 1 << 31))),
    "a huge range for an axis": axis_of(Call(range, 1 << 31)),
    "huge ranges in an axis": {"axes.npy": holding([Call(range, 1 << 29)] * 4, (1,))},
    "a huge slice": note_of(Call(slice, 0, 10**13, 1)),
    "a huge bytearray": {"note.npy": npy_of(b"\x80\x05\x96" + struct.pack("<Q", 10**13) + b"abc.")},
    "a big bytearray": {"note.npy": npy_of(b"\x80\x05\x96" + struct.pack("<Q", 1 << 30) + b"abc.")},
    "bytes that are not there": {"note.npy": npy_of(b"\x80\x04\x8e" + struct.pack("<Q", 10**13) + b"abc.")},
    "text that is not there": {"note.npy": npy_of(b"\x80\x04\x8d" + struct.pack("<Q", 10**13) + b"abc.")},
    "a frame that is not there": {"note.npy": npy_of(b"\x80\x04\x95" + struct.pack("<Q", 10**13) + b"abc.")},
    "a number of many digits": {"note.npy": npy_of(b"I" + b"9" * 1_000_000 + b"\n.")},
    "a number that is not there": {"note.npy": npy_of(b"\x80\x02\x8b\xff\xff\xff\x7f.")},
    "a far place in the memo": {"note.npy": npy_of(b"N" + b"r" + struct.pack("<I", 0x0F000000) + b".")},
    "a very far place in the memo": {"note.npy": npy_of(b"N" + b"r" + struct.pack("<I", 0x7FFFFFF0) + b".")},
    "a far place in the memo, in digits": {"note.npy": npy_of(b"Np251658240\n.")},
    "a deep tuple for a key": {"note.npy": npy_of(b"}" + DEEP_TUPLE + b"K\x01s.")},
    "a deep tuple in a set": {"note.npy": npy_of(b"\x80\x04\x8f(" + DEEP_TUPLE + b"\x90.")},
    "a deep tuple in a frozenset": {"note.npy": npy_of(b"\x80\x04(" + DEEP_TUPLE + b"\x91.")},
    "a doubled tuple for a key": {"note.npy": npy_of(b"}" + DOUBLED_TUPLE + b"K\x01s.")},
    "a doubled tuple in a set": {"note.npy": npy_of(b"\x80\x04\x8f(" + DOUBLED_TUPLE + b"\x90.")},
    "deep lists": {"note.npy": npy_of(b"]" * 300_000 + b"a" * 299_999 + b".")},
    "deep dicts": {"note.npy": holding(json.loads('{"a":' * 400 + "1" + "}" * 400))},
    "shared lists": note_of(shared(80, 2)),
    "shared tuples": note_of(shared(80, 2, tuple)),
    "wide shared lists": note_of(shared(5, 1000)),
    "a list that holds itself": note_of(holding_itself()),
    "a note that holds itself": {"note.npy": npy_of(b"}q\x00U\x01ah\x00s.")},
    "one big array many times": note_of([np.zeros(1 << 22, "u1")] * 2000),
    "shared lists for an axis": axis_of(shared(5, 1000)),
    "a doubled list for an axis": axis_of(shared(80, 2)),
    "text, then a doubled list, for an axis": {"axes.npy": holding(["a", shared(60, 2)], (1,))},
    "a long text many times for an axis": {"axes.npy": holding(["a", *["b" * 300_000] * 300_000], (1,))},
    "one text of a million letters among many": {"axes.npy": holding(["a" * 1_000_000, *["b"] * 10_000], (1,))},
    "an array of a number of zero bytes": note_of(
        Call(numpy_name("_frombuffer"), 1 << 30, np.dtype("u1"), (1 << 30,), "C")
    ),
    "elements of no size": {"note.npy": npy_of(rebuilt(1, (10**10,), np.dtype("V0"), False, b""), (10**10,))},
    "texts of no size": {"axes.npy": npy_of(rebuilt(1, (1 << 30,), np.dtype("S0"), False, b""), (1 << 30,))},
    "an axis of elements of no size": {
        "axes.npy": holding(Call(numpy_name("_frombuffer"), b"", described("V0"), (10**10,), "C"), (1,))
    },
    "a shape of huge numbers": {"note.npy": npy_of(rebuilt(1, (1 << 8_000_000,) * 32, np.dtype("u1"), False, b""))},
    "a shape beyond the content": {"note.npy": npy_of(rebuilt(1, (10**13,), np.dtype("u1"), False, b"abc"))},
    "a negative shape": {"note.npy": npy_of(rebuilt(1, (-1,), np.dtype("u1"), False, b""))},
    "an array of objects from bytes": {"note.npy": npy_of(rebuilt(1, (4,), np.dtype("O"), False, b"\x41" * 32), (4,))},
    "an array of objects that is short": {"note.npy": npy_of(rebuilt(1, (10**9,), np.dtype("O"), False, [1]))},
    "an array of its own content": {
        "note.npy": npy_of(_RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tC\x01btRq\x00(K\x01)h\x00\x89h\x00tb.")
    },
    "objects hidden in fields": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 27),
            *((1,), "C"),
        )
    ),
    "objects hidden in a sub-array": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", (np.dtype("O"), (1,)), None, None, 8, 1, 27),
            *((1,), "C"),
        )
    ),
    "a field outside of its element": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", None, ("a",), {"a": (np.dtype("f8"), 1 << 30)}, 8, 1, 0),
            *((1,), "C"),
        )
    ),
    "an element of a gigabyte": note_of(
        described("V8", 3, "|", None, ("a",), {"a": (np.dtype("u1"), 0)}, 1 << 30, 1, 0)
    ),
    "an axis of letters that do not exist": axis_of(LETTERS),
    "an axis of times without a unit": axis_of(np.array([1, 2], "<i8").view("<M8")),
    "times without a unit in the note": note_of(np.array([1, 2], "<i8").view("<M8")),
    "letters that do not exist in the note": note_of(LETTERS),
    "letters that do not exist in fields": note_of(LETTERS.view([("a", "<U1"), ("b", ">U1")])),
    "a letter that does not exist": note_of(
        Call(numpy_name("scalar"), described("U1", 3, "<", None, None, None, 4, 4, 8), b"\xff\xff\xff\x7f")
    ),
    "a number of objects": note_of(Call(numpy_name("scalar"), np.dtype("O"), b"\x41" * 8)),
    "functions of ours given other defaults": {
        "note.npy": npy_of(b"\x80\x04" + _RECONSTRUCT + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.")
    },
    "functions of ours filled": {"note.npy": npy_of(b"\x80\x04" + _RECONSTRUCT + b"}X\x01\x00\x00\x00aK\x01sb.")},
    "classes of ours called without their arguments": {"note.npy": npy_of(b"\x80\x02cnumpy\ndtype\n)\x81.")},
}

HOSTILE_HEADERS: dict[str, dict[str, bytes]] = {
    "10**13 elements in data": {"data.npy": plain("'<f8'", "(10000000000000,)")},
    "10**13 elements of no size in data": {"data.npy": plain("'|V0'", "(10000000000000,)")},
    "10**10 texts of no size in data": {"data.npy": plain("'|S0'", "(10000000000,)")},
    "no elements by 10**10 in data": {"data.npy": plain("'<f8'", "(0, 10000000000)")},
    "no elements by 10**30 in data": {"data.npy": plain("'<f8'", f"(0, {10**30})")},
    "10**13 elements in axes": {"axes.npy": plain("'<f8'", "(10000000000000,)")},
    "10**10 elements of no size in axes": {"axes.npy": plain("'|V0'", "(10000000000,)")},
    "10**10 texts of no size in axes": {"axes.npy": plain("'|S0'", "(10000000000,)")},
    "no elements by 10**10 in axes": {"axes.npy": plain("'<f8'", "(0, 10000000000)")},
    "10**10 by no elements in axes": {"axes.npy": plain("'<f8'", "(10000000000, 0)")},
    "half a million dimensions": {"data.npy": plain("'<f8'", "(" + "9," * 490_000 + ")")},
    "half a million dimensions of 1": {"data.npy": plain("'<f8'", "(" + "1," * 490_000 + ")")},
    "40 dimensions": {"data.npy": plain("'<f8'", "(" + "1," * 40 + ")", bytes(8))},
    "a sub-array of 10**10": {"data.npy": plain("('<f8', (10000000000,))", "(1,)")},
    "a sub-array of 10**30": {"data.npy": plain(f"('<f8', ({10**30},))", "(1,)")},
    "an element of 2 GB": {"data.npy": plain("'|V2147483647'", "(1,)")},
    "an element of 2**40": {"data.npy": plain("'|V1099511627776'", "(1,)")},
    "a long sum": {"data.npy": npy_saying("1" + "+1" * 500_000)},
    "a long complex sum": {"data.npy": npy_saying("1" + "+1j" * 300_000)},
    "many minuses": {"data.npy": npy_saying("-" * 1_000_000 + "1")},
    "many brackets": {"data.npy": npy_saying("[" * 1_000_000)},
    "90 brackets for a dtype": {"data.npy": plain("[" * 90 + "]" * 90, "(1,)")},
    "many calls": {"data.npy": npy_saying("a" + "()" * 400_000)},
    "many names": {"data.npy": npy_saying("a" + ".b" * 500_000)},
    "many texts": {"data.npy": npy_saying("'a'" * 300_000)},
    "axes of letters that do not exist": {"axes.npy": plain("'<U2'", "(1, 2)", LETTERS.tobytes())},
    "a header of 4 GB": {"data.npy": b"\x93NUMPY\x02\0\xff\xff\xff\xff{"},
    "deep JSON": {"acquisition.json": b"[" * 1_000_000},
    "a JSON number of many digits": {"acquisition.json": b"9" * 1_000_000},
    "JSON with half a surrogate": {"acquisition.json": b'{"software": "\\ud800"}'},
    "JSON with a key of control characters": {"acquisition.json": b'{"software": "\\u001b]0;x\\u0007"}'},
}

HARD_TO_PRINT: dict[str, dict[str, bytes]] = {
    "half a surrogate": note_of("\ud800"),
    "a tuple for a key": {"note.npy": holding({(1, 2): 3})},
    "a number beyond printing": note_of(1 << 100_000),
    "doubled lists": note_of(shared(20, 2)),
}

SOUND = {
    "data.npy": plain("'<f8'", "(1,)", np.array([1.0]).tobytes()),
    "axes.npy": holding(np.array([0.5]), (1,)),
    "note.npy": holding({}),
}


def archive_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as archive:
        for name, content in {**SOUND, **members}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def claiming(name: str, *, file_size: int, compress_size: int | None, compression: int, members: Any = None) -> bytes:
    """An archive whose central directory claims sizes that its member `name` does not have."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for each, content in {**SOUND, **(members or {})}.items():
            archive.writestr(each, content)
        info = archive.getinfo(name)
        info.file_size = file_size
        if compress_size is not None:
            info.compress_size = compress_size
    return buffer.getvalue()


HUGE_DATA = plain("'<u1'", "(10000000000,)")
BIG_DATA = plain("'<u1'", "(1000000000,)")


def lzma_of_a_huge_dictionary() -> bytes:
    """LZMA allocates the dictionary that its header asks for: 4 GiB less one."""
    archive = archive_of({}, zipfile.ZIP_LZMA)
    return archive.replace(b"\x5d\x00\x00\x80\x00", b"\x5d\xff\xff\xff\xff")


BOMBS: dict[str, Callable[[], bytes]] = {
    "a note of 300 MB of zeros": lambda: archive_of({"note.npy": bytes(300 << 20)}, zipfile.ZIP_DEFLATED),
    "axes of 300 MB of zeros": lambda: archive_of(
        {"axes.npy": plain("'<f8'", "(39_000_000,)") + bytes(312_000_000)}, zipfile.ZIP_DEFLATED
    ),
    "a description of 300 MB of blanks": lambda: archive_of(
        {"acquisition.json": b" " * (300 << 20)}, zipfile.ZIP_BZIP2
    ),
    "a compressed array that claims 10 GB": lambda: claiming(
        "data.npy",
        file_size=len(HUGE_DATA) + 10**10,
        compress_size=None,
        compression=zipfile.ZIP_DEFLATED,
        members={"data.npy": HUGE_DATA},
    ),
    "a compressed array that claims 1 GB": lambda: claiming(
        "data.npy",
        file_size=len(BIG_DATA) + 10**9,
        compress_size=None,
        compression=zipfile.ZIP_DEFLATED,
        members={"data.npy": BIG_DATA},
    ),
    "a stored array that claims 10 GB": lambda: claiming(
        "data.npy",
        file_size=len(HUGE_DATA) + 10**10,
        compress_size=len(HUGE_DATA) + 10**10,
        compression=zipfile.ZIP_STORED,
        members={"data.npy": HUGE_DATA},
    ),
    "a stored note that claims 1 GB": lambda: claiming(
        "note.npy", file_size=1 << 30, compress_size=1 << 30, compression=zipfile.ZIP_STORED
    ),
    "a stored note that claims 2**62": lambda: claiming(
        "note.npy", file_size=100, compress_size=1 << 62, compression=zipfile.ZIP_STORED
    ),
    "an LZMA dictionary of 4 GB": lzma_of_a_huge_dictionary,
}

LIMIT_S = 4
LIMIT_RSS_MB = 400
OPENER = f"""
import os, resource, sys, json, time, io, contextlib
sys.path.insert(0, {str(ROOT)!r})
import lys_storage
import lys_storage.cli, lys_storage.commands, lys_storage.core._recovery, zipfile, ast, lzma, bz2
base = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

def run(*arguments):
    try:
        lys_storage.cli.main(arguments)
    except SystemExit as end:
        return end.code

def ask(path, how):
    resource.setrlimit(resource.RLIMIT_CPU, ({LIMIT_S}, {LIMIT_S} + 1))
    resource.setrlimit(resource.RLIMIT_AS, (base + (6 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if how == "info":
            with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as out:
                codes = [run("info", path), run("info", "--json", path)]
                out.flush()
            return f"info {{codes}}"
        if how == "verify":
            return f"{{len(lys_storage.verify(path))}} problems"
        with lys_storage.open_wave(path) as wave:
            return f"opened {{wave.shape}} {{len(wave.note)}}"
    except lys_storage.LysStorageError as error:
        return f"family: {{type(error).__name__}}: {{str(error)[:300]}}"
    except BaseException as error:
        return f"FOREIGN: {{type(error).__name__}}: {{str(error)[:300]}}"

for name in sys.argv[2:]:
    for how in ("open", "info", "verify"):
        if sys.argv[1] not in ("all", how):
            continue
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            told = ask(name, how)
            os.write(w, told.encode("utf-8", "replace")[:4000])
            os._exit(0)
        os.close(w)
        _, status, used = os.wait4(pid, 0)
        told = b"".join(iter(lambda: os.read(r, 4096), b"")).decode()
        os.close(r)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([name, how, code, told, used.ru_maxrss >> 10, used.ru_utime + used.ru_stime]), flush=True)
"""


@dataclass
class Told:
    """What became of each file that was opened in a process of its own."""

    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def open_all(run_child: Callable[..., Any], tmp_path: Path) -> Callable[..., Told]:
    def run(files: dict[str, bytes], how: str = "all") -> Told:
        folder = tmp_path / "files"
        folder.mkdir()
        paths = {}
        for k, (name, content) in enumerate(files.items()):
            paths[str(folder / f"{k}.npz")] = name
            (folder / f"{k}.npz").write_bytes(content)
        result = run_child(OPENER, how, *paths)
        assert result.code == 0, result.err
        told = Told()
        for line in result.out.splitlines():
            path, asked, code, text, rss_mb, seconds = json.loads(line)
            name = paths[path]
            told.answers[name, asked] = text
            if code:
                told.faults.append(f"{asked} {name}: the process died, exit {code} after {seconds:.1f} s")
            elif text.startswith("FOREIGN"):
                told.faults.append(f"{asked} {name}: {text}")
            elif rss_mb > LIMIT_RSS_MB:
                told.faults.append(f"{asked} {name}: {rss_mb} MB of memory for {len(files[name])} bytes ({text})")
        assert len(told.answers) == len(files) * (1 if how != "all" else 3)
        return told

    return run


@forks
def test_nothing_that_a_file_says_is_executed(open_all: Callable[..., Told], tmp_path: Path) -> None:
    """Every name that is no plain data is refused, and nothing of it has happened."""
    told = open_all({name: archive_of(members) for name, members in RUNS_CODE.items()})
    assert told.faults == []
    assert not (tmp_path / "executed").exists()
    for (name, how), text in told.answers.items():
        if how == "open":
            assert text.startswith(("family: UnsafeFileError", "family: BadFileError")), f"{name}: {text}"
    assert "posix.system" in told.answers["os.system in the note", "open"]


@forks
@pytest.mark.parametrize(
    "table", [HOSTILE_PICKLES, HOSTILE_HEADERS, HARD_TO_PRINT], ids=["pickles", "headers", "texts"]
)
def test_hostile_content_is_answered_in_bounded_time_and_memory(
    open_all: Callable[..., Told], table: dict[str, dict[str, bytes]]
) -> None:
    """No crash, no hang, no memory by what a header or a pickle claims: an error of the family, or a right answer."""
    told = open_all({name: archive_of(members) for name, members in table.items()})
    assert told.faults == []


@forks
def test_zip_bombs_are_refused_in_bounded_memory(open_all: Callable[..., Told]) -> None:
    """A member may not be much larger than the file that holds it makes credible; what it claims costs nothing."""
    told = open_all({name: make() for name, make in BOMBS.items()}, "open")
    assert told.faults == []
    assert {text[:20] for text in told.answers.values()} == {"family: BadFileError"}


def test_a_resumed_scan_does_not_run_what_its_journal_says(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """Axes and note of a journal are pickles of a file as well: UnsafeFileError, and nothing is executed."""
    axes = holding(Call(os.mkdir, str(tmp_path / "executed")), (1,))
    note = holding({"k": Call(os.mkdir, str(tmp_path / "executed"))})
    head = struct.pack("<QQIII", 9, METADATA_AT, len(axes), len(note), zlib.crc32(axes + note))
    pointer = head + struct.pack("<I", zlib.crc32(head, rotten.key))
    journal = bytearray(rotten.journal)
    journal[POINTERS_AT : POINTERS_AT + 32] = pointer
    journal[METADATA_AT : METADATA_AT + len(axes + note)] = axes + note
    rotten.lay(folder, journal=bytes(journal))
    scan = resume(folder / "a.npz.part", flush_interval_s=None)
    try:
        for ask in ("axes", "note"):
            with pytest.raises(UnsafeFileError, match="mkdir"):
                getattr(scan, ask)
    finally:
        scan.suspend()
    assert not (tmp_path / "executed").exists()


# -- no files at all ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_refused_and_not_waited_for(run_child: Callable[..., Any], folder: Path) -> None:
    """A folder, a pipe that nobody writes, a device: an error of the family, at once."""
    os.mkfifo(folder / "pipe.npz")
    os.mkfifo(folder / "pipe.npz.part")
    (folder / "folder.npz").mkdir()
    (folder / "folder.npz.part").mkdir()
    source = """
import signal, sys, lys_storage
from pathlib import Path
from lys_storage.core._recovery import look_at
signal.alarm(10)
for name in sys.argv[1:]:
    for ask in (lys_storage.open_wave, lys_storage.resume, lambda p: look_at(Path(p))):
        try:
            print(ask(name))
        except lys_storage.LysStorageError:
            print("refused", flush=True)
print(lys_storage.recover(Path(sys.argv[1]).parent))
"""
    names = ["pipe.npz", "pipe.npz.part", "folder.npz", "folder.npz.part"]
    result = run_child(source, *(folder / name for name in names), "/dev/null", "/dev/zero")
    assert (result.code, result.out.split("\n")[:-2]) == (0, ["refused"] * 18), result.err


# -- what the fuzzer found ---------------------------------------------------------------------------------------------


FOUND = sorted(path for path in FINDS.glob("*/*") if path.is_file() and path.suffix != ".md")


@forks
def test_what_the_fuzzer_found_stays_mended(run_child: Callable[..., Any]) -> None:
    """Each find, once mended, is a file here; the fuzzer's own check runs on all of them, in a process of its own."""
    assert FOUND
    result = run_child("import sys, tools.fuzz; sys.exit(tools.fuzz.main())", "--replay", *FOUND)
    assert result.code == 0, result.out + result.err


@pytest.mark.parametrize("target", list(TARGETS))
def test_the_fuzzers_seeds_keep_the_rule(target: str, tmp_path: Path) -> None:
    """Seeds are small real files, and changed at random they are still answered by an error or rightly."""
    check = TARGETS[target](tmp_path)
    random, recovered = np.random.default_rng(5), False
    for seed in SEEDS[target]():
        check(seed)
        recovered |= any(tmp_path.glob("*.npz"))
        for _ in range(20):
            changed = bytearray(seed)
            for at in random.integers(0, len(changed), 3):
                changed[at] = random.integers(256)
            check(bytes(changed))
    assert recovered or target in ("npy", "plain", "journal"), "what is only refused is not tried"
