"""The targets: each makes a check, which raises unless lys_storage gives a correct result or an error of its family.

This module imports the fuzzed code. Instrument the imports before you import this module.
"""

from __future__ import annotations

import collections
import datetime
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.format import (
    decode_axes,
    decode_description,
    decode_note,
    decode_note_with_texts,
    decode_npy_header,
    plan_data_member,
)
from lys_storage.journal import REWRITING
from lys_storage.recovery import inspect
from tools.fuzzing.inputs import build_journal, lay_files, mend_redo, split_fields
from tools.fuzzing.limits import MAX_BYTES, Check, Fault
from tools.fuzzing.seeds import small_scan


def _assert_plain(value: Any, budget: int = 1 << 21) -> None:
    """Raise Fault unless a pickle gave plain values only, and not more of them than the file can describe."""
    atoms = (bool, int, float, complex, str, bytes, bytearray, slice, range, type(None), np.generic, np.dtype)
    times = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone)
    left = [value]
    while left:
        at = left.pop()
        budget -= 1
        if budget < 0:
            raise Fault("a few bytes of input gave millions of objects")
        if isinstance(at, dict | collections.OrderedDict):
            left += [*at.keys(), *at.values()]
        elif isinstance(at, list | tuple | set | frozenset):
            left += at
        elif isinstance(at, np.ndarray):
            if at.nbytes > 1 << 24:
                raise Fault(f"at most {MAX_BYTES} bytes of input gave an array of {at.nbytes} bytes")
            if at.dtype.hasobject:
                left += at.ravel().tolist()
            else:
                at.tobytes()
        elif not isinstance(at, atoms + times):
            raise Fault(f"a file gave a {type(at)}")


def target_npy(folder: Path) -> Check:
    """.npy headers, and arrays without objects."""

    def check(data: bytes) -> None:
        for ask in (decode_npy_header, decode_axes, decode_note):
            try:
                ask(data)
            except lys_storage.LysStorageError:
                pass
        # the input as the text of a header: the fuzzer need not find the magic and the length
        head = b"\x93NUMPY\x02\0" + struct.pack("<I", len(data)) + data
        try:
            shape, dtype, _, size = decode_npy_header(head)
        except lys_storage.LysStorageError:
            return
        if size != len(head) or not all(type(n) is int and n >= 0 for n in shape):
            raise Fault(f"shape {shape}")
        if 0 < dtype.itemsize < 100 and not dtype.hasobject:
            try:
                decode_axes(head + bytes(dtype.itemsize * min(4, max(shape, default=1))))
            except lys_storage.LysStorageError:
                pass

    return check


def target_plain(folder: Path) -> Check:
    """Pickles, as axes and as a note."""
    heads = []
    for shape in ((), (2,)):
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": shape})
        heads.append(buffer.getvalue())

    def check(data: bytes) -> None:
        asked = [
            (heads[0], decode_note),
            (heads[1], decode_axes),
            (heads[0], lambda npy: decode_note_with_texts(npy)[0]),
        ]
        for head, ask in asked:
            try:
                found = ask(head + data)
            except lys_storage.LysStorageError:
                continue
            _assert_plain(found)
            repr(found) if len(data) < 1000 else None

    return check


def _ask_everything(folder: Path, *, verify: bool, sums_are_right: bool) -> None:
    """Inspect, verify and recover. Each export of the recovery must have valid checksums.

    On the same boot recovery trusts the checksums in the journal. If they are wrong, that of the array is wrong too.
    """
    part = folder / "a.npz.part"
    try:
        inspect(part)
    except lys_storage.LysStorageError:
        pass
    lys_storage.verify(part)
    before = set(folder.iterdir())
    for result in lys_storage.recover(folder, verify=verify):
        if result.path is None:
            continue
        if result.path in before or result.path.parent != folder:
            raise Fault(f"recovery replaced {result.path}")
        with zipfile.ZipFile(result.path) as archive:
            for name in archive.namelist():
                if name != "data.npy" or verify or sums_are_right:
                    archive.read(name)


def target_journal(folder: Path) -> Check:
    """Journals: the input itself, or (first byte odd) with valid checksums. They are inspected, verified and resumed."""
    part = bytes(4096) + bytes(range(96)) + bytes(4096)

    def check(data: bytes) -> None:
        if not data:
            return
        content = data[1:]
        if data[0] & 1:
            content = build_journal(*split_fields(content, 5))
        lay_files(folder, part=part, journal=content)
        for ask in (inspect, lys_storage.verify):
            try:
                ask(folder / "a.npz.part")
            except lys_storage.LysStorageError:
                pass
        try:
            scan = lys_storage.resume(folder / "a.npz.part", flush_interval_s=None)
        except lys_storage.LysStorageError:
            return
        try:
            for name in ("axes", "note", "fill_value"):
                try:
                    getattr(scan, name)
                except lys_storage.LysStorageError:
                    pass
        finally:
            scan.suspend()

    return check


def target_recover(folder: Path) -> Check:
    """A whole scan in progress: description, axes, note, marks, checksums, scan file. Bits of the first byte: 1 verify,
    2 the scan file has a valid header, 4 (with 2) the journal's frame checksums are valid."""

    def check(data: bytes) -> None:
        if not data:
            return
        text, axes, note, marks, sums, part = split_fields(data[1:], 6)
        if data[0] & 2:
            try:
                description = decode_description(text)
                layout = plan_data_member(description.shape, description.dtype, 1.7e9, description.array_offset)
                before = bytearray(layout.array_offset)
                for at, head in layout.heads():
                    before[at : at + len(head)] = head
                part = bytes(before) + part
                if data[0] & 4 and description.frames < 5000:
                    size, at = description.frame_bytes, layout.array_offset
                    frames = [part[at + k * size : at + (k + 1) * size] for k in range(description.frames)]
                    sums = b"".join(struct.pack("<I", zlib.crc32(frame)) for frame in frames)
            except (lys_storage.LysStorageError, OverflowError, ValueError, OSError):
                pass
        lay_files(folder, part=part, journal=build_journal(text, axes, note, marks, sums))
        _ask_everything(folder, verify=bool(data[0] & 1), sums_are_right=data[0] & 6 == 6)

    return check


def target_redo(folder: Path) -> Check:
    """A redo log beside a valid scan of which one frame is being rewritten. At each record magic the header checksum is
    made valid; the data checksum too, if the header's last byte but one is odd."""
    journal, part, key = small_scan()
    frames = [part[4096 + 16 * k : 4096 + 16 * (k + 1)] for k in range(6)]
    torn = bytearray(journal)
    torn[4096 + 1] = REWRITING

    def check(data: bytes) -> None:
        if not data:
            return
        redo = mend_redo(data[1:], key)
        lay_files(folder, part=part, journal=bytes(torn), redo=redo)
        _ask_everything(folder, verify=bool(data[0] & 1), sums_are_right=True)
        for path in folder.glob("*.npz"):
            with lys_storage.open_wave(path) as wave:
                for k, frame in enumerate(wave.data):
                    stored = frame.tobytes()
                    if stored not in (frames[k], bytes(16), b"\x09\x00" * 8) and stored not in redo:
                        raise Fault(f"frame {k} is neither the old version nor one in the redo log")

    return check


def target_export(folder: Path) -> Check:
    """Exports: the input itself (first byte 0), or an archive of members with a compression and false sizes or offsets.

    With bit 3 of the first byte, axes and note are also plain members, and the description says that these hold the same.
    """
    path = folder / "a.npz"

    def build(kind: int, data: bytes) -> bytes:
        array, axes, note, info, claims, *plain = split_fields(data, 8 if kind & 8 else 5)
        method = (0, 8, 12, 14)[kind & 3]
        members = {"data.npy": array, "axes.npy": axes, "note.npy": note, "acquisition.json": info}
        if kind & 8:
            members |= dict(zip(("axis_0.npy", "note.json", "written.npy"), plain, strict=True))
            sums = {"axes_crc32": zlib.crc32(axes), "note_crc32": zlib.crc32(note), "head_crc32": 0}
            members["acquisition.json"] = info.rstrip().removesuffix(b"}") + b", " + json.dumps(sums)[1:].encode()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in members.items():
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
        lys_storage.verify(path)
        try:
            wave = lys_storage.open_wave(path)
        except lys_storage.LysStorageError:
            return
        with wave:
            try:
                array = wave.data
            except lys_storage.LysStorageError:  # the member is compressed
                return
            if array.nbytes > len(content) and data[0] & 3 == 0:
                raise Fault(f"{array.nbytes} bytes of data in a file of {len(content)}")
            if array.size < 1 << 20 and array.nbytes < 1 << 24:
                array.tobytes()
            if all(n < 1 << 20 for n in wave.shape):
                _assert_plain(wave.axes)
            _assert_plain(wave.note)
            if array.ndim and all(wave.shape):
                try:
                    wave.read(0)
                except lys_storage.LysStorageError:
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
