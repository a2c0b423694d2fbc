"""Typical mistakes in a notebook give a short traceback, and a message that names each path once."""

from __future__ import annotations

import os
import pickle
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import LysStorageError, Scan, StoredWave
from tests.systems import IS_WINDOWS

CHAINS = ("direct cause of the following", "another exception occurred")


class Lab:
    """A folder with finished, running, damaged and foreign files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = self.create("finished.npz")
        self.finished[0] = 1
        self.finished.close()
        self.running = self.create("running.npz")
        self.running[0] = 1
        self.wave = lys_storage.open_wave(folder / "finished.npz")
        self.closed_wave = lys_storage.open_wave(folder / "finished.npz")
        self.closed_wave.close()
        (folder / "text.npz").write_text("hello")
        (folder / "empty.npz").touch()
        (folder / "cut.npz").write_bytes((folder / "finished.npz").read_bytes()[:600])
        np.savez(folder / "others.npz", x=1)
        np.savez(folder / "objects.npz", data=np.array([{}], dtype=object))
        hostile = np.empty(1, dtype=object)
        hostile[0] = NamesAFunction()
        np.savez(folder / "hostile.npz", data=np.zeros(3), axes=hostile)
        with zipfile.ZipFile(folder / "archive.npz", "w") as archive:
            archive.writestr("letter.txt", "hello")
        damaged = bytearray((folder / "finished.npz").read_bytes())
        damaged[self.wave._stored.offset or 0] ^= 1
        (folder / "damaged.npz").write_bytes(damaged)

    def create(self, name: str, shape: Any = (3, 4, 5), dtype: Any = "u2", **options: Any) -> Scan:
        options = {"flush_interval_s": None, "grid_ndim": 1, **options}
        return lys_storage.create(self.folder / name, shape, dtype, **options)

    def open(self, name: str, **options: Any) -> StoredWave:
        return lys_storage.open_wave(self.folder / name, **options)

    def resume(self, name: str, **options: Any) -> Scan:
        return lys_storage.resume(self.folder / name, **options)

    def put(self, index: Any, frame: Any) -> None:
        self.running[index] = frame

    def add(self, index: Any) -> None:
        self.running[index] += 1


class NamesAFunction:
    def __reduce__(self) -> Any:
        return os.getcwd, ()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.running.suspend()
    lab.wave.close()


def set_axes(lab: Lab) -> None:
    lab.running.axes = [[1.0]]


def taken_meanwhile(lab: Lab) -> None:
    (lab.folder / "running.npz").touch()
    lab.running.close()


def over_a_damaged_journal(lab: Lab) -> None:
    lab.running.suspend()
    journal = lab.folder / "running.npz.part.journal"
    journal.write_bytes(b"x" * 64 + journal.read_bytes()[64:])
    lab.resume("running.npz")


def replaced_after_the_pickle(lab: Lab) -> None:
    pickled = pickle.dumps(lab.wave)
    (lab.folder / "finished.npz").unlink()
    lab.create("finished.npz").close()
    pickle.loads(pickled)


def files_of_several_shapes(lab: Lab) -> None:
    lab.create("other.npz", (2,)).close()
    lys_storage.open_waves([lab.folder / "finished.npz", lab.folder / "other.npz"])


MISTAKES: dict[str, Callable[[Lab], Any]] = {
    "the name is taken": lambda lab: lab.create("finished.npz"),
    "the name is a scan in progress": lambda lab: lab.create("running.npz"),
    "the name is taken when it is closed": taken_meanwhile,
    "a folder for a file": lambda lab: lab.create("."),
    "a file for a folder": lambda lab: lab.create("text.npz/a.npz"),
    "no shape": lambda lab: lab.create("a.npz", "ab"),
    "a negative shape": lambda lab: lab.create("a.npz", (2, -1)),
    "no dtype": lambda lab: lab.create("a.npz", dtype="int7"),
    "a fill value that does not fit": lambda lab: lab.create("a.npz", dtype="u1", fill_value=300),
    "an axis of a wrong length": lambda lab: lab.create("a.npz", axes=[[1.0]]),
    "an axis of lists of several lengths": lambda lab: lab.create("a.npz", axes=[[[1], [2, 3], [4]]]),
    "an axis set later": set_axes,
    "a note that is text": lambda lab: lab.create("a.npz", note="hot"),
    "too large": lambda lab: lab.create("a.npz", (1 << 55,)),
    "a wrong shape": lambda lab: lab.put(1, np.zeros((4, 4), "u2")),
    "a wrong dtype": lambda lab: lab.put(1, np.zeros((4, 5))),
    "a value that does not fit": lambda lab: lab.put(1, np.full((4, 5), 70_000, "u4")),
    "a number that does not fit": lambda lab: lab.put(1, 70_000),
    "None for a frame": lambda lab: lab.put(1, None),
    "a ragged list": lambda lab: lab.put(1, [[1], [2, 3]]),
    "out of range": lambda lab: lab.put(7, 1),
    "a part of a frame": lambda lab: lab.put((1, 2), 1),
    "a mask": lambda lab: lab.put(np.ones(3, bool), 1),
    "a list of frames read": lambda lab: lab.running[[0, 1]],
    "a frame that has not come": lambda lab: lab.running[1],
    "adding to a frame that has not come": lambda lab: lab.add(1),
    "an array of a scan that is not complete": lambda lab: np.asarray(lab.running),
    "several indices": lambda lab: lab.running.read(1, 2),
    "dtype too late": lambda lab: lab.running.change_dtype("f8"),
    "discarded too late": lambda lab: lab.finished.discard(),
    "written too late": lambda lab: lab.finished.write(0, 1),
    "read too late": lambda lab: lab.finished.read(0),
    "not there": lambda lab: lab.open("nothing.npz"),
    "not there, without its suffix": lambda lab: lab.open("finished"),
    "opened while it runs": lambda lab: lab.open("running.npz"),
    "a scan file verified": lambda lab: lab.open("running.npz.part", verify=True),
    "a journal opened": lambda lab: lab.open("running.npz.part.journal"),
    "a folder opened": lambda lab: lab.open("."),
    "None opened": lambda lab: lys_storage.open_wave(None),  # type: ignore[arg-type]
    "not an npz": lambda lab: lab.open("text.npz"),
    "an empty file": lambda lab: lab.open("empty.npz"),
    "a file that was cut": lambda lab: lab.open("cut.npz"),
    "another archive": lambda lab: lab.open("archive.npz"),
    "an npz of another program": lambda lab: lab.open("others.npz"),
    "an npz of objects": lambda lab: lab.open("objects.npz"),
    "a hostile file": lambda lab: lab.open("hostile.npz"),
    "a damaged file": lambda lab: lab.open("damaged.npz", verify=True),
    "a closed wave": lambda lab: lab.closed_wave.read(0),
    "a wave out of range": lambda lab: lab.wave[9],
    "a scan pickled": lambda lab: pickle.dumps(lab.running),
    "a closed wave pickled": lambda lab: pickle.dumps(lab.closed_wave),
    "a pickle of a file that was replaced": replaced_after_the_pickle,
    "a dimension of another name": lambda lab: lab.wave.isel(z=1),
    "a coordinate between two": lambda lab: lab.wave.sel(axis_0=0.5),
    "a list of coordinates": lambda lab: lab.wave.sel(axis_0=[0, 1]),
    "one path for several": lambda lab: lys_storage.open_waves(lab.folder / "finished.npz"),  # type: ignore[arg-type]
    "files of several shapes": files_of_several_shapes,
    "no files": lambda lab: lys_storage.open_waves(lab.folder.glob("x*.npz")),
    "resumed while it runs": lambda lab: lab.resume("running.npz"),
    "resumed when finished": lambda lab: lab.resume("finished.npz"),
    "resumed and not there": lambda lab: lab.resume("nothing.npz"),
    "resumed with a damaged journal": over_a_damaged_journal,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_a_short_traceback_and_a_message_with_each_path_once(lab: Lab, mistake: str) -> None:
    with pytest.raises((LysStorageError, TypeError)) as caught:
        MISTAKES[mistake](lab)
    text = "".join(traceback.format_exception(caught.value))
    assert sum(text.count(chain) for chain in CHAINS) <= 1, text
    message = str(caught.value)
    named = {path for path in [lab.folder, *lab.folder.rglob("*")] if str(path) in message}
    for path in {str(path) for path in named} | {getattr(caught.value, "filename", None) or "nothing"}:
        assert message.count(f"{path}'") + message.count(f"{path} ") + message.count(f"{path}:") <= 1, message
    assert 20 < len(message) < 500 or "none" in mistake.lower()


SAYS_IT_ALL = [
    *(
        "not there",
        "opened while it runs",
        "a folder opened",
        "a scan file verified",
        "an empty file",
        "a hostile file",
    ),
    *(
        "the name is taken",
        "the name is a scan in progress",
        "the name is taken when it is closed",
        "no shape",
        "no dtype",
    ),
    *("a ragged list", "out of range", "a list of frames read", "a wrong shape", "resumed while it runs"),
]


@pytest.mark.parametrize("mistake", SAYS_IT_ALL)
def test_where_the_message_says_it_all_there_is_no_second_exception(lab: Lab, mistake: str) -> None:
    with pytest.raises(LysStorageError) as caught:
        MISTAKES[mistake](lab)
    text = "".join(traceback.format_exception(caught.value))
    assert [chain for chain in CHAINS if chain in text] == []


def test_an_error_of_the_system_stays_the_cause_and_keeps_its_number(lab: Lab) -> None:
    with pytest.raises(lys_storage.StorageOSError) as caught:
        lab.open("a" * 300 + ".npz" if IS_WINDOWS else "text.npz/a.npz")  # a missing file is told in other words
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.errno == caught.value.__cause__.errno
