"""The command line: its help, what it refuses, and what it imports."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lys_storage import demo
from lys_storage.cli import main


def call(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def asked(monkeypatch):
    """Record the options of the demo instead of running it."""
    demos = []
    monkeypatch.setattr(demo, "run", lambda wanted: demos.append(wanted) or 0)
    return demos


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("demo", "--help")], ids=" ".join)
def test_help_is_there(arguments):
    """Help exits with 0 and names every command."""
    result = call(*arguments)
    assert result.exit_code == 0
    assert "demo" in result.output


def test_the_help_of_demo_names_every_option_and_its_default():
    text = call("demo", "--help").output
    for option in ("--shape", "--frame", "--dtype", "--out", "--rate", "--seed"):
        assert option in text
    for default in ("32,32", "128,128", "uint16", "lys_storage_demo", "as fast as"):
        assert default in text


def test_the_version_is_told():
    """--version prints the name and the version of the program, and does nothing else."""
    result = call("--version")
    assert result.exit_code == 0
    assert result.output.startswith("lys-storage ")


def test_python_m_is_the_same_program():
    """`python -m lys_storage --help` prints the same as `lys-storage --help`."""
    child = subprocess.run([sys.executable, "-m", "lys_storage", "--help"], capture_output=True, text=True, check=True)
    assert child.stdout.startswith("Usage: lys-storage ")


def test_no_options_are_the_small_demo(asked):
    """The default is 32 x 32 frames of 128 x 128 uint16."""
    assert call("demo").exit_code == 0
    (demo,) = asked
    assert (demo.grid_shape, demo.frame_shape, demo.dtype) == ((32, 32), (128, 128), np.dtype("uint16"))
    assert (str(demo.folder), demo.rate, demo.seed) == ("lys_storage_demo", None, 0)


@pytest.mark.parametrize("arguments", [("there",), ("--out", "there")], ids=" ".join)
def test_the_folder_is_an_argument_as_for_the_other_commands(asked, arguments):
    """--out is the same, and both together are refused."""
    assert call("demo", *arguments).exit_code == 0
    assert str(asked[0].folder) == "there"
    result = call("demo", "here", "--out", "there")
    assert result.exit_code == 2
    assert "FOLDER and --out are the same" in result.output
    assert len(asked) == 1


LENGTHS = {"5": (5,), "2,3": (2, 3), " 2 , 3 ": (2, 3), "2,": (2,), "(2, 3)": (2, 3), "": (), "()": (), "[4]": (4,)}


@pytest.mark.parametrize(("text", "lengths"), LENGTHS.items(), ids=LENGTHS.keys())
def test_lengths_are_read_as_they_are_written(asked, text, lengths):
    """Integers are separated by commas, with or without brackets. An empty text is no dimension."""
    assert call("demo", "--shape", text, "--frame", text).exit_code == 0
    assert (asked[0].grid_shape, asked[0].frame_shape) == (lengths, lengths)


BAD = {
    "a word for a length": (("--shape", "a,b"), "'a,b' is not a list of lengths"),
    "a gap between commas": (("--shape", "2,,3"), "is not a list of lengths"),
    "a negative length": (("--shape", "-3,4"), "is not a list of lengths"),
    "a length of zero": (("--frame", "0,4"), "lengths are at least 1"),
    "too many dimensions": (("--shape", "1," * 33), "35 dimensions are more than"),
    "an unknown dtype": (("--dtype", "unit16"), "'unit16' is not a numpy dtype: try"),
    "a dtype that is no Python": (("--dtype", "u2,,"), "is not a numpy dtype"),
    "a dtype of objects": (("--dtype", "object"), "integer, floating or complex numbers, not object"),
    "a structured dtype": (("--dtype", "u2,u2"), "integer, floating or complex numbers"),
    "a rate of zero": (("--rate", "0"), "x>0"),
    "a negative seed": (("--seed", "-1"), "x>=0"),
    "a seed that is no number": (("--seed", "one"), "not a valid integer"),
    "an unknown option": (("--colour", "blue"), "No such option"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_option_is_refused_in_words(asked, arguments, words):
    """The exit code is 2. The message says what was given and what is expected; nothing runs."""
    result = call("demo", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert asked == []


def test_a_folder_that_is_a_file_is_refused(asked, tmp_path):
    """FOLDER and --out name a folder, which need not exist."""
    (tmp_path / "file").write_text("")
    for words in (("--out", str(tmp_path / "file")), (str(tmp_path / "file"),)):
        result = call("demo", *words)
        assert result.exit_code == 2
        assert "is a file" in result.output


def test_the_command_line_loads_neither_qt_nor_lys():
    """Help on a machine without a display imports no Qt, no lys and no matplotlib."""
    code = (
        "import sys, lys_storage.cli; "
        "print([m for m in ('PyQt6', 'PyQt5', 'qtpy', 'lys', 'matplotlib', 'rich') if m in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
