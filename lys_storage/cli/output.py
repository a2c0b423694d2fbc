"""Prints the results of commands. An error of an output never ends a command.

Characters that the encoding of an output does not have are escaped. After an output has failed (the reader of a pipe has
ended, the disk is full, the terminal is closed) nothing more is written to it, and the command continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from ..disk import SYSTEM

JSON_OPTION = "--json"
SUCCESS, PROBLEMS, INTERRUPTED = 0, 1, 130
_KEYS = (
    *("part", "shape", "dtype", "frames_written", "frames_expected", "size_bytes", "allocated_bytes", "changed"),
    *("message", "error"),
)


class Output:
    """A text stream that raises nothing. `failure`: the error after which nothing is written, or None."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        if self._stream is not None and self.failure is None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            safe = text.encode(encoding, "backslashreplace").decode(encoding)
            self._attempt(lambda stream: stream.write(safe))
        return len(text)

    def flush(self) -> None:
        self._attempt(lambda stream: stream.flush())

    def _attempt(self, deed: Callable[[TextIO], Any]) -> None:
        if self._stream is None or self.failure is not None:
            return
        try:
            deed(self._stream)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.failure = error
            _send_to_nowhere(self._stream)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # else click would write to that
            raise AttributeError(name)
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()


def _send_to_nowhere(stream: TextIO) -> None:
    """Redirect `stream` to the null device: its buffer must not fail again when the interpreter exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


@contextlib.contextmanager
def tolerant_outputs() -> Iterator[Callable[[], bool]]:
    """Within the block `sys.stdout` and `sys.stderr` raise nothing. Gives a function: whether output was lost.

    Nothing is lost if the reader of a pipe has ended, as `head` does: it has what it needs.
    """
    real = sys.stdout, sys.stderr
    out, messages = Output(real[0]), Output(real[1])
    sys.stdout, sys.stderr = out, messages

    def is_lost() -> bool:
        out.flush()
        failure = out.failure
        if failure is None or (isinstance(failure, OSError) and failure.errno in SYSTEM.closed_pipe):
            return False
        messages.write(f"the output could not be written: {getattr(failure, 'strerror', None) or failure}\n")
        messages.flush()
        return True

    try:
        yield is_lost
    finally:
        out.flush()
        messages.flush()
        sys.stdout, sys.stderr = real


def say(text: str) -> None:
    """Print a line on stdout."""
    _print(sys.stdout, printable(text))


def say_aside(text: str) -> None:
    """Print a line on stderr."""
    _print(sys.stderr, printable(text))


def say_json(value: Any) -> None:
    _print(sys.stdout, json.dumps(value, indent=1, allow_nan=False))


def say_text(text: str) -> None:
    """Print text of several lines that have been made printable before."""
    _print(sys.stdout, text)


def _print(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


def printable(text: str, keep: str = "") -> str:
    """`text` with control characters escaped, except those of `keep`: text from a file must not control the terminal."""
    return "".join(c if c in keep or not _is_control(c) else repr(c)[1:-1] for c in text)


def _is_control(c: str) -> bool:
    return unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"


def record(path: object, state: str, **facts: Any) -> dict[str, Any]:
    """The JSON of one file, which has the same keys in every command.

    `path`: the file; `part`: the scan file, if it is or was a scan in progress; `size_bytes`: the length of the file;
    `allocated_bytes`: its space on the disk; `message`: in words; `error`: what is wrong, else null.
    """
    return {"path": str(path), "state": state} | dict.fromkeys(_KEYS) | facts
