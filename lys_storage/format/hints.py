"""Calls and commands for messages, which a user can copy unchanged."""

from __future__ import annotations

import os


def quoted(path: str | os.PathLike[str]) -> str:
    """`path` as one argument of a command line, in quotes, for the shell of this system."""
    text = os.fspath(path)
    return f'"{text}"' if os.name == "nt" else "'" + text.replace("'", "'\"'\"'") + "'"


def recover_command(folder: str | os.PathLike[str]) -> str:
    return f"lys-storage recover {quoted(folder)}"


def resume_call(path: str | os.PathLike[str]) -> str:
    return f"lys_storage.resume({os.fspath(path)!r})"
