"""Types and options of the command line that several commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .output import JSON_OPTION


class UserPath(click.Path):
    """A path. `~` is expanded: the shell of Windows does not do it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


PATH = UserPath(readable=False, path_type=Path)  # each command reports itself what it cannot read
AS_JSON = click.option(JSON_OPTION, "as_json", is_flag=True, help="Print machine-readable JSON.")
