"""`lys-storage preview`: names of files, options, exit codes, and what an interrupt leaves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import lys_storage
from lys_storage import preview as preview_module
from lys_storage.cli import main
from lys_storage.disk.systems import SYSTEM
from tests.helpers import files, interrupt, press_ctrl_c, some, takes_ctrl_c
from tests.preview.sources import write_scan, write_sparse

pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'lys_storage[plot]'")
KEYS = {"picture", "frame", "sampled", "map_index", "map_shape"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is another one than that of the scans."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def invoke(*words: object) -> Result:
    result = CliRunner().invoke(main, ["preview", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [True, False], ids=["export", "interrupted"])
def test_the_picture_has_the_name_of_the_scan_and_is_in_the_current_folder(
    tmp_path: Path, here: Path, close: bool
) -> None:
    """So it can be drawn of scans in a folder without write permission."""
    path = write_scan(tmp_path / "run" / "data_3.npz", some((2, 3, 4, 5), "u2"), 2, missing={5}, close=close)
    before = files(tmp_path / "run")
    result = invoke(path)
    state = "" if close else "interrupted scan: "
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"data_3.png: frame 1,1; {state}5 of 6 frames written\n"
    assert is_png(here / "data_3.png")
    assert (files(here), files(tmp_path / "run")) == ({"data_3.png"}, before)


def test_a_scan_in_progress_is_found_by_its_final_name(tmp_path: Path, here: Path) -> None:
    with lys_storage.create(tmp_path / "a.npz", (4, 3), "u2", grid_ndim=1) as scan:
        scan[0] = np.ones(3, "u2")
        result = invoke(tmp_path / "a.npz")
        assert result.stdout == "a.png: frame 0; scan in progress: 1 of 4 frames written\n"
        scan[1] = np.ones(3, "u2")
    assert lys_storage.verify(tmp_path / "a.npz") == []
    assert is_png(here / "a.png")


def test_the_picture_can_have_another_name_or_folder(tmp_path: Path, here: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    (tmp_path / "pictures").mkdir()
    assert invoke(path, tmp_path / "x.PNG").exit_code == 0
    assert invoke(path, tmp_path / "pictures").exit_code == 0
    assert is_png(tmp_path / "x.PNG")
    assert is_png(tmp_path / "pictures" / "a.png")
    assert files(here) == set()


def test_no_file_is_replaced_unless_it_is_asked_for(tmp_path: Path, here: Path) -> None:
    """Neither a picture nor, by a second name on the command line, a scan."""
    path = write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    (here / "a.png").write_bytes(b"mine")
    result = invoke(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "a.png: exists already: give --overwrite to replace it, or another name\n"
    assert (here / "a.png").read_bytes() == b"mine"
    assert invoke(path, "--overwrite").exit_code == 0
    assert is_png(here / "a.png")
    content = path.read_bytes()
    refused = invoke(path, path, "--overwrite")
    assert (refused.exit_code, "does not end in .png" in refused.stderr) == (2, True)
    assert (path.read_bytes(), files(here)) == (content, {"a.png"})


def test_a_folder_that_cannot_take_the_picture_is_an_error(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    result = invoke(path, tmp_path / "nowhere" / "a.png")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    with pytest.raises(FileNotFoundError) as caught:
        SYSTEM.open_file(tmp_path / "nowhere" / "a.png", os.O_RDWR | os.O_CREAT)
    assert str(caught.value.strerror) in result.stderr


# -- options -----------------------------------------------------------------------------------------------------------


def test_the_frame_is_chosen_by_its_index(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((3, 4, 5), "u2"), 2, missing={2})
    assert "frame 2,0" in invoke(path, "x.png", "--frame", "2,0").stdout
    assert "frame 2,3" in invoke(path, "y.png", "--frame", "-1,-1").stdout
    for index, code, words in (
        ("0,2", 1, "frame 0,2 has not been written"),
        ("0,9", 2, "out of range"),
        ("1", 2, "has 1 entries"),
        ("a", 2, "write whole numbers and commas"),
    ):
        result = invoke(path, "z.png", "--frame", index)
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
        assert not Path("z.png").exists()


def test_options_reach_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    for name in ("survey", "draw"):
        real = getattr(preview_module, name)

        def spy(*args: Any, _real: Any = real, **options: Any) -> Any:
            asked.append(options)
            return _real(*args, **options)

        monkeypatch.setattr(preview_module, name, spy)
    np.savez(tmp_path / "a.npz", data=some((3, 4, 5, 6), "u2"))
    assert invoke(tmp_path / "a.npz", "--log", "--full", "--grid-ndim", "1").exit_code == 0
    assert invoke(tmp_path / "a.npz", "--linear", "--overwrite").exit_code == 0
    assert [one["whole"] for one in asked[::2]] == [True, False]
    assert [one["log"] for one in asked[1::2]] == [True, False]


def test_the_help_names_every_option() -> None:
    result = invoke("--help")
    for word in (
        "--frame",
        "--log",
        "--linear",
        "--full",
        "--grid-ndim",
        "--overwrite",
        "--json",
        "hatched",
        "FILE [OUT]",
    ):
        assert word in result.stdout


# -- JSON and errors ---------------------------------------------------------------------------------------------------


def test_the_json_tells_what_was_drawn(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "a.npz", some((2, 3, 4, 600, 10), "u2"), 3, missing={0}, close=False)
    one = json.loads(invoke(path, "--json").stdout)
    common = json.loads(CliRunner().invoke(main, ["ls", "--json", str(path)]).stdout)[0]
    assert set(one) == set(common) | KEYS
    assert (one["path"], one["part"], one["state"], one["error"]) == (str(path), str(path), "interrupted", None)
    assert (one["shape"], one["dtype"]) == ([2, 3, 4, 600, 10], "uint16")
    assert (one["frames_written"], one["frames_expected"]) == (23, 24)
    assert (one["picture"], one["frame"], one["map_index"], one["map_shape"]) == ("a.png", [1, 2, 3], [1], [3, 4])
    assert one["sampled"] == ["frame: mean of 2 × 1 pixels"]


BROKEN = {
    "nothing": ("nowhere.npz", 2),
    "a folder": ("run", 2),
    "a damaged export": ("bad.npz", 1),
    "text": ("text.npz", 1),
    "no frame": ("empty.npz", 1),
}


@pytest.mark.parametrize(("name", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_an_error_is_one_line_or_json_and_leaves_no_file(tmp_path: Path, here: Path, name: str, code: int) -> None:
    (tmp_path / "bad.npz").write_bytes(b"rubbish")
    (tmp_path / "run").mkdir()
    np.savez(tmp_path / "text.npz", data=np.array(["a"]))
    interrupt(tmp_path / "empty.npz", frames=())
    plain = invoke(tmp_path / name)
    assert (plain.exit_code, plain.stdout) == (code, "")
    assert plain.stderr.count(f"{tmp_path}") == 1
    result = invoke(tmp_path / name, "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["error"]
    assert files(here) == set()


def test_without_matplotlib_the_error_names_the_command_that_installs_it(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    result = invoke(path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == 'matplotlib is not installed: pip install "lys_storage[plot]"\n'
    assert files(here) == set()


@pytest.mark.parametrize("where", ["survey", "draw", "png_bytes", "write_png", "in the rename"])
@pytest.mark.parametrize("exists", [False, True], ids=["a new picture", "an older one"])
def test_ctrl_c_leaves_no_half_of_a_picture(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, where: str, exists: bool
) -> None:
    """The older picture stays."""

    def stop(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    path = write_scan(tmp_path / "a.npz", some((2, 3), "u2"), 1)
    if exists:
        (here / "a.png").write_bytes(b"mine")
    if where == "in the rename":
        for name in ("publish_new", "replace_file"):
            monkeypatch.setattr(sys.modules["lys_storage.preview.write"], name, stop)
    else:
        monkeypatch.setattr(preview_module, where, stop)
    result = invoke(path, "--overwrite")
    assert (result.exit_code, result.stderr) == (130, "stopped; no picture was written\n")
    assert os.listdir(here) == (["a.png"] if exists else []), "also no hidden file"
    assert not exists or (here / "a.png").read_bytes() == b"mine"


READS_SLOWLY = """
import sys, time
from lys_storage.cli import main
from lys_storage.preview import map_reader
def slow(*args):
    print("reading", flush=True)
    while True:  # Ctrl-C comes here
        time.sleep(0.01)
map_reader._MapReader._sum_one = slow
main(["preview", sys.argv[1], "--full"])
"""


def test_a_real_ctrl_c_while_it_reads_ends_it_in_one_line(tmp_path: Path, start_child: Any) -> None:
    path = write_sparse(tmp_path / "a.npz", (3, 2000, 2000))
    child = start_child(takes_ctrl_c(READS_SLOWLY, tmp_path), path)
    assert child.stdout.readline() == "reading\n"
    press_ctrl_c(child, tmp_path)
    assert child.wait(60) == 130
    assert list(tmp_path.rglob("*.png*")) == [], "also no hidden file"


WRITES = """
import sys, numpy as np, lys_storage
with lys_storage.create("a.npz", (4, 100, 100), "u2", grid_ndim=1) as scan:
    for i in range(4):
        scan[i] = np.full((100, 100), i, "u2")
        print("wrote", flush=True)
        sys.stdin.readline()
print(lys_storage.verify("a.npz"), flush=True)
"""


def test_the_writer_in_another_process_is_not_disturbed(tmp_path: Path, here: Path, start_child: Any) -> None:
    """Each preview shows one frame more. The scan is complete and sound at the end."""
    child = start_child(WRITES)
    for count in range(1, 5):
        assert child.stdout.readline() == "wrote\n"
        result = invoke(tmp_path / "a.npz.part", "--overwrite")
        assert result.stdout == f"a.png: frame {count - 1}; scan in progress: {count} of 4 frames written\n"
        child.stdin.write("\n")
        child.stdin.flush()
    assert child.stdout.readline() == "[]\n"
    assert child.wait(60) == 0
    assert is_png(here / "a.png")
    assert files(tmp_path) == {"a.npz", "here/a.png"}
