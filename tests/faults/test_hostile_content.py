"""Hostile members of an archive: nothing in them is run, and their claims cost neither time nor memory.

Content that could kill or hang a process, or fill its memory, is opened in a child, each file in its own fork with
limits on time and memory.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.faults.pickled import Call, holding, npy_of, npy_saying, plain

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is opened in a fork")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hostile"
    made.mkdir()
    return made


def note_of(item: Any) -> dict[str, bytes]:
    return {"note.npy": holding({"k": item})}


def axis_of(item: Any) -> dict[str, bytes]:
    return {"axes.npy": holding(item, (1,))}


def shared(depth: int, width: int, kind: type = list) -> Any:
    """Nested lists that share their elements: `width ** depth` elements if they are expanded, few bytes in a file."""
    at: Any = kind([1.0] * width)
    for _ in range(depth - 1):
        at = kind([at] * width)
    return at


def holding_itself() -> list[Any]:
    inner: list[Any] = []
    inner += [inner, inner]
    return inner


def numpy_name(name: str) -> Any:
    core = np.core if np.__version__.startswith("1.") else np._core
    return getattr(core.multiarray if name != "_frombuffer" else core.numeric, name)


def rebuilt(*state: Any) -> bytes:
    """A pickle of an array with this inner state: (version, shape, dtype, Fortran order, content)."""

    class Array:
        def __reduce__(self) -> Any:
            return numpy_name("_reconstruct"), (np.ndarray, (0,), b"b"), state

    return pickle.dumps(Array(), 4)


def described(code: str, *state: Any) -> Any:
    class Dtype:
        def __reduce__(self) -> Any:
            return (np.dtype, (code, False, True), state) if state else (np.dtype, (code, False, True))

    return Dtype()


LETTERS = np.array([0x7FFFFFFF, 0x11FFFF, 65, 0xFFFFFFFF], "<u4").view("<U2")

DEEP_TUPLE = b")" + b"\x85" * 300_000

DOUBLED_TUPLE = b")" + b"".join(b"q%c0h%ch%c\x86" % (k, k, k) for k in range(100))

GLOBAL = b"c%s\n%s\n"

_RECONSTRUCT = GLOBAL % (b"numpy.core.multiarray", b"_reconstruct")

_NAME = GLOBAL % (b"os", b"getcwd")
"""A name that is no plain data: what is made by it is a text."""

_DOUBLED_CALLS = b"p0\n" + b"".join(b"0g0\n(g%d\ng%d\ng%d\ng%d\ntRp%d\n" % (*[k] * 4, k + 1) for k in range(60)) + b"."

RUNS_CODE: dict[str, dict[str, bytes]] = {
    "os.system in the note": note_of(Call(os.system, "touch executed")),
    "os.system in the axes": axis_of(Call(os.system, "touch executed")),
    "exec": note_of(Call(exec, "open('executed', 'w')")),
    "eval in a key": {"note.npy": npy_of(b'}c__builtin__\neval\n(S\'open("executed","w")\'\ntRK\x01s.')},
    "builtins.getattr": note_of(Call(getattr, "a", "upper")),
    "builtins.open": note_of(Call(open, "executed", "w")),
    "builtins.bytearray": note_of(Call(bytearray, 10**10)),
    "numpy.memmap": note_of(Call(np.memmap, "executed", "u1", "w+", 0, (10,))),
    "numpy.load": note_of(Call(np.load, "executed", None, True)),
    "a dotted name": {"note.npy": npy_of(b"\x80\x04\x8c\x08datetime\x8c\x0csys.settrace\x93.")},
    "through the old opcode INST": {"note.npy": npy_of(b"(S'touch executed'\nios\nsystem\n.")},
    "through the old opcode OBJ": {"note.npy": npy_of(b"(cos\nsystem\nS'touch executed'\no.")},
    "a persistent name": {"note.npy": npy_of(b"Pexecuted\n.")},
    "an extension code": {"note.npy": npy_of(b"\x80\x02\x82\x01.")},
    "a buffer from outside": {"note.npy": npy_of(b"\x80\x05\x97.")},
}

HOSTILE_PICKLES: dict[str, dict[str, bytes]] = {
    "a set of a huge range": note_of(Call(set, Call(range, 1 << 31))),
    "a frozenset of a huge range": note_of(Call(frozenset, Call(range, 1 << 31))),
    "a dict of a huge range": note_of(Call(__import__("collections").OrderedDict, Call(range, 1 << 31))),
    "a huge range for an axis": axis_of(Call(range, 1 << 31)),
    "huge ranges in an axis": {"axes.npy": holding([Call(range, 1 << 29)] * 4, (1,))},
    "a huge slice": note_of(Call(slice, 0, 10**13, 1)),
    "a huge bytearray": {"note.npy": npy_of(b"\x80\x05\x96" + struct.pack("<Q", 10**13) + b"abc.")},
    "a big bytearray": {"note.npy": npy_of(b"\x80\x05\x96" + struct.pack("<Q", 1 << 30) + b"abc.")},
    "bytes that are not there": {"note.npy": npy_of(b"\x80\x04\x8e" + struct.pack("<Q", 10**13) + b"abc.")},
    "text that is not there": {"note.npy": npy_of(b"\x80\x04\x8d" + struct.pack("<Q", 10**13) + b"abc.")},
    "a frame that is not there": {"note.npy": npy_of(b"\x80\x04\x95" + struct.pack("<Q", 10**13) + b"abc.")},
    "a number of many digits": {"note.npy": npy_of(b"I" + b"9" * 1_000_000 + b"\n.")},
    "a number that is not there": {"note.npy": npy_of(b"\x80\x02\x8b\xff\xff\xff\x7f.")},
    "a far place in the memo": {"note.npy": npy_of(b"N" + b"r" + struct.pack("<I", 0x0F000000) + b".")},
    "a very far place in the memo": {"note.npy": npy_of(b"N" + b"r" + struct.pack("<I", 0x7FFFFFF0) + b".")},
    "a far place in the memo, in digits": {"note.npy": npy_of(b"Np251658240\n.")},
    "a deep tuple for a key": {"note.npy": npy_of(b"}" + DEEP_TUPLE + b"K\x01s.")},
    "a deep tuple in a set": {"note.npy": npy_of(b"\x80\x04\x8f(" + DEEP_TUPLE + b"\x90.")},
    "a deep tuple in a frozenset": {"note.npy": npy_of(b"\x80\x04(" + DEEP_TUPLE + b"\x91.")},
    "a doubled tuple for a key": {"note.npy": npy_of(b"}" + DOUBLED_TUPLE + b"K\x01s.")},
    "a doubled tuple in a set": {"note.npy": npy_of(b"\x80\x04\x8f(" + DOUBLED_TUPLE + b"\x90.")},
    "deep lists": {"note.npy": npy_of(b"]" * 300_000 + b"a" * 299_999 + b".")},
    "deep dicts": {"note.npy": holding(json.loads('{"a":' * 400 + "1" + "}" * 400))},
    "shared lists": note_of(shared(80, 2)),
    "shared tuples": note_of(shared(80, 2, tuple)),
    "wide shared lists": note_of(shared(5, 1000)),
    "a list that holds itself": note_of(holding_itself()),
    "a note that holds itself": {"note.npy": npy_of(b"}q\x00U\x01ah\x00s.")},
    "one big array many times": note_of([np.zeros(1 << 22, "u1")] * 2000),
    "shared lists for an axis": axis_of(shared(5, 1000)),
    "a doubled list for an axis": axis_of(shared(80, 2)),
    "text, then a doubled list, for an axis": {"axes.npy": holding(["a", shared(60, 2)], (1,))},
    "a long text many times for an axis": {"axes.npy": holding(["a", *["b" * 300_000] * 300_000], (1,))},
    "one text of a million letters among many": {"axes.npy": holding(["a" * 1_000_000, *["b"] * 10_000], (1,))},
    "an array of a number of zero bytes": note_of(
        Call(numpy_name("_frombuffer"), 1 << 30, np.dtype("u1"), (1 << 30,), "C")
    ),
    "elements of no size": {"note.npy": npy_of(rebuilt(1, (10**10,), np.dtype("V0"), False, b""), (10**10,))},
    "texts of no size": {"axes.npy": npy_of(rebuilt(1, (1 << 30,), np.dtype("S0"), False, b""), (1 << 30,))},
    "an axis of elements of no size": {
        "axes.npy": holding(Call(numpy_name("_frombuffer"), b"", described("V0"), (10**10,), "C"), (1,))
    },
    "a shape of huge numbers": {"note.npy": npy_of(rebuilt(1, (1 << 8_000_000,) * 32, np.dtype("u1"), False, b""))},
    "a shape beyond the content": {"note.npy": npy_of(rebuilt(1, (10**13,), np.dtype("u1"), False, b"abc"))},
    "a negative shape": {"note.npy": npy_of(rebuilt(1, (-1,), np.dtype("u1"), False, b""))},
    "an array of objects from bytes": {"note.npy": npy_of(rebuilt(1, (4,), np.dtype("O"), False, b"\x41" * 32), (4,))},
    "an array of objects that is short": {"note.npy": npy_of(rebuilt(1, (10**9,), np.dtype("O"), False, [1]))},
    "an array of its own content": {
        "note.npy": npy_of(_RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tC\x01btRq\x00(K\x01)h\x00\x89h\x00tb.")
    },
    "objects hidden in fields": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 27),
            *((1,), "C"),
        )
    ),
    "objects hidden in a sub-array": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", (np.dtype("O"), (1,)), None, None, 8, 1, 27),
            *((1,), "C"),
        )
    ),
    "a field outside of its element": note_of(
        Call(
            numpy_name("_frombuffer"),
            b"\x41" * 8,
            described("V8", 3, "|", None, ("a",), {"a": (np.dtype("f8"), 1 << 30)}, 8, 1, 0),
            *((1,), "C"),
        )
    ),
    "an element of a gigabyte": note_of(
        described("V8", 3, "|", None, ("a",), {"a": (np.dtype("u1"), 0)}, 1 << 30, 1, 0)
    ),
    "an axis of letters that do not exist": axis_of(LETTERS),
    "an axis of times without a unit": axis_of(np.array([1, 2], "<i8").view("<M8")),
    "times without a unit in the note": note_of(np.array([1, 2], "<i8").view("<M8")),
    "letters that do not exist in the note": note_of(LETTERS),
    "letters that do not exist in fields": note_of(LETTERS.view([("a", "<U1"), ("b", ">U1")])),
    "a letter that does not exist": note_of(
        Call(numpy_name("scalar"), described("U1", 3, "<", None, None, None, 4, 4, 8), b"\xff\xff\xff\x7f")
    ),
    "calls of names that hold each other": {"note.npy": npy_of(_NAME + _DOUBLED_CALLS)},
    "a chain of calls": {"note.npy": npy_of(_NAME + b"(I1\ntR" + b"(I1\ntR" * 200_000 + b".")},
    "calls within calls": {"note.npy": npy_of(b"(" + (_NAME + b"(") * 100_000 + b"tR" * 100_000 + b"l.")},
    "a hundred thousand calls": {"note.npy": npy_of(_NAME + b"p0\n(l" + b"g0\n(VAAAAAAAA\ntRa" * 100_000 + b".")},
    "a long text in many calls": {
        "note.npy": npy_of(b"V" + b"A" * 1_000_000 + b"\np1\n0" + _NAME + b"p0\n(l" + b"g0\n(g1\ntRa" * 100_000 + b".")
    },
    "a name of a megabyte": {"note.npy": npy_of(b"(l" + b"cos\n%s\na" % (b"x" * 1_000_000) + b".")},
    "a huge number in a call": {"note.npy": npy_of(_NAME + b"(\x8b\x00\x00\x10\x00" + b"\x7f" * (1 << 20) + b"tR.")},
    "a name filled without end": {"note.npy": npy_of(_NAME + b"(tR(" + b"I1\n" * 500_000 + b"e.")},
    "a state that is the object": {"note.npy": npy_of(_NAME + b"(tRp0\n(Vx\ng0\ndb.")},
    "a number of objects": note_of(Call(numpy_name("scalar"), np.dtype("O"), b"\x41" * 8)),
    "functions of ours given other defaults": {
        "note.npy": npy_of(b"\x80\x04" + _RECONSTRUCT + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b.")
    },
    "functions of ours filled": {"note.npy": npy_of(b"\x80\x04" + _RECONSTRUCT + b"}X\x01\x00\x00\x00aK\x01sb.")},
    "classes of ours called without their arguments": {"note.npy": npy_of(b"\x80\x02cnumpy\ndtype\n)\x81.")},
}

HOSTILE_HEADERS: dict[str, dict[str, bytes]] = {
    "10**13 elements in data": {"data.npy": plain("'<f8'", "(10000000000000,)")},
    "10**13 elements of no size in data": {"data.npy": plain("'|V0'", "(10000000000000,)")},
    "10**10 texts of no size in data": {"data.npy": plain("'|S0'", "(10000000000,)")},
    "no elements by 10**10 in data": {"data.npy": plain("'<f8'", "(0, 10000000000)")},
    "no elements by 10**30 in data": {"data.npy": plain("'<f8'", f"(0, {10**30})")},
    "10**13 elements in axes": {"axes.npy": plain("'<f8'", "(10000000000000,)")},
    "10**10 elements of no size in axes": {"axes.npy": plain("'|V0'", "(10000000000,)")},
    "10**10 texts of no size in axes": {"axes.npy": plain("'|S0'", "(10000000000,)")},
    "no elements by 10**10 in axes": {"axes.npy": plain("'<f8'", "(0, 10000000000)")},
    "10**10 by no elements in axes": {"axes.npy": plain("'<f8'", "(10000000000, 0)")},
    "half a million dimensions": {"data.npy": plain("'<f8'", "(" + "9," * 490_000 + ")")},
    "half a million dimensions of 1": {"data.npy": plain("'<f8'", "(" + "1," * 490_000 + ")")},
    "40 dimensions": {"data.npy": plain("'<f8'", "(" + "1," * 40 + ")", bytes(8))},
    "a sub-array of 10**10": {"data.npy": plain("('<f8', (10000000000,))", "(1,)")},
    "a sub-array of 10**30": {"data.npy": plain(f"('<f8', ({10**30},))", "(1,)")},
    "an element of 2 GB": {"data.npy": plain("'|V2147483647'", "(1,)")},
    "an element of 2**40": {"data.npy": plain("'|V1099511627776'", "(1,)")},
    "a long sum": {"data.npy": npy_saying("1" + "+1" * 500_000)},
    "a long complex sum": {"data.npy": npy_saying("1" + "+1j" * 300_000)},
    "many minuses": {"data.npy": npy_saying("-" * 1_000_000 + "1")},
    "many brackets": {"data.npy": npy_saying("[" * 1_000_000)},
    "90 brackets for a dtype": {"data.npy": plain("[" * 90 + "]" * 90, "(1,)")},
    "many calls": {"data.npy": npy_saying("a" + "()" * 400_000)},
    "many names": {"data.npy": npy_saying("a" + ".b" * 500_000)},
    "many texts": {"data.npy": npy_saying("'a'" * 300_000)},
    "axes of letters that do not exist": {"axes.npy": plain("'<U2'", "(1, 2)", LETTERS.tobytes())},
    "a header of 4 GB": {"data.npy": b"\x93NUMPY\x02\0\xff\xff\xff\xff{"},
    "deep JSON": {"acquisition.json": b"[" * 1_000_000},
    "a JSON number of many digits": {"acquisition.json": b"9" * 1_000_000},
    "JSON with half a surrogate": {"acquisition.json": b'{"software": "\\ud800"}'},
    "JSON with a key of control characters": {"acquisition.json": b'{"software": "\\u001b]0;x\\u0007"}'},
}

HARD_TO_PRINT: dict[str, dict[str, bytes]] = {
    "half a surrogate": note_of("\ud800"),
    "a tuple for a key": {"note.npy": holding({(1, 2): 3})},
    "a number beyond printing": note_of(1 << 100_000),
    "doubled lists": note_of(shared(20, 2)),
}

SOUND = {
    "data.npy": plain("'<f8'", "(1,)", np.array([1.0]).tobytes()),
    "axes.npy": holding(np.array([0.5]), (1,)),
    "note.npy": holding({}),
}


def archive_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as archive:
        for name, content in {**SOUND, **members}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def claiming(name: str, *, file_size: int, compress_size: int | None, compression: int, members: Any = None) -> bytes:
    """An archive whose central directory claims sizes that its member `name` does not have."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for each, content in {**SOUND, **(members or {})}.items():
            archive.writestr(each, content)
        info = archive.getinfo(name)
        info.file_size = file_size
        if compress_size is not None:
            info.compress_size = compress_size
    return buffer.getvalue()


HUGE_DATA = plain("'<u1'", "(10000000000,)")

BIG_DATA = plain("'<u1'", "(1000000000,)")


def lzma_of_a_huge_dictionary() -> bytes:
    """LZMA allocates the dictionary that its header requests: 4 GiB less one."""
    archive = archive_of({}, zipfile.ZIP_LZMA)
    return archive.replace(b"\x5d\x00\x00\x80\x00", b"\x5d\xff\xff\xff\xff")


BOMBS: dict[str, Callable[[], bytes]] = {
    "a note of 300 MB of zeros": lambda: archive_of({"note.npy": bytes(300 << 20)}, zipfile.ZIP_DEFLATED),
    "axes of 300 MB of zeros": lambda: archive_of(
        {"axes.npy": plain("'<f8'", "(39_000_000,)") + bytes(312_000_000)}, zipfile.ZIP_DEFLATED
    ),
    "a description of 300 MB of blanks": lambda: archive_of(
        {"acquisition.json": b" " * (300 << 20)}, zipfile.ZIP_BZIP2
    ),
    "a compressed array that claims 10 GB": lambda: claiming(
        "data.npy",
        file_size=len(HUGE_DATA) + 10**10,
        compress_size=None,
        compression=zipfile.ZIP_DEFLATED,
        members={"data.npy": HUGE_DATA},
    ),
    "a compressed array that claims 1 GB": lambda: claiming(
        "data.npy",
        file_size=len(BIG_DATA) + 10**9,
        compress_size=None,
        compression=zipfile.ZIP_DEFLATED,
        members={"data.npy": BIG_DATA},
    ),
    "a stored array that claims 10 GB": lambda: claiming(
        "data.npy",
        file_size=len(HUGE_DATA) + 10**10,
        compress_size=len(HUGE_DATA) + 10**10,
        compression=zipfile.ZIP_STORED,
        members={"data.npy": HUGE_DATA},
    ),
    "a stored note that claims 1 GB": lambda: claiming(
        "note.npy", file_size=1 << 30, compress_size=1 << 30, compression=zipfile.ZIP_STORED
    ),
    "a stored note that claims 2**62": lambda: claiming(
        "note.npy", file_size=100, compress_size=1 << 62, compression=zipfile.ZIP_STORED
    ),
    "an LZMA dictionary of 4 GB": lzma_of_a_huge_dictionary,
}

LIMIT_S = 4

LIMIT_RSS_MB = 400

OPENER = f"""
import os, resource, sys, json, time, io, contextlib
sys.path.insert(0, {str(ROOT)!r})
import lys_storage
import lys_storage.cli.commands, lys_storage.recovery, zipfile, ast, lzma, bz2
base = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

def run(*arguments):
    try:
        lys_storage.cli.main(arguments)
    except SystemExit as end:
        return end.code

def ask(path, how):
    resource.setrlimit(resource.RLIMIT_CPU, ({LIMIT_S}, {LIMIT_S} + 1))
    resource.setrlimit(resource.RLIMIT_AS, (base + (6 << 30),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if how == "info":
            with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as out:
                codes = [run("info", path), run("info", "--json", path)]
                out.flush()
            return f"info {{codes}}"
        if how == "verify":
            return f"{{len(lys_storage.verify(path))}} problems"
        with lys_storage.open_wave(path) as wave:
            return f"opened {{wave.shape}} {{len(wave.note)}} {{wave.note_error}}"
    except lys_storage.LysStorageError as error:
        return f"family: {{type(error).__name__}}: {{str(error)[:300]}}"
    except BaseException as error:
        return f"FOREIGN: {{type(error).__name__}}: {{str(error)[:300]}}"

for name in sys.argv[2:]:
    for how in ("open", "info", "verify"):
        if sys.argv[1] not in ("all", how):
            continue
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            told = ask(name, how)
            os.write(w, told.encode("utf-8", "replace")[:4000])
            os._exit(0)
        os.close(w)
        _, status, used = os.wait4(pid, 0)
        told = b"".join(iter(lambda: os.read(r, 4096), b"")).decode()
        os.close(r)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([name, how, code, told, used.ru_maxrss >> 10, used.ru_utime + used.ru_stime]), flush=True)
"""


@dataclass
class Told:
    """The outcome of each file that was opened in its own process."""

    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@pytest.fixture
def open_all(run_child: Callable[..., Any], tmp_path: Path) -> Callable[..., Told]:
    def run(files: dict[str, bytes], how: str = "all") -> Told:
        folder = tmp_path / "files"
        folder.mkdir()
        paths = {}
        for k, (name, content) in enumerate(files.items()):
            paths[str(folder / f"{k}.npz")] = name
            (folder / f"{k}.npz").write_bytes(content)
        result = run_child(OPENER, how, *paths)
        assert result.code == 0, result.err
        told = Told()
        for line in result.out.splitlines():
            path, asked, code, text, rss_mb, seconds = json.loads(line)
            name = paths[path]
            told.answers[name, asked] = text
            if code:
                told.faults.append(f"{asked} {name}: the process died, exit {code} after {seconds:.1f} s")
            elif text.startswith("FOREIGN"):
                told.faults.append(f"{asked} {name}: {text}")
            elif rss_mb > LIMIT_RSS_MB:
                told.faults.append(f"{asked} {name}: {rss_mb} MB of memory for {len(files[name])} bytes ({text})")
        assert len(told.answers) == len(files) * (1 if how != "all" else 3)
        return told

    return run


@forks
def test_nothing_that_a_file_says_is_executed(open_all: Callable[..., Told], tmp_path: Path) -> None:
    """Every name that is not plain data is refused, and has no effect. After a bad note the data are still read."""
    told = open_all({name: archive_of(members) for name, members in RUNS_CODE.items()})
    assert told.faults == []
    assert not (tmp_path / "executed").exists()
    for (name, how), text in told.answers.items():
        if how == "open":
            axes = "axes.npy" in RUNS_CODE[name]
            answers = ("family: UnsafeFileError",) if axes else ("opened (1,) 0 ", "opened (1,) 1 ")
            assert text.startswith(answers), f"{name}: {text}"
            assert not text.endswith("None"), f"{name}: {text}"
        if how == "verify":
            assert text == "1 problems", f"{name}: {text}"
    assert "posix.system" in told.answers["os.system in the note", "open"]


@forks
@pytest.mark.parametrize(
    "table", [HOSTILE_PICKLES, HOSTILE_HEADERS, HARD_TO_PRINT], ids=["pickles", "headers", "texts"]
)
def test_hostile_content_is_answered_in_bounded_time_and_memory(
    open_all: Callable[..., Told], table: dict[str, dict[str, bytes]]
) -> None:
    """No file crashes or hangs the process, or allocates what a header claims: the answer is an error or correct."""
    told = open_all({name: archive_of(members) for name, members in table.items()})
    assert told.faults == []


@forks
def test_zip_bombs_are_refused_in_bounded_memory(open_all: Callable[..., Told]) -> None:
    """A member cannot be much larger than its file allows. Its claim costs nothing."""
    told = open_all({name: make() for name, make in BOMBS.items()}, "open")
    assert told.faults == []
    assert {text[:20] for text in told.answers.values()} == {"family: BadFileError"}
