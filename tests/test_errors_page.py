"""docs/errors.md shows each error as it appears: every error is raised here and compared with the page."""

from __future__ import annotations

import decimal
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import lys_storage

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
LARGE_NUMBER = re.compile(r"\d{1,3}(?:,\d{3}){2,}")
FREE = "46,400,000,000"
"""Stands for the free space, which differs from run to run."""
NEEDED = "2,199,023,257,715,253"
"""Stands for the size of the scan, which differs by some bytes: numpy 2 writes the axes another way."""

FRAME = np.ones((4, 4), "uint16")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the page shows paths and errors of POSIX systems")


def new_scan(path: str, **options: object) -> lys_storage.Scan:
    return lys_storage.create(path, shape=(3, 4, 4), dtype="uint16", grid_ndim=1, **options)


@contextmanager
def scan_in_progress(path: str) -> Iterator[lys_storage.Scan]:
    """A scan with one of its three frames; it is suspended afterwards."""
    scan = new_scan(path)
    scan[0] = FRAME
    try:
        yield scan
    finally:
        scan.suspend()


def as_shown(error: Exception) -> str:
    """The last lines of the traceback."""
    return "".join(traceback.format_exception_only(error)).rstrip("\n")


def raised_by(work: Callable[[], object]) -> str:
    with pytest.raises(lys_storage.LysStorageError) as caught:
        work()
    return as_shown(caught.value)


# -- the errors --------------------------------------------------------------------------------------------------------


def taken_name() -> list[str]:
    new_scan("run/taken.npz").close()
    return [raised_by(lambda: new_scan("run/taken.npz"))]


def in_progress() -> list[str]:
    with scan_in_progress("run/running.npz"):
        resumed = raised_by(lambda: lys_storage.resume("run/running.npz"))
    return [raised_by(lambda: new_scan("run/running.npz")), resumed]


def finished() -> list[str]:
    scan = new_scan("run/finished.npz")
    scan.close()
    return [raised_by(lambda: scan.write(0, FRAME)), raised_by(lambda: lys_storage.resume("run/finished.npz"))]


def wrong_shape() -> list[str]:
    with scan_in_progress("run/shape.npz") as scan:
        return [raised_by(lambda: scan.write(1, np.ones((4, 5), "uint16")))]


def wrong_dtype() -> list[str]:
    with scan_in_progress("run/dtype.npz") as scan:
        return [
            raised_by(lambda: scan.write(1, np.ones((4, 4), "float64"))),
            raised_by(lambda: scan.write(1, np.full((4, 4), 70_000, "uint32"))),
        ]


def index_out_of_range() -> list[str]:
    with scan_in_progress("run/index.npz") as scan:
        return [raised_by(lambda: scan.write(3, FRAME)), raised_by(lambda: scan.write((0, 1), FRAME[0]))]


def no_space() -> list[str]:
    text = raised_by(lambda: lys_storage.create("run/large.npz", shape=(1000, 2**20, 2**20), dtype="uint16"))
    largest = max(LARGE_NUMBER.findall(text), key=lambda number: int(number.replace(",", "")))
    assert largest[:-3] == NEEDED[:-3]
    return [LARGE_NUMBER.sub(lambda number: NEEDED if number[0] == largest else FREE, text)]


def no_permission() -> list[str]:
    folder = tempfile.mkdtemp()
    user = os.geteuid()
    os.chmod(folder, 0o555)
    try:
        if user == 0:  # root can write everywhere
            os.seteuid(65534)
        text = raised_by(lambda: new_scan(f"{folder}/data.npz"))
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)
    return [text.replace(os.path.realpath(folder), "/srv/shared").replace(folder, "/srv/shared")]


def unsafe_note(caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    new_scan("run/note.npz", note={"dose": decimal.Decimal("1.5")}).close()
    logged = [f"{record.levelname}:{record.name}:{record.getMessage()}" for record in caplog.records]
    with lys_storage.open_wave("run/note.npz") as wave:
        assert isinstance(wave.note_error, lys_storage.UnsafeFileError)
        return [*logged, as_shown(wave.note_error)]


def not_an_npz() -> list[str]:
    Path("run/notes.txt").write_text("beam time 2026-11-23\n")
    np.savez("run/other.npz", counts=FRAME)
    return [
        raised_by(lambda: lys_storage.open_wave("run/notes.txt")),
        raised_by(lambda: lys_storage.open_wave("run/other.npz")),
    ]


ERRORS: dict[str, Callable[..., list[str]]] = {
    "A taken name": taken_name,
    "A scan in progress": in_progress,
    "A finished scan": finished,
    "A wrong shape": wrong_shape,
    "A wrong dtype": wrong_dtype,
    "An index out of range": index_out_of_range,
    "No space": no_space,
    "No permission": no_permission,
    "An unsafe note": unsafe_note,
    "Not an export": not_an_npz,
}


# -- the page ----------------------------------------------------------------------------------------------------------


def shown_on_page() -> dict[str, list[str]]:
    page = PAGE.read_text(encoding="utf8")
    return {title: BLOCK.findall(text) for title, text in SECTION.findall(page)}


def test_the_page_has_a_section_for_each_error() -> None:
    assert list(shown_on_page()) == list(ERRORS)


@pytest.mark.parametrize("title", ERRORS)
def test_an_error_appears_as_the_page_shows_it(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a text has changed, the failure prints the new one: replace the block of the page with it."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    provoke = ERRORS[title]
    texts = provoke(caplog) if provoke is unsafe_note else provoke()
    seen = [text.replace(str(tmp_path), "/data") for text in texts]
    new = "\n\n".join(f"```text\n{text}\n```" for text in seen)
    assert shown_on_page()[title] == seen, f'docs/errors.md, section "{title}", has to show:\n\n{new}\n'
