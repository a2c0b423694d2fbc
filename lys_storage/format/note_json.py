"""`note.json`: a note that every program can read. Pure encode and decode.

JSON cannot hold each value of a note: such a value is stored in words, and `note.npy` holds it.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import BadFileError

NOTE_JSON_MEMBER = "note.json"
_MAX_LEVELS, _MAX_ITEMS, _MAX_WORDS = 50, 10_000, 1_000
_MAX_ITEMS_OF_ALL = 1 << 18
_SAFE_INTEGER = 1 << 63


def encode_note_json(note: Mapping[Any, Any]) -> tuple[bytes, bool]:
    """`note.json`, in UTF-8, and whether decode_note_json gives `note` again, with the same types."""
    state = _State()
    plain = _plain(note, 0, state)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1).encode(), state.is_exact


def decode_note_json(data: bytes) -> dict[str, Any]:
    """The note in `data`. Raises BadFileError if it is damaged."""
    try:
        note = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFileError(f"{NOTE_JSON_MEMBER} cannot be read: {error}") from error
    if not isinstance(note, dict):
        raise BadFileError(f"{NOTE_JSON_MEMBER} holds a {type(note).__name__}, expected an object")
    return note


class _State:
    """`is_exact`: no value is another one so far. `room`: how many items of arrays, tuples and sets are written at most. A note
    can refer to one array many times."""

    def __init__(self) -> None:
        self.is_exact, self.room = True, _MAX_ITEMS_OF_ALL

    def has_room(self, items: int) -> bool:
        if items > min(self.room, _MAX_ITEMS):
            return False
        self.room -= items
        return True


def _plain(value: Any, level: int, state: _State) -> Any:
    """`value` as JSON can hold it."""
    kind = type(value)
    if value is None or kind is bool or (kind is int and -_SAFE_INTEGER <= value < 2 * _SAFE_INTEGER):
        return value
    if (kind is float and math.isfinite(value)) or (kind is str and _is_unicode(value)):
        return value
    if level < _MAX_LEVELS and kind is dict and all(type(key) is str and _is_unicode(key) for key in value):
        return {key: _plain(item, level + 1, state) for key, item in value.items()}
    if level < _MAX_LEVELS and kind is list:
        return [_plain(item, level + 1, state) for item in value]
    state.is_exact = False
    return _nearest(value, level, state)


def _nearest(value: Any, level: int, state: _State) -> Any:
    if level < _MAX_LEVELS:
        if isinstance(value, Mapping):
            return {_in_words(key): _plain(item, level + 1, state) for key, item in value.items()}
        if isinstance(value, tuple | set | frozenset) and state.has_room(len(value)):
            return [_plain(item, level + 1, state) for item in value]
        if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.dtype.kind in "biufU":
            if state.has_room(value.size):
                return _plain(value.tolist(), level + 1, state)
            return f"array of {value.dtype}, shape {value.shape}"
        if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) and value.dtype.char not in "gG":
            return _plain(value.item(), level + 1, state)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return _in_words(value)


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return str(value)  # nan, inf
    try:
        text = value if type(value) is str else repr(value)
    except Exception as error:  # the repr of a user's class can raise anything
        text = f"<{type(value).__name__} whose repr failed: {error}>"
    return text[:_MAX_WORDS].encode("utf-8", "replace").decode()


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: no surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
