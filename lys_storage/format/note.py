"""Encoding of a note. A value that could not be read again is stored as its repr, so that the rest can be read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from .axes_and_note import decode_note_with_texts, encode_npy
from .npy import decode_npy_header
from .safe_pickle import load_plain

log = logging.getLogger("lys_storage")
_MOST_OF_REPR = 1 << 18
"""Most values and characters in a repr. A few lists that contain each other many times can have a huge one."""
_MOST_UNREADABLE = 1 << 26
"""Bytes. After values of this size were found unreadable, the remaining values are not tried."""
_NOT_PICKLED, _NOT_READ = "cannot be pickled", "could not be read again"


def plain_note(note: Mapping[Any, Any]) -> dict[Any, Any]:
    """A copy of `note`, of which open_wave reads every key.

    A value that cannot be pickled, or could not be read again, is replaced by its repr, and a warning is logged.
    """
    plain = dict(note)
    if not _fault(plain)[0]:
        return plain
    result, room = {}, _MOST_UNREADABLE
    for key, value in plain.items():
        fault, size = _fault({key: value}) if room > 0 else (_NOT_READ, 0)
        if fault:
            room -= size
            log.warning("note %s %s: its repr is stored instead", _repr(key), fault)
            value = _repr(value) if room <= 0 or _fault({"": value})[0] else value
            key = _repr(key) if _fault({key: ""})[0] else key
        result[key] = value
    if not _fault(result)[0]:
        return result
    log.warning(
        "note %s could not be read again together: their reprs are stored instead", ", ".join(map(_repr, result))
    )
    return {key: _repr(value) for key, value in result.items()}


def encode_note(note: Mapping[Any, Any]) -> bytes:
    """note.npy of plain_note(note)."""
    return _encode(plain_note(note))


def unreadable_keys(note: Mapping[Any, Any], note_npy: bytes) -> list[str]:
    """The keys, as text, of values in `note` that are not plain data: open_wave loads them only with allow_pickle=True.

    `note_npy`: from encode_note. Only the restricted unpickler reads it: unpickling could run code.
    """
    if _is_plain(note_npy):
        return []
    found = [key for key, value in note.items() if not _fault({key: value})[0] and not _is_plain(_encode({key: value}))]
    return [_repr(key) for key in (found or note)]


def _encode(note: dict[Any, Any]) -> bytes:
    return encode_npy(np.array(note, dtype=object))


def _fault(note: dict[Any, Any]) -> tuple[str, int]:
    """Why open_wave could not read `note`, "" if it can; and its size in the file in bytes."""
    try:
        npy = _encode(note)
    except Exception:  # pickling a value of a user's class can raise anything
        return _NOT_PICKLED, 0
    try:
        decode_note_with_texts(npy)
    except Exception:  # the pickle of a user's class can raise anything
        return _NOT_READ, len(npy)
    return "", len(npy)


def _is_plain(npy: bytes) -> bool:
    try:
        load_plain(npy[decode_npy_header(npy[: 1 << 20])[3] :])
    except Exception:  # the pickle of a user's class can raise anything
        return False
    return True


def _repr(value: Any) -> str:
    try:
        if _room_left(value, _MOST_OF_REPR, set()) < 0:
            return f"<{type(value).__name__} with too many values for a repr>"
        return repr(value)
    except Exception as error:  # the repr of a user's class can raise anything
        return f"<{type(value).__name__} whose repr failed: {error}>"


def _room_left(value: Any, room: int, inside: set[int]) -> int:
    """`room` minus the size of a repr of `value`; negative if that does not fit. `inside`: the ids of its containers."""
    room -= len(value) if isinstance(value, str | bytes | bytearray) else 1
    if isinstance(value, dict):
        items: Any = chain.from_iterable(value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        items = iter(value)
    else:
        items = value.flat if isinstance(value, np.ndarray) and value.dtype == object else ()
    if id(value) in inside:
        return room
    inside.add(id(value))
    for item in items:
        if room < 0:
            break
        room = _room_left(item, room, inside)
    inside.discard(id(value))
    return room
