"""Small inputs of each target, made from small real files. The module checks nothing."""

from __future__ import annotations

import collections
import datetime
import json
import pickle
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.format import encode_axes, encode_note
from lys_storage.format.axes_and_note import encode_npy
from lys_storage.journal import redo_log as redo_log_module
from tools.fuzzing.inputs import join_fields


def small_scan() -> tuple[bytes, bytes, int]:
    """(journal, scan file, key) of a scan of six frames of eight <u2, of which 0, 1, 3 and 5 are written."""
    with tempfile.TemporaryDirectory(prefix="lys_fuzz_") as name:
        path = Path(name) / "a.npz"
        options: dict[str, Any] = {"fill_value": 9, "grid_ndim": 1, "axes": [np.arange(6) / 2], "note": {"k": 1}}
        scan = lys_storage.create(path, (6, 8), "<u2", flush_interval_s=None, **options)
        for k in (0, 1, 3, 5):
            scan[k] = np.arange(8, dtype="<u2") + 1000 * k
        key = scan._store.journal.key
        scan.suspend()
        return Path(f"{path}.part.journal").read_bytes(), Path(f"{path}.part").read_bytes(), key


def _small_export(**options: Any) -> bytes:
    with tempfile.TemporaryDirectory(prefix="lys_fuzz_") as name:
        with lys_storage.create(Path(name) / "a.npz", (2, 3), "<f4", axes=[[0, 1]], grid_ndim=1, **options) as scan:
            scan[0] = np.zeros(3, "<f4")
        return (Path(name) / "a.npz").read_bytes()


def _notes() -> list[Any]:
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


def _axes_and_note() -> tuple[bytes, bytes]:
    return encode_axes([np.arange(6.0), None], (6, 8)), encode_note({"k": 1})


def npy_seeds() -> list[bytes]:
    arrays = [np.arange(3), np.zeros((2, 2), "<c16"), np.array("abc"), np.zeros(2, "<M8[s]"), np.array([None])]
    return [*map(encode_npy, arrays), *(text.encode() for text in _headers())]


def plain_seeds() -> list[bytes]:
    axes = np.empty(2, object)
    axes[:] = [np.arange(3.0), None]
    table = np.array([[0.0, 1.0], [2.0, 3.0]], object)
    things = [*(np.array(note, object) for note in _notes()), axes, table]
    return [pickle.dumps(thing, protocol) for thing in things for protocol in (2, 3, 4, 5)]


def _descriptions(journal: bytes) -> list[bytes]:
    text = journal[1536 : 1536 + struct.unpack_from("<I", journal, 12)[0]]
    fields = json.loads(text)
    changes: list[dict[str, Any]] = [{}, {"shape": [2, 2], "grid_ndim": 2}, {"number": 3, "final": "a_3.npz"}]
    changes += [{"boot_id": "other"}, {"replace": True}, {"dtype": "[('a', '|u1'), ('b', '|u1')]"}]
    return [json.dumps({**fields, **change}).encode() for change in changes]


def journal_seeds() -> list[bytes]:
    journal, _, _ = small_scan()
    axes, note = _axes_and_note()
    marks, sums = journal[4096:4102], journal[8192:8216]
    built = (b"\1" + join_fields(text, axes, note, marks, sums) for text in _descriptions(journal))
    return [b"\0" + journal, *built]


def recover_seeds() -> list[bytes]:
    journal, part, _ = small_scan()
    axes, note = _axes_and_note()
    texts, sums, array = _descriptions(journal), journal[8192:8216], part[4096 : 4096 + 100]
    kinds = [(flags, t, array) for flags in (2, 3, 6, 7) for t in texts]
    kinds += [(0, texts[0], part[:4200]), (7, texts[0], array[:50])]
    return [bytes([flags]) + join_fields(t, axes, note, b"\3\4\0\2\1\5", sums, a) for flags, t, a in kinds]


def redo_seeds() -> list[bytes]:
    _, _, key = small_scan()
    new = bytes(range(16))
    record = redo_log_module._encode(key, 0, 4096 + 16, 16, zlib.crc32(new))
    record = record[:62] + b"\1\0" + new + bytes(48)
    far = redo_log_module._encode(key, 0, 4096 + 80, 32, 0)[:62] + b"\1\0" + new * 2 + bytes(32)
    empty = redo_log_module._encode(key, 0, 4096 + 16, 0, 0)
    return [b"\0" + record, b"\1" + record + far, b"\0" + empty + record, b"\1" + record[:70]]


def export_seeds() -> list[bytes]:
    axes, note = _axes_and_note()
    array = encode_npy(np.arange(6.0).reshape(2, 3))
    fortran = encode_npy(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    info = b'{"format": "lys_storage acquisition", "missing": [[0, 1]]}'
    claim = bytes([0]) + struct.pack("<Q", 1 << 34)
    made = [
        bytes([kind]) + join_fields(a, axes, note, info, claim) for kind in (1, 4, 5, 6, 7) for a in (array, fortran)
    ]
    plain = [encode_npy(np.arange(2.0)), b'{"a": [1, null, "b"]}', encode_npy(np.array([False, True]))]
    made += [bytes([kind]) + join_fields(array, axes, note, info, claim, *plain) for kind in (8, 9, 12)]
    return [b"\0" + _small_export(), b"\0" + _small_export(note={"k": np.arange(3)}), *made]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "npy": npy_seeds,
    "plain": plain_seeds,
    "journal": journal_seeds,
    "export": export_seeds,
    "redo": redo_seeds,
    "recover": recover_seeds,
}
