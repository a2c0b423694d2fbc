"""The whole demo: with Qt, without it, interrupted, and with faults."""

import importlib.util
import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from rich.console import Console

import lys_storage
from lys_storage.demo import SimulatedMeasurement, _check, _run
from lys_storage.demo._acquire import Interrupt
from lys_storage.demo._check import Finding, check_frames, check_with_lys, identical
from lys_storage.demo._run import Demo, run, size_text
from lys_storage.errors import BindingError, StorageOSError
from lys_storage.scan import FrameWriter
from tests.helpers import press_ctrl_c, takes_ctrl_c

WITHOUT_QT = "no Qt here: libEGL.so.1 is missing"


@pytest.fixture(params=["with Qt", "without Qt"])
def way(request, monkeypatch):
    """Both variants of the demo; without Qt, `_acquire_qt` cannot be imported."""
    if request.param == "without Qt":

        class NoQt:
            def find_spec(self, name, path=None, target=None):
                if name == "lys_storage.demo._acquire_qt":
                    raise BindingError(WITHOUT_QT)

        monkeypatch.delitem(sys.modules, "lys_storage.demo._acquire_qt", raising=False)
        monkeypatch.delattr("lys_storage.demo._acquire_qt", raising=False)
        monkeypatch.setattr(sys, "meta_path", [NoQt(), *sys.meta_path])
    else:
        request.getfixturevalue("qapp")
    return request.param


@pytest.fixture
def no_lys(monkeypatch):
    """Skip the process that imports lys, which takes seconds."""
    monkeypatch.setattr(_run, "check_with_lys", lambda path, measurement: Finding(None, "left out"))


def demo(folder, grid=(3, 4), frame=(16, 20), dtype="uint16", rate=None, seed=0):
    """The exit code and the output of the demo."""
    log = io.StringIO()
    return run(Demo(grid, frame, np.dtype(dtype), folder, rate, seed), Console(file=log, width=200)), log.getvalue()


CASES = {
    "images on a map": ((3, 4), (16, 20), "uint16"),
    "spectra on a map": ((3, 4), (50,), "float32"),
    "numbers along a line": ((9,), (), "float64"),
    "one complex image": ((), (16, 20), "complex64"),
    "one number": ((), (), "int8"),
    "a big-endian stack over delay": ((2, 2, 3), (2, 8, 9), ">u2"),
}


@pytest.mark.parametrize(("grid", "frame", "dtype"), CASES.values(), ids=CASES.keys())
def test_a_scan_is_saved_checked_and_drawn(tmp_path, way, no_lys, grid, frame, dtype):
    """The exit code is 0. The file holds every frame, the axes and the note, and the picture is beside it."""
    code, log = demo(tmp_path / "run", grid, frame, dtype)
    assert code == 0, log
    assert "all is well" in log
    assert ("the same scan runs without Qt" in log) == (way == "without Qt")
    path = tmp_path / "run" / "data_0.npz"
    expected = SimulatedMeasurement(grid, frame, dtype)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        for index in expected.indices():
            assert identical(wave.read(index), expected.frame(index))
        assert all(map(np.array_equal, wave.axes, expected.axes))
        assert expected.note.items() <= wave.note.items()
        assert wave.info["grid_shape"] == list(grid)
    if importlib.util.find_spec("matplotlib"):
        assert path.with_suffix(".png").exists()
    assert not list(path.parent.glob("*.part*"))


def test_the_end_tells_what_it_took(tmp_path, way, no_lys):
    """File, size, ingest rate, finalizing with and without the sync, and memory each have their own line."""
    _, log = demo(tmp_path)
    rows = {line[2:16].strip(): line[16:] for line in log.splitlines() if line.startswith("  ")}
    assert rows["file"] == str(tmp_path / "data_0.npz")
    assert rows["size"].endswith(" bytes)")
    assert "frames/s" in rows["ingest"]
    assert "MB/s" in rows["ingest"]
    assert rows["finalizing"].count(" ms") == 2
    assert "anonymous" in rows["memory, peak"] or "not measured" in rows["memory, peak"]
    assert rows["check"].startswith("12 frames, each identical bit for bit")
    assert len(log.splitlines()) < 25


def test_runs_into_one_folder_are_numbered(tmp_path, way, no_lys):
    """No file is replaced: each run takes the next free number."""
    for number in range(3):
        code, log = demo(tmp_path, seed=number)
        assert code == 0
        assert f"data_{number}.npz" in log
    assert sorted(p.name for p in tmp_path.glob("*.npz")) == ["data_0.npz", "data_1.npz", "data_2.npz"]


def test_a_relative_folder_is_told_in_full(tmp_path, way, no_lys, monkeypatch):
    """The printed path can be used from any folder."""
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    code, log = demo(Path("here/there"))
    assert code == 0
    assert str(tmp_path / "here" / "there" / "data_0.npz") in log


def test_a_folder_that_cannot_be_made_is_exit_code_1(tmp_path, way, no_lys):
    """The message gives the reason, and says that nothing was saved. There is no traceback."""
    (tmp_path / "file").write_text("")
    code, log = demo(tmp_path / "file" / "run")
    assert code == 1
    assert "FAILED" in log
    assert "nothing was saved" in log


def test_a_disk_that_fails_on_the_way_is_exit_code_1(tmp_path, way, no_lys, monkeypatch):
    """The detector is stopped. Earlier frames are on disk: saved, or in a scan in progress that recover finds."""
    write, written = FrameWriter.write, []

    def failing(self, index, frame, *fills):
        if len(written) == 5:
            raise StorageOSError(5, "input/output error", "data_0.npz.part")
        written.append(index)
        write(self, index, frame, *fills)

    monkeypatch.setattr(FrameWriter, "write", failing)
    code, log = demo(tmp_path, grid=(30, 30))
    monkeypatch.undo()
    assert code == 1
    assert "input/output error" in log
    if not (tmp_path / "data_0.npz").exists():
        lys_storage.recover(tmp_path)
    with lys_storage.open_wave(next(tmp_path.glob("*.npz"))) as wave:
        assert wave.info["frames_written"] == 5


def test_a_wrong_frame_is_exit_code_1(tmp_path, way, no_lys, monkeypatch):
    """One bit that differs is found, and its place is printed."""
    honest = SimulatedMeasurement.frame
    seen = set()

    def once_otherwise(self, index, out=None):
        frame = honest(self, index, out)
        if tuple(index) == (1, 2) and "first" not in seen:
            seen.add("first")
            frame[3, 4] ^= 1
        return frame

    monkeypatch.setattr(SimulatedMeasurement, "frame", once_otherwise)
    code, log = demo(tmp_path)
    assert code == 1
    assert "1 of 12 frames DIFFER from what was measured, first [(1, 2)]" in log
    assert "problems found: see above" in log


def test_the_check_tells_a_file_of_another_scan(tmp_path):
    """Another seed differs in every frame. Another dtype or shape is reported before a frame is read."""
    path = tmp_path / "data_0.npz"
    stored = SimulatedMeasurement((2, 2), (8, 8), seed=1)
    with lys_storage.create(path, stored.shape, stored.dtype, grid_ndim=2) as scan:
        for index in stored.indices():
            scan[index] = stored.frame(index)

    def check(**other):
        options = {"grid_shape": (2, 2), "frame_shape": (8, 8), "seed": 1, **other}
        return check_frames(path, SimulatedMeasurement(**options), Console(file=io.StringIO()), Interrupt())

    assert check().well
    assert check(seed=2).text.startswith("4 of 4 frames DIFFER")
    assert check(dtype="int16").text == "holds (2, 2, 8, 8) uint16, expected (2, 2, 8, 8) int16"
    assert check(frame_shape=(4, 16)).well is False


def test_a_nan_is_compared_bit_for_bit():
    """Equal NaNs are identical, a NaN with another payload is not, and 0.0 is not -0.0."""
    nan = np.array([np.nan, 1.0])
    other = nan.copy()
    other.view(np.uint8)[2] ^= 1
    assert identical(nan, nan.copy())
    assert not identical(nan, other)
    assert not identical(np.array(0.0), np.array(-0.0))
    assert not identical(np.array([1, 2]), np.array([[1, 2]]))


@pytest.mark.skipif(importlib.util.find_spec("lys") is None, reason="lys is not installed")
def test_lys_loads_the_file(tmp_path, qapp):
    """lys.Wave in its own process returns the frames, axes and note of the detector."""
    code, log = demo(tmp_path, frame=(8, 8))
    assert code == 0
    assert "loads the file; 12 frames, the axes and the note are equal" in log
    wrong = check_with_lys(tmp_path / "data_0.npz", SimulatedMeasurement((3, 4), (8, 8), seed=1))
    assert wrong.well is False
    assert "differ from what was measured" in wrong.text


@pytest.mark.parametrize(("free", "words"), [(4000, "a quarter of the 0.0 GiB free"), (None, "free memory unknown")])
def test_a_file_too_big_for_the_memory_is_not_loaded(tmp_path, monkeypatch, free, words):
    """lys.Wave loads the whole file. It is skipped above a quarter of the free memory, and the reason is printed."""
    path = tmp_path / "data_0.npz"
    path.touch()
    os.truncate(path, 1 << 30)
    monkeypatch.setattr(_check, "available_bytes", lambda: free)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    finding = check_with_lys(path, SimulatedMeasurement((2,), (2,)))
    assert finding.well is None
    assert words in finding.text


PYTHONS = {
    (3, 12): 'not tried: lys is not installed: pip install "lys_storage[lys]" (with numpy 1.26)',
    (3, 13): "not tried: lys is not installed; it needs numpy < 2, which Python 3.13 does not have: "
    "use Python 3.11 or 3.12 for it",
}


@pytest.mark.parametrize(("python", "text"), PYTHONS.items(), ids=["Python 3.12", "Python 3.13"])
def test_without_lys_it_is_said(tmp_path, monkeypatch, python, text):
    """lys cannot be installed everywhere. The file is not at fault."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", python)
    assert check_with_lys(tmp_path / "data_0.npz", SimulatedMeasurement((2,), (2,))) == Finding(None, text)


CHILDREN = {
    "that loaded it": ('{"imported": true}\n{"well": true, "text": "fine"}\n', "a warning", 0, Finding(True, "fine")),
    "that found a fault": ('{"well": false, "text": "bad"}\n', "", 0, Finding(False, "bad")),
    "that died in the import": (
        "",
        "x\nno display",
        -6,
        Finding(None, "not tried: lys cannot be imported here: no display"),
    ),
    "that died without a word": (
        *("chatter\n", "", -6),
        Finding(None, "not tried: lys cannot be imported here: its process ended with code -6"),
    ),
    "that died in lys.Wave": (
        *('{"imported": true}\n', "ValueError: no", 1),
        Finding(False, "lys.Wave could not load the file: ValueError: no"),
    ),
}


@pytest.mark.parametrize(("out", "err", "code", "finding"), CHILDREN.values(), ids=CHILDREN.keys())
def test_a_process_with_lys(out, err, code, finding):
    """The file is at fault if lys cannot load it, but not if lys cannot be imported."""
    assert _check._child_finding(out, err, code) == finding


def test_without_matplotlib_it_is_said_and_all_is_well(tmp_path, way, no_lys, monkeypatch):
    """A missing picture is not a failed scan."""
    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)

    class NoMatplotlib:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "matplotlib":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoMatplotlib(), *sys.meta_path])
    code, log = demo(tmp_path)
    assert code == 0
    assert 'not drawn: matplotlib is not installed: pip install "lys_storage[plot]"' in log


# -- as a program --------------------------------------------------------------------------------------------------


PROGRAM = "from lys_storage.cli import main; main(prog_name='lys-storage')"


def program(tmp_path, *arguments, qt=True):
    """The demo as a child process. Without Qt, both bindings fail to load as on a bare Debian."""
    paths = [os.fspath(tmp_path / "bare"), *sys.path]
    for binding in () if qt else ("PyQt6", "PyQt5"):
        (tmp_path / "bare" / binding).mkdir(parents=True)
        (tmp_path / "bare" / binding / "__init__.py").write_text(
            "raise ImportError('libEGL.so.1: cannot open shared object file: No such file or directory')"
        )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }
    environment.pop("QT_API", None)
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            takes_ctrl_c(PROGRAM, tmp_path),
            "demo",
            "--out",
            os.fspath(tmp_path / "run"),
            *arguments,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


@pytest.mark.parametrize("qt", [True, False], ids=["with Qt", "where Qt cannot be loaded"])
def test_the_demo_runs_as_a_program(tmp_path, qt):
    """The exit code is 0, also without the system libraries of Qt. The output names them and their packages."""
    with program(tmp_path, "--shape", "3,3", "--frame", "12,12", qt=qt) as child:
        out, err = child.communicate(timeout=100)
    assert child.returncode == 0, out + err
    assert "all is well" in out
    if not qt:
        assert "libEGL.so.1" in out
        assert "apt-get install" in out
        assert "the same scan runs without Qt" in out
    with lys_storage.open_wave(tmp_path / "run" / "data_0.npz") as wave:
        assert wave.info["frames_written"] == 9


@pytest.mark.parametrize("qt", [True, False], ids=["with Qt", "where Qt cannot be loaded"])
def test_ctrl_c_saves_what_came(tmp_path, qt):
    """The detector stops, the written frames are in a valid file whose name is printed, and the exit code is 130."""
    with program(tmp_path, "--shape", "10,100", "--frame", "12,12", "--rate", "40", qt=qt) as child:
        seen = ""
        while "scanning: " not in seen:
            line = child.stdout.readline()
            assert line, child.stderr.read()
            seen += line
        press_ctrl_c(child, tmp_path)
        out, err = child.communicate(timeout=100)
    assert child.returncode == 130, seen + out + err
    assert f"saved in {tmp_path / 'run' / 'data_0.npz'}" in out
    assert "Traceback" not in err
    expected = SimulatedMeasurement((10, 100), (12, 12))
    with lys_storage.open_wave(tmp_path / "run" / "data_0.npz") as wave:
        count = wave.info["frames_written"]
        assert 10 <= count < 1000
        for number, index in enumerate(expected.indices()):
            assert identical(wave.read(index), expected.frame(index) if number < count else np.zeros((12, 12), "u2"))


SIZES = {0: "0 bytes", 1023: "1023 bytes", 1024: "1.00 KiB", 8 << 30: "8.00 GiB", 5 << 40: "5.00 TiB"}


@pytest.mark.parametrize(("size", "text"), SIZES.items(), ids=SIZES.values())
def test_a_size_is_told_as(size, text):
    """Units are binary, as for memory."""
    assert size_text(size) == text
