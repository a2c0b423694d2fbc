"""A placeholder for an object that is not plain data: its name and its arguments, as text.

Never imports what a pickle names, and never calls it. The text is short, whatever the pickle contains.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

_MAX_TEXT = 200
_MAX_PART = 60
_MAX_ITEMS = 4
_MAX_LEVELS = 3
_SHORT = (bool, float, complex, type(None), np.number, np.bool_)
_TIMES = (datetime.date, datetime.time, datetime.timedelta, datetime.timezone)


class StandIn:
    """Replaces a name that is not on the allow-list (`arguments` is None), or the result of calling it."""

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name, self.arguments = name[:_MAX_TEXT], arguments
        self._parts: list[Any] = []
        self._text: str | None = None

    def called(self, arguments: tuple[Any, ...]) -> StandIn:
        """The StandIn for the result of a call. Nothing is called."""
        first = arguments[0] if arguments else None
        if isinstance(first, StandIn) and first.arguments is None:
            if self.name == "copyreg._reconstructor":
                return StandIn(first.name, ())
            if self.name == "builtins.getattr" and len(arguments) == 2 and type(arguments[1]) is str:
                return StandIn(f"{first.name}.{arguments[1]}")
        return StandIn(self.name if self.arguments is None else f"{self.name}(...)", arguments)

    def set_state(self, state: Any) -> None:
        if type(state) is tuple and len(state) == 2:  # of a class with __slots__
            state = state[1]
        if type(state) is dict:
            self.append(state)

    def append(self, part: Any) -> None:
        if len(self._parts) < _MAX_ITEMS:
            self._parts.append(part)

    def extend(self, parts: Iterable[Any]) -> None:
        for part in islice(parts, _MAX_ITEMS):
            self.append(part)

    update = extend

    def __setitem__(self, key: Any, value: Any) -> None:
        self.append((key, value))

    def text(self) -> str:
        """For example `<pathlib.PosixPath('run', 'a.txt')>`."""
        if self._text is None:
            text = self.said(_MAX_LEVELS)
            self._text = f"<{text}>" if len(text) <= _MAX_TEXT else f"<{text[:_MAX_TEXT]}...>"
        return self._text

    def said(self, levels: int) -> str:
        if self.arguments is None:
            return self.name
        called = f"{self.name}({_listed(self.arguments, levels)})"
        return " ".join([called, *(_said(part, levels - 1) for part in self._parts)])


def _listed(values: Iterable[Any], levels: int) -> str:
    if levels <= 0:
        return "..."
    texts = [_said(value, levels - 1) for value in islice(values, _MAX_ITEMS + 1)]
    return ", ".join([*texts[:_MAX_ITEMS], *("..." for _ in texts[_MAX_ITEMS:])])


def _said(value: Any, levels: int) -> str:
    """`value` as text, shortened; "..." if it is not plain."""
    kind = type(value)
    if kind is StandIn:
        return str(value.said(levels))
    if kind in (str, bytes):
        return repr(value[:_MAX_PART]) + "..." * (len(value) > _MAX_PART)
    if (kind is int and value.bit_length() <= 256) or isinstance(value, (*_SHORT, *_TIMES)):
        return str(value)
    if kind in (tuple, list):
        return f"{'(['[kind is list]}{_listed(value, levels)}{')]'[kind is list]}"
    if kind is dict and levels > 0:
        pairs = [f"{_said(key, 0)}: {_said(item, levels - 1)}" for key, item in islice(value.items(), _MAX_ITEMS)]
        return f"{{{', '.join([*pairs, *(['...'] if len(value) > _MAX_ITEMS else [])])}}}"
    return "..."
