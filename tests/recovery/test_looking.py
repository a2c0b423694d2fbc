"""Commands that only read need no write permission, and distinguish own, foreign and damaged files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lys_storage
from lys_storage.cli import main
from lys_storage.disk import File, Lock
from lys_storage.format import journal_path
from lys_storage.recovery import find_interrupted, inspect, list_scans, verify_each
from tests.faults.operations import BECOME_NOBODY, _open_to_all  # noqa: F401  a fixture
from tests.helpers import files, interrupt, load_export
from tests.systems import not_on_windows


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def states(folder: Path) -> dict[str, str]:
    return {entry.path.name: entry.state for entry in list_scans(folder)}


# -- reading is not writing --------------------------------------------------------------------------------------------


def test_while_verify_reads_others_see_the_scan_as_it_is_and_it_can_be_recovered(tmp_path: Path) -> None:
    """Reading takes minutes, and needs no lock. The result is discarded if the scan has changed meanwhile."""
    part = interrupt(tmp_path / "data.npz", shape=(4, 3000), frames=(0, 1, 2, 3))
    seen: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not seen:
            seen.append((states(tmp_path), find_interrupted(tmp_path), inspect(part).running))
            seen.append(lys_storage.recover(tmp_path)[0].path)

    (one,) = verify_each([part], progress)
    assert seen == [({"data.npz.part": "interrupted"}, [str(part)], False), tmp_path / "data.npz"]
    assert (one.problems, one.message) == ([], "another process took it over while it was read: verify it again")
    assert load_export(tmp_path / "data.npz").data[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("then", ["goes on", "lets go"])
def test_a_scan_that_is_resumed_while_verify_reads_it_is_not_called_damaged(tmp_path: Path, then: str) -> None:
    """Its frames are rewritten while their checksums are compared."""
    part = interrupt(tmp_path / "data.npz", shape=(4, 3000), frames=(0, 1, 2, 3))
    scans: list[lys_storage.Scan] = []

    def progress(done: int, total: int) -> None:
        if not scans:
            scans.append(lys_storage.resume(part, flush_interval_s=None))
            scans[0][3] = np.full(3000, 77, "u2")
            if then == "lets go":
                scans[0].suspend()

    (one,) = verify_each([part], progress)
    assert (one.problems, one.message) == ([], "another process took it over while it was read: verify it again")
    scans[0].suspend()
    assert lys_storage.verify(part) == []


@pytest.mark.parametrize("deed", ["recover", "resume"])
def test_who_takes_a_scan_over_waits_a_moment_for_one_who_looks(tmp_path: Path, deed: str) -> None:
    """`ls` in another window must not make a takeover fail with "being written by a living process"."""
    part = interrupt(tmp_path / "data.npz")
    looker = File.open(part, writable=False)
    assert looker.try_lock(shared=True) is Lock.TAKEN
    timer = threading.Timer(0.1, looker.close)
    timer.start()
    if deed == "recover":
        assert lys_storage.recover(tmp_path)[0].path == tmp_path / "data.npz"
    else:
        with lys_storage.resume(part) as scan:
            assert scan.frames_written == 2
    timer.join()


LOOK = """
import encodings.cp437, json, os, sys
from pathlib import Path
from click.testing import CliRunner
import lys_storage
from lys_storage.cli import main
from lys_storage.recovery import list_scans
folder = Path(sys.argv[1])
for word in ("ls", "verify", "recover"):  # what they import may not be readable to the other user
    assert CliRunner().invoke(main, [word, "--json", "."]).exit_code == 0
exec(sys.argv[2])
told = {}
for words in (["ls"], ["verify"], ["recover", "--dry-run"], ["recover"]):
    result = CliRunner().invoke(main, [*words, "--json", str(folder)])
    assert result.stdout, repr(result.exception)
    told[" ".join(words)] = [result.exit_code, {
        r["path"].removeprefix(f"{folder}/"): [r["state"], bool(r["error"])] for r in json.loads(result.stdout)
    }]
told["info"] = CliRunner().invoke(main, ["info", str(folder / "running.npz.part")]).exit_code
told["named"] = [CliRunner().invoke(main, [word, str(folder / "mine.npz")]).exit_code for word in ("ls", "info", "verify")]
print(json.dumps(told))
"""


@not_on_windows("modes, and becoming another user, are POSIX")
def test_another_users_files_are_looked_at_without_the_right_to_write_them(
    open_to_all: Path, run_child: Callable[..., Any]
) -> None:
    """A readable file is reported as usual. An unreadable one is a problem only if it was named itself."""
    import json

    folder = open_to_all / "run"
    interrupt(folder / "interrupted.npz")
    with lys_storage.create(folder / "finished.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    for name in ("mine.npz", "mine too.npz.part"):
        (folder / name).write_bytes(b"secret")
        (folder / name).chmod(0o600)
    (folder / "closed").mkdir()
    (folder / "closed" / "a.npz").write_bytes(b"secret")
    (folder / "closed").chmod(0o700)
    with lys_storage.create(folder / "running.npz", (2,), "u1", grid_ndim=1) as scan:
        scan[0] = np.uint8(1)
        before = files(folder)
        folder.chmod(0o555)
        child = run_child(LOOK, folder, BECOME_NOBODY)
        folder.chmod(0o755)
        assert files(folder) == before
    assert child.code == 0, child.err
    told = json.loads(child.out)
    hidden = {"closed": ["not readable", False], "mine too.npz.part": ["not readable", False]}
    running, interrupted = ["running", False], ["interrupted", False]
    exports = {"finished.npz": ["finalized", False], "mine.npz": ["not readable", False]}
    scans = {"running.npz.part": running, "interrupted.npz.part": interrupted}
    assert told["ls"] == [0, hidden | exports | scans]
    assert told["verify"] == [0, hidden | exports | scans]
    refused = {"running.npz.part": running, "interrupted.npz.part": ["interrupted", True]}
    assert told["recover --dry-run"] == told["recover"] == [1, hidden | refused]
    assert told["info"] == 0
    assert told["named"] == [1, 1, 1]


# -- foreign files are not damaged -------------------------------------------------------------------------------------


def savez(path: Path) -> Path:
    path = path / "theirs.npz"
    np.savez(path, a=np.ones(3), b=np.ones(2))
    return path


def savez_of_data(path: Path) -> Path:
    path = path / "theirs.npz"
    np.savez(path, data=np.ones(3))
    return path


def savez_that_was_cut(path: Path) -> Path:
    path = savez(path)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def savez_with_objects(path: Path) -> Path:
    path = path / "theirs.npz"
    np.savez(path, things=np.array([{1}, "a"], dtype=object))
    return path


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


MAC = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(200)


def mac_attributes_of_an_export(path: Path) -> Path:
    return _written(path / "._a.npz", MAC)


def mac_attributes_of_a_scan(path: Path) -> Path:
    _written(path / "._a.npz.part.journal", MAC)
    return _written(path / "._a.npz.part", MAC)


def mac_attributes_of_a_journal(path: Path) -> Path:
    return _written(path / "._a.npz.part.journal", MAC)


def a_download(path: Path) -> Path:
    return _written(path / "setup.exe.part", b"MZ" + bytes(1000))


def a_download_just_begun(path: Path) -> Path:
    return _written(path / "setup.exe.part", b"")


def a_download_of_an_npz(path: Path) -> Path:
    made = savez(path)
    return made.rename(path / "theirs.npz.part")


def another_programs_journal(path: Path) -> Path:
    return _written(path / "chapter.part.journal", b"day one: nothing happened")


FOREIGN_FILES = [
    savez,
    savez_of_data,
    savez_that_was_cut,
    savez_with_objects,
    mac_attributes_of_an_export,
    mac_attributes_of_a_scan,
    mac_attributes_of_a_journal,
    a_download,
    a_download_just_begun,
    a_download_of_an_npz,
    another_programs_journal,
]
COMMANDS = [("ls",), ("info",), ("verify",), ("recover", "--dry-run"), ("recover",)]
commands = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@commands
@pytest.mark.parametrize("make", FOREIGN_FILES, ids=lambda make: make.__name__.replace("_", " "))
def test_a_file_of_another_is_said_and_is_no_problem(
    tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]
) -> None:
    """Both if it is found below a folder and if it is named itself. It is left as it is."""
    path = make(tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    for asked in [path] if words == ("info",) else [path, tmp_path]:
        code, text = call(*words, asked)
        assert code == 0
        assert "damaged" not in text
        assert path.name in text or asked == tmp_path
        assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


@pytest.mark.parametrize("make", FOREIGN_FILES, ids=lambda make: make.__name__.replace("_", " "))
def test_the_state_of_a_file_of_another_is_foreign(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    listed = {entry.path: (entry.state, entry.problem) for entry in list_scans(tmp_path)}
    assert listed[path] == ("foreign", False)
    assert lys_storage.verify(tmp_path) == []


# -- damaged files are a problem ---------------------------------------------------------------------------------------


def an_export(path: Path) -> Path:
    with lys_storage.create(path / "a.npz", (4, 3), "u2", axes=[np.arange(4), None]) as scan:
        scan[...] = np.ones((4, 3), "u2")
    return scan.path


def an_export_that_was_cut(path: Path) -> Path:
    export = an_export(path)
    return _written(export, export.read_bytes()[:-40])


def an_export_whose_header_has_changed(path: Path) -> Path:
    export = an_export(path)
    content = bytearray(export.read_bytes())
    content[content.index(b"<u2")] = ord(">")
    return _written(export, bytes(content))


def an_export_whose_note_has_changed(path: Path) -> Path:
    with lys_storage.create(path / "a.npz", (2,), "u1", note={"sample": "TaS2"}) as scan:
        scan[...] = np.ones(2, "u1")
    return _written(scan.path, scan.path.read_bytes().replace(b"TaS2", b"TaSe"))


def an_export_of_lys_that_was_cut(path: Path) -> Path:
    export = path / "lys.npz"
    axes = np.empty(1, object)
    np.savez_compressed(export, data=np.ones(4), axes=axes, note=np.array({}), allow_pickle=False)
    return _written(export, export.read_bytes()[:-40])


def an_empty_npz(path: Path) -> Path:
    return _written(path / "a.npz", b"")


def a_scan_whose_journal_is_rubbish(path: Path) -> Path:
    part = interrupt(path / "a.npz")
    journal_path(part).write_bytes(b"rubbish")
    return part


def a_scan_without_its_journal(path: Path) -> Path:
    part = interrupt(path / "a.npz")
    journal_path(part).unlink()
    return part


def a_scan_without_axes_and_note(path: Path) -> Path:
    part = interrupt(path / "a.npz")
    journal = bytearray(journal_path(part).read_bytes())
    journal[512:544] = journal[1024:1056] = bytes(32)
    journal_path(part).write_bytes(journal)
    return part


def a_scan_with_the_journal_of_another(path: Path) -> Path:
    part, other = interrupt(path / "a.npz"), interrupt(path / "there" / "a.npz", shape=(5, 2))
    journal_path(other).replace(journal_path(part))
    other.unlink()
    return part


DAMAGED_FILES = [
    an_export_that_was_cut,
    an_export_whose_header_has_changed,
    an_export_whose_note_has_changed,
    an_export_of_lys_that_was_cut,
    an_empty_npz,
    a_scan_whose_journal_is_rubbish,
    a_scan_without_its_journal,
    a_scan_without_axes_and_note,
    a_scan_with_the_journal_of_another,
]


@commands
@pytest.mark.parametrize("make", DAMAGED_FILES, ids=lambda make: make.__name__.replace("_", " "))
def test_a_damaged_file_of_ours_is_a_problem_for_each_command_that_speaks_of_it(
    tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]
) -> None:
    """It exits with 1, names the file once, and changes nothing."""
    path = make(tmp_path)
    before = path.read_bytes()
    for asked in [path] if words == ("info",) else [path, tmp_path]:
        if words[0] == "recover" and path.suffix == ".npz" and asked == tmp_path:
            continue  # it does not report exports
        code, text = call(*words, asked)
        assert code == 1, text
        said = [line for line in text.splitlines() if str(path) in line]
        assert said, text
        assert [line for line in said if line.count(str(path)) != 1 and "journal" not in line] == []
    assert path.read_bytes() == before


def test_an_export_of_lys_with_a_flipped_byte_in_its_directory_is_not_taken_for_anothers(tmp_path: Path) -> None:
    """The damaged byte can be in one of its names."""
    path = tmp_path / "a.npz"
    axes = np.empty(1, object)
    np.savez_compressed(path, data=np.arange(4.0), axes=axes, note=np.array({}), allow_pickle=False)
    whole = path.read_bytes()
    overlooked = []
    for at in range(whole.index(b"PK\1\2"), len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        if lys_storage.verify(tmp_path) == []:
            with lys_storage.open_wave(path) as wave:  # it is sound
                assert wave.data.tolist() == [0, 1, 2, 3]
            overlooked.append(at)
    assert len(overlooked) < 120, "times, versions and attributes of members are all that may change"


# -- a dry run predicts the recovery -----------------------------------------------------------------------------------


def a_sound_scan(path: Path) -> Path:
    return interrupt(path / "a.npz")


def a_scan_whose_name_is_taken(path: Path) -> Path:
    part = interrupt(path / "a.npz")
    np.savez(path / "a.npz", a=np.ones(2))
    return part


def a_scan_just_begun(path: Path) -> Path:
    return _written(path / "a.npz.part", b"")


def a_journal_alone(path: Path) -> Path:
    part = interrupt(path / "a.npz")
    part.unlink()
    return part


@pytest.mark.parametrize(
    "make",
    [a_sound_scan, a_scan_whose_name_is_taken, a_scan_just_begun, a_journal_alone, a_download, *DAMAGED_FILES[5:]],
    ids=lambda make: make.__name__.replace("_", " "),
)
def test_a_dry_run_has_the_exit_code_of_the_recovery(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """It changes nothing."""
    path = make(tmp_path)
    before = files(tmp_path)
    code, _ = call("recover", "--dry-run", tmp_path)
    named, _ = call("recover", "--dry-run", path)
    assert files(tmp_path) == before
    assert (code, named) == (call("recover", tmp_path)[0],) * 2


def test_a_scan_that_has_only_just_begun_is_not_damaged(tmp_path: Path) -> None:
    """Between the claim of its name and its first byte it has neither a journal nor a header. Without a lock it may be
    another's."""
    part = _written(tmp_path / "a.npz.part", b"")
    assert states(tmp_path) == {"a.npz.part": "foreign"}
    assert lys_storage.verify(tmp_path) == []
    file = File.open(part, writable=True)
    file.try_lock()
    assert states(tmp_path) == {"a.npz.part": "running"}
    assert call("ls", tmp_path)[0] == 0
    file.close()


# -- folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["ls", "verify", "recover"])
def test_an_empty_folder_is_said(tmp_path: Path, word: str) -> None:
    """Otherwise a misspelt name of another folder would look like a folder without problems."""
    code, text = call(word, tmp_path)
    assert (code, text.count(str(tmp_path))) == (0, 1)


def test_sizes_are_those_of_the_file_and_of_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    """ls and info show both, and agree."""
    part = interrupt(tmp_path / "data.npz", shape=(4, 100_000), frames=(0,))
    stat = part.stat()
    (entry,) = list_scans(tmp_path)
    assert entry.size_bytes == stat.st_size
    assert entry.allocated_bytes == (stat.st_blocks * 512 if hasattr(stat, "st_blocks") else None)
    _, text = call("info", part)
    assert f"size             {stat.st_size:,} bytes" in text
    on_disk = "" if entry.allocated_bytes is None else f"on disk          {entry.allocated_bytes:,} bytes"
    assert on_disk in text
    assert ("on disk" in text) == bool(on_disk)
