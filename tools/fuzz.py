"""Coverage-guided fuzzing of everything that reads a file: python tools/fuzz.py --target all --seconds 600 --seed 1

Needs atheris (pip install atheris; Linux, Python up to 3.12). Each target takes bytes, makes files of them, and asks the
package what they are: only errors of the family and right answers pass. Checksums are made right where an input asks
for it, so that what is behind them is reached too. Finds are written to a folder, each with the command that shows it
again; `--replay FILE...` runs some without atheris. A find that has been mended goes to tests/faults/fuzz_finds/<target>/.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1] if "__file__" in globals() else Path.cwd()
TIMEOUT_S, MEMORY_MB, MAX_BYTES = 10, 1500, 1 << 14
INSTRUMENTED = ("lys_storage", "zipfile", "pickle", "numpy.lib.format")

Check = Callable[[bytes], None]


class Fault(AssertionError):  # noqa: N818  a find, no error of this tool
    """An answer that is neither right nor an error of the family."""


def _modules() -> Any:
    """lys_storage and its codecs; imported late, so that atheris can instrument them."""
    import types

    import lys_storage
    from lys_storage.format import archive as archive_module
    from lys_storage.format import axes_and_note as axes_and_note_module
    from lys_storage.journal import journal as journal_module
    from lys_storage.journal import redo_log as redo_log_module
    from lys_storage.recovery import inspect

    return types.SimpleNamespace(
        package=lys_storage,
        journal=journal_module,
        layout=archive_module,
        metadata=axes_and_note_module,
        redo=redo_log_module,
        inspect=inspect,
    )


def _fields(data: bytes, count: int) -> list[bytes]:
    """`data` taken apart: u16 lengths of all fields but the last, then the fields; short where the data are."""
    sizes = [int.from_bytes(data[2 * k : 2 * k + 2], "little") for k in range(count - 1)]
    at, result = 2 * (count - 1), []
    for size in sizes:
        result.append(data[at : at + size])
        at += size
    return [*result, data[at:]]


def _joined(*fields: bytes) -> bytes:
    return b"".join(struct.pack("<H", len(field)) for field in fields[:-1]) + b"".join(fields)


def _assert_plain(value: Any, budget: int = 1 << 21) -> None:
    """Only plain values came of a pickle, and not more of them than the file can have meant."""
    import collections
    import datetime

    import numpy as np

    atoms = (bool, int, float, complex, str, bytes, bytearray, slice, range, type(None), np.generic, np.dtype)
    times = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)
    left = [value]
    while left:
        at = left.pop()
        budget -= 1
        if budget < 0:
            raise Fault("a few bytes stand for millions of objects")
        if isinstance(at, dict | collections.OrderedDict):
            left += [*at.keys(), *at.values()]
        elif isinstance(at, list | tuple | set | frozenset):
            left += at
        elif isinstance(at, np.ndarray):
            if at.nbytes > 1 << 24:
                raise Fault(f"an array of {at.nbytes} bytes came of {MAX_BYTES} at most")
            if at.dtype.hasobject:
                left += at.ravel().tolist()
            else:
                at.tobytes()
        elif not isinstance(at, atoms + times):
            raise Fault(f"a {type(at)} came of a file")


# -- the targets: each makes a check that raises whatever is no right answer -------------------------------------------


def target_npy(folder: Path) -> Check:
    """.npy headers, and arrays that hold no objects."""
    m = _modules()

    def check(data: bytes) -> None:
        for ask in (m.layout.decode_npy_header, m.metadata.decode_axes, m.metadata.decode_note):
            try:
                ask(data)
            except m.package.LysStorageError:
                pass
        # the text of a header by itself, so that its length and magic need not be found again each time
        head = b"\x93NUMPY\x02\0" + struct.pack("<I", len(data)) + data
        try:
            shape, dtype, _, size = m.layout.decode_npy_header(head)
        except m.package.LysStorageError:
            return
        if size != len(head) or not all(type(n) is int and n >= 0 for n in shape):
            raise Fault(f"shape {shape}")
        if 0 < dtype.itemsize < 100 and not dtype.hasobject:
            try:
                m.metadata.decode_axes(head + bytes(dtype.itemsize * min(4, max(shape, default=1))))
            except m.package.LysStorageError:
                pass

    return check


def target_plain(folder: Path) -> Check:
    """Pickles, as axes and as a note."""
    m = _modules()
    import numpy as np

    heads = []
    for shape in ((), (2,)):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": shape})
        heads.append(buffer.getvalue())

    def check(data: bytes) -> None:
        for head, ask in zip(heads, (m.metadata.decode_note, m.metadata.decode_axes), strict=True):
            try:
                found = ask(head + data)
            except m.package.LysStorageError:
                continue
            _assert_plain(found)
            repr(found) if len(data) < 1000 else None

    return check


def _build_journal(m: Any, text: bytes, axes: bytes, note: bytes, marks: bytes, sums: bytes) -> bytes:
    """A journal whose checksums are right, whatever is in it."""
    try:
        fields = json.loads(text)
        shape, ndim, scan_id = fields["shape"], fields["grid_ndim"], fields["scan_id"]
        frames = 1
        for n in shape[:ndim]:
            frames *= n
        key = zlib.crc32(scan_id.encode())
    except Exception:
        frames, key = 6, 0
    frames = frames if type(frames) is int and 0 < frames < 5000 else 6

    def pages(size: int) -> int:
        return -(-size // 4096) * 4096

    at_marks = pages(1536 + len(text))
    at_sums = at_marks + pages(frames)
    at_metadata = at_sums + pages(4 * frames)
    places = (frames, at_marks, at_sums, at_metadata)
    head = struct.pack("<8sIIIIQQQQ", m.journal.MAGIC, 1, len(text), zlib.crc32(text), 1, *places)
    pointer = struct.pack("<QQIII", 1, at_metadata, len(axes), len(note), zlib.crc32(axes + note))
    pointer += struct.pack("<I", zlib.crc32(pointer, key))
    content = bytearray(at_metadata) + axes + note
    content[: len(head) + 4] = head + struct.pack("<I", zlib.crc32(head))
    content[512 : 512 + len(pointer)] = pointer
    content[1536 : 1536 + len(text)] = text
    content[at_marks : at_marks + len(marks[:frames])] = marks[:frames]
    content[at_sums : at_sums + len(sums[: 4 * frames])] = sums[: 4 * frames]
    return bytes(content)


def _lay(folder: Path, **files: bytes) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        (folder / f"a.npz.part{'' if name == 'part' else '.' + name}").write_bytes(content)


def _ask_everything(m: Any, folder: Path, *, verify: bool, sums_are_right: bool) -> None:
    """inspect, verify, and recover; an export that comes of it has right checksums.

    On the same boot the journal's are trusted, and where they are wrong that of the array is.
    """
    part = folder / "a.npz.part"
    try:
        m.look_at(part)
    except m.package.LysStorageError:
        pass
    ask = getattr(m.package, "verify", None)
    if ask is not None:
        ask(part)
    before = set(folder.iterdir())
    for result in m.package.recover(folder, verify=verify):
        if result.path is None:
            continue
        if result.path in before or result.path.parent != folder:
            raise Fault(f"recovery replaced {result.path}")
        with zipfile.ZipFile(result.path) as archive:
            for name in archive.namelist():
                if name != "data.npy" or verify or sums_are_right:
                    archive.read(name)


def target_journal(folder: Path) -> Check:
    """Journals: as they are, and with checksums made right (first byte odd). Resumed, looked at, never recovered."""
    m = _modules()
    part = bytes(4096) + bytes(range(96)) + bytes(4096)

    def check(data: bytes) -> None:
        if not data:
            return
        content = data[1:]
        if data[0] & 1:
            content = _build_journal(m, *_fields(content, 5))
        _lay(folder, part=part, journal=content)
        for ask in (m.look_at, getattr(m.package, "verify", m.look_at)):
            try:
                ask(folder / "a.npz.part")
            except m.package.LysStorageError:
                pass
        try:
            scan = m.package.resume(folder / "a.npz.part", flush_interval_s=None)
        except m.package.LysStorageError:
            return
        try:
            for name in ("axes", "note", "fill"):
                try:
                    getattr(scan, name)
                except m.package.LysStorageError:
                    pass
        finally:
            scan.suspend()

    return check


def target_recover(folder: Path) -> Check:
    """A whole scan in progress: description, axes, note, marks, checksums, scan file. Bits of the first byte: 1 verify,
    2 the scan file begins as it should, 4 the array's checksums are made right."""
    m = _modules()

    def check(data: bytes) -> None:
        if not data:
            return
        text, axes, note, marks, sums, part = _fields(data[1:], 6)
        if data[0] & 2:
            try:
                description = m.journal.decode_description(text)
                layout = m.layout.plan_data_member(
                    description.shape, description.dtype, 1.7e9, description.array_offset
                )
                before = bytearray(layout.array_offset)
                for at, head in layout.heads():
                    before[at : at + len(head)] = head
                part = bytes(before) + part
                if data[0] & 4 and description.frames < 5000:
                    size, at = description.frame_bytes, layout.array_offset
                    frames = [part[at + k * size : at + (k + 1) * size] for k in range(description.frames)]
                    sums = b"".join(struct.pack("<I", zlib.crc32(frame)) for frame in frames)
            except (m.package.LysStorageError, OverflowError, ValueError, OSError):
                pass
        _lay(folder, part=part, journal=_build_journal(m, text, axes, note, marks, sums))
        _ask_everything(m, folder, verify=bool(data[0] & 1), sums_are_right=data[0] & 6 == 6)

    return check


def target_redo(folder: Path) -> Check:
    """A redo file beside a sound scan of which a frame is being rewritten. Where a record's magic stands its header's
    checksum is made right, and that of its bytes where the byte before last of the header is odd."""
    m = _modules()
    journal, part, key = _small_scan()
    frames = [part[4096 + 16 * k : 4096 + 16 * (k + 1)] for k in range(6)]
    torn = bytearray(journal)
    torn[4096 + 1] = m.journal.REWRITING

    def mended(data: bytes) -> bytes:
        content, at = bytearray(data), 0
        while at + 64 <= len(content):
            if content[at : at + 8] == m.redo.MAGIC:
                size = int.from_bytes(content[at + 24 : at + 32], "little")
                if content[at + 62] & 1:
                    body = content[at + 64 : at + 64 + min(size, len(content))]
                    content[at + 32 : at + 36] = struct.pack("<I", zlib.crc32(body))
                content[at + 36 : at + 40] = struct.pack("<I", zlib.crc32(content[at : at + 36], key))
            at += 64
        return bytes(content)

    def check(data: bytes) -> None:
        if not data:
            return
        redo = mended(data[1:])
        _lay(folder, part=part, journal=bytes(torn), redo=redo)
        _ask_everything(m, folder, verify=bool(data[0] & 1), sums_are_right=True)
        for path in folder.glob("*.npz"):
            with m.package.open_wave(path) as wave:
                for k, frame in enumerate(wave.data):
                    stored = frame.tobytes()
                    if stored not in (frames[k], bytes(16), b"\x09\x00" * 8) and stored not in redo:
                        raise Fault(f"frame {k} is neither the old one nor one of the redo file")

    return check


def target_export(folder: Path) -> Check:
    """Exports: as they are (first byte 0), or made of members; then it says how they are compressed and what they claim."""
    m = _modules()
    path = folder / "a.npz"

    def build(kind: int, data: bytes) -> bytes:
        array, axes, note, info, claims = _fields(data, 5)
        method = (0, 8, 12, 14)[kind & 3]
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in zip(
                ("data.npy", "axes.npy", "note.npy", "acquisition.json"), (array, axes, note, info), strict=True
            ):
                archive.writestr(name, content)
            if kind & 4 and len(claims) >= 9:
                member = archive.infolist()[claims[0] & 3]
                attribute = ("file_size", "compress_size", "header_offset", "CRC")[claims[0] >> 2 & 3]
                value = int.from_bytes(claims[1:9], "little")
                setattr(member, attribute, value & 0xFFFFFFFF if attribute == "CRC" else value)
        return buffer.getvalue()

    def check(data: bytes) -> None:
        if not data:
            return
        try:
            content = data[1:] if data[0] == 0 else build(data[0], data[1:])
        except (struct.error, zipfile.LargeZipFile):
            return
        path.write_bytes(content)
        ask = getattr(m.package, "verify", None)
        if ask is not None:
            ask(path)
        try:
            wave = m.package.open_wave(path)
        except m.package.LysStorageError:
            return
        with wave:
            if wave.data.nbytes > len(content) and data[0] & 3 == 0:
                raise Fault(f"{wave.data.nbytes} bytes of data in a file of {len(content)}")
            if wave.data.size < 1 << 20 and wave.data.nbytes < 1 << 24:
                wave.data.tobytes()
            if all(n < 1 << 20 for n in wave.shape):
                _assert_plain(wave.axes)
            _assert_plain(wave.note)
            if wave.data.ndim and all(wave.shape):
                try:
                    wave.read(0)
                except m.package.LysStorageError:
                    pass

    return check


TARGETS: dict[str, Callable[[Path], Check]] = {
    "npy": target_npy,
    "plain": target_plain,
    "journal": target_journal,
    "export": target_export,
    "redo": target_redo,
    "recover": target_recover,
}


# -- seeds, made from small real files ---------------------------------------------------------------------------------


def _small_scan() -> tuple[bytes, bytes, int]:
    """(journal, scan file, key) of six frames of eight <u2: 0, 1, 3, 5 have come."""
    import numpy as np

    import lys_storage

    with tempfile.TemporaryDirectory(prefix="lys_fuzz_") as name:
        path = Path(name) / "a.npz"
        options: dict[str, Any] = {"fill": 9, "grid_ndim": 1, "axes": [np.arange(6) / 2], "note": {"k": 1}}
        scan = lys_storage.create(path, (6, 8), "<u2", flush_interval_s=None, **options)
        for k in (0, 1, 3, 5):
            scan[k] = np.arange(8, dtype="<u2") + 1000 * k
        key = scan._part.journal.key
        scan.suspend()
        return Path(f"{path}.part.journal").read_bytes(), Path(f"{path}.part").read_bytes(), key


def _small_export(**options: Any) -> bytes:
    import numpy as np

    import lys_storage

    with tempfile.TemporaryDirectory(prefix="lys_fuzz_") as name:
        with lys_storage.create(Path(name) / "a.npz", (2, 3), "<f4", axes=[[0, 1]], grid_ndim=1, **options) as scan:
            scan[0] = np.zeros(3, "<f4")
        return (Path(name) / "a.npz").read_bytes()


def _notes() -> list[Any]:
    import collections
    import datetime

    import numpy as np

    zone = datetime.timezone(datetime.timedelta(hours=9))
    structured = np.zeros(2, [("a", "<i4"), ("b", "S3", (2,))])
    shared = [1.5]
    return [
        {},
        {"a": 1, "b": 2.5, "c": "text", "d": b"bytes", "e": None, "f": 1j, "g": True},
        {"list": [1, (2, 3), {4, 5}, frozenset({6})], "dict": {"x": {"y": (1, 2)}}, "shared": [shared, shared]},
        {"array": np.arange(6.0).reshape(2, 3), "fortran": np.asfortranarray(np.eye(2)), "empty": np.empty((0, 2))},
        {"scalar": np.float32(1.5), "time": np.datetime64("2024-01-01", "s"), "dtype": np.dtype("<u2")},
        {
            "structured": structured,
            "void": structured[0],
            "text": np.array(["a", "bcd"]),
            "objects": np.array([1, None]),
        },
        {"when": datetime.datetime(2024, 1, 2, tzinfo=zone), "day": datetime.date(2024, 1, 2), "s": slice(1, 2, 3)},
        {"ordered": collections.OrderedDict(a=1), "big": 1 << 70, "range": range(5), "bytes": bytearray(b"abc")},
    ]


def _headers() -> list[str]:
    descriptions = ["'<f8'", "'>u2'", "'|b1'", "'<c16'", "'|S5'", "'<U3'", "'<M8[ns]'", "'|V4'", "('<i4', (2, 3))"]
    descriptions += ["[('a', '<i4'), ('', '|V4'), ('b', '<f8', (2,))]", "[(('t', 'n'), [('x', '|u1')])]", "'|O'"]
    return [f"{{'descr': {d}, 'fortran_order': False, 'shape': (2, 3), }}" for d in descriptions]


def seeds_of(target: str) -> list[bytes]:
    """Small inputs of `target` that real files give."""
    import pickle

    import numpy as np

    m = _modules()
    if target == "npy":
        arrays = [np.arange(3), np.zeros((2, 2), "<c16"), np.array("abc"), np.zeros(2, "<M8[s]"), np.array([None])]
        return [*map(m.metadata.encode_npy, arrays), *(text.encode() for text in _headers())]
    if target == "plain":
        axes = np.empty(2, object)
        axes[:] = [np.arange(3.0), None]
        table = np.array([[0.0, 1.0], [2.0, 3.0]], object)
        things = [*(np.array(note, object) for note in _notes()), axes, table]
        return [pickle.dumps(thing, protocol) for thing in things for protocol in (2, 3, 4, 5)]
    axes, note = m.metadata.encode_axes([np.arange(6.0), None], (6, 8)), m.metadata.encode_note({"k": 1})
    if target in ("journal", "recover"):
        journal, part, _ = _small_scan()
        text = journal[1536 : 1536 + struct.unpack_from("<I", journal, 12)[0]]
        fields = json.loads(text)
        changes: list[dict[str, Any]] = [{}, {"shape": [2, 2], "grid_ndim": 2}, {"number": 3, "final": "a_3.npz"}]
        changes += [{"boot_id": "other"}, {"replace": True}, {"dtype": "[('a', '|u1'), ('b', '|u1')]"}]
        texts = [json.dumps({**fields, **change}).encode() for change in changes]
        marks, sums, array = journal[4096:4102], journal[8192:8216], part[4096 : 4096 + 100]
        if target == "journal":
            return [b"\0" + journal, *(b"\1" + _joined(t, axes, note, marks, sums) for t in texts)]
        kinds = [(flags, t, array) for flags in (2, 3, 6, 7) for t in texts]
        kinds += [(0, texts[0], part[:4200]), (7, texts[0], array[:50])]
        return [bytes([flags]) + _joined(t, axes, note, b"\3\4\0\2\1\5", sums, a) for flags, t, a in kinds]
    if target == "redo":
        _, _, key = _small_scan()
        new = bytes(range(16))
        record = m.redo._encode(key, 0, 4096 + 16, 16, zlib.crc32(new))
        record = record[:62] + b"\1\0" + new + bytes(48)
        far = m.redo._encode(key, 0, 4096 + 80, 32, 0)[:62] + b"\1\0" + new * 2 + bytes(32)
        empty = m.redo._encode(key, 0, 4096 + 16, 0, 0)
        return [b"\0" + record, b"\1" + record + far, b"\0" + empty + record, b"\1" + record[:70]]
    if target == "export":
        array = m.metadata.encode_npy(np.arange(6.0).reshape(2, 3))
        fortran = m.metadata.encode_npy(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
        info = b'{"format": "lys_storage acquisition", "missing": [[0, 1]]}'
        claim = bytes([0]) + struct.pack("<Q", 1 << 34)
        made = [
            bytes([kind]) + _joined(a, axes, note, info, claim) for kind in (1, 4, 5, 6, 7) for a in (array, fortran)
        ]
        return [b"\0" + _small_export(), b"\0" + _small_export(note={"k": np.arange(3)}), *made]
    raise SystemExit(f"no target {target!r}: one of {', '.join(TARGETS)}")


# -- running -----------------------------------------------------------------------------------------------------------


def _work_folder() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lys_fuzz_", dir=shared if shared.is_dir() else None))


def _quiet() -> None:
    """Syncs cost time and are not what is looked for; warnings and logs neither."""
    import logging

    os.fdatasync = os.fsync = lambda fd: None  # type: ignore[assignment,unused-ignore]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def run_in_this_process(target: str, folder: Path, arguments: list[str]) -> None:
    """libFuzzer's loop, on files in `folder`; it ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        _modules()
    _quiet()
    check = TARGETS[target](folder)
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()


def replay(paths: list[Path], target: str | None = None) -> int:
    """Run each input once; its target is that of its folder's name. 1 where one of them fails."""
    sys.path.insert(0, str(ROOT))
    _quiet()
    failed = 0
    for path in paths:
        folder = _work_folder()
        try:
            begin = time.monotonic()
            TARGETS[target or path.parent.name](folder)(path.read_bytes())
            if time.monotonic() - begin > TIMEOUT_S:
                raise Fault(f"took {time.monotonic() - begin:.0f} s")
        except Exception as error:
            failed += 1
            print(f"{path}: {type(error).__name__}: {error}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(paths)} inputs, {failed} failed")
    return 1 if failed else 0


def fuzz(target: str, seconds: int, seed: int, corpus: Path, finds: Path) -> dict[str, Any]:
    """Fuzz one target for so many seconds, going on after each find that can be gone on after; the figures of it."""
    kept, found = corpus / target, finds / target
    kept.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(ROOT))
    for k, content in enumerate(seeds_of(target)):
        (kept / f"seed_{k}").write_bytes(content)
    executions = coverage = features = 0
    faults: list[str] = []
    end = time.monotonic() + seconds
    rounds = 0
    while (left := int(end - time.monotonic())) > 0 and len(faults) < 5:
        folder = _work_folder()
        command = [sys.executable, str(Path(__file__).resolve()), "--child", target, str(folder)]
        command += [
            f"-max_total_time={left}",
            f"-seed={seed + rounds}",
            f"-timeout={TIMEOUT_S}",
            f"-max_len={MAX_BYTES}",
        ]
        command += [f"-rss_limit_mb={MEMORY_MB}", f"-malloc_limit_mb={MEMORY_MB}", f"-artifact_prefix={found}/"]
        command += ["-print_final_stats=1", "-verbosity=1", "-len_control=0", str(kept)]
        rounds += 1
        try:
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 120)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        out = result.stdout + result.stderr
        for line in re.findall(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)", out)[-1:]:
            executions, coverage, features = executions + int(line[0]), max(coverage, int(line[1])), int(line[2])
        written = re.findall(r"Test unit written to (\S+)", out)
        if result.returncode == 0 and not written:
            break
        what = re.findall(r"=== Uncaught Python exception: ===\n(.*)|ERROR: (libFuzzer: .*)|(AddressSanitizer:.*)", out)
        text = " ".join("".join(each) for each in what[:2]) or out[-400:]
        (found / f"output_{seed}_{rounds}.txt").write_text(out[-20000:])
        for path in written or ["(no input was written)"]:
            faults.append(f"{text[:300]}\n      python tools/fuzz.py --target {target} --replay {path}")
    return {"target": target, "executions": executions, "coverage": coverage, "features": features, "finds": faults}


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        run_in_this_process(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="kept between runs; a temporary one without it")
    parser.add_argument("--finds", type=Path, default=Path("fuzz_finds"))
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs once, without atheris")
    given = parser.parse_args()
    if given.replay:
        return replay(given.replay, None if given.target in (None, "all") else given.target)
    try:
        import atheris  # noqa: F401
        import numpy
    except ImportError as error:
        parser.error(f"{error}: pip install atheris")
    print(f"{platform.platform()}, Python {platform.python_version()}, numpy {numpy.__version__}, seed {given.seed}")
    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="lys_corpus_"))
    targets = list(TARGETS) if given.target in (None, "all") else [given.target]
    problems = 0
    for target in targets:
        told = fuzz(target, given.seconds, given.seed, corpus, given.finds.resolve())
        problems += len(told["finds"])
        print(
            f"{target:8} {told['executions']:>10,} executions  {told['coverage']:>6,} edges  "
            f"{told['features']:>6,} features  {len(told['finds'])} finds",
            flush=True,
        )
        for text in told["finds"]:
            print(f"    {text}", flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
