"""Names of the files of a scan: what a name means, and which names belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from lys_storage.format import (
    export_name,
    export_stem,
    is_export,
    is_journal,
    is_scan_file,
    is_sidecar,
    journal_path,
    numbered_name,
    numbered_names,
    part_path,
    redo_path,
    replacement_path,
    scan_file_name,
)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("data_3.npz", {"export"}),
        ("data_3.npz.part", {"scan file"}),
        ("data.npz.1f2e3d4c.part", {"scan file"}),
        ("data_3.npz.part.journal", {"journal", "sidecar"}),
        ("data_3.npz.part.redo", {"sidecar"}),
        ("data_3.npz.part.journal.new", set()),
        ("data_3.npz.part.redo.journal", set()),
        ("data_3.npz.journal", set()),
        ("data_3.NPZ", set()),
        ("npz", set()),
        ("", set()),
    ],
)
def test_a_name_is_of_one_kind(name: str, kinds: set[str]) -> None:
    """A journal is also a sidecar."""
    tests = {"export": is_export, "scan file": is_scan_file, "journal": is_journal, "sidecar": is_sidecar}
    assert {kind for kind, says in tests.items() if says(name)} == kinds


def test_each_file_of_a_scan_has_its_name() -> None:
    final = Path("run", "data_3.npz")
    part = part_path(final)
    assert part == Path("run", "data_3.npz.part")
    assert part_path(final, "1f2e3d4c") == Path("run", "data_3.npz.1f2e3d4c.part")
    assert journal_path(part) == Path("run", "data_3.npz.part.journal")
    assert redo_path(part) == Path("run", "data_3.npz.part.redo")
    assert replacement_path(journal_path(part)) == Path("run", "data_3.npz.part.journal.new")


@pytest.mark.parametrize("sidecar_path", [journal_path, redo_path], ids=["journal", "redo file"])
@pytest.mark.parametrize("part", ["data.npz.part", "data.npz.1f2e3d4c.part", ".part", "a.part.part", "a.redo.part"])
def test_a_sidecar_leads_back_to_its_scan_file(part: str, sidecar_path: object) -> None:
    sidecar = sidecar_path(Path(part)).name  # type: ignore[operator]
    assert is_sidecar(sidecar)
    assert scan_file_name(sidecar) == part


@pytest.mark.parametrize("stem", ["data", "a.b", "data.npz", "温度"])
def test_an_export_has_its_stem_and_one_suffix(stem: str) -> None:
    assert export_name(stem) == stem + ".npz"
    assert export_stem(export_name(stem)) == stem
    assert export_stem("data.txt") == "data.txt"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        (numbered_name("a.b", 0), "0"),
        (numbered_name("a.b", 17), "17"),
        ("a.b_3.npz.part", "3"),
        ("a.b_3.npz.0123abcd.part", "3"),
        ("a.b_3.npz.part.journal", "3"),
        ("a.b_3.npz.part.redo", None),
        ("a.b_03.npz", None),
        ("a.b_-1.npz", None),
        ("a.b_3.npz.part.journal.new", None),
        ("axb_3.npz", None),
        ("a.b.npz", None),
    ],
)
def test_a_number_is_taken_by_an_export_a_scan_file_or_a_journal(name: str, number: str | None) -> None:
    """The stem is taken literally. A number has no leading zeros."""
    match = numbered_names("a.b").match(name)
    assert (match and match[1]) == number
