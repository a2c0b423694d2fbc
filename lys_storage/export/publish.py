"""Gives the scan file its final name. A file is replaced only if the scan's description has `replace`."""

from __future__ import annotations

import os
from pathlib import Path

from ..disk import claim_number, give_up_claim, publish_new, replace_file
from ..errors import NameTakenError
from ..format import Description, export_name, export_stem, numbered_name, recover_command

_MANY = 1_000_000


def publish(part: Path, d: Description, *, recovering: bool) -> Path:
    """Rename `part` to its final name and return it.

    If its number was taken meanwhile, the scan gets the next free one. A recovered scan never replaces a
    file: if its name is taken it becomes `<name>.recovered_N.npz`. Raises NameTakenError if the name of a scan
    without a number is taken.
    """
    final = part.with_name(d.final)
    if d.replace and not recovering:
        replace_file(part, final)
        return final
    try:
        publish_new(part, final, claims=True)
        return final
    except NameTakenError:
        if recovering:
            return _publish_recovered(part, final)
        if d.number is None:
            hint = (
                f"exists already, and is not replaced: move it away and close the scan again, or run "
                f"{recover_command(part.parent)}, which exports the scan under another name"
            )
            raise NameTakenError(17, hint, os.fspath(final)) from None
    return _publish_under_next_number(part, d.stem)


def _publish_recovered(part: Path, final: Path) -> Path:
    stem = export_stem(final.name)
    for n in range(_MANY):
        name = final.with_name(export_name(f"{stem}.recovered_{n}"))
        try:
            publish_new(part, name, claims=True)
            return name
        except NameTakenError:
            continue
    raise NameTakenError(17, f"exists, and so do {_MANY:,} recovered files of this scan: remove some", os.fspath(final))


def _publish_under_next_number(part: Path, stem: str) -> Path:
    while True:
        number, claimed = claim_number(part.parent, stem)
        final = part.with_name(numbered_name(stem, number))
        try:
            publish_new(part, final)
            return final
        except NameTakenError:
            continue
        finally:
            give_up_claim(claimed)
