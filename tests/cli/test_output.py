"""Output never stops the work: a command does all of its work, even if its output fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import lys_storage
from lys_storage.cli import main
from lys_storage.cli import output as output_module
from tests.conftest import child_environment
from tests.helpers import files, interrupt
from tests.systems import not_on_windows

COMMAND = (sys.executable, "-m", "lys_storage")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the names and devices are Linux's")


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `lys-storage` in a child process."""

    def begin(*words: object, variables: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        environment = child_environment(tmp_path) | (variables or {})
        return subprocess.Popen([*COMMAND, *map(str, words)], env=environment, **options)

    return begin


def scans(folder: Path, names: list[str]) -> set[str]:
    """Make interrupted scans of these names. Returns the names of their later exports."""
    for name in names:
        interrupt(folder / f"{name}.npz")
    return {f"{name}.npz" for name in names}


# -- characters that an encoding does not have -------------------------------------------------------------------------

NAMES = ["plain", "été", "試料", "Ω→😀"]
ENCODINGS: dict[str, dict[str, str]] = {
    "cp932": {"PYTHONIOENCODING": "cp932"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C locale": {"LC_ALL": "C"},
    "UTF-8": {"PYTHONIOENCODING": "utf-8"},
}
encodings = pytest.mark.parametrize("variables", ENCODINGS.values(), ids=ENCODINGS.keys())


@encodings
def test_every_scan_is_recovered_whatever_the_encoding_of_the_output(
    tmp_path: Path, start: Callable[..., Any], variables: dict[str, str]
) -> None:
    """Characters that the encoding does not have are escaped."""
    folder = tmp_path / "run"
    exports = scans(folder, NAMES)
    child = start("recover", folder, variables=variables)
    out, err = child.communicate()
    assert (child.returncode, err, out.count(b"exported with 2 of 4 frames")) == (0, b"", len(NAMES))
    assert files(folder) == exports
    for word in ("ls", "verify"):
        child = start(word, folder, variables=variables)
        out, err = child.communicate()
        assert (child.returncode, err) == (0, b"")
        assert len(out.splitlines()) == len(NAMES) + (word == "ls")


@linux
def test_a_scan_whose_name_this_system_cannot_write_does_not_keep_the_others(
    tmp_path: Path, start: Callable[..., Any]
) -> None:
    """Without the UTF-8 mode of Python a C locale has ASCII names only. This is reported, and the scan is unchanged."""
    folder = tmp_path / "run"
    scans(folder, ["a", "été", "z"])
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    child = start("recover", folder, variables=variables)
    out, err = child.communicate()
    assert (child.returncode, err, out.count(b"exported with 2 of 4 frames")) == (1, b"", 2)
    assert b"set LC_ALL=C.UTF-8" in out
    assert files(folder) == {"a.npz", "z.npz", "été.npz.part", "été.npz.part.journal"}
    assert lys_storage.recover(folder)[0].path == folder / "été.npz"


@linux
@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "utf-8"}, {"PYTHONIOENCODING": "ascii"}], ids=["UTF-8", "ascii"]
)
def test_names_that_are_not_utf8_are_looked_at_and_said(
    tmp_path: Path, start: Callable[..., Any], variables: dict[str, str]
) -> None:
    """The exports come from another system. The other scans below the folder are recovered."""
    folder = tmp_path / "run"
    scans(folder, ["a", "z"])
    with lys_storage.create(tmp_path / "made.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    odd = os.path.join(os.fsencode(folder), b"m\xe9sure.npz")
    os.rename(scan.path, odd)
    for words in (("ls",), ("verify",), ("recover",), ("ls", "--json"), ("verify", "--json")):
        child = start(*words, folder, variables=variables)
        out, err = child.communicate()
        assert (child.returncode, err) == (0, b"")
        assert b"\\udce9" in out or words == ("recover",)
    assert [os.fsdecode(name) for name in sorted(os.listdir(os.fsencode(folder)))] == [
        "a.npz",
        "m\udce9sure.npz",
        "z.npz",
    ]
    child = start("info", os.fsdecode(odd), variables=variables)
    out, err = child.communicate()
    assert (child.returncode, err) == (0, b"")


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path) -> None:
    """A name or a note can hold escape sequences, or a newline that looks like the line of another file."""
    assert output_module.printable("a\x1b[31m\nb\u202e\u2028é 試\u3000") == "a\\x1b[31m\\nb\\u202e\\u2028é 試\u3000"
    assert output_module.printable("a\nb\r", keep="\n") == "a\nb\\r"


# -- an output that fails ----------------------------------------------------------------------------------------------

MANY = [f"data_{k:02}" for k in range(20)]


@pytest.mark.parametrize(
    "output",
    [
        "a reader that goes",
        *(pytest.param(each, marks=linux) for each in ("a full device", "no stdout", "no stderr either")),
    ],
)
def test_every_scan_is_recovered_though_nobody_takes_the_output(
    tmp_path: Path, start: Callable[..., Any], output: str
) -> None:
    """`| head -1`, `> /dev/full`, `>&-`. Exit code and stderr report only the loss of output that was wanted."""
    folder = tmp_path / "run"
    exports = scans(folder, MANY)
    if output == "a reader that goes":
        child = start("recover", folder)
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        err = child.stderr.read()
        expected = (0, b"")
    elif output == "a full device":
        with open("/dev/full", "wb") as full:
            child = start("recover", folder, stdout=full)
        err = child.stderr.read()
        expected = (1, b"the output could not be written: No space left on device\n")
    else:
        close = "exec >&- 2>&-" if "stderr" in output else "exec >&-"
        words = " ".join([*COMMAND, "recover", str(folder)])
        child = subprocess.Popen(
            ["sh", "-c", f"{close}; {words}"], env=child_environment(tmp_path), stderr=subprocess.PIPE
        )
        err = child.stderr.read()
        expected = (0, b"")
    child.stderr.close()
    assert (child.wait(), err) == expected
    assert files(folder) == exports


@linux
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("ls", "{}"),
        ("verify", "{}"),
        ("info", "{}/a.npz"),
        ("ls", "--json", "{}"),
        ("ls", "nowhere"),
    ],
    ids=" ".join,
)
def test_no_command_ends_in_a_traceback_on_a_full_device(
    tmp_path: Path, start: Callable[..., Any], words: tuple[str, ...]
) -> None:
    """The exit code is not 120 either, which the interpreter gives if the output fails at exit."""
    interrupt(tmp_path / "run" / "a.npz")
    lys_storage.recover(tmp_path / "run")
    with open("/dev/full", "wb") as full:
        child = start(*(word.format(tmp_path / "run") for word in words), stdout=full)
    _, err = child.communicate()
    assert child.returncode == (2 if words[-1] == "nowhere" else 1)
    assert b"Traceback" not in err
    with open("/dev/full", "wb") as full:
        child = start(*(word.format(tmp_path / "run") for word in words), stdout=full, stderr=full)
    child.communicate()
    assert child.returncode == (2 if words[-1] == "nowhere" else 1)


# -- JSON --------------------------------------------------------------------------------------------------------------

KEYS = {"path", "part", "state", "shape", "dtype", "frames_written", "frames_expected"} | {
    *("size_bytes", "allocated_bytes", "changed", "message", "error")
}


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def the_json(result: Result) -> Any:
    return json.loads(result.stdout)


def test_the_json_of_each_command_has_the_same_keys(tmp_path: Path) -> None:
    """Each key has one meaning: `path` is the file that is reported, `part` the scan file."""
    part = interrupt(tmp_path / "data.npz")
    (listed,) = the_json(invoke("ls", "--json", tmp_path))
    (verified,) = the_json(invoke("verify", "--json", part))
    (tried,) = the_json(invoke("recover", "--dry-run", "--json", tmp_path))
    shown = the_json(invoke("info", "--json", part))
    resumed = the_json(invoke("resume", "--json", part))
    (recovered,) = the_json(invoke("recover", "--json", tmp_path))
    export = the_json(invoke("info", "--json", tmp_path / "data.npz"))
    assert set(listed) == set(verified) == set(tried) == set(recovered) == KEYS
    for one in (shown, resumed, export, *the_json(invoke("check-disk", "--json", tmp_path))):
        assert set(one) > KEYS
    for one in (listed, verified, tried, shown, resumed):
        assert (one["path"], one["part"], one["state"]) == (str(part), str(part), "interrupted")
    assert (recovered["path"], recovered["part"], recovered["state"]) == (
        str(tmp_path / "data.npz"),
        str(part),
        "finalized",
    )
    assert (export["path"], export["part"], export["state"]) == (str(tmp_path / "data.npz"), None, "finalized")
    for one in (listed, verified, shown, resumed, export):
        assert (one["shape"], one["dtype"], one["frames_written"], one["frames_expected"]) == ([4, 3], "uint16", 2, 4)
    for one in (listed, verified, tried, shown, resumed, recovered, export):
        assert one["error"] is None


def test_info_of_a_scan_in_progress_tells_what_it_is(tmp_path: Path) -> None:
    """It gives shape, dtype, frames, start, writer, axes and note."""
    part = interrupt(tmp_path / "data.npz", axes=[np.arange(4) / 2, None], note={"sample": "TaS2"})
    shown = the_json(invoke("info", "--json", part))
    assert (shown["shape"], shown["dtype"], shown["grid_shape"], shown["note"]) == (
        [4, 3],
        "uint16",
        [4],
        {"sample": "TaS2"},
    )
    assert shown["axes"] == ["0.0 ... 1.5 (4 points)", "0.0 ... 2.0 (3 points)"]
    assert shown["started"].startswith("20")
    assert shown["writer"]
    text = invoke("info", part).stdout
    for words in ("(4, 3)", "uint16", "started", "writer", "axis 0", "TaS2", "frames written   2"):
        assert words in text


BROKEN: dict[str, tuple[tuple[str, ...], int]] = {
    "a file that is not there": (("verify", "{}/nowhere.npz"), 2),
    "a folder that is not there": (("ls", "{}/nowhere"), 2),
    "a scan that is not there": (("resume", "{}/nowhere.npz"), 2),
    "recover nothing": (("recover", "{}/nowhere"), 2),
    "info of nothing": (("info", "{}/nowhere.npz"), 2),
    "info of a folder": (("info", "{}/"), 2),
    "a disk that is not there": (("check-disk", "{}/nowhere"), 2),
    "an option that is not there": (("ls", "--colour", "{}"), 2),
    "no argument": (("verify",), 2),
    "a damaged export": (("info", "{}/bad.npz"), 1),
    "a damaged export is listed": (("ls", "{}/bad.npz"), 1),
    "a damaged export is verified": (("verify", "{}/bad.npz"), 1),
    "a damaged scan": (("resume", "{}/bad.npz.part"), 1),
    "a finished scan": (("resume", "{}/good.npz"), 1),
    "a text file": (("recover", "{}/text.txt"), 1),
    "a text file is to go on": (("resume", "{}/text.txt"), 1),
}


@pytest.mark.parametrize(("words", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_command_that_fails_prints_json_with_the_error_all_the_same(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    """A reader of the JSON does not need stderr."""
    (tmp_path / "bad.npz").write_bytes(b"rubbish")
    (tmp_path / "bad.npz.part").write_bytes(b"rubbish")
    (tmp_path / "bad.npz.part.journal").write_bytes(b"rubbish")
    (tmp_path / "text.txt").write_bytes(b"hello")
    with lys_storage.create(tmp_path / "good.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    before = files(tmp_path)
    result = invoke(*(word.format(tmp_path) for word in words), "--json")
    assert result.exit_code == code
    found = the_json(result)
    (one,) = found if isinstance(found, list) else [found]
    assert set(one) >= KEYS
    assert one["error"]
    assert isinstance(found, dict) == (words[0] in ("info", "resume"))
    plain = invoke(*(word.format(tmp_path) for word in words))
    assert plain.exit_code == code
    assert "Traceback" not in plain.output
    assert plain.output.count(f"{tmp_path}{os.sep}") <= 1, "a path stands there twice"
    assert files(tmp_path) == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "words", [("resume", "run/a.npz"), ("resume", "run/b.npz"), ("recover", "run"), ("verify", "run")], ids=" ".join
)
def test_a_path_that_was_given_from_here_on_does_not_stand_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """The absolute path does not appear either."""
    interrupt(tmp_path / "run" / "a.npz").with_name("a.npz.part.journal").write_bytes(b"rubbish")
    with lys_storage.create(tmp_path / "run" / "b.npz", (2,), "u1") as scan:
        scan[...] = np.ones(2, "u1")
    monkeypatch.chdir(tmp_path)
    result = invoke(*words)
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if not line.endswith("sound")]
    assert line.count(f"run{os.sep}") == 1


def test_an_export_is_named_as_its_folder_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed path begins with the path that was typed."""
    interrupt(tmp_path / "run" / "a.npz")
    monkeypatch.chdir(tmp_path)
    assert invoke("recover", "run").output == f"run{os.sep}a.npz: exported with 2 of 4 frames\n"


def test_counts_that_are_not_known_are_null(tmp_path: Path) -> None:
    """0 would mean a scan without frames."""
    (tmp_path / "setup.exe.part").write_bytes(b"MZ")
    (one,) = the_json(invoke("recover", "--json", tmp_path))
    assert (one["state"], one["frames_written"], one["frames_expected"]) == ("foreign", None, None)


def test_numbers_that_json_does_not_have_are_text(tmp_path: Path) -> None:
    """Other readers refuse JSON with Infinity and NaN."""
    part = interrupt(tmp_path / "data.npz", note={"a": float("nan"), "b": [float("inf")]})
    result = invoke("info", "--json", part)
    assert json.loads(result.stdout, parse_constant=pytest.fail)["note"] == {"a": "nan", "b": ["inf"]}


# -- options -----------------------------------------------------------------------------------------------------------


def test_what_recover_is_asked_for_reaches_the_recovery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lys_storage.cli import commands as commands_module

    asked: list[Any] = []
    monkeypatch.setattr(commands_module, "recover", lambda *args, **options: asked.append((args, options)) or [])
    names = ["dry_run", "verify", "keep_doubtful"]
    for name in names:
        assert invoke("recover", f"--{name.replace('_', '-')}", tmp_path).exit_code == 0
        options = asked[-1][1]
        assert {name: options[name] for name in names} == {other: other == name for other in names}
        assert options["incomplete"] == "fill"
    for option in ("--trim", "--incomplete=trim"):
        assert invoke("recover", option, tmp_path).exit_code == 0
        assert asked[-1][1]["incomplete"] == "trim"


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------

INTERRUPTED_AT = {
    "ls": ("list_scans", ("ls", "{}")),
    "info": ("list_scans", ("info", "{}/a.npz.part")),
    "verify": ("verify_each", ("verify", "{}")),
    "recover": ("recover", ("recover", "{}")),
    "resume": ("resume", ("resume", "{}/a.npz.part")),
    "check-disk": ("check_disk", ("check-disk", "{}")),
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "JSON"])
@pytest.mark.parametrize(("function", "words"), INTERRUPTED_AT.values(), ids=INTERRUPTED_AT.keys())
def test_ctrl_c_ends_a_command_in_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, words: tuple[str, ...], as_json: bool
) -> None:
    """The exit code is 130, and the results so far are printed."""
    from lys_storage.cli import commands as commands_module

    exports = scans(tmp_path, ["a", "b"])
    real = getattr(commands_module, function)

    def interrupted(*args: Any, **options: Any) -> Iterator[Any]:
        if function == "recover":
            options["on_result"] = stop_after(options["on_result"])
        elif function == "resume":
            raise KeyboardInterrupt
        found = real(*args, **options)
        return (stop(one) for one in found)

    def stop(one: Any) -> Any:
        raise KeyboardInterrupt

    def stop_after(done: Callable[[Any], None]) -> Callable[[Any], None]:
        def tell(result: Any) -> None:
            done(result)
            raise KeyboardInterrupt

        return tell

    monkeypatch.setattr(commands_module, function, interrupted)
    result = invoke(*(word.format(tmp_path) for word in words), *(["--json"] if as_json else []))
    assert result.exit_code == 130
    assert result.stderr.startswith("stopped; ")
    assert result.stderr.count("\n") == 1
    if as_json:
        found = the_json(result)
        last = found[-1] if isinstance(found, list) else found
        assert last["error"].startswith("stopped; ")
    monkeypatch.undo()
    assert lys_storage.verify(tmp_path) == []
    lys_storage.recover(tmp_path)
    assert files(tmp_path) == exports


@not_on_windows("no signal can be sent to one process")
def test_a_real_ctrl_c_ends_recover_without_a_traceback(tmp_path: Path, start: Callable[..., Any]) -> None:
    """SIGINT comes during the second of many scans. A second run recovers the rest."""
    import signal

    folder = tmp_path / "run"
    exports = scans(folder, MANY)
    child = start("recover", folder)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert child.returncode in (0, 130)  # 0: it had finished already
    assert b"Traceback" not in err
    assert err in (b"", b"stopped; no frame is lost; run it again to continue\n")
    assert start("recover", folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait() == 0
    assert files(folder) == exports


FOREIGN_INFO = [
    pytest.param('{"frames_expected": 5}', None, id="one alone"),
    pytest.param('{"frames_written": 1}', None, id="the other alone"),
    pytest.param('{"frames_written": "1", "frames_expected": "5"}', None, id="text"),
    pytest.param('{"frames_written": {}, "frames_expected": [5]}', None, id="containers"),
    pytest.param('{"frames_written": NaN, "frames_expected": Infinity}', None, id="no numbers"),
    pytest.param('{"frames_written": 1.0, "frames_expected": 5.5}', None, id="fractions"),
    pytest.param('{"frames_written": true, "frames_expected": true}', None, id="bools"),
    pytest.param('{"frames_written": -1, "frames_expected": 5}', None, id="negative"),
    pytest.param('{"frames_written": 0, "frames_expected": 5}', 5, id="whole numbers"),
]


@pytest.mark.parametrize(("info", "expected"), FOREIGN_INFO)
def test_counts_of_another_program_end_no_listing(tmp_path: Path, info: str, expected: int | None) -> None:
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, data=np.zeros(2))
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("acquisition.json", info)
    interrupt(tmp_path / "data.npz")
    listed = invoke("ls", tmp_path)
    assert (listed.exit_code, "foreign.npz" in listed.output, "data.npz.part" in listed.output) == (0, True, True)
    assert ("0 of 5" in listed.output) == (expected is not None)
    assert invoke("info", foreign).exit_code == 0

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for words in (("ls", "--json", tmp_path), ("info", "--json", foreign), ("verify", "--json", foreign)):
        found = json.loads(invoke(*words).stdout, parse_constant=refuse)
        (one,) = (one for one in (found if isinstance(found, list) else [found]) if "foreign" in one["path"])
        assert one["frames_expected"] == expected


def test_a_name_is_printed_as_it_is(tmp_path: Path) -> None:
    """rich would convert a word between colons to an emoji, and a word in brackets to a style."""
    name = "T:100:K:smile:[bold].npz" if os.name != "nt" else "[bold].npz"
    lys_storage.create(tmp_path / name, (1,), fill_value=0).close()
    assert name in invoke("ls", tmp_path).output


def test_what_is_no_scan_is_not_called_a_finished_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"hello")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(2))
    for name in ("notes.txt", "foreign.npz"):
        result = invoke("resume", tmp_path / name)
        assert (result.exit_code, "there is no scan to resume" in result.output, "is finished" in result.output) == (
            1,
            True,
            False,
        )
