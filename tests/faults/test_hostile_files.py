"""Damaged and foreign files of a scan give an error of lys_storage or a correct answer, whatever byte is wrong.

Thousands of flips and truncations run in this process.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import BadFileError, LysStorageError, UnsafeFileError, open_wave, recover, resume, verify
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import REWRITING
from lys_storage.journal.redo_log import _encode as encode_redo_header
from lys_storage.recovery import inspect
from tests.faults.pickled import Call, holding
from tests.faults.rotten import ARRAY_AT, FILL, FRAME, MARKS_AT, METADATA_AT, SHAPE, SUMS_AT, Rotten, make_rotten
from tests.helpers import copies_are_trusted, write_anew
from tools.fuzzing.seeds import SEEDS
from tools.fuzzing.targets import TARGETS

FINDS = Path(__file__).parent / "fuzz_finds"
HEAD, POINTERS_AT, TEXT_AT = 56, 512, 1536
BEHIND_THE_HEAD = range(HEAD + 4, HEAD + 8)  # after its checksum: these bytes have no meaning

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is opened in a fork")


# -- small real files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rotten(tmp_path_factory: pytest.TempPathFactory) -> Rotten:
    return make_rotten(tmp_path_factory.mktemp("rotten") / "scan")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A complete export: eight different frames of eight values."""
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
    """Durability is not tested here, and thousands of syncs are slow on a real disk."""
    monkeypatch.setattr(SYSTEM, "sync", lambda fd: None)
    monkeypatch.setattr(SYSTEM, "sync_folder", lambda folder: None)


@pytest.fixture(autouse=True)
def laid_files_are_the_scans_own() -> Iterator[None]:
    with copies_are_trusted():
        yield


@pytest.fixture
def another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "00000000-0000-0000-0000-000000000000")


# -- the guarantee, as one check ---------------------------------------------------------------------------------------


def assert_sound_export(path: Path, rotten: Rotten) -> dict[int, bytes]:
    """`path` is a valid export, and each frame is the written one, or missing. Returns the written ones."""
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
    """Recover `folder`. Returns the frames of a correct answer, or None after an error of lys_storage."""
    for path in folder.glob("*.part"):
        try:
            inspect(path)
        except LysStorageError:
            pass
    told = [(result.path, result.message) for result in recover(folder, verify=verify)]
    exports = list(folder.glob("*.npz"))
    assert [path for path, _ in told if path is not None] == exports
    assert all(said for _, said in told)
    return assert_sound_export(exports[0], rotten) if exports else None


def flipped(content: bytes, at: int) -> bytes:
    """`content` with one byte changed: by each of eight bits in turn, and by all of them, for successive `at`."""
    changed = bytearray(content)
    changed[at] ^= (1, 2, 4, 8, 16, 32, 64, 128, 255)[at % 9]
    return bytes(changed)


def spots(*ranges: range) -> list[int]:
    return sorted({at for part in ranges for at in part})


def journal_spots(rotten: Rotten) -> list[int]:
    """Every byte of a journal that has a meaning, and some that have none."""
    return spots(
        *(range(HEAD + 8), range(448, 456), range(POINTERS_AT, POINTERS_AT + 32), range(1024, 1056)),
        *(range(TEXT_AT, TEXT_AT + rotten.text_size), range(MARKS_AT, MARKS_AT + 6), range(SUMS_AT, SUMS_AT + 24)),
        *(range(METADATA_AT, METADATA_AT + rotten.metadata_size), range(0, len(rotten.journal), 997)),
    )


def part_spots(rotten: Rotten) -> list[int]:
    """Every byte of the header fields of a scan file, of its .npy header, and of its array."""
    array = range(ARRAY_AT, ARRAY_AT + 6 * FRAME)
    return spots(range(80), range(ARRAY_AT - 128, ARRAY_AT), array, range(0, len(rotten.part), 997))


# -- flips -------------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_of_a_journal_is_never_a_wrong_frame(rotten: Rotten, folder: Path) -> None:
    """A recovery that verifies every byte exports correct frames, whatever byte of the journal is damaged."""
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
    """A frame that does not match its checksum is missing. A damaged header is repaired or refused."""
    for at in part_spots(rotten):
        rotten.lay(folder, part=flipped(rotten.part, at))
        written = answer(folder, rotten, verify=True)
        expected = {0, 1, 3} - ({(at - ARRAY_AT) // FRAME} if ARRAY_AT <= at < ARRAY_AT + 6 * FRAME else set())
        if written is not None:
            assert set(written) == expected, f"byte {at}"
        else:
            assert ARRAY_AT - 128 <= at < ARRAY_AT, f"byte {at}: only the .npy header can cost the whole scan"


def test_another_boot_checks_as_verify_does(rotten: Rotten, folder: Path, another_boot: None) -> None:
    """After a power cut every frame is verified by default: frames with flipped bytes are missing."""
    for at in range(ARRAY_AT, ARRAY_AT + 6 * FRAME, 5):
        rotten.lay(folder, part=flipped(rotten.part, at))
        written = answer(folder, rotten, verify=False)
        assert written is not None
        assert set(written) == {0, 1, 3} - {(at - ARRAY_AT) // FRAME}


def test_on_the_same_boot_the_structure_is_checked_all_the_same(rotten: Rotten, folder: Path) -> None:
    """States and checksums are trusted after the death of a process. Head, description and pointers never are."""
    trusted = range(MARKS_AT, METADATA_AT)
    checked = spots(
        *(range(HEAD + 4), range(POINTERS_AT, POINTERS_AT + 32), range(TEXT_AT, TEXT_AT + rotten.text_size)),
        range(METADATA_AT, METADATA_AT + rotten.metadata_size),
    )
    for at in journal_spots(rotten)[::2]:
        if at not in trusted:
            rotten.lay(folder, journal=flipped(rotten.journal, at))
            expected = None if at in checked else rotten.frames
            assert answer(folder, rotten, verify=False) == expected, f"byte {at}"


@pytest.mark.parametrize("mark", [6, 7, 0x40, 0x80, 0x83, 0xFF])
def test_a_mark_of_no_meaning_is_not_trusted(rotten: Rotten, folder: Path, mark: int) -> None:
    """Such a state is damage: the frame is data only if it has a checksum that matches."""
    for frame in range(6):
        journal = bytearray(rotten.journal)
        journal[MARKS_AT + frame] = mark
        rotten.lay(folder, journal=bytes(journal))
        written = answer(folder, rotten, verify=False)
        assert written is not None
        assert set(written) == set(rotten.frames) - ({5} & {frame}), "only frame 5 has no checksum"


def test_a_flipped_byte_of_an_export_is_never_other_data(export: bytes, folder: Path) -> None:
    """open_wave gives the stored frames, axes and note, or an error. It does not check the bytes of the array.

    A note that is damaged alone is empty, and `note_error` gives the reason.
    """
    path, array_end = folder / "a.npz", ARRAY_AT + len(EXPORTED)
    changed = [(at, flipped(export, at)) for at in spots(range(80), range(array_end, len(export)), range(0, 4096, 97))]
    said = export.index(b"{'descr'")
    for at in range(said - 10, said + 64):  # the .npy header: every bit, as "<" is one bit from ">"
        changed += [(at, export[:at] + bytes([export[at] ^ 1 << bit]) + export[at + 1 :]) for bit in range(8)]
    wrong, opened = [], set()
    for at, content in changed:
        write_anew(path, content)
        try:
            with open_wave(path) as wave:
                data, axes, note = wave.data, wave.axes, wave.note
                opened.add(at)
                if (data.shape, data.dtype.str, data.tobytes()) != ((8, 8), "<u2", EXPORTED):
                    wrong.append((at, "data", data.shape, data.dtype.str))
                if [a.tolist() for a in axes] != [[k / 2 for k in range(8)], [float(k) for k in range(8)]]:
                    wrong.append((at, "axes"))
                if note != ({"k": "v"} if wave.note_error is None else {}):
                    wrong.append((at, "note"))
                del data
        except LysStorageError:
            continue
    assert wrong == []
    assert opened, "a refusal of everything is no answer"
    assert not opened & set(range(said - 10, said + 64)), "no bit of the .npy header is accepted"


def test_verify_finds_every_flipped_byte_of_an_export_that_matters(export: bytes, folder: Path) -> None:
    """verify never raises. If it finds nothing, every reader gets the correct export."""
    path = folder / "a.npz"
    path.write_bytes(export)
    assert verify(path) == []
    for at in spots(range(80), range(ARRAY_AT - 128, ARRAY_AT + 200, 2), range(ARRAY_AT + 128, len(export))):
        write_anew(path, flipped(export, at))
        if not verify(path):
            with np.load(path, allow_pickle=True) as members:
                assert members["data"].tobytes() == EXPORTED, f"byte {at}"
                assert members["note"][()] == {"k": "v"}, f"byte {at}"
                assert len(members["axes"]) == 2, f"byte {at}"
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, f"byte {at}"


def test_verify_finds_flipped_bytes_of_a_scan_in_progress(rotten: Rotten, folder: Path) -> None:
    """verify reports each frame with a checksum whose bytes changed. It raises nothing, and changes nothing."""
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
    """resume refuses a bad head, description or pointer. A bad state costs at most its frame; the scan can be saved."""
    ends = spots(range(HEAD + 8), range(POINTERS_AT, POINTERS_AT + 32), range(TEXT_AT, TEXT_AT + rotten.text_size, 3))
    for at in spots(ends, range(MARKS_AT, MARKS_AT + 6)):
        rotten.lay(folder, journal=flipped(rotten.journal, at))
        if at < MARKS_AT and at not in BEHIND_THE_HEAD:
            with pytest.raises(BadFileError):
                resume(folder / "a.npz.part", flush_interval_s=None)
            continue
        scan = resume(folder / "a.npz.part", flush_interval_s=None)
        missing = {number for (number,) in scan.missing()}
        assert missing ^ {2, 4} <= {at - MARKS_AT}, f"byte {at}"
        for number in missing:
            scan[number] = np.zeros(8, "u2")
        path = scan.close()
        with open_wave(path, verify=True) as wave:
            stored = {number: frame.tobytes() for number, frame in enumerate(wave.data)}
        assert stored == {**rotten.frames, **dict.fromkeys(missing, bytes(FRAME))}, f"byte {at}"


# -- truncated files ---------------------------------------------------------------------------------------------------


def lengths(size: int, *around: int) -> list[int]:
    return sorted(set(range(0, size, 701)) | {a + d for a in around for d in (-1, 0, 1) if 0 <= a + d < size})


@pytest.mark.parametrize("checked", [False, True], ids=["marks trusted", "every byte checked"])
def test_a_truncated_journal_is_refused_or_right(rotten: Rotten, folder: Path, checked: bool) -> None:
    """A journal of any shorter length is refused, and its scan file is unchanged."""
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
    """The length of a file is always checked: a frame after its end is not data, on the same boot either."""
    for n in spots(lengths(len(rotten.part)), range(ARRAY_AT - 1, ARRAY_AT + 6 * FRAME + 2)):
        rotten.lay(folder, part=rotten.part[:n], journal=rotten.settled if settled else rotten.journal)
        written = answer(folder, rotten, verify=checked)
        if written is not None:
            assert all(ARRAY_AT + (k + 1) * FRAME <= n for k in written), f"cut at {n}"


def test_a_truncated_export_is_refused(export: bytes, folder: Path) -> None:
    """An export of any shorter length has no end of a ZIP."""
    for n in spots(range(0, 4096, 61), range(ARRAY_AT, len(export), 3)):
        write_anew(folder / "a.npz", export[:n])
        with pytest.raises(BadFileError):
            open_wave(folder / "a.npz")
        assert verify(folder / "a.npz") != []


# -- files of other scans ----------------------------------------------------------------------------------------------


def test_the_scan_file_of_another_is_never_taken_for_this_ones(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """Beside the scan file of another scan of the same layout no frame matches its checksum, and all files stay."""
    other = make_rotten(tmp_path / "other", seed=1)
    rotten.lay(folder, part=other.part)
    assert answer(folder, rotten, verify=True) is None
    assert (folder / "a.npz.part").read_bytes() == other.part


def test_the_journal_of_another_form_is_refused(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """A scan file of another layout than the journal describes is refused, also on the same boot."""
    with lys_storage.create(tmp_path / "b.npz", (600, 80), "<f8", grid_ndim=1, flush_interval_s=None) as scan:
        scan[:500] = np.ones((500, 80))
        scan.flush()
        journal = Path(f"{scan.part_path}.journal").read_bytes()
    rotten.lay(folder, journal=journal)
    (result,) = recover(folder)
    assert result.path is None
    assert "its journal expects float64 (600, 80)" in result.message
    assert (folder / "a.npz.part.journal").read_bytes() == journal
    assert (folder / "a.npz.part").read_bytes() == rotten.part


@pytest.mark.parametrize("version", [0, 4, 99, 0xFFFFFFFF])
def test_a_version_from_the_future_is_refused_and_nothing_is_touched(
    rotten: Rotten, folder: Path, version: int
) -> None:
    """docs/format.md: an unknown version is refused, and no byte of its files changes."""
    head = bytearray(rotten.journal[:HEAD])
    struct.pack_into("<I", head, 8, version)
    future = bytes(head) + struct.pack("<I", zlib.crc32(head)) + rotten.journal[HEAD + 4 :]
    rotten.lay(folder, journal=future, redo=b"\x93LYSREDO" + bytes(200))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    told = [*recover(folder, verify=True), *recover(folder), *recover(folder, dry_run=True)]
    assert [result.path for result in told] == [None] * 3
    assert all(f"version {version}" in result.message for result in told)
    for ask in (resume, inspect):
        with pytest.raises(BadFileError, match=f"version {version}"):
            ask(folder / "a.npz.part")
    assert verify(folder / "a.npz.part") != []
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


# -- the redo log ------------------------------------------------------------------------------------------------------

NEW = np.arange(500, 508, dtype="<u2").tobytes()


def redo_record(rotten: Rotten, frame: int, content: bytes, *, epoch: int = 0, key: int | None = None) -> bytes:
    header = encode_redo_header(
        *(rotten.key if key is None else key, epoch, ARRAY_AT + frame * FRAME, len(content), zlib.crc32(content))
    )
    return header + content + bytes(-len(content) % 64)


def while_rewriting(rotten: Rotten, frame: int) -> tuple[bytes, bytes]:
    """(journal, scan file) of a process that died while `frame` was half rewritten."""
    journal, part = bytearray(rotten.journal), bytearray(rotten.part)
    journal[MARKS_AT + frame] = REWRITING
    at = ARRAY_AT + frame * FRAME
    part[at : at + 8] = NEW[:8]
    return bytes(journal), bytes(part)


@pytest.mark.parametrize("checked", [False, True], ids=["marks trusted", "every byte checked"])
def test_a_damaged_redo_file_never_leaves_a_mixture(rotten: Rotten, folder: Path, checked: bool) -> None:
    """A record that is flipped or cut is ignored: its frame is missing, and the others are not touched."""
    journal, part = while_rewriting(rotten, 1)
    redo = redo_record(rotten, 1, NEW)
    new = replace(rotten, frames={**rotten.frames, 1: NEW})
    rotten.lay(folder, journal=journal, part=part, redo=redo)
    whole = answer(folder, new, verify=checked)
    assert whole is not None
    assert whole[1] == NEW
    others = {k: rotten.frames[k] for k in ((0, 3) if checked else (0, 3, 5))}
    flips = [(flipped(redo, at), 40 <= at < 64) for at in range(64 + FRAME)]  # 24 bytes of a record have no meaning
    cuts = [(redo[:size], size >= 64 + FRAME) for size in range(0, len(redo), 3)]
    for bad, counts in flips + cuts:
        rotten.lay(folder, journal=journal, part=part, redo=bad)
        written = answer(folder, new, verify=checked)
        assert written == ({**others, 1: NEW} if counts else others)


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
    """A redo record is valid only for whole frames of this scan's array in this epoch."""
    journal, part = while_rewriting(rotten, 1)
    rotten.lay(folder, journal=journal, part=part, redo=record(rotten))
    written = answer(folder, rotten, verify=False)
    assert written == {k: rotten.frames[k] for k in (0, 3, 5)}


# -- descriptions with a correct checksum ------------------------------------------------------------------------------


def journal_of(rotten: Rotten, text: bytes) -> bytes:
    """The journal with another description, and correct checksums. Frames, states and metadata are unchanged."""
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
    "software is a dict": {"software": {"a": [1, 2]}},
    "a field more": {"more": 1},
}

HARMLESS = {"started is the year 9999", "started is far west", "number is huge", "a field more"}


@pytest.mark.parametrize("what", FIELDS)
def test_a_description_that_no_scan_has_is_refused_or_right(rotten: Rotten, folder: Path, what: str) -> None:
    """A correct checksum does not prove correct content: a contradiction raises an error, and nothing is replaced."""
    for checked in (True, False):
        rotten.lay(folder, journal=journal_of(rotten, describe(rotten, **FIELDS[what])))
        (folder / "precious.txt").write_text("mine")
        before = {path.name for path in folder.iterdir()}
        told = recover(folder, verify=checked)
        assert (folder / "precious.txt").read_text() == "mine"
        made = {path.name for path in folder.iterdir()} - before
        assert all(name.endswith(".npz") or name.startswith(".") for name in made)
        assert [result.path for result in told] == [folder / "a.npz" if what in HARMLESS else None]
        if what in HARMLESS:
            expected = {k: frame for k, frame in rotten.frames.items() if not checked or k != 5}
            assert assert_sound_export(folder / "a.npz", rotten) == expected
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
    """Bytes with a correct checksum that are not a description raise BadFileError. The files are unchanged."""
    rotten.lay(folder, journal=journal_of(rotten, text))
    for ask in (resume, inspect):
        with pytest.raises(BadFileError):
            ask(folder / "a.npz.part")
    assert answer(folder, rotten, verify=True) is None


def test_a_table_of_more_frames_than_a_scan_can_have_is_refused_at_once(rotten: Rotten, folder: Path) -> None:
    """A sparse journal of 10 TB that describes 10**12 frames costs neither memory nor time."""
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
    for ask in (resume, inspect):
        with pytest.raises(BadFileError):
            ask(folder / "a.npz.part")


@pytest.mark.parametrize("offset", [0, 5, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("sizes", [(0, 0), (10, 10), (0xFFFFFFFF, 0xFFFFFFFF)], ids=["empty", "small", "huge"])
def test_a_pointer_to_nowhere_is_no_pointer(rotten: Rotten, folder: Path, offset: int, sizes: tuple[int, int]) -> None:
    """Metadata are after the tables and within the file. Any other pointer is void, and nothing is written there."""
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


# -- pickles are not run -----------------------------------------------------------------------------------------------


def test_a_resumed_scan_does_not_run_what_its_journal_says(rotten: Rotten, folder: Path, tmp_path: Path) -> None:
    """Axes and note of a journal are pickles, too: UnsafeFileError is raised, and nothing is executed."""
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


# -- other than regular files ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_refused_and_not_waited_for(run_child: Callable[..., Any], folder: Path) -> None:
    """A folder, a pipe without a writer, or a device raises an error at once."""
    os.mkfifo(folder / "pipe.npz")
    os.mkfifo(folder / "pipe.npz.part")
    (folder / "folder.npz").mkdir()
    (folder / "folder.npz.part").mkdir()
    source = """
import signal, sys, lys_storage
from pathlib import Path
from lys_storage.recovery import inspect
signal.alarm(60)
for name in sys.argv[1:]:
    for ask in (lys_storage.open_wave, lys_storage.resume, lambda p: inspect(Path(p))):
        try:
            print(ask(name))
        except lys_storage.LysStorageError:
            print("refused", flush=True)
print(lys_storage.recover(Path(sys.argv[1]).parent))
"""
    names = ["pipe.npz", "pipe.npz.part", "folder.npz", "folder.npz.part"]
    result = run_child(source, *(folder / name for name in names), "/dev/null", "/dev/zero")
    assert (result.code, result.out.split("\n")[:-2]) == (0, ["refused"] * 18), result.err


# -- finds of the fuzzer -----------------------------------------------------------------------------------------------


FOUND = sorted(path for path in FINDS.glob("*/*") if path.is_file() and path.suffix != ".md")


@forks
def test_what_the_fuzzer_found_stays_mended(run_child: Callable[..., Any]) -> None:
    """Each find that was fixed is a file here. The fuzzer's own check runs on all of them, in its own process."""
    assert FOUND
    result = run_child("import sys, tools.fuzz; sys.exit(tools.fuzz.main())", "--replay", *FOUND)
    assert result.code == 0, result.out + result.err


@pytest.mark.parametrize("target", list(TARGETS))
def test_the_fuzzers_seeds_keep_the_rule(target: str, tmp_path: Path) -> None:
    """Seeds are small real files. After random changes the answer is still an error or correct."""
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
    assert recovered == (target not in ("npy", "plain", "journal")), "what is only refused is not tried"
